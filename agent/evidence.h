/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What runs: digests of executables, off the path of every connection. Hashed once by a helper
 * thread when a process group of an identity with `reference:`, `exe_sha256` or `fsverity` is first
 * seen, through the exe link of a live process (never by path), and kept by (device, inode, size,
 * mtime, ctime, mount); looked at again when asked and every few seconds.
 *
 * A digest says which program was started. Libraries, scripts that an approved interpreter runs,
 * preloads and what is written into a process later are not in it.
 *
 * An executable that is replaced on disk under a running process is a `warning` (a package upgrade
 * looks the same); with `evidence: {deleted_exe: deny}` it counts as contraindicated. A process
 * whose own digest is none of the identity's reference values is contraindicated: an alert, and
 * rules that say `measured` end for the identity on this host (UC-18).
 */
#pragma once

#include "agent/agent.h"
#include "agent/owner.h"
#include "agent/peer_frame.h"

#include <sys/types.h>

struct evidence;

#define EVIDENCE_FILE_MAX      (1ULL << 30) /* larger executables are not hashed: no digest */
#define EVIDENCE_CACHE_MAX     4096
#define EVIDENCE_CACHE_SHARE   512 /* digests of one identity: more push out its own, not others' */
#define EVIDENCE_HASHING_MAX   256 /* files that wait for being read; further ones are seen later */
#define EVIDENCE_HASHING_SHARE 64  /* of one identity */
#define EVIDENCE_QUESTIONS_MAX 1024  /* sockets that are being looked at; more are BUSY */
#define EVIDENCE_RETRY_MS      30000 /* a file that could not be read is tried again then */
#define EVIDENCE_SETTLE_MS     500   /* a younger process is still changing its executable */
#define EVIDENCE_PROBLEMS_MAX  256   /* processes that are listed */

struct digest {
	bool has_sha256, has_fsverity;
	uint8_t sha256[PEER_DIGEST_LEN], fsverity[PEER_DIGEST_LEN];
	bool deleted; /* the file has been replaced or removed since the process started */
	struct mono when;
};

int evidence_open(struct agent *a, struct evidence **ret, struct err *err);
void evidence_free(struct evidence *e);
void evidence_tick(struct evidence *e); /* once a second */
/*
 * Before the loop runs: measures what runs under the policies, for at most so long, so that a
 * restart finds the workloads of `exe_sha256` and `fsverity`, and what was closed for want of an
 * approved executable, as it left them.
 */
void evidence_settle(struct evidence *e, int64_t ms);

/*
 * Who holds this socket (its inode among the descriptors of a process of its cgroup) and what it
 * runs. status: PEER_OK; PEER_HOLDER_MISMATCH (only a process outside of the socket's cgroup holds
 * it, or nobody does, or processes that run different executables); PEER_BUSY (the budget is spent:
 * asked again, the digest is known); PEER_INTERNAL. done exactly once, perhaps before this returns,
 * never after evidence_cancel(). evidence_last_refusal(): for people, of a status that is not OK.
 */
typedef void (*evidence_done)(void *user, enum peer_status status, const struct digest *digest);
void evidence_of_socket(struct evidence *e, const struct socket_info *s, uint32_t budget_ms,
			evidence_done done, void *user);
void evidence_cancel(struct evidence *e, void *user);
const char *evidence_last_refusal(const struct evidence *e);

/* The digest of what a process runs, if it is known already; else it is queued. False: not yet. */
bool evidence_of_process(struct evidence *e, pid_t pid, struct digest *ret);

/*
 * Identities of the policy in force (by path) one of whose processes here runs what is none of its
 * reference values: `measured` rules from them are closed (compile_input.unmeasured). The list
 * changes with agent_touch(). NULL-terminated; borrowed.
 */
const char *const *evidence_unmeasured(const struct evidence *e);
/*
 * For status and `why`: [{identity, cgroup, pid, exe, sha256, problem, ends_measured}]; new
 * reference. Only ends_measured ones close anything; the others are warnings.
 */
json_t *evidence_problems(const struct evidence *e);

struct evidence_counters {
	uint64_t hashed, failed, cached, searched, mismatched, too_late;
};
void evidence_counters(const struct evidence *e, struct evidence_counters *ret);
