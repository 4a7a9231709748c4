/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which process holds a socket, by walking /proc/PID/fd: slow (milliseconds), racy, and never used
 * for a decision. For people who want to see a program's name.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HOLDERS_MAX 1000000

struct holders;

int holders_new(struct holders **ret);
void holders_free(struct holders *h);
/* A process that held the socket at the walk, or -ENOENT. */
pid_t holders_find(const struct holders *h, uint32_t inode);
/* Its executable; -errno when it is gone. */
int holders_exe(const struct holders *h, uint32_t inode, char *ret_path, size_t size);
