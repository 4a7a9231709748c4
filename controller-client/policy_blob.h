/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Policy blobs: the policy as JSON, one blob per file that people wrote, named in the manifest.
 * What everybody who makes or takes them must agree on.
 */
#pragma once

#include "base/err.h"
#include "controller-client/manifest.h"
#include "rules/policy.h"

#include <stddef.h>

/* "payments.yaml" to "payments.json"; -EINVAL when that is no name for a blob. */
int policy_blob_name(const char *file_name, char ret[MANIFEST_NAME_MAX], struct err *err);

/*
 * Takes a blob, whose digest was compared already, as a text of p. Strict JSON first: the policy's
 * own parser would read YAML as well, and then two readers could see two policies. -EBADMSG,
 * -E2BIG, -ENOMEM; mistakes in the policy itself are findings of p.
 */
int policy_blob_add(struct policy *p, const struct blob_ref *blob, const void *bytes, size_t len,
		    struct err *err);

/*
 * What policy must say, besides being without errors, before it may be signed or taken as signed:
 * the manifest's trust domain, and `nodes`, the bounds that no view may exceed. Without them a
 * thief of the controller could place any identity anywhere. After policy_finish(). -EINVAL.
 */
int policy_blob_check(const struct policy *p, const char *trust_domain, struct err *err);
