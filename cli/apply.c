/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/mem.h"
#include "cli/plan.h"

#define DIGEST_SHOWN 8

static void render_apply(const json_t *result, const struct screen *s, struct buf *b)
{
	int64_t falls_back = field_int(result, "falls_back_in", -1);

	plan_render(result, s, b);
	buf_printf(b, "revision %lld  %.*s  is %s", (long long)field_int(result, "revision", 0),
		   DIGEST_SHOWN, field_text_or(result, "digest", ""),
		   falls_back >= 0 ? "on trial" : "in force");
	if (falls_back >= 0)
		buf_printf(b, "; falls back in %lld s unless: bailiwick confirm",
			   (long long)falls_back);
	buf_putc(b, '\n');
}

enum { OPTION_CONFIRM, OPTION_REASON, OPTION_OFFLINE, OPTION_TEXT };
static const struct option_spec options[] = {
	[OPTION_CONFIRM] = {.name = "confirm-within",
			    .value = "DURATION",
			    .help = "fall back by itself unless confirmed by then"},
	[OPTION_REASON] = {.name = "reason", .value = "TEXT", .help = "why, for history"},
	[OPTION_OFFLINE] = {.name = "offline",
			    .value = "ARCHIVE",
			    .help = "signed documents from a file; not in this release"},
	[OPTION_TEXT] = {.name = "text", .letter = 'v', .help = "the change as nft text, too"},
};

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	json_t *args, *files;
	int r;

	if (a->values[OPTION_OFFLINE] != NULL)
		return cli_fail(c, v, CLI_USAGE,
				"--offline needs signed documents, which are not in this release; "
				"'bailiwick apply DIR' takes a policy directory");
	if (a->word_count == 0)
		return cli_usage(c, v,
				 "the policy's directory is missing; " SITE_DIR_DEFAULT
				 " would be usual");
	args = json_object();
	r = cli_take_duration(c, v, a, OPTION_CONFIRM, args, "confirm_within_s");
	if (r == 0)
		r = cli_take_reason(c, v, a, OPTION_REASON, false, args);
	/* Long, and so made only for those who read it. */
	if (r == 0 && (c->json || a->values[OPTION_TEXT] != NULL))
		(void)json_object_set_new(args, "text", json_true());
	files = r == 0 ? plan_files(c, v, a->words[0], &r) : NULL;
	if (files != NULL && json_object_update(args, files) == 0)
		r = cli_ask(c, v, json_incref(args), a->values[OPTION_TEXT] != NULL);
	json_decref(files);
	json_decref(args);
	return r;
}

const struct verb verb_apply = {
	.name = "apply",
	.words = "DIR [--confirm-within DURATION] [--reason TEXT] [-v]",
	.summary = "check a policy, show the plan, put it in force",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_max = 1,
	.run = run,
	.render = render_apply,
};
