/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A listening socket with a name in run_dir, for root and the group of the control socket. The name
 * goes at the end, unless it is no longer ours: an agent that started since has put its own there.
 */
#pragma once

#include "base/err.h"

#include <sys/types.h>
#include <time.h>

struct run_socket {
	int fd; /* -1: none */
	char *path;
	dev_t dev;
	ino_t ino;
	struct timespec changed; /* inode numbers are used again */
};

int run_socket_open(const char *dir, const char *name, struct run_socket *ret, struct err *err);
/* Anybody may connect: the listener decides by the peer's credentials alone. */
int run_socket_open_to_all(const char *dir, const char *name, struct run_socket *ret,
			   struct err *err);
void run_socket_done(struct run_socket *s);
