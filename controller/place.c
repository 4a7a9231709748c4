/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Placements by operators: checked against signed policy before anything is written. */
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int place_store(struct core *c, const struct place_order *o, enum place_source source,
		struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	int r;

	if (o->remove)
		return store_order(c->store, STORE_PLACEMENT_DEL, err, store_text(o->identity),
				   store_text(o->node), store_int(source));
	if (!addresses_format(o->addresses, o->address_count, &text))
		return err_set(err, ENOMEM, "out of memory");
	r = store_order(c->store, STORE_PLACEMENT_PUT, err, store_text(o->identity),
			store_text(o->node), store_int(source), store_text(text));
	return r < 0 ? r : 0;
}

/* After the commit. What memory does not hold is built again from the store. */
int place_apply(struct core *c, const struct place_order *o, enum place_source source)
{
	int r = o->remove ? views_unplace(c->views, o->identity, o->node, source)
			  : views_place(c->views, o->identity, o->node, source, o->addresses,
					o->address_count);

	/* Beyond a limit nothing has changed; building it again would not make room. */
	if (r == -E2BIG)
		log_error("controller: '%s' on '%s' is beyond what one controller can hold; left "
			  "out of every view",
			  o->identity, o->node);
	else if (r < 0)
		c->lost = true;
	return r;
}

/* --- an operator's order ---------------------------------------------------------------------- */

static int parse_addresses(const char *const *texts, size_t count, struct addr *ret,
			   struct err *err)
{
	char quoted[LOG_QUOTE_MAX];

	if (count > VIEW_ADDRESSES_MAX)
		return err_set(err, EINVAL, "%zu addresses; at most %d would be right", count,
			       VIEW_ADDRESSES_MAX);
	for (size_t i = 0; i < count; i++) {
		static const uint8_t zeros[16];

		if (!texts[i] || addr_parse(texts[i], &ret[i]) < 0)
			return err_set(err, EINVAL, "'%s' is not an address; 10.0.0.5 would be one",
				       texts[i] ? log_quote(quoted, texts[i]) : "");
		if (addr_is_multicast_or_broadcast(&ret[i]) || addr_is_loopback(&ret[i]) ||
		    memcmp(ret[i].bytes, zeros, addr_len(&ret[i])) == 0)
			return err_set(err, EINVAL,
				       "%s is not the address of a host that others "
				       "can reach",
				       texts[i]);
	}
	return 0;
}

static const struct place *stored_place(const struct core *c, const char *identity,
					const char *node, enum place_source source)
{
	const struct place_identity *id = views_find_identity(c->views, identity);
	uint32_t at = views_find_node(c->views, node);

	for (size_t i = 0; id && i < id->place_count; i++)
		if (id->places[i].node == at && id->places[i].source == source)
			return &id->places[i];
	return NULL;
}

static int check_remove(const struct core *c, const struct place_order *o, struct err *err)
{
	if (stored_place(c, o->identity, o->node, PLACE_API))
		return 0;
	if (stored_place(c, o->identity, o->node, PLACE_FILE))
		return err_set(
			err, EEXIST,
			"a file below '%s/%s' places '%s' on '%s'; taking it out there would "
			"be right",
			c->dir, PLACE_FILES_DIR, o->identity, o->node);
	if (stored_place(c, o->identity, o->node, PLACE_REPORT))
		return err_set(err, EEXIST,
			       "the agent of '%s' reports that '%s' runs there; placing it "
			       "elsewhere overrules the report",
			       o->node, o->identity);
	return err_set(err, ENOENT, "'%s' is not placed on '%s'", o->identity, o->node);
}

static json_t *order_json(const struct place_order *o)
{
	return json_pack("{s:s,s:s,s:o,s:b}", "identity", o->identity, "node", o->node, "addresses",
			 addresses_json(o->addresses, o->address_count), "removed", (int)o->remove);
}

static int write_order(struct core *c, const struct place_order *o, const char *who,
		       struct err *err)
{
	json_t *detail = order_json(o);
	int r;

	r = core_write_begin(c, who, o->remove ? "unplace" : "place", o->identity, detail, err);
	json_decref(detail);
	if (r < 0)
		return r;
	return core_write_end(c, place_store(c, o, PLACE_API, err), err);
}

/* The path, also where a name was given; an identity gone from policy can still be removed. */
static int identity_path(const struct core *c, const char *identity, bool remove, const char **ret,
			 struct err *err)
{
	const struct place_identity *known;
	int index;

	known = remove && identity ? views_find_identity(c->views, identity) : NULL;
	if (known) {
		*ret = known->path;
		return 0;
	}
	if (!identity || identity[0] == '\0')
		return err_set(err, EINVAL, "identity is missing; a name or path would be right");
	index = find_identity(c, identity, err);
	if (index >= 0)
		*ret = c->policy->identities[index].path;
	return index < 0 ? index : 0;
}

int core_place(struct core *c, const char *identity, const char *node, const char *const *addresses,
	       size_t count, bool remove, const char *who, json_t **ret, struct err *err)
{
	struct place_order o = {.node = node, .address_count = count, .remove = remove};
	struct addr parsed[VIEW_ADDRESSES_MAX];
	size_t changed;
	json_t *answer;
	int r;

	r = core_ready(c, err);
	if (r == 0)
		r = check_node_name(node, err);
	if (r == 0)
		r = parse_addresses(addresses, count, parsed, err);
	if (r == 0)
		r = identity_path(c, identity, remove, &o.identity, err);
	if (r < 0)
		return r;
	o.addresses = parsed;
	r = remove ? check_remove(c, &o, err)
		   : views_check_place(c->views, o.identity, node, parsed, count, err);
	if (r == 0 && !remove)
		r = core_node_fits(c, node, err);
	if (r == 0)
		r = write_order(c, &o, who, err);
	if (r < 0)
		return r;
	answer = order_json(&o); /* the path may go with what is removed */
	(void)place_apply(c, &o, PLACE_API);
	changed = heads_changed(c, false);
	if (answer) {
		(void)json_object_set_new(answer, "version", json_integer(1));
		(void)json_object_set_new(answer, "heads_changed",
					  json_integer((json_int_t)changed));
	}
	*ret = answer;
	return answer ? 0 : err_set(err, ENOMEM, "out of memory");
}
