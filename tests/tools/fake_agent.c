/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The agent's end of courier.sock, for tests of the courier alone:
 *
 *   fake_agent --socket PATH --url URL --node NODE --ca FILE [--sequence N]
 *
 * Says what comes in, a line each: "hello", "head LEN SHA256", "manifest REV LEN SHA256",
 * "blob HEX LEN ok|bad", "failed WHAT NAME STATUS TEXT", "contact ok|no TEXT", "csr LEN",
 * "posted WHAT ID", "gone". Does what comes by standard input: "blob HEX SIZE", "manifest REV MAX",
 * "taken SEQUENCE", "status TEXT", "log TEXT", "hang-up". There is never a proof: this node has no
 * certificate.
 */
#include "controller-client/courier_frame.h"
#include "tests/tools/tool.h"

#include "base/file.h"
#include "base/hash.h"

#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>

#define LINE_MAX_BYTES 4096
#define CA_MAX         (64U << 10)
#define IN_MAX         (COURIER_BODY_MAX + COURIER_HEADER_MAX + 8)
#define OUT_MAX        (8U << 20)
#define CHUNK          65536

static struct {
	const char *socket, *url, *node, *ca;
	uint32_t sequence;
} arg;

static const struct opt opts[] = {
	{"socket", OPT_TEXT, {.text = &arg.socket}},
	{"url", OPT_TEXT, {.text = &arg.url}},
	{"node", OPT_TEXT, {.text = &arg.node}},
	{"ca", OPT_TEXT, {.text = &arg.ca}},
	{"sequence", OPT_NUMBER, {.number = &arg.sequence}},
};

static struct {
	int listener, fd;
	char *in;
	size_t len, cap;
	uint32_t next_id;
} me = {.listener = -1, .fd = -1};

static const char *digest_text(const void *bytes, size_t len)
{
	static char hex[SHA256_HEX_LEN];
	uint8_t digest[SHA256_LEN];

	(void)sha256(bytes, len, digest);
	hex_format(digest, sizeof(digest), hex);
	return hex;
}

static void hang_up(void)
{
	if (me.fd >= 0)
		puts("gone");
	closep(&me.fd);
	me.fd = -1;
	me.len = 0;
}

static void send_frame(json_t *take_header, const void *body, size_t len)
{
	CLEANUP(buf_done) struct buf b;
	size_t sent = 0;

	buf_init(&b, OUT_MAX);
	courier_frame_write(&b, take_header, body, len);
	json_decref(take_header);
	while (me.fd >= 0 && b.r == 0 && sent < b.len) {
		ssize_t n = send(me.fd, b.data + sent, b.len - sent, MSG_NOSIGNAL);

		if (n < 0) {
			hang_up();
			return;
		}
		sent += (size_t)n;
	}
}

static void send_config(void)
{
	CLEANUP(freep) char *ca = NULL;
	size_t len = 0;

	if (arg.ca != NULL && file_read(AT_FDCWD, arg.ca, CA_MAX, &ca, &len, NULL) < 0)
		tool_die(EXIT_BROKEN, "%s cannot be read", arg.ca);
	send_frame(json_pack("{s:s,s:s,s:s,s:s,s:i}", "type", "config", "url", arg.url, "node",
			     arg.node, "trust_domain", "acme.example", "sequence",
			     (int)arg.sequence),
		   ca, len);
}

static const char *text_of(const struct courier_frame *f, const char *key)
{
	const char *text = json_string_value(json_object_get(f->header, key));

	return text != NULL ? text : "";
}

static long long number_of(const struct courier_frame *f, const char *key)
{
	return json_integer_value(json_object_get(f->header, key));
}

static void say(const struct courier_frame *f)
{
	const char *type = text_of(f, "type");

	if (str_eq(type, "head"))
		printf("head %zu %s\n", f->len, digest_text(f->body, f->len));
	else if (str_eq(type, "manifest"))
		printf("manifest %lld %zu %s\n", number_of(f, "revision"), f->len,
		       digest_text(f->body, f->len));
	else if (str_eq(type, "blob"))
		printf("blob %s %zu %s\n", text_of(f, "sha256"), f->len,
		       str_eq(text_of(f, "sha256"), digest_text(f->body, f->len)) ? "ok" : "bad");
	else if (str_eq(type, "failed"))
		printf("failed %s %s %lld %s\n", text_of(f, "what"), text_of(f, "name"),
		       number_of(f, "status"), text_of(f, "text"));
	else if (str_eq(type, "contact"))
		printf("contact %s %s\n",
		       json_is_true(json_object_get(f->header, "ok")) ? "ok" : "no",
		       text_of(f, "text"));
	else if (str_eq(type, "posted"))
		printf("posted %s %lld\n", text_of(f, "what"), number_of(f, "id"));
	else
		printf("%s %zu\n", type, f->len);
	if (str_eq(type, "hello"))
		send_config();
	if (str_eq(type, "csr"))
		send_frame(json_pack("{s:s,s:s}", "type", "proof", "error", "no certificate"), NULL,
			   0);
}

static void take_frames(void)
{
	struct courier_frame f = {0};
	size_t used = 0, need = 0;
	struct err err = {{0}};
	int r;

	while ((r = courier_frame_read(me.in, me.len, COURIER_BODY_MAX, &f, &used, &need, &err)) ==
	       1) {
		say(&f);
		courier_frame_done(&f);
		me.len -= used;
		memmove(me.in, me.in + used, me.len);
	}
	if (r < 0) {
		printf("malformed %s\n", err.text);
		hang_up();
	}
}

static void take_bytes(void)
{
	ssize_t n;

	if (vec_grow(&me.in, &me.cap, me.len + CHUNK, 1, 2 * IN_MAX) < 0)
		tool_die(EXIT_BROKEN, "too much");
	n = recv(me.fd, me.in + me.len, CHUNK, 0);
	if (n <= 0) {
		hang_up();
		return;
	}
	me.len += (size_t)n;
	take_frames();
}

static void obey(char *line)
{
	char *rest = NULL, *word = strtok_r(line, " ", &rest), *first, *second;

	if (word == NULL)
		return;
	if (str_eq(word, "hang-up")) {
		hang_up();
	} else if (str_eq(word, "status") || str_eq(word, "log")) {
		send_frame(json_pack("{s:s,s:i,s:i}", "type", word, "id", (int)++me.next_id,
				     "dropped", 0),
			   rest, strlen(rest));
	} else if (str_eq(word, "taken")) {
		send_frame(json_pack("{s:s,s:i}", "type", word, "sequence",
				     (int)tool_number(word, rest)),
			   NULL, 0);
	} else if ((first = strtok_r(NULL, " ", &rest)) && (second = strtok_r(NULL, " ", &rest))) {
		if (str_eq(word, "blob"))
			send_frame(json_pack("{s:s,s:s,s:s,s:i}", "type", "want", "what", word,
					     "sha256", first, "size",
					     (int)tool_number(word, second)),
				   NULL, 0);
		else
			send_frame(json_pack("{s:s,s:s,s:i,s:i}", "type", "want", "what", word,
					     "revision", (int)tool_number(word, first), "max",
					     (int)tool_number(word, second)),
				   NULL, 0);
	}
}

static void take_orders(void)
{
	char text[LINE_MAX_BYTES];
	ssize_t n = read(STDIN_FILENO, text, sizeof(text) - 1);
	char *rest = NULL;

	if (n <= 0)
		return;
	text[n] = '\0';
	for (char *line = strtok_r(text, "\n", &rest); line != NULL;
	     line = strtok_r(NULL, "\n", &rest))
		obey(line);
}

static void open_listener(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", arg.socket);
	(void)unlink(arg.socket);
	me.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(me.listener, (const struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    chmod(arg.socket, 0666) < 0 || listen(me.listener, 4) < 0)
		tool_die(EXIT_BROKEN, "%s: %s", arg.socket, strerror(errno));
}

int main(int argc, char **argv)
{
	(void)opts_parse(argv + 1, argc - 1, opts, ARRAY_LEN(opts));
	if (arg.socket == NULL || arg.url == NULL || arg.node == NULL)
		tool_die(EXIT_USAGE, "--socket, --url, --node");
	(void)alarm(TOOL_LIFE_MAX_S);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	stop_install();
	open_listener();
	puts("listening");
	while (!stop_asked) {
		struct pollfd p[] = {
			{.fd = STDIN_FILENO, .events = POLLIN},
			{.fd = me.fd < 0 ? me.listener : -1, .events = POLLIN},
			{.fd = me.fd, .events = POLLIN},
		};

		if (poll(p, ARRAY_LEN(p), -1) < 0)
			continue;
		if (p[0].revents & POLLIN)
			take_orders();
		if (me.fd < 0 && p[1].revents & POLLIN)
			me.fd = accept4(me.listener, NULL, NULL, SOCK_CLOEXEC);
		else if (me.fd >= 0 && p[2].fd == me.fd && p[2].revents)
			take_bytes();
	}
	free(me.in);
	closep(&me.fd);
	closep(&me.listener);
	return EXIT_AS_ASKED;
}
