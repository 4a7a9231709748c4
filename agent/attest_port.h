/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The attestation port (agent.yaml, `attest:`): what agents say to each other must pass before any
 * rule is looked at, else two hosts whose rules ask would wait for each other. So it is an
 * essential, compiled first: out to the endpoints of the view's nodes, in from their addresses to
 * this node's port, for the agent's own unit alone where it has one (R45). Made anew with each
 * view.
 *
 * The listening sockets are left with systemd (sd_pid_notify_with_fds(3)), so that nobody else
 * takes the port while the agent is restarted. One whose cgroup is not the agent's any more is not
 * taken back: the essential would not let it through.
 */
#pragma once

#include "agent/agent.h"
#include "agent/unit.h"

#define ATTEST_PORT_ESSENTIALS_MAX 8192

/*
 * Replaces the port's entries in a->config.essentials by those for `view`. The entries of before
 * are kept in *ret_before, because claims borrow their strings: put the new ones into use, then
 * release. attest_port_swap() puts those of before back and keeps the others for the release.
 */
struct attest_port_before {
	struct essentials all; /* of those that are not the port's, the strings are the others' */
};
int attest_port_set(struct agent *a, const struct view *view, struct attest_port_before *ret_before,
		    struct err *err);
void attest_port_swap(struct agent *a, struct attest_port_before *before);
void attest_port_release(struct attest_port_before *before);

/* Before the first load: by the view on disk. */
int attest_port_load(struct agent *a, struct err *err);

/* The unit whose own cgroup this is (below the mount, without a leading slash), if it is one's. */
bool attest_port_unit(const char *cgroup, const char *root, char ret[UNIT_NAME_MAX]);

/* --- listening sockets ------------------------------------------------------------------------ */

/* Those that systemd kept, once; the caller's from now on. Returns how many. */
size_t attest_port_inherit(int *ret_fds, size_t max);
/* Whether it listens there, in the agent's own cgroup. */
bool attest_port_is_at(const struct agent *a, int fd, const struct addr *address, uint16_t port);
/* Leaves one with systemd, where there is one; and takes them all back from it. */
void attest_port_keep(int fd);
void attest_port_forget(void);
