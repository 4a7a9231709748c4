/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/policy.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdint.h>

/* For "did you mean": of a large policy the first ones do. */
#define NAMES_LOOKED_AT_MAX 4096

/*
 * The maps hold an index plus one, so that NULL is absence. Networks follow the identities in the
 * numbering of parties_by_name and of the index.
 */
static int position(const struct map *m, const char *key)
{
	uintptr_t value = m != NULL ? (uintptr_t)map_get_str(m, key) : 0;

	return value > 0 ? (int)(value - 1) : -ENOENT;
}

int policy_find_identity(const struct policy *p, const char *name_or_path)
{
	int i = position(p->parties_by_name, name_or_path);

	if (i >= 0 && (size_t)i < p->identity_count)
		return i;
	return position(p->identities_by_path, name_or_path);
}

int policy_find_network(const struct policy *p, const char *name)
{
	int i = position(p->parties_by_name, name);

	return i >= 0 && (size_t)i >= p->identity_count ? i - (int)p->identity_count : -ENOENT;
}

int policy_find_rule(const struct policy *p, const char *name)
{
	return position(p->rules_by_name, name);
}

static const char *nearest(const struct policy *p, bool rules, const char *name)
{
	size_t count = rules ? p->rule_count : p->identity_count;
	CLEANUP(freep) const char **names = NULL;

	if (count > NAMES_LOOKED_AT_MAX)
		count = NAMES_LOOKED_AT_MAX;
	names = mem_calloc(count, sizeof(*names));
	for (size_t i = 0; names != NULL && i < count; i++)
		names[i] = rules ? p->rules[i].name : p->identities[i].name;
	return names != NULL ? text_nearest(name, names, count) : NULL;
}

const char *policy_nearest_identity(const struct policy *p, const char *name)
{
	return nearest(p, false, name);
}

const char *policy_nearest_rule(const struct policy *p, const char *name)
{
	return nearest(p, true, name);
}

static void rules_begin(const struct policy *p, struct party_ref party, bool to,
			struct rule_iter *ret_iter)
{
	uint32_t i = party.index;

	if (party.kind == PARTY_NETWORK)
		i += (uint32_t)p->identity_count;
	*ret_iter = (struct rule_iter){.to = to};
	if (i < p->index.party_count) {
		ret_iter->at = p->index.start[i];
		ret_iter->end = p->index.start[i + 1];
	}
}

void policy_rules_from(const struct policy *p, struct party_ref party, struct rule_iter *ret_iter)
{
	rules_begin(p, party, false, ret_iter);
}

void policy_rules_to(const struct policy *p, struct party_ref party, struct rule_iter *ret_iter)
{
	rules_begin(p, party, true, ret_iter);
}

bool policy_next_rule(const struct policy *p, struct rule_iter *iter, uint32_t *ret_rule)
{
	for (; iter->at < iter->end; iter->at++, iter->next = 0) {
		const struct party_list *l = &p->lists[p->index.at[iter->at]];
		size_t count = iter->to ? l->to_rule_count : l->from_rule_count;

		if (iter->next < count) {
			*ret_rule = (iter->to ? l->to_rules : l->from_rules)[iter->next++];
			return true;
		}
	}
	return false;
}

const char *label_value(const struct label *labels, size_t label_count, const char *key)
{
	for (size_t i = 0; i < label_count; i++) {
		if (str_eq(labels[i].key, key))
			return labels[i].value;
	}
	return NULL;
}

const char *assurance_name(enum assurance a)
{
	switch (a) {
	case ASSURANCE_DEFAULT:
		return "default";
	case ASSURANCE_MAPPED:
		return "mapped";
	case ASSURANCE_ATTESTED:
		return "attested";
	case ASSURANCE_MEASURED:
		return "measured";
	}
	return "?";
}

const char *selector_name(enum selector_kind k)
{
	switch (k) {
	case SELECTOR_UNIT:
		return "unit";
	case SELECTOR_SLICE:
		return "slice";
	case SELECTOR_CGROUP:
		return "cgroup";
	case SELECTOR_USER:
		return "user";
	case SELECTOR_GROUP:
		return "group";
	case SELECTOR_EXE:
		return "exe";
	case SELECTOR_CONTAINER:
		return "container";
	case SELECTOR_POD:
		return "pod";
	case SELECTOR_EXE_SHA256:
		return "exe_sha256";
	case SELECTOR_FSVERITY:
		return "fsverity";
	}
	return "?";
}
