/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/plan.h"

#include "base/mem.h"
#include "base/text.h"
#include "cli/findings.h"

#include <errno.h>

static const struct column change_columns[] = {
	{" ", COLUMN_LEFT, CUT_END, 0},       {"FROM", COLUMN_LEFT, CUT_END, 14},
	{"TO", COLUMN_LEFT, CUT_END, 14},     {"SERVICE", COLUMN_LEFT, CUT_END, 0},
	{"EFFECT", COLUMN_LEFT, CUT_END, 10}, {"RULE", COLUMN_LEFT, CUT_END, 10},
};
static const struct column reach_columns[] = {
	{"IDENTITY", COLUMN_LEFT, CUT_BEGIN, 20},
	{"REACHES NOW", COLUMN_RIGHT, CUT_END, 0},
	{"AFTER", COLUMN_RIGHT, CUT_END, 0},
};

static void put_changes(struct table *t, const json_t *changes, const char *mark)
{
	char party[PARTY_TEXT_MAX];

	for (size_t i = 0; i < json_array_size(changes); i++) {
		const json_t *c = json_array_get(changes, i);

		table_cell(t, mark);
		table_cell(t, party_format(party, field(c, "from")));
		table_cell(t, party_format(party, field(c, "to")));
		table_cell(t, field_text(c, "service"));
		table_cell(t, field_text(c, "effect"));
		table_cell(t, field_text(c, "rule"));
	}
}

static void put_reach(const json_t *reach, struct buf *b)
{
	struct table t;

	table_init(&t, reach_columns, ARRAY_LEN(reach_columns));
	for (size_t i = 0; i < json_array_size(reach); i++) {
		const json_t *r = json_array_get(reach, i);

		table_cell(&t, field_text_or(r, "name", field_text(r, "identity")));
		table_count(&t, field_int(r, "before", 0));
		table_count(&t, field_int(r, "after", 0));
	}
	table_print(&t, 0, b);
	table_done(&t);
}

void plan_render(const json_t *result, const struct screen *s, struct buf *b)
{
	int64_t adds = field_count(result, "adds"), removes = field_count(result, "removes");
	int64_t changes = field_count(result, "changes");
	const char *text = field_text(result, "text");
	struct table t;

	table_init(&t, change_columns, ARRAY_LEN(change_columns));
	put_changes(&t, field(result, "adds"), "+");
	put_changes(&t, field(result, "removes"), "-");
	put_changes(&t, field(result, "changes"), "~");
	table_print(&t, 0, b);
	table_done(&t);
	put_reach(field(result, "reach"), b);
	if (adds + removes + changes == 0)
		buf_puts(b, "no conduit of this node changes.\n");
	else
		buf_printf(b, "%lld added, %lld removed, %lld changed.\n", (long long)adds,
			   (long long)removes, (long long)changes);
	if (s->verbose && text != NULL && *text != '\0')
		buf_printf(b, "\n%s%s", text, str_ends(text, "\n") ? "" : "\n");
}

static json_t *files_json(const struct policy_files *files)
{
	json_t *array = json_array();
	int r = array != NULL ? 0 : -1;

	for (size_t i = 0; r == 0 && i < files->count; i++)
		r = json_array_append_new(
			array, json_pack("{s:s, s:s%}", "name", files->entries[i].name, "text",
					 files->entries[i].text, files->entries[i].len));
	if (r == 0)
		return json_pack("{s:o}", "files", array);
	json_decref(array);
	return NULL;
}

/* Warnings do not stop a plan; errors do, and then nothing is asked of the agent. */
static int report(struct cli *c, const struct policy *p, bool failed)
{
	json_t *result = findings_json(p);
	CLEANUP(buf_done) struct buf b = {0};

	if (result == NULL)
		return CLI_FAILED;
	buf_init(&b, SCREEN_TEXT_MAX);
	findings_render(result, &b);
	if (failed && c->json) {
		(void)json_dumpf(result, c->out, JSON_COMPACT);
		(void)fputc('\n', c->out);
		(void)fflush(c->out);
	} else if (failed || field_count(result, "warnings") > 0) {
		(void)fwrite(b.data, 1, b.len, c->err);
	}
	json_decref(result);
	return failed ? CLI_DENIED : CLI_OK;
}

json_t *plan_files(struct cli *c, const struct verb *v, const char *path, int *ret_exit)
{
	CLEANUP(policy_files_done) struct policy_files files = {0};
	CLEANUP(policy_freep) struct policy *policy = NULL;
	struct err err = {0};
	json_t *args;
	int r;

	r = policy_files_read(&files, path, false, &err);
	if (r == 0)
		r = policy_files_check(&files, POLICY_BY_PATH, c->now, &policy, &err);
	if (policy == NULL) {
		*ret_exit = cli_fail(c, v, CLI_FAILED, "%s", err.text);
		return NULL;
	}
	*ret_exit = report(c, policy, r < 0);
	if (*ret_exit != CLI_OK)
		return NULL;
	args = files_json(&files);
	if (args == NULL)
		*ret_exit = cli_fail(c, v, CLI_FAILED, "out of memory");
	return args;
}

enum { OPTION_TEXT };
static const struct option_spec options[] = {
	[OPTION_TEXT] = {.name = "text", .letter = 'v', .help = "the change as nft text, too"},
};

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	const char *path = a->word_count > 0 ? a->words[0] : SITE_DIR_DEFAULT;
	int r;
	json_t *args = plan_files(c, v, path, &r);

	return args != NULL ? cli_ask(c, v, args, a->values[OPTION_TEXT] != NULL) : r;
}

const struct verb verb_plan = {
	.name = "plan",
	.words = "[DIR] [-v]",
	.summary = "what applying a policy would change here, and nothing else",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_max = 1,
	.run = run,
	.render = plan_render,
};
