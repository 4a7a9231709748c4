/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

static void render_doctor(const json_t *result, const struct screen *s, struct buf *b)
{
	const json_t *checks = field(result, "checks");
	const struct pairs p = checks_pairs(checks, b);
	int64_t bad = 0;

	(void)s;
	for (size_t i = 0; i < json_array_size(checks); i++) {
		const json_t *check = json_array_get(checks, i);
		bool ok = field_true(check, "ok");

		bad += !ok;
		check_put(&p, ok ? "ok" : "NO", check);
		if (!ok)
			pairs_put(&p, "", "so: %s", field_text_or(check, "consequence", "-"));
	}
	put_count(b, (int64_t)json_array_size(checks), "check");
	buf_printf(b, ", %lld failed.\n", (long long)bad);
}

const struct verb verb_doctor = {
	.name = "doctor",
	.words = "",
	.summary = "what this kernel can, what is lost, who else meddles",
	.run = cli_run_plain,
	.render = render_doctor,
};
