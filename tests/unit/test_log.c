/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/log.h"

#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

struct seen {
	unsigned lines;
	enum log_level level;
	char text[4096];
};

static void remember(enum log_level level, const char *line, void *user)
{
	struct seen *seen = user;

	seen->lines++;
	seen->level = level;
	(void)memccpy(seen->text, line, '\0', sizeof(seen->text));
}

TEST(lines_below_the_level_are_dropped)
{
	struct seen seen = {0};

	log_set_hook(remember, &seen);
	log_set_level(LOG_LEVEL_WARN);
	log_info("quiet");
	CHECK_UINT(seen.lines, 0);
	log_warn("queue %s: %d waiting", "7100", 3);
	CHECK_UINT(seen.lines, 1);
	CHECK_INT(seen.level, LOG_LEVEL_WARN);
	CHECK_STR(seen.text, "queue 7100: 3 waiting");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("loud");
	CHECK_STR(seen.text, "loud");
	log_set_level(LOG_LEVEL_INFO);
	log_set_hook(NULL, NULL);
}

TEST(a_record_is_one_line_and_errno_survives)
{
	struct seen seen = {0};
	char big[8192];

	log_set_hook(remember, &seen);
	errno = ENOENT;
	log_error("a\nb\033[31mc");
	CHECK_INT(errno, ENOENT);
	CHECK_STR(seen.text, "a b [31mc");
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_error("%s", big);
	CHECK(strlen(seen.text) < 4096);
	log_set_hook(NULL, NULL);
}

TEST(levels_have_names)
{
	enum log_level level = LOG_LEVEL_DEBUG;

	CHECK_INT(log_level_parse("error", &level), 0);
	CHECK_INT(level, LOG_LEVEL_ERROR);
	CHECK_INT(log_level_parse("warning", &level), 0);
	CHECK_INT(log_level_parse("warn", &level), 0);
	CHECK_INT(level, LOG_LEVEL_WARN);
	CHECK_INT(log_level_parse("loud", &level), -EINVAL);
	CHECK_INT(log_level_parse(NULL, &level), -EINVAL);
	CHECK_INT(level, LOG_LEVEL_WARN);
}

TEST(quoting_escapes_what_a_terminal_would_obey)
{
	char buf[LOG_QUOTE_MAX], big[1000];

	CHECK_STR(log_quote(buf, "plain text"), "plain text");
	CHECK_STR(log_quote(buf, "a\nb\\\x1b\xc3\xa9\x7f"), "a\\x0ab\\x5c\\x1b\\xc3\\xa9\\x7f");
	CHECK_STR(log_quote(buf, NULL), "");
	memset(big, '\n', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	(void)log_quote(buf, big);
	CHECK(strlen(buf) < LOG_QUOTE_MAX);
	CHECK_STR(buf + strlen(buf) - 3, "...");
}
