/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/revoke.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/flows.h"
#include "rules/numbers.h"
#include "rules/policy.h"

static void render_revoke(const json_t *result, const struct screen *s, struct buf *b)
{
	const json_t *conduits = field(result, "conduits");
	const char *until = field_text(result, "until");

	(void)s;
	cut_render(result, b);
	buf_puts(b, "; ");
	if (conduits != NULL) {
		put_count(b, (int64_t)json_array_size(conduits), "conduit");
		buf_putc(b, ' ');
	}
	buf_printf(b, "closed %s%s.\n", until != NULL ? "until " : "for good",
		   until != NULL ? until : "");
}

enum { OPTION_FOR, OPTION_REASON };
static const struct option_spec options[] = {
	[OPTION_FOR] = {.name = "for", .value = "DURATION", .help = "open again after that"},
	[OPTION_REASON] = {.name = "reason", .value = "TEXT", .help = "why, for history"},
};
static const char *const kinds[] = {"rule", "identity", "label", "conduit"};

static int check_name(struct cli *c, const struct verb *v, const char *kind, const char *name)
{
	char quoted[LOG_QUOTE_MAX];
	struct err err = {0};
	uint32_t number;

	if (str_eq(kind, "conduit") && text_u32(name, 1, UINT32_MAX, &number) < 0)
		return cli_usage(c, v,
				 "conduit '%s': a number of 'bailiwick conduits' would be right",
				 log_quote(quoted, name));
	if (str_eq(kind, "label") && !expression_check(name, &err))
		return cli_usage(c, v, "label '%s': %s; vendor=x would be right",
				 log_quote(quoted, name), err.text);
	return 0;
}

json_t *revoke_args(struct cli *c, const struct verb *v, const struct args *a, size_t reason,
		    int *ret_exit)
{
	const char *kind = a->words[0];
	char quoted[LOG_QUOTE_MAX];
	json_t *args;
	size_t i = 0;

	while (i < ARRAY_LEN(kinds) && !str_eq(kinds[i], kind))
		i++;
	if (i == ARRAY_LEN(kinds)) {
		*ret_exit = cli_usage(c, v,
				      "cannot %s a '%s'; rule, identity, label or conduit would "
				      "be right",
				      v->name, log_quote(quoted, kind));
		return NULL;
	}
	*ret_exit = check_name(c, v, kind, a->words[1]);
	if (*ret_exit != 0)
		return NULL;
	args = json_pack("{s:s, s:s}", "kind", kind, "name", a->words[1]);
	if (args == NULL) {
		*ret_exit = cli_usage(c, v, "name: not valid UTF-8");
		return NULL;
	}
	*ret_exit = cli_take_reason(c, v, a, reason, true, args);
	if (*ret_exit == 0)
		return args;
	json_decref(args);
	return NULL;
}

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	int r;
	json_t *args = revoke_args(c, v, a, OPTION_REASON, &r);

	if (args == NULL)
		return r;
	r = cli_take_duration(c, v, a, OPTION_FOR, args, "for_s");
	if (r == 0)
		return cli_ask(c, v, args, false);
	json_decref(args);
	return r;
}

const struct verb verb_revoke = {
	.name = "revoke",
	.words = "rule|identity|label|conduit NAME [--for DURATION] --reason TEXT",
	.summary = "close conduits now and cut their flows at the next packet",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_min = 2,
	.words_max = 2,
	.run = run,
	.render = render_revoke,
};
