/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * systemd unit and slice names from a cgroup path (systemd.slice(5), cg_path_get_unit() of
 * systemd's cgroup-util.c). Pure.
 *
 * The path is read from its root: slices first, each in the slice that its dashes name, then the
 * first component that is a unit. What comes behind the unit was made by whoever the unit's cgroup
 * is delegated to and says nothing: `system.slice/foo.service/bar.service` is foo.service,
 * everything below user@1000.service is user@1000.service. A component out of place ends the
 * reading: such a path has the slices up to there and no unit.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNIT_NAME_MAX   256 /* with the NUL; systemd's own limit */
#define UNIT_SLICES_MAX 16

struct unit_place {
	char slice[UNIT_NAME_MAX]; /* innermost slice; "-.slice" at the root */
	char unit[UNIT_NAME_MAX];  /* "" when the path names none */
	uint8_t slice_depth;       /* components that are slices */
	uint8_t unit_depth;        /* slice_depth + 1, or 0 */
	uint8_t depth;             /* all components, at most 255 */
};

/*
 * path is relative to the cgroup root that systemd manages, without a leading slash ("" is that
 * root). Never fails: what cannot be read is no unit.
 */
void unit_place_parse(const char *path, struct unit_place *ret_place);

/* Whether units or slices may exist below: the path consists of slices in their places. */
bool unit_place_is_slice(const struct unit_place *p);

/* A well-formed unit name with a suffix whose units have cgroups: .service, .scope, .socket, ... */
bool unit_name_ok(const char *name);
bool slice_name_ok(const char *name); /* "a-b.slice"; "-.slice" too */

/* "a-b.slice" -> "a.slice", "a.slice" -> "-.slice"; false for "-.slice" and bad names. */
bool slice_parent(const char *slice, char ret_parent[UNIT_NAME_MAX]);
/* Whether `slice` is `ancestor` or lies below it by the dash rule. */
bool slice_is_within(const char *slice, const char *ancestor);

/* "foo.socket" -> "foo.service"; false for other units. */
bool unit_socket_service(const char *unit, char ret_service[UNIT_NAME_MAX]);
