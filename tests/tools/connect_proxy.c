/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A small HTTP proxy that knows CONNECT and nothing else, a process for each connection, all of
 * which end with the first one. Says what it is asked, a line each: "connect HOST:PORT", and
 * "asks for a name" or "tunnel".
 *
 *   connect_proxy --listen ADDRESS --port N [--basic BASE64] [--answer TEXT]
 *
 * basic: what `Proxy-Authorization: Basic` has to say; 407 otherwise. answer: what every CONNECT is
 * answered instead, "\n" being a line's end.
 */
#include "tests/tools/tool.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define HEAD_MAX    8192
#define PIECE_BYTES 16384
#define HOST_MAX    128

static const char *arg_listen, *arg_basic, *arg_answer;
static uint32_t arg_port;

static void say(int fd, const char *text)
{
	if (write(fd, text, strlen(text)) < 0)
		_exit(EXIT_CLOSED);
}

static void read_head(int fd, char head[HEAD_MAX])
{
	size_t len = 0;

	head[0] = '\0';
	while (strstr(head, "\r\n\r\n") == NULL) {
		ssize_t n = read(fd, head + len, 1);

		if (n <= 0 || ++len == HEAD_MAX - 1)
			_exit(EXIT_CLOSED);
		head[len] = '\0';
	}
}

static int reach(const char *target)
{
	char host[HOST_MAX];
	const char *colon = strrchr(target, ':');
	size_t len = colon == NULL ? 0 : (size_t)(colon - target);
	struct endpoint e;
	int fd;

	if (len > 1 && target[0] == '[') {
		target++;
		len -= 2;
	}
	if (len == 0 || len >= sizeof(host))
		_exit(EXIT_USAGE);
	memcpy(host, target, len);
	host[len] = '\0';
	endpoint_set(&e, host, tool_number("port", colon + 1));
	fd = socket(e.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&e.sa, e.len) < 0)
		return -1;
	return fd;
}

static void carry(int a, int b)
{
	struct pollfd fds[] = {{a, POLLIN, 0}, {b, POLLIN, 0}};
	char piece[PIECE_BYTES];

	while (poll(fds, 2, -1) > 0) {
		for (size_t i = 0; i < 2; i++) {
			ssize_t n = fds[i].revents == 0 ? 1 : read(fds[i].fd, piece, sizeof(piece));

			if (n <= 0 ||
			    (fds[i].revents != 0 && write(fds[1 - i].fd, piece, (size_t)n) != n))
				_exit(EXIT_CLOSED);
		}
	}
}

static void refuse_as_told(int fd)
{
	for (const char *c = arg_answer; *c != '\0'; c++) {
		bool end = c[0] == '\\' && c[1] == 'n';
		char one[] = {*c, '\0'};

		say(fd, end ? "\r\n" : one);
		c += end;
	}
	(void)shutdown(fd, SHUT_WR);
	_exit(EXIT_AS_ASKED);
}

static void serve(int fd)
{
	static const char field[] = "\r\nProxy-Authorization: Basic ";
	char head[HEAD_MAX], target[HOST_MAX] = "";
	const char *given;
	int far;

	read_head(fd, head);
	if (sscanf(head, "CONNECT %127s HTTP/1.1", target) != 1)
		_exit(EXIT_USAGE);
	(void)printf("connect %s\n", target);
	if (arg_answer != NULL)
		refuse_as_told(fd);
	given = strcasestr(head, field);
	if (arg_basic != NULL && (given == NULL || !str_starts(given + strlen(field), arg_basic))) {
		(void)printf("asks for a name\n");
		say(fd, "HTTP/1.1 407 Proxy Authentication Required\r\n"
			"Proxy-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\n\r\n");
		_exit(EXIT_REFUSED);
	}
	far = reach(target);
	if (far < 0) {
		say(fd, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
		_exit(EXIT_UNREACHABLE);
	}
	(void)printf("tunnel\n");
	say(fd, "HTTP/1.1 200 Connection established\r\n\r\n");
	carry(fd, far);
}

int main(int argc, char **argv)
{
	static const struct opt opts[] = {
		{"listen", OPT_TEXT, {.text = &arg_listen}},
		{"port", OPT_NUMBER, {.number = &arg_port}},
		{"basic", OPT_TEXT, {.text = &arg_basic}},
		{"answer", OPT_TEXT, {.text = &arg_answer}},
	};
	struct place here = {0};
	struct endpoint e;
	int fd;

	if (opts_parse(argv + 1, argc - 1, opts, ARRAY_LEN(opts)) != 0 || arg_listen == NULL)
		tool_die(EXIT_USAGE, "connect_proxy --listen ADDRESS --port N");
	place_enter(&here);
	(void)signal(SIGCHLD, SIG_IGN);
	endpoint_set(&e, arg_listen, arg_port);
	fd = socket(e.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sock_on(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
	if (bind(fd, (const struct sockaddr *)&e.sa, e.len) < 0 || listen(fd, 16) < 0)
		tool_die(EXIT_BROKEN, "listen: %s", strerror(errno));
	(void)printf("listening\n");
	for (;;) {
		int one = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (one >= 0 && fork() == 0) {
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			serve(one);
			_exit(EXIT_CLOSED);
		}
		closep(&one);
	}
}
