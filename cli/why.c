/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/why_offline.h"
#include "rules/service.h"
#include "rules/verdict_text.h"

#include <string.h>

#define KEY_WIDTH 11

static void put_decision(const json_t *r, const struct pairs *p)
{
	const char *decision = field_text_or(r, "decision", "?");
	char from[PARTY_TEXT_MAX], to[PARTY_TEXT_MAX];

	pairs_put(p, str_eq(decision, "would_deny") ? "would deny" : decision, "%s  ->  %s, %s",
		  party_format_with(from, field(r, "from"), " at "),
		  party_format_with(to, field(r, "to"), " at "), field_text_or(r, "service", "-"));
}

static void put_because(const json_t *r, const struct pairs *p)
{
	const char *because = field_text(r, "because"), *reason = field_text_or(r, "reason", "?");
	enum reason known;

	if (because != NULL)
		pairs_put(p, "because", "%s", because);
	else if (reason_parse(reason, &known) == 0)
		pairs_put(p, "because", "%s (%s)", reason_meaning(known), reason);
	else
		pairs_put(p, "because", "%s", reason);
}

static void put_rule(const json_t *r, const struct screen *s, const struct pairs *p)
{
	const char *rule = field_text(r, "rule"), *at = field_text_or(r, "position", "");
	int64_t conduit = field_int(r, "conduit", 0), left;
	char age[AGE_TEXT_MAX];

	if (rule != NULL)
		pairs_put(p, "rule", "%s  %s", rule, at);
	if (conduit > 0)
		pairs_put(p, "conduit", "%lld, assurance %s", (long long)conduit,
			  field_text_or(r, "assurance", "none"));
	if (field_seconds_until(r, "lease_ends", s->now, &left) && left > 0)
		pairs_put(p, "ends", "in %s", age_format(age, left));
}

static void put_list(const json_t *list, struct buf *b)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));

		buf_printf(b, "%s%s", i > 0 ? ", " : "", text != NULL ? text : "?");
	}
}

/* "NAME  payments.yaml:31  from: [settlement]  <- fails: caller is backup" */
static void put_nearest(const json_t *r, const struct pairs *p)
{
	const char *rule = field_text(r, "nearest.rule"),
		   *fails = field_text(r, "nearest.fails_on");
	const json_t *from = field(r, "nearest.from");
	CLEANUP(buf_done) struct buf list = {0};

	if (rule == NULL)
		return;
	buf_init(&list, SCREEN_TEXT_MAX);
	put_list(from, &list);
	if (fails != NULL && str_starts(fails, "from: ") && list.len > 0)
		pairs_put(p, "nearest", "%s  %s  from: [%s]  <- fails: %s", rule,
			  field_text_or(r, "nearest.position", ""), list.data,
			  fails + strlen("from: "));
	else
		pairs_put(p, "nearest", "%s  %s  %s%s", rule,
			  field_text_or(r, "nearest.position", ""), fails != NULL ? "fails " : "",
			  fails != NULL ? fails : "");
}

/* Which check failed, on which host. */
static void put_failed(const json_t *r, const struct pairs *p)
{
	const char *check = field_text(r, "failed.check"), *where = field_text(r, "failed.node");

	if (check != NULL)
		pairs_put(p, "failed", "%s, %s%s: %s", check, where != NULL ? "on " : "here",
			  where != NULL ? where : "", field_text_or(r, "failed.detail", "-"));
}

static void put_digest(const json_t *e, const char *key, const char *word, struct buf *b)
{
	const char *digest = field_text(e, key);

	if (digest != NULL)
		buf_printf(b, ", %s %s", word, digest);
}

/* "pay-1 answered ok in 0.2 ms: spiffe://..., unit settlement.service (tuple, syn_sent)" */
static void put_answer(const json_t *e, struct buf *b)
{
	const char *status = field_text(e, "status"), *id = field_text(e, "spiffe_id");
	const char *unit = field_text(e, "unit"), *container = field_text(e, "container_id");
	int64_t rtt = field_int(e, "rtt_us", 0), held = field_int(e, "held_us", 0);
	char took[MICROSECONDS_TEXT_MAX];

	buf_puts(b, field_text_or(e, "node", "?"));
	if (status != NULL)
		buf_printf(b, " answered %s", status);
	else
		buf_puts(b, " gave no answer");
	if (status != NULL && rtt > 0)
		buf_printf(b, " in %s", microseconds_format(took, rtt));
	if (held > 0)
		buf_printf(b, ", held for %s", microseconds_format(took, held));
	if (id != NULL)
		buf_printf(b, ": %s", id);
	if (unit != NULL)
		buf_printf(b, ", unit %s", unit);
	if (container != NULL)
		buf_printf(b, ", container %s", container);
	put_digest(e, "exe_sha256", "sha256", b);
	put_digest(e, "fsverity", "fs-verity", b);
	if (field_text(e, "appraisal") != NULL)
		buf_printf(b, ", executable %s", field_text(e, "appraisal"));
}

/* Of a caller on this host that is not measured. */
static void put_executables(const json_t *r, const struct pairs *p)
{
	const json_t *list = field(r, "executables");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *e = json_array_get(list, i);

		pairs_put(p, i == 0 ? "runs" : "", "pid %lld: %s, sha256 %s",
			  (long long)field_int(e, "pid", 0), field_text_or(e, "exe", "?"),
			  field_text_or(e, "sha256", "not known"));
	}
}

static void put_evidence(const json_t *r, const struct pairs *p)
{
	const json_t *e = field(r, "evidence"), *match = field(e, "match");
	CLEANUP(buf_done) struct buf b = {0};

	if (field_text(e, "node") == NULL)
		return;
	buf_init(&b, SCREEN_TEXT_MAX);
	put_answer(e, &b);
	if (json_array_size(match) > 0) {
		buf_puts(&b, " (");
		put_list(match, &b);
		buf_puts(&b, ")");
	}
	pairs_put(p, "evidence", "%s", b.data);
}

static void put_seen(const json_t *r, const struct pairs *p)
{
	int64_t count = field_int(r, "seen.count", 0);
	const char *since = field_text(r, "seen.since"), *last = field_text(r, "seen.last");
	char text[COUNT_TEXT_MAX];

	if (count > 0)
		pairs_put(p, "seen", "%s flow%s%s%s%s%s", count_format(text, count),
			  count == 1 ? "" : "s", since != NULL ? " since " : "",
			  since != NULL ? since : "", last != NULL ? ", last " : "",
			  last != NULL ? last : "");
}

static void render_why(const json_t *r, const struct screen *s, struct buf *b)
{
	const struct pairs p = {b, KEY_WIDTH};
	const json_t *known = field(r, "known_by");
	CLEANUP(buf_done) struct buf list = {0};

	put_decision(r, &p);
	put_because(r, &p);
	put_failed(r, &p);
	put_evidence(r, &p);
	put_executables(r, &p);
	put_rule(r, s, &p);
	pairs_put(&p, "asks", "%s", field_text_or(r, "asks", ""));
	put_nearest(r, &p);
	buf_init(&list, SCREEN_TEXT_MAX);
	for (size_t i = 0; i < json_array_size(known); i++) {
		const char *text = json_string_value(json_array_get(known, i));

		buf_printf(&list, "%s%s", i > 0 ? "; " : "", text != NULL ? text : "?");
	}
	pairs_put(&p, "known by", "%s", list.data);
	if (!str_eq(field_text_or(r, "decision", ""), "allowed"))
		pairs_put(&p, "to allow", "%s",
			  field_text_or(r, "to_allow", field_text_or(r, "advice", "")));
	pairs_put(&p, "next", "%s", field_text_or(r, "next", ""));
	put_seen(r, &p);
}

enum { OPTION_LAST, OPTION_POLICY };
static const struct option_spec options[] = {
	[OPTION_LAST] = {.name = "last", .help = "the last denial on this node"},
	[OPTION_POLICY] = {.name = "policy",
			   .value = "DIR",
			   .help = "ask a policy (and its view.json) instead of the agent"},
};

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	bool last = a->values[OPTION_LAST] != NULL;
	char quoted[LOG_QUOTE_MAX];
	struct service service;
	json_t *args;

	if (last && (a->word_count > 0 || a->values[OPTION_POLICY] != NULL))
		return cli_usage(c, v, "--last stands alone");
	if (!last && a->word_count != 3)
		return cli_usage(c, v,
				 "three words are needed: who calls, whom, and the service, "
				 "like 'backup payments-api tcp/8443'; or --last");
	if (last)
		return cli_ask(c, v, json_pack("{s:b}", "last", 1), false);
	if (service_parse(a->words[2], &service) < 0)
		return cli_usage(c, v,
				 "'%s' is no service; tcp/8443, udp/53 or icmp/echo would be "
				 "right",
				 log_quote(quoted, a->words[2]));
	if (a->values[OPTION_POLICY] != NULL)
		return why_offline(c, v, a->values[OPTION_POLICY], a->words, &service);
	args = json_pack("{s:s, s:s, s:s}", "src", a->words[0], "dst", a->words[1], "service",
			 a->words[2]);
	if (args == NULL)
		return cli_usage(c, v, "a name is not valid UTF-8");
	return cli_ask(c, v, args, false);
}

const struct verb verb_why = {
	.name = "why",
	.words = "SRC DST SERVICE [--policy DIR] | why --last",
	.summary = "which rule decides a flow, or comes nearest, and what to change",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_max = 3,
	.run = run,
	.render = render_why,
};
