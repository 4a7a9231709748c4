/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Questions. Each has a slot, whose index and generation are the ticket and the number on the wire:
 * an answer is found without looking, and one that comes too late finds nothing. Deadlines are a
 * heap with one timer, which is set again only when it has gone off or a nearer deadline comes:
 * questions that are answered in time cost it nothing.
 */
#include "agent/peers_parts.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS   1000000LL
#define US_PER_MS   1000
#define BUDGET_LAST 60000 /* ms */

/* --- links -------------------------------------------------------------------------------- */

static void link_init(struct question_link *head)
{
	head->next = head->previous = head;
}

static void link_remove(struct question_link *l)
{
	l->next->previous = l->previous;
	l->previous->next = l->next;
	link_init(l);
}

static void link_add(struct question_link *head, struct question_link *l)
{
	l->previous = head->previous;
	l->next = head;
	head->previous->next = l;
	head->previous = l;
}

/* --- deadlines ---------------------------------------------------------------------------- */

static void heap_set(struct peers *p, size_t at, struct question *q)
{
	p->heap[at] = q;
	q->heap_at = (uint32_t)at;
}

static void heap_up(struct peers *p, size_t at, struct question *q)
{
	while (at > 0 && p->heap[(at - 1) / 2]->deadline_ns > q->deadline_ns) {
		heap_set(p, at, p->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_set(p, at, q);
}

static void heap_down(struct peers *p, size_t at, struct question *q)
{
	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= p->heap_count)
			break;
		if (child + 1 < p->heap_count &&
		    p->heap[child + 1]->deadline_ns < p->heap[child]->deadline_ns)
			child++;
		if (p->heap[child]->deadline_ns >= q->deadline_ns)
			break;
		heap_set(p, at, p->heap[child]);
		at = child;
	}
	heap_set(p, at, q);
}

static void heap_remove(struct peers *p, const struct question *q)
{
	size_t at = q->heap_at;
	struct question *last = p->heap[--p->heap_count];

	if (last == q)
		return;
	heap_down(p, at, last);
	heap_up(p, last->heap_at, last);
}

static void arm(struct peers *p)
{
	int64_t next = p->heap_count ? p->heap[0]->deadline_ns : 0;

	if (!next || (p->timer_ns && p->timer_ns <= next))
		return;
	p->timer_ns = next;
	(void)sd_event_source_set_time(p->timer, (uint64_t)next / 1000);
	(void)sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT);
}

/* --- slots -------------------------------------------------------------------------------- */

static struct question *slot_take(struct peers *p)
{
	struct question *q;

	if (p->free_count)
		return p->questions[p->free_slots[--p->free_count]];
	if (vec_grow(&p->questions, &p->question_cap, p->question_slots + 1, sizeof(*p->questions),
		     PEERS_QUESTIONS_MAX) < 0 ||
	    vec_grow(&p->heap, &p->heap_cap, p->question_slots + 1, sizeof(*p->heap),
		     PEERS_QUESTIONS_MAX) < 0 ||
	    /* Room for every slot: giving one back cannot fail. */
	    vec_grow(&p->free_slots, &p->free_cap, p->question_slots + 1, sizeof(*p->free_slots),
		     PEERS_QUESTIONS_MAX) < 0)
		return NULL;
	q = mem_calloc(1, sizeof(*q));
	if (!q)
		return NULL;
	q->index = (uint32_t)p->question_slots;
	link_init(&q->link);
	p->questions[p->question_slots++] = q;
	return q;
}

static struct question *slot_find(const struct peers *p, uint64_t ticket)
{
	uint64_t index = (ticket & UINT32_MAX) - 1;
	struct question *q;

	if (!(ticket & UINT32_MAX) || index >= p->question_slots)
		return NULL;
	q = p->questions[index];
	return q->used && q->generation == ticket >> 32 ? q : NULL;
}

static uint64_t ticket_of(const struct question *q)
{
	return (uint64_t)q->generation << 32 | (q->index + 1U);
}

static void slot_give(struct peers *p, struct question *q)
{
	if (q->stream)
		q->stream->in_flight--;
	q->peer->question_count--;
	link_remove(&q->link);
	heap_remove(p, q);
	q->used = false;
	q->stream = NULL;
	p->free_slots[p->free_count++] = q->index;
}

/* --- outcomes ----------------------------------------------------------------------------- */

static void count(struct peers_counters *c, enum peer_outcome outcome)
{
	switch (outcome) {
	case PEER_ANSWERED:
		c->answered++;
		return;
	case PEER_TIMED_OUT:
		c->timed_out++;
		return;
	case PEER_UNREACHABLE:
	case PEER_NO_AGENT:
	case PEER_NO_SVID:
		c->unreachable++;
		return;
	case PEER_OVERLOADED:
		c->overloaded++;
		return;
	}
}

/* The slot is free before anybody is told: who is told may ask again. */
static void finish(struct peers *p, struct question *q, struct peer_reply *reply)
{
	struct stream *s = q->stream;
	peer_done done = q->done;
	void *user = q->user;

	reply->svid = s ? s->svid : NULL;
	reply->rtt_us = (uint64_t)(mono_now().ns - q->asked_ns) / 1000;
	count(&p->counters, reply->outcome);
	slot_give(p, q);
	done(user, reply);
	if (s && s->state == STREAM_OPEN && s->draining && !s->in_flight)
		stream_close(s, NULL);
}

static void end(struct peers *p, struct question *q, enum peer_outcome outcome, const char *detail)
{
	struct peer_reply reply = {.outcome = outcome, .detail = detail};

	finish(p, q, &reply);
}

/* Without a question: nobody could be asked. */
static void refuse(struct peers *p, peer_done done, void *user, enum peer_outcome outcome,
		   const char *detail)
{
	const struct peer_reply reply = {.outcome = outcome, .detail = detail};

	count(&p->counters, outcome);
	done(user, &reply);
}

static void end_list(struct peers *p, struct question_link *list, enum peer_outcome outcome,
		     const char *detail)
{
	while (list->next != list)
		end(p, (struct question *)list->next, outcome, detail);
}

void ask_answered(struct stream *s, uint64_t id, const struct peer_answer *answer)
{
	struct peers *p = s->peers;
	struct question *q = slot_find(p, id);
	struct peer_reply reply = {.outcome = PEER_ANSWERED, .answer = answer, .detail = ""};

	/* Too late, or of a question that was put to another node. */
	if (!q || q->stream != s)
		return;
	ask_recovered(q->peer);
	s->rtt_us = (uint64_t)(mono_now().ns - q->asked_ns) / 1000;
	if (answer->status == PEER_BUSY) {
		reply = (struct peer_reply){.outcome = PEER_OVERLOADED,
					    .detail = "the far agent has too much to do"};
	}
	q->peer->rtt_us = s->rtt_us;
	finish(p, q, &reply);
}

/* --- circuit breaker ---------------------------------------------------------------------- */

bool ask_broken(struct peer *n, struct mono now)
{
	return n->broken_until.ns > now.ns;
}

/* Half open: it was broken, and nothing has succeeded since. */
static bool half_open(const struct peer *n, struct mono now)
{
	return n->broken_until.ns && n->broken_until.ns <= now.ns;
}

/* A node that is asked is connected to ahead of its next question. */
static bool of_use(const struct peer *n, struct mono now)
{
	return n->asked_at.ns && mono_ms_since(n->asked_at, now) < PEERS_IDLE_S * 1000LL;
}

static void failed(struct peers *p, struct peer *n)
{
	struct mono now = mono_now();
	const struct mono *first = &n->failed[PEERS_BREAK_FAILURES - 1];
	uint64_t wait = PEERS_BACKOFF_FIRST, last = PEERS_BACKOFF_LAST;

	memmove(n->failed + 1, n->failed, sizeof(n->failed) - sizeof(n->failed[0]));
	n->failed[0] = now;
	if (half_open(n, now) ||
	    (first->ns && mono_ms_since(*first, now) <= p->limits.break_window_ms)) {
		n->broken_until.ns = now.ns + p->limits.break_ms * NS_PER_MS;
		if (!n->broken_logged)
			log_warn("peers: %s is not reached: %s", n->node, n->error);
		n->broken_logged = true;
	}
	if (n->asked_at.ns && mono_ms_since(n->asked_at, now) < PEERS_WANTED_MS)
		last = PEERS_BACKOFF_WANTED;
	for (unsigned i = 0; i < n->backoff && wait < last; i++)
		wait *= 2;
	if (wait > last)
		wait = last;
	n->backoff++;
	if (of_use(n, now))
		n->reconnect_at.ns = now.ns + peers_random((uint32_t)wait) * NS_PER_MS + 1;
}

void ask_ended(struct peer *n)
{
	struct mono now = mono_now();

	if (of_use(n, now) && !n->stream)
		n->reconnect_at.ns = now.ns + peers_random(PEERS_BACKOFF_LAST) * NS_PER_MS + 1;
}

/*
 * What was before does not count any more, but for how long to wait before the next attempt: who
 * says PONG and nothing else shall not be connected to ever faster.
 */
void ask_alive(struct peer *n)
{
	if (n->broken_logged)
		log_info("peers: %s is reached again", n->node);
	n->broken_logged = false;
	n->broken_until.ns = 0;
	memset(n->failed, 0, sizeof(n->failed));
}

void ask_recovered(struct peer *n)
{
	ask_alive(n);
	n->backoff = 0;
}

/* --- streams ------------------------------------------------------------------------------ */

static void send_question(struct stream *s, struct question *q, int64_t now_ns)
{
	int64_t left = q->deadline_ns - now_ns;

	q->stream = s;
	s->in_flight++;
	/* What the connection took is not there for the answer. */
	q->query.budget_ms = left > 0 ? (uint32_t)(left / NS_PER_MS) : 0;
	peer_query_encode(&s->out, ticket_of(q), &q->query);
	stream_dirty(s);
}

static bool room(const struct stream *s)
{
	return s->in_flight < s->in_flight_max && s->out.len < PEERS_OUT_MAX / 2;
}

void ask_stream_up(struct stream *s)
{
	struct question_link *head = &s->peer->questions, *next;

	for (struct question_link *l = head->next; l != head; l = next) {
		struct question *q = (struct question *)l;

		next = l->next;
		if (!q->stream && room(s))
			send_question(s, q, mono_now().ns);
	}
}

/*
 * A HELLO is no answer: who hangs up behind it each time is as good as not there. Where the breaker
 * is open a PING finds out, and no connection has to wait for that.
 */
void ask_greeted(struct stream *s)
{
	s->peer->error[0] = '\0';
	if (s->peer->broken_until.ns)
		stream_ping(s);
}

/* NULL: it could not even be tried; the reason is in n->error. */
static struct stream *stream_for(struct peers *p, struct peer *n)
{
	struct stream *idle;

	if (n->stream)
		return n->stream;
	if (p->asking.count >= p->limits.streams_max) {
		idle = stream_idle(&p->asking);
		if (!idle) {
			(void)snprintf(n->error, sizeof(n->error), "too many streams");
			return NULL;
		}
		stream_drain(idle, PEER_NOTICE_BYE, "another peer is asked");
	}
	n->reconnect_at.ns = 0;
	/* A node that ends each stream on purpose has not failed, and costs a handshake each time.
	 */
	if (bucket_take(&n->connects, PEERS_CONNECTS_PER_S, PEERS_CONNECTS_BURST, mono_now()))
		stream_connect(n, p);
	else
		(void)snprintf(n->error, sizeof(n->error), "it ends its streams too soon");
	if (!n->stream)
		failed(p, n);
	return n->stream;
}

/* Sent questions of the stream, into `list`. */
static void collect(struct stream *s, struct question_link *list, bool sent)
{
	struct question_link *head = &s->peer->questions, *next;

	for (struct question_link *l = head->next; l != head; l = next) {
		struct question *q = (struct question *)l;

		next = l->next;
		if (sent ? q->stream != s : q->stream != NULL)
			continue;
		link_remove(l);
		link_add(list, l);
	}
}

/*
 * A question that was on its way when the stream broke is asked again, once: it changes nothing
 * over there, and an agent that is restarted is back before the hold ends.
 */
static void ask_again(struct peers *p, struct peer *n, struct question_link *list)
{
	while (list->next != list) {
		struct question *q = (struct question *)list->next;

		q->stream->in_flight--;
		q->stream = NULL;
		link_remove(&q->link);
		link_add(&n->questions, &q->link);
		if (q->again || !n->has_endpoint || ask_broken(n, mono_now()) || p->ending) {
			end(p, q, PEER_UNREACHABLE, n->error);
			continue;
		}
		q->again = true;
	}
}

static bool has_waiting(const struct peer *n)
{
	const struct question_link *head = &n->questions;

	for (const struct question_link *l = head->next; l != head; l = l->next) {
		if (!((const struct question *)l)->stream)
			return true;
	}
	return false;
}

static void end_waiting(struct peers *p, struct stream *s)
{
	struct question_link list;

	link_init(&list);
	collect(s, &list, false);
	end_list(p, &list, PEER_UNREACHABLE, s->peer->error);
}

void ask_stream_down(struct stream *s, bool broken)
{
	struct peers *p = s->peers;
	struct peer *n = s->peer;
	struct question_link sent;
	bool was_open = s->greeted;

	if (broken)
		failed(p, n);
	link_init(&sent);
	collect(s, &sent, true);
	if (!was_open && !n->stream)
		end_waiting(p, s);
	ask_again(p, n, &sent);
	if (has_waiting(n) && !n->stream && !stream_for(p, n))
		end_waiting(p, s);
	else if (n->stream && n->stream->state == STREAM_OPEN)
		ask_stream_up(n->stream);
}

/* --- asking ------------------------------------------------------------------------------- */

/* NULL: it can be asked; else why not. */
static const char *cannot_ask(struct peers *p, struct peer *n, struct mono now,
			      enum peer_outcome *ret)
{
	if (!peers_tls_usable(p)) {
		*ret = PEER_NO_SVID;
		return "this node has no valid certificate";
	}
	if (!n) {
		*ret = PEER_OVERLOADED;
		return "out of memory";
	}
	if (!n->has_endpoint) {
		*ret = PEER_NO_AGENT;
		return "the view gives no attestation endpoint for this node";
	}
	if (ask_broken(n, now)) {
		*ret = PEER_UNREACHABLE;
		return n->error;
	}
	if (n->question_count >= PEERS_IN_FLIGHT_MAX ||
	    (n->stream && n->stream->state == STREAM_OPEN && !room(n->stream))) {
		*ret = PEER_OVERLOADED;
		return "too many questions are on their way to this node";
	}
	if (!stream_for(p, n)) {
		*ret = PEER_UNREACHABLE;
		return n->error;
	}
	return NULL;
}

static void begin(struct peers *p, struct peer *n, struct question *q,
		  const struct peer_query *query, struct mono now, peer_done done, void *user)
{
	uint32_t budget = query->budget_ms < BUDGET_LAST ? query->budget_ms : BUDGET_LAST;

	q->generation++;
	q->used = true;
	q->again = false;
	q->peer = n;
	q->stream = NULL;
	q->done = done;
	q->user = user;
	q->query = *query;
	q->asked_ns = now.ns;
	q->deadline_ns = q->asked_ns + budget * NS_PER_MS;
	link_add(&n->questions, &q->link);
	n->question_count++;
	heap_up(p, p->heap_count++, q);
	arm(p);
}

/* People may ask for any name, and a name that nobody has must not be remembered. */
static bool in_view(const struct peers *p, const char *node)
{
	const struct view *view = p->agent->view;

	return view && view_find_node(view, node);
}

void peers_ask(struct peers *p, const char *node, const struct peer_query *query, peer_done done,
	       void *user, uint64_t *ret_ticket)
{
	enum peer_outcome outcome = PEER_OVERLOADED;
	struct peer *n = map_get_str(p->nodes, node);
	struct mono now = mono_now();
	struct question *q;
	const char *why;

	p->counters.asked++;
	*ret_ticket = 0;
	if (!n && !in_view(p, node)) {
		refuse(p, done, user, PEER_NO_AGENT, "the view does not know this node");
		return;
	}
	if (!n)
		n = peers_node(p, node);
	why = cannot_ask(p, n, now, &outcome);
	q = why ? NULL : slot_take(p);
	if (n) {
		n->asked = true;
		n->asked_at = now;
	}
	if (!q) {
		refuse(p, done, user, outcome, why ? why : "too many questions");
		return;
	}
	begin(p, n, q, query, now, done, user);
	*ret_ticket = ticket_of(q);
	if (n->stream->state == STREAM_OPEN) {
		stream_used(n->stream);
		send_question(n->stream, q, now.ns);
	}
}

void peers_cancel(struct peers *p, uint64_t ticket)
{
	struct question *q = slot_find(p, ticket);
	struct stream *s = q ? q->stream : NULL;

	if (!q)
		return;
	slot_give(p, q);
	if (s && s->draining && !s->in_flight)
		stream_close(s, NULL);
}

void peers_connect(struct peers *p, const char *node)
{
	struct peer *n = peers_node(p, node);

	if (n && n->has_endpoint && !n->stream && !p->ending && peers_tls_usable(p) &&
	    !ask_broken(n, mono_now()))
		(void)stream_for(p, n);
}

/* Also while the breaker is open: what is tried now has no question that would wait for it. */
static void probe(struct peers *p, struct peer *n)
{
	n->reconnect_at.ns = 0;
	if (n->has_endpoint && !n->stream && !p->ending && peers_tls_usable(p))
		(void)stream_for(p, n);
}

void ask_tick(struct peer *n, struct peers *p, struct mono now)
{
	if (n->reconnect_at.ns && n->reconnect_at.ns <= now.ns)
		probe(p, n);
}

/* That it asks is no proof that it answers: it is only a good moment to try. */
void ask_heard_of(struct peers *p, const char *node)
{
	struct peer *n = map_get_str(p->nodes, node);
	struct mono now = mono_now();

	if (n && (n->broken_until.ns || n->reconnect_at.ns) && of_use(n, now) &&
	    mono_ms_since(n->tried_at, now) >= PEERS_PROBE_APART_MS)
		probe(p, n);
}

/* --- time --------------------------------------------------------------------------------- */

/*
 * An agent that hangs keeps its connection: as many questions in a row that hear nothing at all
 * count like as many connections that were refused.
 */
static void unheard(struct peers *p, struct stream *s, int64_t asked_ns)
{
	static const char why[] = "connected, but it does not answer";
	struct peer *n = s->peer;

	if (s->state != STREAM_OPEN || s->heard.ns >= asked_ns)
		return;
	(void)snprintf(n->error, sizeof(n->error), "%s", why);
	failed(p, n);
	if (ask_broken(n, mono_now()))
		stream_close(s, why);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *user)
{
	struct peers *p = user;
	int64_t now = mono_now().ns;

	(void)source;
	(void)usec;
	p->timer_ns = 0;
	while (p->heap_count && p->heap[0]->deadline_ns <= now) {
		struct question *q = p->heap[0];
		struct stream *s = q->stream;
		int64_t asked_ns = q->asked_ns;

		end(p, q, PEER_TIMED_OUT, s ? "no answer in time" : "not connected in time");
		if (s)
			unheard(p, s, asked_ns);
	}
	arm(p);
	return 0;
}

int ask_open(struct peers *p)
{
	int r = sd_event_add_time(p->agent->event, &p->timer, CLOCK_MONOTONIC, 0, 1, on_deadline,
				  p);

	return r < 0 ? r : sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
}

void ask_done(struct peers *p)
{
	while (p->heap_count)
		end(p, p->heap[0], PEER_UNREACHABLE, "this agent ends");
	p->timer = sd_event_source_disable_unref(p->timer);
	for (size_t i = 0; i < p->question_slots; i++)
		free(p->questions[i]);
	free(p->questions);
	free(p->free_slots);
	free(p->heap);
}
