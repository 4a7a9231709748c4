/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * TCP conversations between the hosts of a test, and any other program in the place of one:
 *
 *   traffic [--netns PATH] [--cgroup DIR] [--uid N] MODE ...
 *     exec -- COMMAND...                              run it there
 *     tcp-server ADDRESS PORT [--greet] [--talk MS] [--close-after N] [--reuseport] [--for MS]
 *     tcp-client ADDRESS PORT [--count N] [--every MS] [--timeout MS] [--from ADDRESS]
 *                [--port N] [--mark N] [--quiet-side] [--wait-close] [--progress] [--for MS]
 *     hold ADDRESS PORT N [--timeout MS] [--for MS]   N connections; "round" on stdin: one
 *                                                     message and its echo on each
 *
 * One fact per line on stdout; exit codes as in tool.h. Every wait has a deadline.
 */
#include "tests/tools/tool.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>

#define BACKLOG        4096
#define EVENTS_MAX     256
#define FLOWS_MAX      19000 /* below the usual hard limit of 20,000 descriptors */
#define CONNECT_BATCH  128
#define DEAD_LINES_MAX 20
#define MESSAGE_MAX    4096
#define TICK_MS        100

static struct {
	const char *from;
	uint32_t port;
	uint32_t count;
	uint32_t every;
	uint32_t timeout;
	uint32_t life;
	uint32_t talk;
	uint32_t close_after;
	uint32_t mark;
	bool greet;
	bool reuseport;
	bool quiet_side;
	bool wait_close;
	bool progress;
} arg = {.count = 1, .timeout = 2000, .life = TOOL_FOR_DEFAULT_MS};

static const struct opt opts[] = {
	{"from", OPT_TEXT, {.text = &arg.from}},
	{"port", OPT_NUMBER, {.number = &arg.port}},
	{"count", OPT_NUMBER, {.number = &arg.count}},
	{"every", OPT_NUMBER, {.number = &arg.every}},
	{"timeout", OPT_NUMBER, {.number = &arg.timeout}},
	{"for", OPT_NUMBER, {.number = &arg.life}},
	{"talk", OPT_NUMBER, {.number = &arg.talk}},
	{"close-after", OPT_NUMBER, {.number = &arg.close_after}},
	{"mark", OPT_NUMBER, {.number = &arg.mark}},
	{"greet", OPT_FLAG, {.flag = &arg.greet}},
	{"reuseport", OPT_FLAG, {.flag = &arg.reuseport}},
	{"quiet-side", OPT_FLAG, {.flag = &arg.quiet_side}},
	{"wait-close", OPT_FLAG, {.flag = &arg.wait_close}},
	{"progress", OPT_FLAG, {.flag = &arg.progress}},
};

static int stream_socket(const struct endpoint *e)
{
	int fd = socket(e->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		tool_die(EXIT_BROKEN, "socket: %s", strerror(errno));
	if (arg.mark != 0)
		sock_on(fd, SOL_SOCKET, SO_MARK, (int)arg.mark, "SO_MARK");
	return fd;
}

/* ---------------------------------------------------------------------------------- server */

struct client {
	bool open;
	uint32_t echoed;
	char name[ENDPOINT_TEXT_MAX];
};

struct server {
	int listener;
	int epoll;
	struct client *clients; /* by descriptor */
	int fd_max;
	uint32_t accepted;
	uint32_t ticks;
};

static void server_drop(struct server *s, int fd, const char *how)
{
	printf("%s %s after %u\n", how, s->clients[fd].name, s->clients[fd].echoed);
	s->clients[fd].open = false;
	(void)close(fd);
}

static void server_accept(struct server *s)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);
	int fd = accept4(s->listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (fd >= FLOWS_MAX) {
		(void)close(fd);
		return;
	}
	s->clients[fd] = (struct client){.open = true};
	endpoint_format(s->clients[fd].name, &peer);
	if (fd > s->fd_max)
		s->fd_max = fd;
	s->accepted++;
	sock_on(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
	event.data.fd = fd;
	if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		tool_die(EXIT_BROKEN, "epoll: %s", strerror(errno));
	printf("accepted %s\n", s->clients[fd].name);
	if (arg.greet && send(fd, "hello\n", 6, MSG_NOSIGNAL) != 6)
		server_drop(s, fd, "reset");
}

static void server_echo(struct server *s, int fd)
{
	char buf[MESSAGE_MAX];
	ssize_t n = recv(fd, buf, sizeof(buf), 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		server_drop(s, fd, n == 0 ? "closed" : "reset");
		return;
	}
	if (send(fd, buf, (size_t)n, MSG_NOSIGNAL) != n) {
		server_drop(s, fd, "reset");
		return;
	}
	s->clients[fd].echoed++;
	if (arg.close_after != 0 && s->clients[fd].echoed >= arg.close_after)
		server_drop(s, fd, "closing");
}

/* The server speaks first and unasked: what it sends must be cut as well. */
static void server_talk(struct server *s)
{
	char line[32];
	int len = snprintf(line, sizeof(line), "tick %u\n", s->ticks++);

	for (int fd = 0; fd <= s->fd_max; fd++) {
		if (!s->clients[fd].open)
			continue;
		if (send(fd, line, (size_t)len, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
			server_drop(s, fd, "reset");
	}
}

static int server_listen(const struct endpoint *e)
{
	int fd = stream_socket(e);

	sock_on(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
	if (arg.reuseport)
		sock_on(fd, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT");
	if (e->sa.ss_family == AF_INET6)
		sock_on(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0, "IPV6_V6ONLY");
	if (bind(fd, (const struct sockaddr *)&e->sa, e->len) < 0 || listen(fd, BACKLOG) < 0)
		tool_die(EXIT_BROKEN, "listen: %s", strerror(errno));
	return fd;
}

static void server_run(struct server *s)
{
	int64_t end = now_us() + (int64_t)arg.life * 1000;
	int64_t tick = now_us();
	struct epoll_event events[EVENTS_MAX];

	while (!stop_asked && now_us() < end) {
		int wait = arg.talk != 0 ? (int)arg.talk : TICK_MS;
		int n = epoll_wait(s->epoll, events, EVENTS_MAX, wait);

		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == s->listener)
				server_accept(s);
			else if (s->clients[events[i].data.fd].open)
				server_echo(s, events[i].data.fd);
		}
		if (arg.talk != 0 && now_us() - tick >= (int64_t)arg.talk * 1000) {
			tick = now_us();
			server_talk(s);
		}
	}
}

static int mode_tcp_server(char **words, int count)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct server s = {0};
	struct endpoint e;

	if (count != 2)
		tool_die(EXIT_USAGE, "tcp-server ADDRESS PORT");
	endpoint_set(&e, words[0], tool_number("port", words[1]));
	s.clients = mem_calloc(FLOWS_MAX, sizeof(*s.clients));
	s.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s.clients == NULL || s.epoll < 0)
		tool_die(EXIT_BROKEN, "no memory");
	s.listener = server_listen(&e);
	event.data.fd = s.listener;
	if (epoll_ctl(s.epoll, EPOLL_CTL_ADD, s.listener, &event) < 0)
		tool_die(EXIT_BROKEN, "epoll: %s", strerror(errno));
	stop_install();
	printf("listening %s %s\n", words[0], words[1]);
	server_run(&s);
	printf("served %u\n", s.accepted);
	free(s.clients);
	return EXIT_AS_ASKED;
}

/* ---------------------------------------------------------------------------------- client */

static bool wait_fd(int fd, short events, int64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = events};

	do {
		if (poll(&p, 1, ms_until(deadline)) > 0)
			return true;
	} while (!stop_asked && now_us() < deadline);
	return false;
}

static void client_bind(int fd, const struct endpoint *to)
{
	const char *any = to->sa.ss_family == AF_INET ? "0.0.0.0" : "::";
	struct endpoint from;

	if (arg.from == NULL && arg.port == 0)
		return;
	/* Without it a port in TIME_WAIT could not be used again. */
	sock_on(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
	if (arg.reuseport)
		sock_on(fd, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT");
	endpoint_set(&from, arg.from != NULL ? arg.from : any, arg.port);
	if (bind(fd, (const struct sockaddr *)&from.sa, from.len) < 0)
		tool_die(EXIT_BROKEN, "bind: %s", strerror(errno));
}

static int socket_error(int fd)
{
	int code = 0;
	socklen_t len = sizeof(code);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
		return errno;
	return code;
}

/* 0, or the errno that connect ended with; ETIMEDOUT at the deadline. */
static int client_connect(int fd, const struct endpoint *to)
{
	int64_t deadline = now_us() + (int64_t)arg.timeout * 1000;

	if (connect(fd, (const struct sockaddr *)&to->sa, to->len) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	if (!wait_fd(fd, POLLOUT, deadline))
		return ETIMEDOUT;
	return socket_error(fd);
}

/* Waits for whatever comes; 0, EXIT_CLOSED, EXIT_RESET or EXIT_LOST when nothing came. */
static int client_receive(int fd, size_t want)
{
	int64_t deadline = now_us() + (int64_t)arg.timeout * 1000;
	char buf[MESSAGE_MAX];

	while (want > 0) {
		ssize_t n;

		if (!wait_fd(fd, POLLIN, deadline))
			return EXIT_LOST;
		n = recv(fd, buf, want < sizeof(buf) ? want : sizeof(buf), 0);
		if (n == 0)
			return EXIT_CLOSED;
		if (n < 0 && errno == EAGAIN)
			continue;
		if (n < 0)
			return exit_of_errno(errno);
		want -= (size_t)n;
	}
	return 0;
}

static int client_message(int fd, uint32_t number)
{
	char line[32];
	int len = snprintf(line, sizeof(line), "message %u\n", number);

	if (arg.quiet_side)
		return client_receive(fd, 1);
	if (send(fd, line, (size_t)len, MSG_NOSIGNAL) < 0)
		return exit_of_errno(errno);
	return client_receive(fd, (size_t)len);
}

static void pause_ms(uint32_t ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	(void)nanosleep(&t, NULL);
}

static int client_talk(int fd)
{
	int64_t end = now_us() + (int64_t)arg.life * 1000;
	uint32_t done = 0;
	int r = 0;

	while (r == 0 && !stop_asked && now_us() < end && (arg.count == 0 || done < arg.count)) {
		r = client_message(fd, done + 1);
		if (r != 0)
			break;
		done++;
		if (arg.progress)
			printf("message %u\n", done);
		if (arg.every != 0)
			pause_ms(arg.every);
	}
	if (r != 0 && stop_asked)
		r = 0;
	if (r == 0 && arg.wait_close && client_receive(fd, 1) == EXIT_CLOSED)
		printf("server closed\n");
	printf(r == 0 ? "%s %u\n" : "%s after %u\n", exit_word(r), done);
	return r;
}

/* " after 2 retransmissions", or nothing: SYNs that were answered too late, or not at all. */
static const char *again_text(int fd, char buf[48])
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	buf[0] = '\0';
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_total_retrans > 0)
		(void)snprintf(buf, 48, " after %u retransmissions", info.tcpi_total_retrans);
	return buf;
}

static int mode_tcp_client(char **words, int count)
{
	CLEANUP(closep) int fd = -1;
	char name[ENDPOINT_TEXT_MAX], again[48];
	struct sockaddr_storage local = {0};
	socklen_t len = sizeof(local);
	struct endpoint to;
	int64_t began;
	int code;

	if (count != 2)
		tool_die(EXIT_USAGE, "tcp-client ADDRESS PORT");
	endpoint_set(&to, words[0], tool_number("port", words[1]));
	fd = stream_socket(&to);
	client_bind(fd, &to);
	stop_install();
	began = now_us();
	code = client_connect(fd, &to);
	if (code != 0) {
		int r = exit_of_errno(code);

		printf("%s after %lld us: %s\n", exit_word(r), (long long)(now_us() - began),
		       strerror(code));
		return r;
	}
	(void)getsockname(fd, (struct sockaddr *)&local, &len);
	printf("connected in %lld us%s from %s\n", (long long)(now_us() - began),
	       again_text(fd, again), endpoint_format(name, &local));
	sock_on(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
	return client_talk(fd);
}

/* ------------------------------------------------------------------------------------ hold */

struct flow {
	int fd; /* -1: dead, and how says why */
	bool waiting;
	const char *how;
	uint16_t port;
};

struct hold {
	struct endpoint to;
	struct flow *flows;
	uint32_t count;
	int epoll;
	uint32_t rounds;
};

static void flow_dead(struct flow *f, const char *how)
{
	(void)close(f->fd);
	f->fd = -1;
	f->waiting = false;
	f->how = how;
}

static uint16_t local_port(int fd)
{
	struct sockaddr_storage local = {0};
	socklen_t len = sizeof(local);

	(void)getsockname(fd, (struct sockaddr *)&local, &len);
	/* sin_port and sin6_port are at the same place. */
	return ntohs(((const struct sockaddr_in *)&local)->sin_port);
}

static void hold_connect_one(struct hold *h, uint32_t index)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
	struct flow *f = &h->flows[index];
	int code;

	f->fd = stream_socket(&h->to);
	code = client_connect(f->fd, &h->to);
	if (code != 0) {
		flow_dead(f, exit_word(exit_of_errno(code)));
		return;
	}
	f->port = local_port(f->fd);
	if (epoll_ctl(h->epoll, EPOLL_CTL_ADD, f->fd, &event) < 0)
		tool_die(EXIT_BROKEN, "epoll: %s", strerror(errno));
}

static uint32_t hold_alive(const struct hold *h)
{
	uint32_t alive = 0;

	for (uint32_t i = 0; i < h->count; i++)
		alive += h->flows[i].fd >= 0;
	return alive;
}

static void hold_event(struct hold *h, const struct epoll_event *event, uint32_t *waiting)
{
	struct flow *f = &h->flows[event->data.u32];
	char buf[MESSAGE_MAX];
	ssize_t n;

	if (f->fd < 0)
		return;
	n = recv(f->fd, buf, sizeof(buf), 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (f->waiting)
		(*waiting)--;
	f->waiting = false;
	if (n <= 0)
		flow_dead(f, n == 0 ? "closed" : "reset");
}

static uint32_t hold_send(struct hold *h)
{
	uint32_t waiting = 0;

	for (uint32_t i = 0; i < h->count; i++) {
		struct flow *f = &h->flows[i];

		if (f->fd < 0)
			continue;
		if (send(f->fd, "ping\n", 5, MSG_NOSIGNAL) < 0) {
			flow_dead(f, "reset");
			continue;
		}
		f->waiting = true;
		waiting++;
	}
	return waiting;
}

static void hold_round(struct hold *h)
{
	int64_t deadline = now_us() + (int64_t)arg.timeout * 1000;
	struct epoll_event events[EVENTS_MAX];
	uint32_t waiting = hold_send(h);
	uint32_t alive;
	int lines = 0;

	while (waiting > 0 && !stop_asked && now_us() < deadline) {
		int n = epoll_wait(h->epoll, events, EVENTS_MAX, ms_until(deadline));

		for (int i = 0; i < n; i++)
			hold_event(h, &events[i], &waiting);
	}
	for (uint32_t i = 0; i < h->count; i++) {
		if (h->flows[i].waiting)
			flow_dead(&h->flows[i], "stalled");
	}
	alive = hold_alive(h);
	for (uint32_t i = 0; i < h->count && lines < DEAD_LINES_MAX; i++) {
		if (h->flows[i].fd < 0 && lines++ < DEAD_LINES_MAX)
			printf("dead %u port %u %s\n", i, h->flows[i].port, h->flows[i].how);
	}
	printf("round %u alive %u dead %u\n", ++h->rounds, alive, h->count - alive);
}

/* "round" plays one message and its echo on each flow; "quit" or end of input ends. */
static void hold_serve(struct hold *h)
{
	int64_t end = now_us() + (int64_t)arg.life * 1000;
	char line[64];

	while (!stop_asked && wait_fd(STDIN_FILENO, POLLIN, end)) {
		/* One command, one write: a pipe hands it over whole. */
		ssize_t n = read(STDIN_FILENO, line, sizeof(line) - 1);

		if (n <= 0)
			return;
		line[n] = '\0';
		if (str_starts(line, "quit"))
			return;
		if (str_starts(line, "round"))
			hold_round(h);
	}
}

static int mode_hold(char **words, int count)
{
	struct hold h = {0};
	int64_t began = now_us();
	uint32_t alive;

	if (count != 3)
		tool_die(EXIT_USAGE, "hold ADDRESS PORT N");
	endpoint_set(&h.to, words[0], tool_number("port", words[1]));
	h.count = tool_number("N", words[2]);
	if (h.count == 0 || h.count > FLOWS_MAX)
		tool_die(EXIT_USAGE, "hold: 1 to %d flows", FLOWS_MAX);
	h.flows = mem_calloc(h.count, sizeof(*h.flows));
	h.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (h.flows == NULL || h.epoll < 0)
		tool_die(EXIT_BROKEN, "no memory");
	stop_install();
	for (uint32_t i = 0; i < h.count && !stop_asked; i++)
		hold_connect_one(&h, i);
	alive = hold_alive(&h);
	printf("held %u of %u in %lld ms\n", alive, h.count, (long long)(now_us() - began) / 1000);
	hold_serve(&h);
	alive = hold_alive(&h);
	free(h.flows);
	return alive == h.count ? EXIT_AS_ASKED : EXIT_LOST;
}

/* ------------------------------------------------------------------------------------ main */

static int mode_exec(char **words, int count)
{
	if (count < 1)
		tool_die(EXIT_USAGE, "exec -- COMMAND...");
	(void)alarm(0);
	(void)execvp(words[0], words);
	tool_die(EXIT_BROKEN, "%s: %s", words[0], strerror(errno));
}

static const struct tool_mode modes[] = {
	{"tcp-server", mode_tcp_server},
	{"tcp-client", mode_tcp_client},
	{"hold", mode_hold},
};

int main(int argc, char **argv)
{
	struct place place;
	int at = place_parse(argc, argv, &place);

	if (at >= argc)
		tool_die(EXIT_USAGE, "traffic [--netns PATH] [--cgroup DIR] [--uid N] MODE ...");
	place_enter(&place);
	if (str_eq(argv[at], "exec")) {
		at++;
		if (at < argc && str_eq(argv[at], "--"))
			at++;
		return mode_exec(argv + at, argc - at);
	}
	return run_mode(modes, ARRAY_LEN(modes), argv[at], argv + at + 1,
			opts_parse(argv + at + 1, argc - at - 1, opts, ARRAY_LEN(opts)));
}
