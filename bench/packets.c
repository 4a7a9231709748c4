/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a packet and a connection cost in the hooks of two hosts.
 *
 *   packets CGROUP_DIRECTORY LEVEL full|quick
 *
 * Each subject is a pair of network namespaces joined by a veth: conntrack with no rule, a classic
 * `ct state established accept`, and the real table with more and more conduits. One thread on one
 * CPU sends 64 small messages with one system call; the kernel takes each through output of one
 * host and input of the other before the call returns, because the receiving softirq runs in the
 * sender's context. So the time of the call is the time of all hooks, and nobody has to be woken
 * up. A burst that was not all there when the call returned (ksoftirqd took over) is thrown away.
 *
 * Subjects take turns, a fraction of a second each, with fresh sockets; of the bursts of a turn the
 * best decile counts, of the turns the median of the ratios. On machines with other work medians of
 * whole seconds moved by 20 % with nothing changed.
 */
#include "bench/loaded.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define PAIRS_MAX        6
#define BURST            64
#define MESSAGE_LEN      16
#define BURSTS           60 /* of a turn */
#define BURSTS_WARM      4
#define BURSTS_MIN       10 /* complete ones that a turn must have */
#define CONNECTS         8  /* of one burst */
#define CONNECT_BURSTS   20
#define BEST             0.1
#define TURNS_MAX        200
#define TURNS_FULL       100
#define TURNS_QUICK      15
#define LISTEN_BACKLOG   64
#define WAIT_MS          1000
#define RECEIVE_BYTES    (4 << 20)
#define ECHO_PORT        (FLEET_PORT_FIRST + 1)
#define CROSSING_MIN     BURST
#define GOAL_TCP         0.90
#define GOAL_TCP_CLASSIC 0.94
#define GOAL_UDP         0.83
#define GOAL_CONNECT     0.95
#define GOAL_FLAT        0.03

enum measure { MEASURE_TCP, MEASURE_UDP, MEASURE_CONNECT, MEASURE_COUNT };

/* One way to have two hosts' packets judged. */
struct pair {
	const char *text;   /* nft, for both hosts; NULL: the real table */
	uint32_t conduits;  /* wanted */
	size_t real;        /* what compilation made of it, the smaller side */
	int caller, called; /* network namespaces */
	struct nft *nft[2];
	int listener, receiver, echo;
	double ns[MEASURE_COUNT][TURNS_MAX];
};

struct bench {
	struct pair pairs[PAIRS_MAX];
	size_t count;
	uint32_t turns;
	struct fleet_units units;
	uint64_t incomplete;
};

/* Conntrack is switched on by the rule's mere existence; no packet comes to a chain without hook.
 */
static const char text_conntrack[] = "table inet base { chain unused { ct state new accept; }; }\n";
static const char text_classic[] =
	"table inet classic {\n"
	"chain out { type filter hook output priority 0; policy drop;\n"
	"ct state established accept; meta l4proto { tcp, udp, icmpv6 } accept; }\n"
	"chain in { type filter hook input priority 0; policy drop;\n"
	"ct state established accept; meta l4proto { tcp, udp, icmpv6 } accept; }\n"
	"}\n";

/* --- two hosts ------------------------------------------------------------------------------- */

static void host_settings(const char *address)
{
	run_line("ip link set lo up");
	run_line("ip address add %s/24 dev eth0", address);
	run_line("ip link set eth0 up");
	/* A burst must not wait for acknowledgements, nor two messages share a packet. */
	run_line("ip route replace 10.77.0.0/24 dev eth0 initcwnd 512 initrwnd 512");
	net_sysctl("ipv4/tcp_autocorking", "0");
	net_sysctl("ipv4/tcp_slow_start_after_idle", "0");
}

static void hosts_make(struct pair *s)
{
	s->caller = netns_new();
	s->called = netns_new();
	run_line("ip link add eth0 type veth peer name eth0 netns /proc/%d/fd/%d", (int)getpid(),
		 s->caller);
	host_settings(FLEET_CALLED_ADDR);
	netns_enter(s->caller);
	host_settings(FLEET_CALLER_ADDR);
}

static void table_make(struct bench *b, struct pair *s, bool called)
{
	const struct fleet fleet = fleet_of(called, s->conduits);
	struct compiled c;
	int64_t took;

	netns_enter(called ? s->called : s->caller);
	if (s->text != NULL) {
		nft_text(s->text, strlen(s->text));
		return;
	}
	compiled_make(&c, &fleet, &b->units, QUEUE_NONE);
	s->nft[called] = load(&c, &took);
	if (s->real == 0 || c.gen->conduit_count < s->real)
		s->real = c.gen->conduit_count;
	compiled_done(&c);
}

static void unit_enter(const struct bench *b, const char *unit)
{
	CLEANUP(freep) char *path = mem_printf("%s/%s/cgroup.procs", b->units.dir, unit);
	CLEANUP(closep) int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "0", 1) != 1)
		die("enter %s: %s", path, strerror(errno));
}

/* Ends with a reset: a TIME_WAIT socket would meet a later connection of the same port. */
static void reset_at_close(int fd)
{
	const struct linger now = {.l_onoff = 1};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static int socket_new(int type)
{
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), bytes = RECEIVE_BYTES;

	if (fd < 0)
		die("socket: %s", strerror(errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	return fd;
}

static struct sockaddr_in called_at(uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};

	(void)inet_pton(AF_INET, FLEET_CALLED_ADDR, &sa.sin_addr);
	return sa;
}

static int server_socket(int type, uint16_t port)
{
	const struct sockaddr_in sa = called_at(port);
	int fd = socket_new(type | SOCK_NONBLOCK), on = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		die("bind: %s", strerror(errno));
	if (type == SOCK_STREAM && listen(fd, LISTEN_BACKLOG) < 0)
		die("listen: %s", strerror(errno));
	return fd;
}

/* The program at the other end: a byte in, a byte out. Ends with the benchmark. */
static _Noreturn void serve(const struct pair *s)
{
	char byte;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		CLEANUP(closep) int fd = accept4(s->echo, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			_exit(EXIT_FAILURE);
		reset_at_close(fd);
		if (recv(fd, &byte, 1, 0) == 1)
			(void)send(fd, &byte, 1, MSG_NOSIGNAL);
		/* The client ends first: its reset must not cross an end of ours. */
		(void)recv(fd, &byte, 1, 0);
	}
}

static void pairs_make(struct bench *b)
{
	for (size_t i = 0; i < b->count; i++) {
		struct pair *s = &b->pairs[i];

		hosts_make(s);
		table_make(b, s, false);
		table_make(b, s, true);
	}
	/* A socket keeps the cgroup of the moment it was made; accepted ones that of the listener.
	 */
	(void)unit_make(&b->units, "store.service");
	unit_enter(b, "store.service");
	for (size_t i = 0; i < b->count; i++) {
		netns_enter(b->pairs[i].called);
		b->pairs[i].listener = server_socket(SOCK_STREAM, FLEET_PORT_FIRST);
		b->pairs[i].receiver = server_socket(SOCK_DGRAM, FLEET_PORT_UDP);
		b->pairs[i].echo = server_socket(SOCK_STREAM, ECHO_PORT);
		(void)fcntl(b->pairs[i].echo, F_SETFL, 0);
		if (fork() == 0)
			serve(&b->pairs[i]);
	}
	(void)unit_make(&b->units, "app0.service");
	unit_enter(b, "app0.service");
}

/* --- bursts ---------------------------------------------------------------------------------- */

static int client_socket(const struct pair *s, int type, uint16_t port)
{
	const struct sockaddr_in sa = called_at(port);
	const struct timeval patience = {.tv_sec = WAIT_MS / 1000};
	int fd, on = 1;

	fd = socket_new(type);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (type == SOCK_STREAM)
		reset_at_close(fd);
	if (type == SOCK_STREAM)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		die("%zu conduits: connect to port %u: %s", s->real, port, strerror(errno));
	return fd;
}

static int server_accept(const struct pair *s)
{
	struct pollfd p = {.fd = s->listener, .events = POLLIN};
	int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0 && errno == EAGAIN && poll(&p, 1, WAIT_MS) == 1)
		fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		die("accept: %s", strerror(errno));
	reset_at_close(fd);
	return fd;
}

/* How many messages are there to be read now. */
static size_t drain(int fd, bool tcp)
{
	char bytes[BURST * MESSAGE_LEN * 2];
	size_t total = 0;
	ssize_t n;

	while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		total += tcp ? (size_t)n : MESSAGE_LEN;
	return total / MESSAGE_LEN;
}

/* Data and acknowledgements that this end has sent or received. */
static uint32_t segments(int fd)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		die("TCP_INFO: %s", strerror(errno));
	return info.tcpi_segs_out + info.tcpi_segs_in;
}

/* Nanoseconds for each packet that crossed, or 0 when the burst was not complete. */
static double burst(int tx, int rx, bool tcp)
{
	static char bytes[MESSAGE_LEN];
	struct iovec iov = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct mmsghdr messages[BURST] = {0};
	uint32_t before = tcp ? segments(tx) : 0, packets;
	int64_t began, took;
	int sent;

	for (size_t i = 0; i < BURST; i++) {
		messages[i].msg_hdr.msg_iov = &iov;
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	began = clock_ns();
	sent = sendmmsg(tx, messages, BURST, 0);
	took = clock_ns() - began;
	packets = tcp ? segments(tx) - before : BURST;
	if (drain(rx, tcp) != BURST || sent != BURST || packets < CROSSING_MIN)
		return 0;
	return (double)took / packets;
}

static void turn_bursts(struct bench *b, struct pair *s, enum measure m, uint32_t turn)
{
	bool tcp = m == MEASURE_TCP;
	int type = tcp ? SOCK_STREAM : SOCK_DGRAM;
	CLEANUP(closep) int tx = client_socket(s, type, tcp ? FLEET_PORT_FIRST : FLEET_PORT_UDP);
	CLEANUP(closep) int accepted = tcp ? server_accept(s) : -1;
	int rx = tcp ? accepted : s->receiver;
	double ns[BURSTS];
	size_t count = 0;

	for (unsigned i = 0; i < BURSTS_WARM; i++)
		(void)burst(tx, rx, tcp);
	for (unsigned i = 0; i < BURSTS; i++) {
		double one = burst(tx, rx, tcp);

		if (one > 0)
			ns[count++] = one;
		else
			b->incomplete++;
	}
	if (count < BURSTS_MIN)
		die("%zu conduits: only %zu of %d %s bursts arrived at once", s->real, count,
		    BURSTS, tcp ? "TCP" : "UDP");
	s->ns[m][turn] = quantile(ns, count, BEST);
}

static void connect_once(const struct pair *s)
{
	CLEANUP(closep) int client = client_socket(s, SOCK_STREAM, ECHO_PORT);
	char byte = 'x';

	if (send(client, &byte, 1, MSG_NOSIGNAL) != 1 || recv(client, &byte, 1, 0) != 1)
		die("a new connection does not carry data: %s", strerror(errno));
}

static void turn_connects(struct pair *s, uint32_t turn)
{
	double ns[CONNECT_BURSTS];

	connect_once(s);
	for (unsigned i = 0; i < CONNECT_BURSTS; i++) {
		int64_t began = clock_ns();

		for (unsigned k = 0; k < CONNECTS; k++)
			connect_once(s);
		ns[i] = (double)(clock_ns() - began) / CONNECTS;
	}
	s->ns[MEASURE_CONNECT][turn] = quantile(ns, CONNECT_BURSTS, BEST);
}

static void measure(struct bench *b)
{
	for (uint32_t turn = 0; turn < b->turns; turn++) {
		for (size_t i = 0; i < b->count; i++) {
			struct pair *s = &b->pairs[(i + turn) % b->count];

			netns_enter(s->caller);
			turn_bursts(b, s, MEASURE_TCP, turn);
			turn_bursts(b, s, MEASURE_UDP, turn);
			turn_connects(s, turn);
		}
	}
}

/* --- rows ------------------------------------------------------------------------------------ */

static double median_ns(const struct bench *b, size_t pair, enum measure m)
{
	double copy[TURNS_MAX];

	memcpy(copy, b->pairs[pair].ns[m], b->turns * sizeof(*copy));
	return quantile(copy, b->turns, 0.5);
}

/* How fast `of` is, `against` being 1; ratios of the same turn. */
static struct summary ratios(const struct bench *b, size_t of, size_t against, enum measure m)
{
	double ratio[TURNS_MAX];

	for (uint32_t i = 0; i < b->turns; i++)
		ratio[i] = b->pairs[against].ns[m][i] / b->pairs[of].ns[m][i];
	return summarize(ratio, b->turns);
}

static void ratio_row(const struct bench *b, const char *id, const char *what, size_t of,
		      size_t against, enum measure m, double goal)
{
	const struct summary s = ratios(b, of, against, m);
	char text[16], note[160];

	(void)snprintf(text, sizeof(text), ">= %.2f", goal);
	(void)snprintf(note, sizeof(note), "%.0f ns against %.0f ns, %zu conduits",
		       median_ns(b, of, m), median_ns(b, against, m), b->pairs[of].real);
	row_print(&(struct row){
		.id = id,
		.what = what,
		.unit = "",
		.goal = text,
		.met = s.median >= goal ? ROW_MET : ROW_MISSED,
		.s = s,
		.note = note,
	});
}

static void flat_row(const struct bench *b, size_t of, size_t against)
{
	const struct summary s = ratios(b, of, against, MEASURE_TCP);
	char what[80], note[160];

	(void)snprintf(what, sizeof(what), "established TCP, %u conduits against %u",
		       b->pairs[of].conduits, b->pairs[against].conduits);
	(void)snprintf(note, sizeof(note), "%.0f ns against %.0f ns", median_ns(b, of, MEASURE_TCP),
		       median_ns(b, against, MEASURE_TCP));
	row_print(&(struct row){
		.id = "tcp-flat",
		.what = what,
		.unit = "",
		.goal = "0.97 to 1.03",
		.met = s.median >= 1 - GOAL_FLAT && s.median <= 1 + GOAL_FLAT ? ROW_MET
									      : ROW_MISSED,
		.s = s,
		.note = note,
	});
}

enum { CONNTRACK, CLASSIC, SMALL, USUAL, LARGE };

static void rows(const struct bench *b)
{
	ratio_row(b, "tcp-conntrack", "established TCP, against conntrack alone", USUAL, CONNTRACK,
		  MEASURE_TCP, GOAL_TCP);
	ratio_row(b, "tcp-classic", "established TCP, against `ct state established accept`", USUAL,
		  CLASSIC, MEASURE_TCP, GOAL_TCP_CLASSIC);
	flat_row(b, b->count - 1, SMALL);
	ratio_row(b, "udp-conntrack", "datagrams, both ends checked, against conntrack alone",
		  USUAL, CONNTRACK, MEASURE_UDP, GOAL_UDP);
	ratio_row(b, "connect-mapped", "new connections, mapped, against conntrack alone", USUAL,
		  CONNTRACK, MEASURE_CONNECT, GOAL_CONNECT);
	if (b->incomplete > 0)
		(void)fprintf(stderr, "bench: %llu bursts thrown away\n",
			      (unsigned long long)b->incomplete);
}

int main(int argc, char **argv)
{
	static struct bench b;
	bool quick = argc == 4 && str_eq(argv[3], "quick");

	if (argc != 4 || (!quick && !str_eq(argv[3], "full")))
		die("usage: packets CGROUP_DIRECTORY LEVEL full|quick");
	bench_begin();
	b.units.dir = argv[1];
	b.units.level = (uint8_t)argument_number("level", argv[2], 1, CGROUP_LEVEL_MAX);
	b.turns = quick ? TURNS_QUICK : TURNS_FULL;
	b.count = quick ? LARGE : LARGE + 1;
	b.pairs[CONNTRACK].text = text_conntrack;
	b.pairs[CLASSIC].text = text_classic;
	b.pairs[SMALL].conduits = 10;
	b.pairs[USUAL].conduits = 10000;
	b.pairs[LARGE].conduits = 100000;
	pin_to_cpu((unsigned)sysconf(_SC_NPROCESSORS_ONLN) - 1);
	pairs_make(&b);
	measure(&b);
	rows(&b);
	return 0;
}
