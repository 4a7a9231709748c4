/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The command's end of the control socket, RUN_DIR/control.sock: one line of JSON there, one line
 * back; `watch` streams lines. The agent decides who may ask what, by the peer credentials of the
 * socket. When the agent is not there the command says so: enforcement does not depend on it.
 */
#pragma once

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>

#define CLIENT_REQUEST_MAX (64U << 20)
#define CLIENT_REPLY_MAX   (512U << 20)
#define CLIENT_LINE_MAX    (1U << 20) /* of a stream */
/* Large plans take seconds; an agent that says nothing for this long hangs. */
#define CLIENT_TIMEOUT_S 120

struct reply {
	bool ok;
	int exit;         /* exit code of the command */
	json_t *result;   /* when ok */
	char *error;      /* when not */
	json_t *findings; /* array, or NULL */
};

void reply_done(struct reply *r);

/*
 * Connects. -ENOENT, -ECONNREFUSED, -EACCES, ...: the text says where the socket should be and what
 * to do next.
 */
int client_connect(const char *run_dir, int *ret_fd, struct err *err);

/* Sends a request over fd and waits for the whole reply. `args` is borrowed, NULL for none. */
int client_exchange(int fd, const char *verb, json_t *args, struct reply *ret, struct err *err);

/* Sends a request only; lines follow. */
int client_send(int fd, const char *verb, json_t *args, struct err *err);

/*
 * Hands each line of a stream (without its end) to on_line until the agent closes, SIGINT or
 * SIGTERM arrives, or on_line returns non-zero, which is then the result. 0 at a clean end.
 */
int client_stream(int fd, int (*on_line)(void *user, const char *line, size_t len), void *user,
		  struct err *err);

/* Decodes a reply line. Split off for tests and fuzzing. */
int reply_decode(const char *text, size_t len, struct reply *ret, struct err *err);
