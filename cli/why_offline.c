/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/why_offline.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/findings.h"
#include "cli/offline.h"
#include "rules/verdict_asks.h"
#include "rules/verdict_json.h"
#include "rules/verdict_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Without an agent there is no mode to ask; this one is the usual once enforcement is on. */
#define MODE_ASSUMED    MODE_SELECTIVE
#define SUBJECT_MAX     320
#define ANSWER_TEXT_MAX 4096

/* One end of the question. */
struct subject_end {
	char text[SUBJECT_MAX]; /* what node points into */
	int identity;           /* or -1 */
	const char *node;       /* or NULL */
	bool has_address;
	struct addr address;
};

/* "10.0.0.1", "10.0.0.1:443", "fd00::1", "[fd00::1]:443"; the service carries the port. */
static bool parse_address(const char *word, struct addr *ret)
{
	char text[SUBJECT_MAX];
	char *end;

	(void)snprintf(text, sizeof(text), "%s", word);
	if (addr_parse(text, ret) == 0)
		return true;
	end = text[0] == '[' ? strchr(text, ']') : strchr(text, ':');
	if (end == NULL)
		return false;
	*end = '\0';
	return addr_parse(text[0] == '[' ? text + 1 : text, ret) == 0;
}

static int unknown_subject(const struct policy *p, const char *word, struct err *err)
{
	const char *near = policy_nearest_identity(p, word);
	char quoted[LOG_QUOTE_MAX];

	if (policy_find_network(p, word) >= 0)
		return err_set(err, EINVAL, "%s is a network; an address in it would be right",
			       log_quote(quoted, word));
	if (near != NULL)
		return err_set(err, EINVAL, "no identity is called '%s'; did you mean '%s'?",
			       log_quote(quoted, word), near);
	return err_set(err, EINVAL,
		       "no identity is called '%s'; a name or path of the policy, NAME@NODE or an "
		       "address would be right",
		       log_quote(quoted, word));
}

static int parse_end(const struct policy *p, const char *word, struct subject_end *e,
		     struct err *err)
{
	char quoted[LOG_QUOTE_MAX];
	char *at;

	*e = (struct subject_end){.identity = -1};
	if (str_starts(word, "pid:") || str_starts(word, "cgroup:"))
		return err_set(err, EINVAL,
			       "%s needs the agent's knowledge; without --policy it would "
			       "be right",
			       log_quote(quoted, word));
	if (strlen(word) >= sizeof(e->text))
		return unknown_subject(p, word, err);
	memcpy(e->text, word, strlen(word) + 1);
	at = strrchr(e->text, '@');
	if (at != NULL) {
		*at = '\0';
		e->node = at + 1;
	}
	e->identity = policy_find_identity(p, e->text);
	if (e->identity >= 0)
		return 0;
	e->identity = -1;
	e->has_address = at == NULL && parse_address(word, &e->address);
	return e->has_address ? 0 : unknown_subject(p, e->text, err);
}

static json_t *end_json(const struct policy *p, const struct subject_end *e)
{
	char address[ADDR_TEXT_MAX];

	if (e->identity >= 0)
		return json_pack("{s:s, s:s, s:s?, s:s}", "identity",
				 p->identities[e->identity].path, "name",
				 p->identities[e->identity].name, "node", e->node, "type",
				 "identity");
	return json_pack("{s:n, s:s}", "identity", "address", addr_format(address, &e->address));
}

static void add_known(const struct offline *o, const struct subject_end *e, json_t *known)
{
	const struct identity *id;
	char at[POS_TEXT_MAX];
	CLEANUP(buf_done) struct buf b = {0};

	if (e->identity < 0)
		return;
	id = &o->policy->identities[e->identity];
	buf_init(&b, ANSWER_TEXT_MAX);
	buf_printf(&b, "%s: %s", id->name, line_format(at, o->policy, &id->pos));
	for (size_t i = 0; i < id->workload_count; i++) {
		buf_puts(&b, i == 0 ? ", " : " or ");
		workload_entry_text(&id->workload[i], &b);
	}
	if (b.r == 0)
		(void)json_array_append_new(known, json_string(b.data));
}

static json_t *known_json(const struct offline *o, const struct subject_end ends[2])
{
	json_t *known = json_array();
	CLEANUP(freep) char *view = NULL;

	add_known(o, &ends[0], known);
	add_known(o, &ends[1], known);
	view = o->view != NULL ? mem_printf("mapping %llu of %s",
					    (unsigned long long)o->view->sequence, o->view->node)
			       : mem_printf("no view.json: placement is not looked at");
	if (view != NULL)
		(void)json_array_append_new(known, json_string(view));
	return known;
}

/* Where the mapping places an identity, if it places it once. */
static const char *only_node(const struct offline *o, const struct subject_end *e)
{
	const char *path, *found = NULL;

	if (e->node != NULL || e->identity < 0 || o->view == NULL)
		return e->node;
	path = o->policy->identities[e->identity].path;
	for (size_t i = 0; i < o->view->placed_count; i++) {
		if (str_eq(o->view->placed[i].identity, path))
			found = o->view->node;
	}
	for (size_t i = 0; i < o->view->peer_count; i++) {
		if (!str_eq(o->view->peers[i].identity, path))
			continue;
		if (found != NULL && !str_eq(found, o->view->peers[i].node))
			return NULL;
		found = o->view->peers[i].node;
	}
	return found;
}

static json_t *asks_json(const struct offline *o, const struct subject_end ends[2],
			 const struct rule *rule)
{
	CLEANUP(buf_done) struct buf b = {0};

	buf_init(&b, ANSWER_TEXT_MAX);
	if (rule != NULL)
		verdict_asks(o->policy, rule, ends[0].identity, ends[1].identity,
			     only_node(o, &ends[0]), only_node(o, &ends[1]), &b);
	return b.r == 0 && b.len > 0 ? json_string(b.data) : json_null();
}

static json_t *verdict_json(const struct offline *o, const struct subject_end ends[2],
			    const struct service *service, const struct verdict *v)
{
	const struct policy *p = o->policy;
	const struct rule *rule = v->rule >= 0 ? &p->rules[v->rule] : NULL;
	CLEANUP(buf_done) struct buf because = {0}, allow = {0};
	char text[SERVICE_TEXT_MAX], at[POS_TEXT_MAX], ends_at[RFC3339_TEXT_MAX];

	buf_init(&because, ANSWER_TEXT_MAX);
	buf_init(&allow, ANSWER_TEXT_MAX);
	verdict_because(v, MODE_ASSUMED, &because);
	verdict_to_allow(p, v, &allow);
	return json_pack(
		"{s:i, s:s, s:o, s:o, s:s, s:n, s:s?, s:s?, s:o, s:s, s:s, s:s, s:s, s:s, s:o, "
		"s:s, s:s?, s:o}",
		"version", 1, "decision", decision_name(v->decision), "from", end_json(p, &ends[0]),
		"to", end_json(p, &ends[1]), "service", service_format(text, service), "conduit",
		"rule", rule != NULL ? rule->name : NULL, "position",
		rule != NULL ? line_format(at, p, &rule->pos) : NULL, "nearest",
		verdict_nearest_json(p, v), "assurance",
		rule != NULL ? assurance_name(rule->assurance) : "none", "reason",
		reason_name(v->reason), "mode", mode_name(MODE_ASSUMED), "advice", allow.data,
		"because", because.data, "known_by", known_json(o, ends), "to_allow", allow.data,
		"lease_ends", v->lease_end.s != 0 ? rfc3339_format(ends_at, v->lease_end) : NULL,
		"asks", asks_json(o, ends, rule));
}

static int ask_oracle(struct cli *c, const struct verb *v, const struct offline *o,
		      const struct subject_end ends[2], const struct service *service)
{
	const struct verdict_question q = {
		.from_identity = ends[0].identity,
		.to_identity = ends[1].identity,
		.from_node = ends[0].node,
		.to_node = ends[1].node,
		.from_address = ends[0].has_address ? &ends[0].address : NULL,
		.to_address = ends[1].has_address ? &ends[1].address : NULL,
		.service = *service,
	};
	struct compile_input in;
	struct verdict verdict;
	struct err err = {0};
	json_t *result;
	int r;

	offline_input(o, c->now, &in);
	r = verdict_explain(&in, MODE_ASSUMED, &q, &verdict, &err);
	if (r < 0)
		return cli_fail(c, v, CLI_FAILED, "%s", err.text);
	result = verdict_json(o, ends, service, &verdict);
	if (result == NULL)
		return cli_fail(c, v, CLI_FAILED, "out of memory");
	r = cli_print(c, v, result, false,
		      verdict.decision == DECISION_DENIED ? CLI_DENIED : CLI_OK);
	json_decref(result);
	return r;
}

static int print_policy_errors(struct cli *c, const struct policy *p)
{
	CLEANUP(buf_done) struct buf b = {0};
	json_t *findings = findings_json(p);

	buf_init(&b, SCREEN_TEXT_MAX);
	if (findings != NULL)
		findings_render(findings, &b);
	(void)fwrite(b.data, 1, b.len, c->err);
	json_decref(findings);
	return CLI_DENIED;
}

int why_offline(struct cli *c, const struct verb *v, const char *dir, char *const words[2],
		const struct service *service)
{
	CLEANUP(offline_done) struct offline o = {0};
	struct subject_end ends[2];
	struct err err = {0};
	int r;

	r = offline_read(&o, dir, POLICY_BY_NAME, c->now, &err);
	if (o.policy == NULL)
		return cli_fail(c, v, CLI_FAILED, "%s", err.text);
	if (r < 0)
		return print_policy_errors(c, o.policy);
	for (size_t i = 0; i < 2; i++) {
		if (parse_end(o.policy, words[i], &ends[i], &err) < 0)
			return cli_fail(c, v, CLI_USAGE, "%s", err.text);
	}
	return ask_oracle(c, v, &o, ends, service);
}
