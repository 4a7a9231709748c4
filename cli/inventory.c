/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/mem.h"
#include "base/text.h"

static const struct column columns[] = {
	{"PROTO", COLUMN_LEFT, CUT_END, 0},  {"ADDRESS", COLUMN_LEFT, CUT_END, 9},
	{"PORT", COLUMN_RIGHT, CUT_END, 0},  {"IDENTITY", COLUMN_LEFT, CUT_END, 9},
	{"UNIT", COLUMN_LEFT, CUT_END, 10},  {"UID", COLUMN_RIGHT, CUT_END, 0},
	{"EXE", COLUMN_LEFT, CUT_BEGIN, 10},
};

static void render_inventory(const json_t *result, const struct screen *s, struct buf *b)
{
	const json_t *listeners = field(result, "listeners");
	char where[WHERE_TEXT_MAX];
	int64_t unclaimed = 0;
	struct table t;

	(void)s;
	table_init(&t, columns, ARRAY_LEN(columns));
	for (size_t i = 0; i < json_array_size(listeners); i++) {
		const json_t *l = json_array_get(listeners, i);

		unclaimed += str_eq(field_text_or(l, "identity", "unclaimed"), "unclaimed");
		table_cell(&t, field_text(l, "proto"));
		table_cell(&t, field_text(l, "address"));
		table_cellf(&t, "%lld", (long long)field_int(l, "port", 0));
		table_cell(&t, field_text_or(l, "identity", "unclaimed"));
		table_cell(&t, where_format(where, l));
		if (field(l, "uid") != NULL)
			table_cellf(&t, "%lld", (long long)field_int(l, "uid", 0));
		else
			table_cell(&t, NULL);
		table_cell(&t, field_text(l, "exe"));
	}
	table_print(&t, 0, b);
	table_done(&t);
	put_count(b, (int64_t)json_array_size(listeners), "listener");
	buf_printf(b, ", %lld unclaimed%s.\n", (long long)unclaimed,
		   unclaimed > 0 ? ": no identity's selectors match those processes" : "");
}

const struct verb verb_inventory = {
	.name = "inventory",
	.words = "",
	.summary = "listening sockets and whose they are",
	.run = cli_run_plain,
	.render = render_inventory,
};
