/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/command_tables.h"

#include "base/mem.h"
#include "base/text.h"

#include <string.h>

void put_age(struct table *t, const json_t *object, const char *path, const struct screen *s)
{
	char text[AGE_TEXT_MAX];
	int64_t left;

	if (!field_seconds_until(object, path, s->now, &left))
		table_cell(t, NULL);
	else
		table_cell(t, age_format(text, -left));
}

static void addresses_cell(struct table *t, const json_t *addresses)
{
	CLEANUP(buf_done) struct buf b = {0};
	json_t *address;
	size_t i;

	buf_init(&b, SCREEN_TEXT_MAX);
	json_array_foreach(addresses, i, address) {
		if (json_is_string(address))
			buf_printf(&b, "%s%s", b.len > 0 ? " " : "", json_string_value(address));
	}
	table_cell(t, b.data);
}

/* Sequences are times in milliseconds: whether it is the newest is what one wants to know. */
static const char *head_word(const json_t *node)
{
	if (field_true(node, "current"))
		return "newest";
	if (field_int(node, "head_reported", 0) > 0)
		return "behind";
	return field_int(node, "head", 0) > 0 ? "waits" : NULL;
}

static void revision_cell(struct table *t, const json_t *node)
{
	int64_t revision = field_int(node, "report.policy_revision", 0);

	if (revision > 0)
		table_cellf(t, "%lld", (long long)revision);
	else
		table_cell(t, NULL);
}

void nodes_table(const json_t *nodes, const struct screen *s, struct buf *b)
{
	static const struct column columns[] = {
		{"NODE", COLUMN_LEFT, CUT_END, 8},      {"STATE", COLUMN_LEFT, CUT_END, 0},
		{"SEEN", COLUMN_LEFT, CUT_END, 0},      {"HEAD", COLUMN_LEFT, CUT_END, 0},
		{"REV", COLUMN_RIGHT, CUT_END, 0},      {"AGENT", COLUMN_LEFT, CUT_END, 0},
		{"MODE", COLUMN_LEFT, CUT_END, 0},      {"PLACED", COLUMN_RIGHT, CUT_END, 0},
		{"ADDRESSES", COLUMN_LEFT, CUT_END, 9},
	};
	size_t current = 0, i;
	struct table t;
	json_t *node;

	table_init(&t, columns, ARRAY_LEN(columns));
	json_array_foreach(nodes, i, node) {
		current += field_true(node, "current");
		table_cell(&t, field_text(node, "node"));
		table_cell(&t, field_text(node, "state"));
		put_age(&t, node, "last_seen", s);
		table_cell(&t, head_word(node));
		revision_cell(&t, node);
		table_cell(&t, field_text(node, "report.state"));
		table_cell(&t, field_text(node, "report.mode"));
		table_count(&t, field_int(node, "placed", 0));
		addresses_cell(&t, field(node, "addresses"));
	}
	table_print(&t, 0, b);
	table_done(&t);
	put_count(b, (int64_t)json_array_size(nodes), "node");
	buf_printf(b, ", %zu up to date.\n", current);
}

void cut_table(const json_t *cut, struct buf *b)
{
	static const struct column columns[] = {
		{"NODE", COLUMN_LEFT, CUT_END, 8},      {"PROTO", COLUMN_LEFT, CUT_END, 0},
		{"FROM", COLUMN_LEFT, CUT_END, 8},      {"TO", COLUMN_LEFT, CUT_END, 8},
		{"SOURCE", COLUMN_LEFT, CUT_BEGIN, 15}, {"DESTINATION", COLUMN_LEFT, CUT_BEGIN, 15},
		{"PACKETS", COLUMN_RIGHT, CUT_END, 0},  {"BYTES", COLUMN_RIGHT, CUT_END, 0},
	};
	char party[PARTY_TEXT_MAX];
	struct table t;
	json_t *flow;
	size_t i;

	table_init(&t, columns, ARRAY_LEN(columns));
	json_array_foreach(cut, i, flow) {
		table_cell(&t, field_text(flow, "node"));
		table_cell(&t, field_text(flow, "proto"));
		table_cell(&t, party_format(party, field(flow, "from")));
		table_cell(&t, party_format(party, field(flow, "to")));
		table_cell(&t, field_text(flow, "src"));
		table_cell(&t, field_text(flow, "dst"));
		table_count(&t, field_int(flow, "packets", 0));
		table_count(&t, field_int(flow, "bytes", 0));
	}
	table_print(&t, 0, b);
	table_done(&t);
}

void audit_table(const json_t *audit, const struct screen *s, struct buf *b)
{
	static const struct column columns[] = {
		{"WHEN", COLUMN_LEFT, CUT_END, 0},    {"WHO", COLUMN_LEFT, CUT_END, 6},
		{"WHAT", COLUMN_LEFT, CUT_END, 0},    {"ON", COLUMN_LEFT, CUT_BEGIN, 12},
		{"DETAIL", COLUMN_LEFT, CUT_END, 16},
	};
	struct table t;
	json_t *line;
	size_t i;

	(void)s;
	table_init(&t, columns, ARRAY_LEN(columns));
	json_array_foreach(audit, i, line) {
		const json_t *detail = field(line, "detail");
		CLEANUP(freep)
		char *text = json_is_object(detail) ? json_dumps(detail, JSON_COMPACT) : NULL;

		table_cell(&t, field_text(line, "at"));
		table_cell(&t, field_text(line, "who"));
		table_cell(&t, field_text(line, "verb"));
		table_cell(&t, field_text(line, "subject"));
		table_cell(&t, text != NULL && !str_eq(text, "{}") ? text : NULL);
	}
	table_print(&t, 0, b);
	table_done(&t);
}
