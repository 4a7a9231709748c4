/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/unit.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <string.h>

TEST(unit_and_slice_come_from_the_root_of_the_path)
{
	static const struct {
		const char *path, *slice, *unit;
		unsigned slice_depth, unit_depth, depth;
	} cases[] = {
		{"", "-.slice", "", 0, 0, 0},
		{"init.scope", "-.slice", "init.scope", 0, 1, 1},
		{"system.slice", "system.slice", "", 1, 0, 1},
		{"system.slice/foo.service", "system.slice", "foo.service", 1, 2, 2},
		{"/system.slice//foo.service/", "system.slice", "foo.service", 1, 2, 2},
		{"system.slice/foo.socket", "system.slice", "foo.socket", 1, 2, 2},
		{"system.slice/dev-sda1.swap", "system.slice", "dev-sda1.swap", 1, 2, 2},
		{"system.slice/tmp.mount", "system.slice", "tmp.mount", 1, 2, 2},
		{"a.slice/a-b.slice/a-b-c.slice/x.service", "a-b-c.slice", "x.service", 3, 4, 4},
		{"user.slice/user-1000.slice/session-3.scope", "user-1000.slice", "session-3.scope",
		 2, 3, 3},
		/* What a delegated child calls itself says nothing. */
		{"system.slice/foo.service/bar.service", "system.slice", "foo.service", 1, 2, 3},
		{"system.slice/foo.service/system.slice/bar.service", "system.slice", "foo.service",
		 1, 2, 4},
		{"user.slice/user-1000.slice/user@1000.service/app.slice/foo.service",
		 "user-1000.slice", "user@1000.service", 2, 3, 5},
		{"docker/0123/system.slice/foo.service", "-.slice", "", 0, 0, 4},
		{"system.slice/sub/foo.service", "system.slice", "", 1, 0, 3},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct unit_place p;

		unit_place_parse(cases[i].path, &p);
		CHECK_STR(p.slice, cases[i].slice);
		CHECK_STR(p.unit, cases[i].unit);
		CHECK_UINT(p.slice_depth, cases[i].slice_depth);
		CHECK_UINT(p.unit_depth, cases[i].unit_depth);
		CHECK_UINT(p.depth, cases[i].depth);
	}
}

TEST(a_slice_out_of_its_place_ends_the_reading)
{
	static const char *const paths[] = {
		"a-b.slice/x.service",           /* must be in a.slice */
		"a.slice/b.slice/x.service",     /* b.slice belongs to the root */
		"a.slice/a-b-c.slice/x.service", /* a-b.slice is missing */
		"system.slice/user.slice/x.service",
		"-.slice/x.service",
		"a--b.slice/x.service",
		"a-.slice/x.service",
		".slice/x.service",
	};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct unit_place p;

		unit_place_parse(paths[i], &p);
		CHECK_STR(p.unit, "");
	}
}

TEST(escaped_names_are_read_as_systemd_writes_them)
{
	struct unit_place p;

	/* cg_escape() puts '_' before a name that a kernel file could have. */
	unit_place_parse("system.slice/_cgroup.service", &p);
	CHECK_STR(p.unit, "cgroup.service");
	unit_place_parse("system.slice/__foo.service", &p);
	CHECK_STR(p.unit, "_foo.service");
	/* An escaped dash is part of one word, so its slice lies in the root. */
	unit_place_parse("a\\x2db.slice/foo\\x2dbar.service", &p);
	CHECK_STR(p.slice, "a\\x2db.slice");
	CHECK_STR(p.unit, "foo\\x2dbar.service");
}

TEST(names_that_are_no_units_are_not_taken_for_one)
{
	static const char *const bad[] = {
		"",           "foo",         ".service",          "foo.slice",   "foo.timer",
		"@1.service", "a b.service", "f\xc3\xb6.service", "a/b.service", "foo.service.d"};
	char longest[UNIT_NAME_MAX + 1];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(!unit_name_ok(bad[i]));
	CHECK(unit_name_ok("getty@tty1.service"));
	CHECK(unit_name_ok("session-c1.scope"));

	memset(longest, 'a', sizeof(longest));
	memcpy(longest + UNIT_NAME_MAX - sizeof(".service"), ".service", sizeof(".service"));
	CHECK(unit_name_ok(longest));
	memcpy(longest + UNIT_NAME_MAX + 1 - sizeof(".service"), ".service", sizeof(".service"));
	longest[UNIT_NAME_MAX - sizeof(".service")] = 'a';
	CHECK(!unit_name_ok(longest));
}

TEST(slices_nest_by_their_dashes)
{
	char parent[UNIT_NAME_MAX];

	CHECK(slice_parent("a-b-c.slice", parent));
	CHECK_STR(parent, "a-b.slice");
	CHECK(slice_parent("a-b.slice", parent));
	CHECK_STR(parent, "a.slice");
	CHECK(slice_parent("a.slice", parent));
	CHECK_STR(parent, "-.slice");
	CHECK(!slice_parent("-.slice", parent));
	CHECK(!slice_parent("a.service", parent));

	CHECK(slice_is_within("a-b.slice", "a.slice"));
	CHECK(slice_is_within("a-b.slice", "-.slice"));
	CHECK(slice_is_within("a.slice", "a.slice"));
	CHECK(!slice_is_within("ab.slice", "a.slice"));
	CHECK(!slice_is_within("a.slice", "a-b.slice"));
	CHECK(!slice_is_within("a-b.slice", "b.slice"));
}

TEST(a_socket_unit_belongs_to_the_service_of_its_name)
{
	char service[UNIT_NAME_MAX];

	CHECK(unit_socket_service("foo.socket", service));
	CHECK_STR(service, "foo.service");
	CHECK(!unit_socket_service("foo.service", service));
	CHECK(!unit_socket_service(".socket", service));
}

TEST(only_slices_hold_units)
{
	struct unit_place p;

	unit_place_parse("", &p);
	CHECK(unit_place_is_slice(&p));
	unit_place_parse("system.slice", &p);
	CHECK(unit_place_is_slice(&p));
	unit_place_parse("system.slice/foo.service", &p);
	CHECK(!unit_place_is_slice(&p));
	unit_place_parse("other", &p);
	CHECK(!unit_place_is_slice(&p));
}
