/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `attest ping`: every check that a held connection from a node would have to pass, one a line. */
#include "cli/cli.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <string.h>

/* A check that was not reached, because one before it failed, or not asked for has no `ok`. */
static const char *state_word(const json_t *check)
{
	const json_t *ok = field(check, "ok");

	return ok == NULL ? "-" : json_is_true(ok) ? "ok" : "NO";
}

static void put_checks(const json_t *checks, struct buf *b)
{
	const struct pairs p = checks_pairs(checks, b);

	for (size_t i = 0; i < json_array_size(checks); i++) {
		const json_t *check = json_array_get(checks, i);

		check_put(&p, state_word(check), check);
	}
}

static void render_attest(const json_t *result, const struct screen *s, struct buf *b)
{
	const json_t *checks = field(result, "checks");
	int64_t rtt = field_int(result, "rtt_us", 0);
	char took[MICROSECONDS_TEXT_MAX];
	int64_t bad = 0, other = 0;

	(void)s;
	put_checks(checks, b);
	for (size_t i = 0; i < json_array_size(checks); i++) {
		const json_t *ok = field(json_array_get(checks, i), "ok");

		bad += json_is_false(ok);
		other += ok == NULL;
	}
	put_count(b, (int64_t)json_array_size(checks), "check");
	buf_printf(b, ", %lld failed", (long long)bad);
	if (other > 0)
		buf_printf(b, ", %lld not made", (long long)other);
	if (rtt > 0)
		buf_printf(b, "; answered in %s", microseconds_format(took, rtt));
	buf_puts(b, ".\n");
}

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	char quoted[LOG_QUOTE_MAX];
	json_t *args;

	if (!str_eq(a->words[0], "ping"))
		return cli_usage(c, v,
				 "'%s' is nothing attest can do; 'attest ping NODE' would be "
				 "right",
				 log_quote(quoted, a->words[0]));
	if (a->word_count < 2)
		return cli_usage(c, v, "whom to ask is missing; 'attest ping NODE' would be right");
	args = json_pack("{s:s,s:s}", "action", "ping", "node", a->words[1]);
	if (args != NULL && a->word_count > 2 &&
	    json_object_set_new(args, "tuple", json_string(a->words[2])) < 0) {
		json_decref(args);
		args = NULL;
	}
	if (args == NULL)
		return cli_usage(c, v, "a name is not valid UTF-8");
	return cli_ask(c, v, args, false);
}

const struct verb verb_attest = {
	.name = "attest",
	.words = "ping PEER [TUPLE]",
	.summary = "whether another node's agent vouches, check by check",
	.words_min = 1,
	.words_max = 3,
	.run = run,
	.render = render_attest,
};
