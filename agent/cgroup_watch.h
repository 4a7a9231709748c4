/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Kernel events of the cgroup file system, for agent/cgroup.c: fanotify for entries where it works
 * (CAP_SYS_ADMIN and a kernel whose cgroup2 has an fsid), inotify otherwise; inotify on
 * cgroup.events in both cases. Events are hints: what they name is looked at, never believed.
 */
#pragma once

#include "agent/cgroup.h"

struct cgroup_watcher;

struct cgroup_watcher_handler {
	/* A directory entry was made or removed. */
	void (*entry)(void *user, struct cgroup *parent, const char *name);
	void (*entry_by_id)(void *user, uint64_t parent, const char *name);
	void (*populated)(void *user, struct cgroup *c);
	/* Of the directory itself: perhaps another owner. With inotify only. */
	void (*attributes)(void *user, struct cgroup *c);
	void (*overflow)(void *user);
	void (*drained)(void *user);
};

int cgroup_watcher_new(int mount_fd, const char *mount_path, bool no_fanotify, sd_event *event,
		       const struct cgroup_watcher_handler *handler, void *user,
		       struct cgroup_watcher **ret_watcher, struct err *err);
void cgroup_watcher_free(struct cgroup_watcher *w);

/* Adding twice does nothing. A watch that cannot be had is counted as lost. */
void cgroup_watcher_add(struct cgroup_watcher *w, struct cgroup_watch *watch, const char *path);
void cgroup_watcher_del(struct cgroup_watcher *w, struct cgroup_watch *watch);
void cgroup_watcher_counters(const struct cgroup_watcher *w, struct cgroup_counters *counters);
