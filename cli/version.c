/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/mem.h"
#include "base/release.h"

#define KEY_WIDTH 9

static void render_version(const json_t *result, const struct screen *s, struct buf *b)
{
	const json_t *features = field(result, "features"), *value;
	const struct pairs p = {b, KEY_WIDTH};
	CLEANUP(buf_done) struct buf text = {0};
	const char *name;

	(void)s;
	pairs_put(&p, "command", "%s", field_text_or(result, "release", "?"));
	pairs_put(&p, "agent", "%s", field_text_or(result, "agent", "not running here"));
	buf_init(&text, SCREEN_TEXT_MAX);
	json_object_foreach((json_t *)(uintptr_t)features, name, value)
		buf_printf(&text, "%s%s%s", text.len > 0 ? ", " : "",
			   json_is_true(value) ? "" : "no ", name);
	pairs_put(&p, "features", "%s", text.r == 0 ? text.data : "");
}

/* Works without an agent: which command is installed must not depend on one. */
static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	CLEANUP(reply_done) struct reply reply = {0};
	CLEANUP(closep) int fd = -1;
	json_t *result, *features;
	int r;

	(void)a;
	if (client_connect(c->run_dir, &fd, NULL) == 0)
		(void)client_exchange(fd, v->name, NULL, &reply, NULL);
	features = json_object_get(reply.result, "features");
	result = json_pack("{s:i, s:s, s:s?, s:o}", "version", 1, "release", RELEASE, "agent",
			   field_text(reply.result, "release"), "features",
			   features != NULL ? json_incref(features) : json_object());
	r = result != NULL ? cli_print(c, v, result, false, CLI_OK)
			   : cli_fail(c, v, CLI_FAILED, "out of memory");
	json_decref(result);
	return r;
}

const struct verb verb_version = {
	.name = "version",
	.words = "",
	.summary = "release of command and agent, features of this node",
	.run = run,
	.render = render_version,
};
