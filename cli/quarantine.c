/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/flows.h"

/* The request's arguments, or NULL with *ret_exit set and the error printed. */
static json_t *take_words(struct cli *c, const struct verb *v, const struct args *a, size_t reason,
			  int *ret_exit)
{
	char quoted[LOG_QUOTE_MAX];
	json_t *args;

	if (!str_eq(a->words[0], "identity")) {
		*ret_exit =
			cli_usage(c, v,
				  "cannot quarantine a '%s'; 'quarantine identity PATH' would be "
				  "right",
				  log_quote(quoted, a->words[0]));
		return NULL;
	}
	args = json_pack("{s:s}", "identity", a->words[1]);
	if (args == NULL) {
		*ret_exit = cli_usage(c, v, "identity: not valid UTF-8");
		return NULL;
	}
	*ret_exit = cli_take_reason(c, v, a, reason, true, args);
	if (*ret_exit == 0)
		return args;
	json_decref(args);
	return NULL;
}

static void render_quarantine(const json_t *result, const struct screen *s, struct buf *b)
{
	const char *keep = field_text(result, "keep");

	(void)s;
	cut_render(result, b);
	buf_puts(b, "; in quarantine until released");
	if (keep != NULL)
		buf_printf(b, ", except for network %s", keep);
	buf_puts(b, ".\n");
}

enum { OPTION_KEEP, OPTION_REASON };
static const struct option_spec options[] = {
	[OPTION_KEEP] = {.name = "keep",
			 .value = "NETWORK",
			 .help = "a network of the policy that stays reachable (forensics)"},
	[OPTION_REASON] = {.name = "reason", .value = "TEXT", .help = "why, for history"},
};

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	int r;
	json_t *args = take_words(c, v, a, OPTION_REASON, &r);

	if (args == NULL)
		return r;
	r = cli_take_text(c, v, a, OPTION_KEEP, args, "keep");
	if (r == 0)
		return cli_ask(c, v, args, false);
	json_decref(args);
	return r;
}

const struct verb verb_quarantine = {
	.name = "quarantine",
	.words = "identity PATH [--keep NETWORK] --reason TEXT",
	.summary = "cut one identity off from everything, essentials aside",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_min = 2,
	.words_max = 2,
	.run = run,
	.render = render_quarantine,
};
