/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A node whose agent is asked: cgroups, processes, sockets in a network namespace with connection
 * tracking, and a far host in another one (root only; the test is skipped otherwise).
 *
 * Here is 10.9.0.1 and 10.9.0.2. The far host's 10.9.0.9 listens on FAR_PORT, tcp and udp;
 * 10.9.0.8 never answers. Node b-1 owns both; node c-1 owns 10.9.0.7.
 */
#pragma once

#include "agent/agent.h"
#include "agent/owner.h"

#define FAR_PORT    7000
#define HERE_TEXT   "10.9.0.1"
#define HERE_2_TEXT "10.9.0.2"
#define FAR_TEXT    "10.9.0.9"
#define SILENT_TEXT "10.9.0.8"

struct vouch_bench {
	struct agent agent;
	struct view view;
	struct numbers *conduits, *identities;
};

/* Skips where there are no tools or no namespaces. */
void vouch_bench_init(struct vouch_bench *b, const char *policy_text);
void vouch_bench_done(struct vouch_bench *b);
/* Another policy in its place. */
void vouch_bench_policy(struct vouch_bench *b, const char *policy_text);
/* Compiles what policy, view and overlay say now. */
void vouch_bench_compile(struct vouch_bench *b);
/* Events that are waiting, and what they lead to. */
void vouch_bench_settle(struct vouch_bench *b);

/* A program of the system, in this namespace; the test is skipped when it is not there. */
void run_tool(const char *const argv[]);
/* nft -f with this text. */
void run_nft(const char *text);

/* What a process of a cgroup does with one socket. */
struct client {
	int family, type;
	const char *from; /* address to bind to; NULL = none */
	uint16_t from_port;
	const char *to; /* NULL = only bound */
	uint16_t to_port;
	bool wait;          /* until it is connected */
	const char *device; /* to bind to; NULL = none */
	bool send;          /* a datagram by sendto(), without connecting */
	const char *source; /* of this datagram, by IP_PKTINFO; NULL = as bound */
};
/* Starts it and tells its local port; *ret_pid may be NULL. */
uint16_t client_start(const char *cgroup, uint32_t uid, const struct client *c, pid_t *ret_pid);
/* The same in this process: its descriptor, or -1. */
int client_socket(const struct client *c, int *ret_port);
