/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Second copies of what is in state_dir, in run_dir/spare: as long as the kernel's table they live,
 * and on another disk than the first (run_dir is a tmpfs). A file of state_dir that was damaged or
 * lost since, or that a full disk did not take, is read from here, so that a start of the agent
 * begins with what the kernel has: nothing opens, and nobody is cut off.
 *
 * A copy is written before the file itself, and taken away where it cannot be written: one that is
 * there is never older than the file. Each begins with its own digest; one that does not match is
 * none. Without a run_dir that takes them there are no copies, and state_dir stands alone.
 *
 * run_dir ends with the boot, and so does the table. What is closed, by operators here and by the
 * head, has another copy in state_dir/spare: nothing else says it to the next boot.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* In front of what is no file of state_dir by itself: agent/node_key.c. Plain files, not mended. */
#define SPARE_DIR  "spare"
#define SPARE_SVID "svid."

struct spare;

/* Fails for want of memory only. */
int spare_open(int run_fd, int state_fd, struct spare **ret, struct err *err);
void spare_free(struct spare *s);

/*
 * Names are those below state_dir, "documents/known.json"; one of 160 bytes or with '%' in it gets
 * no copy. s may be NULL in all of these. Where they return a result, -ENOMEM is the only failure
 * but those that are named.
 */
int spare_write(struct spare *s, const char *name, const void *bytes, size_t len, struct err *err);
/* -ENOENT when there is no whole copy; NUL added, *ret_text is the caller's. */
int spare_read(struct spare *s, const char *name, size_t max, char **ret_text, size_t *ret_len);
void spare_remove(struct spare *s, const char *name);
/* All copies of what is in this directory below state_dir. */
void spare_remove_below(struct spare *s, const char *directory);
/* The copy, else the file below dir_fd called `file`, which is copied then. */
int spare_or_file(struct spare *s, const char *name, int dir_fd, const char *file, size_t max,
		  char **ret_text, size_t *ret_len, struct err *err);

/*
 * At a start: each file that is not as it was written last is put aside as NAME.damaged and written
 * anew. `told` gets a sentence for each. Not state.json: agent/editions.h.
 */
int spare_mend(struct spare *s, int state_fd, void (*told)(void *user, const char *text),
	       void *user, struct err *err);
/* What is there under this name goes to NAME.damaged, whatever it is; not where that is too long.
 */
void spare_aside(int dir_fd, const char *name);
/* Makes the directory, also where something else has its name. */
int spare_directory(int dir_fd, const char *name, struct err *err);
