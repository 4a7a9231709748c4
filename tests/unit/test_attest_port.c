/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/attest_port.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NODES_MAX 5000

struct scene {
	struct agent agent;
	struct view view;
	struct view_node nodes[NODES_MAX];
	struct addr addresses[NODES_MAX][2];
	char names[NODES_MAX][NODE_NAME_MAX];
};

static void scene_make(struct scene *s)
{
	memset(s, 0, sizeof(*s));
	s->agent.config.svid_cert = s->agent.config.svid_key = s->agent.config.svid_bundle =
		s->names[0];
	s->agent.config.attest_port = 7113;
	(void)snprintf(s->agent.config.node, sizeof(s->agent.config.node), "api-1");
	s->view.nodes = s->nodes;
}

static void add_node(struct scene *s, const char *name, const char *first, const char *second,
		     const char *attest, uint16_t port)
{
	size_t at = s->view.node_count++;
	struct view_node *n = &s->nodes[at];

	(void)snprintf(s->names[at], NODE_NAME_MAX, "%s", name);
	n->node = s->names[at];
	n->addresses = s->addresses[at];
	CHECK_INT(addr_parse(first, &n->addresses[n->address_count++]), 0);
	if (second)
		CHECK_INT(addr_parse(second, &n->addresses[n->address_count++]), 0);
	n->has_attest = attest != NULL;
	n->attest_port = port;
	if (attest)
		CHECK_INT(addr_parse(attest, &n->attest_address), 0);
}

static void scene_done(struct scene *s)
{
	essentials_done(&s->agent.config.essentials);
}

/* As a text, in order. */
static void check_essentials(const struct scene *s, const char *expected)
{
	const struct essentials *all = &s->agent.config.essentials;
	char far[PREFIX_TEXT_MAX], service[SERVICE_TEXT_MAX];
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, 1U << 16);
	for (size_t i = 0; i < all->count; i++)
		buf_printf(&b, "%s %s %s %s\n",
			   all->entries[i].direction == ESSENTIAL_OUT ? "out" : "in",
			   prefix_format(far, &all->entries[i].far),
			   service_format(service, &all->entries[i].service), all->entries[i].why);
	CHECK_STR(b.len ? b.data : "", expected);
}

static void load(struct scene *s)
{
	struct err err = {{0}};

	s->agent.view = &s->view;
	CHECK_OK(attest_port_load(&s->agent, &err), &err);
}

static struct scene *new_scene(void)
{
	struct scene *s = malloc(sizeof(*s));

	CHECK(s != NULL);
	scene_make(s);
	return s;
}

static void own_essential(struct scene *s)
{
	struct essentials *all = &s->agent.config.essentials;

	all->entries = mem_calloc(1, sizeof(*all->entries));
	all->count = 1;
	all->entries[0] = (struct essential){.direction = ESSENTIAL_OUT, .why = mem_strdup("dns")};
	CHECK_INT(prefix_parse("10.0.0.53", &all->entries[0].far), 0);
	CHECK_INT(service_parse("udp/53", &all->entries[0].service), 0);
}

TEST(the_port_is_open_to_the_views_nodes_in_both_directions)
{
	struct scene *s = new_scene();

	own_essential(s);
	add_node(s, "pay-1", "10.0.0.1", "2001:db8::1", "10.0.0.1", 7114);
	add_node(s, "old-1", "10.0.0.3", NULL, NULL, 0);
	load(s);
	check_essentials(s, "out 10.0.0.53/32 udp/53 dns\n"
			    "out 10.0.0.1/32 tcp/7114 attestation\n"
			    "in 10.0.0.1/32 tcp/7113 attestation\n"
			    "in 2001:db8::1/128 tcp/7113 attestation\n"
			    "in 10.0.0.3/32 tcp/7113 attestation\n");
	scene_done(s);
	free(s);
}

TEST(this_node_itself_is_no_neighbour)
{
	struct scene *s = new_scene();

	add_node(s, "api-1", "10.0.0.2", NULL, "10.0.0.2", 7113);
	load(s);
	check_essentials(s, "");
	scene_done(s);
	free(s);
}

TEST(a_node_without_certificate_files_opens_nothing)
{
	struct scene *s = new_scene();

	s->agent.config.svid_key = NULL;
	add_node(s, "pay-1", "10.0.0.1", NULL, "10.0.0.1", 7113);
	load(s);
	check_essentials(s, "");
	scene_done(s);
	free(s);
}

TEST(another_view_takes_the_place_of_the_first)
{
	struct attest_port_before before = {{0}};
	struct scene *s = new_scene();

	own_essential(s);
	add_node(s, "pay-1", "10.0.0.1", NULL, "10.0.0.1", 7113);
	load(s);
	s->view.node_count = 0;
	add_node(s, "pay-2", "10.0.0.4", NULL, NULL, 0);
	s->nodes[0].address_count = 1;
	CHECK_INT(attest_port_set(&s->agent, &s->view, &before, NULL), 0);
	check_essentials(s, "out 10.0.0.53/32 udp/53 dns\n"
			    "in 10.0.0.1/32 tcp/7113 attestation\n");
	/* Those of before are there until they are let go, and can be put back. */
	CHECK_UINT(before.all.count, 3);
	CHECK_STR(before.all.entries[1].why, "attestation");
	attest_port_swap(&s->agent, &before);
	check_essentials(s, "out 10.0.0.53/32 udp/53 dns\n"
			    "out 10.0.0.1/32 tcp/7113 attestation\n"
			    "in 10.0.0.1/32 tcp/7113 attestation\n");
	attest_port_release(&before);
	scene_done(s);
	free(s);
}

TEST(so_many_neighbours_that_they_are_no_bound_are_everybody)
{
	struct scene *s = new_scene();
	char name[32];

	for (int i = 0; i < NODES_MAX; i++) {
		(void)snprintf(name, sizeof(name), "n-%d", i);
		add_node(s, name, "10.0.0.1", NULL, "10.0.0.1", 7113);
	}
	load(s);
	check_essentials(s, "out 0.0.0.0/0 tcp/7113 attestation\n"
			    "in 0.0.0.0/0 tcp/7113 attestation\n"
			    "out ::/0 tcp/7113 attestation\n"
			    "in ::/0 tcp/7113 attestation\n");
	scene_done(s);
	free(s);
}

TEST(a_unit_is_the_owner_where_the_agent_is_its_unit)
{
	const struct {
		const char *cgroup, *root, *unit;
	} cases[] = {
		{"system.slice/bailiwickd.service", NULL, "bailiwickd.service"},
		{"system.slice/bailiwickd.service", "/", "bailiwickd.service"},
		{"machine/pay-1/system.slice/bailiwickd.service", "/machine/pay-1",
		 "bailiwickd.service"},
		{"machine/pay-1/system.slice/bailiwickd.service", "machine/pay-1/",
		 "bailiwickd.service"},
		/* Outside of what this agent sees, below the unit, in none. */
		{"machine/pay-2/system.slice/bailiwickd.service", "/machine/pay-1", NULL},
		{"machine/pay-10/bailiwickd.service", "/machine/pay-1", NULL},
		{"system.slice/bailiwickd.service/worker", NULL, NULL},
		{"user.slice/user-0.slice/session-1.scope", NULL, "session-1.scope"},
		{"system.slice", NULL, NULL},
		{"", NULL, NULL},
		{"agents", "/", NULL},
	};
	char unit[UNIT_NAME_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		unit[0] = '\0';
		CHECK_INT(attest_port_unit(cases[i].cgroup, cases[i].root, unit),
			  cases[i].unit != NULL);
		CHECK_STR(unit, cases[i].unit ? cases[i].unit : "");
	}
}

static int listen_somewhere(uint16_t *ret_port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK_INT(bind(fd, (const struct sockaddr *)&at, len), 0);
	CHECK_INT(listen(fd, 1), 0);
	CHECK_INT(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	*ret_port = ntohs(at.sin_port);
	return fd;
}

TEST(sockets_that_systemd_kept_are_taken_once_and_others_closed)
{
	int fds[4], fd, other, three, four;
	uint16_t port;
	char text[16];
	bool closed, once;
	size_t taken;

	fd = listen_somewhere(&port);
	other = listen_somewhere(&port);
	/* They come as the descriptors from 3 on, where the tests have something of their own. */
	three = fcntl(3, F_DUPFD_CLOEXEC, 200);
	four = fcntl(4, F_DUPFD_CLOEXEC, 200);
	CHECK(dup2(fd, 100) == 100 && dup2(other, 101) == 101);
	CHECK(dup2(100, 3) == 3 && dup2(101, 4) == 4);
	(void)snprintf(text, sizeof(text), "%d", (int)getpid());
	CHECK(setenv("LISTEN_PID", text, 1) == 0 && setenv("LISTEN_FDS", "2", 1) == 0 &&
	      setenv("LISTEN_FDNAMES", "attest:metrics", 1) == 0);
	taken = attest_port_inherit(fds, ARRAY_LEN(fds));
	closed = fcntl(4, F_GETFD) < 0;
	once = attest_port_inherit(fds + 1, 1) == 0;
	CHECK(dup2(three, 3) == 3 && (four < 0 || dup2(four, 4) == 4));
	CHECK_UINT(taken, 1);
	CHECK_INT(fds[0], 3);
	CHECK(closed && once);
	CHECK(getenv("LISTEN_FDS") == NULL);
}

TEST(a_socket_that_listens_elsewhere_is_not_taken)
{
	struct scene *s = new_scene();
	struct addr here, there;
	uint16_t port;
	int fd = listen_somewhere(&port);

	/* In no unit of its own: which cgroup has it does not matter. */
	s->agent.config.cgroup_root = s->names[1];
	(void)snprintf(s->names[1], sizeof(s->names[1]), "/nowhere");
	CHECK_INT(addr_parse("127.0.0.1", &here), 0);
	CHECK_INT(addr_parse("127.0.0.2", &there), 0);
	CHECK(attest_port_is_at(&s->agent, fd, &here, port));
	CHECK(!attest_port_is_at(&s->agent, fd, &there, port));
	CHECK(!attest_port_is_at(&s->agent, fd, &here, (uint16_t)(port + 1)));
	(void)close(fd);
	free(s);
}

OOM_TEST(a_view_without_memory_leaves_the_essentials)
{
	struct scene *s = new_scene();
	int r;

	add_node(s, "pay-1", "10.0.0.1", NULL, "10.0.0.1", 7113);
	s->agent.view = &s->view;
	r = attest_port_load(&s->agent, NULL);
	if (r < 0)
		check_essentials(s, "");
	scene_done(s);
	free(s);
	return r;
}
