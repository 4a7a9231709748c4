/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/sign_manifest.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define EXPIRES_DEFAULT_S (365LL * 86400)

struct maker {
	const struct sign_terms *t;
	struct manifest *m;
	struct err *err;
};

static int number_option(struct maker *k, size_t option, const char *name, uint64_t min,
			 uint64_t otherwise, uint64_t *ret)
{
	const char *text = k->t->args->values[option];

	*ret = otherwise;
	if (text == NULL || text_u64(text, min, DOCUMENT_NUMBER_MAX, ret) == 0)
		return 0;
	return err_set(k->err, EINVAL, "--%s %s: not a number; %" PRIu64 " or more would be right",
		       name, text, min);
}

static int set_numbers(struct maker *k)
{
	uint64_t highest = k->t->tree->count > 0 ? k->t->tree->revisions[k->t->tree->count - 1] : 0;
	struct manifest *m = k->m;
	int r = number_option(k, OPTION_REVISION, "revision", 1, highest + 1, &m->revision);

	if (r == 0)
		r = number_option(k, OPTION_FLOOR, "floor", 0, k->t->previous->rollback_floor,
				  &m->rollback_floor);
	if (r < 0)
		return r;
	if (m->revision <= highest)
		return err_set(k->err, EINVAL,
			       "revision %" PRIu64 " is not above %" PRIu64 ", the highest in %s; "
			       "%" PRIu64 " or more would be right",
			       m->revision, highest, k->t->tree->base, highest + 1);
	if (m->rollback_floor > m->revision)
		return err_set(k->err, EINVAL,
			       "floor %" PRIu64 " is above the revision itself, %" PRIu64 "; no "
			       "agent could take it",
			       m->rollback_floor, m->revision);
	return 0;
}

static int set_times(struct maker *k)
{
	const char *issued = k->t->args->values[OPTION_ISSUED],
		   *expires = k->t->args->values[OPTION_EXPIRES];
	int64_t seconds = EXPIRES_DEFAULT_S;

	k->m->issued = k->t->now;
	if (issued != NULL && rfc3339_parse(issued, &k->m->issued) < 0)
		return err_set(k->err, EINVAL,
			       "--issued %s: not a time; 2026-11-21T18:00:00Z would be right",
			       issued);
	if (expires != NULL && text_duration(expires, &seconds) < 0)
		return err_set(k->err, EINVAL,
			       "--expires %s: not a duration; 90s, 10m, 8h or 30d would be right "
			       "(1s to 3650d)",
			       expires);
	k->m->expires = (struct wall){.s = k->m->issued.s + seconds};
	if (k->m->expires.s <= k->t->now.s)
		return err_set(k->err, EINVAL,
			       "it would have expired already; a longer --expires would be right");
	return 0;
}

static bool taken_back(struct maker *k, const char *node)
{
	const char *value;

	for (size_t iter = 0;
	     (value = args_next(k->t->args, OPTION_UNREVOKE_NODE, &iter)) != NULL;) {
		if (str_eq(value, node))
			return true;
	}
	return false;
}

/* A slip of the pen would leave the node revoked, and nobody would notice. */
static int check_taken_back(struct maker *k)
{
	const struct manifest *before = k->t->previous;
	char quoted[LOG_QUOTE_MAX];
	const char *value;

	for (size_t iter = 0;
	     (value = args_next(k->t->args, OPTION_UNREVOKE_NODE, &iter)) != NULL;) {
		size_t i = 0;

		while (i < before->revoked_node_count && !str_eq(before->revoked_nodes[i], value))
			i++;
		if (i == before->revoked_node_count)
			return err_set(k->err, EINVAL,
				       "--unrevoke-node '%s': no revision before revokes it",
				       log_quote(quoted, value));
	}
	return 0;
}

static int add_name(char ***list, size_t *count, size_t *cap, size_t max, const char *name)
{
	int r = vec_grow(list, cap, *count + 1, sizeof(**list), max);

	if (r < 0)
		return r;
	(*list)[*count] = mem_strdup(name);
	if ((*list)[*count] == NULL)
		return -ENOMEM;
	(*count)++;
	return 0;
}

static int add_revoked(struct maker *k, const char *name, size_t *cap)
{
	struct manifest *m = k->m;
	int r;

	for (size_t i = 0; i < m->revoked_node_count; i++) {
		if (str_eq(m->revoked_nodes[i], name))
			return 0;
	}
	if (taken_back(k, name))
		return 0;
	r = add_name(&m->revoked_nodes, &m->revoked_node_count, cap, MANIFEST_REVOKED_MAX, name);
	return r < 0 ? err_set(k->err, -r, "--revoke-node: %s", strerror(-r)) : 0;
}

/* A revocation that is not repeated must not lapse: it stays until somebody takes it back. */
static int set_revoked(struct maker *k)
{
	char quoted[LOG_QUOTE_MAX];
	const char *name;
	size_t cap = 0;
	int r = check_taken_back(k);

	for (size_t i = 0; r == 0 && i < k->t->previous->revoked_node_count; i++)
		r = add_revoked(k, k->t->previous->revoked_nodes[i], &cap);
	for (size_t iter = 0;
	     r == 0 && (name = args_next(k->t->args, OPTION_REVOKE_NODE, &iter)) != NULL;) {
		if (!node_name_ok(name))
			r = err_set(k->err, EINVAL,
				    "--revoke-node '%s': not a node's name; letters, digits, '.', "
				    "'_' and '-' would be right",
				    log_quote(quoted, name));
		if (r == 0)
			r = add_revoked(k, name, &cap);
	}
	return r;
}

/* A name that no agent knows would make every agent refuse the policy. */
static int check_required(struct maker *k, const char *name)
{
	char quoted[LOG_QUOTE_MAX];
	const char *near;
	size_t count = 0;

	for (; manifest_features[count] != NULL; count++) {
		if (str_eq(manifest_features[count], name))
			return 0;
	}
	near = text_nearest(name, manifest_features, count);
	return err_set(k->err, EINVAL,
		       "--requires '%s': no agent of this release can do that%s%s%s",
		       log_quote(quoted, name), near != NULL ? "; did you mean " : "",
		       near != NULL ? near : "", near != NULL ? "?" : "");
}

/* An agent that cannot ask would close such rules, or open them: it must know what it refuses. */
static bool needs_attested(const struct policy *p)
{
	for (size_t i = 0; i < p->rule_count; i++)
		if (p->rules[i].assurance > ASSURANCE_MAPPED || p->rules[i].callee_attested)
			return true;
	return false;
}

static int set_requires(struct maker *k)
{
	struct manifest *m = k->m;
	const char *name;
	size_t cap = 0;
	int r = 0;

	if (needs_attested(k->t->blobs->policy))
		r = add_name(&m->requires, &m->requires_count, &cap, MANIFEST_REQUIRES_MAX,
			     "attested");
	if (r < 0)
		return err_set(k->err, -r, "requires: %s", strerror(-r));

	for (size_t iter = 0;
	     r == 0 && (name = args_next(k->t->args, OPTION_REQUIRES, &iter)) != NULL;) {
		r = check_required(k, name);
		if (r < 0)
			return r;
		if (m->requires_count > 0 && str_eq(m->requires[0], name))
			continue;
		r = add_name(&m->requires, &m->requires_count, &cap, MANIFEST_REQUIRES_MAX, name);
		if (r < 0)
			return err_set(k->err, -r, "--requires: %s", strerror(-r));
	}
	return 0;
}

int sign_manifest(const struct sign_terms *t, struct manifest *m, struct err *err)
{
	const char *comment = t->args->values[OPTION_COMMENT];
	struct maker made = {.t = t, .m = m, .err = err}, *k = &made;
	int r;

	m->trust_domain = mem_strdup(t->blobs->policy->trust_domain);
	m->comment = comment != NULL ? mem_strdup(comment) : NULL;
	m->policy = mem_calloc(t->blobs->files.count, sizeof(*m->policy));
	if (m->trust_domain == NULL || m->policy == NULL || (comment != NULL && m->comment == NULL))
		return err_set(err, ENOMEM, "out of memory");
	m->policy_count = t->blobs->files.count;
	memcpy(m->policy, t->blobs->refs, m->policy_count * sizeof(*m->policy));
	if (t->previous->revision > 0 && !str_eq(t->previous->trust_domain, m->trust_domain))
		return err_set(err, EINVAL,
			       "the policy is of trust domain %s, what was signed before in %s of "
			       "%s; another --out would be right",
			       m->trust_domain, t->tree->base, t->previous->trust_domain);
	r = set_numbers(k);
	if (r == 0)
		r = set_times(k);
	if (r == 0)
		r = set_revoked(k);
	return r < 0 ? r : set_requires(k);
}
