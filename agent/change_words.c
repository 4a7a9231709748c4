/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/change_words.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Above this the reach table is left out: the plan stays exact, only the counts are missing. */
#define REACH_PAIRS_MAX  4000000
#define WORDS_LISTED_MAX 5000

static const char *effect_word(uint8_t verdict)
{
	switch ((enum live_verdict)verdict) {
	case LIVE_ACCEPT:
		return "open";
	case LIVE_LEASED:
	case LIVE_LEASED_WATCHED:
		return "open, with an end";
	case LIVE_WATCHED:
		return "watched";
	case LIVE_ASK:
		return "asked about";
	case LIVE_NONE:
	case LIVE_REFUSED_REPLY:
	case LIVE_SINGLE_COUNT:
	case LIVE_PAIR_BASE:
		return "closed";
	}
	return "closed";
}

static json_t *party_word(const struct generation *gen, uint32_t index)
{
	const struct party *p = &gen->parties[index];

	if (p->type == PARTY_TYPE_IDENTITY)
		return json_sprintf("%s@%s", p->name, p->node);
	return json_string(p->name ? p->name : p->node);
}

static void add_line(json_t *list, const struct generation *gen, const struct conduit *c,
		     const char *effect)
{
	char service[SERVICE_TEXT_MAX];
	const char *rule = c->rule == RULE_NONE ? "essential" : gen->rule_names[c->rule];

	if (json_array_size(list) >= WORDS_LISTED_MAX)
		return;
	(void)json_array_append_new(list, json_pack("{s:o,s:o,s:s,s:s,s:s}", "from",
						    party_word(gen, c->from), "to",
						    party_word(gen, c->to), "service",
						    service_format(service, &c->service), "rule",
						    rule, "effect", effect));
}

static void compare(const struct generation *old, const struct generation *new_, json_t *adds,
		    json_t *removes, json_t *changes)
{
	for (size_t i = 0; i < new_->conduit_count; i++) {
		const struct conduit *c = &new_->conduits[i];
		const struct conduit *was = old ? generation_find(old, c->number) : NULL;
		uint8_t before = was ? was->verdict : LIVE_NONE;

		if (before == c->verdict)
			continue;
		add_line(before == LIVE_NONE       ? adds
			 : c->verdict == LIVE_NONE ? removes
						   : changes,
			 new_, c, effect_word(c->verdict));
	}
	for (size_t i = 0; old && i < old->conduit_count; i++) {
		const struct conduit *c = &old->conduits[i];

		if (c->verdict != LIVE_NONE && !generation_find(new_, c->number))
			add_line(removes, old, c, "closed");
	}
}

struct changes {
	json_t *adds, *removes, *changes;
};

/* --- reach -------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static size_t pair_count(const struct policy *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->rule_count; i++)
		n += p->rules[i].from_party_count * p->rules[i].to_party_count;
	return n;
}

/* Number of parties that each identity may reach: distinct (from, to) over all rules. */
static uint32_t *reach_of(const struct policy *p)
{
	size_t n = pair_count(p), k = 0;
	CLEANUP(freep) uint64_t *pairs = n > REACH_PAIRS_MAX ? NULL : mem_calloc(n, sizeof(*pairs));
	uint32_t *counts = mem_calloc(p->identity_count, sizeof(*counts));

	if (!pairs || !counts) {
		free(counts);
		return NULL;
	}
	for (size_t i = 0; i < p->rule_count; i++) {
		const struct rule *r = &p->rules[i];

		for (size_t f = 0; f < r->from_party_count; f++) {
			for (size_t t = 0; t < r->to_party_count; t++) {
				if (r->from_parties[f].kind == PARTY_IDENTITY)
					pairs[k++] = (uint64_t)r->from_parties[f].index << 32 |
						     (uint64_t)r->to_parties[t].kind << 31 |
						     r->to_parties[t].index;
			}
		}
	}
	qsort(pairs, k, sizeof(*pairs), by_value);
	for (size_t i = 0; i < k; i++) {
		if (i == 0 || pairs[i] != pairs[i - 1])
			counts[pairs[i] >> 32]++;
	}
	return counts;
}

static void reach_line(json_t *list, const char *path, uint32_t before, uint32_t after)
{
	(void)json_array_append_new(list,
				    json_pack("{s:s,s:I,s:I}", "identity", path, "before",
					      (json_int_t)before, "after", (json_int_t)after));
}

/* "settlement@pay-1" names settlement. */
static bool names(const json_t *list, const char *name)
{
	size_t i, len = strlen(name);
	json_t *line;

	json_array_foreach(list, i, line) {
		const char *from = json_string_value(json_object_get(line, "from"));

		if (from && strncmp(from, name, len) == 0 && from[len] == '@')
			return true;
	}
	return false;
}

/* An identity that loses one peer and gains another is touched, whatever its count says. */
static bool is_touched(const struct changes *ch, const char *name)
{
	return names(ch->adds, name) || names(ch->removes, name) || names(ch->changes, name);
}

static json_t *reach_json(const struct policy *old, const struct policy *new_,
			  const struct changes *ch)
{
	CLEANUP(freep) uint32_t *before = old ? reach_of(old) : NULL;
	CLEANUP(freep) uint32_t *after = reach_of(new_);
	json_t *list = json_array();

	if (!after || (old && !before))
		return list;
	for (size_t i = 0; i < new_->identity_count; i++) {
		const char *path = new_->identities[i].path;
		int k = old ? policy_find_identity(old, path) : -1;
		uint32_t was = k < 0 ? 0 : before[k];

		if (k < 0 || was != after[i] || is_touched(ch, new_->identities[i].name))
			reach_line(list, path, was, after[i]);
	}
	for (size_t i = 0; old && i < old->identity_count; i++) {
		if (policy_find_identity(new_, old->identities[i].path) < 0)
			reach_line(list, old->identities[i].path, before[i], 0);
	}
	return list;
}

json_t *change_words(const struct edition *before, const struct policy *policy,
		     const struct generation *after)
{
	struct changes ch = {json_array(), json_array(), json_array()};

	compare(before->gen, after, ch.adds, ch.removes, ch.changes);
	return json_pack("{s:o,s:o,s:o,s:o}", "adds", ch.adds, "removes", ch.removes, "changes",
			 ch.changes, "reach", reach_json(before->policy, policy, &ch));
}
