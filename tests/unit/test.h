/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Unit tests: CUnit, wrapped so that a failing check prints both values, a crash costs one test,
 * a test can be skipped with a reason, and the exit status tells the truth.
 *
 *	TEST(prefix_refuses_host_bits)
 *	{
 *		struct prefix p;
 *
 *		CHECK_INT(prefix_parse("10.0.0.1/8", &p), -EINVAL);
 *	}
 *
 * A file test_x.c is the suite "x", run in a child process of its own. Tests register themselves.
 * A failing check ends its test. One line per test: `ok NAME`, `not ok NAME: why`,
 * `skip NAME: why`; the last line is `# N passed, N failed, N skipped`.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct test {
	const char *file, *name;
	void (*run)(void);
	/* For allocation failure: returns the result of what it tried. See OOM_TEST. */
	int (*run_oom)(void);
	struct test *next;
};

void test_register(struct test *t);

#define TEST_(test_name, member, type)                                                             \
	static type test_##test_name(void);                                                        \
	__attribute__((constructor)) static void register_##test_name(void)                        \
	{                                                                                          \
		static struct test t = {                                                           \
			.file = __FILE__, .name = #test_name, .member = test_##test_name};         \
		test_register(&t);                                                                 \
	}                                                                                          \
	static type test_##test_name(void)

#define TEST(name) TEST_(name, run, void)

/*
 * The body is run with the first allocation failing, then the second, until none fails. It returns
 * what the function under test returned: -ENOMEM is expected as long as an allocation failed, 0 (or
 * a count) when none did. Allocations of base/mem and of jansson count. Leaks show up in check-san.
 */
#define OOM_TEST(name) TEST_(name, run_oom, int)

_Noreturn void test_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
_Noreturn void test_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

void test_check_int(const char *file, int line, const char *what, int64_t actual, int64_t expected);
void test_check_uint(const char *file, int line, const char *what, uint64_t actual,
		     uint64_t expected);
void test_check_str(const char *file, int line, const char *what, const char *actual,
		    const char *expected);
void test_check_contains(const char *file, int line, const char *what, const char *actual,
			 const char *part);
void test_check_mem(const char *file, int line, const char *what, const void *actual,
		    const void *expected, size_t len);
void test_check_ok(const char *file, int line, const char *what, int r, const struct err *err);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			test_fail(__FILE__, __LINE__, "%s does not hold", #condition);             \
	} while (0)
/* actual, expected */
#define CHECK_INT(a, e)         test_check_int(__FILE__, __LINE__, #a, (a), (e))
#define CHECK_UINT(a, e)        test_check_uint(__FILE__, __LINE__, #a, (a), (e))
#define CHECK_STR(a, e)         test_check_str(__FILE__, __LINE__, #a, (a), (e))
#define CHECK_MEM(a, e, len)    test_check_mem(__FILE__, __LINE__, #a, (a), (e), (len))
#define CHECK_CONTAINS(a, part) test_check_contains(__FILE__, __LINE__, #a, (a), (part))
/* r is 0 or more; otherwise the error's text is shown. err may be NULL. */
#define CHECK_OK(r, err) test_check_ok(__FILE__, __LINE__, #r, (r), (err))

/*
 * Every proper prefix of the bytes must be refused, read from a block of exactly that size so that
 * a sanitizer sees the first byte too many; the whole must be accepted.
 */
void test_truncations(const char *file, int line, const void *bytes, size_t len,
		      bool (*accepts)(const void *bytes, size_t len));
#define CHECK_TRUNCATIONS(bytes, len, accepts)                                                     \
	test_truncations(__FILE__, __LINE__, (bytes), (len), (accepts))

/* A fresh empty directory, removed after the test. */
const char *test_dir(void);
