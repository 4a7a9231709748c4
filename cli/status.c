/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/mem.h"
#include "base/text.h"

#include <string.h>

#define KEY_WIDTH    15
#define DIGEST_SHOWN 8

/* Texts joined by a separator, which is left out before the first. */
struct joined {
	struct buf text;
	const char *separator;
};

static void join(struct joined *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void join(struct joined *j, const char *fmt, ...)
{
	va_list ap;

	if (j->text.len > 0)
		buf_puts(&j->text, j->separator);
	va_start(ap, fmt);
	buf_vprintf(&j->text, fmt, ap);
	va_end(ap);
}

static void join_begin(struct joined *j, const char *separator)
{
	j->separator = separator;
	buf_init(&j->text, SCREEN_TEXT_MAX);
}

static void join_end(struct joined *j, const struct pairs *p, const char *key)
{
	pairs_put(p, key, "%s", j->text.r == 0 ? j->text.data : "out of memory");
	buf_done(&j->text);
}

static void put_head(const json_t *s, const struct screen *screen, const struct pairs *p)
{
	char age[AGE_TEXT_MAX];
	struct joined j;
	int64_t left;

	join_begin(&j, ", ");
	join(&j, "%s", field_text_or(s, "mode", "?"));
	if (field_seconds_until(s, "mode_until", screen->now, &left))
		join(&j, "for another %s", age_format(age, left));
	join(&j, "%s", field_text_or(s, "state", "?"));
	if (field_text(s, "release") != NULL)
		join(&j, "agent %s", field_text(s, "release"));
	if (field(s, "uptime_s") != NULL)
		join(&j, "up %s", age_format(age, field_int(s, "uptime_s", 0)));
	join_end(&j, p, field_text_or(s, "node", "?"));
}

static void put_policy(const json_t *s, const struct screen *screen, const struct pairs *p)
{
	const char *reason = field_text_or(s, "applied.reason", NULL);
	const char *who = field_text_or(s, "applied.who", NULL);
	char age[AGE_TEXT_MAX];
	struct joined j;
	int64_t since;

	join_begin(&j, "; ");
	if (field(s, "policy_revision") == NULL || field_int(s, "policy_revision", 0) == 0)
		join(&j, "none yet; bailiwick apply DIR");
	else if (field_seconds_until(s, "applied.when", screen->now, &since))
		join(&j, "revision %lld  %.*s  applied %s ago%s%s%s%s%s",
		     (long long)field_int(s, "policy_revision", 0), DIGEST_SHOWN,
		     field_text_or(s, "policy_digest", ""), age_format(age, -since),
		     who != NULL ? " by " : "", who != NULL ? who : "", reason != NULL ? " (" : "",
		     reason != NULL ? reason : "", reason != NULL ? ")" : "");
	else
		join(&j, "revision %lld  %.*s", (long long)field_int(s, "policy_revision", 0),
		     DIGEST_SHOWN, field_text_or(s, "policy_digest", ""));
	if (field_count(s, "drift") > 0)
		join(&j, "kernel DIFFERS from policy%s%s",
		     field_text(s, "drift") != NULL ? ": " : "", field_text_or(s, "drift", ""));
	else if (field_int(s, "policy_revision", 0) > 0)
		join(&j, "kernel = policy");
	if (field_true(s, "pending"))
		join(&j, "edits in the site directory are not applied (bailiwick plan)");
	join_end(&j, p, "policy");
}

static void put_generation(const json_t *s, const struct pairs *p)
{
	if (field(s, "generation.candidate") == NULL)
		return;
	pairs_put(p, "candidate",
		  "revision %lld is on trial; back to %lld in %lld s unless: bailiwick confirm",
		  (long long)field_int(s, "generation.candidate", 0),
		  (long long)field_int(s, "generation.confirmed", 0),
		  (long long)field_int(s, "generation.falls_back_in", 0));
}

static void put_mapping(const json_t *s, const struct screen *screen, const struct pairs *p)
{
	char age[AGE_TEXT_MAX];
	struct joined j;
	int64_t since;

	join_begin(&j, ", ");
	if (field_int(s, "view_sequence", 0) == 0 && field(s, "view_age_s") == NULL)
		join(&j, "none: view.json is missing, so no identity is placed anywhere");
	else
		join(&j, "sequence %lld", (long long)field_int(s, "view_sequence", 0));
	if (field(s, "view_age_s") != NULL)
		join(&j, "read %s ago", age_format(age, field_int(s, "view_age_s", 0)));
	if (field_true(s, "controller.connected"))
		join(&j, "controller connected");
	else if (field_seconds_until(s, "controller.last_contact", screen->now, &since))
		join(&j, "last contact with the controller %s ago", age_format(age, -since));
	else
		join(&j, "no controller");
	join_end(&j, p, "mapping");
}

static void put_conduits(const json_t *s, const struct screen *screen, const struct pairs *p)
{
	char count[COUNT_TEXT_MAX], age[AGE_TEXT_MAX];
	int64_t in_s = field_int(s, "leases_next.in_s", -1);
	struct joined j;

	join_begin(&j, ", ");
	if (field_int(s, "attested", 0) > 0)
		join(&j, "%s attested", count_format(count, field_int(s, "attested", 0)));
	if (field_int(s, "leased", 0) > 0)
		join(&j, "%s leased", count_format(count, field_int(s, "leased", 0)));
	if (in_s < 0 && !field_seconds_until(s, "leases_next_end", screen->now, &in_s))
		in_s = -1;
	if (in_s >= 0) {
		const char *which = field_text(s, "leases_next.conduit");

		buf_printf(&j.text, "%s(next ends in %s%s%s)", j.text.len > 0 ? " " : "",
			   age_format(age, in_s), which != NULL ? ": " : "",
			   which != NULL ? which : "");
	}
	pairs_put(p, "conduits", "%s%s%s", count_format(count, field_count(s, "conduits")),
		  j.text.len > 0 ? ": " : "", j.text.data);
	buf_done(&j.text);
}

static void put_traffic(const json_t *s, const struct pairs *p)
{
	char allowed[COUNT_TEXT_MAX], denied[COUNT_TEXT_MAX], would[COUNT_TEXT_MAX];
	char held[COUNT_TEXT_MAX], max[COUNT_TEXT_MAX], out[COUNT_TEXT_MAX], drops[COUNT_TEXT_MAX];
	int64_t used = field_int(s, "conntrack.used", -1), limit = field_int(s, "conntrack.max", 0);

	pairs_put(p, "last minute", "%s flows allowed, %s denied, %s would be denied",
		  count_format(allowed, field_int(s, "allowed_per_minute", 0)),
		  count_format(denied, field_int(s, "denied_per_minute", 0)),
		  count_format(would, field_int(s, "would_deny_per_minute", 0)));
	if (field(s, "queue") != NULL)
		pairs_put(p, "questions", "%s of %s held, %s timed out, %s lost",
			  count_format(held, field_int(s, "queue.held", 0)),
			  count_format(max, field_int(s, "queue.max", 0)),
			  count_format(out, field_int(s, "queue.timeouts", 0)),
			  count_format(drops, field_int(s, "queue.drops", 0)));
	if (used >= 0 && limit > 0)
		pairs_put(p, "conntrack", "%s of %s entries%s", count_format(held, used),
			  count_format(max, limit),
			  used >= limit - limit / 5
				  ? "; nearly full: when full, the kernel refuses every new flow"
				  : "");
}

static void put_not_enforced(const json_t *s, const struct pairs *p)
{
	int64_t unclaimed = field_int(s, "unclaimed_flows", 0);
	const char *mode = field_text_or(s, "mode", "");
	char count[COUNT_TEXT_MAX];
	struct joined j;

	join_begin(&j, "; ");
	if (str_eq(mode, "observe"))
		join(&j, "everything: mode observe records and denies nothing");
	if (unclaimed > 0)
		join(&j, "unclaimed processes: %s flow%s (see bailiwick inventory)",
		     count_format(count, unclaimed), unclaimed == 1 ? "" : "s");
	if (!str_eq(field_text_or(s, "forwarded", ""), "enforced"))
		join(&j, "forwarded: not enforced");
	join_end(&j, p, "NOT enforced");
}

static void put_kernel(const json_t *s, const struct pairs *p)
{
	const json_t *features = field(s, "features"), *value;
	struct joined j, missing;
	const char *name;

	join_begin(&j, ", ");
	join_begin(&missing, ", ");
	if (field(s, "table") != NULL)
		join(&j, "table %s%s%s", field_text_or(s, "table.name", "bailiwick"),
		     field_true(s, "table.owned") ? " owned" : " not owned (watched and repaired)",
		     field_true(s, "table.persistent") ? " and persistent" : "");
	json_object_foreach((json_t *)(uintptr_t)features, name, value) {
		if (json_is_true(value))
			join(&j, "%s", name);
		else
			join(&missing, "%s", name);
	}
	if (missing.text.len > 0)
		buf_printf(&j.text, "; missing: %s", missing.text.data);
	join_end(&j, p, "kernel");
	buf_done(&missing.text);
}

static void put_texts(const json_t *s, const char *path, const char *key, const struct pairs *p)
{
	const json_t *texts = field(s, path);

	for (size_t i = 0; i < json_array_size(texts); i++) {
		const char *text = json_string_value(json_array_get(texts, i));

		pairs_put(p, i == 0 ? key : "", "%s", text != NULL ? text : "?");
	}
}

static void render_status(const json_t *s, const struct screen *screen, struct buf *b)
{
	const struct pairs p = {b, KEY_WIDTH};

	put_head(s, screen, &p);
	put_texts(s, "problems", "PROBLEM", &p);
	put_policy(s, screen, &p);
	put_generation(s, &p);
	put_mapping(s, screen, &p);
	put_texts(s, "view_errors", "view REFUSED", &p);
	put_conduits(s, screen, &p);
	put_traffic(s, &p);
	put_not_enforced(s, &p);
	put_kernel(s, &p);
	pairs_put(&p, "clock", "%s",
		  field_true(s, "clock_trusted")
			  ? "trusted"
			  : "NOT trusted: windows follow each rule's on_clock_loss");
}

const struct verb verb_status = {
	.name = "status",
	.words = "",
	.summary = "mode, policy, mapping, what is enforced and what is not",
	.run = cli_run_plain,
	.render = render_status,
};
