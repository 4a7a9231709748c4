/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DETAIL_MAX (16U << 10)

int core_write_begin(struct core *c, const char *who, const char *verb, const char *subject,
		     json_t *detail, struct err *err)
{
	CLEANUP(freep) char *text = detail ? json_text(detail, NULL) : mem_strdup("{}");
	int r;

	if (!text)
		return err_set(err, ENOMEM, "out of memory");
	if (strlen(text) > DETAIL_MAX) {
		free(text);
		text = mem_strdup("{\"cut\":true}");
		if (!text)
			return err_set(err, ENOMEM, "out of memory");
	}
	r = store_begin(c->store, err);
	if (r < 0)
		return r;
	r = store_order(c->store, STORE_AUDIT_ADD, err, store_int(core_now(c).s),
			store_text(who ? who : ""), store_text(verb), store_text(subject),
			store_text(text));
	if (r >= 0)
		return 0;
	store_rollback(c->store);
	return r;
}

int core_write_end(struct core *c, int r, struct err *err)
{
	if (r >= 0)
		return store_commit(c->store, err);
	store_rollback(c->store);
	return r;
}

/* --- what comes from outside ------------------------------------------------------------------ */

int check_node_name(const char *node, struct err *err)
{
	char quoted[LOG_QUOTE_MAX];

	if (node && node_name_ok(node))
		return 0;
	return err_set(err, EINVAL,
		       "'%s' is no node name; letters, digits, '.', '_', '-' and at most 63 of "
		       "them would be right",
		       node ? log_quote(quoted, node) : "");
}

int check_text(const char *what, const char *text, size_t max, bool needed, struct err *err)
{
	size_t len = text ? strlen(text) : 0;

	if (needed && len == 0)
		return err_set(err, EINVAL, "%s is missing; a text would be right", what);
	if (len >= max)
		return err_set(err, EINVAL, "%s has %zu bytes; at most %zu would be right", what,
			       len, max - 1);
	if (len > 0 && !text_utf8_ok(text, len))
		return err_set(err, EINVAL, "%s is not UTF-8", what);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return err_set(err, EINVAL, "%s holds a control character", what);
	return 0;
}

static int nothing_called(const char *what, const char *name, const char *near, struct err *err)
{
	char quoted[LOG_QUOTE_MAX];

	if (near)
		return err_set(err, ENOENT, "no %s '%s' in the policy in force; did you mean '%s'?",
			       what, log_quote(quoted, name), near);
	return err_set(err, ENOENT, "no %s '%s' in the policy in force", what,
		       log_quote(quoted, name));
}

static int no_policy(struct err *err)
{
	return err_set(err, ENOENT,
		       "no policy is published yet; 'bailiwick-controller publish' first");
}

/* names are collected by the caller: name and path of identities. */
static int missing(const char *what, const char *name, const char **names, size_t count,
		   struct err *err)
{
	return nothing_called(what, name, text_nearest(name, names, count), err);
}

int find_identity(const struct core *c, const char *name, struct err *err)
{
	CLEANUP(freep) const char **names = NULL;
	const struct policy *p = c->policy;
	int found = p ? policy_find_identity(p, name) : no_policy(err);

	if (!p || found >= 0)
		return found;
	names = mem_calloc(2 * p->identity_count, sizeof(char *));
	if (!names)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < p->identity_count; i++) {
		names[2 * i] = p->identities[i].name;
		names[2 * i + 1] = p->identities[i].path;
	}
	return missing("identity", name, names, 2 * p->identity_count, err);
}

int find_rule(const struct core *c, const char *name, struct err *err)
{
	CLEANUP(freep) const char **names = NULL;
	const struct policy *p = c->policy;
	int found = p ? policy_find_rule(p, name) : no_policy(err);

	if (!p || found >= 0)
		return found;
	names = mem_calloc(p->rule_count, sizeof(char *));
	if (!names)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < p->rule_count; i++)
		names[i] = p->rules[i].name;
	return missing("rule", name, names, p->rule_count, err);
}

int find_network(const struct core *c, const char *name, struct err *err)
{
	CLEANUP(freep) const char **names = NULL;
	const struct policy *p = c->policy;
	int found = p ? policy_find_network(p, name) : no_policy(err);

	if (!p || found >= 0)
		return found;
	names = mem_calloc(p->network_count, sizeof(char *));
	if (!names)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < p->network_count; i++)
		names[i] = p->networks[i].name;
	return missing("network", name, names, p->network_count, err);
}

/* --- values in the store ---------------------------------------------------------------------- */

const char *addresses_format(const struct addr *addresses, size_t count, char **ret)
{
	CLEANUP(buf_done) struct buf b;
	char text[ADDR_TEXT_MAX];

	buf_init(&b, (size_t)VIEW_ADDRESSES_MAX * ADDR_TEXT_MAX);
	buf_puts(&b, "");
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			buf_putc(&b, ' ');
		buf_puts(&b, addr_format(text, &addresses[i]));
	}
	*ret = buf_take(&b);
	return *ret;
}

int addresses_parse(const char *text, struct addr **ret, size_t *ret_count)
{
	CLEANUP(freep) struct addr *found = NULL;
	size_t count = 0, cap = 0;
	int r;

	while (*text != '\0') {
		size_t len = strcspn(text, " ");
		char one[ADDR_TEXT_MAX];

		if (len == 0 || len >= sizeof(one))
			return -EINVAL;
		memcpy(one, text, len);
		one[len] = '\0';
		r = vec_grow(&found, &cap, count + 1, sizeof(*found), VIEW_ADDRESSES_MAX);
		if (r == 0)
			r = addr_parse(one, &found[count]);
		if (r < 0)
			return r;
		count++;
		text += len + (text[len] == ' ');
	}
	*ret = TAKE_PTR(found);
	*ret_count = count;
	return 0;
}

json_t *addresses_json(const struct addr *addresses, size_t count)
{
	json_t *list = json_array();
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(list, json_string(addr_format(text, &addresses[i])));
	return list;
}

json_t *time_json(int64_t s)
{
	char text[RFC3339_TEXT_MAX];

	return s > 0 ? json_string(rfc3339_format(text, (struct wall){s})) : json_null();
}
