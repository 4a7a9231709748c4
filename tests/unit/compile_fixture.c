/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/compile_fixture.h"

#include "base/mem.h"
#include "base/text.h"
#include "base/zone.h"
#include "rules/marks.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CGROUP_BASE 1000

/* --- texts ----------------------------------------------------------------------------------- */

struct addr fixture_addr(const char *text)
{
	struct addr a = {0};

	CHECK_INT(addr_parse(text, &a), 0);
	return a;
}

struct service fixture_service(const char *text)
{
	struct service s = {0};

	CHECK_INT(service_parse(text, &s), 0);
	return s;
}

static size_t words_of(const char *text, char words[FIXTURE_LIST_MAX][64])
{
	size_t count = 0;

	while (text && *text) {
		size_t len = strcspn(text, " ");

		CHECK(count < FIXTURE_LIST_MAX && len < 64);
		memcpy(words[count], text, len);
		words[count++][len] = '\0';
		text += len;
		text += strspn(text, " ");
	}
	return count;
}

static struct addr *addrs_of(const char *text, size_t *ret_count)
{
	char words[FIXTURE_LIST_MAX][64];
	size_t count = words_of(text, words);
	struct addr *all = mem_calloc(count, sizeof(*all));

	CHECK(all != NULL);
	for (size_t i = 0; i < count; i++)
		all[i] = fixture_addr(words[i]);
	*ret_count = count;
	return all;
}

/* --- view, host, overlay --------------------------------------------------------------------- */

static void grow(void *items, size_t count, size_t size)
{
	void *block;

	memcpy(&block, items, sizeof(block));
	block = mem_realloc(block, (count + 1) * size);
	CHECK(block != NULL);
	memset((char *)block + count * size, 0, size);
	memcpy(items, &block, sizeof(block));
}

void compiled_place(struct compiled *f, const char *path, const char *addresses)
{
	struct view *v = f->view;

	grow(&v->placed, v->placed_count, sizeof(*v->placed));
	v->placed[v->placed_count].identity = mem_strdup(path);
	v->placed[v->placed_count].addresses =
		addrs_of(addresses, &v->placed[v->placed_count].address_count);
	v->placed_count++;
}

void compiled_peer(struct compiled *f, const char *path, const char *node, const char *addresses,
		   const char *services)
{
	char words[FIXTURE_LIST_MAX][64];
	struct view *v = f->view;
	struct view_peer *p;

	grow(&v->peers, v->peer_count, sizeof(*v->peers));
	p = &v->peers[v->peer_count++];
	p->identity = mem_strdup(path);
	p->node = mem_strdup(node);
	p->addresses = addrs_of(addresses, &p->address_count);
	p->has_services = services != NULL;
	p->service_count = words_of(services, words);
	p->services = mem_calloc(p->service_count, sizeof(*p->services));
	for (size_t i = 0; i < p->service_count; i++)
		p->services[i] = fixture_service(words[i]);
}

void compiled_node(struct compiled *f, const char *node, const char *addresses)
{
	struct view *v = f->view;

	grow(&v->nodes, v->node_count, sizeof(*v->nodes));
	v->nodes[v->node_count].node = mem_strdup(node);
	v->nodes[v->node_count].addresses =
		addrs_of(addresses, &v->nodes[v->node_count].address_count);
	v->node_count++;
}

void compiled_clear_view(struct compiled *f)
{
	view_free(f->view);
	f->view = mem_calloc(1, sizeof(*f->view));
	CHECK(f->view != NULL);
	f->view->node = mem_strdup(FIXTURE_NODE);
	f->in.view = f->view;
}

void compiled_revoke(struct compiled *f, int kind, const char *name)
{
	struct overlay *o = &f->overlay;

	grow(&o->revoked, o->revoked_count, sizeof(*o->revoked));
	o->revoked[o->revoked_count].kind = kind;
	o->revoked[o->revoked_count++].name = mem_strdup(name);
}

void compiled_quarantine(struct compiled *f, const char *path, const char *keep)
{
	struct overlay *o = &f->overlay;

	grow(&o->quarantined, o->quarantined_count, sizeof(*o->quarantined));
	o->quarantined[o->quarantined_count].identity = mem_strdup(path);
	o->quarantined[o->quarantined_count++].keep = keep ? mem_strdup(keep) : NULL;
}

void compiled_grant(struct compiled *f, const char *rule, const char *from, const char *to,
		    int64_t seconds)
{
	struct overlay *o = &f->overlay;
	struct overlay_grant *g;

	grow(&o->grants, o->grant_count, sizeof(*o->grants));
	g = &o->grants[o->grant_count++];
	g->rule = mem_strdup(rule);
	g->from = mem_strdup(from);
	g->to = mem_strdup(to);
	g->until.s = f->in.now.s + seconds;
}

void compiled_essential(struct compiled *f, enum essential_direction direction, const char *far,
			const char *service, const char *by)
{
	struct essentials *all = &f->essentials;
	struct essential *e;

	grow(&all->entries, all->count, sizeof(*all->entries));
	e = &all->entries[all->count++];
	e->direction = direction;
	if (far)
		CHECK_INT(prefix_parse(far, &e->far), 0);
	e->service = fixture_service(service);
	e->why = mem_strdup("test");
	if (by)
		e->by[e->by_count++] = mem_strdup(by);
}

uint64_t compiled_cgroup(const struct compiled *f, const char *identity)
{
	int index = policy_find_identity(f->policy, identity);

	CHECK(index >= 0);
	return CGROUP_BASE + (uint64_t)index;
}

static void fill_host(struct compiled *f)
{
	host_done(&f->host);
	f->host.workloads = mem_calloc(f->policy->identity_count, sizeof(*f->host.workloads));
	CHECK(f->host.workloads != NULL);
	for (size_t i = 0; i < f->policy->identity_count; i++)
		f->host.workloads[f->host.workload_count++] = (struct host_workload){
			.identity = (uint32_t)i,
			.cgroup_id = CGROUP_BASE + i,
			.level = FIXTURE_CGROUP_LEVEL,
		};
}

/* --- life ------------------------------------------------------------------------------------ */

void compiled_policy(struct compiled *f, const char *policy_text)
{
	policy_free(f->policy);
	f->policy = policy_sound(policy_text);
	f->in.policy = f->policy;
	fill_host(f);
}

void compiled_init(struct compiled *f, const char *policy_text)
{
	static const struct addr own[] = {
		{.family = AF_INET, .bytes = {10, 0, 0, 1}},
		{.family = AF_INET6, .bytes = {0xfd, [15] = 1}},
	};

	*f = (struct compiled){0};
	compiled_clear_view(f);
	compiled_policy(f, policy_text);
	f->in.addresses = own;
	f->in.address_count = ARRAY_LEN(own);
	f->in.now.s = FIXTURE_NOW_S;
	f->in.clock_trusted = true;
	f->in.local_time = zone_local_time();
	f->in.overlay = &f->overlay;
	f->in.essentials = &f->essentials;
	f->numbers = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	f->identities = numbers_new(MARK_IDENTITY_MIN, MARK_IDENTITY_MAX);
	CHECK(f->numbers && f->identities);
	f->shape.unclaimed_mark = FIXTURE_UNCLAIMED;
	f->shape.unclaimed = UNCLAIMED_PASS;
}

void compiled_done(struct compiled *f)
{
	policy_free(f->policy);
	policy_free(f->other);
	view_free(f->view);
	host_done(&f->host);
	overlay_done(&f->overlay);
	essentials_done(&f->essentials);
	numbers_free(f->numbers);
	numbers_free(f->identities);
	generation_free(f->g);
	ruleset_free(f->r);
}

int compiled_try(struct compiled *f)
{
	int r;

	generation_free(f->g);
	ruleset_free(f->r);
	f->g = NULL;
	f->r = NULL;
	f->in.also_cut = f->other;
	r = compile_generation(&f->in, f->numbers, f->identities, &f->g, &f->err);
	if (r < 0)
		return r;
	return ruleset_build(f->g, NULL, &f->host, NULL, &f->shape, &f->r, &f->err);
}

void compiled_run(struct compiled *f)
{
	CHECK_OK(compiled_try(f), &f->err);
}

/* --- the kernel's lookups -------------------------------------------------------------------- */

static uint32_t value_at(const struct set_items *s, const uint8_t *record)
{
	uint32_t value = 0;

	memcpy(&value, record + set_value_offset(s->ref.kind), sizeof(value));
	return value;
}

static size_t padded_len(enum field f)
{
	static const uint8_t len[] = {
		[FIELD_MARK] = 4,    [FIELD_ADDR4] = 4, [FIELD_ADDR6] = 16,
		[FIELD_L4PROTO] = 4, [FIELD_PORT] = 4,  [FIELD_ICMP_TYPE] = 4,
		[FIELD_CGROUP] = 8,  [FIELD_UID] = 4,   [FIELD_NFPROTO] = 4,
	};

	return len[f];
}

static bool is_within(enum set_kind kind, const uint8_t *record, const uint8_t *key)
{
	const struct set_spec *spec = set_spec(kind);
	size_t at = 0, key_len = set_key_len(kind);

	for (size_t i = 0; i < spec->field_count; i++) {
		size_t len = padded_len(spec->fields[i]);

		if (memcmp(key + at, record + at, len) < 0 ||
		    memcmp(key + at, record + key_len + at, len) > 0)
			return false;
		at += len;
	}
	return true;
}

/* Intervals must be disjoint: the kernel would refuse them, or answer by order of insertion. */
static const uint8_t *find_interval(const struct set_items *s, const struct key *key)
{
	size_t stride = set_stride(s->ref.kind);
	const uint8_t *found = NULL;

	for (size_t i = 0; i < s->count; i++) {
		if (!is_within(s->ref.kind, s->bytes + i * stride, key->bytes))
			continue;
		CHECK(found == NULL);
		found = s->bytes + i * stride;
	}
	return found;
}

static uint32_t find_mark(const struct compiled *f, unsigned kind, enum slot slot,
			  const struct key *key)
{
	struct set_ref ref = {.kind = (uint8_t)kind};
	const struct set_items *s;
	const uint8_t *record;

	if (set_spec((enum set_kind)kind)->per_slot)
		ref.slot = (uint8_t)slot;
	s = ruleset_find(f->r, ref);
	if (!s)
		return 0;
	record = set_spec((enum set_kind)kind)->interval ? find_interval(s, key)
							 : set_items_find(s, key->bytes);
	return record ? value_at(s, record) : 0;
}

static void flow_key(struct key *k, uint32_t mark, const struct addr *a, const struct service *s,
		     bool port)
{
	key_init(k);
	if (mark != 0)
		key_u32(k, mark);
	key_addr(k, a);
	if (service_is_echo(s)) {
		key_u8(k, service_icmp_type(s));
		return;
	}
	key_u8(k, service_l4proto(s));
	if (port)
		key_port(k, s->first);
}

uint32_t compiled_find(const struct compiled *f, bool in, uint32_t mark, const struct addr *a,
		       const struct service *s, enum slot slot)
{
	unsigned base = in ? SET_IN4 : SET_OUT4, v6 = a->family == AF_INET6;
	bool echo = service_is_echo(s);
	uint32_t number;
	struct key key;

	flow_key(&key, mark, a, s, true);
	number = find_mark(f, base + (echo ? 6 : 0) + v6, slot, &key);
	if (number == 0 && !echo) {
		flow_key(&key, mark, a, s, false);
		number = find_mark(f, base + 2 + v6, slot, &key);
	}
	flow_key(&key, mark, a, s, true);
	if (number == 0)
		number = find_mark(f, base + (echo ? 8 : 4) + v6, slot, &key);
	return number;
}

uint32_t compiled_find_essential(const struct compiled *f, bool in, const struct addr *a,
				 const struct service *s)
{
	unsigned base = in ? SET_ESSENTIAL_IN4 : SET_ESSENTIAL_OUT4;
	struct key key;

	if (service_is_echo(s))
		return 0;
	flow_key(&key, 0, a, s, true);
	return find_mark(f, base + (a->family == AF_INET6), SLOT_A, &key);
}

uint8_t compiled_live(const struct compiled *f, uint32_t number)
{
	const struct set_items *s = ruleset_find(f->r, (struct set_ref){.kind = SET_LIVE});
	const uint8_t *record = s ? set_items_find(s, &number) : NULL;

	return record ? record[set_value_offset(SET_LIVE)] : LIVE_NONE;
}

bool compiled_has(const struct compiled *f, enum set_kind kind, enum slot slot, uint8_t level,
		  const struct key *key)
{
	const struct set_items *s = ruleset_find(
		f->r,
		(struct set_ref){.kind = (uint8_t)kind, .slot = (uint8_t)slot, .level = level});

	return s && set_items_find(s, key->bytes);
}

bool compiled_has_mark(const struct compiled *f, enum set_kind kind, uint32_t mark)
{
	struct key key;

	key_init(&key);
	key_u32(&key, mark);
	return compiled_has(f, kind, SLOT_A, 0, &key);
}

static void end_key(struct key *k, uint32_t number, uint64_t cgroup)
{
	key_init(k);
	key_u32(k, number);
	key_cgroup(k, cgroup);
}

bool compiled_is_end(const struct compiled *f, uint32_t number, uint64_t cgroup)
{
	struct key key;

	end_key(&key, number, cgroup);
	return compiled_has(f, SET_ENDS, SLOT_A, FIXTURE_CGROUP_LEVEL, &key);
}

uint8_t compiled_live_udp(const struct compiled *f, uint32_t number, uint64_t cgroup)
{
	const struct set_items *s = ruleset_find(
		f->r, (struct set_ref){.kind = SET_LIVE_UDP, .level = FIXTURE_CGROUP_LEVEL});
	const uint8_t *record;
	struct key key;

	end_key(&key, number, cgroup);
	record = s ? set_items_find(s, key.bytes) : NULL;
	return record ? record[set_value_offset(SET_LIVE_UDP)] : LIVE_NONE;
}

int64_t compiled_lease(const struct compiled *f, uint32_t number)
{
	const struct set_items *s = ruleset_find(f->r, (struct set_ref){.kind = SET_LEASED});
	const uint8_t *record = s ? set_items_find(s, &number) : NULL;
	int64_t end = 0;

	if (record)
		memcpy(&end, record + set_value_offset(SET_LEASED), sizeof(end));
	return end;
}

size_t compiled_count(const struct compiled *f, enum set_kind kind)
{
	size_t count = 0;

	for (size_t i = 0; i < f->r->set_count; i++)
		if (f->r->sets[i].ref.kind == kind)
			count += f->r->sets[i].count;
	return count;
}

uint32_t compiled_mark(const struct compiled *f, const char *identity)
{
	for (size_t i = 0; i < f->g->local_count; i++)
		if (str_eq(f->g->locals[i].name, identity))
			return f->g->locals[i].mark;
	return 0;
}

/* --- words ----------------------------------------------------------------------------------- */

static const char *say(struct compiled *f, uint32_t number)
{
	const struct conduit *c = generation_find(f->g, number);
	char comment[CONDUIT_COMMENT_MAX];

	if (number == 0)
		return "-";
	CHECK(c != NULL);
	(void)snprintf(f->text, sizeof(f->text), "%s: %s", conduit_comment(comment, f->g, c),
		       live_name(compiled_live(f, number)));
	return f->text;
}

const char *compiled_out(struct compiled *f, const char *identity, const char *address,
			 const char *service)
{
	struct addr a = fixture_addr(address);
	struct service s = fixture_service(service);

	return say(f, compiled_find(f, false, compiled_mark(f, identity), &a, &s, SLOT_A));
}

const char *compiled_in(struct compiled *f, const char *identity, const char *address,
			const char *service)
{
	struct addr a = fixture_addr(address);
	struct service s = fixture_service(service);

	return say(f, compiled_find(f, true, compiled_mark(f, identity), &a, &s, SLOT_A));
}

const char *compiled_in_echo(struct compiled *f, const char *address, const char *service)
{
	struct addr a = fixture_addr(address);
	struct service s = fixture_service(service);

	return say(f, compiled_find(f, true, 0, &a, &s, SLOT_A));
}

const char *compiled_loopback(struct compiled *f, const char *identity, const char *address,
			      const char *service, const char *listener)
{
	struct addr a = fixture_addr(address);
	struct service s = fixture_service(service);
	uint32_t number = compiled_find(f, false, compiled_mark(f, identity), &a, &s, SLOT_A);
	uint64_t cgroup = compiled_cgroup(f, listener);
	bool received = s.kind == SERVICE_UDP ? compiled_live_udp(f, number, cgroup) != LIVE_NONE
					      : compiled_is_end(f, number, cgroup);

	if (number != 0 && compiled_live(f, number) != LIVE_NONE && !received)
		return "refused";
	return say(f, number);
}
