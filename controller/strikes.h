/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who has failed how often: a bucket per key (a client's address), that fills with failures and
 * leaks with time. Bounded: when too many keys are known the ones that have leaked empty go, and if
 * none has, new keys share one bucket, so that a flood of addresses cannot buy tries.
 */
#pragma once

#include "base/addr.h"
#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

#define STRIKES_KEYS_MAX 8192
/* An IPv6 host has a whole /64 to itself. */
#define STRIKES_V6_PREFIX 64

struct strikes; /* opaque */

/* At most `burst` failures at once, one more each `every_s` seconds. */
struct strikes *strikes_new(uint32_t burst, uint32_t every_s);
void strikes_free(struct strikes *s);

/* As what a client counts: its address; the /64 where that is IPv6. */
struct addr strikes_key(const struct addr *who);

/* Seconds until this address may try again; 0: now. */
uint32_t strikes_wait(struct strikes *s, const struct addr *who, struct mono now);
void strikes_add(struct strikes *s, const struct addr *who, struct mono now);
