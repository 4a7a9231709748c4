/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * UDP and ICMP conversations between the hosts of a test:
 *
 *   datagrams [--netns PATH] [--cgroup DIR] [--uid N] MODE ...
 *     udp-server ADDRESS PORT [--silent] [--reuseport] [--for MS]
 *     udp-client ADDRESS PORT [--count N] [--every MS] [--timeout MS] [--from ADDRESS]
 *                [--port N] [--mark N] [--one-way] [--reuseport] [--size BYTES]
 *     flood ADDRESS PORT [--rate PER_SECOND] [--for MS] [--port N] [--from ADDRESS]
 *     ping ADDRESS [--count N] [--every MS] [--timeout MS] [--checksum N]
 *
 * udp-server echoes, and counts a flood: "flood sent S received R lost L duplicates D
 * overflow O", where O of the L were lost in its own socket buffer. ping --checksum chooses the
 * payload so that the ICMP checksum, which is where a port would stand, has that value (R6).
 */
#include "tests/tools/tool.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>

#define MESSAGE_MAX     65000
#define SOURCES_MAX     256
#define FLOOD_MAX       (1U << 22)
#define FLOOD_MAGIC     "BWFL"
#define FLOOD_END       "BWFE"
#define FLOOD_SIZE      16
#define FLOOD_END_TRIES 20
#define BUFFER_BYTES    (32 << 20)
#define TICK_MS         100
#define PING_SIZE       64

static struct {
	const char *from;
	uint32_t port;
	uint32_t count;
	uint32_t every;
	uint32_t timeout;
	uint32_t life;
	uint32_t rate;
	uint32_t mark;
	uint32_t checksum;
	uint32_t size;
	bool silent;
	bool one_way;
	bool reuseport;
} arg = {.count = 1, .timeout = 1000, .life = TOOL_FOR_DEFAULT_MS, .rate = 5000};

static const struct opt opts[] = {
	{"from", OPT_TEXT, {.text = &arg.from}},
	{"port", OPT_NUMBER, {.number = &arg.port}},
	{"count", OPT_NUMBER, {.number = &arg.count}},
	{"every", OPT_NUMBER, {.number = &arg.every}},
	{"timeout", OPT_NUMBER, {.number = &arg.timeout}},
	{"for", OPT_NUMBER, {.number = &arg.life}},
	{"rate", OPT_NUMBER, {.number = &arg.rate}},
	{"mark", OPT_NUMBER, {.number = &arg.mark}},
	{"checksum", OPT_NUMBER, {.number = &arg.checksum}},
	{"size", OPT_NUMBER, {.number = &arg.size}},
	{"silent", OPT_FLAG, {.flag = &arg.silent}},
	{"one-way", OPT_FLAG, {.flag = &arg.one_way}},
	{"reuseport", OPT_FLAG, {.flag = &arg.reuseport}},
};

static uint8_t message[MESSAGE_MAX];

static void be32_put(uint8_t *p, uint32_t v)
{
	v = htonl(v);
	memcpy(p, &v, sizeof(v));
}

static uint32_t be32_get(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return ntohl(v);
}

static void pause_us(int64_t us)
{
	struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

	if (us > 0)
		(void)nanosleep(&t, NULL);
}

static int datagram_socket(const struct endpoint *e)
{
	int fd = socket(e->sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		tool_die(EXIT_BROKEN, "socket: %s", strerror(errno));
	if (arg.mark != 0)
		sock_on(fd, SOL_SOCKET, SO_MARK, (int)arg.mark, "SO_MARK");
	if (arg.reuseport)
		sock_on(fd, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT");
	return fd;
}

/* ---------------------------------------------------------------------------------- server */

struct tally {
	uint64_t received;
	uint32_t unique;
	uint32_t duplicates;
	uint32_t overflow; /* SO_RXQ_OVFL: lost in our own buffer, not on the way */
	uint8_t *seen;     /* one bit per number of the flood */
	struct sockaddr_storage sources[SOURCES_MAX];
	unsigned source_count;
	bool flood_told;
};

static void tally_source(struct tally *t, const struct sockaddr_storage *from)
{
	char name[ENDPOINT_TEXT_MAX];

	for (unsigned i = 0; i < t->source_count; i++) {
		if (memcmp(&t->sources[i], from, sizeof(*from)) == 0)
			return;
	}
	if (t->source_count < SOURCES_MAX)
		t->sources[t->source_count++] = *from;
	printf("from %s\n", endpoint_format(name, from));
}

static void tally_flood(struct tally *t, const uint8_t *p)
{
	uint32_t number = be32_get(p + 4);
	uint8_t bit = (uint8_t)(1U << (number & 7));

	if (number >= FLOOD_MAX)
		return;
	if ((t->seen[number / 8] & bit) != 0) {
		t->duplicates++;
		return;
	}
	t->seen[number / 8] |= bit;
	t->unique++;
}

static void tally_end(struct tally *t, const uint8_t *p)
{
	uint32_t sent = be32_get(p + 4);

	if (!t->flood_told)
		printf("flood sent %u received %u lost %u duplicates %u overflow %u\n", sent,
		       t->unique, sent - t->unique, t->duplicates, t->overflow);
	t->flood_told = true;
}

static void tally_overflow(struct tally *t, struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL)
			memcpy(&t->overflow, CMSG_DATA(c), sizeof(t->overflow));
	}
}

static void server_receive(struct tally *t, int fd)
{
	struct sockaddr_storage from;
	union {
		char bytes[CMSG_SPACE(sizeof(uint32_t))];
		struct cmsghdr align;
	} control;
	struct iovec io = {.iov_base = message, .iov_len = sizeof(message)};
	struct msghdr m = {.msg_name = &from,
			   .msg_namelen = sizeof(from),
			   .msg_iov = &io,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	ssize_t n;

	memset(&from, 0, sizeof(from));
	n = recvmsg(fd, &m, 0);
	if (n < 0)
		return;
	tally_overflow(t, &m);
	t->received++;
	tally_source(t, &from);
	if (n == FLOOD_SIZE && memcmp(message, FLOOD_MAGIC, 4) == 0) {
		tally_flood(t, message);
		return; /* a flood is not echoed */
	}
	if (n == FLOOD_SIZE && memcmp(message, FLOOD_END, 4) == 0)
		tally_end(t, message);
	else if (arg.silent)
		return;
	if (sendto(fd, message, (size_t)n, MSG_NOSIGNAL, (struct sockaddr *)&from, m.msg_namelen) <
	    0)
		printf("reply failed: %s\n", strerror(errno));
}

static int server_bind(const struct endpoint *e)
{
	int fd = datagram_socket(e);
	int bytes = BUFFER_BYTES;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	sock_on(fd, SOL_SOCKET, SO_RXQ_OVFL, 1, "SO_RXQ_OVFL");
	if (e->sa.ss_family == AF_INET6)
		sock_on(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0, "IPV6_V6ONLY");
	if (bind(fd, (const struct sockaddr *)&e->sa, e->len) < 0)
		tool_die(EXIT_BROKEN, "bind: %s", strerror(errno));
	return fd;
}

static int mode_udp_server(char **words, int count)
{
	CLEANUP(closep) int fd = -1;
	struct tally *t = mem_calloc(1, sizeof(*t));
	struct pollfd p = {.events = POLLIN};
	struct endpoint e;
	int64_t end = now_us() + (int64_t)arg.life * 1000;

	if (count != 2)
		tool_die(EXIT_USAGE, "udp-server ADDRESS PORT");
	if (t == NULL || (t->seen = mem_calloc(FLOOD_MAX / 8, 1)) == NULL)
		tool_die(EXIT_BROKEN, "no memory");
	endpoint_set(&e, words[0], tool_number("port", words[1]));
	fd = server_bind(&e);
	stop_install();
	printf("listening %s %s\n", words[0], words[1]);
	p.fd = fd;
	while (!stop_asked && now_us() < end) {
		if (poll(&p, 1, TICK_MS) > 0)
			server_receive(t, fd);
	}
	printf("received %llu\n", (unsigned long long)t->received);
	free(t->seen);
	free(t);
	return EXIT_AS_ASKED;
}

/* ---------------------------------------------------------------------------------- client */

static int client_socket(const char *address, const char *port_text)
{
	struct endpoint to;
	struct endpoint from;
	int fd;

	endpoint_set(&to, address, tool_number("port", port_text));
	fd = datagram_socket(&to);
	if (arg.from != NULL || arg.port != 0) {
		endpoint_set(&from,
			     arg.from != NULL             ? arg.from
			     : to.sa.ss_family == AF_INET ? "0.0.0.0"
							  : "::",
			     arg.port);
		if (bind(fd, (const struct sockaddr *)&from.sa, from.len) < 0)
			tool_die(EXIT_BROKEN, "bind: %s", strerror(errno));
	}
	/* Connected, so that ICMP errors come back as errors of this socket. */
	if (connect(fd, (const struct sockaddr *)&to.sa, to.len) < 0) {
		int r = exit_of_errno(errno);

		printf("%s: %s\n", exit_word(r), strerror(errno));
		exit(r);
	}
	return fd;
}

struct counts {
	uint32_t sent;
	uint32_t answered;
	uint32_t errors;
	int first; /* errno */
	int other; /* the last one that was another */
	int error; /* the last one */
};

static void counts_error(struct counts *c)
{
	c->error = errno;
	if (c->errors++ == 0)
		c->first = c->error;
	if (c->error != c->first)
		c->other = c->error;
}

/*
 * Waits for the echo that carries this number; older ones may arrive late. Being told to stop does
 * not end the wait: the last datagram is on its way, and would count as lost.
 */
static bool client_answered(int fd, uint32_t number, struct counts *c)
{
	int64_t deadline = now_us() + (int64_t)arg.timeout * 1000;
	struct pollfd p = {.fd = fd, .events = POLLIN};

	for (;;) {
		uint8_t answer[MESSAGE_MAX];
		int ready = poll(&p, 1, ms_until(deadline));
		ssize_t n;

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return false;
		n = recv(fd, answer, sizeof(answer), 0);
		if (n < 0) {
			counts_error(c);
			return false;
		}
		if (n >= 8 && be32_get(answer + 4) == number)
			return true;
	}
}

static int counts_exit(const struct counts *c)
{
	if (arg.one_way)
		return c->errors == 0 ? EXIT_AS_ASKED : exit_of_errno(c->error);
	if (c->answered == c->sent && c->sent > 0)
		return EXIT_AS_ASKED;
	if (c->answered > 0)
		return EXIT_LOST;
	return c->errors > 0 ? exit_of_errno(c->error) : EXIT_TIMEOUT;
}

static int counts_tell(const struct counts *c)
{
	int r = counts_exit(c);

	printf("%s: sent %u answered %u errors %u", exit_word(r), c->sent, c->answered, c->errors);
	if (c->errors > 0)
		printf(" %s", strerror(c->first));
	if (c->other)
		printf(" and %s", strerror(c->other));
	printf("\n");
	return r;
}

static int mode_udp_client(char **words, int count)
{
	CLEANUP(closep) int fd = -1;
	struct counts c = {0};
	size_t size = arg.size > 8 && arg.size <= sizeof(message) ? arg.size : 8;
	int64_t end = now_us() + (int64_t)arg.life * 1000;

	if (count != 2)
		tool_die(EXIT_USAGE, "udp-client ADDRESS PORT");
	fd = client_socket(words[0], words[1]);
	stop_install();
	memcpy(message, "MESG", 4);
	for (uint32_t i = 1; !stop_asked && now_us() < end && (arg.count == 0 || i <= arg.count);
	     i++) {
		be32_put(message + 4, i);
		c.sent++;
		if (send(fd, message, size, 0) < 0)
			counts_error(&c);
		else if (!arg.one_way && client_answered(fd, i, &c))
			c.answered++;
		if (arg.every != 0)
			pause_us((int64_t)arg.every * 1000);
	}
	return counts_tell(&c);
}

/* ----------------------------------------------------------------------------------- flood */

/* The end goes until the server has answered it: the summary must not depend on one datagram. */
static bool flood_end(int fd, uint32_t sent)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	memcpy(message, FLOOD_END, 4);
	be32_put(message + 4, sent);
	for (int i = 0; i < FLOOD_END_TRIES; i++) {
		(void)send(fd, message, FLOOD_SIZE, 0);
		if (poll(&p, 1, TICK_MS) > 0 && recv(fd, message, sizeof(message), 0) > 0)
			return true;
	}
	return false;
}

static int mode_flood(char **words, int count)
{
	CLEANUP(closep) int fd = -1;
	int64_t began = now_us();
	int64_t end = began + (int64_t)arg.life * 1000;
	uint32_t sent = 0;
	uint32_t errors = 0;
	bool ended;

	if (count != 2 || arg.rate == 0)
		tool_die(EXIT_USAGE, "flood ADDRESS PORT --rate PER_SECOND");
	fd = client_socket(words[0], words[1]);
	stop_install();
	memset(message, 0, FLOOD_SIZE);
	memcpy(message, FLOOD_MAGIC, 4);
	while (!stop_asked && now_us() < end && sent < FLOOD_MAX) {
		/* Paced by the clock: after a pause of the machine the gap is caught up. */
		int64_t due = began + (int64_t)sent * 1000000 / arg.rate;

		if (now_us() < due) {
			pause_us(due - now_us());
			continue;
		}
		be32_put(message + 4, sent);
		sent++;
		if (send(fd, message, FLOOD_SIZE, 0) < 0)
			errors++;
	}
	ended = flood_end(fd, sent);
	printf("sent %u errors %u%s\n", sent, errors, ended ? "" : " end not acknowledged");
	if (!ended)
		return EXIT_TIMEOUT;
	return errors == 0 ? EXIT_AS_ASKED : EXIT_LOST;
}

/* ------------------------------------------------------------------------------------ ping */

static uint32_t sum16(const void *bytes, size_t len, uint32_t sum)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* What the checksum covers besides the message: nothing in ICMP, a pseudo header in ICMPv6. */
static uint32_t ping_pseudo_sum(int fd, const struct endpoint *to)
{
	const struct sockaddr_in6 *peer = (const struct sockaddr_in6 *)&to->sa;
	struct sockaddr_in6 local = {0};
	socklen_t len = sizeof(local);
	uint32_t sum;

	if (to->sa.ss_family == AF_INET)
		return 0;
	if (getsockname(fd, (struct sockaddr *)&local, &len) < 0)
		tool_die(EXIT_BROKEN, "getsockname: %s", strerror(errno));
	sum = sum16(&local.sin6_addr, 16, 0);
	sum = sum16(&peer->sin6_addr, 16, sum);
	return sum + PING_SIZE + IPPROTO_ICMPV6;
}

static void ping_build(uint8_t p[PING_SIZE], int family, uint32_t number, uint32_t pseudo)
{
	uint32_t sum;
	uint32_t fill;

	memset(p, 0, PING_SIZE);
	p[0] = family == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
	p[4] = (uint8_t)(getpid() >> 8);
	p[5] = (uint8_t)getpid();
	p[6] = (uint8_t)(number >> 8);
	p[7] = (uint8_t)number;
	sum = sum16(p, PING_SIZE, pseudo);
	if (arg.checksum != 0) {
		/* Ones' complement: checksum = ~(sum + fill), so fill = ~checksum - sum. */
		fill = (~arg.checksum & 0xffff) + (~sum & 0xffff);
		fill = (fill & 0xffff) + (fill >> 16);
		p[8] = (uint8_t)(fill >> 8);
		p[9] = (uint8_t)fill;
		sum = sum16(p, PING_SIZE, pseudo);
	}
	sum = ~sum & 0xffff;
	p[2] = (uint8_t)(sum >> 8);
	p[3] = (uint8_t)sum;
}

static bool ping_is_reply(const uint8_t *p, ssize_t n, int family, const uint8_t *sent)
{
	size_t head = 0;

	if (family == AF_INET && n > 0)
		head = (size_t)(p[0] & 15) * 4; /* a raw IPv4 socket delivers the IP header */
	if ((size_t)n < head + 8)
		return false;
	p += head;
	return p[0] == (family == AF_INET ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY) &&
	       memcmp(p + 4, sent + 4, 4) == 0;
}

static bool ping_answered(int fd, int family, const uint8_t *sent, struct counts *c)
{
	int64_t deadline = now_us() + (int64_t)arg.timeout * 1000;
	struct pollfd p = {.fd = fd, .events = POLLIN};

	while (!stop_asked && poll(&p, 1, ms_until(deadline)) > 0) {
		ssize_t n = recv(fd, message, sizeof(message), 0);

		if (n < 0) {
			counts_error(c);
			return false;
		}
		if (ping_is_reply(message, n, family, sent))
			return true;
	}
	return false;
}

static int mode_ping(char **words, int count)
{
	CLEANUP(closep) int fd = -1;
	uint8_t packet[PING_SIZE];
	struct counts c = {0};
	struct endpoint to;
	uint32_t pseudo;
	int family;

	if (count != 1)
		tool_die(EXIT_USAGE, "ping ADDRESS");
	endpoint_set(&to, words[0], 0);
	family = to.sa.ss_family;
	fd = socket(family, SOCK_RAW | SOCK_CLOEXEC,
		    family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	if (fd < 0)
		tool_die(EXIT_BROKEN, "raw socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)&to.sa, to.len) < 0)
		tool_die(EXIT_BROKEN, "connect: %s", strerror(errno));
	stop_install();
	pseudo = ping_pseudo_sum(fd, &to);
	for (uint32_t i = 1; i <= arg.count && !stop_asked; i++) {
		ping_build(packet, family, i, pseudo);
		if (i == 1)
			printf("checksum %u\n", (unsigned)(packet[2] << 8 | packet[3]));
		c.sent++;
		if (send(fd, packet, sizeof(packet), 0) < 0)
			counts_error(&c);
		else if (ping_answered(fd, family, packet, &c))
			c.answered++;
		if (arg.every != 0)
			pause_us((int64_t)arg.every * 1000);
	}
	return counts_tell(&c);
}

/* ------------------------------------------------------------------------------------ main */

static const struct tool_mode modes[] = {
	{"udp-server", mode_udp_server},
	{"udp-client", mode_udp_client},
	{"flood", mode_flood},
	{"ping", mode_ping},
};

int main(int argc, char **argv)
{
	struct place place;
	int at = place_parse(argc, argv, &place);

	if (at >= argc)
		tool_die(EXIT_USAGE, "datagrams [--netns PATH] [--cgroup DIR] [--uid N] MODE ...");
	place_enter(&place);
	return run_mode(modes, ARRAY_LEN(modes), argv[at], argv + at + 1,
			opts_parse(argv + at + 1, argc - at - 1, opts, ARRAY_LEN(opts)));
}
