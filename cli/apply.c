/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/mem.h"
#include "cli/archive.h"
#include "cli/plan.h"

#include <errno.h>

#define DIGEST_SHOWN    8
#define OFFLINE_REQUEST "apply_offline"

static void render_apply(const json_t *result, const struct screen *s, struct buf *b)
{
	int64_t falls_back = field_int(result, "falls_back_in", -1);
	bool offline = field(result, "head_sequence") != NULL;

	/* An agent before this release answers an archive without what it changes. */
	if (!offline || field(result, "adds") != NULL)
		plan_render(result, s, b);
	buf_printf(b, "revision %lld  %.*s  is %s", (long long)field_int(result, "revision", 0),
		   DIGEST_SHOWN, field_text_or(result, "digest", ""),
		   falls_back >= 0 ? "on trial" : "in force");
	if (falls_back >= 0 && offline)
		buf_printf(b, "; falls back in %lld s unless it holds until then",
			   (long long)falls_back);
	else if (falls_back >= 0)
		buf_printf(b, "; falls back in %lld s unless: bailiwick confirm",
			   (long long)falls_back);
	buf_putc(b, '\n');
	if (offline)
		buf_printf(b, "head sequence %lld, view sequence %lld\n",
			   (long long)field_int(result, "head_sequence", 0),
			   (long long)field_int(result, "view_sequence", 0));
}

enum { OPTION_CONFIRM, OPTION_REASON, OPTION_OFFLINE, OPTION_TEXT };
static const struct option_spec options[] = {
	[OPTION_CONFIRM] = {.name = "confirm-within",
			    .value = "DURATION",
			    .help = "fall back by itself unless confirmed by then"},
	[OPTION_REASON] = {.name = "reason", .value = "TEXT", .help = "why, for history"},
	[OPTION_OFFLINE] = {.name = "offline",
			    .value = "ARCHIVE",
			    .help = "signed documents: a tar or directory of v1/..."},
	[OPTION_TEXT] = {.name = "text", .letter = 'v', .help = "the change as nft text, too"},
};

/* The agent's own name decides what of an archive for a fleet is sent. */
static int take_archive(struct cli *c, const struct verb *v, const char *path, json_t **ret)
{
	CLEANUP(archive_documents_done) struct archive_documents docs = {0};
	CLEANUP(reply_done) struct reply status = {0};
	struct err err = {0};
	int r = archive_documents_read(path, &docs, &err);

	if (r < 0)
		return cli_fail(c, v, r == -EBADMSG ? CLI_DENIED : CLI_FAILED, "%s", err.text);
	r = cli_call_as(c, v, "status", NULL, &status);
	if (status.result == NULL)
		return r;
	r = archive_request(&docs, field_text(status.result, "node"), ret, &err);
	return r < 0 ? cli_fail(c, v, CLI_FAILED, "%s: %s", path, err.text) : CLI_OK;
}

static int run_offline(struct cli *c, const struct verb *v, const struct args *a)
{
	CLEANUP(reply_done) struct reply reply = {0};
	json_t *args = NULL;
	int r;

	if (a->word_count > 0)
		return cli_usage(c, v, "--offline stands instead of DIR, not beside it");
	if (a->values[OPTION_CONFIRM] != NULL)
		return cli_usage(c, v,
				 "--confirm-within: a signed policy is always on trial first, and "
				 "confirmed by the agent when it holds");
	r = take_archive(c, v, a->values[OPTION_OFFLINE], &args);
	if (r == CLI_OK)
		r = cli_take_reason(c, v, a, OPTION_REASON, false, args);
	if (r != CLI_OK) {
		json_decref(args);
		return r;
	}
	r = cli_call_as(c, v, OFFLINE_REQUEST, args, &reply);
	return reply.result != NULL ? cli_print(c, v, reply.result, false, reply.exit) : r;
}

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	json_t *args, *files;
	int r;

	if (a->values[OPTION_OFFLINE] != NULL)
		return run_offline(c, v, a);
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
	.words = "DIR|--offline ARCHIVE [--confirm-within DURATION] [--reason TEXT] [-v]",
	.summary = "check a policy, show the plan, put it in force",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_max = 1,
	.run = run,
	.render = render_apply,
};
