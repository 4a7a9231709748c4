/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/vouch_fixture.h"

#include "agent/conntrack.h"
#include "agent/workload.h"
#include "base/mem.h"
#include "rules/marks.h"
#include "tests/unit/cgroup_fixture.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define TURN_US 20000

extern char **environ;

/* --- tools ----------------------------------------------------------------------------------- */

/* Its status as of waitpid(). */
static int status_of_tool(const char *const argv[])
{
	char *copy[24];
	size_t n = 0;
	posix_spawn_file_actions_t quiet;
	int status = 0;
	pid_t pid;

	for (; argv[n] != NULL; n++) {
		CHECK(n + 1 < ARRAY_LEN(copy));
		copy[n] = mem_strdup(argv[n]);
	}
	copy[n] = NULL;
	/* Some tell what went well on standard error. */
	CHECK_INT(posix_spawn_file_actions_init(&quiet), 0);
	CHECK_INT(posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0),
		  0);
	if (posix_spawnp(&pid, copy[0], &quiet, NULL, copy, environ) != 0)
		test_skip("needs %s", argv[0]);
	(void)posix_spawn_file_actions_destroy(&quiet);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	for (size_t i = 0; i < n; i++)
		free(copy[i]);
	return status;
}

void run_tool(const char *const argv[])
{
	if (status_of_tool(argv) != 0)
		test_fail(__FILE__, __LINE__, "%s %s %s fails", argv[0], argv[1],
			  argv[2] ? argv[2] : "");
}

void run_nft(const char *text)
{
	char path[] = "/tmp/bw-unit-nft-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_INT(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	(void)close(fd);
	run_tool((const char *const[]){"nft", "-f", path, NULL});
	(void)unlink(path);
}

/* --- the far host ---------------------------------------------------------------------------- */

static int far_listen(int type)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(FAR_PORT)};
	int fd = socket(AF_INET, type, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0)
		return -1;
	return type == SOCK_STREAM ? listen(fd, 128) : 0;
}

static int far_run(void *user)
{
	(void)user;
	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	return far_listen(SOCK_STREAM) < 0 || far_listen(SOCK_DGRAM) < 0 ? -1 : 0;
}

/* The kernel may take it away by itself, with the network namespace of its other end. */
static void remove_link(void)
{
	(void)status_of_tool((const char *const[]){"ip", "link", "delete", "v0", NULL});
	CHECK_UINT(if_nametoindex("v0"), 0);
}

static void make_far(void)
{
	char netns[32], path[64];
	int value = 0;
	pid_t pid;

	/* A test that failed could not take it away. */
	if (if_nametoindex("v0") != 0)
		remove_link();
	fixture_make("far-host");
	pid = fixture_process("far-host", FIXTURE_NO_UID, far_run, NULL, &value);
	if (value < 0)
		test_skip("cannot make a network namespace");
	(void)snprintf(netns, sizeof(netns), "%d", (int)pid);
	(void)snprintf(path, sizeof(path), "--net=/proc/%d/ns/net", (int)pid);
	run_tool((const char *const[]){"ip", "link", "add", "v0", "type", "veth", "peer", "name",
				       "v1", "netns", netns, NULL});
	run_tool((const char *const[]){"ip", "address", "add", HERE_TEXT "/24", "dev", "v0", NULL});
	run_tool((const char *const[]){"ip", "address", "add", HERE_2_TEXT "/24", "dev", "v0",
				       NULL});
	run_tool((const char *const[]){"ip", "link", "set", "v0", "up", NULL});
	run_tool((const char *const[]){"nsenter", path, "ip", "address", "add", FAR_TEXT "/24",
				       "dev", "v1", NULL});
	run_tool((const char *const[]){"nsenter", path, "ip", "link", "set", "v1", "up", NULL});
	run_tool((const char *const[]){"ip", "neigh", "replace", SILENT_TEXT, "lladdr",
				       "02:00:00:00:00:08", "dev", "v0", NULL});
}

/* --- the node -------------------------------------------------------------------------------- */

static void on_change(void *user)
{
	struct agent *a = user;

	(void)workloads_take_host(a->workloads, SLOT_A);
}

static struct addr far_addresses[2], other_addresses[1];
static char path_a[] = "p/a", path_c[] = "p/c", path_b[] = "p/b";
static char node_here[] = "a-1", node_far[] = "b-1", node_other[] = "c-1";

static void set_view(struct vouch_bench *b)
{
	static struct view_placed placed[2];
	static struct view_node nodes[2];
	static struct view_peer peers[1];

	CHECK_INT(addr_parse(FAR_TEXT, &far_addresses[0]), 0);
	CHECK_INT(addr_parse(SILENT_TEXT, &far_addresses[1]), 0);
	CHECK_INT(addr_parse("10.9.0.7", &other_addresses[0]), 0);
	placed[0] = (struct view_placed){.identity = path_a};
	placed[1] = (struct view_placed){.identity = path_c};
	nodes[0] = (struct view_node){
		.node = node_far, .addresses = far_addresses, .address_count = 2};
	nodes[1] = (struct view_node){
		.node = node_other, .addresses = other_addresses, .address_count = 1};
	peers[0] = (struct view_peer){.identity = path_b,
				      .node = node_far,
				      .addresses = far_addresses,
				      .address_count = 2};
	b->view = (struct view){
		.node = node_here,
		.sequence = 41,
		.placed = placed,
		.placed_count = 2,
		.nodes = nodes,
		.node_count = 2,
		.peers = peers,
		.peer_count = 1,
	};
	b->agent.view = &b->view;
}

void vouch_bench_compile(struct vouch_bench *b)
{
	const struct host *host = workloads_host(b->agent.workloads, SLOT_A);
	const struct compile_input in = {
		.policy = b->agent.confirmed.policy,
		.view = &b->view,
		.overlay = &b->agent.overlay,
		.addresses = host->addresses,
		.address_count = host->address_count,
		.now = {FIXTURE_NOW_S},
		.clock_trusted = true,
	};
	struct generation *g = NULL;
	struct err err = {{0}};

	CHECK_OK(compile_generation(&in, b->conduits, b->identities, &g, &err), &err);
	generation_free(b->agent.confirmed.gen);
	b->agent.confirmed.gen = g;
}

void vouch_bench_policy(struct vouch_bench *b, const char *policy_text)
{
	struct policy *old = b->agent.confirmed.policy;
	struct err err = {{0}};

	b->agent.confirmed.policy = policy_sound(policy_text);
	b->agent.confirmed.serial++;
	CHECK_OK(workloads_set_policy(b->agent.workloads, SLOT_A, b->agent.confirmed.policy,
				      &b->view, NULL, &err),
		 &err);
	policy_free(old);
	vouch_bench_compile(b);
}

void vouch_bench_settle(struct vouch_bench *b)
{
	while (sd_event_run(b->agent.event, TURN_US) > 0)
		;
}

void vouch_bench_init(struct vouch_bench *b, const char *policy_text)
{
	struct workloads_config config = {.cgroup_root = NULL};
	static bool network;
	struct err err = {{0}};

	memset(b, 0, sizeof(*b));
	fixture_cgroups();
	fixture_network();
	if (!network) {
		run_nft("add table inet t\n"
			"add chain inet t out { type filter hook output priority 0; }\n"
			"add rule inet t out ct state new counter\n");
		network = true;
	}
	make_far();
	config.cgroup_root = fixture_root();
	CHECK(sd_event_new(&b->agent.event) >= 0);
	CHECK_OK(workloads_new(&config, b->agent.event, on_change, &b->agent, &b->agent.workloads,
			       &err),
		 &err);
	CHECK_OK(conntrack_open(&b->agent.conntrack, &err), &err);
	b->conduits = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	b->identities = numbers_new(MARK_IDENTITY_MIN, MARK_IDENTITY_MAX);
	CHECK(b->conduits != NULL && b->identities != NULL);
	b->agent.mode = MODE_ENFORCE;
	set_view(b);
	vouch_bench_policy(b, policy_text);
}

void vouch_bench_done(struct vouch_bench *b)
{
	remove_link();
	fixture_drop("far-host");
	generation_free(b->agent.confirmed.gen);
	workloads_free(b->agent.workloads);
	policy_free(b->agent.confirmed.policy);
	conntrack_free(b->agent.conntrack);
	numbers_free(b->conduits);
	numbers_free(b->identities);
	sd_event_unref(b->agent.event);
}

/* --- clients --------------------------------------------------------------------------------- */

static socklen_t name_of(int family, const char *text, uint16_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct addr a;

	memset(ret, 0, sizeof(*ret));
	if (addr_parse(text, &a) < 0 || a.family != AF_INET)
		return 0;
	if (family == AF_INET) {
		memcpy(&in4.sin_addr, a.bytes, 4);
		memcpy(ret, &in4, sizeof(in4));
		return sizeof(in4);
	}
	/* IPv4 through a socket of IPv6. */
	in6.sin6_addr.s6_addr[10] = in6.sin6_addr.s6_addr[11] = 0xff;
	memcpy(&in6.sin6_addr.s6_addr[12], a.bytes, 4);
	memcpy(ret, &in6, sizeof(in6));
	return sizeof(in6);
}

/* The address of a datagram is the sender's to choose among the host's own (ip(7)). */
static bool send_from(int fd, const struct sockaddr_storage *to, socklen_t len, const char *source)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
	} control = {.bytes = {0}};
	struct iovec part = {(void *)(uintptr_t) "x", 1};
	struct msghdr m = {.msg_name = (void *)(uintptr_t)to,
			   .msg_namelen = len,
			   .msg_iov = &part,
			   .msg_iovlen = 1};
	struct in_pktinfo info = {0};

	if (source != NULL) {
		CHECK_INT(inet_pton(AF_INET, source, &info.ipi_spec_dst), 1);
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		control.header.cmsg_level = IPPROTO_IP;
		control.header.cmsg_type = IP_PKTINFO;
		control.header.cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(&control.header), &info, sizeof(info));
	}
	return sendmsg(fd, &m, 0) == 1;
}

int client_socket(const struct client *c, int *ret_port)
{
	int one = 1, fd = socket(c->family, c->type | (c->wait ? 0 : SOCK_NONBLOCK), 0);
	struct sockaddr_storage s;
	struct sockaddr_in6 mine;
	socklen_t len;

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (c->device != NULL && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, c->device,
					    (socklen_t)strlen(c->device)) < 0)
		return -1;
	if (c->from != NULL) {
		len = name_of(c->family, c->from, c->from_port, &s);
		if (bind(fd, (const struct sockaddr *)&s, len) < 0)
			return -1;
	}
	if (c->to != NULL) {
		len = name_of(c->family, c->to, c->to_port, &s);
		if (c->send ? !send_from(fd, &s, len, c->source)
			    : connect(fd, (const struct sockaddr *)&s, len) < 0 &&
				      errno != EINPROGRESS)
			return -1;
		if (!c->send && c->type == SOCK_DGRAM && send(fd, "x", 1, 0) != 1)
			return -1;
	}
	len = sizeof(mine);
	if (getsockname(fd, (struct sockaddr *)&mine, &len) < 0)
		return -1;
	*ret_port = ntohs(mine.sin6_port);
	return fd;
}

static int client_run(void *user)
{
	int port = -1;

	return client_socket(user, &port) < 0 ? -1 : port;
}

uint16_t client_start(const char *cgroup, uint32_t uid, const struct client *c, pid_t *ret_pid)
{
	struct client copy = *c;
	int port = -1;
	pid_t pid = fixture_process(cgroup, uid, client_run, &copy, &port);

	CHECK(port > 0);
	if (ret_pid != NULL)
		*ret_pid = pid;
	return (uint16_t)port;
}
