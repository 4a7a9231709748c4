/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/workload.h"

#include "agent/account.h"
#include "agent/address.h"
#include "agent/host_build.h"
#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS         2
#define LISTENERS_MAX 65536
#define OUTSIDE_MAX   1024
/* sd-event's own choice would be a quarter of a second. */
#define TIMER_ACCURACY_US 1000
#define COALESCE_MAX_MS   500
#define COALESCE_SHARE    2 /* of the time that on_change took: rebuilding gets a third at most */

static const enum slot slots[SLOTS] = {SLOT_A, SLOT_B};

struct workload_slot {
	struct place_context x;
	struct host host;
	struct problem_list problems;      /* of the host as built */
	struct problem_list load_problems; /* of the selectors */
	bool dirty;                        /* host is older than what is known */
	bool untold;                       /* what is in force may be: readers do not clear it */
};

struct workloads {
	struct cgroup_tree *tree;
	struct cgroup_handler handler;
	struct address_watch *address_watch;
	struct owner *owner;
	sd_event_source *timer;
	workloads_change_fn on_change;
	void *user;
	struct workload_slot slots[SLOTS];
	struct addr *addresses;
	uint32_t *ifindexes; /* of an interface that has the address */
	size_t address_count;
	struct known_listener *listeners; /* sorted, unique */
	size_t listener_count, listener_cap;
	struct outside_cgroup *outside; /* a ring when full */
	size_t outside_count, outside_cap, outside_next;
	uint64_t coalesce_us;
	uint64_t rebuilds;
	bool armed;
	bool deleted_exe_ok;
};

/* --- change and coalescing ------------------------------------------------------------------- */

static void slot_dirty(struct workload_slot *s)
{
	s->dirty = s->untold = true;
}

static void mark_dirty(struct workloads *w)
{
	for (size_t i = 0; i < SLOTS; i++)
		slot_dirty(&w->slots[i]);
}

static bool any_untold(const struct workloads *w)
{
	return w->slots[SLOT_A].untold ||
	       (w->slots[SLOT_B].untold && w->slots[SLOT_B].x.policy != NULL);
}

static void arm(struct workloads *w)
{
	if (w->armed || !any_untold(w))
		return;
	if (sd_event_source_set_time_relative(w->timer, w->coalesce_us) < 0 ||
	    sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT) < 0)
		return;
	w->armed = true;
}

/* What was found out while answering a question is told through the timer as well, once. */
static int on_timer(sd_event_source *source, uint64_t usec, void *user)
{
	struct workloads *w = user;
	struct mono before = mono_now();
	uint64_t spent_us;

	(void)source;
	(void)usec;
	w->armed = false;
	if (!any_untold(w))
		return 0;
	w->on_change(w->user);
	spent_us = (uint64_t)(mono_now().ns - before.ns) / 1000;
	w->coalesce_us = spent_us * COALESCE_SHARE;
	if (w->coalesce_us < WORKLOAD_COALESCE_MS * 1000ULL)
		w->coalesce_us = WORKLOAD_COALESCE_MS * 1000ULL;
	if (w->coalesce_us > COALESCE_MAX_MS * 1000ULL)
		w->coalesce_us = COALESCE_MAX_MS * 1000ULL;
	return 0;
}

/* --- cgroups --------------------------------------------------------------------------------- */

static void on_added(void *user, struct cgroup *c)
{
	struct workloads *w = user;
	struct mono now = mono_now();
	bool claimed = false;

	place_init(c, now);
	for (size_t i = 0; i < SLOTS; i++) {
		/* Without memory it is not entered: a question, until the next walk. */
		(void)place_evaluate(&w->slots[i].x, c, now);
		claimed = claimed || place_slot(c, slots[i])->count > 0;
	}
	if (claimed)
		cgroup_watch_populated(w->tree, c);
	mark_dirty(w);
}

static void on_removed(void *user, struct cgroup *c)
{
	struct workloads *w = user;

	for (size_t i = 0; i < SLOTS; i++)
		place_forget(&w->slots[i].x, c);
	place_done(c);
	mark_dirty(w);
}

/* A listener of a cgroup without processes is nobody's any more, whatever the port says (R21). */
static void drop_listeners(struct workloads *w, uint64_t cgroup_id)
{
	size_t kept = 0;

	for (size_t i = 0; i < w->listener_count; i++)
		if (w->listeners[i].cgroup_id != cgroup_id)
			w->listeners[kept++] = w->listeners[i];
	if (kept != w->listener_count)
		mark_dirty(w);
	w->listener_count = kept;
}

static void on_populated(void *user, struct cgroup *c, bool populated)
{
	struct workloads *w = user;
	struct mono now = mono_now();

	for (size_t i = 0; i < SLOTS; i++)
		if (place_recheck(&w->slots[i].x, c, now))
			slot_dirty(&w->slots[i]);
	if (!populated)
		drop_listeners(w, c->id);
}

static bool on_descend(void *user, const struct cgroup *c)
{
	(void)user;
	return place_slot(c, SLOT_A)->look_below || place_slot(c, SLOT_B)->look_below;
}

static void on_settled(void *user)
{
	arm(user);
}

static void on_addresses(void *user)
{
	struct workloads *w = user;
	struct addr *list = NULL;
	uint32_t *ifindexes = NULL;
	size_t count = 0;

	if (address_list(&list, &ifindexes, &count) < 0)
		return;
	if (count != w->address_count ||
	    (count > 0 && memcmp(list, w->addresses, count * sizeof(*list)) != 0))
		mark_dirty(w);
	free(w->addresses);
	free(w->ifindexes);
	w->addresses = list;
	w->ifindexes = ifindexes;
	w->address_count = count;
	arm(w);
}

/* --- listeners ------------------------------------------------------------------------------- */

struct listener_scan {
	struct workloads *w;
	struct known_listener *found;
	size_t count, cap;
	uint64_t last_id, last_known; /* most listeners of a dump share a few cgroups */
};

static uint64_t known_cgroup(struct listener_scan *s, uint64_t id)
{
	struct cgroup_cover cover;

	if (id != s->last_id) {
		s->last_id = id;
		s->last_known = 0;
		if (cgroup_tree_locate(s->w->tree, id, &cover) == 0 && cover.known != NULL)
			s->last_known = cover.known->id;
	}
	return s->last_known;
}

static int take_listener(void *user, const struct socket_info *info)
{
	struct listener_scan *s = user;
	int r = vec_grow(&s->found, &s->cap, s->count + 1, sizeof(*s->found), LISTENERS_MAX);

	if (r < 0)
		return r;
	s->found[s->count++] = (struct known_listener){
		.cgroup_id = known_cgroup(s, info->cgroup_id),
		.uid = info->uid,
		.port = info->tuple.local_port,
	};
	return 0;
}

static int listener_cmp(const void *a, const void *b)
{
	const struct known_listener *x = a, *y = b;

	if (x->port != y->port)
		return x->port < y->port ? -1 : 1;
	if (x->cgroup_id != y->cgroup_id)
		return x->cgroup_id < y->cgroup_id ? -1 : 1;
	return x->uid < y->uid ? -1 : x->uid > y->uid;
}

static size_t sort_listeners(struct known_listener *list, size_t count)
{
	size_t kept = 0;

	if (count == 0)
		return 0;
	qsort(list, count, sizeof(*list), listener_cmp);
	for (size_t i = 1; i < count; i++)
		if (listener_cmp(&list[kept], &list[i]) != 0)
			list[++kept] = list[i];
	return kept + 1;
}

static bool same_listeners(const struct workloads *w, const struct listener_scan *s)
{
	if (w->listener_count != s->count)
		return false;
	for (size_t i = 0; i < s->count; i++)
		if (listener_cmp(&w->listeners[i], &s->found[i]) != 0)
			return false;
	return true;
}

/*
 * TCP only: the table is for SYNs that meet a TIME_WAIT socket, and datagrams never do. Without a
 * dump the table is emptied: a stale listener is a hole, a missing one a refused reconnect (R21).
 */
static int read_listeners(struct workloads *w)
{
	struct listener_scan s = {.w = w};
	int r = owner_dump(w->owner, IPPROTO_TCP, OWNER_STATES_LISTEN, take_listener, &s);

	if (r < 0 && r != -EAGAIN) {
		free(s.found);
		s.found = NULL;
		s.count = 0;
		s.cap = 0;
	}
	s.count = sort_listeners(s.found, s.count);
	if (!same_listeners(w, &s))
		mark_dirty(w);
	free(w->listeners);
	w->listeners = s.found;
	w->listener_count = s.count;
	w->listener_cap = s.cap;
	return r == -EAGAIN ? 0 : r;
}

/* --- cgroups outside of the root ------------------------------------------------------------- */

static int remember_outside(struct workloads *w, const struct cgroup_cover *cover, bool *ret_known)
{
	size_t at = w->outside_count;
	char *path;
	int r;

	for (size_t i = 0; i < w->outside_count; i++) {
		if (w->outside[i].id == cover->outside_id) {
			*ret_known = true;
			return 0;
		}
	}
	if (at == OUTSIDE_MAX) {
		/* The oldest is forgotten: it becomes a question again when it speaks. */
		at = w->outside_next;
		w->outside_next = (w->outside_next + 1) % OUTSIDE_MAX;
	} else {
		r = vec_grow(&w->outside, &w->outside_cap, at + 1, sizeof(*w->outside),
			     OUTSIDE_MAX);
		if (r < 0)
			return r;
	}
	path = mem_strdup(cover->path);
	if (path == NULL)
		return -ENOMEM;
	if (at == w->outside_count)
		w->outside_count++;
	else
		free(w->outside[at].path);
	w->outside[at] = (struct outside_cgroup){
		.id = cover->outside_id, .level = cover->outside_level, .path = path};
	mark_dirty(w);
	*ret_known = true;
	return 0;
}

static void forget_gone_outside(struct workloads *w)
{
	char path[WORKLOAD_PATH_MAX];
	size_t kept = 0;

	for (size_t i = 0; i < w->outside_count; i++) {
		if (cgroup_path_of(w->tree, w->outside[i].id, path, sizeof(path)) == -ESTALE)
			free(w->outside[i].path);
		else
			w->outside[kept++] = w->outside[i];
	}
	if (kept != w->outside_count)
		mark_dirty(w);
	w->outside_count = kept;
	w->outside_next = 0;
}

/* --- policy ---------------------------------------------------------------------------------- */

static void add_load_problem(void *user, const char *text)
{
	problem_add(user, "%s", text);
}

static int evaluate_all(const struct place_context *x, struct cgroup *c, struct mono now)
{
	int r = place_evaluate(x, c, now), below;

	for (struct cgroup *child = c->children; child != NULL; child = child->next) {
		below = evaluate_all(x, child, now);
		r = r < 0 ? r : below;
	}
	return r;
}

static void forget_all(const struct place_context *x, struct cgroup *c)
{
	for (struct cgroup *child = c->children; child != NULL; child = child->next)
		forget_all(x, child);
	place_forget(x, c);
}

static void watch_all(struct workloads *w, struct cgroup *c)
{
	if (place_slot(c, SLOT_A)->count > 0 || place_slot(c, SLOT_B)->count > 0)
		cgroup_watch_populated(w->tree, c);
	for (struct cgroup *child = c->children; child != NULL; child = child->next)
		watch_all(w, child);
}

int workloads_set_policy(struct workloads *w, enum slot slot, const struct policy *policy,
			 const struct view *view, const struct essentials *essentials,
			 struct err *err)
{
	struct workload_slot *s = &w->slots[slot];
	struct cgroup *root = cgroup_tree_root(w->tree);
	struct problem_list problems = {0};
	struct claims *claims = NULL;
	int r = claims_new(policy, view, essentials, &account_names, add_load_problem, &problems,
			   &claims, err);

	if (r < 0) {
		problem_list_done(&problems);
		return r;
	}
	if (root != NULL)
		forget_all(&s->x, root);
	claims_free(s->x.claims);
	problem_list_done(&s->load_problems);
	/* Indices of the old policy must not be read by the new one's names. */
	problem_list_done(&s->problems);
	host_done(&s->host);
	s->load_problems = problems;
	s->x.claims = claims;
	s->x.policy = policy;
	slot_dirty(s);
	if (root != NULL) {
		r = evaluate_all(&s->x, root, mono_now());
		watch_all(w, root);
	}
	/* What is to be known below has changed; losses there are questions, and counted. */
	(void)cgroup_tree_walk(w->tree);
	if (r == 0)
		r = read_listeners(w);
	if (r < 0)
		return err_set(err, -r, "workloads: %s", strerror(-r));
	return 0;
}

const struct host *workloads_host(struct workloads *w, enum slot slot)
{
	struct workload_slot *s = &w->slots[slot];
	const struct host_input in = {
		.addresses = w->addresses,
		.address_count = w->address_count,
		.listeners = w->listeners,
		.listener_count = w->listener_count,
		.outside = w->outside,
		.outside_count = w->outside_count,
	};

	if (!s->dirty)
		return &s->host;
	if (host_build(&s->x, &in, &s->host, &s->problems) < 0)
		return NULL;
	s->dirty = false;
	w->rebuilds++;
	return &s->host;
}

const struct host *workloads_take_host(struct workloads *w, enum slot slot)
{
	const struct host *host = workloads_host(w, slot);

	if (host != NULL)
		w->slots[slot].untold = false;
	return host;
}

/* --- questions ------------------------------------------------------------------------------- */

static void recheck_chain(struct workloads *w, struct workload_slot *s, struct cgroup *c)
{
	struct mono now = mono_now();

	for (; c != NULL; c = c->parent)
		if (place_recheck(&s->x, c, now))
			slot_dirty(s);
	arm(w);
}

static enum workload_what what_of(enum place_owner owner)
{
	switch (owner) {
	case PLACE_IDENTITY:
		return WORKLOAD_IDENTITY;
	case PLACE_NOBODY:
		return WORKLOAD_NOBODY;
	case PLACE_AMBIGUOUS:
		break;
	}
	return WORKLOAD_AMBIGUOUS;
}

/* The element that speaks for this cgroup. */
static void find_element(const struct cgroup *c, enum slot slot, struct workload_answer *a)
{
	for (; c != NULL; c = c->parent) {
		if (!place_enterable(c, slot))
			return;
		if (!place_emits(c, slot))
			continue;
		a->enterable = true;
		a->cgroup_id = c->id;
		a->level = c->level;
		return;
	}
}

int workloads_resolve(struct workloads *w, enum slot slot, uint64_t cgroup_id, uint32_t uid,
		      struct workload_answer *ret_answer)
{
	struct workload_slot *s = &w->slots[slot];
	struct workload_answer a = {.what = WORKLOAD_GONE, .identity = -1};
	struct place_judgement j;
	struct cgroup_cover cover;
	int r = cgroup_id == 0 ? -ESTALE : cgroup_tree_locate(w->tree, cgroup_id, &cover);

	arm(w);
	if (r == -ESTALE) {
		*ret_answer = a;
		return 0;
	}
	if (r < 0)
		return r;
	if (cover.known != NULL) {
		recheck_chain(w, s, cover.known);
		find_element(cover.known, slot, &a);
	} else if (cover.outside_id != 0) {
		r = remember_outside(w, &cover, &a.enterable);
		if (r < 0)
			return r;
		a.cgroup_id = cover.outside_id;
		a.level = cover.outside_level;
		arm(w);
	}
	j = place_judge(&s->x, cover.known, uid);
	a.what = what_of(j.owner);
	if (j.owner == PLACE_IDENTITY)
		a.identity = (int)j.identity;
	a.has_uid = j.has_uid;
	a.ingress_only = j.ingress_only;
	a.ask_listener = j.ask_listener;
	a.host_changed = a.enterable && s->untold;
	*ret_answer = a;
	return 0;
}

static void recheck_all(struct workloads *w, struct cgroup *c, struct mono now)
{
	for (size_t i = 0; i < SLOTS; i++)
		if (place_recheck(&w->slots[i].x, c, now))
			slot_dirty(&w->slots[i]);
	for (struct cgroup *child = c->children; child != NULL; child = child->next)
		recheck_all(w, child, now);
}

int workloads_listeners(struct workloads *w)
{
	int r = read_listeners(w);

	if (r < 0)
		return r;
	return any_untold(w) ? 1 : 0;
}

int workloads_refresh(struct workloads *w)
{
	if (cgroup_tree_root_changed(w->tree))
		(void)cgroup_tree_walk(w->tree);
	if (cgroup_tree_root(w->tree) != NULL)
		recheck_all(w, cgroup_tree_root(w->tree), mono_now());
	forget_gone_outside(w);
	return workloads_listeners(w);
}

void workloads_look_again(struct workloads *w)
{
	if (w == NULL || cgroup_tree_root(w->tree) == NULL)
		return;
	recheck_all(w, cgroup_tree_root(w->tree), mono_now());
	arm(w);
}

void workloads_set_digests(struct workloads *w, process_digest_fn fn, void *user)
{
	for (size_t i = 0; i < SLOTS; i++) {
		w->slots[i].x.digest = fn;
		w->slots[i].x.digest_user = user;
	}
	if (fn != NULL)
		workloads_look_again(w);
}

/* --- for people ------------------------------------------------------------------------------ */

size_t workloads_problem_count(struct workloads *w, enum slot slot)
{
	(void)workloads_host(w, slot);
	return w->slots[slot].load_problems.count + w->slots[slot].problems.count;
}

const char *workloads_problem(struct workloads *w, enum slot slot, size_t index)
{
	const struct workload_slot *s = &w->slots[slot];

	if (index < s->load_problems.count)
		return s->load_problems.texts[index];
	index -= s->load_problems.count;
	return index < s->problems.count ? s->problems.texts[index] : NULL;
}

int workloads_cgroup_path(struct workloads *w, uint64_t cgroup_id, char *ret_path, size_t size)
{
	int r;

	if (size < 2)
		return -ENAMETOOLONG;
	r = cgroup_path_of(w->tree, cgroup_id, ret_path + 1, size - 1);
	if (r < 0)
		return r == -ESTALE ? -ENOENT : r;
	ret_path[0] = '/';
	return 0;
}

int workloads_cgroup_line(struct workloads *w, uint64_t cgroup_id, char *ret_path, size_t size,
			  uint64_t *ret_ids, size_t count)
{
	ret_path[0] = '/';
	return cgroup_line_of(w->tree, cgroup_id, ret_path + 1, size - 1, ret_ids, count);
}

int workloads_cgroup_place(struct workloads *w, uint64_t cgroup_id, struct workload_place *ret)
{
	struct workload_place place = {.unit = ""};
	struct unit_place unit;
	struct cgroup_cover cover;
	const char *below;
	int r = cgroup_tree_locate(w->tree, cgroup_id, &cover);

	arm(w);
	if (r < 0)
		return r == -ESTALE ? -ENOENT : r;
	if (!cover.outside) {
		below = cgroup_below_root_path(w->tree, cover.path);
		unit_place_parse(below, &unit);
		memcpy(place.unit, unit.unit, sizeof(place.unit));
		container_place_parse(below, &place.container);
	}
	*ret = place;
	return 0;
}

int workloads_cgroup_unit(struct workloads *w, uint64_t cgroup_id, char *ret_unit, size_t size)
{
	struct workload_place place;
	int r = workloads_cgroup_place(w, cgroup_id, &place);

	if (r < 0)
		return r;
	if (strlen(place.unit) >= size)
		return -ENAMETOOLONG;
	memcpy(ret_unit, place.unit, strlen(place.unit) + 1);
	return 0;
}

int workloads_cgroup_open(struct workloads *w, uint64_t cgroup_id)
{
	int fd = cgroup_id != 0 ? cgroup_open(w->tree, cgroup_id) : -ENOENT;

	return fd == -ESTALE ? -ENOENT : fd;
}

static int address_order(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

static const struct addr *own_address(const struct workloads *w, const struct addr *a)
{
	return w->address_count == 0 ? NULL
				     : bsearch(a, w->addresses, w->address_count,
					       sizeof(*w->addresses), address_order);
}

bool workloads_address_is_own(const struct workloads *w, const struct addr *a)
{
	return own_address(w, a) != NULL;
}

uint32_t workloads_interface_of(const struct workloads *w, const struct addr *a)
{
	const struct addr *own = own_address(w, a);

	return own != NULL ? w->ifindexes[own - w->addresses] : 0;
}

uint64_t workloads_cgroup_id(struct workloads *w, const char *path)
{
	return cgroup_id_of(w->tree, path);
}

void workloads_counters(const struct workloads *w, struct workloads_counters *ret_counters)
{
	struct cgroup_counters c;

	cgroup_tree_counters(w->tree, &c);
	*ret_counters = (struct workloads_counters){
		.cgroups = c.known,
		.events = c.events,
		.overflows = c.overflows,
		.lost = c.lost,
		.rebuilds = w->rebuilds,
		.fanotify = c.fanotify,
	};
}

/* --- life ------------------------------------------------------------------------------------ */

static int init_slots(struct workloads *w, struct err *err)
{
	for (size_t i = 0; i < SLOTS; i++) {
		struct place_context *x = &w->slots[i].x;
		int r = claims_new(NULL, NULL, NULL, &account_names, NULL, NULL, &x->claims, err);

		if (r < 0)
			return r;
		x->slot = slots[i];
		x->deleted_exe_ok = w->deleted_exe_ok;
	}
	return 0;
}

static int start_watching(struct workloads *w, const struct workloads_config *config,
			  sd_event *event, struct err *err)
{
	int r;

	w->handler = (struct cgroup_handler){
		.data_size = sizeof(struct place),
		.added = on_added,
		.removed = on_removed,
		.populated = on_populated,
		.descend = on_descend,
		.settled = on_settled,
		.user = w,
	};
	r = sd_event_add_time_relative(event, &w->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY_US,
				       on_timer, w);
	if (r < 0)
		return err_set(err, -r, "workloads: event loop: %s", strerror(-r));
	(void)sd_event_source_set_enabled(w->timer, SD_EVENT_OFF);
	r = cgroup_tree_open(config->cgroup_root, config->no_fanotify, event, &w->handler, &w->tree,
			     err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < SLOTS; i++)
		w->slots[i].x.tree = w->tree;
	r = address_watch_new(event, on_addresses, w, &w->address_watch, err);
	if (r < 0)
		return r;
	return owner_open(&w->owner, err);
}

int workloads_new(const struct workloads_config *config, sd_event *event,
		  workloads_change_fn on_change, void *user, struct workloads **ret_workloads,
		  struct err *err)
{
	CLEANUP(workloads_freep) struct workloads *w = mem_calloc(1, sizeof(*w));
	int r;

	if (w == NULL)
		return err_set(err, ENOMEM, "workloads: out of memory");
	w->on_change = on_change;
	w->user = user;
	w->deleted_exe_ok = config->deleted_exe_ok;
	w->coalesce_us = WORKLOAD_COALESCE_MS * 1000ULL;
	r = init_slots(w, err);
	if (r == 0)
		r = start_watching(w, config, event, err);
	if (r < 0)
		return r;
	r = address_list(&w->addresses, &w->ifindexes, &w->address_count);
	if (r < 0)
		return err_set(err, -r, "workloads: own addresses: %s", strerror(-r));
	(void)cgroup_tree_walk(w->tree);
	mark_dirty(w);
	*ret_workloads = TAKE_PTR(w);
	return 0;
}

void workloads_free(struct workloads *w)
{
	if (w == NULL)
		return;
	/* First: it calls back while it goes. */
	cgroup_tree_free(w->tree);
	address_watch_free(w->address_watch);
	owner_free(w->owner);
	sd_event_source_disable_unref(w->timer);
	for (size_t i = 0; i < SLOTS; i++) {
		claims_free(w->slots[i].x.claims);
		host_done(&w->slots[i].host);
		problem_list_done(&w->slots[i].problems);
		problem_list_done(&w->slots[i].load_problems);
	}
	for (size_t i = 0; i < w->outside_count; i++)
		free(w->outside[i].path);
	free(w->outside);
	free(w->listeners);
	free(w->addresses);
	free(w->ifindexes);
	free(w);
}

void workloads_freep(struct workloads **w)
{
	workloads_free(*w);
	*w = NULL;
}
