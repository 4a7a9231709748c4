/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table form is a policy file: what can be decided from what was seen is there, `purpose` and
 * `owner` are empty, so that `bailiwick check` refuses it until a person has answered for each
 * rule.
 */
#include "cli/cli.h"

#include "base/mem.h"
#include "base/text.h"

#include <string.h>

#define PEERS_SHOWN   6
#define PEERS_IN_LINE 30 /* columns */
#define FLOW_INDENT   4

static const char *text_of(const json_t *value)
{
	const char *text = json_string_value(value);

	return text != NULL ? text : "";
}

/* [a, b] where it fits, else one in a line. Networks are quoted: a colon begins a value. */
static void put_list(struct buf *b, const char *key, const json_t *list, bool quoted)
{
	size_t width = FLOW_INDENT + strlen(key) + strlen(": []");
	const char *quote = quoted ? "\"" : "";

	for (size_t i = 0; i < json_array_size(list); i++)
		width +=
			strlen(text_of(json_array_get(list, i))) + strlen(", ") + 2 * strlen(quote);
	buf_printf(b, "    %s:", key);
	if (width > SCREEN_COLUMNS) {
		buf_putc(b, '\n');
		for (size_t i = 0; i < json_array_size(list); i++) {
			buf_printf(b, "      - %s", quote);
			put_clean(b, text_of(json_array_get(list, i)));
			buf_printf(b, "%s\n", quote);
		}
		return;
	}
	buf_puts(b, " [");
	for (size_t i = 0; i < json_array_size(list); i++) {
		buf_printf(b, "%s%s", i > 0 ? ", " : "", quote);
		put_clean(b, text_of(json_array_get(list, i)));
		buf_puts(b, quote);
	}
	buf_puts(b, "]\n");
}

/* Comments end where the line ends, whatever a cgroup is called: put_clean() leaves no newline. */
static void put_peers(struct buf *b, const json_t *peers)
{
	size_t count = json_array_size(peers), width = 0;
	bool in_line;

	for (size_t i = 0; i < count; i++)
		width += strlen(text_of(json_array_get(peers, i))) + strlen(", ");
	in_line = width <= PEERS_IN_LINE;
	for (size_t i = 0; i < count && i < PEERS_SHOWN; i++) {
		if (in_line)
			buf_puts(b, i == 0 ? " " : ", ");
		else
			buf_puts(b, i == 0 ? "\n  #   " : i % 2 == 0 ? ",\n  #   " : ", ");
		put_clean(b, text_of(json_array_get(peers, i)));
	}
	if (count > PEERS_SHOWN)
		buf_printf(b, ", and %zu more", count - PEERS_SHOWN);
	buf_putc(b, '\n');
}

static void put_evidence(struct buf *b, const json_t *o)
{
	buf_puts(b, "  # ");
	put_count(b, field_int(o, "flows", 0), "flow");
	buf_printf(b, ", %s to %s, with", field_text_or(o, "first", "?"),
		   field_text_or(o, "last", "?"));
	put_peers(b, field(o, "peers"));
}

static void put_networks(struct buf *b, const json_t *networks)
{
	if (json_array_size(networks) == 0)
		return;
	buf_puts(b, "\n# Who is that? Give them names and ranges that stay true.\nnetworks:\n");
	for (size_t i = 0; i < json_array_size(networks); i++) {
		const json_t *n = json_array_get(networks, i);

		buf_puts(b, "  - name: ");
		put_clean(b, field_text_or(n, "name", ""));
		buf_putc(b, '\n');
		put_list(b, "cidrs", field(n, "cidrs"), true);
	}
}

static void put_rules(struct buf *b, const json_t *rules)
{
	if (json_array_size(rules) == 0) {
		buf_puts(b, "\n# Nothing to propose.\n");
		return;
	}
	buf_puts(b, "\nrules:\n");
	for (size_t i = 0; i < json_array_size(rules); i++) {
		const json_t *r = json_array_get(rules, i);

		put_evidence(b, r);
		if (field_true(r, "doubtful"))
			buf_puts(b, "  # One node, several identities: keep the one that calls "
				    "(its own host knows).\n");
		buf_puts(b, "  - name: ");
		put_clean(b, field_text_or(r, "name", ""));
		buf_putc(b, '\n');
		put_list(b, "from", field(r, "from"), false);
		put_list(b, "to", field(r, "to"), false);
		put_list(b, "services", field(r, "services"), false);
		buf_printf(b, "    assurance: %s\n    purpose:\n    owner:\n",
			   str_eq(field_text(r, "assurance"), "attested") ? "attested" : "mapped");
	}
}

/* "…system.slice/very-long.service": the end of a path tells more. */
static void put_end(struct buf *b, const char *text, size_t width)
{
	size_t len = strlen(text);

	if (len > width) {
		buf_puts(b, "...");
		text += len - width + 3;
	}
	put_clean(b, text);
}

#define CGROUP_WIDTH 80
#define OTHER_WIDTH  40

static void put_unclaimed(struct buf *b, const json_t *list)
{
	if (json_array_size(list) == 0)
		return;
	buf_puts(b,
		 "\n# Processes that no identity claims. Name them (identities:, workload:), then "
		 "their rules\n# can be proposed:\n");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *o = json_array_get(list, i);
		bool out = strcmp(field_text_or(o, "direction", "out"), "out") == 0;

		buf_puts(b, "#   ");
		put_end(b, field_text_or(o, "cgroup", "?"), CGROUP_WIDTH);
		buf_puts(b, "\n#     ");
		put_count(b, field_int(o, "flows", 0), "flow");
		buf_printf(b, ", %s %s %s ", out ? "calls" : "serves",
			   field_text_or(o, "service", "?"), out ? "of" : "to");
		put_end(b, field_text_or(o, "other", "?"), OTHER_WIDTH);
		buf_putc(b, '\n');
	}
}

static void put_left(struct buf *b, const json_t *list)
{
	if (json_array_size(list) == 0)
		return;
	buf_puts(b, "\n# Seen, and no rule can be written for it:\n");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *o = json_array_get(list, i);

		buf_puts(b, "#   ");
		put_end(b, field_text_or(o, "from", "?"), OTHER_WIDTH);
		buf_puts(b, " > ");
		put_end(b, field_text_or(o, "to", "?"), OTHER_WIDTH);
		buf_printf(b, " %s\n#     ", field_text_or(o, "service", "?"));
		put_count(b, field_int(o, "flows", 0), "flow");
		buf_printf(b, ": %s\n", field_text_or(o, "why", "?"));
	}
}

static void put_head(struct buf *b, const json_t *result)
{
	char text[COUNT_TEXT_MAX];
	int64_t overflow = field_int(result, "totals.overflow", 0);

	buf_puts(b, "# What ");
	put_clean(b, field_text_or(result, "node", "this node"));
	buf_printf(
		b,
		" let through since %s and no rule permits,\n"
		"# as rules. What ran was not necessarily meant to run: read each, then fill in\n"
		"# purpose and owner.\n",
		field_text_or(result, "since", "it began"));
	buf_puts(b, "# ");
	put_count(b, field_int(result, "totals.flows", 0), "flow");
	buf_printf(b, ": %s permitted already,",
		   count_format(text, field_int(result, "totals.permitted", 0)));
	buf_printf(b, " %s by these rules,",
		   count_format(text, field_int(result, "totals.proposed", 0)));
	buf_printf(b, " %s by none (see the end).\n",
		   count_format(text, field_int(result, "totals.left", 0)));
	if (overflow > 0)
		buf_printf(b, "# %s rare conversations were left out: too many different ones.\n",
			   count_format(text, overflow));
}

static void render_suggest(const json_t *result, const struct screen *s, struct buf *b)
{
	(void)s;
	put_head(b, result);
	buf_puts(b, "trust_domain: ");
	put_clean(b, field_text_or(result, "trust_domain", "example.org"));
	buf_putc(b, '\n');
	put_networks(b, field(result, "networks"));
	put_rules(b, field(result, "rules"));
	put_unclaimed(b, field(result, "unclaimed"));
	put_left(b, field(result, "left"));
}

enum { OPTION_SINCE };
static const struct option_spec options[] = {
	[OPTION_SINCE] = {.name = "since", .value = "DURATION", .help = "seen again within that"},
};

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	json_t *args = json_object();
	int r;

	if (args == NULL)
		return cli_fail(c, v, CLI_FAILED, "out of memory");
	r = cli_take_duration(c, v, a, OPTION_SINCE, args, "since_s");
	if (r == 0)
		return cli_ask(c, v, args, false);
	json_decref(args);
	return r;
}

const struct verb verb_suggest = {
	.name = "suggest",
	.words = "[--since DURATION]",
	.summary = "propose rules from what was seen, as a policy file to fill in",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.run = run,
	.render = render_suggest,
};
