/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * quarantine, release, revoke, grant: what every agent concerned does at once. Quarantine and
 * revoke wait a moment for the agents' reports, so that what was cut stands on the screen as
 * evidence.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/api.h"
#include "controller/command.h"
#include "controller/command_tables.h"

#include <string.h>
#include <time.h>

/* Agents report within a fraction of a second; what comes later is in `status`. */
#define EVIDENCE_WAIT_MS 750
#define EVIDENCE_STEP_MS 50
#define NS_PER_MS        1000000
#define MS_PER_S         1000
#define WAITING_SHOWN    5

/* ---- evidence ---- */

static void pause_ms(long ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_PER_MS};

	(void)nanosleep(&t, NULL);
}

/*
 * Names of the nodes that got a new head since and have not taken it: sequences are times in
 * milliseconds, or more. NULL when it cannot be known.
 */
static json_t *waiting_nodes(struct api *api, struct wall since)
{
	json_t *list, *waiting = json_array(), *node;
	struct err err;
	size_t i;

	if (api_get(api, "/v1/operator/nodes", &list, &err) < 0) {
		json_decref(waiting);
		return NULL;
	}
	json_array_foreach(json_object_get(list, "nodes"), i, node) {
		if (str_eq(field_text(node, "state"), "active") && !field_true(node, "current") &&
		    field_int(node, "head", 0) >= since.s * MS_PER_S)
			(void)json_array_append_new(waiting,
						    json_string(field_text_or(node, "node", "?")));
	}
	json_decref(list);
	return waiting;
}

/* Asking thousands of nodes' states often would cost more than it tells. */
static void wait_for_nodes(struct api *api, json_t *result, int64_t wait_ms)
{
	struct mono begin = mono_now();
	struct wall since = {0};
	json_t *waiting;
	int64_t step = EVIDENCE_STEP_MS;

	(void)rfc3339_parse(field_text_or(result, "at", ""), &since);
	waiting = waiting_nodes(api, since);
	if (mono_ms_since(begin, mono_now()) * 2 > step)
		step = mono_ms_since(begin, mono_now()) * 2;
	while (waiting != NULL && json_array_size(waiting) > 0 &&
	       mono_ms_since(begin, mono_now()) + step <= wait_ms) {
		pause_ms((long)step);
		json_decref(waiting);
		waiting = waiting_nodes(api, since);
	}
	if (waiting != NULL)
		(void)json_object_set_new(result, "waiting", waiting);
}

static void add_evidence(struct api *api, json_t *result, int64_t wait_ms)
{
	CLEANUP(freep)
	char *path =
		mem_printf("/v1/operator/evidence/%lld", (long long)field_int(result, "action", 0));
	json_t *evidence;
	struct err err;

	wait_for_nodes(api, result, wait_ms);
	if (path == NULL || api_get(api, path, &evidence, &err) < 0)
		return;
	(void)json_object_set(result, "cut", json_object_get(evidence, "cut"));
	json_decref(evidence);
}

static int act(struct console *c, const struct command *v, const char *path, json_t *take_body,
	       int64_t wait_ms)
{
	CLEANUP(api_freep) struct api *api = NULL;
	struct err err = {{0}};
	json_t *result = NULL;
	int r = api_open(c, &api, &err);

	if (r >= 0)
		r = api_post(api, path, take_body, &result, &err);
	json_decref(take_body);
	if (r < 0)
		return command_refused(c, v, api, &err);
	if (wait_ms > 0)
		add_evidence(api, result, wait_ms);
	return command_print(c, v, result);
}

static void put_nodes(const json_t *result, struct buf *b)
{
	put_count(b, field_int(result, "nodes", 0), "node");
	buf_puts(b, field_int(result, "nodes", 0) == 1 ? " is told" : " are told");
}

static void put_evidence(const json_t *result, struct buf *b)
{
	const json_t *cut = field(result, "cut"), *waiting = field(result, "waiting");
	size_t count = json_array_size(waiting);

	cut_table(cut, b);
	put_count(b, (int64_t)json_array_size(cut), "flow");
	buf_puts(b, " cut so far.\n");
	if (count == 0)
		return;
	put_count(b, (int64_t)count, "node");
	buf_puts(b, count == 1 ? " has not answered yet: " : " have not answered yet: ");
	for (size_t i = 0; i < count && i < WAITING_SHOWN; i++) {
		const char *name = json_string_value(json_array_get(waiting, i));

		buf_puts(b, i > 0 ? ", " : "");
		put_clean(b, name != NULL ? name : "?");
	}
	buf_puts(b, count > WAITING_SHOWN ? ", ...\n" : "\n");
	buf_puts(b, "What comes later is in 'bailiwick-controller status'.\n");
}

static void put_until(const json_t *result, const struct screen *s, struct buf *b)
{
	char text[DURATION_TEXT_MAX];
	int64_t left;

	if (field_seconds_until(result, "until", s->now, &left))
		buf_printf(b, " for %s", duration_format(text, left));
}

/* ---- quarantine, release ---- */

enum { QUARANTINE_KEEP, QUARANTINE_REASON, QUARANTINE_WAIT };
static const struct option_spec quarantine_options[] = {
	[QUARANTINE_KEEP] = {.name = "keep",
			     .value = "NETWORK",
			     .help = "a network of the policy that stays reachable (forensics)"},
	[QUARANTINE_REASON] = {.name = "reason", .value = "TEXT", .help = "why, for the record"},
	[QUARANTINE_WAIT] = {.name = "wait",
			     .value = "DURATION",
			     .help = "for agents' reports; under a second unless said"},
};

static void render_quarantine(const json_t *result, const struct screen *s, struct buf *b)
{
	const char *keep = field_text(result, "keep");

	(void)s;
	put_clean(b, field_text_or(result, "target", "?"));
	buf_puts(b, " is in quarantine until released; ");
	put_nodes(result, b);
	if (keep != NULL) {
		buf_puts(b, ".\nNetwork ");
		put_clean(b, keep);
		buf_puts(b, " stays reachable");
	}
	buf_puts(b, ".\n");
	put_evidence(result, b);
}

/* "identity PATH", as the host's own verb has it, is fine too. */
static const char *identity_word(const struct args *a)
{
	return a->word_count == 2 && str_eq(a->words[0], "identity") ? a->words[1]
	       : a->word_count == 1                                  ? a->words[0]
								     : NULL;
}

/* Sends it, then waits for the hosts' evidence as long as the option says. */
static int act_and_wait(struct console *c, const struct command *v, const struct args *a,
			size_t wait_option, const char *path, json_t *take_body)
{
	json_t *wait = json_object();
	int64_t seconds;
	int r = command_duration(c, v, a, wait_option, wait, "s", false);

	seconds = field_int(wait, "s", 0);
	json_decref(wait);
	if (r == 0)
		return act(c, v, path, take_body, seconds > 0 ? seconds * 1000 : EVIDENCE_WAIT_MS);
	json_decref(take_body);
	return r;
}

static int run_quarantine(struct console *c, const struct command *v, const struct args *a)
{
	const char *identity = identity_word(a);
	json_t *body;
	int r;

	if (identity == NULL)
		return command_usage(c, v, "one identity would be right");
	body = json_pack("{s:s}", "identity", identity);
	if (body == NULL)
		return command_usage(c, v, "identity: not valid UTF-8");
	r = command_text(c, v, a, QUARANTINE_KEEP, body, "keep", false);
	if (r == 0)
		r = command_text(c, v, a, QUARANTINE_REASON, body, "reason", true);
	if (r == 0)
		return act_and_wait(c, v, a, QUARANTINE_WAIT, "/v1/operator/quarantine", body);
	json_decref(body);
	return r;
}

const struct command command_quarantine = {
	.name = "quarantine",
	.words = "IDENTITY [--keep NETWORK] --reason TEXT [--wait DURATION]",
	.summary = "cut one identity off on every host; lists the flows that were cut",
	.options = quarantine_options,
	.option_count = ARRAY_LEN(quarantine_options),
	.words_min = 1,
	.words_max = 2,
	.run = run_quarantine,
	.render = render_quarantine,
};

enum { RELEASE_REASON };
static const struct option_spec release_options[] = {
	[RELEASE_REASON] = {.name = "reason", .value = "TEXT", .help = "why, for the record"},
};

static void render_release(const json_t *result, const struct screen *s, struct buf *b)
{
	json_t *ended;
	size_t i;

	(void)s;
	json_array_foreach(field(result, "released"), i, ended) {
		const char *kind = field_text_or(ended, "kind", "?");
		bool revoked = str_starts(kind, "revoke-");

		buf_puts(b, revoked ? "revocation of " : "");
		put_clean(b, revoked ? kind + strlen("revoke-") : kind);
		buf_puts(b, revoked ? " " : " of ");
		put_clean(b, field_text_or(ended, "target", "?"));
		buf_puts(b, " is over.\n");
	}
	put_nodes(result, b);
	buf_puts(b, ".\n");
}

/* The controller finds what is in force by its name; the kind may stand before it, as for revoke.
 */
static const char *released_word(const struct args *a)
{
	bool kind =
		a->word_count == 2 && (str_eq(a->words[0], "rule") || str_eq(a->words[0], "label"));

	return kind ? a->words[1] : identity_word(a);
}

static int run_release(struct console *c, const struct command *v, const struct args *a)
{
	const char *identity = released_word(a);
	json_t *body;
	int r;

	if (identity == NULL)
		return command_usage(c, v, "one identity, rule or label would be right");
	body = json_pack("{s:s}", "identity", identity);
	if (body == NULL)
		return command_usage(c, v, "identity: not valid UTF-8");
	r = command_text(c, v, a, RELEASE_REASON, body, "reason", true);
	if (r == 0)
		return act(c, v, "/v1/operator/release", body, 0);
	json_decref(body);
	return r;
}

const struct command command_release = {
	.name = "release",
	.words = "IDENTITY|RULE|LABEL --reason TEXT",
	.summary = "end a quarantine or a revocation",
	.options = release_options,
	.option_count = ARRAY_LEN(release_options),
	.words_min = 1,
	.words_max = 2,
	.run = run_release,
	.render = render_release,
};

/* ---- revoke ---- */

enum { REVOKE_FOR, REVOKE_REASON, REVOKE_WAIT };
static const struct option_spec revoke_options[] = {
	[REVOKE_FOR] = {.name = "for", .value = "DURATION", .help = "then it holds again"},
	[REVOKE_REASON] = {.name = "reason", .value = "TEXT", .help = "why, for the record"},
	[REVOKE_WAIT] = {.name = "wait",
			 .value = "DURATION",
			 .help = "for agents' reports; under a second unless said"},
};

static void render_revoke(const json_t *result, const struct screen *s, struct buf *b)
{
	put_clean(b, field_text_or(result, "target", "?"));
	buf_puts(b, " is revoked");
	put_until(result, s, b);
	buf_puts(b, "; ");
	put_nodes(result, b);
	buf_puts(b, ".\n");
	put_evidence(result, b);
}

static int run_revoke(struct console *c, const struct command *v, const struct args *a)
{
	json_t *body = json_pack("{s:s, s:s}", "kind", a->words[0], "name", a->words[1]);
	char quoted[LOG_QUOTE_MAX];
	int r = 0;

	if (body == NULL)
		return command_usage(c, v, "not valid UTF-8");
	if (!str_eq(a->words[0], "rule") && !str_eq(a->words[0], "identity") &&
	    !str_eq(a->words[0], "label"))
		r = command_usage(c, v, "'%s': rule, identity or label would be right",
				  log_quote(quoted, a->words[0]));
	if (r == 0)
		r = command_duration(c, v, a, REVOKE_FOR, body, "for_s", false);
	if (r == 0)
		r = command_text(c, v, a, REVOKE_REASON, body, "reason", true);
	if (r == 0)
		return act_and_wait(c, v, a, REVOKE_WAIT, "/v1/operator/revoke", body);
	json_decref(body);
	return r;
}

const struct command command_revoke = {
	.name = "revoke",
	.words = "rule|identity|label NAME [--for DURATION] --reason TEXT [--wait DURATION]",
	.summary = "take conversations away on every host, at once",
	.options = revoke_options,
	.option_count = ARRAY_LEN(revoke_options),
	.words_min = 2,
	.words_max = 2,
	.run = run_revoke,
	.render = render_revoke,
};

/* ---- grant ---- */

enum { GRANT_FROM, GRANT_TO, GRANT_FOR, GRANT_REASON };
static const struct option_spec grant_options[] = {
	[GRANT_FROM] = {.name = "from", .value = "IDENTITY", .help = "who may call"},
	[GRANT_TO] = {.name = "to", .value = "IDENTITY", .help = "whom"},
	[GRANT_FOR] = {.name = "for",
		       .value = "DURATION",
		       .help = "how long, at most the rule's max"},
	[GRANT_REASON] = {.name = "reason", .value = "TEXT", .help = "why, for the record"},
};

static void render_grant(const json_t *result, const struct screen *s, struct buf *b)
{
	put_clean(b, field_text_or(result, "from", "?"));
	buf_puts(b, " may call ");
	put_clean(b, field_text_or(result, "to", "?"));
	buf_puts(b, " by ");
	put_clean(b, field_text_or(result, "target", "?"));
	put_until(result, s, b);
	buf_puts(b, "; ");
	put_nodes(result, b);
	buf_puts(b, ".\n");
}

static int run_grant(struct console *c, const struct command *v, const struct args *a)
{
	json_t *body = json_pack("{s:s}", "rule", a->words[0]);
	int r;

	if (body == NULL)
		return command_usage(c, v, "rule: not valid UTF-8");
	r = command_text(c, v, a, GRANT_FROM, body, "from", true);
	if (r == 0)
		r = command_text(c, v, a, GRANT_TO, body, "to", true);
	if (r == 0)
		r = command_duration(c, v, a, GRANT_FOR, body, "for_s", true);
	if (r == 0)
		r = command_text(c, v, a, GRANT_REASON, body, "reason", true);
	if (r == 0)
		return act(c, v, "/v1/operator/grant", body, 0);
	json_decref(body);
	return r;
}

const struct command command_grant = {
	.name = "grant",
	.words = "RULE --from IDENTITY --to IDENTITY --for DURATION --reason TEXT",
	.summary = "open a rule that signed policy marks grantable, for a while",
	.options = grant_options,
	.option_count = ARRAY_LEN(grant_options),
	.words_min = 1,
	.words_max = 1,
	.run = run_grant,
	.render = render_grant,
};
