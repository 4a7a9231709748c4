/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/telemetry_record.h"

#include "agent/peer_frame.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/marks.h"
#include "rules/service.h"
#include "rules/verdict_text.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ICMP_ECHO_REQUEST   8
#define ICMPV6_ECHO_REQUEST 128

static const char *const directions[] = {
	[RECORD_OUT] = "out", [RECORD_IN] = "in", [RECORD_FORWARD] = "forward"};
static const char *const assurances[] = {
	[RECORD_NONE] = "none",         [RECORD_DEVICE] = "device",     [RECORD_MAPPED] = "mapped",
	[RECORD_ATTESTED] = "attested", [RECORD_MEASURED] = "measured",
};

/* --- packing --------------------------------------------------------------------------------- */

#define TEXTS 18

/* All places of a record that point at text, in one order. */
static void text_places(struct record *r, const char **places[TEXTS])
{
	places[0] = &r->rule;
	places[1] = &r->digest;
	places[2] = &r->from.identity;
	places[3] = &r->from.node;
	places[4] = &r->from.cgroup;
	places[5] = &r->to.identity;
	places[6] = &r->to.node;
	places[7] = &r->to.cgroup;
	places[8] = &r->evidence.asked;
	places[9] = &r->evidence.status;
	places[10] = &r->evidence.spiffe_id;
	places[11] = &r->evidence.unit;
	places[12] = &r->evidence.container_id;
	places[13] = &r->evidence.pod_uid;
	places[14] = &r->evidence.sha256;
	places[15] = &r->evidence.fsverity;
	places[16] = &r->evidence.appraisal;
	places[17] = &r->evidence.check;
}

struct record *record_pack(const struct record *draft)
{
	struct record head = *draft, *r;
	const char **places[TEXTS];
	size_t lens[TEXTS], all = 0;
	char *at;

	text_places(&head, places);
	for (size_t i = 0; i < TEXTS; i++) {
		if (*places[i] && strlen(*places[i]) >= RECORD_TEXT_MAX)
			*places[i] = NULL;
		lens[i] = *places[i] ? strlen(*places[i]) + 1 : 0;
		all += lens[i];
	}
	r = mem_calloc(1, sizeof(*r) + all);
	if (!r)
		return NULL;
	at = r->texts;
	for (size_t i = 0; i < TEXTS; i++) {
		if (!lens[i])
			continue;
		memcpy(at, *places[i], lens[i]);
		*places[i] = at;
		at += lens[i];
	}
	memcpy(r, &head, sizeof(head));
	r->refs = 1;
	return r;
}

struct record *record_ref(struct record *r)
{
	r->refs++;
	return r;
}

void record_unref(struct record *r)
{
	if (r && --r->refs == 0)
		free(r);
}

/* --- JSON ------------------------------------------------------------------------------------ */

static json_t *end_json(const struct record_end *e)
{
	char address[ADDR_TEXT_MAX];
	json_t *uid = e->has_uid ? json_integer((json_int_t)e->uid) : json_null();
	json_t *port = e->has_port ? json_integer(e->port) : json_null();

	return json_pack(
		"{s:s?,s:s?,s:o,s:o,s:o,s:o}", "identity", e->identity, "node", e->node, "address",
		e->address.family ? json_string(addr_format(address, &e->address)) : json_null(),
		"port", port, "cgroup", e->cgroup ? json_host_string(e->cgroup) : json_null(),
		"uid", uid);
}

static const struct {
	uint32_t bit;
	const char *word;
} matches[] = {
	{PEER_MATCH_TUPLE, "tuple"}, {PEER_MATCH_SYN_SENT, "syn_sent"},
	{PEER_MATCH_ISN, "isn"},     {PEER_MATCH_CONNTRACK, "conntrack"},
	{PEER_MATCH_NETNS, "netns"}, {PEER_MATCH_HOLDER, "holder"},
};

size_t record_match_words(uint32_t match, const char *ret_words[RECORD_MATCH_MAX])
{
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_LEN(matches); i++) {
		if (match & matches[i].bit)
			ret_words[count++] = matches[i].word;
	}
	return count;
}

static void set_text(json_t *o, const char *key, const char *text)
{
	if (text)
		(void)json_object_set_new(o, key, json_host_string(text));
}

/* Members that were not told are left out. */
json_t *record_evidence_json(const struct record_evidence *e)
{
	const char *words[RECORD_MATCH_MAX];
	json_t *o = json_object(), *match;

	if (!e->asked)
		return o;
	set_text(o, "node", e->asked);
	(void)json_object_set_new(o, "status", e->status ? json_string(e->status) : json_null());
	set_text(o, "spiffe_id", e->spiffe_id);
	set_text(o, "unit", e->unit);
	set_text(o, "container_id", e->container_id);
	set_text(o, "pod_uid", e->pod_uid);
	set_text(o, "exe_sha256", e->sha256);
	set_text(o, "fsverity", e->fsverity);
	set_text(o, "appraisal", e->appraisal);
	set_text(o, "failed", e->check);
	match = e->status ? json_array() : NULL;
	for (size_t i = 0, n = record_match_words(e->match, words); match && i < n; i++)
		(void)json_array_append_new(match, json_string(words[i]));
	if (match)
		(void)json_object_set_new(o, "match", match);
	if (e->rtt_us)
		(void)json_object_set_new(o, "rtt_us", json_integer((json_int_t)e->rtt_us));
	if (e->held_us)
		(void)json_object_set_new(o, "held_us", json_integer((json_int_t)e->held_us));
	return o;
}

static json_t *reason_json(const struct record *r)
{
	const char *name = reason_name((enum reason)r->reason);

	return r->status[0] ? json_sprintf("%s:%s", name, r->status) : json_string(name);
}

json_t *record_json(const struct record *r, const char *node, int64_t time_ms, uint32_t count)
{
	char when[RFC3339_TEXT_MAX];
	json_t *conduit = r->conduit ? json_integer((json_int_t)r->conduit) : json_null();

	return json_pack("{s:i,s:s,s:s,s:s,s:o,s:o,s:s?,s:o,s:o,s:s,s:s,s:s,s:o,s:s?,s:I,s:I}",
			 "version", 1, "time", rfc3339_format_ms(when, time_ms), "node", node,
			 "decision", decision_name((enum decision)r->decision), "reason",
			 reason_json(r), "conduit", conduit, "rule", r->rule, "from",
			 end_json(&r->from), "to", end_json(&r->to), "service", r->service,
			 "direction", directions[r->direction], "assurance",
			 assurances[r->assurance], "evidence", record_evidence_json(&r->evidence),
			 "policy_digest", r->digest, "view_sequence", (json_int_t)r->view_sequence,
			 "count", (json_int_t)count);
}

static const char *text_of(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static void take_end(const json_t *o, struct record_end *e)
{
	const json_t *port = json_object_get(o, "port"), *uid = json_object_get(o, "uid");
	const char *address = text_of(o, "address");

	*e = (struct record_end){
		.identity = text_of(o, "identity"),
		.node = text_of(o, "node"),
		.cgroup = text_of(o, "cgroup"),
		.has_port = json_is_integer(port),
		.port = (uint16_t)json_integer_value(port),
		.has_uid = json_is_integer(uid),
		.uid = (uint32_t)json_integer_value(uid),
	};
	if (address)
		(void)addr_parse(address, &e->address);
}

static uint32_t microseconds(const json_t *o, const char *key)
{
	json_int_t us = json_integer_value(json_object_get(o, key));

	return us < 0 || us > UINT32_MAX ? 0 : (uint32_t)us;
}

static void take_evidence(const json_t *o, struct record_evidence *e)
{
	const json_t *words = json_object_get(o, "match");

	*e = (struct record_evidence){
		.asked = text_of(o, "node"),
		.status = text_of(o, "status"),
		.spiffe_id = text_of(o, "spiffe_id"),
		.unit = text_of(o, "unit"),
		.container_id = text_of(o, "container_id"),
		.pod_uid = text_of(o, "pod_uid"),
		.sha256 = text_of(o, "exe_sha256"),
		.fsverity = text_of(o, "fsverity"),
		.appraisal = text_of(o, "appraisal"),
		.check = text_of(o, "failed"),
		.rtt_us = microseconds(o, "rtt_us"),
		.held_us = microseconds(o, "held_us"),
	};
	for (size_t i = 0; i < json_array_size(words); i++) {
		const char *word = json_string_value(json_array_get(words, i));

		for (size_t k = 0; word && k < ARRAY_LEN(matches); k++)
			e->match |= str_eq(word, matches[k].word) ? matches[k].bit : 0;
	}
}

static int index_of(const char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; name && i < count; i++) {
		if (str_eq(names[i], name))
			return (int)i;
	}
	return -1;
}

static int take_decision(const char *text, uint8_t *ret)
{
	for (int d = DECISION_ALLOWED; d <= DECISION_DENIED; d++) {
		if (text && str_eq(text, decision_name((enum decision)d))) {
			*ret = (uint8_t)d;
			return 0;
		}
	}
	return -EINVAL;
}

int record_from_json(const json_t *json, struct record *ret_draft)
{
	struct record r = {.count = 1};
	const char *reason = text_of(json, "reason"), *service = text_of(json, "service");
	const json_t *count = json_object_get(json, "count");
	int direction, assurance;
	enum reason known;

	if (!reason || reason_parse(reason, &known) < 0 ||
	    take_decision(text_of(json, "decision"), &r.decision) < 0)
		return -EINVAL;
	r.reason = (uint8_t)known;
	if (strchr(reason, ':'))
		(void)snprintf(r.status, sizeof(r.status), "%s", strchr(reason, ':') + 1);
	if (service)
		(void)snprintf(r.service, sizeof(r.service), "%s", service);
	direction = index_of(directions, ARRAY_LEN(directions), text_of(json, "direction"));
	assurance = index_of(assurances, ARRAY_LEN(assurances), text_of(json, "assurance"));
	r.direction = direction < 0 ? RECORD_IN : (uint8_t)direction;
	r.assurance = assurance < 0 ? RECORD_NONE : (uint8_t)assurance;
	r.conduit = (uint32_t)json_integer_value(json_object_get(json, "conduit"));
	r.view_sequence = (uint64_t)json_integer_value(json_object_get(json, "view_sequence"));
	if (json_is_integer(count) && json_integer_value(count) > 0)
		r.count = (uint32_t)json_integer_value(count);
	r.rule = text_of(json, "rule");
	r.digest = text_of(json, "policy_digest");
	take_end(json_object_get(json, "from"), &r.from);
	take_end(json_object_get(json, "to"), &r.to);
	take_evidence(json_object_get(json, "evidence"), &r.evidence);
	*ret_draft = r;
	return 0;
}

/* --- assurance ------------------------------------------------------------------------------- */

enum record_assurance record_assurance_of(const struct conduit *c, uint32_t mark)
{
	if (!c || mark >= MARK_IDENTITY_MIN)
		return RECORD_NONE;
	/* It is the caller that a rule wants measured: a listener is vouched for, and no more. */
	if ((mark & MARK_NOT_VOUCHED) == MARK_VOUCHED)
		return c->assurance == ASSURANCE_MEASURED && (c->flags & CONDUIT_IN)
			       ? RECORD_MEASURED
			       : RECORD_ATTESTED;
	/* This host's own kernel knows both ends. */
	return c->flags & CONDUIT_LOOPBACK ? RECORD_ATTESTED : RECORD_MAPPED;
}

const char *record_assurance_name(enum record_assurance a)
{
	return assurances[a];
}

/* --- what belongs together ------------------------------------------------------------------- */

struct key_buffer {
	uint8_t bytes[256];
	size_t len;
};

static void key_add(struct key_buffer *k, const void *bytes, size_t len)
{
	memcpy(k->bytes + k->len, bytes, len);
	k->len += len;
}

static void key_text(struct key_buffer *k, const char *text)
{
	uint64_t h = text ? hash_bytes(text, strlen(text)) : 0;

	key_add(k, &h, sizeof(h));
}

static void key_end(struct key_buffer *k, const struct record_end *e)
{
	key_add(k, &e->address.family, 1);
	key_add(k, e->address.bytes, sizeof(e->address.bytes));
	key_text(k, e->identity);
	key_text(k, e->cgroup);
}

uint64_t record_key(const struct record *r)
{
	struct key_buffer k = {.len = 0};

	key_add(&k, &r->decision, 1);
	key_add(&k, &r->reason, 1);
	key_add(&k, &r->direction, 1);
	key_add(&k, &r->l4proto, 1);
	key_add(&k, &r->conduit, sizeof(r->conduit));
	key_add(&k, r->service, strlen(r->service));
	/* One record says one thing of all its flows: how well they are known, and why they failed.
	 */
	key_add(&k, &r->assurance, 1);
	key_text(&k, r->status);
	key_text(&k, r->evidence.status);
	key_text(&k, r->evidence.spiffe_id);
	key_text(&k, r->evidence.sha256);
	key_text(&k, r->digest); /* and by which policy it was decided (UC-26) */
	key_end(&k, &r->from);
	key_end(&k, &r->to);
	return hash_bytes(k.bytes, k.len);
}

/* --- texts ----------------------------------------------------------------------------------- */

void record_service(char buf[RECORD_SERVICE_MAX], uint8_t l4proto, uint16_t port_or_type)
{
	bool echo = (l4proto == IPPROTO_ICMP && port_or_type == ICMP_ECHO_REQUEST) ||
		    (l4proto == IPPROTO_ICMPV6 && port_or_type == ICMPV6_ECHO_REQUEST);
	const char *name = l4proto == IPPROTO_TCP      ? "tcp"
			   : l4proto == IPPROTO_UDP    ? "udp"
			   : l4proto == IPPROTO_ICMP   ? "icmp"
			   : l4proto == IPPROTO_ICMPV6 ? "icmpv6"
						       : NULL;

	if (!name)
		(void)snprintf(buf, RECORD_SERVICE_MAX, "proto/%u", l4proto);
	else if (echo)
		(void)snprintf(buf, RECORD_SERVICE_MAX, "%s/echo", name);
	else
		(void)snprintf(buf, RECORD_SERVICE_MAX, "%s/%u", name, port_or_type);
}

const char *record_address(char buf[RECORD_ADDRESS_MAX], const struct record_end *e)
{
	char text[ADDR_TEXT_MAX];

	(void)addr_format(text, &e->address);
	if (!e->has_port)
		(void)snprintf(buf, RECORD_ADDRESS_MAX, "%s", text);
	else
		(void)snprintf(buf, RECORD_ADDRESS_MAX,
			       e->address.family == AF_INET6 ? "[%s]:%u" : "%s:%u", text, e->port);
	return buf;
}
