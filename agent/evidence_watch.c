/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What runs here under identities with `reference:` values (UC-18). Each second every process of
 * theirs is compared; known files cost an open and a statx each.
 *
 * A process that runs what is not approved is an alert, and closes the `measured` rules of its
 * identity on this host until all its processes are approved again. A file that is still being
 * read for the first time closes nothing: a restart of the agent must not cut what is permitted,
 * and a connection that is asked about is answered by its own holder's digest anyway. Identities
 * that only a uid tells are not watched, there is no cgroup to look into.
 */
#include "agent/evidence_parts.h"

#include "agent/process.h"
#include "agent/workload.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PROC_TEXT_MAX    65536
#define UNMEASURED_MAX   100000
#define STAT_START_FIELD 20 /* starttime, counted from the one behind the name (proc(5): 22nd) */
#define LOOK_ACCURACY_US 1000
#define NS_PER_S         1000000000LL
/* A service with thousands of processes has a tenth of the loop's time, not all of it. */
#define LONG_LOOK_NS (NS_PER_S / 4)
#define LOOK_SHARE   9 /* times as long as a long look took there is no other */
/* Who ends between the list and the look may have forked who is not in the list: another list. */
#define LISTS_MAX 3

enum problem_kind {
	PROBLEM_NOT_APPROVED,
	PROBLEM_UNREADABLE,
	PROBLEM_UNSEEN,          /* of processes that no look comes to */
	PROBLEM_REPLACED,        /* `deleted_exe: warn` */
	PROBLEM_REPLACED_DENIED, /* `deleted_exe: deny` */
};

static const struct {
	const char *text;
	bool ends_measured;
} kinds[] = {
	[PROBLEM_NOT_APPROVED] = {"its executable is none of the approved ones", true},
	[PROBLEM_UNREADABLE] = {"its executable cannot be measured", true},
	[PROBLEM_UNSEEN] =
		{"not all its processes can be looked at: too many, too deep, or unreadable", true},
	[PROBLEM_REPLACED] = {"its executable was replaced on disk since it started", false},
	[PROBLEM_REPLACED_DENIED] = {"its executable was replaced on disk since it started", true},
};

struct problem {
	enum problem_kind kind;
	char *identity; /* path */
	char *cgroup, *exe;
	pid_t pid;
	bool has_sha256;
	uint8_t sha256[PEER_DIGEST_LEN];
};

/* A process that was too young to be judged when it was seen. */
struct newcomer {
	char *identity;
	uint8_t sha256[PEER_DIGEST_LEN];
	struct mono
		since; /* when one that runs the same was first seen, in each look from then on */
};

/* What one look has found. */
struct findings {
	struct newcomer *newcomers;
	size_t newcomer_count, newcomer_cap;
	struct problem *problems;
	size_t count, cap;
	char **unmeasured; /* NULL-terminated, each once */
	size_t unmeasured_count, unmeasured_cap;
};

struct watch {
	struct evidence *evidence;
	sd_event_source *timer;
	struct findings now;
	struct mono rest_until;
};

struct look {
	struct watch *watch;
	const struct host *host;
	const struct policy *policy;
	const struct host_workload *workload;
	uint64_t owner; /* of its identity */
	struct findings found;
	struct mono when;
	bool somebody_ended; /* while the processes of a list were looked at */
	int r;
};

static void problem_done(struct problem *p)
{
	free(p->identity);
	free(p->cgroup);
	free(p->exe);
}

static void findings_done(struct findings *f)
{
	for (size_t i = 0; i < f->count; i++)
		problem_done(&f->problems[i]);
	for (size_t i = 0; i < f->unmeasured_count; i++)
		free(f->unmeasured[i]);
	for (size_t i = 0; i < f->newcomer_count; i++)
		free(f->newcomers[i].identity);
	free(f->newcomers);
	free(f->problems);
	free(f->unmeasured);
	*f = (struct findings){0};
}

/* --- one process ----------------------------------------------------------------------------- */

static bool read_proc(int proc_fd, const char *file, char **ret)
{
	size_t len = 0;

	return file_read(proc_fd, file, PROC_TEXT_MAX, ret, &len, NULL) == 0;
}

static bool is_of_user(struct look *l, int proc_fd)
{
	CLEANUP(freep) char *status = NULL;
	uint32_t uids[4];

	if (!l->workload->has_uid)
		return true;
	if (!read_proc(proc_fd, "status", &status)) {
		l->somebody_ended = true;
		return false;
	}
	/* The effective one: sockets are made as it. */
	return process_status_uids(status, uids) && uids[1] == l->workload->uid;
}

/* Milliseconds since it was forked; large when that cannot be told. */
static int64_t age_of(int proc_fd)
{
	CLEANUP(freep) char *text = NULL;
	long ticks = sysconf(_SC_CLK_TCK);
	char *field;
	uint64_t start;

	if (ticks <= 0 || !read_proc(proc_fd, "stat", &text))
		return INT64_MAX;
	/* The name may hold anything, brackets and spaces too; behind its end are numbers. */
	field = strrchr(text, ')');
	for (unsigned i = 0; field && i < STAT_START_FIELD; i++) {
		field = strchr(field, ' ');
		field = field ? field + 1 : NULL;
	}
	if (!field)
		return INT64_MAX;
	field[strcspn(field, " \n")] = '\0';
	if (text_u64(field, 0, INT64_MAX / NS_PER_S, &start) < 0)
		return INT64_MAX;
	return boottime_now().ns / 1000000 - (int64_t)start * 1000 / ticks;
}

static bool is_approved(const struct identity *id, const struct digest *d)
{
	char hex[SHA256_HEX_LEN];

	hex_format(d->sha256, sizeof(d->sha256), hex);
	for (size_t i = 0; i < id->reference_count; i++)
		if (str_eq(id->reference[i], hex))
			return true;
	return false;
}

static char *exe_text(int proc_fd)
{
	char target[PATH_MAX + 1], quoted[LOG_QUOTE_MAX];
	ssize_t n = readlinkat(proc_fd, "exe", target, PATH_MAX);

	target[n < 0 ? 0 : n] = '\0';
	return mem_strdup(log_quote(quoted, target));
}

static char *cgroup_text(const struct look *l)
{
	char path[WORKLOAD_PATH_MAX], quoted[LOG_QUOTE_MAX];

	if (workloads_cgroup_path(l->watch->evidence->agent->workloads, l->workload->cgroup_id,
				  path, sizeof(path)) < 0)
		path[0] = '\0';
	return mem_strdup(log_quote(quoted, path));
}

static int add_unmeasured(struct findings *f, const char *identity)
{
	char *copy;
	int r;

	for (size_t i = 0; i < f->unmeasured_count; i++)
		if (str_eq(f->unmeasured[i], identity))
			return 0;
	r = vec_grow(&f->unmeasured, &f->unmeasured_cap, f->unmeasured_count + 2,
		     sizeof(*f->unmeasured), UNMEASURED_MAX);
	if (r < 0)
		return r;
	copy = mem_strdup(identity);
	if (!copy)
		return -ENOMEM;
	f->unmeasured[f->unmeasured_count++] = copy;
	f->unmeasured[f->unmeasured_count] = NULL;
	return 0;
}

/* A process of the list before is in this one too. */
static bool is_listed(const struct findings *f, pid_t pid, const char *identity)
{
	for (size_t i = 0; pid != 0 && i < f->count; i++)
		if (f->problems[i].pid == pid && str_eq(f->problems[i].identity, identity))
			return true;
	return false;
}

static int add_problem(struct look *l, enum problem_kind kind, pid_t pid, int proc_fd,
		       const struct digest *d)
{
	struct findings *f = &l->found;
	const char *identity = l->policy->identities[l->workload->identity].path;
	struct problem p = {.kind = kind, .pid = pid, .has_sha256 = d->has_sha256};
	int r = kinds[kind].ends_measured ? add_unmeasured(f, identity) : 0;

	if (r < 0 || f->count == EVIDENCE_PROBLEMS_MAX || is_listed(f, pid, identity))
		return r;
	r = vec_grow(&f->problems, &f->cap, f->count + 1, sizeof(*f->problems),
		     EVIDENCE_PROBLEMS_MAX);
	if (r < 0)
		return r;
	memcpy(p.sha256, d->sha256, sizeof(p.sha256));
	p.identity = mem_strdup(identity);
	p.exe = exe_text(proc_fd);
	p.cgroup = cgroup_text(l);
	if (!p.identity || !p.exe || !p.cgroup) {
		problem_done(&p);
		return -ENOMEM;
	}
	f->problems[f->count++] = p;
	return 0;
}

static const struct newcomer *find_newcomer(const struct findings *f, const char *identity,
					    const struct digest *d)
{
	for (size_t i = 0; i < f->newcomer_count; i++)
		if (str_eq(f->newcomers[i].identity, identity) &&
		    memcmp(f->newcomers[i].sha256, d->sha256, sizeof(d->sha256)) == 0)
			return &f->newcomers[i];
	return NULL;
}

/*
 * A service begins as its manager's executable, for a moment: a young process is judged by the next
 * look. One that forks again and again is always young; so what has run in each look for as long is
 * old, whichever process it is.
 */
static int is_too_young(struct look *l, int proc_fd, const struct digest *d, bool *ret_young)
{
	const char *identity = l->policy->identities[l->workload->identity].path;
	const struct newcomer *before = find_newcomer(&l->watch->now, identity, d);
	struct newcomer n = {.since = before ? before->since : l->when};
	struct findings *f = &l->found;
	int r;

	*ret_young = age_of(proc_fd) < EVIDENCE_SETTLE_MS;
	if (!*ret_young || find_newcomer(f, identity, d))
		return 0;
	if (mono_ms_since(n.since, l->when) >= EVIDENCE_SETTLE_MS)
		*ret_young = false;
	r = vec_grow(&f->newcomers, &f->newcomer_cap, f->newcomer_count + 1, sizeof(*f->newcomers),
		     EVIDENCE_PROBLEMS_MAX);
	/* Too many to be remembered: judged at once. */
	if (r < 0) {
		*ret_young = *ret_young && r != -E2BIG;
		return r == -E2BIG ? 0 : r;
	}
	n.identity = mem_strdup(identity);
	if (!n.identity)
		return -ENOMEM;
	memcpy(n.sha256, d->sha256, sizeof(n.sha256));
	f->newcomers[f->newcomer_count++] = n;
	return 0;
}

/* -1: nothing is wrong with it. */
static int judge(const struct look *l, enum known known, const struct digest *d)
{
	const struct identity *id = &l->policy->identities[l->workload->identity];

	if (known == KNOWN_NOT)
		return PROBLEM_UNREADABLE;
	if (!is_approved(id, d))
		return PROBLEM_NOT_APPROVED;
	if (!d->deleted)
		return -1;
	return l->watch->evidence->agent->config.deleted_exe == DELETED_EXE_DENY
		       ? PROBLEM_REPLACED_DENIED
		       : PROBLEM_REPLACED;
}

static bool is_end(int r)
{
	return r == -ENOENT || r == -ESRCH;
}

static bool is_our_lack(int r)
{
	return r == -EMFILE || r == -ENFILE || r == -ENOMEM;
}

/* What was opened, if the process is there: else it has ended, or we lack what looking takes. */
static bool is_there(struct look *l, int fd)
{
	if (fd >= 0)
		return true;
	if (is_end(fd))
		l->somebody_ended = true;
	else
		l->r = fd;
	return false;
}

static void look_at(void *user, int cgroup_fd, pid_t pid)
{
	struct look *l = user;
	CLEANUP(closep) int proc_fd = proc_open(pid);
	CLEANUP(closep) int exe_fd = -1;
	struct digest d = {0};
	struct exe_key key;
	enum known known;
	bool deleted, young;
	int kind;

	(void)cgroup_fd;
	if (l->r < 0 || !is_there(l, proc_fd) || !is_of_user(l, proc_fd))
		return;
	exe_fd = exe_open(proc_fd, &key, &deleted);
	/* A file that not even its attributes are told of is one that cannot be measured. */
	if (exe_fd < 0 && !is_our_lack(exe_fd) && !is_end(exe_fd))
		known = KNOWN_NOT;
	else if (is_there(l, exe_fd))
		known = evidence_lookup(l->watch->evidence, l->owner, pid, exe_fd, &key, &d);
	else
		return;
	if (known == KNOWN_NOT_YET)
		return;
	d.deleted = exe_fd >= 0 && deleted;
	kind = judge(l, known, &d);
	if (kind < 0)
		return;
	l->r = is_too_young(l, proc_fd, &d, &young);
	if (l->r == 0 && !young)
		l->r = add_problem(l, (enum problem_kind)kind, pid, proc_fd, &d);
}

/* What no look comes to may run anything: never taken for measured. */
static void judge_unseen(struct look *l, int r)
{
	const struct digest none = {0};

	if (l->r < 0 || r == 0 || r == -ENOENT || r == -ENODEV)
		return;
	l->r = add_problem(l, PROBLEM_UNSEEN, 0, -1, &none);
}

/* --- a look ---------------------------------------------------------------------------------- */

/* A cgroup below that is somebody else's is looked into as that one's. */
static bool is_of_same(void *user, uint64_t cgroup_id)
{
	const struct look *l = user;

	for (size_t i = 0; i < l->host->workload_count; i++)
		if (l->host->workloads[i].cgroup_id == cgroup_id &&
		    l->host->workloads[i].identity != l->workload->identity)
			return false;
	for (size_t i = 0; i < l->host->nobody_count; i++)
		if (l->host->nobodies[i].cgroup_id == cgroup_id)
			return false;
	return true;
}

static int look_into(struct look *l, int cgroup_fd)
{
	int r = 0;

	l->somebody_ended = true;
	for (unsigned i = 0; i < LISTS_MAX && l->somebody_ended && l->r == 0; i++) {
		l->somebody_ended = false;
		r = process_each(cgroup_fd, CGROUP_LEVEL_MAX, is_of_same, look_at, l);
	}
	return r;
}

static void look_slot(struct look *l, enum slot slot, const struct policy *policy)
{
	struct workloads *w = l->watch->evidence->agent->workloads;

	l->policy = policy;
	l->host = policy ? workloads_host(w, slot) : NULL;
	for (size_t i = 0; l->host && i < l->host->workload_count && l->r == 0; i++) {
		CLEANUP(closep) int fd = -1;

		l->workload = &l->host->workloads[i];
		if (l->workload->identity >= policy->identity_count ||
		    policy->identities[l->workload->identity].reference_count == 0 ||
		    l->workload->cgroup_id == 0)
			continue;
		l->owner = evidence_owner(policy->identities[l->workload->identity].path);
		fd = workloads_cgroup_open(w, l->workload->cgroup_id);
		if (fd >= 0)
			judge_unseen(l, look_into(l, fd));
	}
}

static bool same_problem(const struct problem *a, const struct problem *b)
{
	return a->kind == b->kind && str_eq(a->identity, b->identity) &&
	       memcmp(a->sha256, b->sha256, sizeof(a->sha256)) == 0;
}

/* Among the first of what was found. */
static bool has_problem(const struct findings *f, size_t first, const struct problem *p)
{
	for (size_t i = 0; i < first; i++)
		if (same_problem(&f->problems[i], p))
			return true;
	return false;
}

static bool has_unmeasured(const struct findings *f, const char *identity)
{
	for (size_t i = 0; i < f->unmeasured_count; i++)
		if (str_eq(f->unmeasured[i], identity))
			return true;
	return false;
}

static void tell_problem(const struct problem *p)
{
	char hex[SHA256_HEX_LEN] = "unknown";

	if (p->pid == 0) {
		log_warn("%s: %s: %s", p->identity, p->cgroup, kinds[p->kind].text);
		return;
	}
	if (p->has_sha256)
		hex_format(p->sha256, sizeof(p->sha256), hex);
	log_warn("%s: process %ld in %s: %s: %s, sha256 %s", p->identity, (long)p->pid, p->cgroup,
		 kinds[p->kind].text, p->exe, hex);
}

/* True when rules open or close by it. */
static bool tell_changes(const struct findings *before, const struct findings *now)
{
	bool changed = false;

	/* Further processes that run the same are no news, be they of this look or of one before.
	 */
	for (size_t i = 0; i < now->count; i++)
		if (!has_problem(before, before->count, &now->problems[i]) &&
		    !has_problem(now, i, &now->problems[i]))
			tell_problem(&now->problems[i]);
	for (size_t i = 0; i < now->unmeasured_count; i++) {
		if (has_unmeasured(before, now->unmeasured[i]))
			continue;
		log_error("%s: what runs here is not approved; its measured rules are closed",
			  now->unmeasured[i]);
		changed = true;
	}
	for (size_t i = 0; i < before->unmeasured_count; i++) {
		if (has_unmeasured(now, before->unmeasured[i]))
			continue;
		log_info("%s: everything that runs here is approved again", before->unmeasured[i]);
		changed = true;
	}
	return changed;
}

static bool has_references(const struct policy *p)
{
	for (size_t i = 0; p && i < p->identity_count; i++)
		if (p->identities[i].reference_count > 0)
			return true;
	return false;
}

static void note_duration(struct watch *w, struct mono began)
{
	struct mono now = mono_now();

	if (now.ns - began.ns >= LONG_LOOK_NS)
		w->rest_until.ns = now.ns + LOOK_SHARE * (now.ns - began.ns);
}

void watch_look_if_rested(struct watch *w)
{
	if (mono_now().ns >= w->rest_until.ns)
		watch_look(w);
}

void watch_look(struct watch *w)
{
	struct agent *a = w->evidence->agent;
	struct look l = {.watch = w, .when = mono_now()};
	bool changed;

	if (!a->workloads)
		return;
	if (w->now.count == 0 && w->now.unmeasured_count == 0 && w->now.newcomer_count == 0 &&
	    !has_references(a->confirmed.policy) && !has_references(a->candidate.policy))
		return;
	look_slot(&l, SLOT_A, a->confirmed.policy);
	look_slot(&l, SLOT_B, a->candidate.policy);
	note_duration(w, l.when);
	/* Without memory what was found before stays, until the next look. */
	if (l.r < 0) {
		findings_done(&l.found);
		return;
	}
	changed = tell_changes(&w->now, &l.found);
	findings_done(&w->now);
	w->now = l.found;
	if (w->now.newcomer_count > 0)
		watch_look_soon(w, EVIDENCE_SETTLE_MS);
	if (changed)
		agent_touch(a, DIRTY_POLICY);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *user)
{
	(void)s;
	(void)usec;
	watch_look_if_rested(user);
	return 0;
}

void watch_look_soon(struct watch *w, uint64_t ms)
{
	int enabled = SD_EVENT_OFF;

	if (sd_event_source_get_enabled(w->timer, &enabled) >= 0 && enabled != SD_EVENT_OFF)
		return;
	(void)sd_event_source_set_time_relative(w->timer, ms * 1000);
	(void)sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
}

int watch_new(struct evidence *e, struct watch **ret, struct err *err)
{
	struct watch *w = mem_calloc(1, sizeof(*w));
	int r;

	if (!w)
		return err_set(err, ENOMEM, "evidence: out of memory");
	w->evidence = e;
	r = sd_event_add_time_relative(e->agent->event, &w->timer, CLOCK_MONOTONIC, 0,
				       LOOK_ACCURACY_US, on_timer, w);
	if (r < 0) {
		watch_free(w);
		return err_set(err, -r, "evidence: event loop: %s", strerror(-r));
	}
	(void)sd_event_source_set_enabled(w->timer, SD_EVENT_OFF);
	*ret = w;
	return 0;
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	sd_event_source_disable_unref(w->timer);
	findings_done(&w->now);
	free(w);
}

/* --- for others ------------------------------------------------------------------------------ */

const char *const *evidence_unmeasured(const struct evidence *e)
{
	static const char *const none[] = {NULL};

	if (!e || !e->watch || e->watch->now.unmeasured_count == 0)
		return none;
	return (const char *const *)e->watch->now.unmeasured;
}

json_t *evidence_problems(const struct evidence *e)
{
	json_t *list = json_array();

	for (size_t i = 0; list && e && e->watch && i < e->watch->now.count; i++) {
		const struct problem *p = &e->watch->now.problems[i];
		char hex[SHA256_HEX_LEN] = "";

		if (p->has_sha256)
			hex_format(p->sha256, sizeof(p->sha256), hex);
		(void)json_array_append_new(
			list, json_pack("{s:s,s:s,s:I,s:s,s:s,s:s,s:b}", "identity", p->identity,
					"cgroup", p->cgroup, "pid", (json_int_t)p->pid, "exe",
					p->exe, "sha256", hex, "problem", kinds[p->kind].text,
					"ends_measured", kinds[p->kind].ends_measured));
	}
	return list;
}
