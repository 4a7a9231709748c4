/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/cgroup_watch.h"

#include "base/hash.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <unistd.h>

#define EVENT_BYTES      65536
#define READS_PER_WAKEUP 64 /* then the loop turns */
#define ENTRY_EVENTS     (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)

struct cgroup_watcher {
	const struct cgroup_watcher_handler *handler;
	void *user;
	int mount_fd, inotify_fd, fanotify_fd;
	struct map *by_wd;
	sd_event_source *inotify_source, *fanotify_source;
	uint64_t events, overflows, lost;
	char *buffer;
};

/* --- inotify --------------------------------------------------------------------------------- */

void cgroup_watcher_add(struct cgroup_watcher *w, struct cgroup_watch *watch, const char *path)
{
	uint32_t mask = watch->populated ? IN_MODIFY : ENTRY_EVENTS | IN_ATTRIB | IN_ONLYDIR;
	char name[CGROUP_PATH_MAX + 64];
	int wd;

	if (watch->wd >= 0 || (w->fanotify_fd >= 0 && !watch->populated))
		return;
	/* inotify knows paths only; this one cannot leave the mount. */
	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d/%s", w->mount_fd, path);
	wd = inotify_add_watch(w->inotify_fd, name, mask | IN_DONT_FOLLOW);
	if (wd < 0) {
		/* Not there any more is nobody's loss. */
		if (errno != ENOENT)
			w->lost++;
		return;
	}
	if (map_put(w->by_wd, &wd, sizeof(wd), watch) < 0) {
		(void)inotify_rm_watch(w->inotify_fd, wd);
		w->lost++;
		return;
	}
	watch->wd = wd;
}

void cgroup_watcher_del(struct cgroup_watcher *w, struct cgroup_watch *watch)
{
	if (watch->wd < 0)
		return;
	/* The kernel has dropped it already if the directory is gone. */
	(void)inotify_rm_watch(w->inotify_fd, watch->wd);
	(void)map_del(w->by_wd, &watch->wd, sizeof(watch->wd));
	watch->wd = -1;
}

static void take_inotify(struct cgroup_watcher *w, const struct inotify_event *e, const char *name)
{
	struct cgroup_watch *watch;

	w->events++;
	if ((e->mask & IN_Q_OVERFLOW) != 0) {
		w->overflows++;
		w->handler->overflow(w->user);
		return;
	}
	watch = map_get(w->by_wd, &e->wd, sizeof(e->wd));
	if (watch == NULL)
		return;
	if ((e->mask & IN_IGNORED) != 0) {
		(void)map_del(w->by_wd, &watch->wd, sizeof(watch->wd));
		watch->wd = -1;
	} else if (watch->populated && (e->mask & IN_MODIFY) != 0) {
		w->handler->populated(w->user, watch->cgroup);
	} else if ((e->mask & ENTRY_EVENTS) != 0 && (e->mask & IN_ISDIR) != 0 && name[0] != '\0') {
		w->handler->entry(w->user, watch->cgroup, name);
	} else if ((e->mask & IN_ATTRIB) != 0 && name[0] == '\0') {
		w->handler->attributes(w->user, watch->cgroup);
	}
}

static void take_inotify_all(struct cgroup_watcher *w, size_t len)
{
	struct inotify_event e;

	for (size_t at = 0; len - at >= sizeof(e);) {
		const char *name = w->buffer + at + sizeof(e);

		memcpy(&e, w->buffer + at, sizeof(e));
		if (e.len > len - at - sizeof(e))
			return;
		/* The kernel pads names with NUL; without a name there is nothing to read. */
		if (e.len > 0 && memchr(name, '\0', e.len) == NULL)
			return;
		take_inotify(w, &e, e.len > 0 ? name : "");
		at += sizeof(e) + e.len;
	}
}

/* --- fanotify -------------------------------------------------------------------------------- */

/* A record says: handle of the directory, then the name of the entry, NUL-terminated. */
static void take_fanotify_info(struct cgroup_watcher *w, const char *record, size_t len)
{
	struct fanotify_event_info_fid fid;
	struct file_handle handle;
	uint64_t id;
	size_t at = sizeof(fid);

	if (len < sizeof(fid) + sizeof(handle) + sizeof(id))
		return;
	memcpy(&fid, record, sizeof(fid));
	if (fid.hdr.info_type != FAN_EVENT_INFO_TYPE_DFID_NAME)
		return;
	memcpy(&handle, record + at, sizeof(handle));
	at += sizeof(handle);
	/* kernfs handles are the id itself (fs/kernfs/mount.c). */
	if (handle.handle_bytes != sizeof(id))
		return;
	memcpy(&id, record + at, sizeof(id));
	at += sizeof(id);
	if (at < len && memchr(record + at, '\0', len - at) != NULL)
		w->handler->entry_by_id(w->user, id, record + at);
}

static void take_fanotify(struct cgroup_watcher *w, const struct fanotify_event_metadata *m,
			  const char *event)
{
	struct fanotify_event_info_header header;

	w->events++;
	if ((m->mask & FAN_Q_OVERFLOW) != 0) {
		w->overflows++;
		w->handler->overflow(w->user);
		return;
	}
	for (size_t at = m->metadata_len; m->event_len - at >= sizeof(header);) {
		memcpy(&header, event + at, sizeof(header));
		if (header.len < sizeof(header) || header.len > m->event_len - at)
			return;
		take_fanotify_info(w, event + at, header.len);
		at += header.len;
	}
}

static void take_fanotify_all(struct cgroup_watcher *w, size_t len)
{
	struct fanotify_event_metadata m;

	for (size_t at = 0; len - at >= sizeof(m); at += m.event_len) {
		memcpy(&m, w->buffer + at, sizeof(m));
		if (m.vers != FANOTIFY_METADATA_VERSION || m.event_len < sizeof(m) ||
		    m.event_len > len - at || m.metadata_len < sizeof(m) ||
		    m.metadata_len > m.event_len)
			return;
		if (m.fd >= 0)
			(void)close(m.fd);
		take_fanotify(w, &m, w->buffer + at);
	}
}

/* --- both ------------------------------------------------------------------------------------ */

static int on_readable(struct cgroup_watcher *w, int fd,
		       void (*take)(struct cgroup_watcher *w, size_t len))
{
	for (unsigned i = 0; i < READS_PER_WAKEUP; i++) {
		ssize_t n = read(fd, w->buffer, EVENT_BYTES);

		if (n <= 0)
			break;
		take(w, (size_t)n);
	}
	w->handler->drained(w->user);
	return 0;
}

static int on_inotify(sd_event_source *source, int fd, uint32_t events, void *user)
{
	(void)source;
	(void)events;
	return on_readable(user, fd, take_inotify_all);
}

static int on_fanotify(sd_event_source *source, int fd, uint32_t events, void *user)
{
	(void)source;
	(void)events;
	return on_readable(user, fd, take_fanotify_all);
}

/* By trial: the capability, the kernel's fsid for cgroup2 and the event kinds are tried at once. */
static void try_fanotify(struct cgroup_watcher *w)
{
	int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME | FAN_CLOEXEC | FAN_NONBLOCK,
			       O_RDONLY);

	if (fd < 0)
		return;
	if (fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM,
			  FAN_CREATE | FAN_DELETE | FAN_ONDIR, w->mount_fd, NULL) < 0) {
		(void)close(fd);
		return;
	}
	w->fanotify_fd = fd;
}

static int add_sources(struct cgroup_watcher *w, sd_event *event)
{
	int r = sd_event_add_io(event, &w->inotify_source, w->inotify_fd, EPOLLIN, on_inotify, w);

	if (r < 0 || w->fanotify_fd < 0)
		return r;
	return sd_event_add_io(event, &w->fanotify_source, w->fanotify_fd, EPOLLIN, on_fanotify, w);
}

int cgroup_watcher_new(int mount_fd, const char *mount_path, bool no_fanotify, sd_event *event,
		       const struct cgroup_watcher_handler *handler, void *user,
		       struct cgroup_watcher **ret_watcher, struct err *err)
{
	struct cgroup_watcher *w = mem_calloc(1, sizeof(*w));
	int r = -ENOMEM;

	if (w == NULL)
		return err_set(err, ENOMEM, "cgroups: out of memory");
	*w = (struct cgroup_watcher){.handler = handler,
				     .user = user,
				     .mount_fd = mount_fd,
				     .inotify_fd = -1,
				     .fanotify_fd = -1};
	w->buffer = mem_calloc(1, EVENT_BYTES);
	w->by_wd = map_new((size_t)CGROUPS_MAX * 2, NULL);
	if (w->buffer == NULL || w->by_wd == NULL)
		goto fail;
	w->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->inotify_fd < 0) {
		r = -errno;
		goto fail;
	}
	if (!no_fanotify)
		try_fanotify(w);
	r = add_sources(w, event);
	if (r < 0)
		goto fail;
	*ret_watcher = w;
	return 0;
fail:
	cgroup_watcher_free(w);
	return err_set(err, -r, "cgroups: watching '%s': %s", mount_path, strerror(-r));
}

void cgroup_watcher_free(struct cgroup_watcher *w)
{
	if (w == NULL)
		return;
	sd_event_source_disable_unref(w->inotify_source);
	sd_event_source_disable_unref(w->fanotify_source);
	closep(&w->inotify_fd);
	closep(&w->fanotify_fd);
	map_free(w->by_wd);
	free(w->buffer);
	free(w);
}

void cgroup_watcher_counters(const struct cgroup_watcher *w, struct cgroup_counters *counters)
{
	counters->events = w->events;
	counters->overflows = w->overflows;
	counters->lost += w->lost;
	counters->fanotify = w->fanotify_fd >= 0;
}
