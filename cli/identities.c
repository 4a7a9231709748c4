/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/mem.h"
#include "base/text.h"

static const struct column columns[] = {
	{"IDENTITY", COLUMN_LEFT, CUT_END, 12},         {"PATH", COLUMN_LEFT, CUT_BEGIN, 14},
	{"UNIT OR CGROUP", COLUMN_LEFT, CUT_BEGIN, 18}, {"UID", COLUMN_RIGHT, CUT_END, 0},
	{"ADDRESSES", COLUMN_LEFT, CUT_END, 9},
};

static void put_addresses(const json_t *addresses, struct buf *b)
{
	buf_init(b, SCREEN_TEXT_MAX);
	for (size_t i = 0; i < json_array_size(addresses); i++) {
		const char *text = json_string_value(json_array_get(addresses, i));

		buf_printf(b, "%s%s", i > 0 ? "," : "", text != NULL ? text : "?");
	}
}

static void put_identity(struct table *t, const json_t *identity, const json_t *workload,
			 bool first)
{
	CLEANUP(buf_done) struct buf addresses = {0};
	int64_t uid = field_int(workload, "uid", -1);
	char where[WHERE_TEXT_MAX];

	put_addresses(field(identity, "addresses"), &addresses);
	table_cell(t, first ? field_text_or(identity, "name", "-") : "\"");
	table_cell(t, first ? field_text(identity, "identity") : "\"");
	table_cell(t, workload != NULL ? where_format(where, workload) : "(no process here)");
	if (uid >= 0)
		table_cellf(t, "%lld", (long long)uid);
	else
		table_cell(t, NULL);
	table_cell(t, first ? addresses.data : "\"");
}

static void put_notes(const json_t *notes, const char *prefix, struct buf *b)
{
	const struct pairs p = {b, 11};

	for (size_t i = 0; i < json_array_size(notes); i++) {
		const char *text = json_string_value(json_array_get(notes, i));

		pairs_put(&p, prefix, "%s", text != NULL ? text : "?");
	}
}

static void render_identities(const json_t *result, const struct screen *s, struct buf *b)
{
	const json_t *identities = field(result, "identities");
	struct table t;
	size_t groups = 0;

	(void)s;
	table_init(&t, columns, ARRAY_LEN(columns));
	for (size_t i = 0; i < json_array_size(identities); i++) {
		const json_t *identity = json_array_get(identities, i);
		const json_t *workloads = field(identity, "workloads");

		groups += json_array_size(workloads);
		if (json_array_size(workloads) == 0)
			put_identity(&t, identity, NULL, true);
		for (size_t w = 0; w < json_array_size(workloads); w++)
			put_identity(&t, identity, json_array_get(workloads, w), w == 0);
	}
	table_print(&t, 0, b);
	table_done(&t);
	buf_printf(b, "%zu identit%s in ", json_array_size(identities),
		   json_array_size(identities) == 1 ? "y" : "ies");
	put_count(b, (int64_t)groups, "process group");
	buf_puts(b, ".\n");
	put_notes(field(result, "ambiguous"), "AMBIGUOUS", b);
	put_notes(field(result, "missing"), "missing", b);
}

const struct verb verb_identities = {
	.name = "identities",
	.words = "",
	.summary = "who runs here: identities and their process groups",
	.run = cli_run_plain,
	.render = render_identities,
};
