/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/observed.h"

#include "base/buf.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define OBSERVED_FILE "observed.json"
/* A crash costs at most so much of what was seen. */
#define SAVE_AFTER_US (300ULL * 1000000)
/* First port that Linux gives to callers; IANA's begin above. */
#define EPHEMERAL_MIN 32768
/* So many services above it between two ends are ports that are chosen anew each time. */
#define HIGH_SERVICES_MAX 8

/* Of a byte, as json_host_string() writes those that are not UTF-8. */
#define QUOTED_MAX 4

struct observed {
	struct store *store;
	char *node;
	struct observed_entry *entries;
	size_t count, cap;
	struct map *by_key; /* position + 1 */
	struct observed_totals totals;
	sd_event_source *save;
	bool dirty;
};

static const char *const kinds[] = {
	[OBSERVED_IDENTITY] = "identity",
	[OBSERVED_PROCESS] = "process",
	[OBSERVED_NODE] = "node",
	[OBSERVED_ADDRESS] = "address",
};

/* --- entries ------------------------------------------------------------------------------- */

static void entry_done(struct observed_entry *e)
{
	free(e->from.name);
	free(e->to.name);
	free(e->peers);
	*e = (struct observed_entry){0};
}

static char *key_of(const struct observed_party *from, const struct observed_party *to,
		    const char *service)
{
	return mem_printf("%u %s\n%u %s\n%s", from->kind, from->name, to->kind, to->name, service);
}

static struct observed_entry *entry_find(const struct observed *o, const char *key)
{
	uintptr_t at = (uintptr_t)map_get_str(o->by_key, key);

	return at ? &o->entries[at - 1] : NULL;
}

/* Rare conversations give way to new ones; those of every night stay. */
static struct observed_entry *make_room(struct observed *o)
{
	struct observed_entry *least = &o->entries[0];
	char *key;

	for (size_t i = 1; i < o->count; i++) {
		struct observed_entry *e = &o->entries[i];

		if (e->flows < least->flows || (e->flows == least->flows && e->last < least->last))
			least = e;
	}
	key = key_of(&least->from, &least->to, least->service);
	if (!key)
		return NULL;
	(void)map_del_str(o->by_key, key);
	free(key);
	entry_done(least);
	o->totals.overflow++;
	return least;
}

static struct observed_entry *entry_slot(struct observed *o)
{
	if (o->count == OBSERVED_MAX)
		return make_room(o);
	if (vec_grow(&o->entries, &o->cap, o->count + 1, sizeof(*o->entries), OBSERVED_MAX) < 0)
		return NULL;
	return &o->entries[o->count++];
}

/* NULL when out of memory: what is not seen is not proposed. */
static struct observed_entry *entry_add(struct observed *o, const struct observed_party *from,
					const struct observed_party *to, const char *service,
					const char *key)
{
	struct observed_entry made = {.from = *from, .to = *to}, *e;

	made.from.name = mem_strdup(from->name);
	made.to.name = mem_strdup(to->name);
	e = made.from.name && made.to.name ? entry_slot(o) : NULL;
	if (!e) {
		entry_done(&made);
		return NULL;
	}
	(void)snprintf(made.service, sizeof(made.service), "%s", service);
	*e = made;
	if (map_put_str(o->by_key, key, (void *)(uintptr_t)(e - o->entries + 1)) == 0)
		return e;
	entry_done(e);
	/* A hole would have no key; the last entry fills it. */
	o->count--;
	if (e != &o->entries[o->count]) {
		CLEANUP(freep) char *moved = NULL;

		*e = o->entries[o->count];
		moved = key_of(&e->from, &e->to, e->service);
		if (moved)
			(void)map_put_str(o->by_key, moved,
					  (void *)(uintptr_t)(e - o->entries + 1));
	}
	return NULL;
}

/* --- peers --------------------------------------------------------------------------------- */

static bool peers_cover(const struct observed_entry *e, const struct prefix *p)
{
	for (size_t i = 0; i < e->peer_count; i++) {
		if (prefix_covers(&e->peers[i], p))
			return true;
	}
	return false;
}

static void mask(struct prefix *p, uint8_t len)
{
	size_t bytes = addr_len(&p->addr);

	if (p->len <= len)
		return;
	for (size_t i = 0; i < bytes; i++) {
		unsigned keep = len >= 8 * (i + 1) ? 8 : len > 8 * i ? len - 8 * (unsigned)i : 0;

		p->addr.bytes[i] &= (uint8_t)(0xff00U >> keep);
	}
	p->len = len;
}

/* Too many addresses are told as the networks around them, as narrow as there is room for. */
static void widen(struct observed_entry *e, uint8_t len4, uint8_t len6)
{
	size_t kept = 0;

	for (size_t i = 0; i < e->peer_count; i++) {
		struct prefix p = e->peers[i];
		size_t count = e->peer_count;

		mask(&p, p.addr.family == AF_INET6 ? len6 : len4);
		e->peer_count = kept;
		if (!peers_cover(e, &p))
			e->peers[kept++] = p;
		e->peer_count = count;
	}
	e->peer_count = kept;
}

static void add_peer(struct observed_entry *e, const struct prefix *p)
{
	static const uint8_t steps[][2] = {{24, 64}, {16, 48}, {8, 32}, {0, 0}};
	struct prefix wide = *p;

	for (size_t i = 0; i < ARRAY_LEN(steps) && e->peer_count >= OBSERVED_PEERS_MAX; i++) {
		if (peers_cover(e, &wide))
			return;
		widen(e, steps[i][0], steps[i][1]);
		mask(&wide, wide.addr.family == AF_INET6 ? steps[i][1] : steps[i][0]);
	}
	if (!peers_cover(e, &wide) && vec_grow(&e->peers, &e->peer_cap, e->peer_count + 1,
					       sizeof(*e->peers), OBSERVED_PEERS_MAX) == 0)
		e->peers[e->peer_count++] = wide;
}

/* --- one record ---------------------------------------------------------------------------- */

struct conversation {
	const struct record_end *from, *to;
	char service[RECORD_SERVICE_MAX];
	bool far_is_from;
};

static bool has_ports(const struct record *d)
{
	return d->l4proto == IPPROTO_TCP || d->l4proto == IPPROTO_UDP;
}

/*
 * A datagram from a service to a port that callers get is an answer whose question nobody saw. TCP
 * was turned by whoever made the record, who knows the handshake.
 */
static void turn(const struct record *d, struct conversation *c)
{
	*c = (struct conversation){
		.from = &d->from, .to = &d->to, .far_is_from = d->direction == RECORD_IN};
	(void)snprintf(c->service, sizeof(c->service), "%s", d->service);
	if (d->l4proto != IPPROTO_UDP || d->to.port < EPHEMERAL_MIN || d->from.port == 0 ||
	    d->from.port >= EPHEMERAL_MIN)
		return;
	c->from = &d->to;
	c->to = &d->from;
	c->far_is_from = !c->far_is_from;
	record_service(c->service, d->l4proto, d->from.port);
}

static struct observed_party party_of(const struct observed *o, const struct record_end *e)
{
	struct observed_party p = {.kind = OBSERVED_ADDRESS, .name = (char *)(uintptr_t) ""};

	if (e->identity) {
		p.kind = OBSERVED_IDENTITY;
		p.name = (char *)(uintptr_t)e->identity;
	} else if (e->node && str_eq(e->node, o->node)) {
		p.kind = OBSERVED_PROCESS;
		p.name = (char *)(uintptr_t)(e->cgroup ? e->cgroup : "");
	} else if (e->node) {
		p.kind = OBSERVED_NODE;
		p.name = (char *)(uintptr_t)e->node;
	}
	return p;
}

/* Only what lacks a rule: other refusals are meant, or are no conversation. */
static bool lacks_a_rule(const struct record *d)
{
	static const enum reason reasons[] = {REASON_NO_RULE, REASON_NO_IDENTITY,
					      REASON_UNKNOWN_PEER, REASON_UNCLAIMED,
					      REASON_UNKNOWN_CGROUP};

	for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
		if (d->reason == reasons[i])
			return true;
	}
	return false;
}

static bool is_high(const char *service, uint8_t l4proto)
{
	const char *slash = strchr(service, '/');
	uint32_t port;

	return (l4proto == IPPROTO_TCP || l4proto == IPPROTO_UDP) && slash &&
	       text_u32(slash + 1, EPHEMERAL_MIN, UINT16_MAX, &port) == 0;
}

/* "tcp/high" in the place of one more port between the same two that means nothing. */
static void fold_high(const struct observed *o, const struct observed_party *from,
		      const struct observed_party *to, const struct record *d,
		      struct conversation *c)
{
	size_t same = 0, proto = strcspn(c->service, "/") + 1;

	if (!is_high(c->service, d->l4proto))
		return;
	for (size_t i = 0; i < o->count; i++) {
		const struct observed_entry *e = &o->entries[i];

		same += e->from.kind == from->kind && e->to.kind == to->kind &&
			strncmp(e->service, c->service, proto) == 0 &&
			is_high(e->service, d->l4proto) && str_eq(e->from.name, from->name) &&
			str_eq(e->to.name, to->name);
	}
	if (same >= HIGH_SERVICES_MAX)
		(void)snprintf(c->service + proto, sizeof(c->service) - proto, "high");
}

static struct observed_entry *entry_of(struct observed *o, const struct record *d,
				       struct conversation *c)
{
	struct observed_party from = party_of(o, c->from), to = party_of(o, c->to);
	CLEANUP(freep) char *key = key_of(&from, &to, c->service);
	CLEANUP(freep) char *folded = NULL;
	struct observed_entry *e;

	if (!key)
		return NULL;
	e = entry_find(o, key);
	if (e)
		return e;
	fold_high(o, &from, &to, d, c);
	folded = key_of(&from, &to, c->service);
	if (!folded)
		return NULL;
	e = entry_find(o, folded);
	return e ? e : entry_add(o, &from, &to, c->service, folded);
}

/* In observe mode every packet of a flow is judged, and told of every ten seconds. */
static bool is_known_flow(struct observed_entry *e, const struct record *d,
			  const struct conversation *c)
{
	if (!has_ports(d))
		return false;
	for (size_t i = 0; i < OBSERVED_PORTS; i++) {
		if (e->ports[i] == c->from->port)
			return true;
	}
	e->ports[e->next_port] = c->from->port;
	e->next_port = (uint8_t)((e->next_port + 1) % OBSERVED_PORTS);
	return false;
}

static void save_later(struct observed *o)
{
	o->dirty = true;
	if (!o->save)
		return;
	(void)sd_event_source_set_time_relative(o->save, SAVE_AFTER_US);
	(void)sd_event_source_set_enabled(o->save, SD_EVENT_ONESHOT);
}

static void become_dirty(struct observed *o)
{
	if (!o->dirty)
		save_later(o);
}

static bool is_too_long(const struct record_end *e)
{
	return (e->identity && strlen(e->identity) > OBSERVED_NAME_MAX) ||
	       (e->cgroup && strlen(e->cgroup) > OBSERVED_NAME_MAX);
}

/* An end of this host whose socket is gone, and nobody knows whose it was. */
static bool is_nobody(const struct observed *o, const struct record_end *e)
{
	return is_too_long(e) ||
	       (!e->identity && !e->cgroup && e->node && str_eq(e->node, o->node));
}

/* A later packet of a flow of which more was known before. */
static bool is_told_already(const struct observed *o, const struct record *d,
			    const struct conversation *c)
{
	for (size_t i = 0; has_ports(d) && i < o->count; i++) {
		const struct observed_entry *e = &o->entries[i];

		for (size_t k = 0; k < OBSERVED_PORTS && str_eq(e->service, c->service); k++) {
			if (e->ports[k] == c->from->port)
				return true;
		}
	}
	return false;
}

void observed_note(struct observed *o, const struct record *d, struct wall now)
{
	struct observed_entry *e;
	struct conversation c;
	struct prefix peer;

	if (d->decision == DECISION_DENIED)
		return;
	become_dirty(o);
	if (!lacks_a_rule(d)) {
		if (d->decision == DECISION_ALLOWED) {
			o->totals.flows += d->count;
			o->totals.permitted += d->count;
		}
		return;
	}
	turn(d, &c);
	if (is_nobody(o, c.from) || is_nobody(o, c.to)) {
		if (!is_told_already(o, d, &c)) {
			o->totals.flows += d->count;
			o->totals.unattributed += d->count;
		}
		return;
	}
	e = entry_of(o, d, &c);
	if (!e)
		return;
	if (!is_known_flow(e, d, &c)) {
		o->totals.flows += d->count;
		e->flows += d->count;
	}
	e->far_is_from = c.far_is_from;
	e->first = e->first ? e->first : now.s;
	e->last = now.s;
	peer.addr = c.far_is_from ? c.from->address : c.to->address;
	peer.len = (uint8_t)(8 * addr_len(&peer.addr));
	if (peer.addr.family)
		add_peer(e, &peer);
}

size_t observed_count(const struct observed *o)
{
	return o->count;
}

const struct observed_entry *observed_at(const struct observed *o, size_t i)
{
	return &o->entries[i];
}

const struct observed_totals *observed_totals(const struct observed *o)
{
	return &o->totals;
}

/* --- on disk ------------------------------------------------------------------------------- */

/* All of them or NULL: an entry with fewer would be proposed as if that were all. */
static json_t *peers_json(const struct observed_entry *e)
{
	CLEANUP(json_decrefp) json_t *list = json_array();
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < e->peer_count; i++) {
		if (json_array_append_new(list, json_string(prefix_format(text, &e->peers[i]))) < 0)
			return NULL;
	}
	return TAKE_PTR(list);
}

static json_t *party_json_of(const struct observed_party *p)
{
	json_t *name = json_host_string(p->name);

	return name ? json_pack("{s:s,s:o}", "kind", kinds[p->kind], "name", name) : NULL;
}

static json_t *entry_json(const struct observed_entry *e)
{
	json_t *from = party_json_of(&e->from), *to = party_json_of(&e->to);
	json_t *peers = peers_json(e);

	if (from && to && peers)
		return json_pack("{s:o,s:o,s:s,s:I,s:I,s:I,s:b,s:o}", "from", from, "to", to,
				 "service", e->service, "flows", (json_int_t)e->flows, "first",
				 (json_int_t)e->first, "last", (json_int_t)e->last, "far_is_from",
				 e->far_is_from, "peers", peers);
	json_decref(from);
	json_decref(to);
	json_decref(peers);
	return NULL;
}

int observed_save(struct observed *o, struct err *err)
{
	CLEANUP(json_decrefp) json_t *entries = json_array();
	CLEANUP(json_decrefp) json_t *json = NULL;
	bool whole = entries != NULL;
	int r;

	for (size_t i = 0; i < o->count && whole; i++)
		whole = json_array_append_new(entries, entry_json(&o->entries[i])) == 0;
	if (whole)
		json = json_pack("{s:I,s:I,s:I,s:I,s:I,s:O}", "since", (json_int_t)o->totals.since,
				 "flows", (json_int_t)o->totals.flows, "permitted",
				 (json_int_t)o->totals.permitted, "unattributed",
				 (json_int_t)o->totals.unattributed, "overflow",
				 (json_int_t)o->totals.overflow, "entries", entries);
	r = store_json_write(o->store, OBSERVED_FILE, json, err);
	/* What could not be written is still to be. */
	if (r >= 0)
		o->dirty = false;
	else
		save_later(o);
	return r;
}

static int read_party(struct json_object *o, const char *key, struct observed_party *ret)
{
	struct json_object p;
	const char *kind, *name;
	int r;

	json_object_begin(&p, json_take_object(o, key), OBSERVED_FILE, key, o->err);
	kind = json_take_string(&p, "kind", 16);
	name = json_take_string(&p, "name", OBSERVED_NAME_MAX * QUOTED_MAX);
	r = json_finish(&p);
	for (size_t i = 0; r >= 0 && i < ARRAY_LEN(kinds); i++) {
		if (!str_eq(kinds[i], kind))
			continue;
		*ret = (struct observed_party){.kind = (uint8_t)i, .name = (char *)(uintptr_t)name};
		return 0;
	}
	return r < 0 ? r : json_fail(&p, "kind", "unknown kind of party");
}

static int read_entry(struct observed *o, json_t *value, struct err *err)
{
	CLEANUP(freep) char *key = NULL;
	struct observed_party from = {0}, to = {0};
	struct observed_entry *e, read = {0};
	const char *service;
	struct json_object j;
	json_t *peers;
	int r;

	json_object_begin(&j, value, OBSERVED_FILE, "entries", err);
	r = read_party(&j, "from", &from);
	if (r >= 0)
		r = read_party(&j, "to", &to);
	if (r < 0)
		return r;
	service = json_take_string(&j, "service", RECORD_SERVICE_MAX - 1);
	read.flows = (uint64_t)json_take_int(&j, "flows", 0, INT64_MAX);
	read.first = json_take_int(&j, "first", 0, INT64_MAX);
	read.last = json_take_int(&j, "last", 0, INT64_MAX);
	read.far_is_from = json_is_true(json_take_value(&j, "far_is_from"));
	peers = json_take_array(&j, "peers", OBSERVED_PEERS_MAX);
	r = json_finish(&j);
	if (r < 0)
		return r;
	key = key_of(&from, &to, service);
	e = key && !entry_find(o, key) ? entry_add(o, &from, &to, service, key) : NULL;
	if (!e)
		return 0;
	e->flows = read.flows;
	e->first = read.first;
	e->last = read.last;
	e->far_is_from = read.far_is_from;
	for (size_t i = 0; i < json_array_size(peers); i++) {
		const char *text = json_string_value(json_array_get(peers, i));
		struct prefix p;

		if (text && prefix_parse(text, &p) == 0)
			add_peer(e, &p);
	}
	return 0;
}

static int recall(struct observed *o, struct err *err)
{
	CLEANUP(json_decrefp) json_t *json = NULL;
	struct observed_totals t = {0};
	struct json_object j;
	json_t *entries;
	int r = store_json_read(o->store, OBSERVED_FILE, &json, err);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	json_object_begin(&j, json, OBSERVED_FILE, "", err);
	t.since = json_take_int(&j, "since", 0, INT64_MAX);
	t.flows = (uint64_t)json_take_int(&j, "flows", 0, INT64_MAX);
	t.permitted = (uint64_t)json_take_int(&j, "permitted", 0, INT64_MAX);
	t.unattributed = (uint64_t)json_take_int(&j, "unattributed", 0, INT64_MAX);
	t.overflow = (uint64_t)json_take_int(&j, "overflow", 0, INT64_MAX);
	entries = json_take_array(&j, "entries", OBSERVED_MAX);
	r = json_finish(&j);
	for (size_t i = 0; r >= 0 && i < json_array_size(entries); i++)
		r = read_entry(o, json_array_get(entries, i), err);
	if (r >= 0)
		o->totals = t;
	return r;
}

/* --- life ---------------------------------------------------------------------------------- */

static int on_save(sd_event_source *s, uint64_t usec, void *user)
{
	struct observed *o = user;
	struct err err = {{0}};

	(void)s;
	(void)usec;
	if (observed_save(o, &err) < 0)
		log_debug("observed conversations: %s", err.text);
	return 0;
}

static int start_timer(struct observed *o, sd_event *event)
{
	int r;

	if (!event)
		return 0;
	r = sd_event_add_time_relative(event, &o->save, CLOCK_MONOTONIC, SAVE_AFTER_US,
				       SAVE_AFTER_US / 10, on_save, o);
	return r < 0 ? r : sd_event_source_set_enabled(o->save, SD_EVENT_OFF);
}

int observed_new(struct store *s, sd_event *event, const char *node, struct observed **ret,
		 struct err *err)
{
	struct observed *o = mem_calloc(1, sizeof(*o));
	struct err damaged = {{0}};
	int r;

	if (!o)
		return err_set(err, ENOMEM, "out of memory");
	o->store = s;
	o->node = mem_strdup(node);
	o->by_key = map_new(OBSERVED_MAX, NULL);
	o->totals.since = wall_now().s;
	r = o->node && o->by_key ? start_timer(o, event) : -ENOMEM;
	if (r < 0) {
		observed_free(o);
		return err_set(err, -r, "observed conversations: %s", strerror(-r));
	}
	/* Evidence for proposals, no more: what cannot be read is begun again. */
	if (recall(o, &damaged) < 0)
		log_warn("what was observed before is lost: %s", damaged.text);
	*ret = o;
	return 0;
}

void observed_free(struct observed *o)
{
	if (!o)
		return;
	if (o->dirty && o->node && o->by_key)
		(void)observed_save(o, NULL);
	sd_event_source_disable_unref(o->save);
	for (size_t i = 0; i < o->count; i++)
		entry_done(&o->entries[i]);
	free(o->entries);
	map_free(o->by_key);
	free(o->node);
	free(o);
}
