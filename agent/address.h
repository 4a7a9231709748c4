/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The host's own addresses, and word when they change (rtnetlink). Addresses are those of the
 * network namespace in which address_watch_new() was called.
 */
#pragma once

#include "base/addr.h"
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#define ADDRESSES_MAX 16384

struct address_watch;

/* changed() is called after each change; nothing was read then. */
int address_watch_new(sd_event *event, void (*changed)(void *user), void *user,
		      struct address_watch **ret_watch, struct err *err);
void address_watch_free(struct address_watch *w);

/* All addresses now, sorted, each once, and an interface that has it. The arrays are the caller's.
 */
int address_list(struct addr **ret_addresses, uint32_t **ret_ifindexes, size_t *ret_count);
