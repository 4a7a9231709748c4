/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How soon a change of the mapping is enforced on a node.
 *
 *   follow NETNS COUNT CONTROLLER VERB... -- CONTROLLER VERB...
 *
 * The two commands of an operator are run in turn, COUNT times in all: the one places, the other
 * takes away. Meanwhile this program listens in the node's network namespace to the kernel's own
 * announcements (nfnetlink group NFTABLES): a change is enforced when the generation is announced
 * that follows an element of the map `live`. The row counts from the command's end, when the
 * controller has acknowledged and the head is to be signed; the note says how long it took from the
 * command's start, its own start, TLS handshake and the database's commit included.
 */
#include "bench/bench.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#define ROUNDS_MAX       2000
#define WAIT_MS          5000
#define SETTLE_MS        1300 /* a courier asks once a second at most */
#define RECEIVE_MAX      (1U << 20)
#define ANNOUNCEMENT_MAX (64U << 10)
#define GOAL_MS          50.0
#define SHARE            0.99

/* What the announcements have said since follow_arm(). */
struct follow {
	struct mnl_socket *nl;
	bool element;     /* one of `live` */
	int64_t enforced; /* its generation; 0: not yet */
};

static int element_attr(const struct nlattr *a, void *data)
{
	struct follow *f = data;

	if (mnl_attr_get_type(a) == NFTA_SET_ELEM_LIST_SET &&
	    mnl_attr_validate(a, MNL_TYPE_STRING) == 0 && str_eq(mnl_attr_get_str(a), "live"))
		f->element = true;
	return MNL_CB_OK;
}

static int announcement(const struct nlmsghdr *h, void *data)
{
	struct follow *f = data;

	switch (h->nlmsg_type & 0xff) {
	case NFT_MSG_NEWSETELEM:
	case NFT_MSG_DELSETELEM:
		(void)mnl_attr_parse(h, sizeof(struct nfgenmsg), element_attr, f);
		break;
	case NFT_MSG_NEWGEN:
		if (f->element && f->enforced == 0)
			f->enforced = clock_ns();
		break;
	}
	return MNL_CB_OK;
}

static void follow_open(struct follow *f, const char *netns)
{
	CLEANUP(closep) int home = netns_current();
	CLEANUP(closep) int fd = open(netns, O_RDONLY | O_CLOEXEC);
	int group = NFNLGRP_NFTABLES, size = RECEIVE_MAX;

	if (fd < 0)
		die("%s: %s", netns, strerror(errno));
	netns_enter(fd);
	f->nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (f->nl == NULL || mnl_socket_bind(f->nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_setsockopt(f->nl, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		die("nftables announcements: %s", strerror(errno));
	(void)setsockopt(mnl_socket_get_fd(f->nl), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	netns_enter(home);
}

static void follow_read(struct follow *f)
{
	static char bytes[ANNOUNCEMENT_MAX];
	ssize_t len;

	while ((len = mnl_socket_recvfrom(f->nl, bytes, sizeof(bytes))) > 0)
		(void)mnl_cb_run(bytes, (size_t)len, 0, 0, announcement, f);
	if (len < 0 && errno != EAGAIN)
		die("nftables announcements: %s", strerror(errno));
}

static void follow_wait(struct follow *f, int ms)
{
	struct pollfd fd = {.fd = mnl_socket_get_fd(f->nl), .events = POLLIN};

	if (poll(&fd, 1, ms) > 0)
		follow_read(f);
}

static pid_t command_start(char *const *words)
{
	extern char **environ;
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int r = posix_spawn_file_actions_init(&actions);

	if (r == 0)
		r = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY,
						     0);
	if (r == 0)
		r = posix_spawnp(&pid, words[0], &actions, NULL, words, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	if (r != 0)
		die("%s: %s", words[0], strerror(r));
	return pid;
}

struct change {
	double from_start, from_end; /* ms; 0: in force before the command had ended */
};

static bool command_ended(pid_t pid, char *const *words)
{
	int status;
	pid_t r = waitpid(pid, &status, WNOHANG);

	if (r == 0)
		return false;
	if (r < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		die("'%s %s ...' failed", words[0], words[1]);
	return true;
}

static struct change change_make(struct follow *f, char *const *words)
{
	int64_t began, ended = 0, settled = clock_ns() + SETTLE_MS * (int64_t)NS_PER_MS;
	struct change c = {0};
	pid_t pid;

	while (clock_ns() < settled)
		follow_wait(f, 1);
	f->element = false;
	f->enforced = 0;
	began = clock_ns();
	pid = command_start(words);
	while (ended == 0 || f->enforced == 0) {
		follow_wait(f, 1);
		if (ended == 0 && command_ended(pid, words))
			ended = clock_ns();
		if (clock_ns() - began > WAIT_MS * (int64_t)NS_PER_MS)
			die("nothing was enforced within %d ms", WAIT_MS);
	}
	c.from_start = (double)(f->enforced - began) / NS_PER_MS;
	if (f->enforced > ended)
		c.from_end = (double)(f->enforced - ended) / NS_PER_MS;
	return c;
}

static void follow_row(double *ms, double *whole_ms, size_t count)
{
	char note[96];
	double p99 = quantile(ms, count, SHARE);
	struct row row = {
		.id = "head-change",
		.what = "placement acknowledged to enforcing on a node",
		.unit = "ms",
		.goal = "p99 <= 50 ms",
		.met = p99 <= GOAL_MS ? ROW_MET : ROW_MISSED,
		.s = summarize(ms, count),
		.note = note,
	};

	(void)snprintf(note, sizeof(note),
		       "p99 %.1f ms of %zu; median from the command's start %.0f ms", p99, count,
		       quantile(whole_ms, count, 0.5));
	row_print(&row);
}

int main(int argc, char **argv)
{
	struct follow f = {0};
	double ms[ROUNDS_MAX], whole_ms[ROUNDS_MAX];
	size_t count;
	int second = 3;

	bench_begin();
	while (second < argc && !str_eq(argv[second], "--"))
		second++;
	if (second == 3 || second + 1 >= argc)
		die("usage: follow NETNS COUNT COMMAND... -- COMMAND...");
	argv[second] = NULL;
	count = argument_number("COUNT", argv[2], 2, ROUNDS_MAX);
	follow_open(&f, argv[1]);
	for (size_t i = 0; i < count; i++) {
		struct change c = change_make(&f, i % 2 == 0 ? argv + 3 : argv + second + 1);

		ms[i] = c.from_end;
		whole_ms[i] = c.from_start;
	}
	follow_row(ms, whole_ms, count);
	(void)mnl_socket_close(f.nl);
	return 0;
}
