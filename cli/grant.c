/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/mem.h"

static void render_grant(const json_t *result, const struct screen *s, struct buf *b)
{
	const char *note = field_text(result, "note");
	int64_t left = 0;
	char age[AGE_TEXT_MAX];

	if (note != NULL) {
		buf_puts(b, "NOTE: it ");
		put_clean(b, note);
		buf_puts(b, ".\n");
	}
	buf_printf(b, "%s; ends %s", note != NULL ? "granted" : "open now",
		   field_text_or(result, "until", "at once"));
	if (field_seconds_until(result, "until", s->now, &left))
		buf_printf(b, ", in %s", age_format(age, left));
	buf_puts(b, ", agent or no agent.\n");
}

enum { OPTION_FROM, OPTION_TO, OPTION_FOR, OPTION_REASON };
static const struct option_spec options[] = {
	[OPTION_FROM] = {.name = "from", .value = "IDENTITY", .help = "who calls: name or path"},
	[OPTION_TO] = {.name = "to", .value = "IDENTITY", .help = "who is called"},
	[OPTION_FOR] = {.name = "for", .value = "DURATION", .help = "at most the rule's max"},
	[OPTION_REASON] = {.name = "reason", .value = "TEXT", .help = "why, for history"},
};

static int take_all(struct cli *c, const struct verb *v, const struct args *a, json_t *args)
{
	int r;

	if (a->values[OPTION_FROM] == NULL || a->values[OPTION_TO] == NULL ||
	    a->values[OPTION_FOR] == NULL)
		return cli_usage(c, v,
				 "--from, --to and --for are required: one pair of identities, "
				 "for a while");
	r = cli_take_text(c, v, a, OPTION_FROM, args, "from");
	if (r == 0)
		r = cli_take_text(c, v, a, OPTION_TO, args, "to");
	if (r == 0)
		r = cli_take_duration(c, v, a, OPTION_FOR, args, "for_s");
	if (r == 0)
		r = cli_take_reason(c, v, a, OPTION_REASON, true, args);
	return r;
}

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	json_t *args = json_pack("{s:s}", "rule", a->words[0]);
	int r;

	if (args == NULL)
		return cli_usage(c, v, "rule: not valid UTF-8");
	r = take_all(c, v, a, args);
	if (r == 0)
		return cli_ask(c, v, args, false);
	json_decref(args);
	return r;
}

const struct verb verb_grant = {
	.name = "grant",
	.words = "RULE --from IDENTITY --to IDENTITY --for DURATION --reason TEXT",
	.summary = "open a grantable rule for one pair and a while",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_min = 1,
	.words_max = 1,
	.run = run,
	.render = render_grant,
};
