/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/policy_grammar.h"

#include "base/addr.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/policy_build.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DIGITS     "0123456789"
#define LOWER      "abcdefghijklmnopqrstuvwxyz"
#define UPPER      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define WORD_CHARS LOWER UPPER DIGITS "._-"

#define SPIFFE_ID_MAX    2048
#define TRUST_DOMAIN_MAX 255
#define UNIT_NAME_MAX    255 /* systemd.unit(5) */
#define USER_NAME_MAX    32  /* useradd(8) */
#define PATH_TEXT_MAX    4095
#define PATTERN_MAX      63

static bool only(const char *text, const char *allowed)
{
	return text[0] != '\0' && text[strspn(text, allowed)] == '\0';
}

const char *name_fault(const char *name)
{
	if (strlen(name) >= POLICY_NAME_MAX)
		return "is longer than 127 characters";
	if (!only(name, WORD_CHARS))
		return "is not a name: letters, digits, '.', '_' and '-' make one";
	if (looks_like_address(name))
		return "reads as an address, which a name must not";
	return NULL;
}

bool trust_domain_ok(const char *text)
{
	return strlen(text) <= TRUST_DOMAIN_MAX && only(text, LOWER DIGITS "._-");
}

static const char *segment_fault(const char *segment, size_t len)
{
	if (len == 0)
		return "has an empty segment";
	if (strspn(segment, WORD_CHARS) < len)
		return "has a character other than letters, digits, '.', '_', '-'";
	if ((len == 1 && segment[0] == '.') || (len == 2 && memcmp(segment, "..", 2) == 0))
		return "has a segment '.' or '..'";
	return NULL;
}

const char *path_fault(const char *path, const char *trust_domain)
{
	size_t prefix = strlen("spiffe://") + strlen(trust_domain) + strlen("/");

	if (str_starts(path, "spiffe://"))
		return "is a whole SPIFFE ID; only what follows the trust domain belongs here";
	if (path[0] == '/')
		return "begins with '/'";
	if (prefix + strlen(path) > SPIFFE_ID_MAX)
		return "makes a SPIFFE ID of more than 2048 bytes";
	for (const char *p = path;; p++) {
		size_t len = strcspn(p, "/");
		const char *fault = segment_fault(p, len);

		if (fault != NULL)
			return fault;
		p += len;
		if (*p == '\0')
			break;
	}
	if (str_eq(path, "bailiwick") || str_starts(path, "bailiwick/"))
		return "is below bailiwick/, which is reserved for nodes and programs of Bailiwick";
	return NULL;
}

/* ---- labels ---- */

const char *label_key_fault(const char *key, size_t len)
{
	if (len == 0)
		return "has no key";
	if (len > LABEL_KEY_MAX)
		return "has a key of more than 63 characters";
	return strspn(key, WORD_CHARS "/") < len
		       ? "has a key with other characters than letters, digits, '.', '_', '-', '/'"
		       : NULL;
}

const char *label_value_fault(const char *value, size_t len)
{
	if (len == 0)
		return "has no value";
	if (len > LABEL_VALUE_MAX)
		return "has a value of more than 128 characters";
	return strspn(value, WORD_CHARS "/:@+") < len
		       ? "has a value with other characters than letters, digits, "
			 "'.', '_', '-', '/', ':', '@', '+'"
		       : NULL;
}

/*
 * DESIGN section 6: a key within two letters of a well-known one is an error. For the two short
 * ones (tier, zone) one letter counts: `role`, `node` and `time` are two away and good keys.
 */
const char *label_key_meant(const char *key)
{
	static const char *const known[] = {"environment", "function", "tier", "owner",
					    "vendor",      "purpose",  "zone"};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		unsigned limit = strlen(known[i]) <= 4 ? 1 : 2;
		unsigned distance = text_distance(key, known[i], limit);

		if (distance > 0 && distance <= limit)
			return known[i];
	}
	return NULL;
}

/* ---- selectors ---- */

static const char *unit_fault(const char *value)
{
	/* Kinds of units that have a cgroup of their own. */
	static const char *const suffixes[] = {".service", ".scope", ".socket", ".mount", ".swap"};

	if (strlen(value) > UNIT_NAME_MAX || !only(value, WORD_CHARS ":@\\"))
		return "is not a unit name" ADVISE "write it like payments-api.service";
	if (str_ends(value, ".slice"))
		return "is a slice" ADVISE "write it under slice:";
	if (strstr(value, "@.") != NULL)
		return "is a template" ADVISE "name an instance, as in worker@1.service";
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		if (str_ends(value, suffixes[i]) && strlen(value) > strlen(suffixes[i]))
			return NULL;
	}
	return "is not a unit with processes: .service, .scope, .socket, .mount or .swap ends "
	       "one" ADVISE "write it like payments-api.service";
}

static const char *slice_fault(const char *value)
{
	if (strlen(value) > UNIT_NAME_MAX || !only(value, WORD_CHARS ":\\"))
		return "is not a slice name" ADVISE "write it like payments.slice";
	if (str_eq(value, "-.slice"))
		return "is the root slice, which holds every process" ADVISE
		       "name a slice below it";
	if (!str_ends(value, ".slice") || str_eq(value, ".slice"))
		return "is not a slice: its name ends in .slice" ADVISE
		       "write it like payments.slice";
	return NULL;
}

static const char *absolute_path_fault(const char *value)
{
	if (value[0] != '/')
		return "is not an absolute path" ADVISE "begin with /";
	if (strlen(value) > PATH_TEXT_MAX)
		return "is longer than a path can be" ADVISE "write at most 4095 bytes";
	for (const char *p = value + 1;; p++) {
		size_t len = strcspn(p, "/");

		if (len == 0 || (len == 1 && p[0] == '.') || (len == 2 && memcmp(p, "..", 2) == 0))
			return "has an empty component, '.' or '..'" ADVISE "write it without";
		p += len;
		if (*p == '\0')
			return NULL;
	}
}

static const char *account_fault(const char *value)
{
	uint32_t id;

	/* 2^32 - 1 is (uid_t)-1, which means nobody to the kernel. */
	if (only(value, DIGITS) && text_u32(value, 0, UINT32_MAX - 1, &id) < 0)
		return "is not a valid number" ADVISE "write 0 to 4294967294";
	if (only(value, DIGITS))
		return NULL;
	if (strlen(value) > USER_NAME_MAX || !only(value, WORD_CHARS "$"))
		return "is neither a name nor a number" ADVISE "write it like payments, or 998";
	return NULL;
}

#define CONTAINER_DIGITS 64
#define DIGEST_DIGITS    64
#define POD_DIGITS       32

static bool lower_hex(const char *text, size_t digits)
{
	return strlen(text) == digits && only(text, "0123456789abcdef");
}

/* 8-4-4-4-12; static pods have the kubelet's MD5 without dashes (facts on identity, 9). */
static bool pod_uid_ok(const char *text)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	if (lower_hex(text, POD_DIGITS))
		return true;
	if (strlen(text) != sizeof(form) - 1 || !only(text, "0123456789abcdef-"))
		return false;
	for (size_t i = 0; i < sizeof(form) - 1; i++)
		if ((text[i] == '-') != (form[i] == '-'))
			return false;
	return true;
}

const char *selector_fault(enum selector_kind kind, const char *value)
{
	switch (kind) {
	case SELECTOR_UNIT:
		return unit_fault(value);
	case SELECTOR_SLICE:
		return slice_fault(value);
	case SELECTOR_CGROUP:
		if (str_eq(value, "/"))
			return "is the root, which holds every process" ADVISE
			       "name a cgroup below it";
		return absolute_path_fault(value);
	case SELECTOR_USER:
	case SELECTOR_GROUP:
		return account_fault(value);
	case SELECTOR_EXE:
		return absolute_path_fault(value);
	case SELECTOR_CONTAINER:
		return lower_hex(value, CONTAINER_DIGITS)
			       ? NULL
			       : "is not the 64 lower-case hexadecimal digits of a container's "
				 "ID" ADVISE "write the whole ID, without docker:// or the like";
	case SELECTOR_POD:
		return pod_uid_ok(value) ? NULL
					 : "is no pod's UID" ADVISE
					   "write it like 0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0";
	case SELECTOR_EXE_SHA256:
	case SELECTOR_FSVERITY:
		return lower_hex(value, DIGEST_DIGITS)
			       ? NULL
			       : "is not the 64 lower-case hexadecimal digits of SHA-256" ADVISE
				 "write the digest alone, without sha256:";
	}
	return NULL;
}

/* ---- nodes ---- */

bool pattern_ok(const char *pattern)
{
	return strlen(pattern) <= PATTERN_MAX && only(pattern, WORD_CHARS "*");
}

/*
 * Row i of a table: whether the rest of a from its i-th letter on and the rest of b from the j-th
 * on have a common text. Filled from the ends; `below` is row i + 1.
 */
bool patterns_overlap(const char *a, const char *b)
{
	bool row[PATTERN_MAX + 1] = {false}, below[PATTERN_MAX + 1] = {false};
	size_t a_len = strlen(a), b_len = strlen(b);

	if (a_len > PATTERN_MAX || b_len > PATTERN_MAX)
		return true; /* refused elsewhere; on the safe side here */
	for (size_t i = a_len + 1; i-- > 0;) {
		for (size_t j = b_len + 1; j-- > 0;) {
			bool more_a = i < a_len, more_b = j < b_len;

			if (!more_a && !more_b)
				row[j] = true;
			else if (more_a && a[i] == '*')
				row[j] = below[j] || (more_b && row[j + 1]);
			else if (more_b && b[j] == '*')
				row[j] = row[j + 1] || (more_a && below[j]);
			else
				row[j] = more_a && more_b && a[i] == b[j] && below[j + 1];
		}
		memcpy(below, row, sizeof(below));
	}
	return row[0];
}

bool looks_like_address(const char *text)
{
	struct addr a;
	struct prefix p;
	const char *slash = strchr(text, '/');

	if (addr_parse(text, &a) == 0 || prefix_parse(text, &p) == 0)
		return true;
	/* 10.0.0.300, 10.0.0.1/8 and the like: no name or expression has this shape. */
	if (only(text, DIGITS "./") && strchr(text, '.') != NULL)
		return true;
	return strchr(text, ':') != NULL && strchr(text, '=') == NULL &&
	       (slash != NULL || only(text, DIGITS "abcdefABCDEF:."));
}

/* ---- times ---- */

int time_of_day_parse(const char *text, uint16_t *ret_minutes)
{
	unsigned hours, minutes;

	if (strlen(text) != strlen("18:00") || text[2] != ':' || strspn(text, DIGITS) != 2 ||
	    strspn(text + 3, DIGITS) != 2)
		return -EINVAL;
	hours = (unsigned)(text[0] - '0') * 10 + (unsigned)(text[1] - '0');
	minutes = (unsigned)(text[3] - '0') * 10 + (unsigned)(text[4] - '0');
	if (hours > 23 || minutes > 59)
		return -EINVAL;
	*ret_minutes = (uint16_t)(hours * 60 + minutes);
	return 0;
}

bool zone_name_ok(const char *zone)
{
	size_t len = strlen(zone);

	/* It becomes a path below the time zone directory. */
	return len < WINDOW_ZONE_MAX && only(zone, LOWER UPPER DIGITS "_+-/") && zone[0] != '/' &&
	       zone[len - 1] != '/' && strstr(zone, "//") == NULL;
}

int date_parse(const char *text, struct wall *ret)
{
	char whole[RFC3339_TEXT_MAX];

	if (strlen(text) != strlen("2027-06-30"))
		return rfc3339_parse(text, ret);
	(void)snprintf(whole, sizeof(whole), "%sT00:00:00Z", text);
	return rfc3339_parse(whole, ret);
}

bool sha256_text_ok(const char *text)
{
	return strlen(text) == 64 && only(text, DIGITS "abcdefABCDEF");
}
