/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * NFQUEUE reader (net/netfilter/nfnetlink_queue.c). Receives questions, never waits for an answer,
 * and sees to it that each packet gets exactly one verdict and one reason.
 *
 * Traffic when this fails: a queue nobody reads and a queue that is full drop (no bypass, no
 * fail-open flag, R11); packets held when the agent dies are dropped by the kernel; a packet that
 * cannot be parsed is dropped here, before anybody is asked.
 */
#pragma once

#include "agent/packet.h"
#include "base/clock.h"
#include "base/err.h"
#include "rules/verdict.h"

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#define QUEUE_COPY_RANGE  128
#define QUEUE_NUMBERS_MAX 8
#define QUEUE_PENDING_MAX 65536
/* Below the first SYN retransmission: what is held longer is dropped. See queue_hold_until(). */
#define QUEUE_HOLD_MS 800

struct queue; /* all queue numbers of this agent, one netlink socket */

/* One packet in the kernel's hands until queue_verdict(). */
struct queue_packet {
	uint16_t queue;
	uint32_t id;
	uint8_t hook; /* NF_INET_LOCAL_IN or NF_INET_LOCAL_OUT */
	uint32_t mark;
	bool has_uid; /* the kernel gives it at output only */
	uint32_t uid;
	uint32_t ifindex_in, ifindex_out;
	bool unsupported; /* no TCP, UDP or echo: addresses and l4proto only */
	struct packet packet;
};

enum queue_answer {
	QUEUE_ACCEPT, /* goes on behind our base chain */
	QUEUE_DROP,
	QUEUE_REPEAT, /* our base chain again: judged by what the sets say now */
};

struct queue_handler {
	/* A packet has come. Answer with queue_verdict(), now or before its deadline. */
	void (*packet)(void *user, const struct queue_packet *p);
	/* All packets of this wake-up were handed over: time to send one transaction for all. */
	void (*burst_end)(void *user); /* may be NULL */
	void *user;
};

struct queue_config {
	uint16_t first, count;
	uint32_t max_pending;  /* per queue, in the kernel and here */
	uint32_t rcvbuf_bytes; /* 0 = by max_pending */
};

/*
 * Binds the queue numbers first .. first+count-1 and listens in `event`. -EBUSY names the queue
 * that another program reads. The handler is borrowed until queue_free().
 */
int queue_open(const struct queue_config *config, sd_event *event,
	       const struct queue_handler *handler, struct queue **ret_queue, struct err *err);
void queue_free(struct queue *q);
void queue_freep(struct queue **q);

/*
 * The one verdict of a packet. mark is set on the packet when has_mark. -ENOENT when it has had its
 * verdict already (a programming error that is counted, not sent). Those that are given while
 * packets are being read leave together when all have been read, others at once.
 */
int queue_verdict(struct queue *q, uint16_t queue, uint32_t id, enum queue_answer answer,
		  bool has_mark, uint32_t mark, enum reason reason);

/*
 * Whoever waits for an answer gives the packet a deadline of its own instead of QUEUE_HOLD_MS from
 * its arrival. He is to answer before that: the drop here comes up to QUEUE_HOLD_MS later, so that
 * nothing stays in the kernel's queue whatever is forgotten. -ENOENT as above.
 */
int queue_hold_until(struct queue *q, uint16_t queue, uint32_t id, struct mono deadline);

/* Verdicts wait until it is uncorked, and are sent together. q may be NULL. */
void queue_cork(struct queue *q, bool cork);

struct queue_counters {
	uint64_t received;
	uint64_t by_answer[QUEUE_REPEAT + 1];
	uint64_t by_reason[REASON_COUNT];
	uint64_t enobufs; /* times the kernel said that it had to drop */
	uint64_t expired; /* held beyond their deadline: dropped */
	uint64_t refused; /* verdicts given twice or for unknown packets */
	uint64_t unsent;  /* verdicts that the kernel did not take: it still holds the packet */
	uint64_t held;    /* without verdict at this moment */
	uint64_t held_in[QUEUE_NUMBERS_MAX]; /* the same, for each queue from `first` on */
};
const struct queue_counters *queue_counters(const struct queue *q);

/* From /proc/net/netfilter/nfnetlink_queue, summed over our queues. */
struct queue_depth {
	uint64_t waiting;       /* packets in the kernel's queues */
	uint64_t queue_dropped; /* a queue was full */
	uint64_t user_dropped;  /* the socket buffer was full */
};
int queue_depth(const struct queue *q, struct queue_depth *ret_depth);
