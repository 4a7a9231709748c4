/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Conversations a host cannot live without (agent.yaml, `essentials:`): address-bound, declared,
 * listed like any conduit, never revoked or quarantined. Built in and not listed here: ICMPv6
 * neighbour discovery with hop limit 255, MLD, IGMP.
 */
#pragma once

#include "base/addr.h"
#include "rules/service.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ESSENTIALS_MAX       256
#define ESSENTIAL_OWNERS_MAX 8

enum essential_direction { ESSENTIAL_OUT, ESSENTIAL_IN, ESSENTIAL_KERNEL };

struct essential {
	enum essential_direction direction;
	struct prefix far;      /* whom; 0.0.0.0/0 and ::/0 are two entries */
	struct service service; /* ESSENTIAL_KERNEL: tcp, udp, or any other protocol with l4proto */
	uint8_t l4proto;        /* for ESSENTIAL_KERNEL: IPPROTO_ESP, IPPROTO_GRE, ... */
	char *why;
	char *by[ESSENTIAL_OWNERS_MAX]; /* units; none = every process */
	size_t by_count;
	bool attest; /* the attestation port's: made of the view, not of agent.yaml */
};

struct essentials {
	struct essential *entries;
	size_t count;
};

void essentials_done(struct essentials *e);
