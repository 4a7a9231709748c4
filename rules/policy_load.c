/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One loaded file into the model, with what can be judged field by field: grammars, ranges, fields
 * that are not available yet. Lists of the loaded structs and of the tree run side by side; texts
 * change hands from the loaded structs to the model.
 */
#include "rules/policy_build.h"

#include "base/mem.h"
#include "base/text.h"
#include "rules/policy_grammar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NODE_BOUNDS_MAX 1000000
#define NETWORKS_MAX    1000000

#define SERVICE_ADVICE "write tcp/443, udp/5000-5010, tcp/any, icmp/echo or icmpv6/echo"

struct pos policy_pos(const struct policy *p, const struct yaml_tree_node *n)
{
	return (struct pos){.file = (uint32_t)(p->file_count - 1),
			    .line = n != NULL ? n->line : 0,
			    .column = n != NULL ? n->column : 0};
}

struct pos policy_key_pos(const struct policy *p, const struct yaml_tree_node *n)
{
	return (struct pos){.file = (uint32_t)(p->file_count - 1),
			    .line = n->key_line,
			    .column = n->key_column};
}

/* The next entry of the tree beside a loop over the loaded list. */
static const struct yaml_tree_node *step(const struct yaml_tree_node *n)
{
	return n != NULL ? yaml_tree_next(n) : NULL;
}

void policy_refuse_later(struct policy *p, const struct yaml_tree_node *object, const char *key)
{
	const struct yaml_tree_node *n = yaml_tree_get(object, key);
	struct pos pos;

	if (n == NULL)
		return;
	pos = policy_key_pos(p, n);
	policy_error(p, &pos, "\"%s\" is not available on this node yet" ADVISE "remove it", key);
}

void policy_check_name(struct policy *p, const char *name, const struct yaml_tree_node *object)
{
	const char *fault = name[0] != '\0' ? name_fault(name) : NULL;
	struct pos pos = policy_pos(p, yaml_tree_get(object, "name"));
	char quoted[YAML_QUOTE_MAX];

	if (fault != NULL)
		policy_error(p, &pos, "%s %s" ADVISE "write it like payments-api",
			     yaml_quote(quoted, name), fault);
}

/* ---- labels ---- */

/* Cuts "key=value" in place; NULL when it was refused. */
static char *label_split(struct policy *p, char *text, const struct pos *pos)
{
	char *value = strchr(text, '=');
	char quoted[YAML_QUOTE_MAX];
	const char *fault, *meant;

	if (value == NULL) {
		policy_error(p, pos, "%s is not a label" ADVISE "write key=value",
			     yaml_quote(quoted, text));
		return NULL;
	}
	fault = label_key_fault(text, (size_t)(value - text));
	if (fault == NULL)
		fault = label_value_fault(value + 1, strlen(value + 1));
	if (fault != NULL) {
		policy_error(p, pos, "label %s %s" ADVISE "write it like owner=payments",
			     yaml_quote(quoted, text), fault);
		return NULL;
	}
	*value++ = '\0';
	meant = label_key_meant(text);
	if (meant != NULL)
		policy_error(p, pos, "unknown label key \"%s\"" ADVISE "did you mean \"%s\"?", text,
			     meant);
	return value;
}

int policy_load_labels(struct policy *p, char **texts, size_t count,
		       const struct yaml_tree_node *list, struct label **ret, size_t *ret_count)
{
	const struct yaml_tree_node *n = yaml_tree_first(list);

	if (count == 0)
		return 0;
	*ret = mem_calloc(count, sizeof(**ret));
	if (*ret == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++, n = step(n)) {
		struct label *l = &(*ret)[*ret_count];
		struct pos pos = policy_pos(p, n);
		char *value = label_split(p, texts[i], &pos);

		if (value == NULL)
			continue;
		if (label_value(*ret, *ret_count, texts[i]) != NULL) {
			policy_error(p, &pos, "label \"%s\" is given twice" ADVISE "keep one",
				     texts[i]);
			continue;
		}
		l->pos = pos;
		l->key = mem_strdup(texts[i]);
		l->value = mem_strdup(value);
		(*ret_count)++;
		if (l->key == NULL || l->value == NULL)
			return -ENOMEM;
	}
	return 0;
}

/* ---- services ---- */

int policy_load_services(struct policy *p, char **texts, size_t count,
			 const struct yaml_tree_node *list, struct service **ret, size_t *ret_count)
{
	const struct yaml_tree_node *n = yaml_tree_first(list);
	char quoted[YAML_QUOTE_MAX];

	if (count == 0)
		return 0;
	*ret = mem_calloc(count, sizeof(**ret));
	if (*ret == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++, n = step(n)) {
		struct pos pos = policy_pos(p, n);

		if (service_parse(texts[i], &(*ret)[*ret_count]) == 0)
			(*ret_count)++;
		else
			policy_error(p, &pos, "%s is not a service" ADVISE SERVICE_ADVICE,
				     yaml_quote(quoted, texts[i]));
	}
	return 0;
}

/* ---- addresses ---- */

static int load_prefixes(struct policy *p, char **texts, size_t count,
			 const struct yaml_tree_node *list, struct prefix **ret, size_t *ret_count)
{
	const struct yaml_tree_node *n = yaml_tree_first(list);
	char quoted[YAML_QUOTE_MAX];

	if (count == 0)
		return 0;
	*ret = mem_calloc(count, sizeof(**ret));
	if (*ret == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++, n = step(n)) {
		struct pos pos = policy_pos(p, n);

		if (prefix_parse(texts[i], &(*ret)[*ret_count]) == 0)
			(*ret_count)++;
		else
			policy_error(p, &pos,
				     "%s is neither an address nor a prefix" ADVISE
				     "write 10.0.0.0/8 or fd00::/8, with no bits set behind the "
				     "length, and IPv4 as IPv4",
				     yaml_quote(quoted, texts[i]));
	}
	return 0;
}

/* SHA-256 digests, kept in lower case: of node keys and of executables. */
static int load_digests(struct policy *p, char **texts, uint32_t count,
			const struct yaml_tree_node *list, char ***ret, size_t *ret_count)
{
	const struct yaml_tree_node *n = yaml_tree_first(list);
	char quoted[YAML_QUOTE_MAX];

	*ret = mem_calloc(count, sizeof(**ret));
	if (*ret == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++, n = step(n)) {
		struct pos pos = policy_pos(p, n);

		if (!sha256_text_ok(texts[i])) {
			policy_error(p, &pos,
				     "%s is not a SHA-256 digest" ADVISE
				     "write 64 hexadecimal digits",
				     yaml_quote(quoted, texts[i]));
			continue;
		}
		for (char *c = texts[i]; *c != '\0'; c++) {
			if (*c >= 'A' && *c <= 'F')
				*c = (char)(*c - 'A' + 'a');
		}
		(*ret)[(*ret_count)++] = TAKE_PTR(texts[i]);
	}
	return 0;
}

/* ---- identities ---- */

static void check_selector(struct policy *p, enum selector_kind kind, const char *value,
			   const struct yaml_tree_node *entry)
{
	const char *fault = selector_fault(kind, value);
	struct pos pos = policy_pos(p, yaml_tree_get(entry, selector_name(kind)));
	char quoted[YAML_QUOTE_MAX];

	if (fault != NULL)
		policy_error(p, &pos, "%s: %s %s", selector_name(kind), yaml_quote(quoted, value),
			     fault);
}

static int load_entry(struct policy *p, struct raw_workload *raw, const struct yaml_tree_node *n,
		      struct workload_entry *e)
{
	e->pos = policy_pos(p, n);
	e->selectors = mem_calloc(ARRAY_LEN(raw->selectors), sizeof(*e->selectors));
	if (e->selectors == NULL)
		return -ENOMEM;
	for (size_t k = 0; k < ARRAY_LEN(raw->selectors); k++) {
		struct selector *s = &e->selectors[e->selector_count];
		enum selector_kind kind = (enum selector_kind)k;

		if (raw->selectors[k] == NULL)
			continue;
		check_selector(p, kind, raw->selectors[k], n);
		s->kind = kind;
		s->pos = policy_pos(p, yaml_tree_get(n, selector_name(kind)));
		s->value = TAKE_PTR(raw->selectors[k]);
		e->selector_count++;
	}
	if (e->selector_count == 0 && n != NULL && !n->damaged)
		policy_error(p, &e->pos,
			     "an entry without selectors would claim every process" ADVISE
			     "name a unit, slice, cgroup, user, group, container, pod or exe");
	return 0;
}

static int load_workload(struct policy *p, struct raw_identity *raw,
			 const struct yaml_tree_node *list, struct identity *id)
{
	const struct yaml_tree_node *n = yaml_tree_first(list);
	int r = 0;

	id->workload = mem_calloc(raw->workload_count, sizeof(*id->workload));
	if (id->workload == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < raw->workload_count && r == 0; i++, n = step(n))
		r = load_entry(p, &raw->workload[i], n, &id->workload[id->workload_count++]);
	return r;
}

static int load_patterns(struct policy *p, struct raw_placement *raw,
			 const struct yaml_tree_node *list, struct identity *id)
{
	const struct yaml_tree_node *n = yaml_tree_first(list);
	char quoted[YAML_QUOTE_MAX];

	id->placement_nodes = mem_calloc(raw->nodes_count, sizeof(*id->placement_nodes));
	if (id->placement_nodes == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < raw->nodes_count; i++, n = step(n)) {
		struct pos pos = policy_pos(p, n);

		if (!pattern_ok(raw->nodes[i])) {
			policy_error(p, &pos,
				     "%s is not a pattern of node names" ADVISE
				     "write letters, digits, '.', '_', '-' and '*', at most 63",
				     yaml_quote(quoted, raw->nodes[i]));
			continue;
		}
		id->placement_nodes[id->placement_node_count++] = TAKE_PTR(raw->nodes[i]);
	}
	return 0;
}

static int load_placement(struct policy *p, struct raw_placement *raw,
			  const struct yaml_tree_node *n, struct identity *id)
{
	int r;

	if (raw == NULL)
		return 0;
	r = load_patterns(p, raw, yaml_tree_get(n, "nodes"), id);
	if (r < 0)
		return r;
	return policy_load_labels(p, raw->labels, raw->labels_count, yaml_tree_get(n, "labels"),
				  &id->placement_labels, &id->placement_label_count);
}

static void check_path(struct policy *p, const struct raw_policy *top, const struct identity *id)
{
	const char *fault = id->path[0] != '\0' ? path_fault(id->path, top->trust_domain) : NULL;
	char quoted[YAML_QUOTE_MAX];

	if (fault != NULL)
		policy_error(p, &id->path_pos,
			     "path %s %s" ADVISE "write it like "
			     "prod/payments/settlement",
			     yaml_quote(quoted, id->path), fault);
}

static int load_identity(struct policy *p, const struct raw_policy *top, struct raw_identity *raw,
			 const struct yaml_tree_node *n)
{
	size_t errors = p->error_count;
	struct identity *id;
	int r;

	r = vec_grow(&p->identities, &p->build->identity_cap, p->identity_count + 1, sizeof(*id),
		     POLICY_IDENTITIES_MAX);
	if (r < 0)
		return r;
	id = &p->identities[p->identity_count++];
	id->pos = policy_pos(p, n);
	id->path_pos = policy_pos(p, yaml_tree_get(n, "path"));
	id->min_assurance_pos = policy_pos(p, yaml_tree_get(n, "min_assurance"));
	id->damaged = n->damaged;
	id->name = TAKE_PTR(raw->name);
	id->path = TAKE_PTR(raw->path);
	id->observe = raw->mode == MODE_OBSERVE;
	id->deny_out = raw->deny_out;
	id->deny_in = raw->deny_in;
	id->min_assurance = raw->min_assurance;
	policy_check_name(p, id->name, n);
	check_path(p, top, id);
	r = load_workload(p, raw, yaml_tree_get(n, "workload"), id);
	if (r == 0)
		r = load_digests(p, raw->reference, raw->reference_count,
				 yaml_tree_get(n, "reference"), &id->reference,
				 &id->reference_count);
	if (r == 0)
		r = policy_load_labels(p, raw->labels, raw->labels_count,
				       yaml_tree_get(n, "labels"), &id->labels, &id->label_count);
	if (r == 0)
		r = policy_load_services(p, raw->serves, raw->serves_count,
					 yaml_tree_get(n, "serves"), &id->serves,
					 &id->serves_count);
	if (r == 0)
		r = load_placement(p, raw->placement, yaml_tree_get(n, "placement"), id);
	id->damaged |= p->error_count > errors;
	return r;
}

/* ---- networks, nodes, devices ---- */

static int load_network(struct policy *p, struct raw_network *raw, const struct yaml_tree_node *n)
{
	size_t errors = p->error_count;
	struct network *net;
	int r;

	r = vec_grow(&p->networks, &p->build->network_cap, p->network_count + 1, sizeof(*net),
		     NETWORKS_MAX);
	if (r < 0)
		return r;
	net = &p->networks[p->network_count++];
	net->pos = policy_pos(p, n);
	net->name = TAKE_PTR(raw->name);
	policy_check_name(p, net->name, n);
	r = load_prefixes(p, raw->cidrs, raw->cidrs_count, yaml_tree_get(n, "cidrs"),
			  &net->prefixes, &net->prefix_count);
	if (r == 0)
		r = policy_load_labels(p, raw->labels, raw->labels_count,
				       yaml_tree_get(n, "labels"), &net->labels, &net->label_count);
	net->damaged = n->damaged || p->error_count > errors;
	return r;
}

static int load_node(struct policy *p, struct raw_node *raw, const struct yaml_tree_node *n)
{
	struct pos pos = policy_pos(p, yaml_tree_get(n, "pattern"));
	char quoted[YAML_QUOTE_MAX];
	struct node_bound *node;
	int r;

	r = vec_grow(&p->nodes, &p->build->node_cap, p->node_count + 1, sizeof(*node),
		     NODE_BOUNDS_MAX);
	if (r < 0)
		return r;
	node = &p->nodes[p->node_count++];
	node->pos = policy_pos(p, n);
	node->pattern = TAKE_PTR(raw->pattern);
	if (node->pattern[0] != '\0' && !pattern_ok(node->pattern))
		policy_error(p, &pos,
			     "%s is not a pattern of node names" ADVISE
			     "write letters, digits, '.', '_', '-' and '*', at most 63",
			     yaml_quote(quoted, node->pattern));
	r = load_prefixes(p, raw->addresses, raw->addresses_count, yaml_tree_get(n, "addresses"),
			  &node->addresses, &node->address_count);
	if (r == 0)
		r = load_digests(p, raw->spki, raw->spki_count, yaml_tree_get(n, "spki"),
				 &node->spki, &node->spki_count);
	if (r < 0)
		return r;
	return policy_load_labels(p, raw->labels, raw->labels_count, yaml_tree_get(n, "labels"),
				  &node->labels, &node->label_count);
}

/* Remembered by name only, so that a rule that names it is not told that nobody has that name. */
static int load_device(struct policy *p, struct raw_device *raw, const struct yaml_tree_node *n)
{
	struct policy_build *b = p->build;
	int r = vec_grow(&b->devices, &b->device_cap, b->device_count + 1, sizeof(*b->devices),
			 NETWORKS_MAX);

	if (r < 0)
		return r;
	policy_check_name(p, raw->name, n);
	b->devices[b->device_count++] =
		(struct named_device){.name = TAKE_PTR(raw->name), .pos = policy_pos(p, n)};
	return 0;
}

/* ---- a file ---- */

static void load_trust_domain(struct policy *p, struct raw_policy *raw,
			      const struct yaml_tree_node *root)
{
	struct pos pos = policy_pos(p, yaml_tree_get(root, "trust_domain"));
	char quoted[YAML_QUOTE_MAX], other[YAML_QUOTE_MAX], place[PLACE_TEXT_MAX];

	if (raw->trust_domain[0] == '\0')
		return;
	if (!trust_domain_ok(raw->trust_domain))
		policy_error(p, &pos,
			     "%s is not a trust domain" ADVISE
			     "write lower-case letters, digits, '.', '_', '-', at most 255",
			     yaml_quote(quoted, raw->trust_domain));
	else if (p->trust_domain != NULL && !str_eq(p->trust_domain, raw->trust_domain))
		policy_error(p, &pos,
			     "trust_domain %s contradicts %s (%s)" ADVISE
			     "one policy has one trust domain",
			     yaml_quote(quoted, raw->trust_domain),
			     yaml_quote(other, p->trust_domain),
			     policy_place(place, p, &p->build->trust_domain_pos, &pos));
	if (p->trust_domain != NULL)
		return;
	p->build->trust_domain_pos = pos;
	p->trust_domain = mem_strdup(raw->trust_domain);
	if (p->trust_domain == NULL)
		p->build->r = -ENOMEM;
}

/* True when the value is to be taken over: said here, and for the first time. */
static bool default_said(struct policy *p, const struct yaml_tree_node *defaults, const char *key,
			 bool differs, struct pos *first)
{
	const struct yaml_tree_node *n = yaml_tree_get(defaults, key);
	struct pos pos = policy_pos(p, n);
	char place[PLACE_TEXT_MAX];

	if (n == NULL)
		return false;
	if (first->line == 0) {
		*first = pos;
		return true;
	}
	if (differs)
		policy_error(p, &pos,
			     "defaults: %s contradicts %s" ADVISE "all files must agree on it", key,
			     policy_place(place, p, first, &pos));
	return false;
}

static void load_defaults(struct policy *p, const struct raw_defaults *raw,
			  const struct yaml_tree_node *n)
{
	struct policy_build *b = p->build;

	if (raw == NULL)
		return;
	if (default_said(p, n, "deny_out", raw->deny_out != p->deny_out, &b->deny_out_pos))
		p->deny_out = raw->deny_out;
	if (default_said(p, n, "deny_in", raw->deny_in != p->deny_in, &b->deny_in_pos))
		p->deny_in = raw->deny_in;
	if (default_said(p, n, "assurance", raw->assurance != p->assurance, &b->assurance_pos))
		p->assurance = raw->assurance;
}

/* Whether a list lost entries, whose names would then seem to be missing. */
static bool names_lost(const struct yaml_tree_node *root)
{
	static const char *const lists[] = {"identities", "networks", "devices", "rules"};

	for (const struct yaml_tree_node *list = root->child; list != NULL; list = list->next) {
		bool named = false;

		for (size_t i = 0; i < ARRAY_LEN(lists); i++)
			named |= str_eq(list->key, lists[i]);
		/* Under an unknown key ("identites") anything may be. */
		if (list->bad && (named || list->kind == YAML_TREE_LIST))
			return true;
		for (const struct yaml_tree_node *n = list->child; named && n != NULL;
		     n = n->next) {
			if (n->bad || (n->damaged && yaml_tree_get(n, "name") == NULL))
				return true;
		}
	}
	return false;
}

static int load_parties(struct policy *p, struct raw_policy *raw, const struct yaml_tree_node *root)
{
	const struct yaml_tree_node *n = yaml_tree_first(yaml_tree_get(root, "identities"));
	int r = 0;

	for (uint32_t i = 0; i < raw->identities_count && r == 0 && n != NULL; i++, n = step(n))
		r = load_identity(p, raw, &raw->identities[i], n);
	n = yaml_tree_first(yaml_tree_get(root, "networks"));
	for (uint32_t i = 0; i < raw->networks_count && r == 0 && n != NULL; i++, n = step(n))
		r = load_network(p, &raw->networks[i], n);
	n = yaml_tree_first(yaml_tree_get(root, "nodes"));
	for (uint32_t i = 0; i < raw->nodes_count && r == 0 && n != NULL; i++, n = step(n))
		r = load_node(p, &raw->nodes[i], n);
	n = yaml_tree_first(yaml_tree_get(root, "devices"));
	for (uint32_t i = 0; i < raw->devices_count && r == 0 && n != NULL; i++, n = step(n))
		r = load_device(p, &raw->devices[i], n);
	return r;
}

int policy_load(struct policy *p, struct raw_policy *raw, const struct yaml_tree_node *root)
{
	const struct yaml_tree_node *n;
	int r;

	p->build->names_incomplete |= names_lost(root);
	load_trust_domain(p, raw, root);
	load_defaults(p, raw->defaults, yaml_tree_get(root, "defaults"));
	policy_refuse_later(p, root, "devices");
	policy_refuse_later(p, root, "zones");
	r = load_parties(p, raw, root);
	n = yaml_tree_first(yaml_tree_get(root, "rules"));
	for (uint32_t i = 0; i < raw->rules_count && r == 0 && n != NULL; i++, n = step(n))
		r = policy_load_rule(p, &raw->rules[i], n);
	n = yaml_tree_first(yaml_tree_get(root, "separations"));
	for (uint32_t i = 0; i < raw->separations_count && r == 0 && n != NULL; i++, n = step(n))
		r = policy_load_separation(p, &raw->separations[i], n);
	return r;
}
