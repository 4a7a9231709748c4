/* SPDX-License-Identifier: GPL-3.0-or-later */
/* status: the fleet on one screen. audit: who has changed what. */
#include "base/mem.h"
#include "base/text.h"
#include "controller/command.h"
#include "controller/command_tables.h"

#include <inttypes.h>

#define STATUS_INDENT 15
/* Long lists are in the JSON; a screen is for what needs somebody. */
#define NODES_SHOWN  40
#define PLACES_SHOWN 40
#define TOKENS_SHOWN 8

/* ---- the lines above ---- */

static void put_policy(const struct pairs *p, const json_t *result, const struct screen *s)
{
	char text[DURATION_TEXT_MAX];
	int64_t left;

	if (field(result, "policy") == NULL) {
		pairs_put(p, "policy",
			  "none yet; 'bailiwick sign' and 'bailiwick-controller "
			  "publish' bring one");
		return;
	}
	if (field_true(result, "policy.expired"))
		(void)snprintf(text, sizeof(text), "EXPIRED");
	else if (!field_seconds_until(result, "policy.expires", s->now, &left) ||
		 duration_format(text, left) == NULL)
		text[0] = '\0';
	pairs_put(p, "policy",
		  "revision %" PRId64 "  %.8s  %s%s; %" PRId64 " identities, %" PRId64 " rules",
		  field_int(result, "policy.revision", 0),
		  field_text_or(result, "policy.sha256", "-"),
		  field_true(result, "policy.expired") ? "" : "valid ", text,
		  field_int(result, "policy.identities", 0), field_int(result, "policy.rules", 0));
}

static void put_summary(const struct pairs *p, const json_t *result)
{
	int64_t nodes = field_int(result, "summary.nodes", 0);
	int64_t expected = field_int(result, "summary.not_enrolled", 0);

	pairs_put(p, "nodes", "%" PRId64 ", %" PRId64 " up to date", nodes,
		  field_int(result, "summary.current", 0));
	if (expected > 0)
		pairs_put(p, "not enrolled", "%" PRId64 " that placements name", expected);
	pairs_put(p, "placed by", "%s",
		  field_true(result, "reports_place")
			  ? "the API, files, and agents' reports of what nothing pins"
			  : "the API and files; agents' reports are off");
	pairs_put(p, "files", "%s", field_text_or(result, "files.error", ""));
}

/* ---- tables ---- */

static void put_actions(const json_t *actions, const struct screen *s, struct buf *b)
{
	static const struct column columns[] = {
		{"IN FORCE", COLUMN_LEFT, CUT_END, 0}, {"ON", COLUMN_LEFT, CUT_BEGIN, 12},
		{"SINCE", COLUMN_LEFT, CUT_END, 0},    {"ENDS", COLUMN_LEFT, CUT_END, 0},
		{"CUT", COLUMN_RIGHT, CUT_END, 0},     {"BY", COLUMN_LEFT, CUT_END, 4},
		{"REASON", COLUMN_LEFT, CUT_END, 12},
	};
	char text[DURATION_TEXT_MAX];
	struct table t;
	json_t *one;
	int64_t left;
	size_t i;

	if (json_array_size(actions) == 0)
		return;
	table_init(&t, columns, ARRAY_LEN(columns));
	json_array_foreach(actions, i, one) {
		table_cell(&t, field_text(one, "kind"));
		table_cell(&t, field_text(one, "target"));
		put_age(&t, one, "at", s);
		table_cell(&t, field_seconds_until(one, "until", s->now, &left)
				       ? duration_format(text, left)
				       : NULL);
		table_count(&t, field_int(one, "cut", 0));
		table_cell(&t, field_text(one, "who"));
		table_cell(&t, field_text(one, "reason"));
	}
	buf_putc(b, '\n');
	table_print(&t, 0, b);
	table_done(&t);
}

static bool needs_somebody(const json_t *place)
{
	return !field_true(place, "in_force");
}

/* A report of what somebody pinned on that very node says nothing new. */
static bool is_echo(const json_t *places, const json_t *place)
{
	json_t *other;
	size_t i;

	if (field_true(place, "in_force") || !str_eq(field_text_or(place, "source", ""), "report"))
		return false;
	json_array_foreach(places, i, other) {
		if (field_true(other, "in_force") &&
		    str_eq(field_text_or(other, "identity", ""),
			   field_text_or(place, "identity", "?")) &&
		    str_eq(field_text_or(other, "node", ""), field_text_or(place, "node", "?")))
			return true;
	}
	return false;
}

/* What does not hold first; then the others, as many as fit. */
static void put_places(const json_t *places, struct buf *b)
{
	static const struct column columns[] = {
		{"IDENTITY", COLUMN_LEFT, CUT_BEGIN, 12},
		{"NODE", COLUMN_LEFT, CUT_END, 6},
		{"PLACED BY", COLUMN_LEFT, CUT_END, 0},
		{"HOLDS", COLUMN_LEFT, CUT_END, 24},
	};
	struct table t;
	json_t *place;
	size_t i, shown = 0, echoes = 0;

	if (json_array_size(places) == 0)
		return;
	json_array_foreach(places, i, place)
		echoes += is_echo(places, place);
	table_init(&t, columns, ARRAY_LEN(columns));
	for (int pass = 0; pass < 2; pass++) {
		json_array_foreach(places, i, place) {
			if (needs_somebody(place) != (pass == 0) || shown == PLACES_SHOWN ||
			    is_echo(places, place))
				continue;
			shown++;
			table_cell(&t, field_text(place, "identity"));
			table_cell(&t, field_text(place, "node"));
			table_cell(&t, field_text(place, "source"));
			table_cell(&t, pass == 0 ? field_text_or(place, "why", "no") : "yes");
		}
	}
	buf_putc(b, '\n');
	table_print(&t, 0, b);
	table_done(&t);
	if (json_array_size(places) - echoes > shown)
		buf_printf(b, "%zu of %zu places; -o json has all.\n", shown,
			   json_array_size(places) - echoes);
}

static void put_tokens(const json_t *tokens, const struct screen *s, struct buf *b)
{
	static const struct column columns[] = {
		{"TOKEN", COLUMN_LEFT, CUT_END, 0},   {"FOR", COLUMN_LEFT, CUT_END, 6},
		{"USED", COLUMN_LEFT, CUT_END, 0},    {"ENDS", COLUMN_LEFT, CUT_END, 0},
		{"MADE BY", COLUMN_LEFT, CUT_END, 4}, {"USED FROM", COLUMN_LEFT, CUT_END, 9},
	};
	char text[DURATION_TEXT_MAX];
	struct table t;
	json_t *one;
	int64_t left;
	size_t i, shown = 0;

	table_init(&t, columns, ARRAY_LEN(columns));
	json_array_foreach(tokens, i, one) {
		if (shown++ == TOKENS_SHOWN)
			break;
		table_cell(&t, field_text(one, "token"));
		table_cell(&t, field_text(one, "node"));
		table_cellf(&t, "%" PRId64 " of %" PRId64, field_int(one, "used", 0),
			    field_int(one, "uses", 0));
		if (!field_seconds_until(one, "expires", s->now, &left))
			table_cell(&t, NULL);
		else
			table_cell(&t, left > 0 ? duration_format(text, left) : "over");
		table_cell(&t, field_text(one, "made_by"));
		table_cell(&t, field_text(one, "used_from"));
	}
	if (json_array_size(tokens) > 0) {
		buf_putc(b, '\n');
		table_print(&t, 0, b);
	}
	table_done(&t);
}

/* Those that are behind first. */
static void put_nodes(const json_t *nodes, const struct screen *s, struct buf *b)
{
	json_t *shown = json_array(), *node;
	size_t i;

	for (int pass = 0; pass < 2; pass++) {
		json_array_foreach(nodes, i, node) {
			if (field_true(node, "current") == (pass == 1) &&
			    json_array_size(shown) < NODES_SHOWN)
				(void)json_array_append(shown, node);
		}
	}
	if (json_array_size(nodes) > 0) {
		buf_putc(b, '\n');
		nodes_table(shown, s, b);
	}
	if (json_array_size(nodes) > json_array_size(shown))
		buf_printf(b, "%zu of %zu nodes; -o json has all.\n", json_array_size(shown),
			   json_array_size(nodes));
	json_decref(shown);
}

static void render_status(const json_t *result, const struct screen *s, struct buf *b)
{
	const struct pairs p = {.b = b, .indent = STATUS_INDENT};

	pairs_put(&p, "trust domain", "%s", field_text_or(result, "trust_domain", "-"));
	put_policy(&p, result, s);
	put_summary(&p, result);
	put_actions(field(result, "actions"), s, b);
	put_nodes(field(result, "nodes"), s, b);
	put_places(field(result, "placements"), b);
	put_tokens(field(result, "tokens"), s, b);
}

static int run_status(struct console *c, const struct command *v, const struct args *a)
{
	(void)a;
	return command_ask(c, v, "GET", "/v1/operator/status", NULL);
}

const struct command command_status = {
	.name = "status",
	.words = "",
	.summary = "the fleet: policy, nodes, places, what is in force, tokens",
	.run = run_status,
	.render = render_status,
};

/* ---- audit ---- */

static void render_audit(const json_t *result, const struct screen *s, struct buf *b)
{
	audit_table(field(result, "audit"), s, b);
}

const struct command command_audit = {
	.name = "audit",
	.words = "",
	.summary = "the newest lines of the audit log",
	.run = run_status,
	.render = render_audit,
};
