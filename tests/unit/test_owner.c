/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/owner.h"

#include "base/mem.h"
#include "tests/unit/cgroup_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define USER_A 4711
#define USER_B 4712

static struct owner *owner_of_test(void)
{
	struct owner *o = NULL;
	struct err err = {0};

	fixture_cgroups();
	fixture_network();
	CHECK_OK(owner_open(&o, &err), &err);
	return o;
}

static struct addr address(const char *text)
{
	struct addr a;

	CHECK_INT(addr_parse(text, &a), 0);
	return a;
}

static int open_socket(int family, int type)
{
	int fd = socket(family, type | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	return fd;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in6 name;
	socklen_t len = sizeof(name);

	CHECK_INT(getsockname(fd, (struct sockaddr *)&name, &len), 0);
	return ntohs(name.sin6_port);
}

/* Connects or binds to the loopback address of the family. */
static struct sockaddr_storage loopback(int family, uint16_t port, socklen_t *ret_len)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
				   .sin6_port = htons(port),
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_storage s = {0};

	*ret_len = family == AF_INET ? sizeof(in4) : sizeof(in6);
	memcpy(&s, family == AF_INET ? (const void *)&in4 : (const void *)&in6, *ret_len);
	return s;
}

static int connect_to(int family, int type, uint16_t port)
{
	socklen_t len;
	struct sockaddr_storage s = loopback(family, port, &len);
	int fd = open_socket(family, type);

	CHECK_INT(connect(fd, (const struct sockaddr *)&s, len), 0);
	return fd;
}

static const char *loopback_text(int family)
{
	return family == AF_INET ? "127.0.0.1" : "::1";
}

static struct socket_tuple tuple(uint8_t l4proto, int family, uint16_t local, uint16_t remote)
{
	return (struct socket_tuple){.l4proto = l4proto,
				     .local = address(loopback_text(family)),
				     .remote = address(loopback_text(family)),
				     .local_port = local,
				     .remote_port = remote};
}

TEST(tcp_listener_and_connection_are_found_by_tuple)
{
	static const int families[] = {AF_INET, AF_INET6};
	CLEANUP(owner_freep) struct owner *o = owner_of_test();

	fixture_make("server");
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		uint16_t port = fixture_listener("server", USER_A, families[i], 0);
		CLEANUP(closep) int fd = connect_to(families[i], SOCK_STREAM, port);
		struct socket_tuple t = tuple(IPPROTO_TCP, families[i], port_of(fd), port);
		struct socket_info info = {0};

		CHECK_INT(owner_find(o, &t, &info), 0);
		CHECK_INT(info.state, SOCKET_ESTABLISHED);
		CHECK_UINT(info.uid, geteuid());
		CHECK(info.inode != 0 && info.cookie != 0);

		/* A SYN from a peer that nobody has talked to: the listener. */
		t = tuple(IPPROTO_TCP, families[i], port, 9);
		CHECK_INT(owner_find(o, &t, &info), 0);
		CHECK_INT(info.state, SOCKET_LISTEN);
		CHECK_UINT(info.uid, USER_A);
		CHECK_UINT(info.cgroup_id, fixture_id("server"));

		CHECK_INT(owner_find_listener(o, IPPROTO_TCP, &t.local, port, &info), 0);
		CHECK_UINT(info.cgroup_id, fixture_id("server"));
	}
}

TEST(a_dual_stack_listener_answers_for_ipv4)
{
	CLEANUP(owner_freep) struct owner *o = owner_of_test();
	struct socket_info info = {0};
	struct addr local = address("127.0.0.1");
	uint16_t port;

	fixture_make("server");
	port = fixture_listener("server", USER_A, AF_INET6, 0);
	CHECK_INT(owner_find_listener(o, IPPROTO_TCP, &local, port, &info), 0);
	CHECK_UINT(info.cgroup_id, fixture_id("server"));
	CHECK(!info.v6only);
}

TEST(nobody_owns_a_closed_port)
{
	CLEANUP(owner_freep) struct owner *o = owner_of_test();
	struct socket_info info = {.uid = 77};
	struct addr local = address("127.0.0.1");

	CHECK_INT(owner_find_listener(o, IPPROTO_TCP, &local, 9, &info), -ENOENT);
	CHECK_INT(owner_find_listener(o, IPPROTO_UDP, &local, 9, &info), -ENOENT);
	CHECK_UINT(info.uid, 77);
	CHECK_INT(owner_find_listener(o, IPPROTO_SCTP, &local, 9, &info), -EINVAL);
}

TEST(a_socket_in_syn_sent_is_found)
{
	CLEANUP(owner_freep) struct owner *o = owner_of_test();
	CLEANUP(closep) int listener = open_socket(AF_INET, SOCK_STREAM);
	int waiting[8];
	struct socket_info info = {0};
	struct socket_tuple t;
	struct sockaddr_storage s;
	socklen_t len;

	/* A full backlog drops SYNs: those who knock later stay in SYN_SENT. */
	s = loopback(AF_INET, 0, &len);
	CHECK_INT(bind(listener, (const struct sockaddr *)&s, len), 0);
	CHECK_INT(listen(listener, 0), 0);
	s = loopback(AF_INET, port_of(listener), &len);
	for (size_t i = 0; i < ARRAY_LEN(waiting); i++) {
		waiting[i] = open_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
		(void)connect(waiting[i], (const struct sockaddr *)&s, len);
	}
	t = tuple(IPPROTO_TCP, AF_INET, port_of(waiting[ARRAY_LEN(waiting) - 1]),
		  port_of(listener));
	CHECK_INT(owner_find(o, &t, &info), 0);
	CHECK_INT(info.state, SOCKET_SYN_SENT);
	CHECK(info.cgroup_id != 0);
	for (size_t i = 0; i < ARRAY_LEN(waiting); i++)
		(void)close(waiting[i]);
	/* A socket closed while its SYN waits owns nothing any more. */
	CHECK_INT(owner_find(o, &t, &info), -ENOENT);
}

/* The server closes first, so its end of the tuple stays in TIME_WAIT. */
TEST(time_wait_leads_to_the_listener)
{
	CLEANUP(owner_freep) struct owner *o = owner_of_test();
	int listener = open_socket(AF_INET, SOCK_STREAM), client, server;
	struct socket_info info = {0};
	struct socket_tuple t;
	struct sockaddr_storage s;
	socklen_t len;
	char byte;

	s = loopback(AF_INET, 0, &len);
	CHECK_INT(bind(listener, (const struct sockaddr *)&s, len), 0);
	CHECK_INT(listen(listener, 4), 0);
	client = connect_to(AF_INET, SOCK_STREAM, port_of(listener));
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0);
	t = tuple(IPPROTO_TCP, AF_INET, port_of(listener), port_of(client));
	(void)close(server);
	CHECK_INT(read(client, &byte, 1), 0);
	(void)close(client);

	for (unsigned i = 0; i < 1000; i++) {
		CHECK_INT(owner_find(o, &t, &info), 0);
		if (info.state == SOCKET_LISTEN)
			break;
		(void)usleep(1000);
	}
	CHECK_INT(info.state, SOCKET_LISTEN);
	CHECK(info.cgroup_id != 0);
	(void)close(listener);
	/* Without a listener the remains of the connection own nothing. */
	CHECK_INT(owner_find(o, &t, &info), -ENOENT);
}

/* Closed by its process, and still in the kernel: nobody's. */
TEST(an_orphaned_connection_has_no_owner)
{
	CLEANUP(owner_freep) struct owner *o = owner_of_test();
	struct socket_info info = {0};
	struct socket_tuple t;
	uint16_t port;
	int fd;

	fixture_make("a");
	port = fixture_listener("a", USER_A, AF_INET, 0);
	fd = connect_to(AF_INET, SOCK_STREAM, port);
	t = tuple(IPPROTO_TCP, AF_INET, port_of(fd), port);
	CHECK_INT(owner_find(o, &t, &info), 0);
	(void)close(fd);
	CHECK_INT(owner_find(o, &t, &info), -ENOENT);
}

TEST(datagram_sockets_are_found_connected_or_not)
{
	static const int families[] = {AF_INET, AF_INET6};
	CLEANUP(owner_freep) struct owner *o = owner_of_test();

	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		CLEANUP(closep) int bound = open_socket(families[i], SOCK_DGRAM);
		struct sockaddr_storage s;
		struct socket_info info = {0};
		struct socket_tuple t;
		socklen_t len;

		s = loopback(families[i], 0, &len);
		CHECK_INT(bind(bound, (const struct sockaddr *)&s, len), 0);
		t = tuple(IPPROTO_UDP, families[i], port_of(bound), 4444);
		CHECK_INT(owner_find(o, &t, &info), 0);
		CHECK_INT(info.state, SOCKET_CLOSE);
		CHECK_UINT(info.uid, geteuid());
		CHECK_INT(owner_find_listener(o, IPPROTO_UDP, &t.local, t.local_port, &info), 0);

		s = loopback(families[i], port_of(bound), &len);
		CHECK_INT(connect(bound, (const struct sockaddr *)&s, len), 0);
		t.remote_port = t.local_port;
		CHECK_INT(owner_find(o, &t, &info), 0);
		CHECK_INT(info.state, SOCKET_ESTABLISHED);
		t.remote_port = 4444;
		CHECK_INT(owner_find(o, &t, &info), -ENOENT);
	}
}

TEST(a_socket_bound_to_a_device_is_found_by_it)
{
	CLEANUP(owner_freep) struct owner *o = owner_of_test();
	CLEANUP(closep) int fd = open_socket(AF_INET, SOCK_DGRAM);
	struct socket_info info = {0};
	struct socket_tuple t;
	struct sockaddr_storage s;
	socklen_t len;

	CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3), 0);
	s = loopback(AF_INET, 0, &len);
	CHECK_INT(bind(fd, (const struct sockaddr *)&s, len), 0);
	t = tuple(IPPROTO_UDP, AF_INET, port_of(fd), 4444);
	t.ifindex = 1;
	CHECK_INT(owner_find(o, &t, &info), 0);
	CHECK(info.inode != 0);
}

struct seen {
	uint16_t port;
	unsigned count, total;
	struct socket_info info;
	int answer;
};

static int look_for_port(void *user, const struct socket_info *info)
{
	struct seen *s = user;

	s->total++;
	if (info->tuple.local_port == s->port) {
		s->count++;
		s->info = *info;
	}
	return s->answer;
}

TEST(a_dump_shows_each_listener_with_cgroup_and_user)
{
	CLEANUP(owner_freep) struct owner *o = owner_of_test();
	struct seen s = {0};

	fixture_make("a");
	fixture_make("b");
	(void)fixture_listener("a", USER_A, AF_INET, 0);
	s.port = fixture_listener("b", USER_B, AF_INET6, 0);
	CHECK_INT(owner_dump(o, IPPROTO_TCP, OWNER_STATES_LISTEN, look_for_port, &s), 0);
	CHECK_UINT(s.count, 1);
	CHECK(s.total >= 2);
	CHECK_UINT(s.info.uid, USER_B);
	CHECK_UINT(s.info.cgroup_id, fixture_id("b"));
	CHECK_INT(s.info.tuple.local.family, AF_INET6);
	CHECK_INT(s.info.tuple.remote.family, 0);
}

TEST(a_dump_gives_v4_mapped_connections_as_ipv4)
{
	CLEANUP(owner_freep) struct owner *o = owner_of_test();
	struct seen s = {0};
	char text[ADDR_TEXT_MAX];
	int fd;

	fixture_make("a");
	s.port = fixture_listener("a", USER_A, AF_INET6, 0);
	fd = connect_to(AF_INET, SOCK_STREAM, s.port);
	/* The server's end is an IPv6 socket with mapped addresses. */
	CHECK_INT(owner_dump(o, IPPROTO_TCP, OWNER_STATES_CONNECTED, look_for_port, &s), 0);
	CHECK_UINT(s.count, 1);
	CHECK_STR(addr_format(text, &s.info.tuple.remote), "127.0.0.1");
	(void)close(fd);
}

TEST(a_dump_ended_early_does_not_disturb_the_next_question)
{
	CLEANUP(owner_freep) struct owner *o = owner_of_test();
	struct seen s = {.answer = -ECANCELED};
	struct socket_info info = {0};
	struct addr local = address("127.0.0.1");
	uint16_t port = 0;

	fixture_make("a");
	for (unsigned i = 0; i < 20; i++)
		port = fixture_listener("a", USER_A, AF_INET, 0);
	CHECK_INT(owner_dump(o, IPPROTO_TCP, OWNER_STATES_LISTEN, look_for_port, &s), -ECANCELED);
	CHECK_UINT(s.total, 1);
	CHECK_INT(owner_find_listener(o, IPPROTO_TCP, &local, port, &info), 0);
	CHECK_UINT(info.tuple.local_port, port);
}

TEST(destroying_aborts_one_connection_and_no_other)
{
	CLEANUP(owner_freep) struct owner *o = owner_of_test();
	CLEANUP(closep) int victim = -1, other = -1;
	struct socket_info info = {0};
	struct socket_tuple t;
	uint16_t port;
	char byte;
	int r;

	fixture_make("a");
	port = fixture_listener("a", USER_A, AF_INET, 0);
	victim = connect_to(AF_INET, SOCK_STREAM, port);
	other = connect_to(AF_INET, SOCK_STREAM, port);
	t = tuple(IPPROTO_TCP, AF_INET, port_of(victim), port);
	CHECK_INT(owner_find(o, &t, &info), 0);
	r = owner_destroy(o, &info);
	if (r == -EOPNOTSUPP)
		test_skip("this kernel has no INET_DIAG_DESTROY");
	CHECK_INT(r, 0);
	CHECK_INT(recv(victim, &byte, 1, MSG_DONTWAIT), -1);
	CHECK_INT(errno, ECONNABORTED);
	CHECK_INT(recv(other, &byte, 1, MSG_DONTWAIT), -1);
	CHECK_INT(errno, EAGAIN);
	/* The cookie of a socket that is gone destroys nobody else's. */
	CHECK(owner_destroy(o, &info) < 0);
}
