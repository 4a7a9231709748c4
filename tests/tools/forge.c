/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Forged packets with any source, sent by a raw socket that brings its own IP header. Run in a
 * namespace that no agent protects: it plays the neighbour on the wire.
 *
 *   forge [--netns PATH] [--cgroup DIR] KIND --from ADDRESS --sport N --to ADDRESS --dport N
 *         [--seq N] [--ack N] [--count N] [--mark N] [--data TEXT]
 *         [--ports N] [--sources N] [--rate N]
 *         [--type N] [--code N] [--mtu N] [--peer ADDRESS] [--proto N]
 *
 * KIND: syn, synack, rst, fin, ack, data (TCP with payload), udp, sctp (INIT). With --ports and
 * --sources the packets come from so many ports and addresses beginning with those given, one after
 * the other; with --rate so many leave in a second. SIGTERM ends it; it says how many it has sent,
 * and how long that took.
 *
 * error-tcp, error-udp: an ICMP error of that type and code, with that MTU, about a packet that
 * went from --to and --dport to --peer (--from where it is left out) and --sport. other: --data by
 * the protocol of that number, which knows no ports.
 */
#include "tests/tools/tool.h"

#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>

#define PACKET_MAX 1400
#define DATA_MAX   1000
#define WINDOW     64240
#define TTL        64

#define ICMP_HEADER 8
#define SCTP_HEADER 12

static struct {
	const char *from;
	const char *to;
	const char *data;
	uint32_t sport;
	uint32_t dport;
	uint32_t seq;
	uint32_t ack;
	uint32_t count;
	uint32_t mark;
	uint32_t ports;
	uint32_t sources;
	uint32_t rate;
	uint32_t type;
	uint32_t code;
	uint32_t mtu;
	uint32_t proto;
	const char *peer;
} arg = {.count = 1, .ports = 1, .sources = 1, .data = "", .seq = 0x11223344, .ack = 0x55667788};

static const struct opt opts[] = {
	{"from", OPT_TEXT, {.text = &arg.from}},
	{"to", OPT_TEXT, {.text = &arg.to}},
	{"data", OPT_TEXT, {.text = &arg.data}},
	{"sport", OPT_NUMBER, {.number = &arg.sport}},
	{"dport", OPT_NUMBER, {.number = &arg.dport}},
	{"seq", OPT_NUMBER, {.number = &arg.seq}},
	{"ack", OPT_NUMBER, {.number = &arg.ack}},
	{"count", OPT_NUMBER, {.number = &arg.count}},
	{"mark", OPT_NUMBER, {.number = &arg.mark}},
	{"ports", OPT_NUMBER, {.number = &arg.ports}},
	{"sources", OPT_NUMBER, {.number = &arg.sources}},
	{"rate", OPT_NUMBER, {.number = &arg.rate}},
	{"type", OPT_NUMBER, {.number = &arg.type}},
	{"code", OPT_NUMBER, {.number = &arg.code}},
	{"mtu", OPT_NUMBER, {.number = &arg.mtu}},
	{"proto", OPT_NUMBER, {.number = &arg.proto}},
	{"peer", OPT_TEXT, {.text = &arg.peer}},
};

struct kind {
	const char *name;
	uint8_t proto; /* 0: of --proto */
	uint8_t flags;
	uint8_t quoted; /* an ICMP error about a packet of this protocol */
};

static const struct kind kinds[] = {
	{.name = "syn", .proto = IPPROTO_TCP, .flags = TH_SYN},
	{.name = "synack", .proto = IPPROTO_TCP, .flags = TH_SYN | TH_ACK},
	{.name = "rst", .proto = IPPROTO_TCP, .flags = TH_RST},
	{.name = "fin", .proto = IPPROTO_TCP, .flags = TH_FIN | TH_ACK},
	{.name = "ack", .proto = IPPROTO_TCP, .flags = TH_ACK},
	{.name = "data", .proto = IPPROTO_TCP, .flags = TH_PUSH | TH_ACK},
	{.name = "udp", .proto = IPPROTO_UDP},
	{.name = "error-tcp", .quoted = IPPROTO_TCP},
	{.name = "error-udp", .quoted = IPPROTO_UDP},
	{.name = "sctp", .proto = IPPROTO_SCTP},
	{.name = "other"},
};

static const struct kind *kind_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (str_eq(kinds[i].name, name))
			return &kinds[i];
	}
	tool_die(EXIT_USAGE, "no kind of packet is called '%s'", name);
}

static uint32_t sum16(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint16_t transport_checksum(const struct addr *from, const struct addr *to, uint8_t proto,
				   const uint8_t *segment, size_t len)
{
	uint32_t sum = sum16(from->bytes, addr_len(from), (uint32_t)len + proto);

	sum = sum16(to->bytes, addr_len(to), sum);
	sum = ~sum16(segment, len, sum) & 0xffff;
	return htons((uint16_t)(sum == 0 && proto == IPPROTO_UDP ? 0xffff : sum));
}

static size_t tcp_build(uint8_t *p, const struct kind *k, uint16_t sport, size_t data_len)
{
	struct tcphdr h = {
		.th_sport = htons(sport),
		.th_dport = htons((uint16_t)arg.dport),
		.th_seq = htonl(arg.seq),
		.th_ack = (k->flags & TH_ACK) != 0 ? htonl(arg.ack) : 0,
		.th_off = sizeof(h) / 4,
		.th_flags = k->flags,
		.th_win = htons(WINDOW),
	};

	memcpy(p, &h, sizeof(h));
	memcpy(p + sizeof(h), arg.data, data_len);
	return sizeof(h) + data_len;
}

static size_t udp_build(uint8_t *p, uint16_t sport, size_t data_len)
{
	struct udphdr h = {
		.uh_sport = htons(sport),
		.uh_dport = htons((uint16_t)arg.dport),
		.uh_ulen = htons((uint16_t)(sizeof(h) + data_len)),
	};

	memcpy(p, &h, sizeof(h));
	memcpy(p + sizeof(h), arg.data, data_len);
	return sizeof(h) + data_len;
}

/* INIT, RFC 9260 section 3.3.2; without a checksum, so that it is for the sender's own host only.
 */
static size_t sctp_build(uint8_t *p, uint16_t sport)
{
	static const uint8_t chunk[] = {1, 0, 0, 20, 0, 0, 0, 1, 0, 1,
					0, 0, 0, 1,  0, 1, 0, 0, 0, 1};
	uint16_t ports[] = {htons(sport), htons((uint16_t)arg.dport)};

	memcpy(p, ports, sizeof(ports));
	memcpy(p + SCTP_HEADER, chunk, sizeof(chunk));
	return SCTP_HEADER + sizeof(chunk);
}

static size_t ip_build(uint8_t *p, const struct addr *from, const struct addr *to, uint8_t proto,
		       size_t len)
{
	if (from->family == AF_INET) {
		/* The kernel fills in length, identification and checksum. */
		struct iphdr h = {.version = 4, .ihl = 5, .ttl = TTL, .protocol = proto};

		memcpy(&h.saddr, from->bytes, sizeof(h.saddr));
		memcpy(&h.daddr, to->bytes, sizeof(h.daddr));
		memcpy(p, &h, sizeof(h));
		return sizeof(h);
	}
	struct ip6_hdr h6 = {.ip6_flow = htonl(6U << 28), .ip6_plen = htons((uint16_t)len)};

	h6.ip6_nxt = proto;
	h6.ip6_hops = TTL;
	memcpy(&h6.ip6_src, from->bytes, sizeof(h6.ip6_src));
	memcpy(&h6.ip6_dst, to->bytes, sizeof(h6.ip6_dst));
	memcpy(p, &h6, sizeof(h6));
	return sizeof(h6);
}

/* The header of the quoted packet is whole: its checksum is looked at where it has one. */
static size_t quote_build(uint8_t *p, const struct kind *k, const struct addr *from,
			  const struct addr *to)
{
	size_t len = k->quoted == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr);
	size_t head = ip_build(p, from, to, k->quoted, len);
	uint16_t sport = htons((uint16_t)arg.dport);
	uint16_t dport = htons((uint16_t)arg.sport);
	uint32_t seq = htonl(arg.seq);

	if (from->family == AF_INET) {
		struct iphdr *h = (struct iphdr *)p;
		uint16_t total = htons((uint16_t)(head + len));
		uint16_t check;

		memcpy(&h->tot_len, &total, sizeof(total));
		check = htons((uint16_t)~sum16(p, head, 0));
		memcpy(&h->check, &check, sizeof(check));
	}
	memcpy(p + head, &sport, sizeof(sport));
	memcpy(p + head + 2, &dport, sizeof(dport));
	if (k->quoted == IPPROTO_TCP) {
		memcpy(p + head + 4, &seq, sizeof(seq));
		p[head + offsetof(struct tcphdr, th_flags)] = TH_ACK;
		p[head + offsetof(struct tcphdr, th_flags) - 1] = 5 << 4;
	} else {
		uint16_t udp_len = htons((uint16_t)len);

		memcpy(p + head + 4, &udp_len, sizeof(udp_len));
	}
	return head + len;
}

static size_t error_build(uint8_t *p, const struct kind *k, const struct addr *from,
			  const struct addr *to)
{
	bool v6 = from->family == AF_INET6;
	struct addr peer = *from;
	uint32_t mtu = htonl(arg.mtu);
	uint16_t check;
	size_t len;

	if (arg.peer != NULL && addr_parse(arg.peer, &peer) < 0)
		tool_die(EXIT_USAGE, "--peer: an address");
	p[0] = (uint8_t)arg.type;
	p[1] = (uint8_t)arg.code;
	memcpy(p + 4, &mtu, sizeof(mtu));
	len = ICMP_HEADER + quote_build(p + ICMP_HEADER, k, to, &peer);
	check = v6 ? transport_checksum(from, to, IPPROTO_ICMPV6, p, len)
		   : htons((uint16_t)~sum16(p, len, 0));
	memcpy(p + 2, &check, sizeof(check));
	return len;
}

static uint8_t proto_of(const struct kind *k, const struct addr *from)
{
	if (k->quoted != 0)
		return from->family == AF_INET6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	return k->proto != 0 ? k->proto : (uint8_t)arg.proto;
}

static size_t segment_build(uint8_t *p, const struct kind *k, const struct addr *from,
			    const struct addr *to, uint16_t sport)
{
	size_t data_len = strlen(arg.data);
	uint16_t check;
	size_t len;

	if (data_len > DATA_MAX)
		tool_die(EXIT_USAGE, "--data: at most %d bytes", DATA_MAX);
	if (k->quoted != 0)
		return error_build(p, k, from, to);
	if (k->proto == 0) {
		memcpy(p, arg.data, data_len);
		return data_len;
	}
	if (k->proto == IPPROTO_SCTP)
		return sctp_build(p, sport);
	len = k->proto == IPPROTO_TCP ? tcp_build(p, k, sport, data_len)
				      : udp_build(p, sport, data_len);
	check = transport_checksum(from, to, k->proto, p, len);
	memcpy(p + (k->proto == IPPROTO_TCP ? offsetof(struct tcphdr, th_sum)
					    : offsetof(struct udphdr, uh_sum)),
	       &check, sizeof(check));
	return len;
}

static size_t packet_build(uint8_t packet[PACKET_MAX], const struct kind *k,
			   const struct addr *from, const struct addr *to, uint16_t sport)
{
	uint8_t segment[PACKET_MAX] = {0};
	size_t len = segment_build(segment, k, from, to, sport);
	size_t head = ip_build(packet, from, to, proto_of(k, from), len);

	memcpy(packet + head, segment, len);
	return head + len;
}

/* The n-th source: ports change first, then the last three bytes of the address. */
static uint16_t source(uint32_t n, const struct addr *first, struct addr *ret)
{
	uint32_t step = n / arg.ports % arg.sources;

	*ret = *first;
	for (size_t i = addr_len(first); step > 0 && i > addr_len(first) - 3; i--) {
		step += ret->bytes[i - 1];
		ret->bytes[i - 1] = (uint8_t)step;
		step >>= 8;
	}
	return (uint16_t)(arg.sport + n % arg.ports);
}

/* Waits until packet n is due. */
static void pace(int64_t began_us, uint32_t n)
{
	int64_t due = arg.rate != 0 ? began_us + (int64_t)n * 1000000 / arg.rate : 0;

	while (arg.rate != 0 && now_us() < due && !stop_asked)
		(void)poll(NULL, 0, 1);
}

static uint32_t packets_send(int fd, const struct kind *k, const struct addr *from,
			     const struct addr *to)
{
	int64_t began = now_us();
	struct endpoint e;
	uint32_t n = 0;

	endpoint_set(&e, arg.to, 0);
	for (; n < arg.count && !stop_asked; n++) {
		uint8_t packet[PACKET_MAX] = {0};
		struct addr a;
		uint16_t sport = source(n, from, &a);
		size_t len = packet_build(packet, k, &a, to, sport);

		pace(began, n);
		if (sendto(fd, packet, len, 0, (const struct sockaddr *)&e.sa, e.len) >= 0)
			continue;
		/* A full device queue is no answer. */
		if (errno == ENOBUFS && arg.rate != 0)
			continue;
		printf("%s: %s\n", exit_word(exit_of_errno(errno)), strerror(errno));
		exit(exit_of_errno(errno));
	}
	return n;
}

static int raw_socket(int family)
{
	int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);

	if (fd < 0)
		tool_die(EXIT_BROKEN, "raw socket: %s", strerror(errno));
	if (arg.mark != 0)
		sock_on(fd, SOL_SOCKET, SO_MARK, (int)arg.mark, "SO_MARK");
	return fd;
}

int main(int argc, char **argv)
{
	struct place place;
	struct addr from;
	struct addr to;
	const struct kind *k;
	uint32_t sent;
	int64_t began;
	int at = place_parse(argc, argv, &place);

	if (at >= argc)
		tool_die(EXIT_USAGE,
			 "forge [--netns PATH] KIND --from A --sport N --to A --dport N");
	place_enter(&place);
	k = kind_find(argv[at]);
	if (opts_parse(argv + at + 1, argc - at - 1, opts, ARRAY_LEN(opts)) != 0)
		tool_die(EXIT_USAGE, "forge takes options only");
	if (arg.from == NULL || addr_parse(arg.from, &from) < 0 || arg.to == NULL ||
	    addr_parse(arg.to, &to) < 0 || from.family != to.family)
		tool_die(EXIT_USAGE, "--from and --to must be addresses of one family");
	if (arg.ports == 0 || arg.sources == 0)
		tool_die(EXIT_USAGE, "--ports and --sources begin at 1");
	stop_install();
	began = now_us();
	sent = packets_send(raw_socket(from.family), k, &from, &to);
	printf("sent %u %s in %lld ms\n", sent, k->name, (long long)(now_us() - began) / 1000);
	return EXIT_AS_ASKED;
}
