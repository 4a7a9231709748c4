/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files: bounded reads, durable writes, checks of who can write. dir_fd may be AT_FDCWD.
 */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <sys/types.h>

/*
 * Whole regular file, at most max bytes (-EFBIG above), NUL added. *ret_text is the caller's.
 * Anything but a regular file is -EINVAL: a FIFO would hang the reader.
 */
int file_read(int dir_fd, const char *path, size_t max, char **ret_text, size_t *ret_len,
	      struct err *err);

/* The same, but never through a symbolic link at the end of the path: -ELOOP. */
int file_read_itself(int dir_fd, const char *path, size_t max, char **ret_text, size_t *ret_len,
		     struct err *err);

/* The same for keys and tokens: -EACCES when group or others have any permission. */
int file_read_secret(int dir_fd, const char *path, size_t max, char **ret_text, size_t *ret_len,
		     struct err *err);

/*
 * Durable replacement: temporary file beside it, write, fsync, rename, fsync of the directory.
 * A reader sees the old or the new content, also after a power loss.
 */
int file_write_durable(int dir_fd, const char *path, const void *bytes, size_t len, mode_t mode,
		       struct err *err);

/* mkdir -p with the given mode for what is missing. */
int dir_make(const char *path, mode_t mode, struct err *err);

/*
 * A path is trusted when it and every directory above it belong to root (or to `owner`) and nobody
 * else may write to them (sticky directories like /tmp are accepted above, never the path itself).
 * The error says which component is wrong and what would be right.
 */
int path_trusted(const char *path, uid_t owner, struct err *err);

/*
 * Removes a file or a directory tree below dir_fd; symbolic links are not followed. Success when
 * nothing is there.
 */
int tree_remove(int dir_fd, const char *path, struct err *err);
