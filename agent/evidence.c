/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/evidence.h"

#include "agent/evidence_parts.h"
#include "agent/holder.h"
#include "agent/workload.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Of what is left of the asking node's patience; the rest is the way back. */
#define BUDGET_SHARE_PERCENT 75
#define BUDGET_MIN_MS        5
#define LOOK_SOON_MS         20
#define OUTSIDE_MS           1000
#define NS_PER_MS            1000000LL
#define NS_PER_US            1000LL
#define DEADLINE_ACCURACY_US 1000
/*
 * A large executable lets those pass that come within this time for each of its bytes: one identity
 * with many of them does not keep others from their first digest, and none waits for ever.
 */
#define NS_PER_BYTE 10
#define LARGE_BYTES (16ULL << 20)
/* What takes longer is on a file system that does not answer, or that somebody makes so slow. */
#define HASH_LIMIT_MS     10000
#define HASH_BYTES_PER_MS 8192
#define APART_MIN_MS      50
/* Not all places are for large ones. */
#define LARGE_WAITING_MAX (EVIDENCE_HASHING_MAX / 2)

struct hash_work {
	struct work work;
	struct evidence *evidence;
	struct exe_key key;
	uint64_t owner;
	bool late;
	int fd; /* O_PATH */
	struct digest digest;
	int r;
};

struct search_work {
	struct work work;
	struct evidence *evidence;
	struct ticket *ticket; /* NULL: nobody waits any more */
	struct holder_search search;
};

/* One socket that somebody asked about. */
struct ticket {
	struct evidence *evidence;
	struct ticket *next, *previous;
	struct search_work *search;
	bool searched;
	uint64_t owner;
	struct mono deadline;
	evidence_done done;
	void *user;
};

/* --- measuring ------------------------------------------------------------------------------- */

static bool hasher_is_ending(const void *user)
{
	return worker_is_ending(user);
}

/* At a start it runs in the loop's own thread, where no piece may have all the time there is. */
static void run_hash(struct work *w, struct worker *worker)
{
	struct hash_work *h = (struct hash_work *)w;
	int64_t left;

	if (!h->evidence->settled_by.ns) {
		h->r = exe_measure(h->fd, &h->key, hasher_is_ending, worker, &h->digest);
		return;
	}
	left = mono_ms_since(mono_now(), h->evidence->settled_by) / 2;
	h->r = exe_measure_apart(h->fd, &h->key, left < APART_MIN_MS ? APART_MIN_MS : left,
				 &h->digest);
}

static void hash_work_free(struct hash_work *h)
{
	closep(&h->fd);
	free(h);
}

static void remember(struct evidence *e, const struct hash_work *h)
{
	struct measured m = {.digest = h->digest, .error = h->r, .owner = h->owner};

	if (h->r < 0)
		m.digest = (struct digest){.when = mono_now()};
	evidence_remember(e, &h->key, &m);
}

static void tickets_go_on(struct evidence *e);

/* Whoever runs it is told, and judged, as one whose executable cannot be read. */
static void hash_late(struct work *w)
{
	struct hash_work *h = (struct hash_work *)w;
	struct evidence *e = h->evidence;

	h->late = true;
	e->counters.failed++;
	log_warn("an executable cannot be read in time: inode %" PRIu64 " of device %u:%u",
		 h->key.ino, h->key.dev_major, h->key.dev_minor);
	tickets_go_on(e);
	workloads_look_again(e->agent->workloads);
	watch_look_soon(e->watch, LOOK_SOON_MS);
}

static bool is_large(const struct exe_key *key)
{
	return key->size > LARGE_BYTES;
}

static void hash_done(struct work *w, bool dropped)
{
	struct hash_work *h = (struct hash_work *)w;
	struct evidence *e = h->evidence;

	(void)map_del(e->hashing, &h->key, sizeof(h->key));
	e->large_waiting -= is_large(&h->key);
	if (!dropped && h->r != -ECANCELED) {
		if (h->r < 0)
			e->counters.failed += h->r != -EAGAIN;
		else
			e->counters.hashed++;
		/* What changed while it was read is another content, with a key of its own. */
		if (h->r != -ESTALE && h->r != -ENOMEM && h->r != -EAGAIN)
			remember(e, h);
	}
	hash_work_free(h);
	if (dropped)
		return;
	tickets_go_on(e);
	workloads_look_again(e->agent->workloads);
	watch_look_soon(e->watch, LOOK_SOON_MS);
}

static int64_t turn_of(const struct exe_key *key)
{
	uint64_t size = key->size <= EVIDENCE_FILE_MAX ? key->size : 0; /* is not read */

	return mono_now().ns + (int64_t)size * NS_PER_BYTE;
}

/* Of the files that wait for being read: places of this owner, and whether one does not come. */
static size_t waiting_of(const struct evidence *e, uint64_t owner, bool *ret_late)
{
	struct map_iter it = {0};
	size_t count = 0;

	*ret_late = false;
	while (map_next(e->hashing, &it)) {
		const struct hash_work *h = it.value;

		count += h->owner == owner;
		*ret_late |= h->owner == owner && h->late;
	}
	return count;
}

static int start_hash(struct evidence *e, uint64_t owner, int exe_fd, const struct exe_key *key)
{
	struct hash_work *h = map_get(e->hashing, key, sizeof(*key));
	bool late;
	int r;

	if (h)
		return h->late ? -ETIMEDOUT : 0;
	if ((is_large(key) && e->large_waiting >= LARGE_WAITING_MAX) ||
	    waiting_of(e, owner, &late) >= EVIDENCE_HASHING_SHARE)
		return -E2BIG;
	/* One thread is left behind for each identity, not one for each of its files. */
	if (late && owner != EVIDENCE_OF_NOBODY)
		return -ETIMEDOUT;
	h = mem_calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	*h = (struct hash_work){
		.work = {.run = run_hash,
			 .done = hash_done,
			 .late = hash_late,
			 .limit_ms = HASH_LIMIT_MS + (int64_t)(key->size / HASH_BYTES_PER_MS),
			 .after = turn_of(key)},
		.evidence = e,
		.key = *key,
		.owner = owner,
		.fd = fcntl(exe_fd, F_DUPFD_CLOEXEC, 0),
	};
	r = h->fd < 0 ? -errno : map_put(e->hashing, key, sizeof(*key), h);
	if (r == 0) {
		r = worker_put(e->hasher, &h->work);
		if (r < 0)
			(void)map_del(e->hashing, key, sizeof(*key));
	}
	if (r < 0)
		hash_work_free(h);
	else
		e->large_waiting += is_large(key);
	return r;
}

static void remember_unreadable(struct evidence *e, uint64_t owner, const struct exe_key *key)
{
	struct measured m = {.error = -EOPNOTSUPP, .owner = owner, .digest = {.when = mono_now()}};

	e->counters.failed++;
	evidence_remember(e, key, &m);
}

enum known evidence_lookup(struct evidence *e, uint64_t owner, pid_t pid, int exe_fd,
			   const struct exe_key *key, struct digest *ret)
{
	const struct measured *m = evidence_recall(e, owner, key);

	if (m && m->error < 0 && mono_ms_since(m->digest.when, mono_now()) >= EVIDENCE_RETRY_MS)
		m = NULL;
	if (m) {
		e->counters.cached++;
		*ret = m->digest;
		return m->error < 0 ? KNOWN_NOT : KNOWN;
	}
	*ret = (struct digest){0};
	if (!map_get(e->hashing, key, sizeof(*key)) && exe_may_be_read(pid, key) == -EOPNOTSUPP) {
		remember_unreadable(e, owner, key);
		return KNOWN_NOT;
	}
	/* What does not fit is looked at again with the next look. */
	return start_hash(e, owner, exe_fd, key) == -ETIMEDOUT ? KNOWN_NOT : KNOWN_NOT_YET;
}

bool evidence_of_process(struct evidence *e, pid_t pid, struct digest *ret)
{
	CLEANUP(closep) int proc_fd = proc_open(pid);
	CLEANUP(closep) int exe_fd = -1;
	struct exe_key key;
	bool deleted;

	if (proc_fd < 0)
		return false;
	exe_fd = exe_open(proc_fd, &key, &deleted);
	if (exe_fd < 0 ||
	    evidence_lookup(e, EVIDENCE_OF_NOBODY, pid, exe_fd, &key, ret) == KNOWN_NOT_YET)
		return false;
	ret->deleted = deleted;
	return true;
}

/* --- sockets --------------------------------------------------------------------------------- */

static void ticket_free(struct ticket *t)
{
	struct evidence *e = t->evidence;

	if (t->next)
		t->next->previous = t->previous;
	if (t->previous)
		t->previous->next = t->next;
	else
		e->tickets = t->next;
	e->ticket_count--;
	if (t->search && t->searched) {
		holder_search_done(&t->search->search);
		free(t->search);
	} else if (t->search) {
		t->search->ticket = NULL;
	}
	free(t);
}

static void ticket_end(struct ticket *t, enum peer_status status, const struct digest *digest)
{
	evidence_done done = t->done;
	void *user = t->user;

	ticket_free(t);
	done(user, status, digest);
}

static void refuse(struct evidence *e, const char *text)
{
	(void)snprintf(e->refusal, sizeof(e->refusal), "%s", text);
}

static bool same_content(const struct digest *a, const struct digest *b)
{
	return a->has_sha256 == b->has_sha256 &&
	       memcmp(a->sha256, b->sha256, sizeof(a->sha256)) == 0;
}

/* Its holders are known; what they run may not be yet. True when it has ended. */
static bool ticket_measure(struct ticket *t)
{
	const struct holder_search *s = &t->search->search;
	struct digest all = {0}, d;
	bool waiting = false;

	for (size_t i = 0; i < s->exe_count; i++) {
		if (evidence_lookup(t->evidence, t->owner, s->exes[i].pid, s->exes[i].fd,
				    &s->exes[i].key, &d) == KNOWN_NOT_YET) {
			waiting = true;
			continue;
		}
		d.deleted = s->exes[i].deleted || all.deleted;
		if (i > 0 && !waiting && !same_content(&all, &d)) {
			t->evidence->counters.mismatched++;
			refuse(t->evidence, "processes with different executables hold the socket");
			ticket_end(t, PEER_HOLDER_MISMATCH, NULL);
			return true;
		}
		all = d;
	}
	if (waiting)
		return false;
	ticket_end(t, PEER_OK, &all);
	return true;
}

static void ticket_searched(struct ticket *t)
{
	struct evidence *e = t->evidence;
	const struct holder_search *s = &t->search->search;
	char text[LOG_QUOTE_MAX];

	switch (s->found) {
	case HOLDER_INSIDE:
		(void)ticket_measure(t);
		return;
	case HOLDER_OUTSIDE:
		(void)snprintf(text, sizeof(text),
			       "process %ld, of another cgroup than the socket's, holds it",
			       (long)s->outsider);
		refuse(e, text);
		log_warn("socket %u: %s; it was passed on, or the process was moved; not vouched "
			 "for as measured",
			 s->inode, text);
		break;
	case HOLDER_NOBODY:
		refuse(e, "no process of the socket's cgroup holds it");
		break;
	case HOLDER_TOO_MANY:
		refuse(e, "too many processes or descriptors to find who holds the socket");
		break;
	case HOLDER_FAILED:
		refuse(e, "the processes of the socket's cgroup cannot be read");
		break;
	}
	e->counters.mismatched++;
	ticket_end(t, PEER_HOLDER_MISMATCH, NULL);
}

static void tickets_go_on(struct evidence *e)
{
	struct ticket *t = e->tickets;

	/* A callback may end others: from the beginning, after each that ended. */
	while (t) {
		if (t->searched && ticket_measure(t))
			t = e->tickets;
		else
			t = t->next;
	}
}

static void run_search(struct work *w, struct worker *worker)
{
	struct search_work *s = (struct search_work *)w;

	s->search.ending = hasher_is_ending;
	s->search.user = worker;
	holder_search_run(&s->search);
}

/* Of those that wait at most one: it costs the descriptors of the whole host, for people only. */
static bool may_look_outside(struct evidence *e)
{
	if (e->looking_outside ||
	    (e->looked_outside.ns && mono_ms_since(e->looked_outside, mono_now()) < OUTSIDE_MS))
		return false;
	e->looking_outside = true;
	return true;
}

static void note_look_outside(struct evidence *e, const struct holder_search *s)
{
	if (!s->outside)
		return;
	e->looking_outside = false;
	if (s->found == HOLDER_OUTSIDE || s->found == HOLDER_NOBODY)
		e->looked_outside = mono_now();
}

static void search_done(struct work *w, bool dropped)
{
	struct search_work *s = (struct search_work *)w;

	note_look_outside(s->evidence, &s->search);
	if (!s->ticket) {
		holder_search_done(&s->search);
		free(s);
		return;
	}
	s->ticket->searched = true;
	s->evidence->counters.searched++;
	if (!dropped)
		ticket_searched(s->ticket);
}

/* --- budgets --------------------------------------------------------------------------------- */

static void arm_deadline(struct evidence *e)
{
	int64_t first = INT64_MAX;

	for (const struct ticket *t = e->tickets; t; t = t->next)
		if (t->deadline.ns < first)
			first = t->deadline.ns;
	if (first == INT64_MAX) {
		(void)sd_event_source_set_enabled(e->deadline, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time(e->deadline, (uint64_t)(first / NS_PER_US) + 1);
	(void)sd_event_source_set_enabled(e->deadline, SD_EVENT_ONESHOT);
}

static int on_deadline(sd_event_source *s, uint64_t usec, void *user)
{
	struct evidence *e = user;
	struct ticket *t = e->tickets;
	struct mono now = mono_now();

	(void)s;
	(void)usec;
	while (t) {
		if (t->deadline.ns > now.ns) {
			t = t->next;
			continue;
		}
		e->counters.too_late++;
		refuse(e, "the executable could not be measured in time");
		ticket_end(t, PEER_BUSY, NULL);
		t = e->tickets;
	}
	arm_deadline(e);
	return 0;
}

static struct ticket *ticket_new(struct evidence *e, uint32_t budget_ms, evidence_done done,
				 void *user)
{
	int64_t ms = (int64_t)budget_ms * BUDGET_SHARE_PERCENT / 100;
	struct ticket *t = mem_calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->search = mem_calloc(1, sizeof(*t->search));
	if (!t->search) {
		free(t);
		return NULL;
	}
	*t->search = (struct search_work){
		.work = {.run = run_search, .done = search_done},
		.evidence = e,
		.ticket = t,
		.search = {.cgroup_fd = -1},
	};
	t->evidence = e;
	t->deadline.ns = mono_now().ns + (ms < BUDGET_MIN_MS ? BUDGET_MIN_MS : ms) * NS_PER_MS;
	t->done = done;
	t->user = user;
	t->next = e->tickets;
	if (t->next)
		t->next->previous = t;
	e->tickets = t;
	e->ticket_count++;
	return t;
}

/* One that has not begun to search. */
static void ticket_refuse(struct ticket *t, enum peer_status status, const char *text)
{
	refuse(t->evidence, text);
	t->searched = true; /* its search is its own again */
	ticket_end(t, status, NULL);
}

static void begin_search(struct ticket *t)
{
	struct evidence *e = t->evidence;

	t->search->search.outside = may_look_outside(e);
	if (worker_put(e->searcher, &t->search->work) >= 0) {
		arm_deadline(e);
		return;
	}
	note_look_outside(e, &t->search->search);
	ticket_refuse(t, PEER_INTERNAL, "no thread can be started");
}

static uint64_t owner_of_socket(const struct evidence *e, const struct socket_info *s)
{
	const struct edition *in_force = agent_edition(e->agent);
	enum slot slot = in_force == &e->agent->candidate ? SLOT_B : SLOT_A;
	struct workload_answer w;

	if (workloads_resolve(e->agent->workloads, slot, s->cgroup_id, s->uid, &w) < 0 ||
	    w.what != WORKLOAD_IDENTITY)
		return EVIDENCE_OF_NOBODY;
	return evidence_owner(in_force->policy->identities[w.identity].path);
}

void evidence_of_socket(struct evidence *e, const struct socket_info *s, uint32_t budget_ms,
			evidence_done done, void *user)
{
	struct ticket *t = e->ticket_count < EVIDENCE_QUESTIONS_MAX
				   ? ticket_new(e, budget_ms, done, user)
				   : NULL;

	if (!t) {
		refuse(e, "too many sockets are being looked at");
		done(user, PEER_BUSY, NULL);
		return;
	}
	t->owner = owner_of_socket(e, s);
	t->search->search.inode = s->inode;
	t->search->search.cgroup_fd = workloads_cgroup_open(e->agent->workloads, s->cgroup_id);
	if (t->search->search.cgroup_fd < 0)
		ticket_refuse(t, PEER_HOLDER_MISMATCH, "the cgroup of the socket is gone");
	else
		begin_search(t);
}

void evidence_cancel(struct evidence *e, void *user)
{
	struct ticket *t = e ? e->tickets : NULL, *next;

	for (; t; t = next) {
		next = t->next;
		if (t->user == user)
			ticket_free(t);
	}
}

const char *evidence_last_refusal(const struct evidence *e)
{
	return e ? e->refusal : "";
}

/* --- life ------------------------------------------------------------------------------------ */

static bool digest_of(void *user, pid_t pid, struct process_digest *ret)
{
	struct digest d;

	if (!evidence_of_process(user, pid, &d) || !d.has_sha256)
		return false;
	*ret = (struct process_digest){.has_fsverity = d.has_fsverity, .deleted = d.deleted};
	memcpy(ret->sha256, d.sha256, sizeof(ret->sha256));
	memcpy(ret->fsverity, d.fsverity, sizeof(ret->fsverity));
	return true;
}

int evidence_open(struct agent *a, struct evidence **ret, struct err *err)
{
	struct evidence *e = mem_calloc(1, sizeof(*e));
	int r;

	if (!e)
		return err_set(err, ENOMEM, "evidence: out of memory");
	e->agent = a;
	e->cache = map_new(EVIDENCE_CACHE_MAX, free);
	e->hashing = map_new(EVIDENCE_HASHING_MAX, NULL);
	e->shares = map_new(EVIDENCE_CACHE_MAX, free);
	r = e->cache && e->hashing && e->shares ? 0
						: err_set(err, ENOMEM, "evidence: out of memory");
	if (r >= 0)
		r = worker_new(a->event, "bw-hash", &e->hasher, err);
	if (r >= 0)
		r = worker_new(a->event, "bw-holder", &e->searcher, err);
	if (r >= 0) {
		r = sd_event_add_time_relative(a->event, &e->deadline, CLOCK_MONOTONIC, 0,
					       DEADLINE_ACCURACY_US, on_deadline, e);
		if (r < 0)
			r = err_set(err, -r, "evidence: event loop: %s", strerror(-r));
		else
			(void)sd_event_source_set_enabled(e->deadline, SD_EVENT_OFF);
	}
	if (r >= 0)
		r = watch_new(e, &e->watch, err);
	if (r < 0) {
		evidence_free(e);
		return r;
	}
	if (a->workloads)
		workloads_set_digests(a->workloads, digest_of, e);
	*ret = e;
	return 0;
}

void evidence_free(struct evidence *e)
{
	if (!e)
		return;
	while (e->tickets)
		ticket_free(e->tickets);
	worker_free(e->searcher);
	worker_free(e->hasher);
	if (e->agent->workloads)
		workloads_set_digests(e->agent->workloads, NULL, NULL);
	sd_event_source_disable_unref(e->deadline);
	watch_free(e->watch);
	map_free(e->hashing);
	map_free(e->cache);
	map_free(e->shares);
	free(e);
}

void evidence_settle(struct evidence *e, int64_t ms)
{
	e->settled_by.ns = mono_now().ns + ms * NS_PER_MS;
	watch_look(e->watch);
	worker_run_here(e->hasher, ms);
	e->settled_by.ns = 0;
	watch_look(e->watch);
}

void evidence_tick(struct evidence *e)
{
	if (!e)
		return;
	worker_watch(e->hasher);
	worker_watch(e->searcher);
	watch_look_if_rested(e->watch);
}

void evidence_counters(const struct evidence *e, struct evidence_counters *ret)
{
	*ret = e ? e->counters : (struct evidence_counters){0};
}
