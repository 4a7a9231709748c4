/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The parts of the courier that need no network: pace, the cache, what an answer says. */
#include "courier/pace.h"

#include "base/hash.h"
#include "base/mem.h"
#include "courier/cache.h"
#include "courier/http.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TEST(backoff_grows_to_five_minutes_and_is_never_under_a_second)
{
	struct backoff low = {0}, high = {0};
	int64_t bound = 1000;

	for (int i = 0; i < 12; i++) {
		CHECK_INT(backoff_next(&low, -1, 0), 1000);
		/* The largest that the bound of this step lets through. */
		CHECK_INT(backoff_next(&high, -1, (uint64_t)(bound - 1000)), bound);
		bound = bound * 2 > 300000 ? 300000 : bound * 2;
	}
	backoff_reset(&high);
	CHECK_INT(backoff_next(&high, -1, UINT64_MAX), 1000);
}

TEST(retry_after_wins_within_an_hour)
{
	struct backoff b = {.failures = 9};

	CHECK_INT(backoff_next(&b, 7, 0), 7000);
	CHECK_INT(backoff_next(&b, 7, 999), 7999);
	CHECK_INT(backoff_next(&b, INT64_MAX, 0), 3600000);
	CHECK_INT(backoff_next(&b, 0, 5), 5);
}

TEST(polls_do_not_become_a_hot_loop)
{
	static const struct {
		struct poll_end e;
		int64_t low, high;
	} cases[] = {
		/* A new head: at once, but not for ever. */
		{{.changed = true, .quick = 1}, 0, 0},
		{{.changed = true, .quick = 5}, 0, 0},
		{{.changed = true, .quick = 6, .took_ms = 10}, 990, 990},
		/* A long poll that ended without news. */
		{{.waited = true, .took_ms = 55000}, 0, 0},
		{{.waited = true, .took_ms = 100}, 900, 900},
		/* A static server. */
		{{.took_ms = 3}, 22500, 37500},
		{{.took_ms = 900}, 22500, 37500},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CHECK_INT(poll_pause(&cases[i].e, 0), cases[i].low);
		CHECK_INT(poll_pause(&cases[i].e, 15000), cases[i].high);
	}
}

static void digest_of(const void *bytes, size_t len, char ret[SHA256_HEX_LEN])
{
	uint8_t digest[SHA256_LEN];

	CHECK_INT(sha256(bytes, len, digest), 0);
	hex_format(digest, sizeof(digest), ret);
}

TEST(cache_keeps_what_has_the_digest_of_its_name)
{
	CLEANUP(freep) char *bytes = NULL;
	CLEANUP(freep) char *path = NULL;
	char name[SHA256_HEX_LEN];
	struct cache *c = NULL;
	struct err err = {{0}};
	size_t len = 0;
	int fd;

	CHECK_OK(cache_open(test_dir(), 1000, &c, &err), &err);
	digest_of("hello", 5, name);
	CHECK_INT(cache_get(c, name, 5, &bytes, &len), -ENOENT);
	cache_put(c, name, "hello", 5);
	CHECK_INT(cache_get(c, name, 5, &bytes, &len), 0);
	CHECK_STR(bytes, "hello");
	free(TAKE_PTR(bytes));
	/* Somebody writes something else into it. */
	path = mem_printf("%s/%s", test_dir(), name);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	CHECK_INT(write(fd, "jello", 5), 5);
	closep(&fd);
	CHECK_INT(cache_get(c, name, 5, &bytes, &len), -ENOENT);
	CHECK_INT(access(path, F_OK), -1);
	cache_free(c);
}

TEST(cache_names_are_digests)
{
	struct cache *c = NULL;
	CLEANUP(freep) char *bytes = NULL;
	CLEANUP(freep) char *outside = mem_printf("%s/../x", test_dir());
	size_t len = 0;
	struct err err = {{0}};

	CHECK_OK(cache_open(test_dir(), 1000, &c, &err), &err);
	CHECK_INT(cache_get(c, "../../etc/passwd", 10, &bytes, &len), -ENOENT);
	cache_put(c, "../x", "hello", 5);
	CHECK_INT(access(outside, F_OK), -1);
	cache_free(c);
}

TEST(cache_drops_what_was_used_longest_ago)
{
	char names[3][SHA256_HEX_LEN], text[3][101];
	CLEANUP(freep) char *bytes = NULL;
	struct cache *c = NULL;
	struct err err = {{0}};
	size_t len = 0;

	CHECK_OK(cache_open(test_dir(), 250, &c, &err), &err);
	for (int i = 0; i < 3; i++) {
		struct timespec old[2] = {{.tv_sec = 1000 + i}, {.tv_sec = 1000 + i}};
		CLEANUP(freep) char *path = NULL;

		memset(text[i], 'a' + i, 100);
		digest_of(text[i], 100, names[i]);
		if (i == 2) /* the first one is used again */
			CHECK_INT(cache_get(c, names[0], 100, &bytes, &len), 0);
		cache_put(c, names[i], text[i], 100);
		path = mem_printf("%s/%s", test_dir(), names[i]);
		if (i < 2)
			CHECK_INT(utimensat(AT_FDCWD, path, old, 0), 0);
	}
	free(TAKE_PTR(bytes));
	CHECK_INT(cache_get(c, names[1], 100, &bytes, &len), -ENOENT);
	CHECK_INT(cache_get(c, names[0], 100, &bytes, &len), 0);
	free(TAKE_PTR(bytes));
	CHECK_INT(cache_get(c, names[2], 100, &bytes, &len), 0);
	/* What could never fit is not kept. */
	cache_put(c, names[1], names, sizeof(names) + 300);
	cache_free(c);
}

static void explain(struct http_answer *a, const char *body)
{
	buf_init(&a->body, HTTP_SMALL_MAX);
	buf_puts(&a->body, body);
	http_explain(a);
	buf_done(&a->body);
}

TEST(problems_become_sentences)
{
	struct http_answer a = {.status = 403, .problem = true};

	explain(&a, "{\"code\":\"banned\",\"detail\":\"node 'pay-1' is banned\"}");
	CHECK_STR(a.error, "node 'pay-1' is banned (HTTP 403)");
	CHECK_STR(a.code, "banned");
}

TEST(answers_that_are_no_problems_say_their_number)
{
	struct http_answer a = {.status = 502}, b = {.status = 503, .problem = true},
			   c = {.status = 302}, d = {.status = 304};

	explain(&a, "<html>");
	CHECK_STR(a.error, "HTTP 502");
	explain(&b, "{\"detail\":1");
	CHECK_STR(b.error, "HTTP 503");
	explain(&c, "");
	CHECK_CONTAINS(c.error, "redirects are not followed");
	explain(&d, "");
	CHECK_STR(d.error, "");
}

TEST(control_characters_of_a_server_do_not_reach_the_screen)
{
	struct http_answer a = {.status = 400, .problem = true};

	explain(&a, "{\"detail\":\"\\u001b[31mred\"}");
	CHECK(strchr(a.error, 0x1b) == NULL);
}
