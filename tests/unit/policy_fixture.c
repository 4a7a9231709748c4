/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/policy_fixture.h"

#include "base/buf.h"
#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *findings_text(char buf[FINDINGS_TEXT_MAX], const struct policy *p,
			  enum finding_level level)
{
	char pos[POS_TEXT_MAX];
	size_t at = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < p->finding_count && at < FINDINGS_TEXT_MAX; i++) {
		const struct finding *f = &p->findings[i];

		if (f->level != level)
			continue;
		at += (size_t)snprintf(buf + at, FINDINGS_TEXT_MAX - at, "%s: %s%s%s\n",
				       pos_format(pos, p, &f->pos), f->message,
				       f->advice != NULL ? "; " : "",
				       f->advice != NULL ? f->advice : "");
	}
	return buf;
}

bool policy_fixture_attests = true;

struct policy *policy_of_bytes(const void *text, size_t len)
{
	struct policy_features features = {.attested = policy_fixture_attests};
	CLEANUP(policy_freep) struct policy *p = policy_new();
	int r;

	if (p == NULL)
		return NULL;
	r = policy_add_text(p, "p.yaml", text, len);
	if (r == 0)
		r = policy_finish(p, &features, (struct wall){.s = FIXTURE_NOW_S});
	return r == 0 || r == -EINVAL ? TAKE_PTR(p) : NULL;
}

struct policy *policy_of(const char *text)
{
	return policy_of_bytes(text, strlen(text));
}

struct policy *policy_sound(const char *text)
{
	struct policy *p = policy_of(text);
	char buf[FINDINGS_TEXT_MAX];

	CHECK(p != NULL);
	CHECK_STR(findings_text(buf, p, FINDING_ERROR), "");
	return p;
}
