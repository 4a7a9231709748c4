/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which processes are which identity on this host: policy selectors x live cgroups -> struct host.
 *
 * A cgroup is entered when it covers exactly what one identity (or nobody) owns:
 *  - deepest match wins; two identities at one depth are an ambiguity: named, nobody gets the
 * cgroup;
 *  - a cgroup below which a selector may match is not entered itself; its children are entered one
 * by one, so a child that was never looked at is a question and not its parent's identity (R24);
 *  - `exe` and `group` are no kernel keys: the cgroup is entered only while all of its processes
 *    satisfy them, looked at again on events and in workloads_refresh();
 *  - `user` is a kernel key at egress. For listeners it is not (R20): the cgroup is then also a
 *    nobody with ask_listener;
 *  - what runs strictly below a delegated cgroup (owned by a user) can be joined by any process of
 *    that user, so an entry must name the user there (R39).
 *
 * What is in no list is unknown: its first packet is a question (workloads_resolve). Traffic when
 * this module fails: a cgroup that could not be read stays unknown, and unknown is refused.
 *
 * Two policies may be live at once (commit-confirm): each slot has its own policy, view and host.
 * Everything runs in the caller's event loop; bursts of cgroup events end in one on_change call.
 */
#pragma once

#include "agent/container.h"
#include "agent/owner.h"
#include "agent/process.h"
#include "agent/unit.h"
#include "base/err.h"
#include "rules/essentials.h"
#include "rules/host.h"
#include "rules/policy.h"
#include "rules/ruleset.h"
#include "rules/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#define WORKLOAD_COALESCE_MS  5  /* from the first cgroup event of a burst to on_change */
#define WORKLOAD_PROBLEMS_MAX 64 /* texts kept; further ones are counted */
#define WORKLOAD_PATH_MAX     4096

struct workloads;

struct workloads_config {
	const char *cgroup_root; /* NULL, "auto", or a path below the mount ("/sys/fs/..." or
				    relative) */
	bool deleted_exe_ok;     /* evidence.deleted_exe: warn; an executable replaced on disk still
				    counts */
	bool no_fanotify;        /* inotify although fanotify would work */
};

/*
 * Something in a host changed; call workloads_take_host() and build again. Never called from inside
 * a call.
 */
typedef void (*workloads_change_fn)(void *user);

/* Finds the cgroup2 mount, starts watching cgroups and addresses. */
int workloads_new(const struct workloads_config *config, sd_event *event,
		  workloads_change_fn on_change, void *user, struct workloads **ret_workloads,
		  struct err *err);
void workloads_free(struct workloads *w);
void workloads_freep(struct workloads **w);

/*
 * Takes a policy into use: identities that `view` places here. All three are borrowed until the
 * next call for the slot. policy NULL empties the slot. User and group names are looked up here,
 * once. essentials (may be NULL) names the units to report in host->units.
 */
int workloads_set_policy(struct workloads *w, enum slot slot, const struct policy *policy,
			 const struct view *view, const struct essentials *essentials,
			 struct err *err);

/*
 * The host as it is known now; valid until the next call of any function here. identity numbers are
 * indices of that slot's policy. NULL on -ENOMEM (the caller keeps what it has).
 */
const struct host *workloads_host(struct workloads *w, enum slot slot);
/* The same for who puts it in force: until this is called a change is still to be told. */
const struct host *workloads_take_host(struct workloads *w, enum slot slot);

enum workload_what {
	WORKLOAD_IDENTITY,  /* belongs to `identity` */
	WORKLOAD_NOBODY,    /* looked at, belongs to none */
	WORKLOAD_AMBIGUOUS, /* two identities claim it: refuse */
	WORKLOAD_GONE,      /* the cgroup does not exist any more, or id 0: refuse */
};

struct workload_answer {
	enum workload_what what;
	int identity;       /* index in the slot's policy, -1 unless WORKLOAD_IDENTITY */
	uint64_t cgroup_id; /* of the element that covers it, 0 when it has none */
	uint8_t level;      /* of that element */
	bool enterable; /* an element can say it; false: only this socket was judged, ask again */
	bool has_uid;   /* the element carries the uid */
	bool ingress_only; /* identity by socket activation (R41): as a listener only */
	bool ask_listener; /* WORKLOAD_NOBODY whose listeners may be somebody's by their uid */
	bool host_changed; /* nobody has taken the host since it has it: build, then REPEAT */
};

/*
 * Looks at one cgroup now and says whose a socket with this uid in it is. Synchronous (tens of
 * microseconds), for the queue, adoption, flows and inventory.
 */
int workloads_resolve(struct workloads *w, enum slot slot, uint64_t cgroup_id, uint32_t uid,
		      struct workload_answer *ret_answer);

/*
 * Timer work the caller drives (every few seconds): exe and group looked at again, listeners and
 * what is unwatched. Returns 1 when a host changed (on_change is not called for it), 0, or -errno.
 */
int workloads_refresh(struct workloads *w);

/* Listeners alone, when a packet cannot wait for the timer. Returns as workloads_refresh(). */
int workloads_listeners(struct workloads *w);

/* Texts for status: ambiguities, identities without a process here, unknown users, depth, losses.
 */
size_t workloads_problem_count(struct workloads *w, enum slot slot);
const char *workloads_problem(struct workloads *w, enum slot slot, size_t index);

/* Names of a cgroup: path below the mount, "/"-led; unit or "" . -ENOENT when it is gone. */
int workloads_cgroup_path(struct workloads *w, uint64_t cgroup_id, char *ret_path, size_t size);
/*
 * The same path, and the ids of the cgroup and all that hold it by level, the first at level 1;
 * without a look at the file system where it is known. size: 2 at least.
 */
int workloads_cgroup_line(struct workloads *w, uint64_t cgroup_id, char *ret_path, size_t size,
			  uint64_t *ret_ids, size_t count);
int workloads_cgroup_unit(struct workloads *w, uint64_t cgroup_id, char *ret_unit, size_t size);
/* Both and the container, of one look; everything "" outside of the cgroup root. */
struct workload_place {
	char unit[UNIT_NAME_MAX];
	struct container_place container;
};
int workloads_cgroup_place(struct workloads *w, uint64_t cgroup_id, struct workload_place *ret);
/* The other way round; path absolute or below the mount. 0 when there is none. */
uint64_t workloads_cgroup_id(struct workloads *w, const char *path);

/* Its directory; -ENOENT when it is gone. */
int workloads_cgroup_open(struct workloads *w, uint64_t cgroup_id);

/*
 * Who knows executables by their bytes, for `exe_sha256` and `fsverity`; NULL: nobody. Without one
 * what these selectors name is not there yet.
 */
void workloads_set_digests(struct workloads *w, process_digest_fn fn, void *user);
/* Something was learned about executables: conditions are looked at again, soon. */
void workloads_look_again(struct workloads *w);

/* Whether an interface of this host has the address now. */
bool workloads_address_is_own(const struct workloads *w, const struct addr *a);
/* Index of one that has it; 0 = none has. */
uint32_t workloads_interface_of(const struct workloads *w, const struct addr *a);

struct workloads_counters {
	uint64_t cgroups; /* known now */
	uint64_t events;
	uint64_t overflows; /* event queue overflowed: everything was walked again */
	uint64_t lost;      /* cgroups above the limit: unknown, refused */
	uint64_t rebuilds;  /* of a struct host */
	bool fanotify;
};
void workloads_counters(const struct workloads *w, struct workloads_counters *ret_counters);
