/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What signed policy lets be where. The same judgement as the agent's compiler makes (R34): said
 * here, the operator hears it at once; the agent refuses what gets past a controller it must not
 * trust.
 */
#include "controller/views_parts.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_LIST_MAX 200

static int by_name(const void *a, const void *b)
{
	const struct exact_bound *x = a, *y = b;

	return strcmp(x->name, y->name);
}

int views_bounds_set(struct views *v)
{
	const struct policy *p = v->policy;
	size_t count = p ? p->node_count : 0;
	int r = 0;

	v->exact = mem_calloc(count, sizeof(*v->exact));
	v->wild = mem_calloc(count, sizeof(*v->wild));
	if (!v->exact || !v->wild)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		const struct node_bound *b = &p->nodes[i];

		if (strchr(b->pattern, '*'))
			v->wild[v->wild_count++] = b;
		else
			v->exact[v->exact_count++] = (struct exact_bound){b->pattern, b};
	}
	if (v->exact_count > 0)
		qsort(v->exact, v->exact_count, sizeof(*v->exact), by_name);
	for (size_t i = 0; i < v->node_count && r == 0; i++)
		r = views_bounds_of(v, v->nodes[i]);
	return r;
}

void views_bounds_done(struct views *v)
{
	freep(&v->exact);
	freep(&v->wild);
	v->exact_count = v->wild_count = 0;
	for (size_t i = 0; i < v->node_count; i++)
		v->nodes[i]->bound_count = 0;
}

static size_t first_exact(const struct views *v, const char *name)
{
	size_t low = 0, high = v->exact_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(v->exact[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int bounds_find(const struct views *v, const char *name, const struct node_bound ***ret,
		       size_t *ret_count)
{
	CLEANUP(freep) const struct node_bound **found = NULL;
	size_t count = 0, cap = 0, max = v->exact_count + v->wild_count;
	int r = 0;

	for (size_t i = first_exact(v, name);
	     i < v->exact_count && str_eq(v->exact[i].name, name) && r == 0; i++) {
		r = vec_grow(&found, &cap, count + 1, sizeof(struct node_bound *), max);
		if (r == 0)
			found[count++] = v->exact[i].bound;
	}
	for (size_t i = 0; i < v->wild_count && r == 0; i++) {
		if (!text_glob(v->wild[i]->pattern, name))
			continue;
		r = vec_grow(&found, &cap, count + 1, sizeof(struct node_bound *), max);
		if (r == 0)
			found[count++] = v->wild[i];
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(found);
	*ret_count = count;
	return 0;
}

int views_bounds_of(struct views *v, struct place_node *n)
{
	const struct node_bound **bounds;
	size_t count;
	int r;

	r = bounds_find(v, n->name, &bounds, &count);
	if (r < 0)
		return r;
	free(n->bounds);
	n->bounds = bounds;
	n->bound_count = count;
	return 0;
}

/* --- judgements ------------------------------------------------------------------------------ */

static bool address_in(const struct node_bound *const *bounds, size_t count, const struct addr *a)
{
	for (size_t i = 0; i < count; i++) {
		if (bounds[i]->address_count == 0)
			return true;
		for (size_t j = 0; j < bounds[i]->address_count; j++)
			if (prefix_contains(&bounds[i]->addresses[j], a))
				return true;
	}
	return false;
}

bool views_address_ok(const struct place_node *n, const struct addr *a)
{
	return address_in(n->bounds, n->bound_count, a);
}

static bool has_label(const struct node_bound *const *bounds, size_t count,
		      const struct label *label)
{
	for (size_t i = 0; i < count; i++) {
		const char *value =
			label_value(bounds[i]->labels, bounds[i]->label_count, label->key);

		if (value && str_eq(value, label->value))
			return true;
	}
	return false;
}

/* "pay-*, api-*" */
static const char *patterns_text(char buf[TEXT_LIST_MAX], const struct identity *id)
{
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < id->placement_node_count && used < TEXT_LIST_MAX - 1; i++) {
		int n = snprintf(buf + used, TEXT_LIST_MAX - used, "%s%s", i > 0 ? ", " : "",
				 id->placement_nodes[i]);

		used += n > 0 ? (size_t)n : 0;
	}
	return buf;
}

static int check_node(const struct identity *id, const struct node_bound *const *bounds,
		      size_t count, const char *node, struct err *err)
{
	bool may = id->placement_node_count == 0;
	char list[TEXT_LIST_MAX];

	if (count == 0)
		return err_set(err, EACCES,
			       "no entry of 'nodes' in signed policy matches node '%s'; one for it "
			       "would be right",
			       node);
	for (size_t i = 0; i < id->placement_node_count && !may; i++)
		may = text_glob(id->placement_nodes[i], node);
	if (!may)
		return err_set(err, EACCES,
			       "signed policy bounds '%s' to nodes %s; '%s' is none of these",
			       id->path, patterns_text(list, id), node);
	for (size_t i = 0; i < id->placement_label_count; i++) {
		const struct label *label = &id->placement_labels[i];

		if (!has_label(bounds, count, label))
			return err_set(err, EACCES,
				       "signed policy bounds '%s' to nodes with the label %s=%s, "
				       "which '%s' has not",
				       id->path, label->key, label->value, node);
	}
	return 0;
}

static int check_all(const struct policy *p, uint32_t identity,
		     const struct node_bound *const *bounds, size_t bound_count, const char *node,
		     const struct addr *addresses, size_t count, struct err *err)
{
	char text[ADDR_TEXT_MAX];
	int r;

	r = check_node(&p->identities[identity], bounds, bound_count, node, err);
	for (size_t i = 0; i < count && r == 0; i++)
		if (!address_in(bounds, bound_count, &addresses[i]))
			r = err_set(err, EACCES,
				    "%s is outside the addresses that signed policy gives node "
				    "'%s' (pattern '%s')",
				    addr_format(text, &addresses[i]), node,
				    bound_count > 0 ? bounds[0]->pattern : "");
	return r;
}

int views_check_place(const struct views *v, const char *path, const char *node,
		      const struct addr *addresses, size_t count, struct err *err)
{
	CLEANUP(freep) const struct node_bound **found = NULL;
	const struct place_node *n = map_get_str(v->node_by_name, node);
	const struct policy *p = v->policy;
	size_t found_count = 0;
	int index, r;

	index = p ? policy_find_identity(p, path) : -ENOENT;
	if (index < 0 || !str_eq(p->identities[index].path, path))
		return err_set(err, ENOENT, "no identity of the policy has the path '%s'", path);
	r = n ? 0 : bounds_find(v, node, &found, &found_count);
	if (r < 0)
		return err_set(err, ENOMEM, "out of memory");
	return check_all(p, (uint32_t)index, n ? n->bounds : found,
			 n ? n->bound_count : found_count, node, addresses, count, err);
}

int views_check_stored(const struct views *v, const struct place_identity *id,
		       const struct place *p, struct err *err)
{
	const struct place_node *n = v->nodes[p->node];

	if (!v->policy || id->index == VIEWS_NONE)
		return err_set(err, ENOENT, "no identity of the policy has the path '%s'",
			       id->path);
	if (n->shut)
		return err_set(err, EACCES, "node '%s' is banned or revoked", n->name);
	if (p->source == PLACE_REPORT && views_pinned(id))
		return err_set(err, EEXIST,
			       "outranked: an operator or a file places it, not the report of '%s'",
			       n->name);
	return check_all(v->policy, id->index, n->bounds, n->bound_count, n->name, p->addresses,
			 p->address_count, err);
}
