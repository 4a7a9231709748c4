/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Real cgroups, processes and sockets for unit tests (root only; the test is skipped otherwise).
 * Everything lives below one cgroup of its own; a janitor process removes it when the test process
 * ends, however it ends.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FIXTURE_NO_UID UINT32_MAX

/* An empty cgroup for this test; skips the test where cgroups cannot be made. */
void fixture_cgroups(void);
/* A network namespace of this process's own, loopback up. Once per suite is enough. */
void fixture_network(void);

/* Names below are relative to the test's own cgroup; "" is that one. */
const char *fixture_root(void); /* absolute */
const char *fixture_mount(void);
void fixture_make(const char *name); /* with parents */
void fixture_drop(const char *name); /* processes in it are killed first */
void fixture_chown(const char *name, uint32_t uid);
uint64_t fixture_id(const char *name);
unsigned fixture_level(const char *name);

/*
 * A process in a cgroup, as this user (FIXTURE_NO_UID: as the test). It calls `run`, whose answer
 * is returned in *ret_value, and waits for its end. fixture_exec: it runs a program instead.
 */
pid_t fixture_process(const char *name, uint32_t uid, int (*run)(void *user), void *user,
		      int *ret_value);
pid_t fixture_exec(const char *name, const char *const argv[]);
void fixture_end(pid_t pid);

/* A listening TCP socket of a process in this cgroup, on [::] or 0.0.0.0; its port. */
uint16_t fixture_listener(const char *name, uint32_t uid, int family, uint16_t port);
