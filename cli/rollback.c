/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

static void render_rollback(const json_t *result, const struct screen *s, struct buf *b)
{
	(void)s;
	buf_printf(b, "back at revision %lld.\n",
		   (long long)field_int(result, "generation.confirmed", 0));
}

const struct verb verb_rollback = {
	.name = "rollback",
	.words = "",
	.summary = "drop the policy that is on trial at once",
	.run = cli_run_plain,
	.render = render_rollback,
};
