/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/policy_expression.h"

#include "base/text.h"
#include "rules/policy.h"
#include "rules/policy_grammar.h"

#include <errno.h>
#include <string.h>

bool expression_next_term(const char **at, struct expression_term *ret)
{
	const char *p = *at;
	size_t len, key_len;

	if (p == NULL)
		return false;
	len = strcspn(p, ",");
	key_len = strcspn(p, "=,");
	ret->key = p;
	ret->key_len = key_len;
	ret->values = key_len < len ? p + key_len + 1 : p + len;
	ret->values_len = (size_t)(p + len - ret->values);
	*at = p[len] == ',' ? p + len + 1 : NULL;
	return true;
}

bool expression_next_value(struct expression_term *term, const char **ret, size_t *ret_len)
{
	const char *bar;

	if (term->values == NULL)
		return false;
	bar = memchr(term->values, '|', term->values_len);
	*ret = term->values;
	*ret_len = bar != NULL ? (size_t)(bar - term->values) : term->values_len;
	term->values_len -= *ret_len + (bar != NULL);
	term->values = bar != NULL ? bar + 1 : NULL;
	return true;
}

static const char *term_fault(struct expression_term *t)
{
	const char *fault = label_key_fault(t->key, t->key_len), *value;
	size_t len;

	while (fault == NULL && expression_next_value(t, &value, &len))
		fault = label_value_fault(value, len);
	return fault;
}

bool expression_check(const char *text, struct err *err)
{
	struct expression_term t;
	const char *at = text;
	size_t terms = 0;

	while (expression_next_term(&at, &t)) {
		const char *term = t.key;
		size_t len = strcspn(term, ",");
		const char *fault = term_fault(&t);

		if (fault != NULL) {
			(void)err_set(err, EINVAL, "term \"%.*s\" %s", (int)(len < 64 ? len : 64),
				      term, fault);
			return false;
		}
		if (++terms > EXPRESSION_TERMS_MAX) {
			(void)err_set(err, EINVAL, "more than %d terms", EXPRESSION_TERMS_MAX);
			return false;
		}
	}
	return true;
}

static bool term_matches(struct expression_term *t, const struct label *labels, size_t count)
{
	const char *value;
	size_t len;

	for (size_t i = 0; i < count; i++) {
		struct expression_term values = *t;

		if (strlen(labels[i].key) != t->key_len ||
		    memcmp(labels[i].key, t->key, t->key_len) != 0)
			continue;
		while (expression_next_value(&values, &value, &len)) {
			if (strlen(labels[i].value) == len &&
			    memcmp(labels[i].value, value, len) == 0)
				return true;
		}
	}
	return false;
}

bool expression_matches(const char *text, const struct label *labels, size_t label_count)
{
	struct expression_term t;
	const char *at = text;

	while (expression_next_term(&at, &t)) {
		if (!term_matches(&t, labels, label_count))
			return false;
	}
	return true;
}
