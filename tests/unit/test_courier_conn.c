/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/courier_conn.h"

#include "agent/courier_link.h"
#include "base/clock.h"
#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BODY_MAX (128U << 10) /* a socket holds one of them */
#define TURNS    400
#define MANY     120 /* more than an allowance; a socket holds so many */

struct scene {
	sd_event *event;
	struct courier_conn *conn;
	unsigned opened, closed, frames;
	size_t body;
	int answer; /* of the handler */
	char type[32];
};

static void on_opened(void *user)
{
	((struct scene *)user)->opened++;
}

static void on_closed(void *user)
{
	((struct scene *)user)->closed++;
}

static int on_frame(void *user, const struct courier_frame *f, struct err *err)
{
	struct scene *s = user;

	(void)err;
	s->frames++;
	s->body = f->len;
	(void)snprintf(s->type, sizeof(s->type), "%s",
		       json_string_value(json_object_get(f->header, "type")));
	return s->answer;
}

static size_t on_body_max(void *user)
{
	(void)user;
	return BODY_MAX;
}

static void on_drained(void *user)
{
	(void)user;
}

static void scene_make(struct scene *s, const char *user)
{
	struct courier_conn_handler handler = {
		.opened = on_opened,
		.closed = on_closed,
		.frame = on_frame,
		.body_max = on_body_max,
		.drained = on_drained,
		.user = s,
	};
	struct err err = {{0}};

	*s = (struct scene){0};
	CHECK(sd_event_new(&s->event) >= 0);
	CHECK_OK(courier_conn_new(s->event, test_dir(), user, &handler, &s->conn, &err), &err);
}

static void scene_done(struct scene *s)
{
	courier_conn_free(s->conn);
	sd_event_unref(s->event);
}

static int call(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/" COURIER_SOCKET, test_dir());
	CHECK_INT(connect(fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void turn(struct scene *s)
{
	for (int i = 0; i < TURNS && sd_event_run(s->event, 1000) > 0; i++)
		;
}

static void put(int fd, const char *type, size_t body)
{
	CLEANUP(buf_done) struct buf b;
	CLEANUP(freep) char *bytes = mem_calloc(body, 1);
	json_t *header = json_pack("{s:s}", "type", type);

	buf_init(&b, 1U << 20);
	courier_frame_write(&b, header, bytes, body);
	json_decref(header);
	CHECK_INT(b.r, 0);
	CHECK_INT(write(fd, b.data, b.len), (int64_t)b.len);
}

/* False: a caller that is not read from cannot go on. */
static bool put_some(int fd, const char *type, size_t body)
{
	CLEANUP(buf_done) struct buf b;
	CLEANUP(freep) char *bytes = mem_calloc(body, 1);
	json_t *header = json_pack("{s:s}", "type", type);

	buf_init(&b, 1U << 20);
	courier_frame_write(&b, header, bytes, body);
	json_decref(header);
	CHECK_INT(b.r, 0);
	return send(fd, b.data, b.len, MSG_DONTWAIT) == (ssize_t)b.len;
}

static bool is_hung_up(int fd)
{
	char byte;

	/* A reset: something that was sent was not read any more. */
	return recv(fd, &byte, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET;
}

/* Numbers of users work too; the test is one of root or not. */
static const char *me(void)
{
	static char text[16];

	(void)snprintf(text, sizeof(text), "%u", (unsigned)getuid());
	return text;
}

TEST(frames_arrive_whole_however_they_are_cut)
{
	struct scene s;
	int fd;

	scene_make(&s, me());
	fd = call();
	turn(&s);
	CHECK_UINT(s.opened, 1);
	CHECK(courier_conn_is_open(s.conn));
	put(fd, "head", 900);
	put(fd, "contact", 0);
	turn(&s);
	CHECK_UINT(s.frames, 2);
	CHECK_STR(s.type, "contact");
	/* A byte at a time. */
	{
		const char bytes[] = "\0\0\0\x0f\0\0\0\x02{\"type\":\"head\"}xy";

		for (size_t i = 0; i < 8 + 15 + 2; i++) {
			CHECK_INT(write(fd, bytes + i, 1), 1);
			turn(&s);
		}
	}
	CHECK_UINT(s.frames, 3);
	CHECK_UINT(s.body, 2);
	closep(&fd);
	turn(&s);
	CHECK_UINT(s.closed, 1);
	CHECK(!courier_conn_is_open(s.conn));
	scene_done(&s);
}

TEST(bodies_that_are_longer_than_what_was_asked_for_end_it)
{
	struct scene s;
	int fd;

	scene_make(&s, me());
	fd = call();
	put(fd, "blob", BODY_MAX + 1);
	turn(&s);
	CHECK_UINT(s.frames, 0);
	CHECK_UINT(s.closed, 1);
	CHECK(is_hung_up(fd));
	closep(&fd);
	scene_done(&s);
}

TEST(nonsense_ends_it)
{
	static const char *const texts[] = {"\xff\xff\xff\xff\xff\xff\xff\xff",
					    "GET / HTTP/1.1\r\n\r\n"};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct scene s;
		int fd;

		scene_make(&s, me());
		fd = call();
		CHECK(write(fd, texts[i], strlen(texts[i])) > 0);
		turn(&s);
		CHECK_UINT(s.closed, 1);
		/* And the next one is welcome. */
		closep(&fd);
		fd = call();
		put(fd, "hello", 0);
		turn(&s);
		CHECK_UINT(s.frames, 1);
		closep(&fd);
		scene_done(&s);
	}
}

TEST(a_handler_that_refuses_ends_it)
{
	struct scene s;
	int fd;

	scene_make(&s, me());
	s.answer = -EBADMSG;
	fd = call();
	put(fd, "head", 0);
	put(fd, "head", 0);
	turn(&s);
	CHECK_UINT(s.frames, 1);
	CHECK_UINT(s.closed, 1);
	closep(&fd);
	scene_done(&s);
}

TEST(a_second_caller_is_sent_away)
{
	struct scene s;
	int first, second;

	scene_make(&s, me());
	first = call();
	turn(&s);
	second = call();
	turn(&s);
	CHECK(is_hung_up(second));
	CHECK_UINT(s.opened, 1);
	put(first, "head", 0);
	turn(&s);
	CHECK_UINT(s.frames, 1);
	closep(&first);
	closep(&second);
	scene_done(&s);
}

TEST(strangers_are_sent_away)
{
	struct scene s;
	int fd;

	if (getuid() == 0)
		test_skip("root is always welcome");
	scene_make(&s, "no-such-user");
	fd = call();
	turn(&s);
	CHECK(is_hung_up(fd));
	closep(&fd);
	scene_done(&s);
}

TEST(frames_that_nobody_asked_for_are_few_at_a_time)
{
	struct scene s;
	int fd;

	scene_make(&s, me());
	s.answer = 1;
	fd = call();
	for (int i = 0; i < MANY; i++)
		put(fd, "head", 0);
	turn(&s);
	CHECK(s.frames >= 60 && s.frames < 80);
	CHECK_UINT(s.closed, 0);
	/* Those that were asked for cost nothing. */
	closep(&fd);
	scene_done(&s);
	scene_make(&s, me());
	fd = call();
	for (int i = 0; i < MANY; i++)
		put(fd, "blob", 0);
	turn(&s);
	CHECK_UINT(s.frames, MANY);
	closep(&fd);
	scene_done(&s);
}

TEST(hanging_up_and_calling_again_brings_no_more)
{
	struct scene s;

	scene_make(&s, me());
	s.answer = 1;
	for (int i = 0; i < 4; i++) {
		int fd = call();

		for (int k = 0; k < MANY / 2; k++)
			put(fd, "head", 0);
		turn(&s);
		closep(&fd);
		turn(&s);
	}
	CHECK_UINT(s.opened, 4);
	CHECK(s.frames >= 58 && s.frames < 90);
	scene_done(&s);
}

TEST(long_frames_that_nobody_asked_for_are_fewer)
{
	struct scene s;
	int fd;

	scene_make(&s, me());
	s.answer = 1;
	fd = call();
	turn(&s);
	for (int i = 0; i < MANY && put_some(fd, "head", BODY_MAX); i++)
		turn(&s);
	/* Of short ones it would be 64; these count as three each. */
	CHECK(s.frames >= 20 && s.frames < 30);
	CHECK_UINT(s.closed, 0);
	closep(&fd);
	scene_done(&s);
}

TEST(a_caller_that_makes_us_wake_for_every_byte_is_made_to_wait)
{
	const char prefix[] = "\0\0\0\x0f\0\1\0\0{\"type\":\"head\"}";
	enum { TURNS_MAX = 20000 };
	unsigned turns = 0;
	struct mono began;
	struct scene s;
	int fd;

	scene_make(&s, me());
	s.answer = 0; /* even if it was asked for */
	fd = call();
	turn(&s);
	CHECK_INT(write(fd, prefix, 8 + 15), 8 + 15);
	turn(&s);
	began = mono_now();
	for (; turns < TURNS_MAX; turns++) {
		CHECK_INT(write(fd, "x", 1), 1);
		if (sd_event_run(s.event, 0) == 0)
			break;
	}
	CHECK(turns > 1000);
	/* Who is so slow that the allowance grows as fast as he uses it need not wait. */
	if (turns == TURNS_MAX)
		CHECK(mono_ms_since(began, mono_now()) > 4000);
	CHECK_UINT(s.closed, 0);
	closep(&fd);
	scene_done(&s);
}

TEST(a_caller_that_does_not_read_costs_a_bounded_amount)
{
	struct scene s;
	CLEANUP(freep) char *body = mem_calloc(1U << 20, 1);
	bool sent = true;
	int fd;

	scene_make(&s, me());
	fd = call();
	turn(&s);
	for (int i = 0; i < 64 && sent; i++)
		sent = courier_conn_send(s.conn, json_pack("{s:s}", "type", "log"), body, 1U << 20);
	CHECK(!sent);
	CHECK(courier_conn_waiting(s.conn) <= COURIER_CONN_OUT_MAX);
	CHECK(courier_conn_is_open(s.conn));
	closep(&fd);
	scene_done(&s);
}
