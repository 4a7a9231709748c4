/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/ruleset.h"

#include "base/hash.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FIELD_PAD        4
#define RULESET_SETS_MAX 2048
#define SET_RECORDS_MAX  16777216
#define DENIED_SIZE      65536
#define ASKED_SIZE       4096
#define PORT_KEY(...)                                                                              \
	{                                                                                          \
		FIELD_MARK, __VA_ARGS__, FIELD_L4PROTO, FIELD_PORT                                 \
	}
#define ECHO_KEY(...)                                                                              \
	{                                                                                          \
		FIELD_MARK, __VA_ARGS__, FIELD_ICMP_TYPE                                           \
	}

#define CLASSIFY(set_name, count, ...)                                                             \
	{                                                                                          \
		.name = (set_name), .field_count = (count), .fields = __VA_ARGS__,                 \
		.value = VALUE_MARK, .per_slot = true                                              \
	}
#define CLASSIFY_NET(set_name, count, ...)                                                         \
	{                                                                                          \
		.name = (set_name), .field_count = (count), .fields = __VA_ARGS__,                 \
		.value = VALUE_MARK, .per_slot = true, .interval = true                            \
	}
#define ESSENTIAL(set_name, count, ...)                                                            \
	{                                                                                          \
		.name = (set_name), .field_count = (count), .fields = __VA_ARGS__,                 \
		.value = VALUE_MARK, .interval = true                                              \
	}
#define MARKS(set_name)                                                                            \
	{                                                                                          \
		.name = (set_name), .field_count = 1, .fields = { FIELD_MARK }                     \
	}
#define SWITCH(set_name)                                                                           \
	{                                                                                          \
		.name = (set_name), .field_count = 1, .fields = {FIELD_NFPROTO}, .timeout = true   \
	}

/*
 * Listeners and time-wait ends have timeouts, so that a listener that nobody renews is forgotten
 * with the agent dead (R21). The size of live and live_udp is part of the table's shape.
 */
static const struct set_spec specs[SET_KIND_COUNT] = {
	[SET_WHO_UID] = CLASSIFY("who_u", 1, {FIELD_UID}),
	[SET_WHO_CGROUP] = {.name = "who_c",
			    .field_count = 1,
			    .fields = {FIELD_CGROUP},
			    .value = VALUE_MARK,
			    .per_slot = true,
			    .per_level = true},
	[SET_WHO_CGROUP_UID] = {.name = "who_cu",
				.field_count = 2,
				.fields = {FIELD_CGROUP, FIELD_UID},
				.value = VALUE_MARK,
				.per_slot = true,
				.per_level = true},
	[SET_LISTENERS] = {.name = "listeners",
			   .field_count = 2,
			   .fields = {FIELD_L4PROTO, FIELD_PORT},
			   .value = VALUE_MARK,
			   .per_slot = true,
			   .timeout = true},
	[SET_OUT4] = CLASSIFY("out4", 4, PORT_KEY(FIELD_ADDR4)),
	[SET_OUT6] = CLASSIFY("out6", 4, PORT_KEY(FIELD_ADDR6)),
	[SET_OUT_ANY4] = CLASSIFY("out_any4", 3, {FIELD_MARK, FIELD_ADDR4, FIELD_L4PROTO}),
	[SET_OUT_ANY6] = CLASSIFY("out_any6", 3, {FIELD_MARK, FIELD_ADDR6, FIELD_L4PROTO}),
	[SET_OUT_NET4] = CLASSIFY_NET("out_net4", 4, PORT_KEY(FIELD_ADDR4)),
	[SET_OUT_NET6] = CLASSIFY_NET("out_net6", 4, PORT_KEY(FIELD_ADDR6)),
	[SET_OUT_ECHO4] = CLASSIFY("out_echo4", 3, ECHO_KEY(FIELD_ADDR4)),
	[SET_OUT_ECHO6] = CLASSIFY("out_echo6", 3, ECHO_KEY(FIELD_ADDR6)),
	[SET_OUT_ECHO_NET4] = CLASSIFY_NET("out_echo_net4", 3, ECHO_KEY(FIELD_ADDR4)),
	[SET_OUT_ECHO_NET6] = CLASSIFY_NET("out_echo_net6", 3, ECHO_KEY(FIELD_ADDR6)),
	[SET_IN4] = CLASSIFY("in4", 4, PORT_KEY(FIELD_ADDR4)),
	[SET_IN6] = CLASSIFY("in6", 4, PORT_KEY(FIELD_ADDR6)),
	[SET_IN_ANY4] = CLASSIFY("in_any4", 3, {FIELD_MARK, FIELD_ADDR4, FIELD_L4PROTO}),
	[SET_IN_ANY6] = CLASSIFY("in_any6", 3, {FIELD_MARK, FIELD_ADDR6, FIELD_L4PROTO}),
	[SET_IN_NET4] = CLASSIFY_NET("in_net4", 4, PORT_KEY(FIELD_ADDR4)),
	[SET_IN_NET6] = CLASSIFY_NET("in_net6", 4, PORT_KEY(FIELD_ADDR6)),
	[SET_IN_ECHO4] = CLASSIFY("in_echo4", 2, {FIELD_ADDR4, FIELD_ICMP_TYPE}),
	[SET_IN_ECHO6] = CLASSIFY("in_echo6", 2, {FIELD_ADDR6, FIELD_ICMP_TYPE}),
	[SET_IN_ECHO_NET4] = CLASSIFY_NET("in_echo_net4", 2, {FIELD_ADDR4, FIELD_ICMP_TYPE}),
	[SET_IN_ECHO_NET6] = CLASSIFY_NET("in_echo_net6", 2, {FIELD_ADDR6, FIELD_ICMP_TYPE}),
	[SET_ENDS] = {.name = "ends",
		      .field_count = 2,
		      .fields = {FIELD_MARK, FIELD_CGROUP},
		      .per_slot = true,
		      .per_level = true},
	[SET_TW_ENDS] = {.name = "tw_ends",
			 .field_count = 3,
			 .fields = {FIELD_MARK, FIELD_L4PROTO, FIELD_PORT},
			 .per_slot = true,
			 .timeout = true},
	[SET_ESSENTIAL_OUT4] =
		ESSENTIAL("essential_out4", 3, {FIELD_ADDR4, FIELD_L4PROTO, FIELD_PORT}),
	[SET_ESSENTIAL_OUT6] =
		ESSENTIAL("essential_out6", 3, {FIELD_ADDR6, FIELD_L4PROTO, FIELD_PORT}),
	[SET_ESSENTIAL_IN4] =
		ESSENTIAL("essential_in4", 3, {FIELD_ADDR4, FIELD_L4PROTO, FIELD_PORT}),
	[SET_ESSENTIAL_IN6] =
		ESSENTIAL("essential_in6", 3, {FIELD_ADDR6, FIELD_L4PROTO, FIELD_PORT}),
	[SET_ESSENTIAL_KERNEL] = ESSENTIAL("essential_kernel", 2, {FIELD_L4PROTO, FIELD_PORT}),
	[SET_ESSENTIAL_PROTO] = {.name = "essential_proto",
				 .field_count = 1,
				 .fields = {FIELD_L4PROTO},
				 .value = VALUE_MARK},
	[SET_ESSENTIAL_OWNED] = MARKS("essential_owned"),
	[SET_ESSENTIAL_ENDS] = {.name = "essential_ends",
				.field_count = 2,
				.fields = {FIELD_MARK, FIELD_CGROUP},
				.per_level = true},
	[SET_LIVE] = {.name = "live",
		      .field_count = 1,
		      .fields = {FIELD_MARK},
		      .value = VALUE_VERDICT,
		      .counter = true},
	[SET_LIVE_UDP] = {.name = "live_udp",
			  .field_count = 2,
			  .fields = {FIELD_MARK, FIELD_CGROUP},
			  .value = VALUE_VERDICT,
			  .per_level = true,
			  .counter = true},
	[SET_LEASED] = {.name = "leased",
			.field_count = 1,
			.fields = {FIELD_MARK},
			.value = VALUE_LEASE,
			.per_slot = true,
			.timeout = true},
	[SET_PENDING] = MARKS("pending"),
	[SET_REDERIVE] = MARKS("rederive"),
	[SET_OPEN_IF_UNAVAILABLE] = {.name = "open_if_unavailable",
				     .field_count = 1,
				     .fields = {FIELD_MARK},
				     .per_slot = true},
	[SET_ASK_WATCHED] = {.name = "ask_watched",
			     .field_count = 1,
			     .fields = {FIELD_MARK},
			     .per_slot = true},
	[SET_NODE_CONDUITS] = MARKS("node_conduits"),
	[SET_BY_USER] = MARKS("by_user"),
	[SET_OBSERVE_WHO] = MARKS("observe_who"),
	[SET_DENY_OUT_DROP] = MARKS("deny_out_drop"),
	[SET_DENY_IN_REJECT] = MARKS("deny_in_reject"),
	[SET_DENY_IN_DROP] = MARKS("deny_in_drop"),
	[SET_ANSWERING] = {.name = "answering",
			   .field_count = 1,
			   .fields = {FIELD_L4PROTO},
			   .value = VALUE_MARK},
	[SET_AGENT_ALIVE] = SWITCH("agent_alive"),
	[SET_CANDIDATE_ON] = SWITCH("candidate_on"),
	[SET_OBSERVE_ON] = SWITCH("observe_on"),
	[SET_TRIAL_ON] = SWITCH("trial_on"),
	[SET_ASKED] = {.name = "asked",
		       .field_count = 1,
		       .fields = {FIELD_CGROUP},
		       .per_level = true,
		       .timeout = true,
		       .dynamic = true,
		       .size = ASKED_SIZE},
	[SET_ASKED4] = {.name = "asking4",
			.field_count = 1,
			.fields = {FIELD_ADDR4},
			.timeout = true,
			.dynamic = true,
			.size = ASKED_SIZE},
	[SET_ASKED6] = {.name = "asking6",
			.field_count = 1,
			.fields = {FIELD_ADDR6},
			.timeout = true,
			.dynamic = true,
			.size = ASKED_SIZE},
	[SET_DENIED4] = {.name = "denied4",
			 .field_count = 5,
			 .fields = {FIELD_MARK, FIELD_ADDR4, FIELD_ADDR4, FIELD_L4PROTO,
				    FIELD_PORT},
			 .timeout = true,
			 .dynamic = true,
			 .size = DENIED_SIZE},
	[SET_DENIED6] = {.name = "denied6",
			 .field_count = 5,
			 .fields = {FIELD_MARK, FIELD_ADDR6, FIELD_ADDR6, FIELD_L4PROTO,
				    FIELD_PORT},
			 .timeout = true,
			 .dynamic = true,
			 .size = DENIED_SIZE},
};

static const uint8_t field_len[] = {
	[FIELD_MARK] = 4,    [FIELD_ADDR4] = 4, [FIELD_ADDR6] = 16,
	[FIELD_L4PROTO] = 1, [FIELD_PORT] = 2,  [FIELD_ICMP_TYPE] = 1,
	[FIELD_CGROUP] = 8,  [FIELD_UID] = 4,   [FIELD_NFPROTO] = 1,
};

static const uint8_t value_len[] = {
	[VALUE_NONE] = 0,
	[VALUE_MARK] = 4,
	[VALUE_VERDICT] = 1,
	[VALUE_LEASE] = 8,
};

const struct set_spec *set_spec(enum set_kind kind)
{
	return &specs[kind];
}

size_t set_key_len(enum set_kind kind)
{
	const struct set_spec *spec = &specs[kind];
	size_t len = 0;

	if (spec->field_count == 1)
		return field_len[spec->fields[0]];
	for (size_t i = 0; i < spec->field_count; i++)
		len += (field_len[spec->fields[i]] + FIELD_PAD - 1U) / FIELD_PAD * FIELD_PAD;
	return len;
}

size_t set_value_offset(enum set_kind kind)
{
	return set_key_len(kind) * (specs[kind].interval ? 2 : 1);
}

size_t set_stride(enum set_kind kind)
{
	return set_value_offset(kind) + value_len[specs[kind].value];
}

const char *set_name(char buf[SET_NAME_MAX], struct set_ref ref)
{
	const struct set_spec *spec = &specs[ref.kind];
	const char *slot = "";
	char level[4] = "";

	if (spec->per_level)
		(void)snprintf(level, sizeof(level), "%u", ref.level);
	if (spec->per_slot)
		slot = ref.slot == SLOT_A ? "_a" : "_b";
	(void)snprintf(buf, SET_NAME_MAX, "%s%s%s", spec->name, level, slot);
	return buf;
}

/* --- verdicts of live ------------------------------------------------------------------------ */

#define LIVE_PAIR_STRIDE 8

uint8_t live_pair(uint8_t confirmed, uint8_t candidate)
{
	if (confirmed == candidate)
		return confirmed;
	return (uint8_t)(LIVE_PAIR_BASE + confirmed * LIVE_PAIR_STRIDE + candidate);
}

uint8_t live_confirmed(uint8_t verdict)
{
	if (verdict < LIVE_PAIR_BASE)
		return verdict;
	return (uint8_t)((verdict - LIVE_PAIR_BASE) / LIVE_PAIR_STRIDE);
}

uint8_t live_candidate(uint8_t verdict)
{
	if (verdict < LIVE_PAIR_BASE)
		return verdict;
	return (uint8_t)((verdict - LIVE_PAIR_BASE) % LIVE_PAIR_STRIDE);
}

const char *live_name(uint8_t verdict)
{
	static const char *const names[LIVE_SINGLE_COUNT] = {
		[LIVE_NONE] = "none",
		[LIVE_ACCEPT] = "accept",
		[LIVE_LEASED] = "leased",
		[LIVE_WATCHED] = "watched",
		[LIVE_LEASED_WATCHED] = "leased",
		[LIVE_ASK] = "ask",
		[LIVE_REFUSED_REPLY] = "refused",
	};
	uint8_t confirmed = live_confirmed(verdict);

	if (confirmed == LIVE_NONE && live_candidate(verdict) != LIVE_NONE)
		return "added";
	if (confirmed != LIVE_NONE && live_candidate(verdict) == LIVE_NONE)
		return "removed";
	return confirmed < LIVE_SINGLE_COUNT ? names[confirmed] : names[LIVE_NONE];
}

const char *live_chain(char buf[CHAIN_NAME_MAX], uint8_t verdict)
{
	static const char *const chains[LIVE_SINGLE_COUNT] = {
		[LIVE_LEASED] = "leased",
		[LIVE_WATCHED] = "watched",
		[LIVE_LEASED_WATCHED] = "leased_watched",
		[LIVE_ASK] = "ask",
		[LIVE_REFUSED_REPLY] = "refused_reply",
	};

	if (verdict < LIVE_SINGLE_COUNT)
		return chains[verdict];
	if (verdict == live_pair(LIVE_NONE, LIVE_ACCEPT))
		return "added";
	if (verdict == live_pair(LIVE_ACCEPT, LIVE_NONE))
		return "removed";
	(void)snprintf(buf, CHAIN_NAME_MAX, "pair_%u_%u", live_confirmed(verdict),
		       live_candidate(verdict));
	return buf;
}

/* --- rulesets -------------------------------------------------------------------------------- */

struct ruleset *ruleset_new(void)
{
	return mem_calloc(1, sizeof(struct ruleset));
}

static void set_items_drop(struct set_items *s)
{
	if (s->users && --*s->users > 0)
		return;
	free(s->users);
	free(s->bytes);
}

void ruleset_free(struct ruleset *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->set_count; i++)
		set_items_drop(&r->sets[i]);
	free(r->sets);
	free(r);
}

void ruleset_freep(struct ruleset **r)
{
	ruleset_free(*r);
	*r = NULL;
}

static int ref_cmp(struct set_ref a, struct set_ref b)
{
	if (a.kind != b.kind)
		return a.kind < b.kind ? -1 : 1;
	if (a.slot != b.slot)
		return a.slot < b.slot ? -1 : 1;
	if (a.level != b.level)
		return a.level < b.level ? -1 : 1;
	return 0;
}

/* Position of ref, or where it would be. */
static size_t set_position(const struct ruleset *r, struct set_ref ref, bool *ret_found)
{
	size_t low = 0, high = r->set_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ref_cmp(r->sets[middle].ref, ref) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_found = low < r->set_count && ref_cmp(r->sets[low].ref, ref) == 0;
	return low;
}

struct set_items *ruleset_set(struct ruleset *r, struct set_ref ref)
{
	bool found = false;
	size_t at = set_position(r, ref, &found);

	if (found)
		return &r->sets[at];
	if (vec_grow(&r->sets, &r->set_cap, r->set_count + 1, sizeof(*r->sets), RULESET_SETS_MAX) <
	    0)
		return NULL;
	memmove(&r->sets[at + 1], &r->sets[at], (r->set_count - at) * sizeof(*r->sets));
	r->sets[at] = (struct set_items){.ref = ref};
	r->set_count++;
	return &r->sets[at];
}

const struct set_items *ruleset_find(const struct ruleset *r, struct set_ref ref)
{
	bool found = false;
	size_t at = set_position(r, ref, &found);

	return found ? &r->sets[at] : NULL;
}

/* A copy of its own, before the first change. */
static int set_items_unshare(struct set_items *s)
{
	size_t len = s->count * set_stride(s->ref.kind);
	uint8_t *bytes;

	if (!s->users)
		return 0;
	bytes = mem_calloc(len, 1);
	if (!bytes)
		return -ENOMEM;
	memcpy(bytes, s->bytes, len);
	set_items_drop(s);
	s->bytes = bytes;
	s->cap = s->count;
	s->users = NULL;
	return 0;
}

int set_items_share(struct set_items *to, struct set_items *from)
{
	if (from->count == 0)
		return 0;
	if (!from->users) {
		from->users = mem_calloc(1, sizeof(*from->users));
		if (!from->users)
			return -ENOMEM;
		*from->users = 1;
	}
	++*from->users;
	set_items_drop(to);
	to->bytes = from->bytes;
	to->count = from->count;
	to->cap = from->count;
	to->users = from->users;
	return 0;
}

int set_items_add(struct set_items *s, const void *record)
{
	size_t stride = set_stride(s->ref.kind);
	int r;

	r = set_items_unshare(s);
	if (r < 0)
		return r;
	r = vec_grow(&s->bytes, &s->cap, s->count + 1, stride, SET_RECORDS_MAX);
	if (r < 0)
		return r;
	memcpy(s->bytes + s->count * stride, record, stride);
	s->count++;
	return 0;
}

static int record_cmp(const void *a, const void *b, void *len)
{
	return memcmp(a, b, *(const size_t *)len);
}

static int conflict(const struct set_items *s, const uint8_t *record, struct err *err)
{
	char name[SET_NAME_MAX], hex[2 * SET_KEY_MAX * 2 + 1];

	hex_format(record, set_key_len(s->ref.kind), hex);
	return err_set(err, EEXIST, "set %s: key %s has two values", set_name(name, s->ref), hex);
}

/* Drops what capacity doubling left over; a failure only wastes memory. */
static void set_items_trim(struct set_items *s, size_t stride)
{
	uint8_t *bytes;

	if (s->cap == s->count || s->count == 0)
		return;
	/* Shrinking cannot run out of memory, so the test hook of base/mem is passed by. */
	bytes = realloc(s->bytes, s->count * stride);
	if (!bytes)
		return;
	s->bytes = bytes;
	s->cap = s->count;
}

static int set_items_sort(struct set_items *s, struct err *err)
{
	size_t stride = set_stride(s->ref.kind), key_len = set_key_len(s->ref.kind);
	size_t kept = 0;
	bool sorted = true;

	if (s->users)
		return 0; /* only sorted records are shared */
	for (size_t i = 1; i < s->count && sorted; i++)
		sorted = memcmp(s->bytes + (i - 1) * stride, s->bytes + i * stride, stride) < 0;
	if (!sorted)
		qsort_r(s->bytes, s->count, stride, record_cmp, &stride);

	for (size_t i = 0; i < s->count; i++) {
		const uint8_t *record = s->bytes + i * stride;
		const uint8_t *last = kept > 0 ? s->bytes + (kept - 1) * stride : NULL;

		if (last && memcmp(last, record, stride) == 0)
			continue;
		if (last && memcmp(last, record, key_len) == 0)
			return conflict(s, record, err);
		if (kept != i)
			memcpy(s->bytes + kept * stride, record, stride);
		kept++;
	}
	s->count = kept;
	set_items_trim(s, stride);
	return 0;
}

int ruleset_sort(struct ruleset *r, struct err *err)
{
	for (size_t i = 0; i < r->set_count; i++) {
		int code = set_items_sort(&r->sets[i], err);

		if (code < 0)
			return code;
	}
	return 0;
}

const uint8_t *set_items_find(const struct set_items *s, const void *key)
{
	size_t stride = set_stride(s->ref.kind), key_len = set_key_len(s->ref.kind);
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = memcmp(s->bytes + middle * stride, key, key_len);

		if (order == 0)
			return s->bytes + middle * stride;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* --- keys ------------------------------------------------------------------------------------ */

void key_init(struct key *k)
{
	*k = (struct key){0};
}

/* A key longer than any set's is cut: it would match nothing. */
static void key_bytes(struct key *k, const void *bytes, size_t len)
{
	if (len > sizeof(k->bytes) - k->len)
		len = sizeof(k->bytes) - k->len;
	memcpy(k->bytes + k->len, bytes, len);
	k->len = (uint8_t)(k->len + len);
}

void key_u32(struct key *k, uint32_t host_order)
{
	key_bytes(k, &host_order, sizeof(host_order));
}

void key_addr(struct key *k, const struct addr *a)
{
	key_bytes(k, a->bytes, addr_len(a));
}

void key_u8(struct key *k, uint8_t v)
{
	const uint8_t padded[FIELD_PAD] = {v};

	key_bytes(k, padded, sizeof(padded));
}

void key_port(struct key *k, uint16_t host_order)
{
	const uint8_t padded[FIELD_PAD] = {(uint8_t)(host_order >> 8), (uint8_t)host_order};

	key_bytes(k, padded, sizeof(padded));
}

void key_cgroup(struct key *k, uint64_t id)
{
	key_bytes(k, &id, sizeof(id));
}
