/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Policies in tests: read from texts, findings as lines. */
#pragma once

#include "rules/policy.h"

#include <stddef.h>

/* 2026-11-22T00:00:00Z: the "now" of policy tests. */
#define FIXTURE_NOW_S 1795305600

#define FINDINGS_TEXT_MAX 16384

/* One finding a line: "p.yaml:3:5: what; advice", warnings with "warning: " in front. */
const char *findings_text(char buf[FINDINGS_TEXT_MAX], const struct policy *p,
			  enum finding_level level);

/* Finished or not, findings inside; NULL when memory ran out. Node that cannot attest. */
struct policy *policy_of(const char *text);
struct policy *policy_of_bytes(const void *text, size_t len);
/* Must be without errors: fails the test with the findings otherwise. */
struct policy *policy_sound(const char *text);

/* Whether the node of these policies can attest; false until a test says so. */
extern bool policy_fixture_attests;
