/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/report.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define WHAT          "status"
#define KEPT_TEXT_MAX 256

void report_done(struct report *r)
{
	free(r->addresses);
	for (size_t i = 0; i < r->workload_count; i++) {
		free(r->workloads[i].identity);
		free(r->workloads[i].addresses);
	}
	free(r->workloads);
	json_decref(r->cut);
	json_decref(r->kept);
	*r = (struct report){0};
}

/* Absent and null are the same here: agents say null where they know nothing. */
static json_t *member(const json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);

	return json_is_null(v) ? NULL : v;
}

static int number(const json_t *root, const char *key, uint64_t *ret, struct err *err)
{
	const json_t *v = member(root, key);

	if (!v)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return err_set(err, EBADMSG, "%s: '%s' is no number from 0 on", WHAT, key);
	*ret = (uint64_t)json_integer_value(v);
	return 0;
}

/* Of a host, and one that others could reach: not of this link only. */
static bool is_host_address(const struct addr *a)
{
	static const uint8_t zeros[16];
	bool link_local = a->family == AF_INET
				  ? a->bytes[0] == 169 && a->bytes[1] == 254
				  : a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;

	return !link_local && !addr_is_loopback(a) && !addr_is_multicast_or_broadcast(a) &&
	       memcmp(a->bytes, zeros, addr_len(a)) != 0;
}

static int order_addresses(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

static size_t sort_unique(struct addr *at, size_t count)
{
	size_t kept = 0;

	if (count > 0)
		qsort(at, count, sizeof(*at), order_addresses);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || !addr_eq(&at[kept - 1], &at[i]))
			at[kept++] = at[i];
	return kept;
}

static int addresses(const json_t *list, const char *where, struct addr **ret, size_t *ret_count,
		     struct err *err)
{
	size_t count = json_array_size(list), kept = 0;
	struct addr *found;

	if (!list)
		return 0;
	if (!json_is_array(list) || count > VIEW_ADDRESSES_MAX)
		return err_set(err, EBADMSG, "%s: 'addresses' of %s is no list of at most %d", WHAT,
			       where, VIEW_ADDRESSES_MAX);
	found = mem_calloc(count, sizeof(*found));
	if (!found)
		return err_set(err, ENOMEM, "out of memory");
	*ret = found;
	for (size_t i = 0; i < count; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (!text || addr_parse(text, &found[kept]) < 0)
			return err_set(err, EBADMSG, "%s: 'addresses' of %s holds what is none",
				       WHAT, where);
		kept += is_host_address(&found[kept]);
	}
	*ret_count = sort_unique(found, kept);
	return 0;
}

static int attest(const json_t *root, struct report *r, struct err *err)
{
	const json_t *v = member(root, "attest");
	const char *address = json_string_value(json_object_get(v, "address"));
	json_int_t port = json_integer_value(json_object_get(v, "port"));

	if (!v)
		return 0;
	if (!address || addr_parse(address, &r->attest_address) < 0 ||
	    !is_host_address(&r->attest_address) || port < 1 || port > UINT16_MAX)
		return err_set(err, EBADMSG, "%s: 'attest' is no address and port", WHAT);
	r->attest_port = (uint16_t)port;
	r->has_attest = true;
	return 0;
}

static int workload(const json_t *v, struct report_workload *w, struct err *err)
{
	const char *identity = json_string_value(json_object_get(v, "identity"));

	if (!identity || identity[0] == '\0' || strlen(identity) > REPORT_IDENTITY_MAX)
		return err_set(err, EBADMSG, "%s: a workload without an identity", WHAT);
	w->identity = mem_strdup(identity);
	if (!w->identity)
		return err_set(err, ENOMEM, "out of memory");
	return addresses(member(v, "addresses"), "a workload", &w->addresses, &w->address_count,
			 err);
}

static int workloads(const json_t *root, struct report *r, struct err *err)
{
	const json_t *list = member(root, "workloads");
	size_t count = json_array_size(list);
	int result = 0;

	if (!list)
		return 0;
	if (!json_is_array(list) || count > REPORT_WORKLOADS_MAX)
		return err_set(err, EBADMSG, "%s: 'workloads' is no list of at most %d", WHAT,
			       REPORT_WORKLOADS_MAX);
	r->workloads = mem_calloc(count, sizeof(*r->workloads));
	if (!r->workloads)
		return err_set(err, ENOMEM, "out of memory");
	r->has_workloads = true;
	for (size_t i = 0; i < count && result == 0; i++)
		result = workload(json_array_get(list, i), &r->workloads[r->workload_count++], err);
	return result;
}

static int cut_flows(json_t *root, struct report *r, struct err *err)
{
	json_t *list = member(root, "cut");
	json_t *flow;
	size_t i;

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > REPORT_CUT_MAX)
		return err_set(err, EBADMSG, "%s: 'cut' is no list of at most %d", WHAT,
			       REPORT_CUT_MAX);
	json_array_foreach(list, i, flow) {
		if (!json_is_object(flow))
			return err_set(err, EBADMSG, "%s: 'cut' holds what is no flow", WHAT);
	}
	r->cut = json_incref(list);
	return 0;
}

/* --- what status shows ------------------------------------------------------------------------ */

/* What could not be kept for want of memory is not half kept: the report is refused. */
struct keeping {
	json_t *o;
	bool failed;
};

static void keep_new(struct keeping *k, const char *key, json_t *value)
{
	k->failed |= json_object_set_new(k->o, key, value) < 0;
}

static void keep_text(struct keeping *k, const json_t *from, const char *key)
{
	const char *text = json_string_value(json_object_get(from, key));

	if (text && strlen(text) <= KEPT_TEXT_MAX)
		keep_new(k, key, json_string(text));
}

static bool error_fits(struct keeping *k, const json_t *v)
{
	const char *text = json_string_value(v);
	char *dumped;
	bool fits;

	if (text)
		return strlen(text) <= REPORT_TEXT_MAX;
	if (!json_is_object(v))
		return false;
	dumped = json_text(v, NULL);
	k->failed |= !dumped;
	fits = dumped && strlen(dumped) <= REPORT_TEXT_MAX;
	free(dumped);
	return fits;
}

static void keep_errors(struct keeping *k, const json_t *root)
{
	const json_t *list = json_object_get(root, "errors");
	json_t *kept = json_array(), *v;
	size_t i;

	json_array_foreach(list, i, v) {
		if (json_array_size(kept) < REPORT_ERRORS_MAX && error_fits(k, v))
			k->failed |= json_array_append(kept, v) < 0;
	}
	keep_new(k, "errors", kept);
}

static void keep_addresses(struct keeping *k, const struct report *r)
{
	json_t *list = json_array();
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; i < r->address_count; i++)
		k->failed |= json_array_append_new(
				     list, json_string(addr_format(text, &r->addresses[i]))) < 0;
	keep_new(k, "addresses", list);
}

static int keep(const json_t *root, struct report *r, struct err *err)
{
	static const char *const texts[] = {"mode", "state", "policy_digest", "spiffe_expires",
					    "release"};
	struct keeping k = {.o = json_object()};
	char text[ADDR_TEXT_MAX];

	r->kept = k.o;
	keep_new(&k, "head_sequence", json_integer((json_int_t)r->head_sequence));
	keep_new(&k, "policy_revision", json_integer((json_int_t)r->policy_revision));
	keep_new(&k, "view_sequence", json_integer((json_int_t)r->view_sequence));
	keep_addresses(&k, r);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		keep_text(&k, root, texts[i]);
	if (r->has_attest)
		keep_new(&k, "attest",
			 json_pack("{s:s,s:i}", "address", addr_format(text, &r->attest_address),
				   "port", (int)r->attest_port));
	keep_errors(&k, root);
	return k.failed ? err_set(err, ENOMEM, "out of memory") : 0;
}

/* --- the whole ------------------------------------------------------------------------------- */

static int whose(const json_t *root, const char *node, struct err *err)
{
	const char *name = json_string_value(json_object_get(root, "node"));
	const json_t *version = json_object_get(root, "version");

	if (!json_is_object(root))
		return err_set(err, EBADMSG, "%s: not an object", WHAT);
	if (!json_is_integer(version) || json_integer_value(version) != 1)
		return err_set(err, EBADMSG, "%s: 'version' is not 1", WHAT);
	if (!name || !str_eq(name, node))
		return err_set(err, EBADMSG, "%s: 'node' is not '%s', whose certificate this is",
			       WHAT, node);
	return 0;
}

static int decode(json_t *root, const char *node, struct report *r, struct err *err)
{
	int result = whose(root, node, err);

	if (result == 0)
		result = number(root, "head_sequence", &r->head_sequence, err);
	if (result == 0)
		result = number(root, "policy_revision", &r->policy_revision, err);
	if (result == 0)
		result = number(root, "view_sequence", &r->view_sequence, err);
	if (result == 0)
		result = addresses(member(root, "addresses"), "the node", &r->addresses,
				   &r->address_count, err);
	if (result == 0)
		result = attest(root, r, err);
	if (result == 0)
		result = workloads(root, r, err);
	if (result == 0)
		result = cut_flows(root, r, err);
	return result < 0 ? result : keep(root, r, err);
}

int report_decode(const char *text, size_t len, const char *node, struct report *ret,
		  struct err *err)
{
	struct report r = {0};
	json_t *root = NULL;
	int result;

	if (len > REPORT_MAX)
		return err_set(err, E2BIG, "%s: larger than %u KiB", WHAT, REPORT_MAX >> 10);
	result = json_parse_strict(text, len, WHAT, &root, err);
	if (result == 0)
		result = decode(root, node, &r, err);
	json_decref(root);
	if (result < 0) {
		report_done(&r);
		return result;
	}
	*ret = r;
	return 0;
}
