/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/ruleset_text.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/addr.h"
#include "base/mem.h"

/* --- keys ------------------------------------------------------------------------------------ */

struct field_at {
	enum field field;
	size_t offset, len; /* in the key */
	bool v6;            /* of FIELD_ICMP_TYPE */
};

static size_t fields_of(enum set_kind kind, struct field_at ret[SET_FIELDS_MAX])
{
	static const uint8_t lens[] = {
		[FIELD_MARK] = 4,    [FIELD_ADDR4] = 4, [FIELD_ADDR6] = 16,
		[FIELD_L4PROTO] = 1, [FIELD_PORT] = 2,  [FIELD_ICMP_TYPE] = 1,
		[FIELD_CGROUP] = 8,  [FIELD_UID] = 4,   [FIELD_NFPROTO] = 1,
	};
	const struct set_spec *spec = set_spec(kind);
	size_t offset = 0;
	bool v6 = false;

	for (uint8_t i = 0; i < spec->field_count; i++) {
		enum field field = spec->fields[i];

		v6 = v6 || field == FIELD_ADDR6;
		ret[i] = (struct field_at){field, offset, lens[field], v6};
		offset += (lens[field] + 3U) / 4U * 4U;
	}
	return spec->field_count;
}

static void addr_text(const uint8_t *bytes, bool v6, struct buf *b)
{
	struct addr a = {.family = v6 ? AF_INET6 : AF_INET};
	char text[ADDR_TEXT_MAX];

	memcpy(a.bytes, bytes, v6 ? 16 : 4);
	buf_puts(b, addr_format(text, &a));
}

static void cgroup_text(uint64_t id, const struct ruleset_names *names, struct buf *b)
{
	const char *path = NULL;

	if (names != NULL && names->cgroup_path != NULL)
		path = names->cgroup_path(names->user, id);
	if (path != NULL)
		buf_printf(b, "\"%s\"", path);
	else
		buf_printf(b, "%" PRIu64, id);
}

static void proto_text(uint8_t proto, struct buf *b)
{
	if (proto == IPPROTO_TCP)
		buf_puts(b, "tcp");
	else if (proto == IPPROTO_UDP)
		buf_puts(b, "udp");
	else
		buf_printf(b, "%u", proto);
}

static void number_text(const struct field_at *f, const uint8_t *bytes,
			const struct ruleset_names *names, struct buf *b)
{
	uint64_t cgroup;
	uint32_t number;
	uint16_t port;

	switch (f->field) {
	case FIELD_MARK:
		memcpy(&number, bytes, sizeof(number));
		buf_printf(b, "0x%08x", number);
		break;
	case FIELD_UID:
		memcpy(&number, bytes, sizeof(number));
		buf_printf(b, "%u", number);
		break;
	case FIELD_CGROUP:
		memcpy(&cgroup, bytes, sizeof(cgroup));
		cgroup_text(cgroup, names, b);
		break;
	case FIELD_PORT:
		memcpy(&port, bytes, sizeof(port));
		buf_printf(b, "%u", ntohs(port));
		break;
	case FIELD_L4PROTO:
		proto_text(*bytes, b);
		break;
	case FIELD_NFPROTO:
		buf_puts(b, *bytes == AF_INET ? "ipv4" : "ipv6");
		break;
	case FIELD_ICMP_TYPE:
		buf_printf(b, "%u", *bytes);
		break;
	case FIELD_ADDR4:
	case FIELD_ADDR6:
		addr_text(bytes, f->field == FIELD_ADDR6, b);
		break;
	}
}

void record_key_text(enum set_kind kind, const uint8_t *record, const struct ruleset_names *names,
		     struct buf *b)
{
	size_t key_len = set_key_len(kind);
	bool interval = set_spec(kind)->interval;
	struct field_at fields[SET_FIELDS_MAX];
	size_t count = fields_of(kind, fields);

	for (size_t i = 0; i < count; i++) {
		const uint8_t *first = record + fields[i].offset;
		const uint8_t *last = interval ? first + key_len : first;

		if (i > 0)
			buf_puts(b, " . ");
		number_text(&fields[i], first, names, b);
		if (memcmp(first, last, fields[i].len) != 0) {
			buf_putc(b, '-');
			number_text(&fields[i], last, names, b);
		}
	}
}

/* --- elements -------------------------------------------------------------------------------- */

static void verdict_text(uint8_t verdict, struct buf *b)
{
	char name[CHAIN_NAME_MAX];
	const char *chain = live_chain(name, verdict);

	if (chain != NULL)
		buf_printf(b, " : goto %s", chain);
	else
		buf_puts(b, " : accept");
}

static void lease_text(const uint8_t *value, const struct ruleset_names *names, struct buf *b)
{
	int64_t end_s, now_s = names != NULL ? names->now_s : 0;

	memcpy(&end_s, value, sizeof(end_s));
	if (now_s != 0 && end_s > now_s)
		buf_printf(b, " timeout %" PRId64 "s", end_s - now_s);
}

static void comment_text(uint32_t number, const struct ruleset_names *names, struct buf *b)
{
	char comment[CONDUIT_COMMENT_MAX];
	const struct generation *g;
	const struct conduit *c = NULL;

	if (names == NULL)
		return;
	g = names->candidate;
	if (g != NULL)
		c = generation_find(g, number);
	if (c == NULL && names->confirmed != NULL) {
		g = names->confirmed;
		c = generation_find(g, number);
	}
	if (c != NULL)
		buf_printf(b, " comment \"%s\"", conduit_comment(comment, g, c));
}

/* In nft's order: key, timeout, comment, data. */
static void element_text(struct set_ref ref, const uint8_t *record,
			 const struct ruleset_names *names, struct buf *b)
{
	const uint8_t *value = record + set_value_offset(ref.kind);
	uint32_t mark;

	record_key_text(ref.kind, record, names, b);
	if (set_spec(ref.kind)->value == VALUE_LEASE)
		lease_text(value, names, b);
	if (ref.kind == SET_LIVE) {
		memcpy(&mark, record, sizeof(mark));
		comment_text(mark, names, b);
	}
	if (set_spec(ref.kind)->value == VALUE_VERDICT)
		verdict_text(*value, b);
	if (set_spec(ref.kind)->value == VALUE_MARK) {
		memcpy(&mark, value, sizeof(mark));
		buf_printf(b, " : 0x%08x", mark);
	}
}

static void items_text(const struct set_items *s, const char *table,
		       const struct ruleset_names *names, struct buf *b)
{
	size_t stride = set_stride(s->ref.kind);
	char name[SET_NAME_MAX];

	if (s->count == 0)
		return;
	buf_printf(b, "add element inet %s %s {\n", table, set_name(name, s->ref));
	for (size_t i = 0; i < s->count; i++) {
		buf_putc(b, '\t');
		element_text(s->ref, s->bytes + i * stride, names, b);
		buf_puts(b, ",\n");
	}
	buf_puts(b, "}\n");
}

int ruleset_text(const struct ruleset *r, const struct ruleset_names *names, struct buf *b,
		 struct err *err)
{
	CLEANUP(table_freep) struct table *t = NULL;
	int e = table_build(&r->shape, &t, err);

	if (e < 0)
		return e;
	table_text(t, b);
	for (size_t i = 0; i < r->set_count; i++)
		items_text(&r->sets[i], r->shape.table, names, b);
	return b->r;
}

void plan_text(const struct plan *p, const struct ruleset *new_, const struct ruleset_names *names,
	       struct buf *b)
{
	char name[SET_NAME_MAX];

	for (size_t i = 0; i < p->op_count; i++) {
		const struct plan_op *op = &p->ops[i];
		bool add = op->action == PLAN_ADD;

		buf_printf(b, "%s element inet %s %s { ", add ? "add" : "delete", new_->shape.table,
			   set_name(name, op->ref));
		if (add)
			element_text(op->ref, op->record, names, b);
		else
			record_key_text(op->ref.kind, op->record, names, b);
		buf_puts(b, " }\n");
	}
}
