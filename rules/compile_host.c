/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whose packet it is, on this host now: cgroups and uids to identity marks, listeners, and the
 * process groups of each identity.
 */
#include "rules/compile_build.h"

#include "base/mem.h"
#include "rules/marks.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define ENDS_MAX 4000000

/* How a process is recognised. */
enum who_form { WHO_UID, WHO_CGROUP, WHO_CGROUP_UID };

struct who {
	uint8_t form; /* enum who_form */
	uint8_t level;
	uint64_t cgroup;
	uint32_t uid;
	uint32_t mark;
	bool nobody; /* gives way to an identity */
};

/* --- local identities ------------------------------------------------------------------------ */

static int index_cmp(const void *a, const void *b, void *locals)
{
	const struct local_identity *l = locals;
	uint32_t x = l[*(const uint32_t *)a].index, y = l[*(const uint32_t *)b].index;

	return x < y ? -1 : x > y;
}

static const struct local_identity *find_local(const struct build_side *s, uint32_t identity)
{
	size_t low = 0, high = s->g->local_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct local_identity *l = &s->g->locals[s->by_index[middle]];

		if (l->index == identity)
			return l;
		if (l->index < identity)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static const char *name_of_mark(const struct build_side *s, uint32_t mark)
{
	for (size_t i = 0; i < s->g->local_count; i++)
		if (s->g->locals[i].mark == mark)
			return s->g->locals[i].name;
	return "nobody";
}

/* --- ends ------------------------------------------------------------------------------------ */

static int end_cmp(const void *a, const void *b)
{
	const struct local_end *x = a, *y = b;

	if (x->mark != y->mark)
		return x->mark < y->mark ? -1 : 1;
	if (x->level != y->level)
		return x->level < y->level ? -1 : 1;
	return x->cgroup < y->cgroup ? -1 : x->cgroup > y->cgroup;
}

int build_ends_add(const struct build *b, struct local_ends *l, const struct local_end *end)
{
	if (vec_grow(&l->items, &l->cap, l->count + 1, sizeof(*l->items), ENDS_MAX) < 0)
		return build_no_memory(b);
	l->items[l->count++] = *end;
	return 0;
}

void build_ends_sort(struct local_ends *l)
{
	size_t kept = 0;

	if (l->count > 1)
		qsort(l->items, l->count, sizeof(*l->items), end_cmp);
	for (size_t i = 0; i < l->count; i++)
		if (kept == 0 || end_cmp(&l->items[kept - 1], &l->items[i]) != 0)
			l->items[kept++] = l->items[i];
	l->count = kept;
}

size_t build_ends_of(const struct build_side *s, uint32_t mark, size_t *ret_first)
{
	size_t low = 0, high = s->ends.count, last;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (s->ends.items[middle].mark < mark)
			low = middle + 1;
		else
			high = middle;
	}
	for (last = low; last < s->ends.count && s->ends.items[last].mark == mark;)
		last++;
	*ret_first = low;
	return last - low;
}

/* --- who ------------------------------------------------------------------------------------- */

static int place_cmp(const struct who *a, const struct who *b)
{
	if (a->form != b->form)
		return a->form < b->form ? -1 : 1;
	if (a->level != b->level)
		return a->level < b->level ? -1 : 1;
	if (a->cgroup != b->cgroup)
		return a->cgroup < b->cgroup ? -1 : 1;
	return a->uid < b->uid ? -1 : a->uid > b->uid;
}

/* Identities before nobodies; of these, one whose listener must be asked for first. */
static int who_cmp(const void *x, const void *y)
{
	const struct who *a = x, *b = y;
	int order = place_cmp(a, b);

	if (order != 0)
		return order;
	if (a->nobody != b->nobody)
		return a->nobody ? 1 : -1;
	if (a->nobody)
		return a->mark > b->mark ? -1 : a->mark < b->mark;
	return a->mark < b->mark ? -1 : a->mark > b->mark;
}

static int level_ok(const struct build *b, uint64_t cgroup, uint8_t level)
{
	if (level >= 1 && level <= CGROUP_LEVEL_MAX)
		return 0;
	return err_set(b->err, EINVAL, "cgroup %" PRIu64 " has depth %u; 1 to %d would be right",
		       cgroup, level, CGROUP_LEVEL_MAX);
}

static int collect_workload(const struct build *b, struct build_side *s,
			    const struct host_workload *w, struct who *ret, size_t *count)
{
	const struct local_identity *l = find_local(s, w->identity);
	struct local_end end = {.level = w->level, .cgroup = w->cgroup_id};
	int r;

	/* A uid alone is no claim of an identity that the view does not place here. */
	if (w->cgroup_id == 0 && (!l || !w->has_uid))
		return 0;
	ret[*count] = (struct who){.mark = l ? l->mark : MARK_IDENTITY_MISPLACED,
				   .uid = w->has_uid ? w->uid : 0};
	if (w->cgroup_id == 0) {
		ret[(*count)++].form = WHO_UID;
		s->by_user[s->by_user_count++] = l->mark;
		return 0;
	}
	r = level_ok(b, w->cgroup_id, w->level);
	if (r < 0)
		return r;
	ret[*count].form = w->has_uid ? WHO_CGROUP_UID : WHO_CGROUP;
	ret[*count].level = w->level;
	ret[(*count)++].cgroup = w->cgroup_id;
	if (!l)
		return 0;
	end.mark = l->mark;
	return build_ends_add(b, &s->ends, &end);
}

static int collect_nobody(const struct build *b, struct build_side *s, const struct host_nobody *n,
			  struct who *ret)
{
	int r = level_ok(b, n->cgroup_id, n->level);

	if (r < 0)
		return r;
	*ret = (struct who){
		.form = WHO_CGROUP,
		.level = n->level,
		.cgroup = n->cgroup_id,
		.mark = n->ask_listener ? MARK_IDENTITY_ASK : MARK_IDENTITY_UNCLAIMED,
		.nobody = true,
	};
	s->nobodies[s->nobody_count++] =
		(struct local_end){.level = n->level, .cgroup = n->cgroup_id};
	return 0;
}

static int add_who(const struct build *b, const struct build_side *s, const struct who *w)
{
	static const uint8_t kinds[] = {
		[WHO_UID] = SET_WHO_UID,
		[WHO_CGROUP] = SET_WHO_CGROUP,
		[WHO_CGROUP_UID] = SET_WHO_CGROUP_UID,
	};
	struct set_ref ref = {.kind = kinds[w->form], .slot = (uint8_t)s->slot, .level = w->level};
	struct key key;

	key_init(&key);
	if (w->form != WHO_UID)
		key_cgroup(&key, w->cgroup);
	if (w->form != WHO_CGROUP)
		key_u32(&key, w->uid);
	return build_add(b, ref, &key, &w->mark);
}

static int ambiguous(const struct build *b, const struct build_side *s, const struct who *x,
		     const struct who *y)
{
	const char *first = name_of_mark(s, x->mark), *second = name_of_mark(s, y->mark);

	if (x->form == WHO_UID)
		return err_set(b->err, EEXIST, "uid %u is both '%s' and '%s'", x->uid, first,
			       second);
	return err_set(b->err, EEXIST,
		       "processes of cgroup %" PRIu64 " are both '%s' and '%s'; a user or a deeper "
		       "cgroup would tell them apart",
		       x->cgroup, first, second);
}

static int write_who(const struct build *b, const struct build_side *s, const struct who *all,
		     size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct who *before = i > 0 ? &all[i - 1] : NULL;
		int r;

		if (before && place_cmp(before, &all[i]) == 0) {
			if (all[i].nobody || before->mark == all[i].mark)
				continue;
			return ambiguous(b, s, before, &all[i]);
		}
		r = add_who(b, s, &all[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int build_who(const struct build *b, struct build_side *s)
{
	const struct host *h = s->host;
	CLEANUP(freep)
	struct who *all = mem_calloc(h->workload_count + h->nobody_count, sizeof(*all));
	size_t count = 0;
	int r = 0;

	s->nobodies = mem_calloc(h->nobody_count, sizeof(*s->nobodies));
	s->by_user = mem_calloc(h->workload_count, sizeof(*s->by_user));
	if (!all || !s->nobodies || !s->by_user)
		return build_no_memory(b);
	for (size_t i = 0; i < h->workload_count && r == 0; i++)
		r = collect_workload(b, s, &h->workloads[i], all, &count);
	for (size_t i = 0; i < h->nobody_count && r == 0; i++)
		r = collect_nobody(b, s, &h->nobodies[i], &all[count++]);
	if (r < 0)
		return r;
	build_ends_sort(&s->ends);
	if (count > 1)
		qsort(all, count, sizeof(*all), who_cmp);
	return write_who(b, s, all, count);
}

/* --- listeners ------------------------------------------------------------------------------- */

struct listener {
	uint8_t l4proto;
	uint16_t port;
	uint32_t mark;
};

static int listener_cmp(const void *x, const void *y)
{
	const struct listener *a = x, *b = y;

	if (a->l4proto != b->l4proto)
		return a->l4proto < b->l4proto ? -1 : 1;
	if (a->port != b->port)
		return a->port < b->port ? -1 : 1;
	return a->mark < b->mark ? -1 : a->mark > b->mark;
}

/* Sorted, unique; the caller frees. */
static int collect_listeners(const struct build *b, const struct build_side *s,
			     struct listener **ret, size_t *ret_count)
{
	const struct host *h = s->host;
	struct listener *all = mem_calloc(h->listener_count, sizeof(*all));
	size_t count = 0, kept = 0;

	if (!all)
		return build_no_memory(b);
	for (size_t i = 0; i < h->listener_count; i++) {
		const struct local_identity *l = find_local(s, h->listeners[i].identity);

		all[count++] = (struct listener){.l4proto = h->listeners[i].l4proto,
						 .port = h->listeners[i].port,
						 .mark = l ? l->mark : MARK_IDENTITY_MISPLACED};
	}
	if (count > 1)
		qsort(all, count, sizeof(*all), listener_cmp);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || listener_cmp(&all[kept - 1], &all[i]) != 0)
			all[kept++] = all[i];
	*ret = all;
	*ret_count = kept;
	return 0;
}

static bool same_port(const struct listener *a, const struct listener *b)
{
	return a->l4proto == b->l4proto && a->port == b->port;
}

static int build_listeners(const struct build *b, const struct build_side *s)
{
	CLEANUP(freep) struct listener *all = NULL;
	size_t count = 0;
	int r;

	r = collect_listeners(b, s, &all, &count);
	for (size_t i = 0; i < count && r == 0; i++) {
		struct set_ref ref = {.kind = SET_LISTENERS, .slot = (uint8_t)s->slot};
		struct key key;

		/* Two identities on one port, at different addresses: the key cannot tell. */
		if ((i > 0 && same_port(&all[i - 1], &all[i])) ||
		    (i + 1 < count && same_port(&all[i + 1], &all[i])))
			continue;
		key_init(&key);
		key_u8(&key, all[i].l4proto);
		key_port(&key, all[i].port);
		r = build_add(b, ref, &key, &all[i].mark);
	}
	return r;
}

static int add_time_wait(const struct build *b, const struct build_side *s, uint32_t number,
			 const struct listener *l)
{
	struct set_ref ref = {.kind = SET_TW_ENDS, .slot = (uint8_t)s->slot};
	struct key key;

	key_init(&key);
	key_u32(&key, number);
	key_u8(&key, l->l4proto);
	key_port(&key, l->port);
	return build_add(b, ref, &key, NULL);
}

/* Listeners behind loopback conduits, for packets that meet a TIME_WAIT socket (R21). */
static int build_time_wait(const struct build *b, const struct build_side *s)
{
	CLEANUP(freep) struct listener *all = NULL;
	size_t count = 0;
	int r;

	r = collect_listeners(b, s, &all, &count);
	for (size_t i = 0; i < s->g->receiver_count && r == 0; i++) {
		const struct receiver *receiver = &s->g->receivers[i];
		const struct conduit *c = generation_find(s->g, receiver->number);

		if (!c || c->verdict == LIVE_NONE || c->service.kind != SERVICE_TCP)
			continue;
		for (size_t j = 0; j < count && r == 0; j++)
			if (all[j].mark == receiver->mark && all[j].l4proto == IPPROTO_TCP &&
			    c->service.first <= all[j].port && all[j].port <= c->service.last)
				r = add_time_wait(b, s, c->number, &all[j]);
	}
	return r;
}

/* --- the whole ------------------------------------------------------------------------------- */

int build_host(const struct build *b, struct build_side *s)
{
	int r;

	s->by_index = mem_calloc(s->g->local_count, sizeof(*s->by_index));
	if (!s->by_index)
		return build_no_memory(b);
	for (size_t i = 0; i < s->g->local_count; i++)
		s->by_index[i] = (uint32_t)i;
	if (s->g->local_count > 1)
		qsort_r(s->by_index, s->g->local_count, sizeof(*s->by_index), index_cmp,
			s->g->locals);
	r = build_who(b, s);
	if (r == 0)
		r = build_listeners(b, s);
	return r < 0 ? r : build_time_wait(b, s);
}

void build_host_done(struct build_side *s)
{
	free(s->by_index);
	free(s->ends.items);
	free(s->nobodies);
	free(s->by_user);
}
