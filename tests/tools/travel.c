/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A TCP socket that another process connects than the one that made it:
 *
 *   travel keep ADDRESS PORT          makes a socket and connects it
 *   travel wait ADDRESS PORT          the same, with a line of standard input in between
 *   travel give ADDRESS PORT PATH     makes one and passes it to who comes to the UNIX socket PATH
 *   travel take ADDRESS PORT PATH     gets it there and connects it
 *
 * Says "waiting" where it waits for somebody; exit codes of connect as in tool.h.
 */
#include "tests/tools/tool.h"

#include <poll.h>
#include <sys/un.h>

#define CONNECT_MS 5000

static int tcp_socket(const struct endpoint *to)
{
	int fd = socket(to->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		tool_die(EXIT_BROKEN, "socket: %s", strerror(errno));
	return fd;
}

static int connect_it(int fd, const struct endpoint *to)
{
	int64_t deadline = now_us() + CONNECT_MS * 1000;
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	socklen_t len = sizeof(int);
	int code = 0;

	if (connect(fd, (const struct sockaddr *)&to->sa, to->len) == 0)
		return EXIT_AS_ASKED;
	if (errno != EINPROGRESS)
		return exit_of_errno(errno);
	while (poll(&p, 1, ms_until(deadline)) <= 0)
		if (now_us() >= deadline)
			return EXIT_TIMEOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
		code = errno;
	return code == 0 ? EXIT_AS_ASKED : exit_of_errno(code);
}

static int unix_socket(const char *path, struct sockaddr_un *ret)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (fd < 0 || strlen(path) >= sizeof(ret->sun_path))
		tool_die(EXIT_BROKEN, "UNIX socket '%s': %s", path, strerror(errno));
	(void)snprintf(ret->sun_path, sizeof(ret->sun_path), "%s", path);
	return fd;
}

/* One byte, and room for one descriptor. */
union passed {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

static struct msghdr message_of(struct iovec *byte, union passed *passed)
{
	return (struct msghdr){
		.msg_iov = byte,
		.msg_iovlen = 1,
		.msg_control = passed,
		.msg_controllen = sizeof(*passed),
	};
}

static void send_fd(int to, int fd)
{
	char x = 'x';
	struct iovec byte = {.iov_base = &x, .iov_len = 1};
	union passed passed = {0};
	struct msghdr message = message_of(&byte, &passed);

	passed.header = (struct cmsghdr){
		.cmsg_len = CMSG_LEN(sizeof(int)),
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
	};
	memcpy(CMSG_DATA(&passed.header), &fd, sizeof(fd));
	if (sendmsg(to, &message, MSG_NOSIGNAL) != 1)
		tool_die(EXIT_BROKEN, "pass it: %s", strerror(errno));
}

static int receive_fd(int from)
{
	char x;
	struct iovec byte = {.iov_base = &x, .iov_len = 1};
	union passed passed = {0};
	struct msghdr message = message_of(&byte, &passed);
	int fd;

	if (recvmsg(from, &message, MSG_CMSG_CLOEXEC) != 1 ||
	    passed.header.cmsg_type != SCM_RIGHTS ||
	    passed.header.cmsg_len != CMSG_LEN(sizeof(int)))
		tool_die(EXIT_BROKEN, "no socket came: %s", strerror(errno));
	memcpy(&fd, CMSG_DATA(&passed.header), sizeof(fd));
	return fd;
}

/* Ends when who took it does, who goes on when it is the only one to hold it. */
static int give(const struct endpoint *to, const char *path)
{
	int fd = tcp_socket(to), taker;
	struct sockaddr_un sa;
	int here = unix_socket(path, &sa);
	char x;

	if (bind(here, (const struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(here, 1) < 0)
		tool_die(EXIT_BROKEN, "listen at %s: %s", path, strerror(errno));
	printf("waiting\n");
	taker = accept(here, NULL, NULL);
	if (taker < 0)
		tool_die(EXIT_BROKEN, "accept: %s", strerror(errno));
	send_fd(taker, fd);
	(void)close(fd);
	(void)shutdown(taker, SHUT_WR);
	(void)!recv(taker, &x, 1, 0);
	return EXIT_AS_ASKED;
}

static int take(const struct endpoint *to, const char *path)
{
	struct sockaddr_un sa;
	int there = unix_socket(path, &sa), fd;
	char x;

	if (connect(there, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		tool_die(EXIT_BROKEN, "connect to %s: %s", path, strerror(errno));
	fd = receive_fd(there);
	(void)!recv(there, &x, 1, 0);
	return connect_it(fd, to);
}

static int wait_and_connect(const struct endpoint *to)
{
	int fd = tcp_socket(to);
	char line[16];

	printf("waiting\n");
	if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
		tool_die(EXIT_BROKEN, "nobody said go");
	return connect_it(fd, to);
}

int main(int argc, char **argv)
{
	struct place here = {0};
	struct endpoint to;

	place_enter(&here);
	if (argc < 4)
		tool_die(EXIT_USAGE, "travel keep|wait|give|take ADDRESS PORT [PATH]");
	endpoint_set(&to, argv[2], tool_number("port", argv[3]));
	if (str_eq(argv[1], "keep"))
		return connect_it(tcp_socket(&to), &to);
	if (str_eq(argv[1], "wait"))
		return wait_and_connect(&to);
	if (argc == 5 && str_eq(argv[1], "give"))
		return give(&to, argv[4]);
	if (argc == 5 && str_eq(argv[1], "take"))
		return take(&to, argv[4]);
	tool_die(EXIT_USAGE, "travel: '%s' is no mode", argv[1]);
}
