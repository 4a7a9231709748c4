/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The agents of the far hosts, and the part of this host's that asks them: packets that the kernel
 * holds are answered at once with what was drawn for their flow, in the way that rules/marks.h
 * says. Flows that ran before they were asked about are marked through ctnetlink, as at adoption.
 */
#include "tests/property/property.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/conntrack.h"
#include "agent/queue.h"
#include "base/mem.h"
#include "rules/marks.h"

#define PENDING_MAX 1024
#define DRAIN_TURNS 64

struct far {
	sd_event *event;
	struct queue *queue;
	struct queue_handler handler;
	struct conntrack *conntrack;
	const struct kernel *kernel;
	const struct world *world;
	const struct probe *probes;
	size_t count;
	struct kept *kept;
	size_t kept_count;
	/* Whose process is it: there is no agent that knows more than the sets. */
	struct queue_packet who[PENDING_MAX];
	size_t who_count;
	uint64_t seen;
	struct far_tally tally;
};

/* A source port belongs to one flow. */
static const struct probe *probe_of(const struct far *f, uint16_t port)
{
	for (size_t i = 0; i < f->count; i++) {
		if (f->probes[i].fd >= 0 && f->probes[i].sport == port)
			return &f->probes[i];
	}
	for (size_t i = 0; i < f->kept_count; i++) {
		if (f->kept[i].probe.sport == port)
			return &f->kept[i].probe;
	}
	return NULL;
}

/* The mark of the verdict, without its flag; 0: the question has no answer in policy or oracle. */
static uint32_t answer_to(struct far *f, uint32_t number, const struct flow *flow)
{
	const struct generation *g = kernel_generation(f->kernel, f->world);
	const struct conduit *asked = generation_find(g, number), *vouched;

	if (asked == NULL || asked->number != number)
		return 0;
	switch (flow->answer) {
	case ANSWER_ASSUMED:
		return 0;
	case ANSWER_NONE:
		f->tally.unavailable++;
		return number | MARK_UNAVAILABLE;
	case ANSWER_REFUSED:
		break;
	case ANSWER_VOUCHED:
		vouched = generation_vouched(g, asked, identity_paths[flow->vouched]);
		if (vouched == NULL || vouched->vouched == LIVE_NONE ||
		    (vouched->assurance == ASSURANCE_MEASURED && !flow->measured &&
		     !(asked->flags & CONDUIT_OUT)))
			break;
		f->tally.vouched++;
		return vouched->number | MARK_VOUCHED;
	}
	f->tally.refused++;
	return number | MARK_NOT_VOUCHED;
}

static void take_packet(void *user, const struct queue_packet *p)
{
	struct far *f = user;
	const struct probe *probe = probe_of(f, p->packet.sport);
	uint32_t mark;

	f->seen++;
	/* Who listens is in the sets, so nobody does (R21). */
	if (p->queue == PROPERTY_QUEUE && p->mark == MARK_PORT_ASK) {
		(void)queue_verdict(f->queue, p->queue, p->id, QUEUE_REPEAT, true,
				    MARK_VERDICT | kernel_unclaimed(f->kernel), REASON_UNCLAIMED);
		return;
	}
	if (p->queue == PROPERTY_QUEUE && f->who_count < PENDING_MAX) {
		f->who[f->who_count++] = *p;
		return;
	}
	mark = probe == NULL ? 0 : answer_to(f, p->mark, &probe->flow);
	if (mark == 0)
		f->tally.lost++;
	(void)queue_verdict(f->queue, p->queue, p->id, mark == 0 ? QUEUE_DROP : QUEUE_REPEAT,
			    mark != 0, MARK_VERDICT | mark, REASON_PERMITTED);
}

int far_open(const struct kernel *k, struct far **ret, struct err *err)
{
	const struct queue_config config = {
		.first = PROPERTY_QUEUE, .count = 3, .max_pending = PENDING_MAX};
	struct far *f = mem_calloc(1, sizeof(*f));
	int r;

	if (f == NULL)
		return err_set(err, ENOMEM, "out of memory");
	f->kernel = k;
	f->handler = (struct queue_handler){.packet = take_packet, .user = f};
	r = sd_event_new(&f->event);
	if (r < 0)
		(void)err_set(err, -r, "event loop: %s", strerror(-r));
	if (r >= 0)
		r = queue_open(&config, f->event, &f->handler, &f->queue, err);
	if (r >= 0)
		r = conntrack_open(&f->conntrack, err);
	if (r < 0) {
		far_close(f);
		return r;
	}
	*ret = f;
	return 0;
}

void far_close(struct far *f)
{
	if (f == NULL)
		return;
	conntrack_free(f->conntrack);
	queue_free(f->queue);
	sd_event_unref(f->event);
	free(f);
}

void far_expect(struct far *f, const struct world *w, const struct probe *probes, size_t count)
{
	f->world = w;
	f->probes = probes;
	f->count = count;
}

void far_expect_kept(struct far *f, const struct world *w, struct kept *kept, size_t count)
{
	f->world = w;
	f->kept = kept;
	f->kept_count = count;
}

/* Without a heartbeat the kernel decides itself what it cannot know. */
static void answer_who(struct far *f)
{
	kernel_heartbeat(f->kernel, false);
	for (size_t i = 0; i < f->who_count; i++)
		(void)queue_verdict(f->queue, f->who[i].queue, f->who[i].id, QUEUE_REPEAT, false, 0,
				    REASON_PERMITTED);
	f->who_count = 0;
	kernel_heartbeat(f->kernel, true);
}

/* Answers what is held; true if there was something. */
bool far_pump(struct far *f)
{
	uint64_t before = f->seen;

	for (int i = 0; i < DRAIN_TURNS && sd_event_run(f->event, 0) > 0; i++)
		;
	if (f->who_count > 0)
		answer_who(f);
	return f->seen != before;
}

struct far_tally far_tally(const struct far *f)
{
	return f->tally;
}

static void tuple_of(const struct probe *p, struct ct_flow *ret)
{
	*ret = (struct ct_flow){.src = p->flow.src,
				.dst = p->flow.dst,
				.sport = p->sport,
				.dport = p->flow.dport,
				.l4proto = p->flow.l4proto};
}

/* As an agent does that finds flows on a number that asks: it asks about each, and marks it. */
int far_adopt(struct far *f, struct err *err)
{
	for (size_t i = 0; i < f->kept_count; i++) {
		const struct generation *g = kernel_generation(f->kernel, f->world);
		const struct conduit *c;
		struct ct_flow tuple, found;
		uint32_t mark;
		int r;

		tuple_of(&f->kept[i].probe, &tuple);
		r = conntrack_find(f->conntrack, &tuple, &found, err);
		if (r == -ENOENT)
			continue;
		if (r < 0)
			return r;
		c = generation_find(g, found.mark);
		if (c == NULL || c->number != found.mark || c->verdict != LIVE_ASK)
			continue;
		mark = answer_to(f, c->number, &f->kept[i].probe.flow);
		if (mark == 0 || conduit_verdict(generation_find(g, mark), mark) == LIVE_NONE)
			continue;
		r = conntrack_set_mark(f->conntrack, &tuple, mark, err);
		if (r < 0)
			return r;
		f->tally.adopted++;
	}
	return 0;
}
