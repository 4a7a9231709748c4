/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/mem.h"

#include <string.h>

#define DIGEST_SHOWN 8

static const struct column columns[] = {
	{"REVISION", COLUMN_RIGHT, CUT_END, 0}, {"WHEN (UTC)", COLUMN_LEFT, CUT_END, 0},
	{"WHO", COLUMN_LEFT, CUT_END, 8},       {"DIGEST", COLUMN_LEFT, CUT_END, 0},
	{"CHANGE", COLUMN_LEFT, CUT_END, 12},   {"GAINED", COLUMN_RIGHT, CUT_END, 0},
	{"LOST", COLUMN_RIGHT, CUT_END, 0},     {"REASON", COLUMN_LEFT, CUT_END, 10},
};

/* To the minute: "2026-11-21 12:00". */
static void put_when(struct table *t, const char *when)
{
	size_t date = strcspn(when, "T");

	if (when[date] == 'T' && strlen(when + date) > strlen("T12:00"))
		table_cellf(t, "%.*s %.5s", (int)date, when, when + date + 1);
	else
		table_cell(t, when);
}

/* What happened: the agent's word, or what the confirmation says. */
static const char *change_of(const json_t *change)
{
	const char *outcome = field_text(change, "outcome");

	if (outcome != NULL || field(change, "confirmed") == NULL)
		return outcome;
	return field_true(change, "confirmed") ? "confirmed" : "unconfirmed";
}

static void render_history(const json_t *result, const struct screen *s, struct buf *b)
{
	const json_t *changes = field(result, "changes");
	struct table t;

	(void)s;
	table_init(&t, columns, ARRAY_LEN(columns));
	for (size_t i = 0; i < json_array_size(changes); i++) {
		const json_t *c = json_array_get(changes, i);

		table_cellf(&t, "%lld", (long long)field_int(c, "revision", 0));
		put_when(&t, field_text_or(c, "when", ""));
		table_cell(&t, field_text(c, "who"));
		table_cellf(&t, "%.*s", DIGEST_SHOWN, field_text_or(c, "digest", "-"));
		table_cell(&t, change_of(c));
		table_count(&t, field_count(c, "gained"));
		table_count(&t, field_count(c, "lost"));
		table_cell(&t, field_text(c, "reason"));
	}
	table_print(&t, 0, b);
	table_done(&t);
	put_count(b, (int64_t)json_array_size(changes), "change");
	buf_puts(b, ".\n");
}

const struct verb verb_history = {
	.name = "history",
	.words = "",
	.summary = "which policy was applied when, by whom and why",
	.run = cli_run_plain,
	.render = render_history,
};
