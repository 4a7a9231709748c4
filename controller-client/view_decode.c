/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/view_decode.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "rules/policy_grammar.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHAT          "view.json"
#define PATH_MAX_LEN  2048
#define SERVICES_MAX  1024
#define ITEM_PATH_MAX 64
#define ENTRY_KEY_MAX (PATH_MAX_LEN + NODE_NAME_MAX + 2)

struct decoder {
	struct view *view;
	struct err *err;
	int r; /* -ENOMEM; mistakes are in the object at hand */
};

/* ---- parts ---- */

static char *copy(struct decoder *d, const char *text)
{
	char *s = text != NULL ? mem_strdup(text) : NULL;

	if (text != NULL && s == NULL)
		d->r = -ENOMEM;
	return s;
}

static char *take_path(struct decoder *d, struct json_object *o)
{
	const char *path = json_take_string(o, "identity", PATH_MAX_LEN);
	const char *fault = path != NULL ? path_fault(path, "") : NULL;

	if (fault != NULL)
		(void)json_fail(o, "identity", "path %s", fault);
	return fault == NULL ? copy(d, path) : NULL;
}

static char *take_node(struct decoder *d, struct json_object *o)
{
	const char *name = json_take_string(o, "node", NODE_NAME_MAX);

	if (name != NULL && !node_name_ok(name)) {
		(void)json_fail(o, "node",
				"not a node name; letters, digits, '.', '_', '-' and at "
				"most 63 of them would be right");
		return NULL;
	}
	return copy(d, name);
}

static bool is_unspecified(const struct addr *a)
{
	static const uint8_t zeros[16];

	return memcmp(a->bytes, zeros, addr_len(a)) == 0;
}

static int address_from(struct json_object *o, const char *key, const char *text, struct addr *ret)
{
	char quoted[LOG_QUOTE_MAX];

	if (text == NULL || addr_parse(text, ret) < 0)
		return json_fail(o, key, "%s is not an address",
				 text != NULL ? log_quote(quoted, text) : "a value");
	if (is_unspecified(ret) || addr_is_multicast_or_broadcast(ret))
		return json_fail(o, key, "%s is not the address of a host", text);
	return 0;
}

static void fill_addresses(struct decoder *d, struct json_object *o, json_t *list,
			   struct addr **ret, size_t *ret_count)
{
	size_t count = json_array_size(list);

	if (list == NULL)
		return;
	*ret = mem_calloc(count, sizeof(**ret));
	if (*ret == NULL) {
		d->r = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (address_from(o, "addresses", text, &(*ret)[i]) < 0)
			return;
		*ret_count = i + 1;
	}
}

static void take_addresses(struct decoder *d, struct json_object *o, struct addr **ret,
			   size_t *ret_count)
{
	json_t *list = json_take_array(o, "addresses", VIEW_ADDRESSES_MAX);

	if (list != NULL && json_array_size(list) == 0)
		(void)json_fail(o, "addresses", "empty; at least one address would be right");
	fill_addresses(d, o, list, ret, ret_count);
}

static void may_services(struct decoder *d, struct json_object *o, struct view_peer *peer)
{
	json_t *list = json_may_array(o, "services", SERVICES_MAX);
	size_t count = json_array_size(list);
	char quoted[LOG_QUOTE_MAX];

	if (list == NULL)
		return;
	peer->has_services = true;
	peer->services = mem_calloc(count, sizeof(*peer->services));
	if (peer->services == NULL) {
		d->r = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (text == NULL || service_parse(text, &peer->services[i]) < 0) {
			(void)json_fail(o, "services", "%s is not a service; tcp/443 would be one",
					text != NULL ? log_quote(quoted, text) : "a value");
			return;
		}
		peer->service_count = i + 1;
	}
}

/* ---- entries: each fills its struct, which view_free() cleans up whatever happens ---- */

static void placed_fill(struct decoder *d, struct json_object *o, size_t i)
{
	struct view_placed *placed = &d->view->placed[i];

	d->view->placed_count = i + 1;
	placed->identity = take_path(d, o);
	fill_addresses(d, o, json_may_array(o, "addresses", VIEW_ADDRESSES_MAX), &placed->addresses,
		       &placed->address_count);
}

static void peer_fill(struct decoder *d, struct json_object *o, size_t i)
{
	struct view_peer *peer = &d->view->peers[i];

	d->view->peer_count = i + 1;
	peer->identity = take_path(d, o);
	peer->node = take_node(d, o);
	take_addresses(d, o, &peer->addresses, &peer->address_count);
	may_services(d, o, peer);
}

static void attest_fill(struct decoder *d, struct json_object *o, struct view_node *node)
{
	json_t *value = json_may_object(o, "attest");
	char path[ITEM_PATH_MAX + 8];
	struct json_object attest;
	const char *address;

	if (value == NULL)
		return;
	(void)snprintf(path, sizeof(path), "%.*s.attest", ITEM_PATH_MAX, o->path);
	json_object_begin(&attest, value, WHAT, path, d->err);
	address = json_take_string(&attest, "address", ADDR_TEXT_MAX);
	if (address != NULL)
		(void)address_from(&attest, "address", address, &node->attest_address);
	node->attest_port = (uint16_t)json_take_int(&attest, "port", 1, UINT16_MAX);
	node->has_attest = true;
	/* Its error is told already; the outer object must only know of it. */
	if (json_finish(&attest) < 0)
		o->r = attest.r;
}

static void node_fill(struct decoder *d, struct json_object *o, size_t i)
{
	struct view_node *node = &d->view->nodes[i];

	d->view->node_count = i + 1;
	node->node = take_node(d, o);
	take_addresses(d, o, &node->addresses, &node->address_count);
	attest_fill(d, o, node);
}

/* ---- lists ---- */

struct list {
	const char *key;
	void (*fill)(struct decoder *d, struct json_object *o, size_t i);
	void **items;
	size_t size;
};

static int decode_item(struct decoder *d, const struct list *l, json_t *value, size_t i)
{
	char path[ITEM_PATH_MAX];
	struct json_object o;
	int r;

	(void)snprintf(path, sizeof(path), "%s[%zu]", l->key, i);
	json_object_begin(&o, value, WHAT, path, d->err);
	if (o.r < 0)
		return o.r;
	l->fill(d, &o, i);
	r = json_finish(&o);
	if (d->r == -ENOMEM)
		return err_set(d->err, ENOMEM, "%s: out of memory", WHAT);
	return r;
}

static int decode_list(struct decoder *d, const struct list *l, json_t *values)
{
	size_t count = json_array_size(values);
	void *items = mem_calloc(count, l->size);
	int r = 0;

	if (items == NULL)
		return err_set(d->err, ENOMEM, "%s: out of memory", WHAT);
	memcpy(l->items, &items, sizeof(items));
	for (size_t i = 0; i < count && r == 0; i++)
		r = decode_item(d, l, json_array_get(values, i), i);
	return r;
}

/* ---- double entries ---- */

static int add_once(struct decoder *d, struct map *seen, const char *list, size_t i,
		    const char *name, const char *node)
{
	char key[ENTRY_KEY_MAX];
	int r;

	(void)snprintf(key, sizeof(key), "%s@%s", name, node);
	if (map_get_str(seen, key) != NULL)
		return err_set(d->err, EBADMSG,
			       "%s: %s[%zu]: %.100s%s%s is there already; one entry "
			       "with all its addresses would be right",
			       WHAT, list, i, name, node[0] != '\0' ? " at " : "", node);
	r = map_put_str(seen, key, d);
	return r < 0 ? err_set(d->err, -r, "%s: out of memory", WHAT) : 0;
}

static int refuse_doubles(struct decoder *d)
{
	CLEANUP(map_freep) struct map *seen = map_new(VIEW_ENTRIES_MAX, NULL);
	const struct view *v = d->view;
	int r = seen != NULL ? 0 : err_set(d->err, ENOMEM, "%s: out of memory", WHAT);

	for (size_t i = 0; i < v->placed_count && r == 0; i++)
		r = add_once(d, seen, "placed", i, v->placed[i].identity, "");
	if (r == 0)
		map_clear(seen);
	for (size_t i = 0; i < v->peer_count && r == 0; i++)
		r = add_once(d, seen, "peers", i, v->peers[i].identity, v->peers[i].node);
	if (r == 0)
		map_clear(seen);
	for (size_t i = 0; i < v->node_count && r == 0; i++)
		r = add_once(d, seen, "nodes", i, v->nodes[i].node, "");
	return r;
}

/* ---- the document ---- */

static int check_head(struct decoder *d, const char *expected_node, uint64_t min_sequence)
{
	const struct view *v = d->view;

	if (expected_node != NULL && expected_node[0] != '\0' &&
	    strcmp(v->node, expected_node) != 0)
		return err_set(d->err, EXDEV, "%s: written for node %s; this is %s", WHAT, v->node,
			       expected_node);
	if (v->sequence < min_sequence)
		return err_set(d->err, ESTALE,
			       "%s: sequence %" PRIu64 " is older than %" PRIu64
			       ", which is in force; a higher one would be right",
			       WHAT, v->sequence, min_sequence);
	return 0;
}

static int decode(struct decoder *d, json_t *root, const char *expected_node, uint64_t min_sequence)
{
	struct view *v = d->view;
	const struct list lists[] = {
		{"placed", placed_fill, (void **)&v->placed, sizeof(*v->placed)},
		{"peers", peer_fill, (void **)&v->peers, sizeof(*v->peers)},
		{"nodes", node_fill, (void **)&v->nodes, sizeof(*v->nodes)},
	};
	json_t *values[ARRAY_LEN(lists)], *devices;
	struct json_object o;
	int r;

	json_object_begin(&o, root, WHAT, "", d->err);
	(void)json_take_int(&o, "version", 1, 1);
	v->node = take_node(d, &o);
	v->sequence = (uint64_t)json_take_int(&o, "sequence", 0, INT64_MAX);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		values[i] = json_take_array(&o, lists[i].key, VIEW_ENTRIES_MAX);
	devices = json_may_array(&o, "devices", VIEW_ENTRIES_MAX);
	if (json_array_size(devices) > 0)
		(void)json_fail(&o, "devices", "not available on this node yet; [] would be right");
	r = json_finish(&o);
	if (d->r < 0)
		return err_set(d->err, ENOMEM, "%s: out of memory", WHAT);
	if (r == 0)
		r = check_head(d, expected_node, min_sequence);
	for (size_t i = 0; i < ARRAY_LEN(lists) && r == 0; i++)
		r = decode_list(d, &lists[i], values[i]);
	return r < 0 ? r : refuse_doubles(d);
}

int view_decode(const char *text, size_t len, const char *expected_node, uint64_t min_sequence,
		struct view **ret, struct err *err)
{
	CLEANUP(view_freep) struct view *v = NULL;
	struct decoder d = {.err = err};
	json_t *root = NULL;
	int r;

	if (len > VIEW_DOCUMENT_MAX)
		return err_set(err, E2BIG, "%s: larger than %u MiB", WHAT, VIEW_DOCUMENT_MAX >> 20);
	r = json_parse_strict(text, len, WHAT, &root, err);
	if (r < 0)
		return r;
	v = mem_calloc(1, sizeof(*v));
	d.view = v;
	r = v != NULL ? decode(&d, root, expected_node, min_sequence)
		      : err_set(err, ENOMEM, "%s: out of memory", WHAT);
	json_decref(root);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(v);
	return 0;
}
