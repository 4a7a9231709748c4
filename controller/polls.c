/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/polls.h"

#include "base/hash.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct poll_node {
	struct waiter *first, *last;
	size_t count;
	char name[NODE_NAME_MAX];
};

struct polls {
	struct map *nodes; /* name -> poll_node, while somebody waits */
	struct waiter *slots[POLL_SLOTS];
	size_t count;
	uint8_t now;
	void (*done)(void *user, struct waiter *w);
	void *user;
};

struct polls *polls_new(void (*done)(void *user, struct waiter *w), void *user)
{
	struct polls *p = mem_calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->nodes = map_new(POLL_NODES_MAX, free);
	p->done = done;
	p->user = user;
	if (p->nodes != NULL)
		return p;
	free(p);
	return NULL;
}

void polls_free(struct polls *p)
{
	if (p == NULL)
		return;
	map_free(p->nodes);
	free(p);
}

static int node_get(struct polls *p, const char *name, struct poll_node **ret)
{
	struct poll_node *n = map_get_str(p->nodes, name);
	int r;

	if (n == NULL) {
		if (strlen(name) >= NODE_NAME_MAX)
			return -EINVAL;
		n = mem_calloc(1, sizeof(*n));
		if (n == NULL)
			return -ENOMEM;
		memcpy(n->name, name, strlen(name) + 1);
		r = map_put_str(p->nodes, name, n);
		if (r < 0) {
			free(n);
			return r;
		}
	}
	*ret = n;
	return 0;
}

static void node_link(struct poll_node *n, struct waiter *w)
{
	w->node = n;
	w->node_prev = NULL;
	w->node_next = n->first;
	if (n->first != NULL)
		n->first->node_prev = w;
	else
		n->last = w;
	n->first = w;
	n->count++;
}

static void slot_link(struct polls *p, struct waiter *w, uint32_t seconds)
{
	w->slot = (uint8_t)((p->now + seconds) % POLL_SLOTS);
	w->slot_prev = NULL;
	w->slot_next = p->slots[w->slot];
	if (w->slot_next != NULL)
		w->slot_next->slot_prev = w;
	p->slots[w->slot] = w;
}

/* Leaves an empty node in the map. */
static void unlink_waiter(struct polls *p, struct waiter *w)
{
	struct poll_node *n = w->node;

	if (w->node_prev != NULL)
		w->node_prev->node_next = w->node_next;
	else
		n->first = w->node_next;
	if (w->node_next != NULL)
		w->node_next->node_prev = w->node_prev;
	else
		n->last = w->node_prev;
	n->count--;
	if (w->slot_prev != NULL)
		w->slot_prev->slot_next = w->slot_next;
	else
		p->slots[w->slot] = w->slot_next;
	if (w->slot_next != NULL)
		w->slot_next->slot_prev = w->slot_prev;
	*w = (struct waiter){0};
	p->count--;
}

static void forget_if_empty(struct polls *p, struct poll_node *n)
{
	char name[NODE_NAME_MAX];

	if (n->count > 0)
		return;
	/* The entry frees the node, and with it the name it is found by. */
	memcpy(name, n->name, sizeof(name));
	(void)map_del_str(p->nodes, name);
}

int polls_park(struct polls *p, struct waiter *w, const char *node, uint32_t seconds)
{
	struct poll_node *n;
	int r = node_get(p, node, &n);

	if (r < 0)
		return r;
	if (seconds == 0 || seconds >= POLL_SLOTS)
		seconds = 1;
	if (n->count >= POLLS_PER_NODE_MAX) {
		struct waiter *oldest = n->last;

		unlink_waiter(p, oldest);
		p->done(p->user, oldest);
	}
	node_link(n, w);
	slot_link(p, w, seconds);
	p->count++;
	return 0;
}

void polls_remove(struct polls *p, struct waiter *w)
{
	struct poll_node *n = w->node;

	if (n == NULL)
		return;
	unlink_waiter(p, w);
	forget_if_empty(p, n);
}

size_t polls_wake(struct polls *p, const char *node)
{
	struct poll_node *n = map_get_str(p->nodes, node);
	size_t count = 0;

	if (n == NULL)
		return 0;
	while (n->first != NULL) {
		struct waiter *w = n->first;

		unlink_waiter(p, w);
		p->done(p->user, w);
		count++;
	}
	forget_if_empty(p, n);
	return count;
}

static void end_slot(struct polls *p, size_t slot)
{
	while (p->slots[slot] != NULL) {
		struct waiter *w = p->slots[slot];

		polls_remove(p, w);
		p->done(p->user, w);
	}
}

void polls_wake_all(struct polls *p)
{
	for (size_t i = 0; i < POLL_SLOTS; i++)
		end_slot(p, i);
}

void polls_tick(struct polls *p)
{
	p->now = (uint8_t)((p->now + 1) % POLL_SLOTS);
	end_slot(p, p->now);
}

size_t polls_count(const struct polls *p)
{
	return p->count;
}
