/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

static void render_confirm(const json_t *result, const struct screen *s, struct buf *b)
{
	(void)s;
	buf_printf(b, "revision %lld is confirmed and stays.\n",
		   (long long)field_int(result, "generation.confirmed", 0));
}

const struct verb verb_confirm = {
	.name = "confirm",
	.words = "",
	.summary = "keep the policy that is on trial",
	.run = cli_run_plain,
	.render = render_confirm,
};
