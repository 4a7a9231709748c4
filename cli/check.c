/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/mem.h"
#include "cli/conduits.h"
#include "cli/explain.h"
#include "cli/findings.h"
#include "cli/offline.h"

#include <errno.h>

static const struct column pair_columns[] = {
	{"FROM", COLUMN_LEFT, CUT_END, 12},   {"TO", COLUMN_LEFT, CUT_END, 12},
	{"SERVICE", COLUMN_LEFT, CUT_END, 0}, {"VERDICT", COLUMN_LEFT, CUT_END, 0},
	{"RULE", COLUMN_LEFT, CUT_END, 10},   {"CONDITIONS", COLUMN_LEFT, CUT_END, 16},
};

static void put_pairs(const json_t *rows, struct buf *b)
{
	char party[PARTY_TEXT_MAX];
	struct table t;

	table_init(&t, pair_columns, ARRAY_LEN(pair_columns));
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);

		table_cell(&t, party_format(party, field(row, "from")));
		table_cell(&t, party_format(party, field(row, "to")));
		table_cell(&t, field_text(row, "service"));
		table_cell(&t, field_text(row, "verdict"));
		table_cell(&t, field_text(row, "rule"));
		table_cell(&t, field_text(row, "conditions"));
	}
	table_print(&t, 0, b);
	table_done(&t);
}

static void render_check(const json_t *result, const struct screen *s, struct buf *b)
{
	const json_t *conduits = field(result, "conduits"), *first = json_array_get(conduits, 0);

	if (field(first, "conduit") != NULL)
		conduits_table(conduits, 0, s->now, b);
	else
		put_pairs(conduits, b);
	findings_render(result, b);
}

enum { OPTION_EXPLAIN };
static const struct option_spec options[] = {
	[OPTION_EXPLAIN] = {.name = "explain",
			    .help = "the conduits, too: of DIR/view.json's node, else by identity"},
};

/* All words together are one policy; the view is the first one found. */
static int read_words(struct offline *o, const struct args *a, struct wall now, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i + 1 < a->word_count; i++)
		r = policy_files_read(&o->files, a->words[i], err);
	return r < 0 ? r : offline_read(o, a->words[a->word_count - 1], POLICY_BY_PATH, now, err);
}

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	CLEANUP(offline_done) struct offline o = {0};
	json_t *result, *rows = NULL;
	struct err err = {0};
	int r = read_words(&o, a, c->now, &err);

	if (o.policy == NULL)
		return cli_fail(c, v, CLI_FAILED, "%s", err.text);
	if (r == 0 && a->values[OPTION_EXPLAIN] != NULL &&
	    explain_json(&o, c->now, &rows, &err) < 0)
		return cli_fail(c, v, CLI_FAILED, "--explain: %s", err.text);
	result = findings_json(o.policy);
	if (result == NULL || (rows != NULL && json_object_set_new(result, "conduits", rows) < 0)) {
		json_decref(result);
		return cli_fail(c, v, CLI_FAILED, "out of memory");
	}
	r = cli_print(c, v, result, false, r < 0 ? CLI_DENIED : CLI_OK);
	json_decref(result);
	return r;
}

const struct verb verb_check = {
	.name = "check",
	.words = "FILE|DIR... [--explain]",
	.summary = "what is wrong with a policy, without an agent",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_min = 1,
	.words_max = POLICY_FILES_MAX,
	.run = run,
	.render = render_check,
};
