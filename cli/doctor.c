/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/mem.h"

#include <string.h>

#define STATE_WIDTH    6
#define NAME_WIDTH_MAX 24

static unsigned name_width(const json_t *checks)
{
	size_t widest = 0;

	for (size_t i = 0; i < json_array_size(checks); i++) {
		const char *name = field_text_or(json_array_get(checks, i), "name", "-");
		size_t width = width_of(name, strlen(name));

		if (width > widest && width <= NAME_WIDTH_MAX)
			widest = width;
	}
	return (unsigned)widest;
}

static void render_doctor(const json_t *result, const struct screen *s, struct buf *b)
{
	const json_t *checks = field(result, "checks");
	const struct pairs p = {b, STATE_WIDTH + name_width(checks) + 2};
	int64_t bad = 0;

	(void)s;
	for (size_t i = 0; i < json_array_size(checks); i++) {
		const json_t *check = json_array_get(checks, i);
		bool ok = field_true(check, "ok");
		CLEANUP(freep)
		char *key = mem_printf("%-*s%s", STATE_WIDTH, ok ? "ok" : "NO",
				       field_text_or(check, "name", "-"));

		bad += !ok;
		pairs_put(&p, key != NULL ? key : "-", "%s", field_text_or(check, "detail", "-"));
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
