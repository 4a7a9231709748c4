/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the programs of the benchmark share: clocks, quantiles, rows of the table, throw-away
 * network namespaces. Functions are in the header because each bench/x.c is one program.
 *
 * A row is one JSON object on one line of stdout; bench/run.sh collects and prints them. Everything
 * else goes to stderr. A program that cannot measure dies with a sentence: a figure is never made
 * up, and a row that is missing is printed as missing.
 *
 * Namespaces have no name: they live as long as a descriptor or a process holds them, so that
 * nothing is left behind, however a program ends.
 */
#pragma once

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sched.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BENCH_FN         static inline __attribute__((unused))
#define BENCH_LIFE_MAX_S 300 /* a program that hangs ends by itself */
#define NS_PER_S         1000000000
#define NS_PER_US        1000.0
#define NS_PER_MS        1000000.0

BENCH_FN __attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fputs("bench: ", stderr);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	exit(EXIT_FAILURE);
}

/* For calls that must succeed; the text is in err. */
BENCH_FN void need(int r, const struct err *err, const char *what)
{
	if (r < 0)
		die("%s: %s", what, err->text[0] != '\0' ? err->text : strerror(-r));
}

BENCH_FN int64_t clock_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

BENCH_FN int64_t unix_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- statistics ------------------------------------------------------------------------------ */

BENCH_FN int compare_doubles(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Sorts the values and returns the one at this share of them, 0 to 1. */
BENCH_FN double quantile(double *values, size_t count, double share)
{
	if (count == 0)
		die("no samples");
	qsort(values, count, sizeof(*values), compare_doubles);
	return values[(size_t)(share * (double)(count - 1) + 0.5)];
}

struct summary {
	double min, median, max;
};

BENCH_FN struct summary summarize(double *values, size_t count)
{
	double median = quantile(values, count, 0.5);

	return (struct summary){values[0], median, values[count - 1]};
}

/* --- rows ------------------------------------------------------------------------------------ */

enum row_met { ROW_MISSED, ROW_MET, ROW_NO_GOAL };

struct row {
	const char *id;   /* stable name for scripts */
	const char *what; /* for people */
	const char *unit; /* "" for ratios */
	const char *goal; /* "" where there is none */
	enum row_met met;
	struct summary s;
	const char *note; /* NULL, or one sentence */
};

BENCH_FN void row_print(const struct row *row)
{
	json_t *json =
		json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:s, s:o, s:s}", "id", row->id, "what",
			  row->what, "unit", row->unit, "min", row->s.min, "median", row->s.median,
			  "max", row->s.max, "goal", row->goal, "met",
			  row->met == ROW_NO_GOAL ? json_null() : json_boolean(row->met == ROW_MET),
			  "note", row->note != NULL ? row->note : "");
	char *text = json != NULL ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;

	if (text == NULL)
		die("row %s cannot be printed", row->id);
	(void)puts(text);
	(void)fflush(stdout);
	free(text);
	json_decref(json);
}

/* --- the place ------------------------------------------------------------------------------- */

BENCH_FN void bench_begin(void)
{
	struct rlimit files;

	(void)alarm(BENCH_LIFE_MAX_S);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

BENCH_FN void pin_to_cpu(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("pin to CPU %u: %s", cpu, strerror(errno));
}

BENCH_FN int netns_current(void)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("network namespace: %s", strerror(errno));
	return fd;
}

BENCH_FN void netns_enter(int fd)
{
	if (setns(fd, CLONE_NEWNET) < 0)
		die("enter network namespace: %s", strerror(errno));
}

/* The calling process is in the new one afterwards. */
BENCH_FN int netns_new(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		die("new network namespace: %s", strerror(errno));
	return netns_current();
}

/* Runs a command in the current namespace; words end with NULL. What it says goes to stderr. */
BENCH_FN void run_words(char *const *words)
{
	extern char **environ;
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int status, r = posix_spawn_file_actions_init(&actions);

	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawnp(&pid, words[0], &actions, NULL, words, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	if (r != 0)
		die("%s: %s", words[0], strerror(r));
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		die("'%s %s ...' failed", words[0], words[1]);
}

/* One line, split at blanks. */
BENCH_FN __attribute__((format(printf, 1, 2))) void run_line(const char *fmt, ...)
{
	char line[512], *words[48], *save = NULL;
	size_t count = 0;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	for (char *w = strtok_r(line, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
		words[count++] = w;
		if (count == ARRAY_LEN(words))
			die("too many words");
	}
	words[count] = NULL;
	run_words(words);
}

/* Loads nft text into the current namespace. */
BENCH_FN void nft_text(const char *text, size_t len)
{
	CLEANUP(closep) int fd = memfd_create("ruleset", MFD_CLOEXEC);

	if (fd < 0 || write(fd, text, len) != (ssize_t)len)
		die("ruleset text: %s", strerror(errno));
	run_line("nft -f /proc/%d/fd/%d", (int)getpid(), fd);
}

/* A value below /proc/sys/net of the current namespace. */
BENCH_FN void net_sysctl(const char *name, const char *value)
{
	CLEANUP(freep) char *path = mem_printf("/proc/sys/net/%s", name);
	CLEANUP(closep) int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		die("%s: %s", path, strerror(errno));
}

BENCH_FN uint32_t argument_number(const char *name, const char *text, uint32_t min, uint32_t max)
{
	uint32_t value;

	if (text_u32(text, min, max, &value) < 0)
		die("%s: '%s' is no number from %u to %u", name, text, min, max);
	return value;
}
