/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/flows.h"
#include "rules/verdict.h"

static const char *mode_meaning(const char *mode)
{
	if (str_eq(mode, "observe"))
		return "nothing is denied, what would be is recorded.\n";
	if (str_eq(mode, "selective"))
		return "denied where the local end is an identity; unclaimed processes pass.\n";
	return "everything that no rule permits is denied.\n";
}

static void render_mode(const json_t *result, const struct screen *s, struct buf *b)
{
	const char *mode = field_text_or(result, "mode", "?"), *until = field_text(result, "until");

	(void)s;
	if (field_count(result, "cut") > 0) {
		cut_render(result, b);
		buf_putc(b, '\n');
	}
	buf_printf(b, "mode %s", mode);
	if (until != NULL)
		buf_printf(b, " until %s, then back by itself", until);
	buf_printf(b, ":\n%s", mode_meaning(mode));
}

enum { OPTION_FOR, OPTION_FORCE, OPTION_REASON };
static const struct option_spec options[] = {
	[OPTION_FOR] = {.name = "for", .value = "DURATION", .help = "back by itself after that"},
	[OPTION_FORCE] = {.name = "force", .help = "even if something else writes conntrack marks"},
	[OPTION_REASON] = {.name = "reason", .value = "TEXT", .help = "why, for history"},
};

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	json_t *args;
	enum node_mode mode;
	char quoted[LOG_QUOTE_MAX];
	int r;

	if (mode_parse(a->words[0], &mode) < 0)
		return cli_usage(c, v, "no mode '%s'; observe, selective or enforce would be right",
				 log_quote(quoted, a->words[0]));
	args = json_pack("{s:s, s:b}", "mode", a->words[0], "force",
			 a->values[OPTION_FORCE] != NULL);
	r = cli_take_reason(c, v, a, OPTION_REASON, true, args);
	if (r == 0)
		r = cli_take_duration(c, v, a, OPTION_FOR, args, "for_s");
	if (r == 0)
		return cli_ask(c, v, args, false);
	json_decref(args);
	return r;
}

const struct verb verb_mode = {
	.name = "mode",
	.words = "observe|selective|enforce [--for DURATION] [--force] --reason TEXT",
	.summary = "switch what is denied on this node",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_min = 1,
	.words_max = 1,
	.run = run,
	.render = render_mode,
};
