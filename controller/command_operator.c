/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Operators: whose certificates were used here, which are refused from now on, and a certificate
 * for one more. Whose key it is makes the request; another operator has it certified.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/api.h"
#include "controller/command.h"
#include "controller/command_tables.h"
#include "controller/operator_pair.h"
#include "rules/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { OPTION_REASON, OPTION_FORCE, OPTION_REQUEST, OPTION_TO };
static const struct option_spec options[] = {
	[OPTION_REASON] = {.name = "reason", .value = "TEXT", .help = "why; for the audit log"},
	[OPTION_FORCE] = {.name = "force", .help = "also the last one, or a name never seen"},
	[OPTION_REQUEST] = {.name = "request",
			    .value = "FILE",
			    .help = "of somebody who has made a key of their own"},
	[OPTION_TO] = {.name = "to", .value = "DIR", .help = "where files go; NAME unless said"},
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

/* The command to paste stands alone on its line. */
static void render_added(const json_t *result, const struct screen *s, struct buf *b)
{
	const char *dir = field_text_or(result, "directory", "?");
	char text[DURATION_TEXT_MAX];
	int64_t left;

	if (field(result, "request") != NULL) {
		buf_puts(b, "The key is in ");
		put_clean(b, dir);
		buf_puts(b, "/operator.key and stays there. Somebody who is an operator runs:\n\n"
			    "  bailiwick-controller operator add ");
		put_clean(b, field_text_or(result, "operator", "?"));
		buf_puts(b, " --request ");
		put_clean(b, field_text(result, "request"));
		buf_puts(b, "\n");
		return;
	}
	put_clean(b, field_text_or(result, "operator", "?"));
	buf_puts(b, " is an operator");
	if (field_seconds_until(result, "expires", s->now, &left))
		buf_printf(b, " for %s", duration_format(text, left));
	if (field_true(result, "key_elsewhere")) {
		buf_puts(b, ". Give them operator.pem and ca.pem of ");
		put_clean(b, dir);
		buf_puts(b, ",\nwhich belong beside their operator.key; in that directory:\n\n"
			    "  bailiwick-controller status --data .");
	} else {
		buf_puts(b, ":\n\n  bailiwick-controller status --data ");
		put_clean(b, dir);
	}
	buf_puts(b, " --url ");
	put_clean(b, field_text_or(result, "url", "?"));
	buf_puts(b, "\n");
	if (!field_true(result, "key_elsewhere"))
		buf_puts(b,
			 "\nWho has operator.key of that directory is taken for them: keep it out "
			 "of mails.\n");
}

static void render_operator(const json_t *result, const struct screen *s, struct buf *b)
{
	int64_t left = field_int(result, "left", 0);

	if (field(result, "operators") != NULL) {
		operators_table(field(result, "operators"), s, b);
		return;
	}
	if (field(result, "directory") != NULL) {
		render_added(result, s, b);
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

/* ---- one more ---- */

static int ask_for(struct console *c, const char *name, const char *request, struct api **ret_api,
		   json_t **ret, struct err *err)
{
	CLEANUP(freep) char *path = mem_printf("/v1/operator/operators/%s/add", name);
	json_t *body = json_pack("{s:s}", "request", request);
	int r = path == NULL || body == NULL ? err_set(err, ENOMEM, "out of memory")
					     : api_open(c, ret_api, err);

	if (r >= 0)
		r = api_post(*ret_api, path, body, ret, err);
	json_decref(body);
	return r;
}

static int put_answer(json_t *result, const char *dir, bool elsewhere, struct err *err)
{
	const char *cert = json_string_value(json_object_get(result, "certificate"));
	const char *ca = json_string_value(json_object_get(result, "ca"));
	int r = cert == NULL || ca == NULL
			? err_set(err, EPROTO, "the controller answers without a certificate")
			: operator_pair_put(dir, cert, ca, err);

	if (r < 0)
		return r;
	(void)json_object_del(result, "certificate");
	(void)json_object_del(result, "ca");
	(void)json_object_set_new(result, "key_elsewhere", json_boolean(elsewhere));
	return json_object_set_new(result, "directory", json_string(dir));
}

static int add(struct console *c, const struct command *v, const char *name, const char *dir,
	       const char *file)
{
	CLEANUP(api_freep) struct api *api = NULL;
	CLEANUP(freep) char *request = NULL;
	struct err err = {{0}};
	json_t *result = NULL;
	int r;

	if (file != NULL) {
		r = operator_pair_read_request(file, &request, &err);
		if (r >= 0)
			r = operator_pair_room(dir, &err);
	} else {
		r = operator_pair_make(dir, name, &request, &err);
	}
	if (r < 0)
		return command_fail(c, v, "%s", err.text);
	r = ask_for(c, name, request, &api, &result, &err);
	if (r < 0 && file == NULL)
		operator_pair_undo(dir);
	if (r < 0)
		return command_refused(c, v, api, &err);
	r = put_answer(result, dir, file != NULL, &err);
	if (r >= 0)
		return command_print(c, v, result);
	json_decref(result);
	if (file == NULL)
		operator_pair_undo(dir);
	return command_fail(c, v,
			    "%s; %s has a certificate that is nowhere: 'operator revoke %s', then "
			    "once more with another key",
			    err.text, name, name);
}

static int request_written(const char *dir, const char *text, struct err *err)
{
	int r = operator_pair_write_request(dir, text, err);

	if (r < 0)
		operator_pair_undo(dir);
	return r;
}

static int request(struct console *c, const struct command *v, const char *name, const char *dir)
{
	CLEANUP(freep) char *text = NULL;
	CLEANUP(freep) char *file = mem_printf("%s/" OPERATOR_PAIR_REQUEST, dir);
	struct err err = {{0}};
	int r = operator_pair_make(dir, name, &text, &err);

	if (r >= 0)
		r = request_written(dir, text, &err);
	if (r < 0)
		return command_fail(c, v, "%s", err.text);
	return command_print(c, v,
			     json_pack("{s:i,s:s,s:s,s:s}", "version", 1, "operator", name,
				       "directory", dir, "request", file));
}

static int more(struct console *c, const struct command *v, const struct args *a)
{
	const char *verb = a->words[0], *file = a->values[OPTION_REQUEST];
	const char *name = a->words[1], *dir = a->values[OPTION_TO];
	char quoted[LOG_QUOTE_MAX];

	if (a->word_count < 2)
		return command_usage(c, v, "whom? 'operator %s alice' would be right", verb);
	/* Dots alone are no SPIFFE ID, and no directory to write to. */
	if (!node_name_ok(name) || name[strspn(name, ".")] == '\0')
		return command_usage(c, v,
				     "'%s' is no operator's name; letters, digits, '.', '_', '-' "
				     "and at most 63 of them would be right",
				     log_quote(quoted, name));
	if (a->values[OPTION_REASON] != NULL || a->values[OPTION_FORCE] != NULL)
		return command_usage(c, v, "--reason and --force go with revoke");
	if (file != NULL && str_eq(verb, "request"))
		return command_usage(c, v, "--request goes with add");
	if (dir == NULL)
		dir = name;
	return str_eq(verb, "add") ? add(c, v, name, dir, file) : request(c, v, name, dir);
}

static int run_operator(struct console *c, const struct command *v, const struct args *a)
{
	char quoted[LOG_QUOTE_MAX];

	if (str_eq(a->words[0], "list") && a->word_count == 1)
		return command_ask(c, v, "GET", "/v1/operator/operators", NULL);
	if (str_eq(a->words[0], "add") || str_eq(a->words[0], "request"))
		return more(c, v, a);
	if (a->values[OPTION_REQUEST] != NULL || a->values[OPTION_TO] != NULL)
		return command_usage(c, v, "--request and --to go with add");
	if (str_eq(a->words[0], "revoke"))
		return revoke(c, v, a);
	return command_usage(c, v, "'%s': list, request, add or revoke would be right",
			     log_quote(quoted, a->words[0]));
}

const struct command command_operator = {
	.name = "operator",
	.words = "list | request NAME [--to DIR] | add NAME [--request FILE] [--to DIR] |"
		 " revoke NAME|SERIAL --reason TEXT [--force]",
	.summary = "who may give orders; add: one more; revoked: refused at the next request",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_min = 1,
	.words_max = 2,
	.run = run_operator,
	.render = render_operator,
};
