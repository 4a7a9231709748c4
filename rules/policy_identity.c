/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Identities against each other: names, paths, who claims which processes, shared users and ports,
 * placements that no listed node allows. The maps of names stay in the policy for lookups.
 */
#include "rules/policy_build.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/policy_grammar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX           4000000
#define CLAIM_KEY_MAX       (64U << 10)
#define PORT_NEIGHBOURS_MAX 16 /* a shared port is reported against the nearest ones only */

/* ---- names ---- */

/* Adds index + 1 under the key. When it is taken, *ret_taken is that index + 1, else 0. */
static int name_put(struct map *m, const char *key, size_t index, size_t *ret_taken)
{
	uintptr_t taken = (uintptr_t)map_get_str(m, key);

	*ret_taken = (size_t)taken;
	return taken != 0 ? 0 : map_put_str(m, key, (void *)(uintptr_t)(index + 1));
}

static const struct pos *party_pos(const struct policy *p, size_t index)
{
	return index < p->identity_count ? &p->identities[index].pos
					 : &p->networks[index - p->identity_count].pos;
}

static int add_name(struct policy *p, const char *name, size_t index)
{
	const struct pos *pos = party_pos(p, index);
	char place[PLACE_TEXT_MAX], quoted[YAML_QUOTE_MAX];
	size_t taken = 0;
	int r;

	if (name[0] == '\0')
		return 0;
	r = name_put(p->parties_by_name, name, index, &taken);
	if (r == 0 && taken > 0)
		policy_error(p, pos,
			     "the name %s is taken (%s)" ADVISE
			     "identities, networks and devices need names that differ",
			     yaml_quote(quoted, name),
			     policy_place(place, p, party_pos(p, taken - 1), pos));
	return r;
}

static int check_names(struct policy *p)
{
	struct policy_build *b = p->build;
	char place[PLACE_TEXT_MAX], quoted[YAML_QUOTE_MAX];
	int r = 0;

	for (size_t i = 0; i < p->identity_count && r == 0; i++)
		r = add_name(p, p->identities[i].name, i);
	for (size_t i = 0; i < p->network_count && r == 0; i++)
		r = add_name(p, p->networks[i].name, p->identity_count + i);
	for (size_t i = 0; i < b->device_count && r == 0; i++) {
		const struct named_device *d = &b->devices[i];
		uintptr_t taken = (uintptr_t)map_get_str(p->parties_by_name, d->name);

		if (taken > 0)
			policy_error(p, &d->pos,
				     "the name %s is taken (%s)" ADVISE
				     "identities, networks and devices need names that differ",
				     yaml_quote(quoted, d->name),
				     policy_place(place, p, party_pos(p, taken - 1), &d->pos));
	}
	return r;
}

static int check_paths(struct policy *p)
{
	char place[PLACE_TEXT_MAX], quoted[YAML_QUOTE_MAX];
	int r = 0;

	for (size_t i = 0; i < p->identity_count && r == 0; i++) {
		const struct identity *id = &p->identities[i];
		uintptr_t named = (uintptr_t)map_get_str(p->parties_by_name, id->path);
		size_t taken = 0;

		if (id->path[0] == '\0')
			continue;
		r = name_put(p->identities_by_path, id->path, i, &taken);
		if (r == 0 && taken > 0)
			policy_error(p, &id->path_pos,
				     "the path %s belongs to \"%s\" (%s)" ADVISE
				     "each identity needs a path of its own",
				     yaml_quote(quoted, id->path), p->identities[taken - 1].name,
				     policy_place(place, p, &p->identities[taken - 1].pos,
						  &id->path_pos));
		else if (r == 0 && named > 0 && named - 1 != i)
			policy_error(
				p, &id->path_pos,
				"the path %s is also a name (%s)" ADVISE
				"commands take either, so they must differ",
				yaml_quote(quoted, id->path),
				policy_place(place, p, party_pos(p, named - 1), &id->path_pos));
	}
	return r;
}

static int check_rule_names(struct policy *p)
{
	char place[PLACE_TEXT_MAX], quoted[YAML_QUOTE_MAX];
	int r = 0;

	for (size_t i = 0; i < p->rule_count && r == 0; i++) {
		const struct rule *rule = &p->rules[i];
		size_t taken = 0;

		if (rule->name[0] == '\0')
			continue;
		r = name_put(p->rules_by_name, rule->name, i, &taken);
		if (r == 0 && taken > 0)
			policy_error(p, &rule->pos,
				     "a rule %s exists already (%s)" ADVISE
				     "rules need names that differ",
				     yaml_quote(quoted, rule->name),
				     policy_place(place, p, &p->rules[taken - 1].pos, &rule->pos));
	}
	return r;
}

/* ---- where two identities may meet ---- */

static bool labels_exclude(const struct identity *a, const struct identity *b)
{
	for (size_t i = 0; i < a->placement_label_count; i++) {
		const char *other = label_value(b->placement_labels, b->placement_label_count,
						a->placement_labels[i].key);

		if (other != NULL && !str_eq(other, a->placement_labels[i].value))
			return true;
	}
	return false;
}

bool placements_overlap(const struct identity *a, const struct identity *b)
{
	if (labels_exclude(a, b))
		return false;
	if (a->placement_node_count == 0 || b->placement_node_count == 0)
		return true;
	for (size_t i = 0; i < a->placement_node_count; i++) {
		for (size_t j = 0; j < b->placement_node_count; j++) {
			if (patterns_overlap(a->placement_nodes[i], b->placement_nodes[j]))
				return true;
		}
	}
	return false;
}

/* ---- who claims a process ---- */

struct claim {
	uint32_t identity, entry;
	uint32_t next; /* index + 1 of another claim with the same selectors */
};

struct claims {
	struct claim *items;
	size_t count;
	struct map *by_selectors; /* text of a whole set to the index + 1 of its latest claim */
	struct buf key;
};

static void claims_done(struct claims *c)
{
	free(c->items);
	map_free(c->by_selectors);
	buf_done(&c->key);
}

/* The text of those selectors of an entry whose bits are set. Entries hold them by kind. */
static int claim_key(struct claims *c, const struct workload_entry *e, unsigned chosen)
{
	c->key.len = 0;
	for (size_t i = 0; i < e->selector_count; i++) {
		if (chosen & 1U << i)
			buf_printf(&c->key, "%s=%s\n", selector_name(e->selectors[i].kind),
				   e->selectors[i].value);
	}
	return c->key.r;
}

static void report_claim(struct policy *p, const struct claim *mine, const struct claim *other,
			 const struct buf *key)
{
	const struct identity *a = &p->identities[mine->identity];
	const struct identity *b = &p->identities[other->identity];
	const struct pos *pos = &a->workload[mine->entry].pos;
	char place[PLACE_TEXT_MAX], shown[YAML_QUOTE_MAX];
	size_t len = key->len < sizeof(shown) ? key->len : sizeof(shown);

	memcpy(shown, key->data, len);
	shown[len > 0 ? len - 1 : 0] = '\0';
	for (char *c = shown; *c != '\0'; c++) {
		if (*c == '\n')
			*c = ' ';
	}
	policy_error(p, pos,
		     "\"%s\" and \"%s\" (%s) claim the same process: both take %s" ADVISE
		     "add a selector to each that the other does not share, or place them on "
		     "different nodes",
		     a->name, b->name, policy_place(place, p, &b->workload[other->entry].pos, pos),
		     shown);
}

/*
 * Claims with exactly these selectors. All processes of `mine` are theirs, too. A set equal to mine
 * is met from both sides and reported once, from the later.
 */
static void compare_claims(struct policy *p, struct claims *c, const struct claim *mine, bool whole)
{
	uintptr_t at = (uintptr_t)map_get(c->by_selectors, c->key.data, c->key.len);

	while (at != 0) {
		const struct claim *other = &c->items[at - 1];

		if (!policy_may_work(p))
			return;
		if (other->identity != mine->identity && (!whole || other < mine) &&
		    placements_overlap(&p->identities[mine->identity],
				       &p->identities[other->identity])) {
			report_claim(p, mine, other, &c->key);
			return;
		}
		at = other->next;
	}
}

static int claims_collect(struct policy *p, struct claims *c)
{
	size_t count = 0, taken;
	int r = 0;

	for (size_t i = 0; i < p->identity_count; i++)
		count += p->identities[i].workload_count;
	c->items = mem_calloc(count, sizeof(*c->items));
	c->by_selectors = map_new(NAMES_MAX, NULL);
	if (c->items == NULL || c->by_selectors == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->identity_count; i++) {
		for (uint32_t j = 0; j < p->identities[i].workload_count && r == 0; j++) {
			struct claim *claim = &c->items[c->count++];

			*claim = (struct claim){.identity = i, .entry = j};
			r = claim_key(c, &p->identities[i].workload[j], ~0U);
			if (r < 0 || c->key.len == 0)
				continue;
			taken = (uintptr_t)map_get(c->by_selectors, c->key.data, c->key.len);
			claim->next = (uint32_t)taken;
			r = map_put(c->by_selectors, c->key.data, c->key.len,
				    (void *)(uintptr_t)c->count);
		}
	}
	return r;
}

/* Two identities claim one process for sure when one entry's selectors are among another's. */
static int check_claims(struct policy *p)
{
	CLEANUP(claims_done) struct claims c = {0};
	int r;

	buf_init(&c.key, CLAIM_KEY_MAX);
	r = claims_collect(p, &c);
	for (size_t i = 0; i < c.count && r == 0; i++) {
		const struct claim *mine = &c.items[i];
		const struct workload_entry *e =
			&p->identities[mine->identity].workload[mine->entry];
		unsigned all = (1U << e->selector_count) - 1;

		for (unsigned chosen = all; chosen > 0 && r == 0; chosen--) {
			r = claim_key(&c, e, chosen);
			if (r == 0)
				compare_claims(p, &c, mine, chosen == all);
		}
	}
	return r;
}

/* ---- one user, several identities (UC-45) ---- */

static int note_user(struct policy *p, struct map *users, size_t identity, const struct selector *s)
{
	uintptr_t taken = (uintptr_t)map_get_str(users, s->value);
	char quoted[YAML_QUOTE_MAX], place[PLACE_TEXT_MAX];
	const struct identity *other;

	if (taken == 0)
		return map_put_str(users, s->value, (void *)(uintptr_t)(identity + 1));
	other = &p->identities[taken - 1];
	if (taken - 1 != identity)
		policy_warn(p, &s->pos,
			    "user %s runs \"%s\" and \"%s\" (%s): one account, several "
			    "identities" ADVISE "give each an account, or tell them apart by unit",
			    yaml_quote(quoted, s->value), p->identities[identity].name, other->name,
			    policy_place(place, p, &other->pos, &s->pos));
	return 0;
}

static int check_users(struct policy *p)
{
	CLEANUP(map_freep) struct map *users = map_new(NAMES_MAX, NULL);
	int r = users != NULL ? 0 : -ENOMEM;

	for (size_t i = 0; i < p->identity_count; i++) {
		const struct identity *id = &p->identities[i];

		for (size_t j = 0; j < id->workload_count; j++) {
			const struct workload_entry *e = &id->workload[j];

			for (size_t k = 0; k < e->selector_count && r == 0; k++) {
				if (e->selectors[k].kind == SELECTOR_USER)
					r = note_user(p, users, i, &e->selectors[k]);
			}
		}
	}
	return r;
}

/* ---- one port, several identities ---- */

struct served {
	struct service service;
	uint32_t identity;
};

static int served_cmp(const void *a, const void *b)
{
	const struct served *x = a, *y = b;
	int c = service_cmp(&x->service, &y->service);

	return c != 0 ? c : (x->identity > y->identity) - (x->identity < y->identity);
}

static void check_port(struct policy *p, const struct served *all, size_t i)
{
	const struct identity *id = &p->identities[all[i].identity];
	char text[SERVICE_TEXT_MAX], place[PLACE_TEXT_MAX];

	for (size_t j = i; j-- > 0 && i - j <= PORT_NEIGHBOURS_MAX;) {
		const struct identity *other = &p->identities[all[j].identity];

		if (other == id || !service_overlaps(&all[i].service, &all[j].service) ||
		    !policy_may_work(p) || !placements_overlap(id, other))
			continue;
		policy_warn(
			p, &id->pos,
			"\"%s\" and \"%s\" (%s) both serve %s and may be placed on one node" ADVISE
			"keep their nodes apart with placement:, or their ports",
			id->name, other->name, policy_place(place, p, &other->pos, &id->pos),
			service_format(text, &all[i].service));
		return;
	}
}

static int check_ports(struct policy *p)
{
	CLEANUP(freep) struct served *all = NULL;
	size_t count = 0, at = 0;

	for (size_t i = 0; i < p->identity_count; i++)
		count += p->identities[i].serves_count;
	all = mem_calloc(count, sizeof(*all));
	if (all == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->identity_count; i++) {
		for (size_t j = 0; j < p->identities[i].serves_count; j++) {
			const struct service *s = &p->identities[i].serves[j];

			if (!service_is_echo(s))
				all[at++] = (struct served){.service = *s, .identity = i};
		}
	}
	if (at > 1)
		qsort(all, at, sizeof(*all), served_cmp);
	for (size_t i = 1; i < at; i++)
		check_port(p, all, i);
	return 0;
}

/* ---- placements against the listed nodes ---- */

static bool some_node_fits(struct policy *p, const char *pattern)
{
	for (size_t i = 0; i < p->node_count; i++) {
		if (!policy_may_work(p) || patterns_overlap(pattern, p->nodes[i].pattern))
			return true;
	}
	return false;
}

static void check_placements(struct policy *p)
{
	char quoted[YAML_QUOTE_MAX];

	if (p->node_count == 0 || p->build->names_incomplete)
		return;
	for (size_t i = 0; i < p->identity_count; i++) {
		const struct identity *id = &p->identities[i];

		for (size_t j = 0; j < id->placement_node_count; j++) {
			if (!some_node_fits(p, id->placement_nodes[j]))
				policy_warn(p, &id->pos,
					    "no node under nodes: matches %s, where \"%s\" may be "
					    "placed" ADVISE "list the node, or correct the pattern",
					    yaml_quote(quoted, id->placement_nodes[j]), id->name);
		}
	}
}

int policy_check_identities(struct policy *p)
{
	int r;

	p->parties_by_name = map_new(NAMES_MAX, NULL);
	p->identities_by_path = map_new(NAMES_MAX, NULL);
	p->rules_by_name = map_new(NAMES_MAX, NULL);
	if (p->parties_by_name == NULL || p->identities_by_path == NULL || p->rules_by_name == NULL)
		return -ENOMEM;
	r = check_names(p);
	if (r == 0)
		r = check_paths(p);
	if (r == 0)
		r = check_rule_names(p);
	if (r == 0)
		r = check_claims(p);
	if (r == 0)
		r = check_users(p);
	if (r == 0)
		r = check_ports(p);
	check_placements(p);
	return r;
}
