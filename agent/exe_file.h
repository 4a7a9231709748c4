/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The executable of a live process as a file: which one it is, and what its bytes are (facts/
 * identity: 9, exe sha256 and fs-verity digest). Always through the exe link of the process, never
 * by path: a path is another file in another mount namespace, or by the time it is opened.
 *
 * Looking is quick and blocks on no file system; measuring reads the file and may take seconds.
 */
#pragma once

#include "agent/evidence.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * A content, as far as inode facts tell: any write changes the times, but for those of one tick.
 * Who can turn the clock back and write the same second again is root.
 */
struct exe_key {
	uint32_t dev_major, dev_minor;
	uint32_t mtime_ns, ctime_ns;
	uint64_t ino, size, mount;
	int64_t mtime_s, ctime_s;
	uint64_t verity; /* 1 with fs-verity; that its times change then is ext4, not a promise */
};

/*
 * Descriptor (O_PATH) of what the process runs. ret_deleted: the file has no name any more, it was
 * removed or replaced since. -ENOENT, -ESRCH: it has ended; -EACCES: of a file system that lets
 * nobody look but its owner.
 */
int exe_open(int proc_fd, struct exe_key *ret_key, bool *ret_deleted);
bool exe_key_eq(const struct exe_key *a, const struct exe_key *b);

/*
 * Whether the file of this process may be read at all: not when its file system is served by a
 * process (FUSE). Reading would wait for an answer from it, and no signal ends that, not even the
 * one that ends the reader: an agent could be neither stopped nor started again. -EOPNOTSUPP then,
 * and where nobody says what file system it is on: detached, or of no mount at all (memfd).
 */
int exe_may_be_read(pid_t pid, const struct exe_key *key);

/*
 * Reads the file behind an O_PATH descriptor. 0 with ret's digests; -EFBIG above EVIDENCE_FILE_MAX;
 * -ESTALE when it is not what `key` says, or changes meanwhile; -EAGAIN when it was written so
 * lately that the key would not show another change; -ECANCELED when `ending` says so.
 */
/*
 * The same in a child that is killed after so long (-ETIMEDOUT): before the loop there are no
 * threads, and a file system that a workload serves itself may let whoever reads wait for ever.
 */
int exe_measure_apart(int path_fd, const struct exe_key *key, int64_t ms, struct digest *ret);
int exe_measure(int path_fd, const struct exe_key *key, bool (*ending)(const void *user),
		const void *user, struct digest *ret);
