/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inside of the theatre: theatre.c plays new flows, kept.c goes on with old ones. */
#pragma once

#include "tests/property/property.h"

#include <netinet/in.h>
#include <sys/socket.h>

#define RECEIVERS_MAX 128
#define GRACE_MS      250
#define REPLY         0x80000000U

/* A socket that answers (UDP) or takes connections (TCP). */
struct ear {
	int fd;
	int family;
	bool tcp;
	bool of_round;
};

struct theatre {
	struct ear receivers[RECEIVERS_MAX];
	size_t count;
	int sentinel;
	struct far *far; /* borrowed */
	uint32_t next_id;
	uint16_t next_sport;
};

struct message {
	uint32_t magic, id;
};
#define MESSAGE_MAGIC 0x42574c4bU

union name {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* Answers what has come, or comes within the time. */
void theatre_pump(struct theatre *t, int timeout_ms);
/* All that was sent before has arrived or will not. */
int theatre_settle(struct theatre *t, struct err *err);
/* Closes with a reset, so that nothing of the connection stays. */
void abort_connection(int fd);
