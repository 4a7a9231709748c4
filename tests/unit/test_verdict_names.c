/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/verdict.h"

#include "tests/unit/test.h"

#include <errno.h>

TEST(names_of_reasons_modes_and_decisions_are_those_of_the_formats)
{
	enum node_mode mode = MODE_OBSERVE;

	for (int i = 0; i < REASON_COUNT; i++)
		CHECK(reason_name((enum reason)i) != NULL);
	CHECK_STR(reason_name(REASON_OUTSIDE_WINDOW), "outside_window");
	CHECK_STR(decision_name(DECISION_WOULD_DENY), "would_deny");
	CHECK_INT(mode_parse("enforce", &mode), 0);
	CHECK_INT(mode, MODE_ENFORCE);
	CHECK_INT(mode_parse("enfroce", &mode), -EINVAL);
	CHECK_STR(mode_name(MODE_SELECTIVE), "selective");
}
