/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/command.h"
#include "controller/command_tables.h"
#include "rules/view.h"

#include <stdlib.h>
#include <string.h>

/* ---- node ---- */

enum { NODE_REASON };
static const struct option_spec node_options[] = {
	[NODE_REASON] = {.name = "reason", .value = "TEXT", .help = "why; with forget"},
};

static void render_node(const json_t *result, const struct screen *s, struct buf *b)
{
	if (field(result, "nodes") != NULL) {
		nodes_table(field(result, "nodes"), s, b);
		return;
	}
	put_clean(b, field_text_or(result, "node", "?"));
	buf_puts(b, " is ");
	put_clean(b, field_text_or(result, "state", "?"));
	buf_puts(b, ".\n");
	if (str_eq(field_text(result, "state"), "forgotten"))
		buf_puts(b, "Who enrols under that name from now on is a new node.\n");
}

static int node_body(struct console *c, const struct command *v, const struct args *a, json_t **ret)
{
	bool forget = str_eq(a->words[0], "forget");
	int r;

	if (!forget && a->values[NODE_REASON] != NULL)
		return command_usage(c, v, "--reason goes with forget");
	*ret = json_object();
	r = command_text(c, v, a, NODE_REASON, *ret, "reason", forget);
	if (r == 0)
		return 0;
	json_decref(*ret);
	return r;
}

static int run_node(struct console *c, const struct command *v, const struct args *a)
{
	static const char *const words[] = {"evict", "ban", "unban", "forget"};
	CLEANUP(freep) char *path = NULL;
	char quoted[LOG_QUOTE_MAX];
	bool known = false;
	json_t *body;
	int r;

	if (str_eq(a->words[0], "list") && a->word_count == 1)
		return command_ask(c, v, "GET", "/v1/operator/nodes", NULL);
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		known |= str_eq(a->words[0], words[i]);
	if (!known)
		return command_usage(c, v, "'%s': list, evict, ban, unban or forget would be right",
				     log_quote(quoted, a->words[0]));
	if (a->word_count < 2)
		return command_usage(c, v, "which node? 'node %s pay-1' would be right",
				     a->words[0]);
	if (!node_name_ok(a->words[1]))
		return command_usage(c, v, "'%s' is no node's name",
				     log_quote(quoted, a->words[1]));
	r = node_body(c, v, a, &body);
	if (r != 0)
		return r;
	path = mem_printf("/v1/operator/nodes/%s/%s", a->words[1], a->words[0]);
	if (path != NULL)
		return command_ask(c, v, "POST", path, body);
	json_decref(body);
	return command_fail(c, v, "out of memory");
}

const struct command command_node = {
	.name = "node",
	.words = "list | evict NODE | ban NODE | unban NODE | forget NODE --reason TEXT",
	.summary = "nodes; evict: must enrol again; ban: refused, also with a token; forget: gone",
	.options = node_options,
	.option_count = ARRAY_LEN(node_options),
	.words_min = 1,
	.words_max = 2,
	.run = run_node,
	.render = render_node,
};

/* ---- token ---- */

#define PASTE_INDENT "  "
#define PASTE_BREAK  " \\\n      "

enum { OPTION_NODE, OPTION_TTL, OPTION_USES };
static const struct option_spec token_options[] = {
	[OPTION_NODE] = {.name = "node", .value = "NODE", .help = "whose name it gives"},
	[OPTION_TTL] = {.name = "ttl", .value = "DURATION", .help = "how long; 10m unless said"},
	[OPTION_USES] = {.name = "uses", .value = "N", .help = "how often; once unless said"},
};

/* The command to paste stands alone on its lines, which a shell takes for one. */
static void render_token(const json_t *result, const struct screen *s, struct buf *b)
{
	int64_t uses = field_int(result, "uses", 1), left = 0;
	CLEANUP(buf_done) struct buf line = {0};
	char text[DURATION_TEXT_MAX];

	buf_init(&line, SCREEN_TEXT_MAX);
	put_clean(&line, field_text_or(result, "command", "?"));
	(void)field_seconds_until(result, "expires", s->now, &left);
	buf_puts(b, "For ");
	put_clean(b, field_text_or(result, "node", "?"));
	if (uses == 1)
		buf_printf(b, ", once, within %s:\n\n", duration_format(text, left));
	else
		buf_printf(b, ", %lld times, within %s:\n\n", (long long)uses,
			   duration_format(text, left));
	buf_puts(b, PASTE_INDENT);
	put_command(b, line.r == 0 ? line.data : "?", strlen(PASTE_INDENT), PASTE_BREAK);
	buf_puts(b, "\n\nWho has this is taken for that node: keep it out of logs and mails.\n");
}

static int run_token(struct console *c, const struct command *v, const struct args *a)
{
	char quoted[LOG_QUOTE_MAX];
	json_t *body;
	uint32_t uses;
	int r;

	if (!str_eq(a->words[0], "create"))
		return command_usage(c, v, "'%s': create would be right",
				     log_quote(quoted, a->words[0]));
	body = json_object();
	r = command_text(c, v, a, OPTION_NODE, body, "node", true);
	if (r == 0)
		r = command_duration(c, v, a, OPTION_TTL, body, "ttl_s", false);
	if (r == 0 && a->values[OPTION_USES] != NULL) {
		if (text_u32(a->values[OPTION_USES], 1, 1000000, &uses) < 0)
			r = command_usage(c, v, "--uses: 1 to 1000000 would be right");
		else
			(void)json_object_set_new(body, "uses", json_integer(uses));
	}
	if (r == 0)
		return command_ask(c, v, "POST", "/v1/operator/tokens", body);
	json_decref(body);
	return r;
}

const struct command command_token = {
	.name = "token",
	.words = "create --node NODE [--ttl DURATION] [--uses N]",
	.summary = "a one-time token: prints the line that enrols the node",
	.options = token_options,
	.option_count = ARRAY_LEN(token_options),
	.words_min = 1,
	.words_max = 1,
	.run = run_token,
	.render = render_token,
};
