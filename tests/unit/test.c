/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/test.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

#include <CUnit/CUnit.h>
#include <CUnit/TestRun.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEST_SECONDS_MAX    120
#define OOM_ALLOCATIONS_MAX 20000
#define MESSAGE_MAX         4096
/* Marks a recorded "failure" as a skip; no condition text begins like this. */
#define SKIP_MARK "\001"

struct counts {
	unsigned passed, failed, skipped;
};

static struct test *all_tests;
static struct test *running;
static char root_dir[PATH_MAX / 2];
static char own_dir[PATH_MAX];

/* ---- checks ---- */

void test_fail(const char *file, int line, const char *fmt, ...)
{
	char text[MESSAGE_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	mem_fail_after(0);
	(void)CU_assertImplementation(CU_FALSE, (unsigned)line, text, file, "", CU_TRUE);
	abort(); /* CUnit has jumped out of the test */
}

void test_skip(const char *fmt, ...)
{
	char text[MESSAGE_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	test_fail("", 0, "%s%s", SKIP_MARK, text);
}

void test_check_int(const char *file, int line, const char *what, int64_t actual, int64_t expected)
{
	if (actual != expected)
		test_fail(file, line, "%s is %" PRId64 ", expected %" PRId64, what, actual,
			  expected);
}

void test_check_uint(const char *file, int line, const char *what, uint64_t actual,
		     uint64_t expected)
{
	if (actual != expected)
		test_fail(file, line, "%s is %" PRIu64 ", expected %" PRIu64, what, actual,
			  expected);
}

void test_check_str(const char *file, int line, const char *what, const char *actual,
		    const char *expected)
{
	if (actual == expected)
		return;
	if (actual == NULL || expected == NULL || strcmp(actual, expected) != 0)
		test_fail(file, line, "%s is \"%s\", expected \"%s\"", what,
			  actual != NULL ? actual : "(null)",
			  expected != NULL ? expected : "(null)");
}

void test_check_contains(const char *file, int line, const char *what, const char *actual,
			 const char *part)
{
	if (actual == NULL || strstr(actual, part) == NULL)
		test_fail(file, line, "%s is \"%s\", expected to contain \"%s\"", what,
			  actual != NULL ? actual : "(null)", part);
}

void test_check_mem(const char *file, int line, const char *what, const void *actual,
		    const void *expected, size_t len)
{
	const uint8_t *a = actual, *e = expected;

	for (size_t i = 0; i < len; i++) {
		if (a[i] != e[i])
			test_fail(file, line, "%s byte %zu of %zu is 0x%02x, expected 0x%02x", what,
				  i, len, a[i], e[i]);
	}
}

void test_check_ok(const char *file, int line, const char *what, int r, const struct err *err)
{
	if (r < 0)
		test_fail(file, line, "%s is %d (%s): %s", what, r, strerror(-r),
			  err != NULL ? err->text : "no text");
}

void test_truncations(const char *file, int line, const void *bytes, size_t len,
		      bool (*accepts)(const void *bytes, size_t len))
{
	for (size_t n = 0; n <= len; n++) {
		void *exact = malloc(n > 0 ? n : 1);
		bool accepted;

		if (exact == NULL)
			test_fail(file, line, "out of memory");
		memcpy(exact, bytes, n);
		accepted = accepts(exact, n);
		free(exact);
		if (accepted != (n == len))
			test_fail(file, line, "%zu of %zu bytes were %s", n, len,
				  accepted ? "accepted" : "refused");
	}
}

const char *test_dir(void)
{
	if (own_dir[0] == '\0') {
		(void)snprintf(own_dir, sizeof(own_dir), "%s/%s", root_dir, running->name);
		if (mkdir(own_dir, 0700) < 0)
			test_fail(__FILE__, __LINE__, "mkdir %s: %s", own_dir, strerror(errno));
	}
	return own_dir;
}

/* ---- registration and selection ---- */

void test_register(struct test *t)
{
	struct test **end = &all_tests;

	while (*end != NULL)
		end = &(*end)->next;
	*end = t;
}

/* "tests/unit/test_text.c" -> "text" */
static void suite_name(const struct test *t, char *ret_name, size_t size)
{
	const char *base = strrchr(t->file, '/');
	size_t len;

	base = base != NULL ? base + 1 : t->file;
	if (strncmp(base, "test_", 5) == 0)
		base += 5;
	len = strcspn(base, ".");
	(void)snprintf(ret_name, size, "%.*s", (int)len, base);
}

static void full_name(const struct test *t, char *ret_name, size_t size)
{
	char suite[NAME_MAX];

	suite_name(t, suite, sizeof(suite));
	(void)snprintf(ret_name, size, "%s/%s/%s", t->run != NULL ? "unit" : "oom", suite, t->name);
}

static bool selected(const struct test *t, bool oom, const char *filter)
{
	char name[PATH_MAX];

	full_name(t, name, sizeof(name));
	return (t->run_oom != NULL) == oom && (filter == NULL || strstr(name, filter) != NULL);
}

/* ---- the child: runs the tests of one file, one line each into the pipe ---- */

static void *json_malloc(size_t size)
{
	return mem_calloc(size, 1);
}

static void run_until_nothing_fails(int (*body)(void))
{
	for (size_t n = 1; n <= OOM_ALLOCATIONS_MAX; n++) {
		bool failed;
		int r;

		mem_fail_after(n);
		r = body();
		failed = mem_has_failed();
		mem_fail_after(0);
		if (failed && r != -ENOMEM)
			test_fail(running->file, 0,
				  "allocation %zu failed, result is %d, expected %d", n, r,
				  -ENOMEM);
		if (!failed && r < 0)
			test_fail(running->file, 0, "no allocation failed, result is %d", r);
		if (!failed)
			return;
	}
	test_fail(running->file, 0, "more than %d allocations", OOM_ALLOCATIONS_MAX);
}

static void run_body(void)
{
	const char *seconds = getenv("TEST_SECONDS_MAX");
	uint32_t limit = TEST_SECONDS_MAX;

	if (seconds != NULL)
		(void)text_u32(seconds, 1, 86400, &limit);
	(void)alarm(limit);
	if (running->run != NULL)
		running->run();
	else
		run_until_nothing_fails(running->run_oom);
}

/* A line must stay a line. */
static void one_line(char *text)
{
	for (char *p = text; *p != '\0'; p++) {
		if (*p == '\n' || *p == '\r')
			*p = ' ';
	}
}

static void report(FILE *out, const struct test *t)
{
	CU_pFailureRecord failure = CU_get_failure_list();
	char name[PATH_MAX];

	full_name(t, name, sizeof(name));
	if (failure == NULL) {
		(void)fprintf(out, "ok %s\n", name);
	} else if (strncmp(failure->strCondition, SKIP_MARK, 1) == 0) {
		one_line(failure->strCondition);
		(void)fprintf(out, "skip %s: %s\n", name, failure->strCondition + 1);
	} else {
		one_line(failure->strCondition);
		(void)fprintf(out, "not ok %s: %s:%u: %s\n", name, failure->strFileName,
			      failure->uiLineNumber, failure->strCondition);
	}
	(void)fflush(out);
}

static void run_one(FILE *out, CU_pSuite suite, struct test *t)
{
	CU_pTest test = CU_add_test(suite, t->name, run_body);
	struct err err = {0};

	running = t;
	own_dir[0] = '\0';
	(void)fprintf(out, "begin\n");
	(void)fflush(out);
	(void)CU_run_test(suite, test);
	(void)alarm(0);
	report(out, t);
	if (own_dir[0] != '\0' && tree_remove(AT_FDCWD, own_dir, &err) < 0)
		(void)fprintf(stderr, "%s\n", err.text);
}

static void run_tests_of_file(int pipe_fd, struct test *const *tests, size_t count)
{
	FILE *out = fdopen(pipe_fd, "w");
	CU_pSuite suite;

	if (out == NULL || CU_initialize_registry() != CUE_SUCCESS)
		_exit(2);
	/* What the tested code prints is none of the protocol. */
	(void)dup2(STDERR_FILENO, STDOUT_FILENO);
	json_set_alloc_funcs(json_malloc, free);
	suite = CU_add_suite(tests[0]->file, NULL, NULL);
	CU_set_error_action(CUEA_IGNORE);
	for (size_t i = 0; i < count; i++)
		run_one(out, suite, tests[i]);
	CU_cleanup_registry();
	(void)fclose(out);
}

/* ---- the parent: passes the lines on, counts, says which test died ---- */

static void count_line(struct counts *counts, const char *line)
{
	if (strncmp(line, "ok ", 3) == 0)
		counts->passed++;
	else if (strncmp(line, "skip ", 5) == 0)
		counts->skipped++;
	else
		counts->failed++;
}

/* Returns how many tests have begun and finished. */
static void relay(int pipe_fd, struct counts *counts, size_t *ret_begun, size_t *ret_finished)
{
	FILE *in = fdopen(pipe_fd, "r");
	char line[MESSAGE_MAX + PATH_MAX];

	while (in != NULL && fgets(line, sizeof(line), in) != NULL) {
		if (strcmp(line, "begin\n") == 0) {
			(*ret_begun)++;
			continue;
		}
		(*ret_finished)++;
		count_line(counts, line);
		(void)fputs(line, stdout);
	}
	if (in != NULL)
		(void)fclose(in);
}

static void report_death(const struct test *t, int status, struct counts *counts)
{
	char name[PATH_MAX];

	full_name(t, name, sizeof(name));
	counts->failed++;
	if (WIFSIGNALED(status))
		printf("not ok %s: killed by signal %d (%s)\n", name, WTERMSIG(status),
		       strsignal(WTERMSIG(status)));
	else
		printf("not ok %s: its process ended with status %d\n", name, WEXITSTATUS(status));
}

/* Runs tests[0..count) in a child; returns how many are done, at least one. */
static size_t run_child(struct test *const *tests, size_t count, struct counts *counts)
{
	size_t begun = 0, finished = 0;
	int fds[2], status = 0;
	pid_t pid;

	(void)fflush(NULL);
	if (pipe2(fds, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		perror("unit-tests");
		exit(2);
	}
	if (pid == 0) {
		(void)close(fds[0]);
		run_tests_of_file(fds[1], tests, count);
		exit(0); /* not _exit: a sanitizer looks for leaks now */
	}
	(void)close(fds[1]);
	relay(fds[0], counts, &begun, &finished);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	if (status == 0 && finished == count)
		return count;

	/* All have reported and yet the process failed: a leak, most likely. The last one is named.
	 */
	report_death(tests[begun > 0 ? begun - 1 : 0], status, counts);
	return begun > 0 ? begun : 1;
}

static void run_all(struct test **tests, size_t count, struct counts *counts)
{
	size_t done = 0;

	while (done < count) {
		size_t end = done;

		while (end < count && strcmp(tests[end]->file, tests[done]->file) == 0)
			end++;
		while (done < end)
			done += run_child(tests + done, end - done, counts);
	}
}

static size_t select_tests(struct test **ret_tests, size_t max, bool oom, const char *filter)
{
	size_t count = 0;

	for (struct test *t = all_tests; t != NULL && count < max; t = t->next) {
		if (selected(t, oom, filter))
			ret_tests[count++] = t;
	}
	return count;
}

static size_t count_tests(void)
{
	size_t count = 0;

	for (const struct test *t = all_tests; t != NULL; t = t->next)
		count++;
	return count;
}

int main(int argc, char **argv)
{
	bool oom = argc > 1 && strcmp(argv[1], "--oom") == 0;
	const char *filter = argc > (oom ? 2 : 1) ? argv[oom ? 2 : 1] : NULL;
	size_t total = count_tests(), count;
	struct counts counts = {0};
	struct test **tests = calloc(total + 1, sizeof(struct test *));
	struct err err = {0};

	(void)snprintf(root_dir, sizeof(root_dir), "/tmp/bailiwick-unit.%d", (int)getpid());
	/* What a killed run with this process number left. */
	(void)tree_remove(AT_FDCWD, root_dir, &err);
	if (tests == NULL || mkdir(root_dir, 0700) < 0) {
		perror("unit-tests");
		return 2;
	}
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	count = select_tests(tests, total, oom, filter);
	run_all(tests, count, &counts);
	free(tests);
	if (tree_remove(AT_FDCWD, root_dir, &err) < 0)
		(void)fprintf(stderr, "%s\n", err.text);
	printf("# %u passed, %u failed, %u skipped\n", counts.passed, counts.failed,
	       counts.skipped);
	return counts.failed > 0 ? 1 : 0;
}
