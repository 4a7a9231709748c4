/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/mem.h"
#include "base/text.h"
#include "cli/conduits.h"
#include "cli/explain.h"
#include "cli/findings.h"
#include "cli/offline.h"
#include "controller-client/policy_blob.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

static const struct column pair_columns[] = {
	{"FROM", COLUMN_LEFT, CUT_END, 12},   {"TO", COLUMN_LEFT, CUT_END, 12},
	{"SERVICE", COLUMN_LEFT, CUT_END, 0}, {"VERDICT", COLUMN_LEFT, CUT_END, 0},
	{"RULE", COLUMN_LEFT, CUT_END, 10},   {"CONDITIONS", COLUMN_LEFT, CUT_END, 16},
};

static void put_pairs(const json_t *rows, struct buf *b)
{
	char party[PARTY_TEXT_MAX];
	struct table t;

	table_init(&t, pair_columns, ARRAY_LEN(pair_columns));
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);

		table_cell(&t, party_format(party, field(row, "from")));
		table_cell(&t, party_format(party, field(row, "to")));
		table_cell(&t, field_text(row, "service"));
		table_cell(&t, field_text(row, "verdict"));
		table_cell(&t, field_text(row, "rule"));
		table_cell(&t, field_text(row, "conditions"));
	}
	table_print(&t, 0, b);
	table_done(&t);
}

static void put_signed(const json_t *is_signed, struct buf *b)
{
	const struct pairs p = {.b = b, .indent = 12};

	if (is_signed == NULL)
		return;
	pairs_put(&p, "revision", "%lld of %s, floor %lld, valid until %s",
		  (long long)field_int(is_signed, "revision", 0),
		  field_text_or(is_signed, "trust_domain", "?"),
		  (long long)field_int(is_signed, "rollback_floor", 0),
		  field_text_or(is_signed, "expires", "?"));
	pairs_put(&p, "digest", "%s", field_text_or(is_signed, "digest", "?"));
	pairs_put(&p, "signature", "%s",
		  field_true(is_signed, "verified") ? "good" : "not checked");
}

static void render_check(const json_t *result, const struct screen *s, struct buf *b)
{
	const json_t *conduits = field(result, "conduits"), *first = json_array_get(conduits, 0);

	if (field(first, "conduit") != NULL)
		conduits_table(conduits, 0, s->now, b);
	else
		put_pairs(conduits, b);
	put_signed(field(result, "signed"), b);
	findings_render(result, b);
}

enum { OPTION_EXPLAIN, OPTION_STRICT, OPTION_TRUST, OPTION_THRESHOLD };
static const struct option_spec options[] = {
	[OPTION_EXPLAIN] = {.name = "explain",
			    .help = "the conduits, too: of DIR/view.json's node, else by identity"},
	[OPTION_STRICT] = {.name = "strict", .help = "exit status 3 for warnings, too"},
	[OPTION_TRUST] = {.name = "trust",
			  .value = "FILE.pub",
			  .help = "a signed tree must be signed by it",
			  .many = true},
	[OPTION_THRESHOLD] = {.name = "threshold",
			      .value = "N",
			      .help = "by so many of the keys; 1 unless said"},
};

/* ---- a signed tree ---- */

/* House style is "what is wrong; what would be right". */
static int add_finding(json_t *list, const char *file, const char *text)
{
	const char *advice = strstr(text, "; ");
	size_t len = advice != NULL ? (size_t)(advice - text) : strlen(text);

	return json_array_append_new(list, json_pack("{s:s, s:i, s:i, s:s%, s:s}", "file", file,
						     "line", 0, "column", 0, "message", text, len,
						     "advice", advice != NULL ? advice + 2 : ""));
}

__attribute__((format(printf, 3, 4))) static int add_findingf(json_t *list, const char *file,
							      const char *fmt, ...)
{
	char text[ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return add_finding(list, file, text);
}

/* The floor of the revision before, 0 where there is none that can be read. */
static uint64_t floor_before(const struct source *s)
{
	CLEANUP(manifest_done) struct manifest before = {0};
	CLEANUP(freep) char *text = NULL;
	CLEANUP(freep) uint8_t *payload = NULL;
	size_t at = 0, len = 0, payload_len = 0;

	while (at < s->tree.count && s->tree.revisions[at] < s->signed_policy.manifest.revision)
		at++;
	if (at == 0 ||
	    signed_tree_envelope(&s->tree, s->tree.revisions[at - 1], &text, &len, NULL) < 0 ||
	    dsse_open_unverified(text, len, DSSE_TYPE_MANIFEST, &payload, &payload_len, NULL) < 0 ||
	    manifest_decode(payload, payload_len, &before, NULL) < 0)
		return 0;
	return before.rollback_floor;
}

/* What agents will make of it: not wrong by itself. */
static int signed_warnings(const struct source *s, struct wall now, json_t *warnings)
{
	const struct manifest *m = &s->signed_policy.manifest;
	const char *file = s->signed_policy.path;
	uint64_t fell_from = floor_before(s);
	char text[RFC3339_TEXT_MAX];
	size_t below = 0;
	int r = 0;

	for (size_t i = 0; i < s->tree.count; i++)
		below += s->tree.revisions[i] < m->rollback_floor;
	if (!s->signed_policy.verified)
		r |= add_finding(warnings, file,
				 "nobody's signature was checked; --trust FILE.pub would be right");
	if (m->expires.s <= now.s)
		r |= add_findingf(warnings, file,
				  "expired at %s, so agents are stale; sign it again",
				  rfc3339_format(text, m->expires));
	if (fell_from > m->rollback_floor)
		r |= add_findingf(
			warnings, file,
			"the rollback floor falls from %llu to %llu, so agents may be led "
			"back below %llu again; a floor that stays would be right",
			(unsigned long long)fell_from, (unsigned long long)m->rollback_floor,
			(unsigned long long)fell_from);
	if (below > 0)
		r |= add_findingf(warnings, file,
				  "%zu revisions here are below the rollback floor %llu, so no "
				  "agent takes them; they may be removed",
				  below, (unsigned long long)m->rollback_floor);
	return r;
}

static int add_signed(const struct offline *o, struct wall now, json_t *result)
{
	const struct source *s = &o->source;
	json_t *errors = json_object_get(result, "errors");
	struct err err = {0};
	int r = 0;

	if (!s->is_signed)
		return 0;
	r = signed_warnings(s, now, json_object_get(result, "warnings"));
	if (o->policy->error_count == 0 &&
	    policy_blob_check(o->policy, s->signed_policy.manifest.trust_domain, &err) < 0) {
		r |= add_finding(errors, s->signed_policy.path, err.text);
		r |= json_object_set_new(result, "ok", json_false());
	}
	return r | json_object_set_new(result, "signed", source_signed_json(s));
}

/* ---- nodes that cannot vouch ---- */

#define SILENT_MAX 50 /* told; more of the same help nobody */

static bool is_placed(const struct offline *o, const struct rule *rule)
{
	for (size_t i = 0; i < rule->to_party_count; i++) {
		const struct party_ref *to = &rule->to_parties[i];

		for (size_t j = 0; to->kind == PARTY_IDENTITY && j < o->view->placed_count; j++)
			if (str_eq(o->view->placed[j].identity,
				   o->policy->identities[to->index].path))
				return true;
	}
	return false;
}

/* The first rule by which this node would ask that one, NULL = none. */
static const struct rule *asking_rule(const struct offline *o, uint32_t identity)
{
	struct party_ref from = {.kind = PARTY_IDENTITY, .index = identity};
	struct rule_iter iter;
	uint32_t index;

	policy_rules_from(o->policy, from, &iter);
	while (policy_next_rule(o->policy, &iter, &index)) {
		const struct rule *rule = &o->policy->rules[index];

		if (rule->assurance > ASSURANCE_MAPPED &&
		    rule->on_unavailable != ON_UNAVAILABLE_ALLOW && is_placed(o, rule))
			return rule;
	}
	return NULL;
}

/* Whose node runs no agent is mapped at best (R47): what asks for more stays closed. */
static int silent_nodes(const struct offline *o, json_t *warnings)
{
	const struct view *v = o->view;
	unsigned told = 0;
	int r = 0;

	for (size_t i = 0; v != NULL && i < v->peer_count && told < SILENT_MAX && r == 0; i++) {
		const struct view_node *node = view_find_node(v, v->peers[i].node);
		int identity = policy_find_identity(o->policy, v->peers[i].identity);
		const struct rule *rule;

		if ((node != NULL && node->has_attest) || identity < 0)
			continue;
		rule = asking_rule(o, (uint32_t)identity);
		if (rule == NULL)
			continue;
		told++;
		r = add_findingf(warnings, "view.json",
				 "node %.64s runs no agent that could vouch for %.100s, so "
				 "rule \"%.100s\" (%s) stays closed; an agent there, or "
				 "assurance: mapped",
				 v->peers[i].node, o->policy->identities[identity].name, rule->name,
				 assurance_name(rule->assurance));
	}
	return r;
}

/* Documents that were refused: there is no policy to look into. */
static int print_refused(struct cli *c, const struct verb *v, const struct err *err)
{
	json_t *errors = json_array(), *result;
	int r = add_finding(errors, "", err->text);

	result = json_pack("{s:i, s:b, s:o, s:[]}", "version", 1, "ok", 0, "errors", errors,
			   "warnings");
	r = result != NULL && r == 0 ? cli_print(c, v, result, false, CLI_DENIED)
				     : cli_fail(c, v, CLI_FAILED, "out of memory");
	json_decref(result);
	return r;
}

/* ---- all ---- */

/* All words together are one policy; the view is the first one found. */
static int read_words(struct offline *o, const struct args *a, struct wall now, struct err *err)
{
	CLEANUP(keyring_done) struct keyring ring = {0};
	bool given;
	int r = source_trust(a, OPTION_TRUST, OPTION_THRESHOLD, &ring, &given, err);

	if (r < 0)
		return -EINVAL;
	for (size_t i = 0; r == 0 && i < a->word_count; i++)
		r = offline_add(o, a->words[i], given ? &ring : NULL, err);
	if (r == 0 && given && !o->source.is_signed)
		return err_set(err, EINVAL,
			       "--trust: nothing here is signed; a tree made by bailiwick sign "
			       "would be right");
	return r < 0 ? r : offline_check(o, POLICY_BY_PATH, now, err);
}

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	CLEANUP(offline_done) struct offline o = {0};
	json_t *result, *rows = NULL;
	struct err err = {0};
	int strict = CLI_OK, r = read_words(&o, a, c->now, &err);

	if (o.policy == NULL)
		return signed_tree_refused(r) && o.source.is_signed
			       ? print_refused(c, v, &err)
			       : cli_fail(c, v, CLI_FAILED, "%s", err.text);
	if (r == 0 && a->values[OPTION_EXPLAIN] != NULL &&
	    explain_json(&o, c->now, &rows, &err) < 0)
		return cli_fail(c, v, CLI_FAILED, "--explain: %s", err.text);
	result = findings_json(o.policy);
	if (result == NULL || (rows != NULL && json_object_set_new(result, "conduits", rows) < 0) ||
	    (o.policy->error_count == 0 &&
	     silent_nodes(&o, json_object_get(result, "warnings")) < 0) ||
	    add_signed(&o, c->now, result) < 0) {
		json_decref(result);
		return cli_fail(c, v, CLI_FAILED, "out of memory");
	}
	if (a->values[OPTION_STRICT] != NULL && field_count(result, "warnings") > 0)
		strict = CLI_DENIED;
	r = cli_print(c, v, result, false, field_true(result, "ok") ? strict : CLI_DENIED);
	json_decref(result);
	return r;
}

const struct verb verb_check = {
	.name = "check",
	.words = "FILE|DIR... [--explain] [--strict] [--trust FILE.pub]... [--threshold N]",
	.summary = "what is wrong with a policy, without an agent",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_min = 1,
	.words_max = POLICY_FILES_MAX,
	.run = run,
	.render = render_check,
};
