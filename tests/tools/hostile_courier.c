/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A courier that was taken over, and for comparison one that was not:
 *
 *   hostile_courier --socket PATH --tree DIR --node NODE [--for MS] MODE
 *     honest    head, manifests and blobs from DIR, as they are wanted
 *     once HEAD...   these heads, one after the other; wants are answered from DIR
 *     garbage   random bytes, connection after connection
 *     lengths   frames of absurd lengths, with and without a body
 *     endless   a body that goes on as long as it is let
 *     nohello   frames before a hello, two hellos, unknown types
 *     flood HEAD     the same head as fast as it goes
 *     csrs      requests for proofs as fast as it goes, none of them a request
 *     lies      wrong bytes for each want, answers nobody asked for, failures, false contacts
 *     deaf      takes everything and answers nothing; then reads nothing either
 *
 * Says at its end "sent N frames, M connections, K hang-ups".
 */
#include "controller-client/courier_frame.h"
#include "tests/tools/tool.h"

#include "base/file.h"

#include <openssl/rand.h>
#include <poll.h>
#include <sys/un.h>

#define FILE_MAX (64U << 20)
#define OUT_MAX  (72U << 20)
#define CHUNK    65536
#define PATH_LEN 4096
#define ENDLESS  (96ULL << 20)

static struct {
	const char *socket, *tree, *node;
	uint32_t life;
} arg = {.life = 2000};

static const struct opt opts[] = {
	{"socket", OPT_TEXT, {.text = &arg.socket}},
	{"tree", OPT_TEXT, {.text = &arg.tree}},
	{"node", OPT_TEXT, {.text = &arg.node}},
	{"for", OPT_NUMBER, {.number = &arg.life}},
};

static struct {
	int fd;
	char *in;
	size_t len, cap;
	unsigned long frames, connections, hang_ups;
	int64_t end;
	bool lying;
} me = {.fd = -1};

/* --- the connection ----------------------------------------------------------------------- */

static void hang_up(void)
{
	closep(&me.fd);
	me.fd = -1;
	me.len = 0;
}

static bool connect_now(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	hang_up();
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", arg.socket);
	me.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(me.fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		tool_die(EXIT_BROKEN, "%s: %s", arg.socket, strerror(errno));
	me.connections++;
	return true;
}

/* Whether there is time; an agent that does not read makes nobody wait for ever. */
static bool time_left(void)
{
	return now_us() < me.end && !stop_asked;
}

static bool send_bytes(const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0) {
		struct pollfd p = {.fd = me.fd, .events = POLLOUT};
		ssize_t n;

		if (poll(&p, 1, 100) == 0) {
			if (!time_left())
				return false;
			continue;
		}
		n = send(me.fd, at, len > CHUNK ? CHUNK : len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			continue;
		if (n < 0) {
			me.hang_ups++;
			hang_up();
			return false;
		}
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static bool send_frame(json_t *take_header, const void *body, size_t len)
{
	CLEANUP(buf_done) struct buf b;
	bool sent = false;

	buf_init(&b, OUT_MAX);
	courier_frame_write(&b, take_header, body, len);
	json_decref(take_header);
	if (me.fd >= 0 && b.r == 0)
		sent = send_bytes(b.data, b.len);
	me.frames += sent;
	return sent;
}

static bool hello(void)
{
	return connect_now() && send_frame(json_pack("{s:s,s:i,s:s}", "type", "hello", "version",
						     COURIER_VERSION, "release", "9.9\033[31m"),
					   NULL, 0);
}

static char *load(const char *path, size_t *ret_len)
{
	char *text = NULL;

	*ret_len = 0;
	(void)file_read(AT_FDCWD, path, FILE_MAX, &text, ret_len, NULL);
	return text;
}

static bool send_head_of(const char *path)
{
	size_t len;
	CLEANUP(freep) char *text = load(path, &len);

	if (text == NULL)
		tool_die(EXIT_USAGE, "%s cannot be read", path);
	return send_frame(json_pack("{s:s}", "type", "head"), text, len);
}

/* --- wants -------------------------------------------------------------------------------- */

static const char *text_of(const struct courier_frame *f, const char *key)
{
	const char *text = json_string_value(json_object_get(f->header, key));

	return text != NULL ? text : "";
}

static void answer(const struct courier_frame *f)
{
	bool is_blob = str_eq(text_of(f, "what"), "blob");
	json_int_t revision = json_integer_value(json_object_get(f->header, "revision"));
	char path[PATH_LEN];
	size_t len;
	CLEANUP(freep) char *bytes = NULL;
	json_t *header =
		is_blob ? json_pack("{s:s,s:s}", "type", "blob", "sha256", text_of(f, "sha256"))
			: json_pack("{s:s,s:I}", "type", "manifest", "revision", revision);

	if (is_blob)
		(void)snprintf(path, sizeof(path), "%s/blobs/sha256/%s", arg.tree,
			       text_of(f, "sha256"));
	else
		(void)snprintf(path, sizeof(path), "%s/manifests/%lld", arg.tree,
			       (long long)revision);
	bytes = load(path, &len);
	if (bytes == NULL) {
		json_decref(header);
		(void)send_frame(json_pack("{s:s,s:s,s:s,s:i,s:s}", "type", "failed", "what",
					   text_of(f, "what"), "name", text_of(f, "sha256"),
					   "status", 404, "text", "not here"),
				 NULL, 0);
		return;
	}
	if (me.lying && len > 0)
		bytes[len / 2] ^= 1;
	(void)send_frame(header, bytes, len);
	printf("answered %s\n", path);
}

static void take_bytes(void)
{
	struct courier_frame f = {0};
	size_t used = 0, need = 0;
	ssize_t n;

	if (vec_grow(&me.in, &me.cap, me.len + CHUNK, 1, OUT_MAX) < 0)
		tool_die(EXIT_BROKEN, "too much");
	n = recv(me.fd, me.in + me.len, CHUNK, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		me.hang_ups++;
		hang_up();
		return;
	}
	me.len += (size_t)n;
	while (me.fd >= 0 &&
	       courier_frame_read(me.in, me.len, COURIER_BODY_MAX, &f, &used, &need, NULL) == 1) {
		if (str_eq(text_of(&f, "type"), "want"))
			answer(&f);
		else
			printf("%s\n", text_of(&f, "type"));
		courier_frame_done(&f);
		if (me.len >= used) {
			me.len -= used;
			memmove(me.in, me.in + used, me.len);
		}
	}
}

static void listen_for(int64_t ms)
{
	int64_t until = now_us() + ms * 1000;

	while (me.fd >= 0 && now_us() < until && time_left()) {
		struct pollfd p = {.fd = me.fd, .events = POLLIN};

		if (poll(&p, 1, 20) > 0)
			take_bytes();
	}
}

/* --- modes -------------------------------------------------------------------------------- */

static void mode_honest(char **words)
{
	char path[PATH_LEN];

	(void)words;
	(void)snprintf(path, sizeof(path), "%s/heads/%s.dsse.json", arg.tree, arg.node);
	if (hello() && send_head_of(path))
		(void)send_frame(json_pack("{s:s,s:b,s:s}", "type", "contact", "ok", 1, "text", ""),
				 NULL, 0);
	while (me.fd >= 0 && time_left()) {
		listen_for(500);
		(void)send_frame(json_pack("{s:s,s:b,s:s}", "type", "contact", "ok", 1, "text", ""),
				 NULL, 0);
	}
}

static void mode_once(char **words)
{
	if (!hello())
		return;
	for (; *words != NULL && me.fd >= 0; words++) {
		(void)send_head_of(*words);
		listen_for(200);
	}
	listen_for(arg.life);
}

static void mode_garbage(char **words)
{
	unsigned char bytes[4096];

	(void)words;
	while (time_left() && connect_now()) {
		(void)RAND_bytes(bytes, sizeof(bytes));
		/* Half of them with lengths that may be. */
		if (me.connections % 2 == 0)
			memcpy(bytes, "\0\0\0\x40\0\0\x0f\0", 8);
		(void)send_bytes(bytes, sizeof(bytes));
		listen_for(10);
	}
}

static void mode_lengths(char **words)
{
	static const char prefixes[][9] = {
		"\xff\xff\xff\xff\xff\xff\xff\xff",
		"\0\0\0\x02\xff\xff\xff\xff",
		"\0\0\x10\x01\0\0\0\0",
		"\0\0\0\0\0\0\0\0",
		"\0\0\0\x01\0\0\0\x01",
		"\x80\0\0\0\0\0\0\0",
		"\0\0\0\x0f\x04\0\0\x01",
	};

	(void)words;
	for (size_t i = 0; time_left() && connect_now(); i++) {
		(void)send_bytes(prefixes[i % ARRAY_LEN(prefixes)], 8);
		(void)send_bytes("{\"type\":\"head\"}", 15);
		listen_for(10);
	}
}

static void mode_endless(char **words)
{
	static char zeros[CHUNK];
	json_t *header =
		json_pack("{s:s,s:s}", "type", "blob", "sha256",
			  "0000000000000000000000000000000000000000000000000000000000000000");
	CLEANUP(freep) char *text = json_dumps(header, JSON_COMPACT);
	unsigned char prefix[8] = {0, 0, 0, (unsigned char)strlen(text), 4, 0, 0, 0};

	(void)words;
	json_decref(header);
	while (time_left() && hello()) {
		if (!send_bytes(prefix, sizeof(prefix)) || !send_bytes(text, strlen(text)))
			continue;
		for (unsigned long long n = 0; n < ENDLESS && time_left(); n += CHUNK) {
			if (!send_bytes(zeros, sizeof(zeros)))
				break;
		}
	}
}

static void mode_nohello(char **words)
{
	(void)words;
	for (unsigned i = 0; time_left(); i++) {
		if (i % 3 == 0)
			(void)connect_now();
		else
			(void)hello();
		(void)send_frame(json_pack("{s:s,s:i}", "type", i % 3 == 1 ? "hello" : "config",
					   "version", 1),
				 "x", 1);
		listen_for(20);
	}
}

static void mode_flood(char **words)
{
	while (time_left() && hello()) {
		while (me.fd >= 0 && time_left() && send_head_of(words[0]))
			take_bytes();
	}
}

static void mode_csrs(char **words)
{
	unsigned char bytes[2048];

	(void)words;
	while (time_left() && hello()) {
		while (me.fd >= 0 && time_left()) {
			(void)RAND_bytes(bytes, sizeof(bytes));
			if (!send_frame(json_pack("{s:s}", "type", "csr"), bytes, sizeof(bytes)))
				break;
			take_bytes();
		}
	}
}

static void lie(unsigned i)
{
	static const char *const whats[] = {"head", "manifest", "blob", "status", "log", "renew"};

	(void)send_frame(json_pack("{s:s,s:s,s:s,s:i,s:s}", "type", "failed", "what",
				   whats[i % ARRAY_LEN(whats)], "name", "1", "status", (int)i % 600,
				   "text", "\033[2Jnothing to see"),
			 NULL, 0);
	(void)send_frame(json_pack("{s:s,s:b,s:s}", "type", "contact", "ok", i % 2, "text",
				   "\n<0>all is well"),
			 NULL, 0);
	(void)send_frame(json_pack("{s:s,s:s,s:i}", "type", "posted", "what",
				   i % 2 ? "status" : "log", "id", (int)i),
			 NULL, 0);
	(void)send_frame(json_pack("{s:s}", "type", "renewed"), "\x30\x80\0\0", 4);
	(void)send_frame(json_pack("{s:s,s:i}", "type", "manifest", "revision", (int)i + 1), "{}",
			 2);
}

static void mode_lies(char **words)
{
	char path[PATH_LEN];

	(void)words;
	me.lying = true;
	(void)snprintf(path, sizeof(path), "%s/heads/%s.dsse.json", arg.tree, arg.node);
	while (time_left() && hello()) {
		(void)send_head_of(path);
		for (unsigned i = 0; me.fd >= 0 && time_left(); i++) {
			lie(i);
			listen_for(20);
		}
	}
}

static void mode_deaf(char **words)
{
	char path[PATH_LEN];

	(void)words;
	(void)snprintf(path, sizeof(path), "%s/heads/%s.dsse.json", arg.tree, arg.node);
	if (hello())
		(void)send_head_of(path);
	while (time_left())
		(void)poll(NULL, 0, 50);
}

static const struct {
	const char *name;
	void (*run)(char **words);
} modes[] = {
	{"honest", mode_honest},   {"once", mode_once},       {"garbage", mode_garbage},
	{"lengths", mode_lengths}, {"endless", mode_endless}, {"nohello", mode_nohello},
	{"flood", mode_flood},     {"csrs", mode_csrs},       {"lies", mode_lies},
	{"deaf", mode_deaf},
};

int main(int argc, char **argv)
{
	int left = opts_parse(argv + 1, argc - 1, opts, ARRAY_LEN(opts));

	if (left < 1 || arg.socket == NULL || arg.tree == NULL || arg.node == NULL)
		tool_die(EXIT_USAGE, "--socket, --tree, --node and a mode");
	(void)alarm(TOOL_LIFE_MAX_S);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	stop_install();
	me.end = now_us() + (int64_t)arg.life * 1000;
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		if (!str_eq(modes[i].name, argv[1]))
			continue;
		if (str_eq(argv[1], "flood") && left < 2)
			tool_die(EXIT_USAGE, "flood HEAD");
		modes[i].run(argv + 2);
		printf("sent %lu frames, %lu connections, %lu hang-ups\n", me.frames,
		       me.connections, me.hang_ups);
		free(me.in);
		hang_up();
		return EXIT_AS_ASKED;
	}
	tool_die(EXIT_USAGE, "no mode %s", argv[1]);
}
