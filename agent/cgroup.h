/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The cgroup v2 tree of this host as far as somebody wants to know it: found from
 * /proc/self/mountinfo, walked, and watched by fanotify (one mark for the whole file system, where
 * the agent may) or inotify (a watch per directory). Cgroup ids are the inode numbers of the
 * directories.
 *
 * Nested creation cannot be missed: a directory is watched first and read then. Every event leads
 * to one look at the path it names, so events that come late, twice or out of order do no harm;
 * when the kernel says that it lost some, everything is walked again.
 *
 * Nodes belong to the tree, the bytes at node->data included; what those point to belongs to the
 * user, who frees it in removed().
 * Traffic when this fails: cgroups that are not known are questions, and unknown ones are refused.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#define CGROUPS_MAX     65536
#define CGROUP_PATH_MAX 4096

/* Where cgroup2 is mounted. */
struct cgroup_mount {
	char path[CGROUP_PATH_MAX];
	uint8_t level; /* depth of the mount's root below the real root; 0 nearly everywhere */
};

/*
 * The cgroup2 mount in the text of /proc/PID/mountinfo: one that shows the real root if there is
 * one. -ENOENT when there is none, -EXDEV when all show what lies outside our cgroup namespace.
 */
int cgroup_mount_parse(const char *mountinfo, struct cgroup_mount *ret_mount);

struct cgroup_watch {
	struct cgroup *cgroup;
	bool populated; /* of cgroup.events, not of the directory */
	int wd;         /* -1 = none */
};

struct cgroup {
	uint64_t id;
	struct cgroup *parent, *children, *next, *previous; /* siblings */
	char *path;     /* below the mount, without leading slash; "" = the mount itself */
	uint8_t level;  /* below the real root */
	bool delegated; /* strictly below a cgroup that belongs to a user (R39) */
	uid_t owner;
	bool walked; /* scratch of the walk */
	int fd;      /* its directory, of those that are asked about often; -1 = none */
	struct cgroup_watch directory, events;
	void *data; /* handler's data_size bytes, zero at first */
};

struct cgroup_handler {
	size_t data_size;
	void (*added)(void *user, struct cgroup *c);
	/* Children are removed before their parent. */
	void (*removed)(void *user, struct cgroup *c);
	/* The first process came or the last one left. Only for cgroup_watch_populated(). */
	void (*populated)(void *user, struct cgroup *c, bool populated);
	/* Whether the children of this cgroup are to be known. */
	bool (*descend)(void *user, const struct cgroup *c);
	/* All events that were waiting have been handed over. */
	void (*settled)(void *user);
	void *user;
};

struct cgroup_tree;

/*
 * root: NULL or "auto" for the mount, else a path below it, absolute or not. The handler is
 * borrowed. Nothing is known until cgroup_tree_walk().
 */
int cgroup_tree_open(const char *root, bool no_fanotify, sd_event *event,
		     const struct cgroup_handler *handler, struct cgroup_tree **ret_tree,
		     struct err *err);
void cgroup_tree_free(struct cgroup_tree *t);
void cgroup_tree_freep(struct cgroup_tree **t);

/* Compares everything with the file system; added() and removed() are called for what differs. */
int cgroup_tree_walk(struct cgroup_tree *t);
/* Whether the root directory is still the one that was walked. */
bool cgroup_tree_root_changed(const struct cgroup_tree *t);

struct cgroup *cgroup_tree_root(const struct cgroup_tree *t); /* NULL while it does not exist */
struct cgroup *cgroup_tree_find(const struct cgroup_tree *t, uint64_t id);
/* Below the cgroup root: "" for the root itself. */
const char *cgroup_below_root(const struct cgroup_tree *t, const struct cgroup *c);
/* The same for any path below the mount that lies within the root. */
const char *cgroup_below_root_path(const struct cgroup_tree *t, const char *path);

/*
 * The known cgroup that holds the cgroup with this id: itself, or the nearest ancestor that is to
 * be known; looks at the file system now. *ret_outside says that it does not lie below the root;
 * then ret_cover is the topmost cgroup that holds it and not our root (id 0: there is none).
 * -ESTALE: no such cgroup any more.
 */
struct cgroup_cover {
	struct cgroup *known;
	bool outside;
	uint64_t outside_id;
	uint8_t outside_level;
	char path[CGROUP_PATH_MAX]; /* of the cgroup asked for, below the mount */
};
int cgroup_tree_locate(struct cgroup_tree *t, uint64_t id, struct cgroup_cover *ret_cover);

/* Path below the mount by id, by open_by_handle_at(). -ESTALE when it is gone. */
int cgroup_path_of(const struct cgroup_tree *t, uint64_t id, char *ret_path, size_t size);
/*
 * The same path, and the ids of the cgroup and of all that hold it, by level below the real root:
 * the first is at level 1. Of a known cgroup from memory, without a look at the file system: ids
 * are not used again and cgroups are not renamed, so it is true of one that is gone by now.
 */
int cgroup_line_of(struct cgroup_tree *t, uint64_t id, char *ret_path, size_t size,
		   uint64_t *ret_ids, size_t count);
/* Its directory; -ESTALE when it is gone. */
int cgroup_open(const struct cgroup_tree *t, uint64_t id);
/* Id by path (absolute, or below the mount); 0 when there is none. */
uint64_t cgroup_id_of(const struct cgroup_tree *t, const char *path);
int cgroup_mount_fd(const struct cgroup_tree *t);

/* From now on populated() is called for this cgroup. */
void cgroup_watch_populated(struct cgroup_tree *t, struct cgroup *c);

struct cgroup_counters {
	uint64_t known, events, overflows, lost;
	bool fanotify;
};
void cgroup_tree_counters(const struct cgroup_tree *t, struct cgroup_counters *ret_counters);
