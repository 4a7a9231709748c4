/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The picture in memory, from the store. */
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/zone.h"
#include "controller-client/dsse.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct loading {
	struct core *c;
	struct err *err;
	bool clean;
};

static void copy_hex(char to[SHA256_HEX_LEN], const char *from)
{
	size_t len = strlen(from);

	len = len < SHA256_HEX_LEN ? len : SHA256_HEX_LEN - 1;
	memcpy(to, from, len);
	to[len] = '\0';
}

/* --- keys ------------------------------------------------------------------------------------ */

static int take_key(void *user, const struct store_row *row)
{
	struct loading *l = user;
	struct public_key key;
	size_t len;
	const char *pem = store_row_bytes(row, 2, &len);
	int r;

	if (!str_eq(store_row_text(row, 0), "policy"))
		return 0;
	r = public_key_parse(pem, len, "policy key in the database", &key, l->err);
	if (r < 0)
		return r;
	r = keyring_add(&l->c->policy_keys, &key, l->err);
	if (r < 0)
		public_key_done(&key);
	return r == -EEXIST ? 0 : r;
}

static int take_threshold(void *user, const struct store_row *row)
{
	struct loading *l = user;

	return text_u32(store_row_text(row, 0), 1, KEYRING_MAX, &l->c->policy_keys.threshold);
}

static int take_floor(void *user, const struct store_row *row)
{
	struct loading *l = user;

	return text_u64(store_row_text(row, 0), 0, INT64_MAX, &l->c->sequence_floor);
}

static int take_clean(void *user, const struct store_row *row)
{
	struct loading *l = user;

	l->clean = str_eq(store_row_text(row, 0), "1");
	return 0;
}

static int load_keys(struct loading *l)
{
	struct core *c = l->c;
	int r;

	keyring_done(&c->policy_keys);
	c->policy_keys = (struct keyring){.threshold = 1};
	r = store_run(c->store, STORE_KEYS, NULL, 0, take_key, l, l->err);
	if (r >= 0)
		r = store_ask(c->store, STORE_META_GET, take_threshold, l, l->err,
			      store_text("policy_threshold"));
	if (r >= 0)
		r = store_ask(c->store, STORE_META_GET, take_floor, l, l->err,
			      store_text(SEQUENCE_FLOOR));
	if (r >= 0)
		r = store_ask(c->store, STORE_META_GET, take_clean, l, l->err,
			      store_text(SHUTDOWN_MARK));
	return r < 0 ? r : 0;
}

/* --- policy ---------------------------------------------------------------------------------- */

struct bytes {
	char *at;
	size_t len;
	char sha256[SHA256_HEX_LEN];
};

static int take_envelope(void *user, const struct store_row *row)
{
	struct bytes *b = user;
	const char *at = store_row_bytes(row, 2, &b->len);

	copy_hex(b->sha256, store_row_text(row, 1));
	free(b->at);
	b->at = mem_calloc(b->len + 1, 1);
	if (!b->at)
		return -ENOMEM;
	memcpy(b->at, at, b->len);
	return 0;
}

static int take_blob(void *user, const struct store_row *row)
{
	struct bytes *b = user;
	const char *at = store_row_bytes(row, 0, &b->len);

	free(b->at);
	b->at = mem_calloc(b->len + 1, 1);
	if (!b->at)
		return -ENOMEM;
	memcpy(b->at, at, b->len);
	return 0;
}

static int add_blob(struct core *c, struct policy *p, const struct blob_ref *ref, struct err *err)
{
	struct bytes b = {0};
	int r;

	r = store_ask(c->store, STORE_BLOB_GET, take_blob, &b, err, store_text(ref->sha256));
	if (r == 0)
		r = err_set(err, EIO, "policy blob '%s' (%s) is missing in the store", ref->name,
			    ref->sha256);
	if (r > 0)
		r = policy_add_text(p, ref->name, b.at, b.len);
	free(b.at);
	return r;
}

static bool zone_known_cb(void *user, const char *zone)
{
	(void)user;
	return zone_known(zone);
}

int core_policy_build(struct core *c, const struct manifest *m, struct wall now,
		      struct policy **ret, struct err *err)
{
	/* As agents of this release judge it. */
	const struct policy_features features = {.attested = true, .zone_known = zone_known_cb};
	CLEANUP(policy_freep) struct policy *p = policy_new();
	int r = p ? 0 : -ENOMEM;

	for (size_t i = 0; i < m->policy_count && r >= 0; i++)
		r = add_blob(c, p, &m->policy[i], err);
	if (r >= 0)
		r = policy_finish(p, &features, now);
	if (r == -EINVAL)
		return policy_first_error(p, "the policy has ", err);
	if (r == -ENOMEM)
		return err_set(err, ENOMEM, "out of memory");
	if (r < 0)
		return r;
	*ret = TAKE_PTR(p);
	return 0;
}

/*
 * Judged at the time it was signed for: an exception that has ended since is no reason not to
 * start. A policy that this release does not take any more makes no heads, and nodes keep theirs;
 * its revision still counts.
 */
static int use_manifest(struct core *c, const struct bytes *b, struct err *err)
{
	CLEANUP(policy_freep) struct policy *p = NULL;
	CLEANUP(freep) uint8_t *payload = NULL;
	struct manifest m = {0};
	struct err why = {{0}};
	size_t len;
	int r;

	r = dsse_open_unverified(b->at, b->len, DSSE_TYPE_MANIFEST, &payload, &len, err);
	if (r == 0)
		r = manifest_decode(payload, len, &m, err);
	if (r < 0)
		return r;
	r = core_policy_build(c, &m, m.issued, &p, &why);
	if (r < 0 && r != -EINVAL) {
		manifest_done(&m);
		return err_set(err, -r, "%s", why.text);
	}
	if (r == -EINVAL)
		log_error("controller: revision %" PRIu64 " is not taken by this release (%s); no "
			  "heads are made until another is published",
			  m.revision, why.text);
	return core_policy_use(c, TAKE_PTR(p), &m, b->sha256);
}

/* It was verified when it was published; since then it is as safe as the database. */
int core_load_policy(struct core *c, struct err *err)
{
	struct bytes b = {0};
	int r;

	r = store_run(c->store, STORE_MANIFEST_NEWEST, NULL, 0, take_envelope, &b, err);
	if (r > 0)
		r = use_manifest(c, &b, err);
	free(b.at);
	return r;
}

bool core_node_revoked(const struct core *c, const char *node)
{
	return c->revoked && map_get_str(c->revoked, node) != NULL;
}

static int list_revoked(struct core *c)
{
	int r = 0;

	map_free(c->revoked);
	c->revoked = map_new(MANIFEST_REVOKED_MAX, NULL);
	if (!c->revoked)
		return -ENOMEM;
	for (size_t i = 0; i < c->manifest.revoked_node_count && r == 0; i++)
		r = map_put_str(c->revoked, c->manifest.revoked_nodes[i], c);
	return r;
}

int core_policy_use(struct core *c, struct policy *take, struct manifest *take_manifest,
		    const char *sha256)
{
	struct policy *old = c->policy;
	int r;

	c->policy = take;
	manifest_done(&c->manifest);
	c->manifest = *take_manifest;
	*take_manifest = (struct manifest){0};
	memcpy(c->manifest_sha256, sha256, sizeof(c->manifest_sha256));
	r = list_revoked(c);
	core_shut_nodes(c);
	if (r == 0)
		r = views_set_policy(c->views, c->policy);
	else
		(void)views_set_policy(c->views, NULL); /* the old one goes */
	policy_free(old);
	return r;
}

/* Banned here, or revoked by signed policy. Reopens those that a newer manifest lets back. */
void core_shut_nodes(struct core *c)
{
	for (uint32_t i = 0; i < views_node_count(c->views); i++) {
		const char *name = views_node_at(c->views, i)->name;
		const struct node_record *n = i < c->node_count ? c->nodes[i] : NULL;
		bool shut = (n && n->state == NODE_BANNED) || core_node_revoked(c, name);

		if (views_shut(c->views, i, shut) < 0)
			c->lost = true;
	}
}

/* --- nodes, placements, heads, actions -------------------------------------------------------- */

static enum node_state state_of(const char *text)
{
	if (str_eq(text, "banned"))
		return NODE_BANNED;
	return str_eq(text, "evicted") ? NODE_EVICTED : NODE_ACTIVE;
}

static int take_node(void *user, const struct store_row *row)
{
	struct loading *l = user;
	uint32_t node;
	struct node_record *n = core_node(l->c, store_row_text(row, 0), &node);
	const char *text;
	size_t len;

	if (!n)
		return -ENOMEM;
	n->state = state_of(store_row_text(row, 1));
	n->changed = store_row_int(row, 2);
	n->valid_from = store_row_int(row, 3);
	n->seen = store_row_int(row, 4);
	n->stored = true;
	text = store_row_bytes(row, 5, &len);
	json_decref(n->report);
	n->report = json_loadb(text, len, 0, NULL);
	return report_restore(l->c, node, n->report, n->seen);
}

static int remember_reported(struct core *c, const char *identity, uint32_t node, struct addr *take,
			     size_t count)
{
	struct node_record *n = core_node_at(c, node);
	struct reported_place *p;
	size_t cap;

	if (!n)
		return -ENOMEM;
	cap = n->place_count;
	if (vec_grow(&n->places, &cap, n->place_count + 1, sizeof(*n->places),
		     REPORT_WORKLOADS_MAX) < 0)
		return -ENOMEM;
	p = &n->places[n->place_count];
	p->identity = mem_strdup(identity);
	if (!p->identity)
		return -ENOMEM;
	p->addresses = take;
	p->address_count = count;
	n->place_count++;
	return 0;
}

/* A fleet that has outgrown a limit goes on with the rest, and somebody is told. */
static int left_out(const char *identity, const char *node)
{
	log_error("controller: '%s' on '%s' is beyond what one controller can hold; left out of "
		  "every view",
		  identity, node);
	return 0;
}

static int take_placement(void *user, const struct store_row *row)
{
	struct loading *l = user;
	const char *identity = store_row_text(row, 0), *node = store_row_text(row, 1);
	int64_t source = store_row_int(row, 2);
	CLEANUP(freep) struct addr *addresses = NULL;
	size_t count = 0;
	int r;

	if (source < PLACE_API || source > PLACE_REPORT || !node_name_ok(node) ||
	    addresses_parse(store_row_text(row, 3), &addresses, &count) < 0) {
		log_warn("controller: a placement in the database is not readable; left out");
		return 0;
	}
	r = views_place(l->c->views, identity, node, (enum place_source)source, addresses, count);
	if (r == -E2BIG)
		return left_out(identity, node);
	if (r == 0 && source == PLACE_REPORT) {
		r = remember_reported(l->c, identity, views_find_node(l->c->views, node), addresses,
				      count);
		if (r == 0)
			addresses = NULL;
	}
	return r;
}

static int take_head(void *user, const struct store_row *row)
{
	struct loading *l = user;
	uint32_t node;
	struct node_record *n = core_node(l->c, store_row_text(row, 0), &node);
	struct head_state *h = n ? &n->head : NULL;
	const char *envelope;

	if (!n)
		return -ENOMEM;
	h->sequence = (uint64_t)store_row_int(row, 1);
	h->issued.s = store_row_int(row, 2);
	h->expires.s = store_row_int(row, 3);
	h->urgent = store_row_int(row, 4) != 0;
	copy_hex(h->content, store_row_text(row, 5));
	h->view_sequence = (uint64_t)store_row_int(row, 6);
	copy_hex(h->view_content, store_row_text(row, 7));
	copy_hex(h->view_sha256, store_row_text(row, 8));
	h->view_size = (uint64_t)store_row_int(row, 9);
	envelope = store_row_bytes(row, 10, &h->envelope_len);
	free(h->envelope);
	h->envelope = mem_calloc(h->envelope_len + 1, 1);
	if (!h->envelope)
		return -ENOMEM;
	memcpy(h->envelope, envelope, h->envelope_len);
	h->unsure = !l->clean || store_row_int(row, 11) != 0;
	h->renew = !l->clean;
	h->next_urgent = false; /* not its first */
	return 0;
}

static char *text_or_null(const char *text)
{
	return text[0] != '\0' ? mem_strdup(text) : NULL;
}

static int take_action(void *user, const struct store_row *row)
{
	struct loading *l = user;
	struct core *c = l->c;
	struct action *a;

	if (vec_grow(&c->actions, &c->action_cap, c->action_count + 1, sizeof(*c->actions),
		     CORE_ACTIONS_MAX) < 0)
		return -ENOMEM;
	a = &c->actions[c->action_count++];
	a->id = store_row_int(row, 0);
	a->kind = (enum action_kind)store_row_int(row, 1);
	a->target = mem_strdup(store_row_text(row, 2));
	a->keep = text_or_null(store_row_text(row, 3));
	a->from = text_or_null(store_row_text(row, 4));
	a->to = text_or_null(store_row_text(row, 5));
	a->reason = mem_strdup(store_row_text(row, 6));
	a->who = mem_strdup(store_row_text(row, 7));
	a->at.s = store_row_int(row, 8);
	a->until.s = store_row_int(row, 9);
	return a->target && a->reason && a->who ? 0 : -ENOMEM;
}

static int load_rows(struct loading *l)
{
	static const struct {
		enum store_query query;
		store_row_fn *take;
	} tables[] = {
		{STORE_NODES, take_node},
		{STORE_PLACEMENTS, take_placement},
		{STORE_HEADS, take_head},
		{STORE_ACTIONS, take_action},
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(tables) && r >= 0; i++)
		r = store_run(l->c->store, tables[i].query, NULL, 0, tables[i].take, l, l->err);
	return r < 0 ? r : 0;
}

int core_load(struct core *c, struct err *err)
{
	struct loading l = {.c = c, .err = err};
	int r;

	c->lost = false;
	c->loads++;
	c->views = views_new();
	r = c->views ? load_keys(&l) : err_set(err, ENOMEM, "out of memory");
	if (r == 0)
		r = load_rows(&l);
	if (r == 0)
		r = core_load_policy(c, err);
	if (r == 0)
		core_shut_nodes(c);
	if (r == 0)
		r = store_order(c->store, STORE_META_PUT, err, store_text(SHUTDOWN_MARK),
				store_text("0"));
	if (r < 0) {
		c->lost = true;
		return r;
	}
	views_untouch(c->views);
	return 0;
}

static void node_record_free(struct node_record *n)
{
	if (!n)
		return;
	json_decref(n->report);
	reported_places_free(n->places, n->place_count);
	free(n->head.envelope);
	free(n);
}

void core_unload(struct core *c)
{
	for (size_t i = 0; i < c->node_count; i++)
		node_record_free(c->nodes[i]);
	freep(&c->nodes);
	c->node_count = c->node_cap = 0;
	for (size_t i = 0; i < c->action_count; i++)
		action_done(&c->actions[i]);
	freep(&c->actions);
	c->action_count = c->action_cap = 0;
	views_free(c->views);
	c->views = NULL;
	policy_free(c->policy);
	c->policy = NULL;
	manifest_done(&c->manifest);
	c->manifest_sha256[0] = '\0';
	map_free(c->revoked);
	c->revoked = NULL;
	c->unsaved = 0;
}
