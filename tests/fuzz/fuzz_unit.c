/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Cgroup paths and mountinfo: names are well formed, a unit never comes from behind another one,
 * and a mount's path is absolute.
 */
#include "tests/fuzz/fuzz.h"

#include "agent/cgroup.h"
#include "agent/unit.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 65536

/* What follows a unit must not change it. */
static void check_delegated(const char *path, const struct unit_place *p)
{
	static const char suffix[] = "/system.slice/impostor.service";
	char longer[TEXT_MAX + sizeof(suffix)];
	struct unit_place below;
	size_t len = strlen(path);

	if (p->unit_depth == 0)
		return;
	memcpy(longer, path, len);
	memcpy(longer + len, suffix, sizeof(suffix));
	unit_place_parse(longer, &below);
	if (!str_eq(below.unit, p->unit) || !str_eq(below.slice, p->slice))
		abort();
}

static void check_path(const char *path)
{
	struct unit_place p;
	char name[UNIT_NAME_MAX];

	unit_place_parse(path, &p);
	if (!slice_name_ok(p.slice) || (p.unit[0] != '\0' && !unit_name_ok(p.unit)))
		abort();
	if ((p.unit_depth != 0) != (p.unit[0] != '\0') || p.slice_depth > p.depth)
		abort();
	if (p.unit_depth != 0 && p.unit_depth != p.slice_depth + 1)
		abort();
	if (!slice_is_within(p.slice, "-.slice"))
		abort();
	if (slice_parent(p.slice, name) && !slice_is_within(p.slice, name))
		abort();
	if (unit_socket_service(p.unit, name) && !unit_name_ok(name))
		abort();
	check_delegated(path, &p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[TEXT_MAX];
	struct cgroup_mount mount;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	check_path(text);
	if (cgroup_mount_parse(text, &mount) == 0 && mount.path[0] != '/')
		abort();
	return 0;
}
