/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/policy_blob.h"

#include "base/json.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SUFFIX     ".json"
#define NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

int policy_blob_name(const char *file_name, char ret[MANIFEST_NAME_MAX], struct err *err)
{
	static const char *const endings[] = {".yaml", ".yml", SUFFIX};
	size_t len = strlen(file_name);
	int n;

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		if (str_ends(file_name, endings[i])) {
			len -= strlen(endings[i]);
			break;
		}
	}
	if (len == 0 || file_name[0] == '.' || strspn(file_name, NAME_CHARS) < len)
		return err_set(err, EINVAL,
			       "%.200s: not a name for a signed document; letters, digits, '.', "
			       "'_' and '-', not beginning with '.', would be right",
			       file_name);
	n = len < MANIFEST_NAME_MAX
		    ? snprintf(ret, MANIFEST_NAME_MAX, "%.*s" SUFFIX, (int)len, file_name)
		    : -1;
	if (n < 0 || n >= MANIFEST_NAME_MAX)
		return err_set(err, EINVAL,
			       "%.200s: too long a name for a signed document; at most %zu bytes "
			       "would be right",
			       file_name, MANIFEST_NAME_MAX - sizeof(SUFFIX));
	return 0;
}

int policy_blob_add(struct policy *p, const struct blob_ref *blob, const void *bytes, size_t len,
		    struct err *err)
{
	json_t *root;
	int r = json_parse_strict(bytes, len, blob->name, &root, err);

	if (r < 0)
		return r;
	json_decref(root);
	r = policy_add_text(p, blob->name, bytes, len);
	return r < 0 ? err_set(err, -r, "%s: %s", blob->name, strerror(-r)) : 0;
}

int policy_blob_check(const struct policy *p, const char *trust_domain, struct err *err)
{
	if (p->node_count == 0)
		return err_set(err, EINVAL,
			       "signed policy needs nodes: (patterns of nodes with their "
			       "addresses), which bound where identities may ever be placed");
	if (trust_domain != NULL && !str_eq(p->trust_domain, trust_domain))
		return err_set(err, EINVAL,
			       "the policy is of trust domain %s, the manifest of %s; one "
			       "would be right",
			       p->trust_domain != NULL ? p->trust_domain : "(none)", trust_domain);
	return 0;
}
