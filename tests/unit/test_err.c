/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/err.h"

#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

TEST(set_fills_the_text_and_returns_the_negative_code)
{
	struct err err = {0};

	CHECK_INT(err_set(&err, EINVAL, "port %u out of range", 70000), -EINVAL);
	CHECK_STR(err.text, "port 70000 out of range");
}

TEST(null_takes_only_the_code)
{
	CHECK_INT(err_set(NULL, ENOENT, "x"), -ENOENT);
	CHECK_INT(err_prefix(NULL, -EIO, "x"), -EIO);
}

TEST(prefix_goes_in_front_and_keeps_the_code)
{
	struct err err = {0};

	CHECK_INT(err_prefix(&err, err_set(&err, EIO, "no answer"), "load '%s'", "a.yaml"), -EIO);
	CHECK_STR(err.text, "load 'a.yaml': no answer");
}

TEST(long_texts_are_cut_and_stay_strings)
{
	char big[4 * ERR_TEXT_MAX];
	struct err err;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	CHECK_INT(err_set(&err, EIO, "%s", big), -EIO);
	CHECK_UINT(strlen(err.text), ERR_TEXT_MAX - 1);
	CHECK_INT(err_prefix(&err, -EIO, "abc"), -EIO);
	CHECK_UINT(strlen(err.text), ERR_TEXT_MAX - 1);
	CHECK_INT(strncmp(err.text, "abc: xxx", 8), 0);
	CHECK_INT(err_prefix(&err, -EIO, "%s", big), -EIO);
	CHECK_UINT(strlen(err.text), ERR_TEXT_MAX - 1);
}
