/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/mem.h"
#include "base/text.h"
#include "cli/diff_changes.h"
#include "cli/findings.h"
#include "cli/source.h"

#include <errno.h>
#include <inttypes.h>

static const struct column change_columns[] = {
	{" ", COLUMN_LEFT, CUT_END, 0},           {"FROM", COLUMN_LEFT, CUT_END, 14},
	{"TO", COLUMN_LEFT, CUT_END, 14},         {"SERVICE", COLUMN_LEFT, CUT_END, 0},
	{"EFFECT", COLUMN_LEFT, CUT_END, 0},      {"RULE", COLUMN_LEFT, CUT_END, 10},
	{"CONDITIONS", COLUMN_LEFT, CUT_END, 16},
};

static const char *mark_of(const char *effect)
{
	return str_eq(effect, "gained") ? "+" : str_eq(effect, "lost") ? "-" : "~";
}

static size_t put_changes(const json_t *changes, struct buf *b, int64_t counts[3])
{
	char party[PARTY_TEXT_MAX];
	struct table t;

	table_init(&t, change_columns, ARRAY_LEN(change_columns));
	for (size_t i = 0; i < json_array_size(changes); i++) {
		const json_t *c = json_array_get(changes, i);
		const char *mark = mark_of(field_text_or(c, "effect", ""));
		const char *before = field_text(c, "before"), *after = field_text(c, "after");

		counts[*mark == '+' ? 0 : *mark == '-' ? 1 : 2]++;
		table_cell(&t, mark);
		table_cell(&t, party_format(party, field(c, "from")));
		table_cell(&t, party_format(party, field(c, "to")));
		table_cell(&t, field_text(c, "service"));
		table_cell(&t, field_text(c, "effect"));
		table_cell(&t, field_text(c, "rule"));
		table_cell(&t, after != NULL ? after : before);
	}
	table_print(&t, 0, b);
	table_done(&t);
	return json_array_size(changes);
}

/* A table would cut what matters most: under which conditions a conversation now runs. */
static void put_conditions(const json_t *c, struct buf *b)
{
	const struct pairs p = {.b = b, .indent = 12};
	const char *before = field_text(c, "before"), *after = field_text(c, "after");
	char from[PARTY_TEXT_MAX], to[PARTY_TEXT_MAX];
	CLEANUP(buf_done) struct buf clean = {0};

	if (before == NULL || after == NULL)
		return;
	buf_init(&clean, SCREEN_TEXT_MAX);
	buf_printf(&clean, "~ %s > %s, %s", party_format(from, field(c, "from")),
		   party_format(to, field(c, "to")), field_text_or(c, "service", "?"));
	if (clean.r == 0)
		put_clean(b, clean.data);
	buf_putc(b, '\n');
	pairs_put(&p, "    was", "%s", before);
	pairs_put(&p, "    becomes", "%s", after);
}

/* As key and value: what a selector was and is must be read whole. */
static void put_definition(const json_t *d, struct buf *b)
{
	const struct pairs p = {.b = b, .indent = 4};
	const json_t *what = field(d, "what");
	const char *effect = field_text_or(d, "effect", "?");

	buf_printf(b, "%s %s ", mark_of(effect), field_text_or(d, "kind", "?"));
	put_clean(b, field_text_or(d, "name", "?"));
	buf_printf(b, " is %s\n",
		   str_eq(effect, "gained") ? "new"
		   : str_eq(effect, "lost") ? "gone"
					    : "changed");
	for (size_t i = 0; i < json_array_size(what); i++) {
		const json_t *w = json_array_get(what, i);

		pairs_put(&p, "", "%s: %s -> %s", field_text_or(w, "field", "?"),
			  field_text_or(w, "before", "(none)"),
			  field_text_or(w, "after", "(none)"));
	}
}

static void put_counts(struct buf *b, const int64_t counts[3])
{
	put_count(b, counts[0], "conversation");
	buf_printf(b, " gained, %" PRId64 " lost, %" PRId64 " changed", counts[1], counts[2]);
}

static void render_diff(const json_t *result, const struct screen *s, struct buf *b)
{
	const json_t *definitions = field(result, "definitions");
	int64_t counts[3] = {0};
	size_t changes = put_changes(field(result, "changes"), b, counts);

	(void)s;
	for (size_t i = 0; i < changes; i++)
		put_conditions(json_array_get(field(result, "changes"), i), b);
	for (size_t i = 0; i < json_array_size(definitions); i++)
		put_definition(json_array_get(definitions, i), b);
	if (changes == 0)
		buf_puts(b, "no conversation changes");
	else
		put_counts(b, counts);
	if (json_array_size(definitions) > 0) {
		buf_puts(b, "; ");
		put_count(b, (int64_t)json_array_size(definitions), "definition");
	}
	buf_puts(b, ".\n");
}

/* One side; CLI_OK and *ret filled, or everything is printed. */
static int read_side(struct cli *c, const struct verb *v, const char *word,
		     const struct keyring *trust, struct policy **ret)
{
	CLEANUP(policy_files_done) struct policy_files files = {0};
	CLEANUP(source_done) struct source source = {0};
	CLEANUP(buf_done) struct buf b = {0};
	struct err err = {0};
	json_t *findings;
	int r = source_read(&source, word, trust, &files, &err);

	if (r < 0)
		return cli_fail(c, v, signed_tree_refused(r) ? CLI_DENIED : CLI_FAILED, "%s",
				err.text);
	r = policy_files_check(&files, POLICY_BY_PATH, c->now, ret, &err);
	if (r == 0)
		return CLI_OK;
	if (*ret == NULL)
		return cli_fail(c, v, CLI_FAILED, "%s", err.text);
	findings = findings_json(*ret);
	buf_init(&b, SCREEN_TEXT_MAX);
	if (findings != NULL) {
		findings_render(findings, &b);
		(void)fwrite(b.data, 1, b.len, c->err);
	}
	json_decref(findings);
	return cli_fail(c, v, CLI_DENIED, "%s has errors, so there is nothing to compare", word);
}

static int compare(struct cli *c, const struct verb *v, const struct policy *old,
		   const struct policy *new)
{
	json_t *changes = NULL, *definitions = NULL, *result;
	struct err err = {0};
	int r = diff_changes(old, new, &changes, &err);

	if (r == 0)
		r = diff_definitions(old, new, &definitions, &err);
	if (r < 0) {
		json_decref(changes);
		return cli_fail(c, v, CLI_FAILED, "%s", err.text);
	}
	result = json_pack("{s:i, s:o, s:o}", "version", 1, "changes", changes, "definitions",
			   definitions);
	r = result != NULL ? cli_print(c, v, result, false, CLI_OK)
			   : cli_fail(c, v, CLI_FAILED, "out of memory");
	json_decref(result);
	return r;
}

enum { OPTION_TRUST, OPTION_THRESHOLD };
static const struct option_spec options[] = {
	[OPTION_TRUST] = {.name = "trust",
			  .value = "FILE.pub",
			  .help = "signed trees must be signed by it",
			  .many = true},
	[OPTION_THRESHOLD] = {.name = "threshold",
			      .value = "N",
			      .help = "by so many of the keys; 1 unless said"},
};

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	CLEANUP(policy_freep) struct policy *old = NULL;
	CLEANUP(policy_freep) struct policy *new = NULL;
	CLEANUP(keyring_done) struct keyring ring = {0};
	struct err err = {0};
	bool given;
	int r = source_trust(a, OPTION_TRUST, OPTION_THRESHOLD, &ring, &given, &err);

	if (r < 0)
		return cli_fail(c, v, CLI_FAILED, "%s", err.text);
	r = read_side(c, v, a->words[0], given ? &ring : NULL, &old);
	if (r == CLI_OK)
		r = read_side(c, v, a->words[1], given ? &ring : NULL, &new);
	return r == CLI_OK ? compare(c, v, old, new) : r;
}

const struct verb verb_diff = {
	.name = "diff",
	.words = "OLD NEW [--trust FILE.pub]... [--threshold N]",
	.summary = "what two policies say differently: files, directories, DIR@REVISION",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_min = 2,
	.words_max = 2,
	.run = run,
	.render = render_diff,
};
