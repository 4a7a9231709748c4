/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/flow_queue.h"

#include "base/hash.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct flow_node {
	struct flow_node *next;
	struct flow_place *first, **end; /* that wait */
	struct flow_place *flying;
	uint32_t count, flying_count;
	char name[];
};

struct flow_queue {
	struct map *by_name;
	struct flow_node *first, **end;
	uint32_t count, flying_count;
};

/* --- nodes ----------------------------------------------------------------------------------- */

static void append_node(struct flow_queue *q, struct flow_node *n)
{
	n->next = NULL;
	*q->end = n;
	q->end = &n->next;
}

static void unlink_node(struct flow_queue *q, struct flow_node **at)
{
	struct flow_node *n = *at;

	*at = n->next;
	if (!n->next)
		q->end = at;
}

static struct flow_node *node_of(struct flow_queue *q, const char *name)
{
	struct flow_node *n = map_get_str(q->by_name, name);
	size_t size = strlen(name) + 1;

	if (n)
		return n;
	n = mem_calloc(1, sizeof(*n) + size);
	if (!n)
		return NULL;
	memcpy(n->name, name, size);
	n->end = &n->first;
	if (map_put_str(q->by_name, name, n) < 0) {
		free(n);
		return NULL;
	}
	append_node(q, n);
	return n;
}

/* --- places ---------------------------------------------------------------------------------- */

static void append(struct flow_node *n, struct flow_place *p)
{
	p->next = NULL;
	*n->end = p;
	n->end = &p->next;
}

static struct flow_place *take_first(struct flow_node *n)
{
	struct flow_place *p = n->first;

	n->first = p->next;
	if (!n->first)
		n->end = &n->first;
	return p;
}

static void land(struct flow_queue *q, struct flow_place *p)
{
	struct flow_place **at = &p->node->flying;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	p->node->flying_count--;
	q->flying_count--;
}

int flow_queue_join(struct flow_queue *q, const char *node, struct flow_place *p)
{
	struct flow_node *n = q->count < FLOW_QUEUE_MAX ? node_of(q, node) : NULL;

	if (!n)
		return q->count < FLOW_QUEUE_MAX ? -ENOMEM : -E2BIG;
	if (n->count >= FLOW_QUEUE_NODE_MAX)
		return -E2BIG;
	*p = (struct flow_place){.node = n};
	append(n, p);
	n->count++;
	q->count++;
	return 0;
}

static bool may_fly(const struct flow_node *n, struct mono now)
{
	return n->first && n->first->due.ns <= now.ns &&
	       n->flying_count < FLOW_QUEUE_NODE_FLIGHT_MAX;
}

static struct flow_place *fly(struct flow_queue *q, struct flow_node *n)
{
	struct flow_place *p = take_first(n);

	p->next = n->flying;
	n->flying = p;
	n->flying_count++;
	q->flying_count++;
	return p;
}

struct flow_place *flow_queue_next(struct flow_queue *q, struct mono now)
{
	struct flow_node **at = &q->first, *n;

	while (q->flying_count < FLOW_QUEUE_FLIGHT_MAX && (n = *at) != NULL) {
		if (n->count == 0) {
			unlink_node(q, at);
			(void)map_del_str(q->by_name, n->name);
			free(n);
		} else if (may_fly(n, now)) {
			/* Behind all others, so that everybody has a turn. */
			unlink_node(q, at);
			append_node(q, n);
			return fly(q, n);
		} else {
			at = &n->next;
		}
	}
	return NULL;
}

void flow_queue_again(struct flow_queue *q, struct flow_place *p, struct mono due)
{
	land(q, p);
	p->due = due;
	append(p->node, p);
}

void flow_queue_leave(struct flow_queue *q, struct flow_place *p)
{
	land(q, p);
	p->node->count--;
	q->count--;
}

/* --- life ------------------------------------------------------------------------------------ */

struct flow_place *flow_queue_drain(struct flow_queue *q)
{
	for (struct flow_node *n = q->first; n; n = n->next) {
		struct flow_place *p = n->flying ? n->flying : n->first ? fly(q, n) : NULL;

		if (p) {
			flow_queue_leave(q, p);
			return p;
		}
	}
	return NULL;
}

struct flow_queue *flow_queue_new(void)
{
	struct flow_queue *q = mem_calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->end = &q->first;
	q->by_name = map_new(FLOW_QUEUE_MAX, NULL);
	if (!q->by_name) {
		free(q);
		return NULL;
	}
	return q;
}

void flow_queue_free(struct flow_queue *q)
{
	if (!q)
		return;
	while (q->first) {
		struct flow_node *n = q->first;

		q->first = n->next;
		free(n);
	}
	map_free(q->by_name);
	free(q);
}
