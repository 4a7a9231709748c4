/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The courier's end of courier.sock: connects, tries again, says hello, reads and writes frames
 * (controller-client/courier_frame.h).
 */
#pragma once

#include "base/err.h"
#include "controller-client/courier_frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>

#define AGENT_SIDE_BODY_MAX                                                                        \
	(4U << 20) /* of what an agent sends: a chunk of records is the most                       \
		    */

struct agent_side;

struct agent_side_handler {
	/* Negative: this is no agent; the connection is given up. */
	int (*frame)(void *user, const struct courier_frame *f, struct err *err);
	void (*closed)(void *user);
	void *user;
};

int agent_side_new(sd_event *event, const char *socket_path,
		   const struct agent_side_handler *handler, struct agent_side **ret,
		   struct err *err);
void agent_side_free(struct agent_side *s);
/* Takes the header. A frame that cannot be sent ends the connection: closed() tells. */
void agent_side_send(struct agent_side *s, json_t *take_header, const void *body, size_t len);
