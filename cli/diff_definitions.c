/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The other half of a difference: what names and defaults stand for. */
#include "cli/diff_changes.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_MAX  (1U << 20)
#define VALUES_MAX 4000000

/* A definition is a row of named values, each a text. The table says how to write them. */
struct value {
	const char *field;
	void (*put)(const struct policy *p, size_t i, struct buf *b);
};

struct kind {
	const char *name;
	const struct value *values;
	size_t value_count;
	size_t (*count)(const struct policy *p);
	const char *(*key)(const struct policy *p, size_t i);
};

/* ---- writing values ---- */

static void put_item(struct buf *b, const char *text)
{
	if (b->len > 0)
		buf_puts(b, ", ");
	buf_puts(b, text);
}

static void put_labels(struct buf *b, const struct label *labels, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		put_item(b, labels[i].key);
		buf_printf(b, "=%s", labels[i].value);
	}
}

static void put_prefixes(struct buf *b, const struct prefix *prefixes, size_t count)
{
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < count; i++)
		put_item(b, prefix_format(text, &prefixes[i]));
}

static const char *deny_name(enum deny_answer a)
{
	switch (a) {
	case DENY_DEFAULT:
		return "";
	case DENY_REJECT:
		return "reject";
	case DENY_DROP:
		return "drop";
	}
	return "?";
}

static void identity_workload(const struct policy *p, size_t i, struct buf *b)
{
	const struct identity *id = &p->identities[i];

	for (size_t w = 0; w < id->workload_count; w++) {
		const struct workload_entry *e = &id->workload[w];

		put_item(b, "{");
		for (size_t s = 0; s < e->selector_count; s++)
			buf_printf(b, "%s%s: %s", s > 0 ? ", " : "",
				   selector_name(e->selectors[s].kind), e->selectors[s].value);
		buf_putc(b, '}');
	}
}

static void identity_name(const struct policy *p, size_t i, struct buf *b)
{
	buf_puts(b, p->identities[i].name);
}

static void identity_labels(const struct policy *p, size_t i, struct buf *b)
{
	put_labels(b, p->identities[i].labels, p->identities[i].label_count);
}

static void identity_serves(const struct policy *p, size_t i, struct buf *b)
{
	char text[SERVICE_TEXT_MAX];

	for (size_t s = 0; s < p->identities[i].serves_count; s++)
		put_item(b, service_format(text, &p->identities[i].serves[s]));
}

static void identity_placement(const struct policy *p, size_t i, struct buf *b)
{
	const struct identity *id = &p->identities[i];

	for (size_t n = 0; n < id->placement_node_count; n++)
		put_item(b, id->placement_nodes[n]);
	put_labels(b, id->placement_labels, id->placement_label_count);
}

static void identity_mode(const struct policy *p, size_t i, struct buf *b)
{
	buf_puts(b, p->identities[i].observe ? "observe" : "");
}

static void identity_deny_out(const struct policy *p, size_t i, struct buf *b)
{
	buf_puts(b, deny_name(p->identities[i].deny_out));
}

static void identity_deny_in(const struct policy *p, size_t i, struct buf *b)
{
	buf_puts(b, deny_name(p->identities[i].deny_in));
}

static void identity_floor(const struct policy *p, size_t i, struct buf *b)
{
	if (p->identities[i].min_assurance != ASSURANCE_DEFAULT)
		buf_puts(b, assurance_name(p->identities[i].min_assurance));
}

static void network_cidrs(const struct policy *p, size_t i, struct buf *b)
{
	put_prefixes(b, p->networks[i].prefixes, p->networks[i].prefix_count);
}

static void network_labels(const struct policy *p, size_t i, struct buf *b)
{
	put_labels(b, p->networks[i].labels, p->networks[i].label_count);
}

static void node_addresses(const struct policy *p, size_t i, struct buf *b)
{
	put_prefixes(b, p->nodes[i].addresses, p->nodes[i].address_count);
}

static void node_labels(const struct policy *p, size_t i, struct buf *b)
{
	put_labels(b, p->nodes[i].labels, p->nodes[i].label_count);
}

static void node_spki(const struct policy *p, size_t i, struct buf *b)
{
	for (size_t s = 0; s < p->nodes[i].spki_count; s++)
		put_item(b, p->nodes[i].spki[s]);
}

static void separation_except(const struct policy *p, size_t i, struct buf *b)
{
	char text[RFC3339_TEXT_MAX];

	for (size_t e = 0; e < p->separations[i].except_count; e++) {
		const struct separation_exception *x = &p->separations[i].except[e];

		put_item(b, x->rule);
		buf_printf(b, " until %s", rfc3339_format(text, x->expires));
	}
}

static void default_deny_out(const struct policy *p, size_t i, struct buf *b)
{
	(void)i;
	buf_puts(b, deny_name(p->deny_out));
}

static void default_deny_in(const struct policy *p, size_t i, struct buf *b)
{
	(void)i;
	buf_puts(b, deny_name(p->deny_in));
}

static void default_assurance(const struct policy *p, size_t i, struct buf *b)
{
	(void)i;
	buf_puts(b, assurance_name(p->assurance));
}

static void default_trust_domain(const struct policy *p, size_t i, struct buf *b)
{
	(void)i;
	buf_puts(b, p->trust_domain != NULL ? p->trust_domain : "");
}

/* ---- the kinds ---- */

static size_t identity_count(const struct policy *p)
{
	return p->identity_count;
}

static const char *identity_key(const struct policy *p, size_t i)
{
	return p->identities[i].path;
}

static size_t network_count(const struct policy *p)
{
	return p->network_count;
}

static const char *network_key(const struct policy *p, size_t i)
{
	return p->networks[i].name;
}

static size_t node_count(const struct policy *p)
{
	return p->node_count;
}

static const char *node_key(const struct policy *p, size_t i)
{
	return p->nodes[i].pattern;
}

static size_t separation_count(const struct policy *p)
{
	return p->separation_count;
}

static const char *separation_key(const struct policy *p, size_t i)
{
	return p->separations[i].label;
}

static size_t one(const struct policy *p)
{
	(void)p;
	return 1;
}

static const char *policy_key(const struct policy *p, size_t i)
{
	(void)p;
	(void)i;
	return "defaults";
}

static const struct value identity_values[] = {
	{"name", identity_name},           {"workload", identity_workload},
	{"labels", identity_labels},       {"serves", identity_serves},
	{"placement", identity_placement}, {"mode", identity_mode},
	{"deny_out", identity_deny_out},   {"deny_in", identity_deny_in},
	{"min_assurance", identity_floor},
};
static const struct value network_values[] = {{"cidrs", network_cidrs}, {"labels", network_labels}};
static const struct value node_values[] = {
	{"addresses", node_addresses},
	{"spki", node_spki},
	{"labels", node_labels},
};
static const struct value separation_values[] = {{"except", separation_except}};
static const struct value default_values[] = {
	{"trust_domain", default_trust_domain},
	{"deny_out", default_deny_out},
	{"deny_in", default_deny_in},
	{"assurance", default_assurance},
};

static const struct kind kinds[] = {
	{"policy", default_values, ARRAY_LEN(default_values), one, policy_key},
	{"identity", identity_values, ARRAY_LEN(identity_values), identity_count, identity_key},
	{"network", network_values, ARRAY_LEN(network_values), network_count, network_key},
	{"node", node_values, ARRAY_LEN(node_values), node_count, node_key},
	{"separation", separation_values, ARRAY_LEN(separation_values), separation_count,
	 separation_key},
};

/* ---- comparing ---- */

static int row_add(json_t *rows, const struct kind *k, const char *name, const char *effect,
		   json_t *take_what)
{
	json_t *row = json_pack("{s:s, s:s, s:s, s:o}", "kind", k->name, "name", name, "effect",
				effect, "what", take_what);

	return json_array_append_new(rows, row) < 0 ? -ENOMEM : 0;
}

static json_t *values_changed(const struct kind *k, const struct policy *old, size_t i,
			      const struct policy *new, size_t j)
{
	json_t *what = json_array();

	for (size_t v = 0; what != NULL && v < k->value_count; v++) {
		CLEANUP(buf_done) struct buf before = {0}, after = {0};
		int r;

		buf_init(&before, VALUE_MAX);
		buf_init(&after, VALUE_MAX);
		/* Never NULL, whatever is written. */
		buf_puts(&before, "");
		buf_puts(&after, "");
		k->values[v].put(old, i, &before);
		k->values[v].put(new, j, &after);
		r = before.r < 0 ? before.r : after.r;
		if (r == 0 && !str_eq(before.data, after.data))
			r = json_array_append_new(
				what, json_pack("{s:s, s:s, s:s}", "field", k->values[v].field,
						"before", before.data, "after", after.data));
		if (r < 0) {
			json_decref(what);
			return NULL;
		}
	}
	return what;
}

static int compare_one(json_t *rows, const struct kind *k, const struct policy *old, size_t i,
		       const struct policy *new, size_t j)
{
	json_t *what = values_changed(k, old, i, new, j);

	if (what == NULL)
		return -ENOMEM;
	if (json_array_size(what) > 0)
		return row_add(rows, k, k->key(new, j), "changed", what);
	json_decref(what);
	return 0;
}

/* Names that stand twice (patterns of nodes) are compared in their order: "pay-*", "pay-* 2". */
static char *key_of(struct map *seen, const char *name)
{
	uintptr_t times = (uintptr_t)map_get_str(seen, name) + 1;

	if (map_put_str(seen, name, (void *)times) < 0)
		return NULL;
	return times == 1 ? mem_strdup(name) : mem_printf("%s %zu", name, (size_t)times);
}

static int index_old(const struct kind *k, const struct policy *old, struct map *by_key)
{
	CLEANUP(map_freep) struct map *seen = map_new(VALUES_MAX, NULL);
	int r = seen != NULL ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < k->count(old); i++) {
		CLEANUP(freep) char *key = key_of(seen, k->key(old, i));

		r = key != NULL ? map_put_str(by_key, key, (void *)(i + 1)) : -ENOMEM;
	}
	return r;
}

static int compare_kind(json_t *rows, const struct kind *k, const struct policy *old,
			const struct policy *new)
{
	CLEANUP(map_freep) struct map *by_key = map_new(VALUES_MAX, NULL);
	CLEANUP(map_freep) struct map *seen = map_new(VALUES_MAX, NULL);
	CLEANUP(freep) bool *kept = mem_calloc(k->count(old), sizeof(*kept));
	int r = by_key != NULL && seen != NULL && kept != NULL ? 0 : -ENOMEM;

	if (r == 0)
		r = index_old(k, old, by_key);
	for (size_t j = 0; r == 0 && j < k->count(new); j++) {
		CLEANUP(freep) char *key = key_of(seen, k->key(new, j));
		uintptr_t i = key != NULL ? (uintptr_t)map_get_str(by_key, key) : 0;

		if (key == NULL)
			return -ENOMEM;
		if (i == 0) {
			r = row_add(rows, k, k->key(new, j), "gained", json_array());
		} else {
			kept[i - 1] = true;
			r = compare_one(rows, k, old, i - 1, new, j);
		}
	}
	for (size_t i = 0; r == 0 && i < k->count(old); i++) {
		if (!kept[i])
			r = row_add(rows, k, k->key(old, i), "lost", json_array());
	}
	return r;
}

int diff_definitions(const struct policy *old, const struct policy *new, json_t **ret,
		     struct err *err)
{
	json_t *rows = json_array();
	int r = rows != NULL ? 0 : -ENOMEM;

	for (size_t k = 0; r == 0 && k < ARRAY_LEN(kinds); k++)
		r = compare_kind(rows, &kinds[k], old, new);
	if (r < 0) {
		json_decref(rows);
		return err_set(err, -r, "%s", strerror(-r));
	}
	*ret = rows;
	return 0;
}
