/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Operators: whose certificates were used here, and which are refused from now on. */
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/command.h"
#include "controller/command_tables.h"
#include "rules/view.h"

#include <stdlib.h>
#include <string.h>

enum { OPTION_REASON, OPTION_FORCE };
static const struct option_spec options[] = {
	[OPTION_REASON] = {.name = "reason", .value = "TEXT", .help = "why; for the audit log"},
	[OPTION_FORCE] = {.name = "force", .help = "also the last one, or a name never seen"},
};

static void operators_table(const json_t *operators, const struct screen *s, struct buf *b)
{
	static const struct column columns[] = {
		{"OPERATOR", COLUMN_LEFT, CUT_END, 8}, {"SERIAL", COLUMN_LEFT, CUT_END, 32},
		{"STATE", COLUMN_LEFT, CUT_END, 0},    {"ENDS", COLUMN_LEFT, CUT_END, 0},
		{"SEEN", COLUMN_LEFT, CUT_END, 0},     {"BY", COLUMN_LEFT, CUT_END, 6},
		{"REASON", COLUMN_LEFT, CUT_END, 10},
	};
	char text[DURATION_TEXT_MAX];
	int64_t left, good = 0;
	struct table t;
	json_t *one;
	size_t i;

	table_init(&t, columns, ARRAY_LEN(columns));
	json_array_foreach(operators, i, one) {
		const char *state = field_text_or(one, "state", "?");

		good += str_eq(state, "good");
		table_cellf(&t, "%s%s", field_text_or(one, "operator", "?"),
			    field_true(one, "asks") ? " (you)" : "");
		table_cell(&t, field_text(one, "serial"));
		table_cell(&t, state);
		if (!field_seconds_until(one, "expires", s->now, &left))
			table_cell(&t, NULL);
		else
			table_cell(&t, left > 0 ? duration_format(text, left) : "over");
		put_age(&t, one, "last_seen", s);
		table_cell(&t, field_text(one, "revoked_by"));
		table_cell(&t, field_text(one, "reason"));
	}
	table_print(&t, 0, b);
	table_done(&t);
	put_count(b, (int64_t)json_array_size(operators), "certificate");
	buf_printf(b, ", %lld good.\n", (long long)good);
}

static void render_operator(const json_t *result, const struct screen *s, struct buf *b)
{
	int64_t left = field_int(result, "left", 0);

	if (field(result, "operators") != NULL) {
		operators_table(field(result, "operators"), s, b);
		return;
	}
	put_count(b, field_int(result, "certificates", 0), "certificate");
	buf_puts(b, field_text(result, "operator") != NULL ? " of operator " : " with the key of ");
	put_clean(b, field_text_or(result, "operator", field_text_or(result, "serial", "?")));
	buf_puts(b, field_int(result, "certificates", 0) == 1 ? " is revoked" : " are revoked");
	buf_puts(b, ", refused from now on.\n");
	if (field_true(result, "renewed"))
		buf_puts(b, "The pair in the controller's data directory is a new one.\n");
	put_count(b, left, "other certificate");
	buf_puts(b, left == 1 ? " of operators is good.\n" : " of operators are good.\n");
}

static int revoke(struct console *c, const struct command *v, const struct args *a)
{
	CLEANUP(freep) char *path = NULL;
	char quoted[LOG_QUOTE_MAX];
	json_t *body;
	int r;

	if (a->word_count < 2)
		return command_usage(c, v, "whose? 'operator revoke alice' would be right");
	if (!node_name_ok(a->words[1]))
		return command_usage(c, v, "'%s' is no operator's name and no serial number",
				     log_quote(quoted, a->words[1]));
	body = json_object();
	r = command_text(c, v, a, OPTION_REASON, body, "reason", true);
	if (r != 0) {
		json_decref(body);
		return r;
	}
	if (a->values[OPTION_FORCE] != NULL)
		(void)json_object_set_new(body, "force", json_true());
	path = mem_printf("/v1/operator/operators/%s/revoke", a->words[1]);
	if (path != NULL)
		return command_ask(c, v, "POST", path, body);
	json_decref(body);
	return command_fail(c, v, "out of memory");
}

static int run_operator(struct console *c, const struct command *v, const struct args *a)
{
	char quoted[LOG_QUOTE_MAX];

	if (str_eq(a->words[0], "list") && a->word_count == 1)
		return command_ask(c, v, "GET", "/v1/operator/operators", NULL);
	if (str_eq(a->words[0], "revoke"))
		return revoke(c, v, a);
	return command_usage(c, v, "'%s': list or revoke would be right",
			     log_quote(quoted, a->words[0]));
}

const struct command command_operator = {
	.name = "operator",
	.words = "list | revoke NAME|SERIAL --reason TEXT [--force]",
	.summary = "certificates of operators; revoked: refused at the next request",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_min = 1,
	.words_max = 2,
	.run = run_operator,
	.render = render_operator,
};
