/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The socket under agent/courier_link.c: who may connect, frames in, frames out, and how fast.
 * Exactly one connection at a time, of root or of the courier's user. Only as many bytes are
 * taken in as the frame at hand has, and no frame is longer than what was asked for, so a hostile
 * courier costs a bounded amount of memory; frames that nobody asked for come out of a small
 * allowance, so it costs a bounded amount of time. A second caller is sent away while the first one
 * lives.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "controller-client/courier_frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#define COURIER_CONN_OUT_MAX (4U << 20) /* bytes that wait for a courier that does not read */

struct courier_conn;

struct courier_conn_handler {
	void (*opened)(void *user);
	void (*closed)(void *user);
	/* 0: it was asked for; 1: it was not, and costs allowance; negative: hang up. */
	int (*frame)(void *user, const struct courier_frame *f, struct err *err);
	/* How long a body may be now. */
	size_t (*body_max)(void *user);
	/* Everything has been sent: there is room for more. */
	void (*drained)(void *user);
	void *user;
};

/* courier_user (a name or a number) is borrowed. */
int courier_conn_new(sd_event *event, const char *run_dir, const char *courier_user,
		     const struct courier_conn_handler *handler, struct courier_conn **ret,
		     struct err *err);
void courier_conn_free(struct courier_conn *c);
bool courier_conn_is_open(const struct courier_conn *c);
/* Bytes that have not been sent yet. */
size_t courier_conn_waiting(const struct courier_conn *c);
/* Takes the header. false: not connected, or too much is waiting. */
bool courier_conn_send(struct courier_conn *c, json_t *take_header, const void *body, size_t len);

/* The uid of a user, by name or number; false when there is no such user. */
bool courier_uid(const char *user, uid_t *ret);
