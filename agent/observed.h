/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Conversations that were seen and that no rule permits: what `suggest` proposes rules from
 * (UC-46). One entry for each pair of ends and service, with counts, first and last time and the
 * addresses of the far end; ephemeral ports are no services. Kept in state_dir, so that a restart
 * does not lose weeks of observation.
 *
 * Bounded: when the table is full, the entry with the fewest flows gives way, and is counted.
 * Nothing here decides anything about traffic.
 */
#pragma once

#include "agent/store.h"
#include "agent/telemetry_record.h"
#include "base/addr.h"

#include <systemd/sd-event.h>

#define OBSERVED_MAX       4096
#define OBSERVED_PEERS_MAX 32   /* addresses of an entry; more of them become networks */
#define OBSERVED_NAME_MAX  2048 /* longer ones are left out */
#define OBSERVED_PORTS     8

enum observed_kind {
	OBSERVED_IDENTITY, /* name is its path */
	OBSERVED_PROCESS,  /* of this host, claimed by no identity; name is its cgroup */
	OBSERVED_NODE,     /* a caller at another node: any of its identities */
	OBSERVED_ADDRESS,  /* nobody known; the addresses are the peers */
};

struct observed_party {
	uint8_t kind; /* enum observed_kind */
	char *name;   /* "" for OBSERVED_ADDRESS */
};

struct observed_entry {
	struct observed_party from, to;
	char service[RECORD_SERVICE_MAX]; /* "tcp/8443"; "tcp/high": ports chosen anew each time */
	bool far_is_from;
	uint64_t flows;
	int64_t first, last; /* wall seconds */
	struct prefix *peers;
	size_t peer_count, peer_cap;
	uint16_t ports[OBSERVED_PORTS]; /* of the callers seen last: one flow is told many times */
	uint8_t next_port;
};

struct observed_totals {
	int64_t since;         /* when watching began */
	uint64_t flows;        /* all that were let through */
	uint64_t permitted;    /* by a rule or as essential */
	uint64_t unattributed; /* nobody here had them: no socket any more */
	uint64_t overflow;     /* entries that gave way */
};

struct observed;

/* node is this host's name as records have it. Reads what is on disk. */
int observed_new(struct store *s, sd_event *event, const char *node, struct observed **ret,
		 struct err *err);
/* Writes it. */
void observed_free(struct observed *o);

void observed_note(struct observed *o, const struct record *draft, struct wall now);
int observed_save(struct observed *o, struct err *err);

size_t observed_count(const struct observed *o);
const struct observed_entry *observed_at(const struct observed *o, size_t i);
const struct observed_totals *observed_totals(const struct observed *o);
