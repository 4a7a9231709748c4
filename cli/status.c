/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/mem.h"
#include "base/text.h"

#include <string.h>

#define KEY_WIDTH     15
#define DIGEST_SHOWN  8
#define SHA256_SHOWN  12
#define OVERLAY_SHOWN 8
#define SKEW_SHOWN_S  30 /* a clock that is off by more than that is named */

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
		join(&j, "%s",
		     field(s, "documents") != NULL ? "none yet" : "none yet; bailiwick apply DIR");
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
	pairs_put(
		p, "candidate",
		field(s, "documents") != NULL
			? "revision %lld is on trial; back to %lld in %lld s unless its gates hold"
			: "revision %lld is on trial; back to %lld in %lld s unless: bailiwick "
			  "confirm",
		(long long)field_int(s, "generation.candidate", 0),
		(long long)field_int(s, "generation.confirmed", 0),
		(long long)field_int(s, "generation.falls_back_in", 0));
}

static void join_view(const json_t *s, struct joined *j)
{
	char age[AGE_TEXT_MAX];

	if (field_int(s, "view_sequence", 0) > 0 || field(s, "view_age_s") != NULL)
		join(j, "sequence %lld", (long long)field_int(s, "view_sequence", 0));
	else if (field(s, "documents") != NULL)
		join(j, "none yet, so no identity is placed anywhere");
	else
		join(j, "none: view.json is missing, so no identity is placed anywhere");
	if (field(s, "view_age_s") != NULL)
		buf_printf(&j->text, ", read %s ago",
			   age_format(age, field_int(s, "view_age_s", 0)));
}

static void join_controller(const json_t *s, const struct screen *screen, struct joined *j)
{
	const char *name = field_text(s, "controller.name");
	char age[AGE_TEXT_MAX];
	int64_t since;

	if (name == NULL) {
		join(j, "%s", field(s, "documents") != NULL ? "signed directory" : "no controller");
		return;
	}
	if (field_true(s, "controller.connected"))
		join(j, "controller %s connected", name);
	else if (field_seconds_until(s, "controller.last_contact", screen->now, &since))
		join(j, "controller %s not reached for %s", name, age_format(age, -since));
	else
		join(j, "controller %s not reached yet", name);
}

/* How long the newest head is good; after that the mapping is only what was true last. */
static void join_validity(const json_t *s, const struct screen *screen, struct joined *j)
{
	char age[AGE_TEXT_MAX];
	int64_t left;

	if (!field_seconds_until(s, "documents.expires", screen->now, &left))
		return;
	if (field_true(s, "documents.stale"))
		join(j, "STALE for %s: what was true then is enforced",
		     age_format(age, left < 0 ? -left : 0));
	else
		join(j, "valid %s more", age_format(age, left));
}

static void put_mapping(const json_t *s, const struct screen *screen, const struct pairs *p)
{
	struct joined j;

	join_begin(&j, "; ");
	join_view(s, &j);
	join_controller(s, screen, &j);
	join_validity(s, screen, &j);
	join_end(&j, p, "mapping");
}

/* Documents that were refused, by document and the attack's name. */
static void put_documents(const json_t *s, const struct pairs *p)
{
	const json_t *errors = field(s, "documents.errors");
	const char *key = "REFUSED";

	if (field_text(s, "documents.waits_for") != NULL)
		pairs_put(p, "waits for", "%s", field_text(s, "documents.waits_for"));
	if (field_text(s, "controller.error") != NULL && !field_true(s, "controller.connected"))
		pairs_put(p, "controller", "%s", field_text(s, "controller.error"));
	for (size_t i = 0; i < json_array_size(errors); i++) {
		const json_t *e = json_array_get(errors, i);

		/* Those are among view_errors, too. */
		if (str_eq(field_text_or(e, "code", "?"), "outside_bounds"))
			continue;
		pairs_put(p, key, "%s (%s): %s", field_text_or(e, "document", "?"),
			  field_text_or(e, "code", "?"), field_text_or(e, "text", ""));
		key = "";
	}
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

/* Held connections and the agents that answer for them. */
static void put_attestation(const json_t *s, const struct pairs *p)
{
	char held[COUNT_TEXT_MAX], max[COUNT_TEXT_MAX], count[COUNT_TEXT_MAX];
	char took[MICROSECONDS_TEXT_MAX];
	struct joined j;

	join_begin(&j, ", ");
	join(&j, "%s of %s held", count_format(held, field_int(s, "attestation.held", 0)),
	     count_format(max, field_int(s, "attestation.max", 0)));
	if (field_int(s, "attestation.p99_us", 0) > 0)
		join(&j, "p99 %s",
		     microseconds_format(took, field_int(s, "attestation.p99_us", 0)));
	join(&j, "%s timed out", count_format(count, field_int(s, "attestation.timed_out", 0)));
	if (field_int(s, "attestation.refused", 0) > 0)
		join(&j, "%s refused", count_format(count, field_int(s, "attestation.refused", 0)));
	if (field_int(s, "attestation.unavailable", 0) > 0)
		join(&j, "%s unavailable",
		     count_format(count, field_int(s, "attestation.unavailable", 0)));
	join(&j, "%s lost", count_format(count, field_int(s, "queue.drops", 0)));
	if (field_int(s, "attestation.peers_known", 0) > 0)
		buf_printf(&j.text, "; peers %lld of %lld connected",
			   (long long)field_int(s, "attestation.peers_connected", 0),
			   (long long)field_int(s, "attestation.peers_known", 0));
	else
		buf_puts(&j.text, "; no peers");
	join_end(&j, p, "attestation");
	pairs_put(p, "NOT LISTENING", "%s", field_text_or(s, "attestation.listen_error", ""));
}

/* The node's certificate: without it nobody is asked and nobody answered. */
static void put_svid(const json_t *s, const struct screen *screen, const struct pairs *p)
{
	const char *id = field_text(s, "svid.spiffe_id"), *error = field_text(s, "svid.error");
	char age[AGE_TEXT_MAX];
	int64_t left;

	if (field(s, "svid") == NULL)
		return;
	if (id == NULL)
		pairs_put(p, "NO CERTIFICATE", "this node can neither ask nor vouch%s%s",
			  error != NULL ? ": " : "", error != NULL ? error : "");
	else if (field_seconds_until(s, "svid.expires", screen->now, &left) && left <= 0)
		pairs_put(p, "certificate",
			  "%s EXPIRED %s ago: this node can neither ask nor vouch%s%s", id,
			  age_format(age, -left), error != NULL ? "; " : "",
			  error != NULL ? error : "");
	else
		pairs_put(p, "certificate", "%s, valid %s more%s%s", id, age_format(age, left),
			  error != NULL ? "; not renewed: " : "", error != NULL ? error : "");
}

/* Peers that are not as they should be; the others are in the JSON. */
static void put_peers(const json_t *s, const struct pairs *p)
{
	const json_t *peers = field(s, "peers");
	const char *key = "UNREACHABLE";
	char address[ENDPOINT_TEXT_MAX];

	for (size_t i = 0; i < json_array_size(peers); i++) {
		const json_t *peer = json_array_get(peers, i);
		const char *error = field_text_or(peer, "error", NULL);

		if (error == NULL || str_eq(field_text_or(peer, "state", ""), "connected"))
			continue;
		pairs_put(p, key, "%s at %s: %s", field_text_or(peer, "node", "?"),
			  endpoint_format(address, field_text_or(peer, "address", "?"),
					  field_int(peer, "port", 0)),
			  error);
		key = "";
	}
}

static bool is_skewed(const json_t *peer)
{
	int64_t skew = field_int(peer, "skew_s", 0);

	return skew > SKEW_SHOWN_S || skew < -SKEW_SHOWN_S;
}

/* Each node once: two may talk both ways. */
static void put_clocks(const json_t *s, const struct pairs *p)
{
	const json_t *peers = field(s, "peers");
	const char *key = "CLOCK";

	for (size_t i = 0; i < json_array_size(peers); i++) {
		const json_t *peer = json_array_get(peers, i);
		const char *node = field_text_or(peer, "node", "?");
		int64_t skew = field_int(peer, "skew_s", 0);
		bool told = !is_skewed(peer);

		for (size_t k = 0; k < i && !told; k++) {
			const json_t *other = json_array_get(peers, k);

			told = is_skewed(other) && str_eq(field_text_or(other, "node", ""), node);
		}
		if (told)
			continue;
		pairs_put(p, key, "%s is %lld s %s: certificates and windows go wrong", node,
			  (long long)(skew < 0 ? -skew : skew), skew < 0 ? "behind" : "ahead");
		key = "";
	}
}

/* Nobody there can ever vouch. */
static void put_no_agent(const json_t *s, const struct pairs *p)
{
	const json_t *nodes = field(s, "no_agent");
	struct joined j;

	if (json_array_size(nodes) == 0)
		return;
	join_begin(&j, ", ");
	for (size_t i = 0; i < json_array_size(nodes); i++) {
		const char *node = json_string_value(json_array_get(nodes, i));

		join(&j, "%s", node != NULL ? node : "?");
	}
	buf_printf(&j.text, ": the view names no agent there; attested rules go by their "
			    "on_unavailable");
	join_end(&j, p, "NO AGENT");
}

/* What runs here and is none of its identity's reference values (UC-18), or is gone from disk. */
static void put_evidence(const json_t *s, const struct pairs *p)
{
	static const char closes[] = "; its measured rules are closed";
	const json_t *list = field(s, "evidence");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *e = json_array_get(list, i);
		const char *sha256 = field_text(e, "sha256");

		/* Of no one process, but of the cgroup. */
		if (field_int(e, "pid", 0) == 0) {
			pairs_put(p, i == 0 ? "EXECUTABLE" : "", "%s: %s: %s%s",
				  field_text_or(e, "identity", "?"),
				  field_text_or(e, "cgroup", "?"), field_text_or(e, "problem", "?"),
				  field_true(e, "ends_measured") ? closes : "");
			continue;
		}
		pairs_put(p, i == 0 ? "EXECUTABLE" : "", "%s: pid %lld runs %s%s%.*s%s: %s%s",
			  field_text_or(e, "identity", "?"), (long long)field_int(e, "pid", 0),
			  field_text_or(e, "exe", "?"), sha256 != NULL ? " (sha256 " : "",
			  sha256 != NULL ? SHA256_SHOWN : 0, sha256 != NULL ? sha256 : "",
			  sha256 != NULL ? "...)" : "", field_text_or(e, "problem", "?"),
			  field_true(e, "ends_measured") ? closes : "");
	}
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
	if (field(s, "queue") != NULL && field(s, "attestation") == NULL)
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

/* What operators took away or opened for a while; the JSON has all of it. */
static void put_overlay(const json_t *s, const struct screen *screen, const struct pairs *p)
{
	const json_t *list = field(s, "overlay");
	const char *key = NULL, *last = "";
	char until[AGE_TEXT_MAX];
	int64_t left;

	for (size_t i = 0; i < json_array_size(list) && i < OVERLAY_SHOWN; i++) {
		const json_t *e = json_array_get(list, i);
		const char *kind = field_text_or(e, "kind", "?"), *reason = field_text(e, "reason");
		bool head = str_eq(field_text_or(e, "by", ""), "controller");

		key = str_eq(kind, "grant")        ? "granted"
		      : str_eq(kind, "quarantine") ? "QUARANTINED"
						   : "REVOKED";
		if (!field_seconds_until(e, "until", screen->now, &left))
			left = -1;
		pairs_put(p, str_eq(key, last) ? "" : key, "%s%s%s%s%s%s%s%s%s",
			  str_eq(key, "REVOKED") ? kind : "", str_eq(key, "REVOKED") ? " " : "",
			  field_text_or(e, "name", "?"), left >= 0 ? ", " : "",
			  left >= 0 ? age_format(until, left) : "", left >= 0 ? " more" : "",
			  reason != NULL ? ": " : "", reason != NULL ? reason : "",
			  head ? " (by the controller)" : "");
		last = key;
	}
	if (json_array_size(list) > OVERLAY_SHOWN)
		pairs_put(p, "", "and %zu more", json_array_size(list) - OVERLAY_SHOWN);
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
	put_documents(s, &p);
	put_texts(s, "view_errors", "view REFUSED", &p);
	put_conduits(s, screen, &p);
	put_overlay(s, screen, &p);
	put_traffic(s, &p);
	if (field(s, "attestation") != NULL)
		put_attestation(s, &p);
	put_svid(s, screen, &p);
	put_peers(s, &p);
	put_clocks(s, &p);
	put_no_agent(s, &p);
	put_evidence(s, &p);
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
