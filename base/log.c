/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/log.h"

#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_LINE_MAX 2048

struct level_facts {
	const char *name;
	int priority; /* that of syslog(3), which the journal reads from "<n>" */
};

static const struct level_facts levels[] = {
	[LOG_LEVEL_ERROR] = {"error", 3},
	[LOG_LEVEL_WARN] = {"warning", 4},
	[LOG_LEVEL_INFO] = {"info", 6},
	[LOG_LEVEL_DEBUG] = {"debug", 7},
};

static enum log_level max_level = LOG_LEVEL_INFO;
static void (*log_hook)(enum log_level level, const char *line, void *user);
static void *log_hook_user;

void log_set_level(enum log_level level)
{
	max_level = level;
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (str_eq(text, levels[i].name)) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	if (!str_eq(text, "warn"))
		return -EINVAL;
	*ret_level = LOG_LEVEL_WARN;
	return 0;
}

void log_set_hook(void (*hook)(enum log_level level, const char *line, void *user), void *user)
{
	log_hook = hook;
	log_hook_user = user;
}

/* systemd names the journal's socket in JOURNAL_STREAM as "device:inode" (systemd.exec(5)). */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char mine[64];
	struct stat st;

	if (stream == NULL || fstat(STDERR_FILENO, &st) < 0)
		return false;
	(void)snprintf(mine, sizeof(mine), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	return strcmp(mine, stream) == 0;
}

/* One record is one line and draws nothing on a terminal, whatever slipped into an argument. */
static void flatten(char *line)
{
	for (char *p = line; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	}
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char line[LOG_LINE_MAX];
	int saved = errno;
	va_list ap;

	if (level > max_level)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	flatten(line);

	if (log_hook != NULL)
		log_hook(level, line, log_hook_user);
	else if (stderr_is_journal())
		(void)dprintf(STDERR_FILENO, "<%d>%s\n", levels[level].priority, line);
	else
		(void)dprintf(STDERR_FILENO, "%s: %s: %s\n", program_invocation_short_name,
			      levels[level].name, line);
	errno = saved;
}

const char *log_quote(char buf[LOG_QUOTE_MAX], const char *text)
{
	static const char hex[] = "0123456789abcdef", cut[] = "...";
	size_t len = 0;

	if (text == NULL)
		text = "";
	for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
		if (len + 4 + sizeof(cut) > LOG_QUOTE_MAX) {
			memcpy(buf + len, cut, sizeof(cut));
			return buf;
		}
		if (*p >= 0x20 && *p < 0x7f && *p != '\\') {
			buf[len++] = (char)*p;
			continue;
		}
		buf[len++] = '\\';
		buf[len++] = 'x';
		buf[len++] = hex[*p >> 4];
		buf[len++] = hex[*p & 0xf];
	}
	buf[len] = '\0';
	return buf;
}
