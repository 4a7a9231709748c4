/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Logging for daemons and commands, to stderr, with "<n>" priorities when that is the journal.
 * base/ and rules/ never log. One failure is logged once, where the decision about it is made:
 * who, what, what happens now. Text from outside is passed through log_quote().
 */
#pragma once

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_set_level(enum log_level level);
int log_level_parse(const char *text, enum log_level *ret_level);
/* Tests may redirect all lines; NULL restores stderr. */
void log_set_hook(void (*hook)(enum log_level level, const char *line, void *user), void *user);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

#define LOG_QUOTE_MAX 256
/* Copies text into buf with control characters and non-ASCII bytes as \xNN; returns buf. */
const char *log_quote(char buf[LOG_QUOTE_MAX], const char *text);
