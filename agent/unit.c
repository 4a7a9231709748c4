/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/unit.h"

#include "base/mem.h"
#include "base/text.h"

#include <string.h>

#define SLICE_SUFFIX ".slice"
#define SLICE_ROOT   "-.slice"

/* Characters of unit names, systemd's VALID_CHARS with '@'. */
static const char unit_characters[] =
	"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	":-_.\\@";

/* Unit types that have a cgroup (slices apart). */
static const char *const suffixes[] = {".service", ".scope", ".socket", ".mount", ".swap"};

static bool characters_ok(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < UNIT_NAME_MAX && strspn(name, unit_characters) == len;
}

bool unit_name_ok(const char *name)
{
	if (!characters_ok(name) || name[0] == '@')
		return false;
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
		if (str_ends(name, suffixes[i]) && strlen(name) > strlen(suffixes[i]))
			return true;
	return false;
}

bool slice_name_ok(const char *name)
{
	size_t len = strlen(name);

	if (str_eq(name, SLICE_ROOT))
		return true;
	if (!characters_ok(name) || !str_ends(name, SLICE_SUFFIX) || len == strlen(SLICE_SUFFIX))
		return false;
	/* Slices have no instances, and each dash separates two words that are not empty. */
	return strchr(name, '@') == NULL && name[0] != '-' && strstr(name, "--") == NULL &&
	       name[len - strlen(SLICE_SUFFIX) - 1] != '-';
}

bool slice_parent(const char *slice, char ret_parent[UNIT_NAME_MAX])
{
	size_t len;

	if (!slice_name_ok(slice) || str_eq(slice, SLICE_ROOT))
		return false;
	len = strlen(slice) - strlen(SLICE_SUFFIX);
	while (len > 0 && slice[len] != '-')
		len--;
	if (len == 0) {
		memcpy(ret_parent, SLICE_ROOT, sizeof(SLICE_ROOT));
		return true;
	}
	memmove(ret_parent, slice, len);
	memcpy(ret_parent + len, SLICE_SUFFIX, sizeof(SLICE_SUFFIX));
	return true;
}

bool slice_is_within(const char *slice, const char *ancestor)
{
	size_t len;

	if (!slice_name_ok(slice) || !slice_name_ok(ancestor))
		return false;
	if (str_eq(ancestor, SLICE_ROOT) || str_eq(slice, ancestor))
		return true;
	len = strlen(ancestor) - strlen(SLICE_SUFFIX);
	return strncmp(slice, ancestor, len) == 0 && slice[len] == '-';
}

bool unit_socket_service(const char *unit, char ret_service[UNIT_NAME_MAX])
{
	static const char service[] = ".service";
	size_t len;

	if (!unit_name_ok(unit) || !str_ends(unit, ".socket"))
		return false;
	len = strlen(unit) - strlen(".socket");
	if (len + sizeof(service) > UNIT_NAME_MAX)
		return false;
	memmove(ret_service, unit, len);
	memcpy(ret_service + len, service, sizeof(service));
	return true;
}

/* One path component; false at the end of the path. A component too long for a name becomes "". */
static bool next_component(const char **path, char ret_name[UNIT_NAME_MAX])
{
	const char *start = *path + strspn(*path, "/");
	size_t len = strcspn(start, "/");

	if (len == 0)
		return false;
	*path = start + len;
	/* systemd puts '_' before names that would collide with the kernel's files (cg_escape()).
	 */
	if (start[0] == '_') {
		start++;
		len--;
	}
	if (len >= UNIT_NAME_MAX)
		len = 0;
	memcpy(ret_name, start, len);
	ret_name[len] = '\0';
	return true;
}

static bool is_child_slice(const char *name, const char *parent)
{
	char expected[UNIT_NAME_MAX];

	return !str_eq(name, SLICE_ROOT) && slice_parent(name, expected) &&
	       str_eq(expected, parent);
}

void unit_place_parse(const char *path, struct unit_place *ret_place)
{
	struct unit_place p = {.slice = SLICE_ROOT};
	char name[UNIT_NAME_MAX];
	bool reading = true; /* only slices so far */

	while (next_component(&path, name)) {
		if (p.depth < UINT8_MAX)
			p.depth++;
		if (!reading)
			continue;
		if (p.slice_depth < UNIT_SLICES_MAX && is_child_slice(name, p.slice)) {
			memcpy(p.slice, name, strlen(name) + 1);
			p.slice_depth++;
			continue;
		}
		reading = false;
		if (unit_name_ok(name)) {
			memcpy(p.unit, name, strlen(name) + 1);
			p.unit_depth = p.depth;
		}
	}
	*ret_place = p;
}

bool unit_place_is_slice(const struct unit_place *p)
{
	return p->depth == p->slice_depth;
}
