/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/manifest.h"

#include "base/json.h"
#include "base/mem.h"
#include "controller-client/document.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WHAT "manifest"

/*
 * What a document may require of this release: attested and measured rules are not among them,
 * because nothing here can vouch for the far end.
 */
const char *const manifest_features[] = {"mapped", "attested", "grantable", "on_stale", NULL};

static void strings_free(char **strings, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(strings[i]);
	free(strings);
}

void manifest_done(struct manifest *m)
{
	free(m->trust_domain);
	free(m->policy);
	strings_free(m->requires, m->requires_count);
	strings_free(m->revoked_nodes, m->revoked_node_count);
	free(m->comment);
	*m = (struct manifest){0};
}

/* ---- decoding ---- */

static void take_requires(struct json_object *o, json_t *list, struct manifest *m)
{
	m->requires = document_array(o, list, sizeof(*m->requires));
	for (size_t i = 0; i < json_array_size(list) && o->r == 0; i++) {
		m->requires[i] = document_copy(o, json_string_value(json_array_get(list, i)));
		m->requires_count = i + 1;
	}
}

static void take_revoked(struct json_object *o, struct manifest *m)
{
	json_t *list = json_take_array(o, "revoked_nodes", MANIFEST_REVOKED_MAX);

	m->revoked_nodes = document_array(o, list, sizeof(*m->revoked_nodes));
	for (size_t i = 0; i < json_array_size(list) && o->r == 0; i++) {
		const char *name = json_string_value(json_array_get(list, i));

		if (name == NULL || !node_name_ok(name))
			(void)json_fail(o, "revoked_nodes", "entry %zu is not a node name", i);
		m->revoked_nodes[i] = document_copy(o, name);
		m->revoked_node_count = i + 1;
	}
}

/* It becomes a file's name: no separators, nothing hidden, not "..". */
static bool blob_name_ok(const char *name)
{
	static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789._-";

	return name[0] != '\0' && name[0] != '.' && name[strspn(name, chars)] == '\0';
}

static void fill_blob(struct json_object *o, void *user, size_t i)
{
	struct manifest *m = user;
	struct blob_ref *blob = &m->policy[i];
	const char *name = json_take_string(o, "name", MANIFEST_NAME_MAX - 1);

	if (name != NULL && !blob_name_ok(name))
		(void)json_fail(o, "name",
				"not a file's name; letters, digits, '.', '_', '-', not beginning "
				"with '.', would be right");
	document_take_sha256(o, "sha256", blob->sha256);
	blob->size = document_take_number(o, "size", 1, MANIFEST_BLOB_SIZE_MAX);
	if (o->r < 0 || name == NULL)
		return;
	memcpy(blob->name, name, strlen(name) + 1);
	m->policy_count = i + 1;
	for (size_t k = 0; k < i; k++) {
		if (strcmp(m->policy[k].name, name) == 0)
			(void)json_fail(o, "name", "%s is there already", name);
	}
}

static void check_policy(struct json_object *o, const struct manifest *m)
{
	uint64_t total = 0;

	for (size_t i = 0; i < m->policy_count; i++)
		total += m->policy[i].size;
	if (o->r == 0 && total > MANIFEST_POLICY_SIZE_MAX)
		(void)json_fail(o, "policy", "more than %u MiB in all",
				MANIFEST_POLICY_SIZE_MAX >> 20);
}

static void take_policy(struct json_object *o, struct manifest *m)
{
	json_t *list = json_take_array(o, "policy", MANIFEST_BLOBS_MAX);

	if (o->r == 0 && json_array_size(list) == 0)
		(void)json_fail(o, "policy", "empty; at least one blob would be right");
	m->policy = document_array(o, list, sizeof(*m->policy));
	document_each(o, "policy", list, fill_blob, m);
	check_policy(o, m);
}

static int decode(json_t *root, struct manifest *m, struct err *err)
{
	struct json_object o;
	json_t *requires;

	json_object_begin(&o, root, WHAT, "", err);
	requires = json_take_array(&o, "requires", MANIFEST_REQUIRES_MAX);
	document_take_version(&o, requires);
	take_requires(&o, requires, m);
	m->trust_domain = document_take_trust_domain(&o);
	m->revision = document_take_number(&o, "revision", 1, DOCUMENT_NUMBER_MAX);
	m->rollback_floor = document_take_number(&o, "rollback_floor", 0, DOCUMENT_NUMBER_MAX);
	if (o.r == 0 && m->rollback_floor > m->revision)
		(void)json_fail(&o, "rollback_floor", "above the manifest's own revision");
	document_take_validity(&o, &m->issued, &m->expires);
	take_policy(&o, m);
	take_revoked(&o, m);
	if (json_object_get(root, "comment") != NULL)
		m->comment = document_take_text(&o, "comment", MANIFEST_COMMENT_MAX);
	(void)json_may_object(&o, "ext");
	return json_finish(&o);
}

int manifest_decode(const uint8_t *text, size_t len, struct manifest *ret, struct err *err)
{
	CLEANUP(json_decrefp) json_t *root = NULL;
	struct manifest m = {0};
	int r;

	if (len > MANIFEST_MAX)
		return err_set(err, E2BIG, "%s: larger than %u KiB", WHAT, MANIFEST_MAX >> 10);
	r = json_parse_strict((const char *)text, len, WHAT, &root, err);
	if (r < 0)
		return r;
	r = decode(root, &m, err);
	if (r < 0) {
		manifest_done(&m);
		return r;
	}
	*ret = m;
	return 0;
}

/* ---- encoding ---- */

static json_t *strings_json(char *const *strings, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(list, json_host_string(strings[i]));
	if (json_array_size(list) == count)
		return list;
	json_decref(list);
	return NULL;
}

static json_t *policy_json(const struct manifest *m)
{
	json_t *list = json_array();
	int r = 0;

	for (size_t i = 0; i < m->policy_count; i++) {
		const struct blob_ref *blob = &m->policy[i];
		json_t *entry = json_object();

		document_set(entry, "name", json_host_string(blob->name), &r);
		document_set(entry, "sha256", json_host_string(blob->sha256), &r);
		document_set(entry, "size", json_integer((json_int_t)blob->size), &r);
		if (json_array_append_new(list, entry) < 0)
			r = -ENOMEM;
	}
	if (r == 0)
		return list;
	json_decref(list);
	return NULL;
}

static int encode(const struct manifest *m, char **ret, size_t *ret_len, struct err *err)
{
	json_t *root = json_object();
	int r = 0;

	document_set(root, "version", json_integer(1), &r);
	document_set(root, "trust_domain", json_host_string(m->trust_domain), &r);
	document_set(root, "revision", json_integer((json_int_t)m->revision), &r);
	document_set(root, "rollback_floor", json_integer((json_int_t)m->rollback_floor), &r);
	document_set(root, "issued", document_time(m->issued), &r);
	document_set(root, "expires", document_time(m->expires), &r);
	document_set(root, "requires", strings_json(m->requires, m->requires_count), &r);
	document_set(root, "policy", policy_json(m), &r);
	document_set(root, "revoked_nodes", strings_json(m->revoked_nodes, m->revoked_node_count),
		     &r);
	if (m->comment != NULL)
		document_set(root, "comment", json_host_string(m->comment), &r);
	if (r < 0) {
		json_decref(root);
		return err_set(err, ENOMEM, "%s: out of memory", WHAT);
	}
	return document_dump(root, WHAT, MANIFEST_MAX, ret, ret_len, err);
}

int manifest_encode(const struct manifest *m, char **ret, size_t *ret_len, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	struct manifest back = {0};
	size_t len = 0;
	int r = encode(m, &text, &len, err);

	if (r < 0)
		return r;
	/* What nodes would refuse is not signed: the decoder is the judge. */
	r = manifest_decode((const uint8_t *)text, len, &back, err);
	manifest_done(&back);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(text);
	*ret_len = len;
	return 0;
}
