/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/mem.h"
#include "cli/flows.h"
#include "cli/revoke.h"

static void render_release(const json_t *result, const struct screen *s, struct buf *b)
{
	const char *note = field_text(result, "note");

	(void)s;
	if (field_count(result, "cut") > 0) {
		cut_render(result, b);
		buf_puts(b, "; ");
	}
	if (note == NULL) {
		buf_puts(b, "released: policy decides again.\n");
		return;
	}
	buf_puts(b, "released here; ");
	put_clean(b, note);
	buf_puts(b, ".\n");
}

enum { OPTION_REASON };
static const struct option_spec options[] = {
	[OPTION_REASON] = {.name = "reason", .value = "TEXT", .help = "why, for history"},
};

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	int r;
	json_t *args = revoke_args(c, v, a, OPTION_REASON, &r);

	return args != NULL ? cli_ask(c, v, args, false) : r;
}

const struct verb verb_release = {
	.name = "release",
	.words = "rule|identity|label|conduit NAME --reason TEXT",
	.summary = "end a quarantine or a revocation",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_min = 2,
	.words_max = 2,
	.run = run,
	.render = render_release,
};
