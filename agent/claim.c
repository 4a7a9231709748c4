/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/claim.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/verdict_match.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 4000000
#define KEY_MAX  (CLAIM_PATH_MAX + 2)

/* Kinds of keys in one table; the first byte of a key. */
#define KEY_UNIT        'u' /* value: list of claims */
#define KEY_SLICE       's' /* value: list of claims */
#define KEY_PATH        'p' /* value: list of claims */
#define KEY_CONTAINER   'c' /* value: list of claims */
#define KEY_POD         'o' /* value: list of claims */
#define KEY_UID         'i' /* value: list of claims by a uid alone */
#define KEY_ABOVE_SLICE 'S' /* a slice selector names something strictly below this slice */
#define KEY_ABOVE_PATH  'P' /* a cgroup selector names something strictly below this path */
#define KEY_ESSENTIAL   'e' /* value: unit name, borrowed from the essentials */

/* Claims under one key. */
struct claim_list {
	uint32_t *items;
	size_t count, cap;
};

struct claims {
	struct claim *claims;
	size_t count, cap;
	struct map *lists; /* key -> struct claim_list, owned */
	struct map *marks; /* key -> borrowed pointer */
	struct claim_list pathless;
	bool any_unit, any_container, any_essential, any_uid_only;
	const struct claim_names *names; /* during claims_new() only */
	void (*problem)(void *user, const char *text);
	void *problem_user;
	const struct policy *policy;
};

static void list_free(void *value)
{
	struct claim_list *l = value;

	free(l->items);
	free(l);
}

void claims_free(struct claims *c)
{
	if (c == NULL)
		return;
	map_free(c->lists);
	map_free(c->marks);
	free(c->pathless.items);
	free(c->claims);
	free(c);
}

void claims_freep(struct claims **c)
{
	claims_free(*c);
	*c = NULL;
}

size_t claims_count(const struct claims *c)
{
	return c->count;
}

struct claim *claims_at(struct claims *c, size_t index)
{
	return &c->claims[index];
}

bool claim_is_conditional(const struct claim *c)
{
	return c->exe != NULL || c->has_gid || c->has_sha256 || c->has_fsverity;
}

/* --- keys ------------------------------------------------------------------------------------ */

struct lookup_key {
	char text[KEY_MAX];
	size_t len;
};

static void key_set(struct lookup_key *k, char kind, const char *name, size_t len)
{
	k->text[0] = kind;
	if (len > KEY_MAX - 1)
		len = KEY_MAX - 1;
	memcpy(k->text + 1, name, len);
	k->len = len + 1;
}

static const struct claim_list *list_find(const struct claims *c, char kind, const char *name)
{
	struct lookup_key k;

	key_set(&k, kind, name, strlen(name));
	return map_get(c->lists, k.text, k.len);
}

static int list_add(struct claim_list *l, uint32_t claim)
{
	int r = vec_grow(&l->items, &l->cap, l->count + 1, sizeof(*l->items), CLAIMS_MAX);

	if (r == 0)
		l->items[l->count++] = claim;
	return r;
}

static int list_put(struct claims *c, char kind, const char *name, size_t len, uint32_t claim)
{
	struct claim_list *l;
	struct lookup_key k;
	int r;

	key_set(&k, kind, name, len);
	l = map_get(c->lists, k.text, k.len);
	if (l == NULL) {
		l = mem_calloc(1, sizeof(*l));
		if (l == NULL)
			return -ENOMEM;
		r = map_put(c->lists, k.text, k.len, l);
		if (r < 0) {
			list_free(l);
			return r;
		}
	}
	return list_add(l, claim);
}

static int mark_put(struct claims *c, char kind, const char *name, size_t len, void *value)
{
	struct lookup_key k;

	key_set(&k, kind, name, len);
	return map_put(c->marks, k.text, k.len, value);
}

static void *mark_find(const struct claims *c, char kind, const char *name)
{
	struct lookup_key k;

	key_set(&k, kind, name, strlen(name));
	return map_get(c->marks, k.text, k.len);
}

int claim_path_normalize(const char *path, char ret_path[CLAIM_PATH_MAX])
{
	size_t len = 0;
	int depth = 0;

	while (*path != '\0') {
		size_t part;

		path += strspn(path, "/");
		part = strcspn(path, "/");
		if (part == 0)
			break;
		if ((part == 1 && path[0] == '.') || (part == 2 && memcmp(path, "..", 2) == 0))
			return -EINVAL;
		if (len + part + 2 > CLAIM_PATH_MAX)
			return -EINVAL;
		if (len > 0)
			ret_path[len++] = '/';
		memcpy(ret_path + len, path, part);
		len += part;
		path += part;
		depth++;
	}
	ret_path[len] = '\0';
	return depth;
}

/* --- building -------------------------------------------------------------------------------- */

static void tell(struct claims *c, const struct claim *claim, const char *what, const char *name)
{
	char text[CLAIM_TEXT_MAX + 256], pos[POS_TEXT_MAX];

	if (c->problem == NULL)
		return;
	(void)snprintf(text, sizeof(text), "%s: identity '%s': %s '%s' %s",
		       pos_format(pos, c->policy, &claim->entry->pos),
		       c->policy->identities[claim->identity].name, what, name,
		       "so this workload matches no process");
	c->problem(c->problem_user, text);
}

/* Marks the strict ancestors of a path, the root ("") included. */
static int mark_path_ancestors(struct claims *c, const char *path)
{
	for (size_t len = strlen(path); len > 0; len--) {
		int r;

		if (path[len] != '/')
			continue;
		r = mark_put(c, KEY_ABOVE_PATH, path, len, c);
		if (r < 0)
			return r;
	}
	return path[0] == '\0' ? 0 : mark_put(c, KEY_ABOVE_PATH, "", 0, c);
}

static int mark_slice_ancestors(struct claims *c, const char *slice)
{
	char name[UNIT_NAME_MAX];

	if (strlen(slice) >= sizeof(name))
		return 0;
	memcpy(name, slice, strlen(slice) + 1);
	while (slice_parent(name, name)) {
		int r = mark_put(c, KEY_ABOVE_SLICE, name, strlen(name), c);

		if (r < 0)
			return r;
	}
	return 0;
}

static int index_unit(struct claims *c, const char *unit, uint32_t claim)
{
	c->any_unit = true;
	return list_put(c, KEY_UNIT, unit, strlen(unit), claim);
}

static int index_slice(struct claims *c, const char *slice, uint32_t claim)
{
	int r = mark_slice_ancestors(c, slice);

	return r < 0 ? r : list_put(c, KEY_SLICE, slice, strlen(slice), claim);
}

static int index_path(struct claims *c, const char *path, uint32_t claim)
{
	char normal[CLAIM_PATH_MAX];
	int r;

	if (claim_path_normalize(path, normal) < 0)
		return 0;
	r = mark_path_ancestors(c, normal);
	return r < 0 ? r : list_put(c, KEY_PATH, normal, strlen(normal), claim);
}

/* The uid of a pod in one spelling, whichever the policy has; it was looked at in take_pod(). */
static int index_pod(struct claims *c, const char *uid, uint32_t claim)
{
	char normal[CONTAINER_POD_MAX];

	c->any_container = true;
	if (!container_pod_uid(uid, strlen(uid), normal))
		return 0;
	return list_put(c, KEY_POD, normal, strlen(normal), claim);
}

static int index_container(struct claims *c, const char *id, uint32_t claim)
{
	c->any_container = true;
	return list_put(c, KEY_CONTAINER, id, strlen(id), claim);
}

static int index_claim(struct claims *c, uint32_t number)
{
	const struct claim *claim = &c->claims[number];
	const struct workload_entry *e = claim->entry;
	int r = 0;

	for (size_t i = 0; i < e->selector_count && r == 0; i++) {
		const char *value = e->selectors[i].value;

		if (e->selectors[i].kind == SELECTOR_UNIT)
			r = index_unit(c, value, number);
		else if (e->selectors[i].kind == SELECTOR_SLICE)
			r = index_slice(c, value, number);
		else if (e->selectors[i].kind == SELECTOR_CGROUP)
			r = index_path(c, value, number);
		else if (e->selectors[i].kind == SELECTOR_CONTAINER)
			r = index_container(c, value, number);
		else if (e->selectors[i].kind == SELECTOR_POD)
			r = index_pod(c, value, number);
	}
	if (r < 0 || !claim->pathless)
		return r;
	if (claim_is_conditional(claim))
		return list_add(&c->pathless, number);
	if (!claim->has_uid)
		return 0;
	c->any_uid_only = true;
	return list_put(c, KEY_UID, (const char *)&claim->uid, sizeof(claim->uid), number);
}

enum taken { TAKEN, TAKEN_NOT /* the entry can hold nowhere */ };

static enum taken take_user(struct claims *c, struct claim *claim, const char *name)
{
	uint32_t uid;

	if (c->names->user(c->names->user_data, name, &uid) < 0) {
		tell(c, claim, "this host has no user", name);
		return TAKEN_NOT;
	}
	if (claim->has_uid && claim->uid != uid) {
		tell(c, claim, "another user is named beside", name);
		return TAKEN_NOT;
	}
	claim->has_uid = true;
	claim->uid = uid;
	return TAKEN;
}

static enum taken take_group(struct claims *c, struct claim *claim, const char *name)
{
	uint32_t gid;

	if (c->names->group(c->names->user_data, name, &gid) < 0) {
		tell(c, claim, "this host has no group", name);
		return TAKEN_NOT;
	}
	if (claim->has_gid && claim->gid != gid) {
		tell(c, claim, "another group is named beside", name);
		return TAKEN_NOT;
	}
	claim->has_gid = true;
	claim->gid = gid;
	return TAKEN;
}

static enum taken take_exe(struct claims *c, struct claim *claim, const char *path)
{
	if (path[0] != '/') {
		tell(c, claim, "exe is no absolute path:", path);
		return TAKEN_NOT;
	}
	if (claim->exe != NULL && !str_eq(claim->exe, path)) {
		tell(c, claim, "another executable is named beside", path);
		return TAKEN_NOT;
	}
	claim->exe = path;
	return TAKEN;
}

static enum taken take_place(struct claims *c, struct claim *claim, const char *value, bool good,
			     const char *what)
{
	claim->pathless = false;
	if (good)
		return TAKEN;
	tell(c, claim, what, value);
	return TAKEN_NOT;
}

static enum taken take_digest(struct claims *c, struct claim *claim, const char *hex,
			      uint8_t digest[CLAIM_DIGEST_LEN], bool *has)
{
	uint8_t bytes[CLAIM_DIGEST_LEN];

	if (!hex_parse(hex, bytes, sizeof(bytes))) {
		tell(c, claim, "no SHA-256 of 64 hexadecimal digits:", hex);
		return TAKEN_NOT;
	}
	if (*has && memcmp(digest, bytes, sizeof(bytes)) != 0) {
		tell(c, claim, "another digest is named beside", hex);
		return TAKEN_NOT;
	}
	memcpy(digest, bytes, sizeof(bytes));
	*has = true;
	return TAKEN;
}

static enum taken take_selector(struct claims *c, struct claim *claim, const struct selector *s)
{
	char normal[CLAIM_PATH_MAX], pod[CONTAINER_POD_MAX];

	switch (s->kind) {
	case SELECTOR_UNIT:
	case SELECTOR_SLICE:
		return take_place(c, claim, s->value, true, "");
	case SELECTOR_CGROUP:
		return take_place(c, claim, s->value, claim_path_normalize(s->value, normal) >= 0,
				  "no path below the cgroup root:");
	case SELECTOR_CONTAINER:
		return take_place(c, claim, s->value, container_id_ok(s->value),
				  "no container ID of 64 hexadecimal digits:");
	case SELECTOR_POD:
		return take_place(c, claim, s->value,
				  container_pod_uid(s->value, strlen(s->value), pod),
				  "no uid of a pod:");
	case SELECTOR_USER:
		return take_user(c, claim, s->value);
	case SELECTOR_GROUP:
		return take_group(c, claim, s->value);
	case SELECTOR_EXE:
		return take_exe(c, claim, s->value);
	case SELECTOR_EXE_SHA256:
		return take_digest(c, claim, s->value, claim->sha256, &claim->has_sha256);
	case SELECTOR_FSVERITY:
		return take_digest(c, claim, s->value, claim->fsverity, &claim->has_fsverity);
	}
	return TAKEN_NOT;
}

static int add_entry(struct claims *c, uint32_t identity, const struct workload_entry *e,
		     bool placed)
{
	struct claim claim = {.identity = identity, .entry = e, .placed = placed, .pathless = true};
	int r;

	for (size_t i = 0; i < e->selector_count; i++)
		if (take_selector(c, &claim, &e->selectors[i]) == TAKEN_NOT)
			return 0;
	if (claim.pathless && !placed)
		return 0;
	r = vec_grow(&c->claims, &c->cap, c->count + 1, sizeof(*c->claims), CLAIMS_MAX);
	if (r < 0)
		return r;
	c->claims[c->count++] = claim;
	return index_claim(c, (uint32_t)(c->count - 1));
}

static int add_identity(struct claims *c, uint32_t identity, bool placed)
{
	const struct identity *id = &c->policy->identities[identity];

	for (size_t i = 0; i < id->workload_count; i++) {
		int r = add_entry(c, identity, &id->workload[i], placed);

		if (r < 0)
			return r;
	}
	return 0;
}

static int add_identities(struct claims *c, const struct policy *policy, const struct view *view)
{
	const struct compile_input in = {.policy = policy, .view = view};
	CLEANUP(map_freep) struct map *paths = map_new(view->placed_count + 1, NULL);
	int r = paths == NULL ? -ENOMEM : 0;

	for (size_t i = 0; i < view->placed_count && r == 0; i++)
		r = map_put_str(paths, view->placed[i].identity, c);
	for (uint32_t i = 0; i < policy->identity_count && r == 0; i++) {
		bool placed = map_get_str(paths, policy->identities[i].path) != NULL &&
			      identity_is_placed_here(&in, i);

		if (placed || identity_may_be_here(&in, i))
			r = add_identity(c, i, placed);
	}
	return r;
}

static int add_essentials(struct claims *c, const struct essentials *e)
{
	for (size_t i = 0; e != NULL && i < e->count; i++) {
		for (size_t k = 0; k < e->entries[i].by_count; k++) {
			char *unit = e->entries[i].by[k];
			int r = mark_put(c, KEY_ESSENTIAL, unit, strlen(unit), unit);

			if (r < 0)
				return r;
			c->any_essential = true;
		}
	}
	return 0;
}

int claims_new(const struct policy *policy, const struct view *view,
	       const struct essentials *essentials, const struct claim_names *names,
	       void (*problem)(void *user, const char *text), void *problem_user,
	       struct claims **ret_claims, struct err *err)
{
	CLEANUP(claims_freep) struct claims *c = mem_calloc(1, sizeof(*c));
	int r;

	if (c == NULL)
		return err_set(err, ENOMEM, "selectors: out of memory");
	c->policy = policy;
	c->names = names;
	c->problem = problem;
	c->problem_user = problem_user;
	c->lists = map_new(KEYS_MAX, list_free);
	c->marks = map_new(KEYS_MAX, NULL);
	if (c->lists == NULL || c->marks == NULL)
		return err_set(err, ENOMEM, "selectors: out of memory");

	r = policy != NULL && view != NULL ? add_identities(c, policy, view) : 0;
	if (r == 0)
		r = add_essentials(c, essentials);
	if (r < 0)
		return err_set(err, -r, "selectors: %s",
			       r == -E2BIG ? "more than this node can hold" : strerror(-r));
	c->names = NULL;
	c->problem = NULL;
	*ret_claims = TAKE_PTR(c);
	return 0;
}

/* --- questions ------------------------------------------------------------------------------- */

void claim_place_init(struct claim_place *ret_place, const char *path)
{
	ret_place->path = path;
	unit_place_parse(path, &ret_place->unit);
	container_place_parse(path, &ret_place->container);
}

/* Depth (components below the cgroup root) at which one selector begins to hold; -1 = it does not.
 */
static int path_depth(const struct claim_place *place, const char *selector)
{
	char normal[CLAIM_PATH_MAX];
	int depth = claim_path_normalize(selector, normal);
	size_t len;

	if (depth <= 0)
		return depth;
	len = strlen(normal);
	if (strncmp(place->path, normal, len) != 0 ||
	    (place->path[len] != '\0' && place->path[len] != '/'))
		return -1;
	return depth;
}

static int slice_depth(const struct claim_place *place, const char *selector)
{
	char name[UNIT_NAME_MAX];
	int depth = place->unit.slice_depth;

	memcpy(name, place->unit.slice, sizeof(name));
	while (!str_eq(name, selector)) {
		if (!slice_parent(name, name))
			return -1;
		depth--;
	}
	return depth;
}

static int unit_depth(const struct claim_place *place, const char *selector, bool *ret_socket)
{
	char service[UNIT_NAME_MAX];

	if (place->unit.unit_depth == 0)
		return -1;
	if (str_eq(place->unit.unit, selector))
		return place->unit.unit_depth;
	if (!unit_socket_service(place->unit.unit, service) || !str_eq(service, selector))
		return -1;
	*ret_socket = true;
	return place->unit.unit_depth;
}

/*
 * Without root the ID is the user's own word: it stands for processes of that user, or of those
 * that the user may become in a container, and so the entry must name one (R39). Never for root:
 * programs that are setuid run wherever the user likes.
 */
static int container_depth(const struct claim *claim, const struct claim_place *place,
			   const char *selector)
{
	const struct container_place *c = &place->container;

	if (c->depth == 0 || !str_eq(c->id, selector))
		return -1;
	return !c->rootless || (claim->has_uid && claim->uid != 0) ? c->depth : -1;
}

static int pod_depth(const struct claim_place *place, const char *selector)
{
	const struct container_place *c = &place->container;
	char normal[CONTAINER_POD_MAX];

	return c->pod_depth > 0 && container_pod_uid(selector, strlen(selector), normal) &&
			       str_eq(c->pod_uid, normal)
		       ? c->pod_depth
		       : -1;
}

/* Depth as above; 0 for selectors that are not about the path. */
static int selector_depth(const struct claim *claim, const struct claim_place *place,
			  const struct selector *s, bool *ret_socket)
{
	switch (s->kind) {
	case SELECTOR_UNIT:
		return unit_depth(place, s->value, ret_socket);
	case SELECTOR_SLICE:
		return slice_depth(place, s->value);
	case SELECTOR_CGROUP:
		return path_depth(place, s->value);
	case SELECTOR_CONTAINER:
		return container_depth(claim, place, s->value);
	case SELECTOR_POD:
		return pod_depth(place, s->value);
	case SELECTOR_USER:
	case SELECTOR_GROUP:
	case SELECTOR_EXE:
	case SELECTOR_EXE_SHA256:
	case SELECTOR_FSVERITY:
		break;
	}
	return 0;
}

/* Whether all path selectors hold here and not all of them one level up. */
static bool is_anchored(const struct claim *c, const struct claim_place *place, bool *ret_socket)
{
	int deepest = 0;

	*ret_socket = false;
	for (size_t i = 0; i < c->entry->selector_count; i++) {
		int depth = selector_depth(c, place, &c->entry->selectors[i], ret_socket);

		if (depth < 0)
			return false;
		if (depth > deepest)
			deepest = depth;
	}
	return deepest == place->unit.depth;
}

static bool is_about_path(enum selector_kind kind)
{
	return kind == SELECTOR_UNIT || kind == SELECTOR_SLICE || kind == SELECTOR_CGROUP ||
	       kind == SELECTOR_CONTAINER || kind == SELECTOR_POD;
}

static int anchored_in(const struct claims *c, const struct claim_list *l, enum selector_kind first,
		       const struct claim_place *place, claim_anchor_fn fn, void *user)
{
	for (size_t i = 0; l != NULL && i < l->count; i++) {
		const struct claim *claim = &c->claims[l->items[i]];
		bool socket, counted = false;
		int r;

		/* A claim with several path selectors is in several lists; the first kind counts.
		 */
		for (size_t k = 0; k < claim->entry->selector_count; k++)
			if (is_about_path(claim->entry->selectors[k].kind) &&
			    claim->entry->selectors[k].kind < first)
				counted = true;
		if (counted || !is_anchored(claim, place, &socket))
			continue;
		r = fn(user, l->items[i], socket);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Claims whose unit selector this place satisfies: its unit, and the service of a socket unit. */
static int anchored_by_unit(const struct claims *c, const struct claim_place *place,
			    claim_anchor_fn fn, void *user)
{
	char service[UNIT_NAME_MAX];
	int r;

	if (place->unit.unit_depth == 0)
		return 0;
	r = anchored_in(c, list_find(c, KEY_UNIT, place->unit.unit), SELECTOR_UNIT, place, fn,
			user);
	if (r == 0 && unit_socket_service(place->unit.unit, service))
		r = anchored_in(c, list_find(c, KEY_UNIT, service), SELECTOR_UNIT, place, fn, user);
	return r;
}

static int anchored_by_slice(const struct claims *c, const struct claim_place *place,
			     claim_anchor_fn fn, void *user)
{
	char name[UNIT_NAME_MAX];
	int r;

	memcpy(name, place->unit.slice, sizeof(name));
	do
		r = anchored_in(c, list_find(c, KEY_SLICE, name), SELECTOR_SLICE, place, fn, user);
	while (r == 0 && slice_parent(name, name));
	return r;
}

int claims_anchored(const struct claims *c, const struct claim_place *place, claim_anchor_fn fn,
		    void *user)
{
	int r = anchored_by_unit(c, place, fn, user);

	if (r == 0)
		r = anchored_by_slice(c, place, fn, user);
	if (r == 0)
		r = anchored_in(c, list_find(c, KEY_PATH, place->path), SELECTOR_CGROUP, place, fn,
				user);
	if (r == 0 && place->container.depth > 0)
		r = anchored_in(c, list_find(c, KEY_CONTAINER, place->container.id),
				SELECTOR_CONTAINER, place, fn, user);
	if (r == 0 && place->container.pod_depth > 0)
		r = anchored_in(c, list_find(c, KEY_POD, place->container.pod_uid), SELECTOR_POD,
				place, fn, user);
	return r;
}

static int each(const struct claim_list *l, claim_fn fn, void *user)
{
	for (size_t i = 0; l != NULL && i < l->count; i++) {
		int r = fn(user, l->items[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

int claims_pathless(const struct claims *c, claim_fn fn, void *user)
{
	return each(&c->pathless, fn, user);
}

int claims_of_uid(const struct claims *c, uint32_t uid, claim_fn fn, void *user)
{
	struct lookup_key k;

	key_set(&k, KEY_UID, (const char *)&uid, sizeof(uid));
	return each(map_get(c->lists, k.text, k.len), fn, user);
}

bool claims_have_uid_only(const struct claims *c)
{
	return c->any_uid_only;
}

bool claims_have_pathless(const struct claims *c)
{
	return c->pathless.count > 0;
}

bool claims_open_below(const struct claims *c, const struct claim_place *place)
{
	if (mark_find(c, KEY_ABOVE_PATH, place->path) != NULL ||
	    (c->any_container && container_may_be_below(place->path)))
		return true;
	if (!unit_place_is_slice(&place->unit))
		return false;
	/*
	 * A new unit may be anything that its executable says. Or one that an essential names: if
	 * its slice were nobody's, its first packets would be, too.
	 */
	return c->any_unit || c->any_essential || claims_have_pathless(c) ||
	       mark_find(c, KEY_ABOVE_SLICE, place->unit.slice) != NULL;
}

bool claims_look_below(const struct claims *c, const struct claim_place *place)
{
	/*
	 * A unit goes on being entered itself although podman may make a container in it: nothing
	 * stays in such a unit beside the container and its monitor, and every other unit of the
	 * host would be a question for ever.
	 */
	return claims_have_pathless(c) || claims_open_below(c, place) ||
	       (c->any_container && container_may_be_in_unit(place->path));
}

const char *claims_essential_unit(const struct claims *c, const struct claim_place *place)
{
	char service[UNIT_NAME_MAX];
	const char *unit;

	if (!c->any_essential || place->unit.unit_depth == 0 ||
	    place->unit.unit_depth != place->unit.depth)
		return NULL;
	unit = mark_find(c, KEY_ESSENTIAL, place->unit.unit);
	if (unit == NULL && unit_socket_service(place->unit.unit, service))
		unit = mark_find(c, KEY_ESSENTIAL, service);
	return unit;
}

const char *claim_format(char buf[CLAIM_TEXT_MAX], const struct claim *c)
{
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < c->entry->selector_count && len < CLAIM_TEXT_MAX; i++) {
		int n = snprintf(buf + len, CLAIM_TEXT_MAX - len, "%s%s %s", i > 0 ? ", " : "",
				 selector_name(c->entry->selectors[i].kind),
				 c->entry->selectors[i].value);

		if (n < 0)
			break;
		len += (size_t)n;
	}
	return buf;
}
