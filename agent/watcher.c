/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/watcher.h"

#include "agent/loading.h"
#include "agent/store.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

/* Editors write in steps; a view is looked at once it has been quiet for so long. */
#define WATCHER_QUIET_US 100000

#define WATCH_MASK                                                                                 \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ATTRIB)

struct watcher {
	struct agent *agent;
	sd_event_source *site, *policy, *quiet;
	bool looked, pending;
};

static int on_quiet(sd_event_source *s, uint64_t usec, void *user)
{
	struct watcher *w = user;
	struct err err = {{0}};

	(void)s;
	(void)usec;
	(void)loading_view(w->agent, &err);
	return 0;
}

static int on_policy(sd_event_source *s, const struct inotify_event *e, void *user)
{
	struct watcher *w = user;

	(void)s;
	(void)e;
	w->looked = false;
	return 0;
}

static void watch_policy(struct watcher *w)
{
	CLEANUP(freep) char *path = mem_printf("%s/policy", w->agent->config.directory);

	w->policy = sd_event_source_disable_unref(w->policy);
	w->looked = false;
	if (path)
		(void)sd_event_add_inotify(w->agent->event, &w->policy, path, WATCH_MASK, on_policy,
					   w);
}

static int on_site(sd_event_source *s, const struct inotify_event *e, void *user)
{
	struct watcher *w = user;

	(void)s;
	if (e->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) {
		w->site = sd_event_source_disable_unref(w->site);
		return 0;
	}
	if (e->len && str_eq(e->name, "policy") && (e->mask & (IN_CREATE | IN_MOVED_TO)))
		watch_policy(w);
	if (e->len && !str_eq(e->name, "view.json") && !(e->mask & IN_Q_OVERFLOW))
		return 0;
	(void)sd_event_source_set_time_relative(w->quiet, WATCHER_QUIET_US);
	return sd_event_source_set_enabled(w->quiet, SD_EVENT_ONESHOT);
}

/* The directory itself may be moved away or replaced: then it is looked for again each second. */
static void watch_site(struct watcher *w)
{
	struct err err = {{0}};

	w->site = sd_event_source_disable_unref(w->site);
	if (sd_event_add_inotify(w->agent->event, &w->site, w->agent->config.directory,
				 WATCH_MASK | IN_DELETE_SELF | IN_MOVE_SELF, on_site, w) < 0)
		return;
	watch_policy(w);
	(void)loading_view(w->agent, &err);
}

int watcher_new(struct agent *a, struct watcher **ret, struct err *err)
{
	struct watcher *w;
	int r;

	if (config_is_signed(&a->config)) {
		*ret = NULL;
		return 0;
	}
	w = mem_calloc(1, sizeof(*w));
	if (!w)
		return err_set(err, ENOMEM, "out of memory");
	w->agent = a;
	r = sd_event_add_time_relative(a->event, &w->quiet, CLOCK_MONOTONIC, 0, 0, on_quiet, w);
	if (r >= 0)
		r = sd_event_source_set_enabled(w->quiet, SD_EVENT_OFF);
	if (r < 0) {
		watcher_free(w);
		return err_set(err, -r, "timer: cannot watch for a new view");
	}
	watch_site(w);
	*ret = w;
	return 0;
}

void watcher_tick(struct watcher *w)
{
	if (w && !w->site && access(w->agent->config.directory, F_OK) == 0)
		watch_site(w);
}

void watcher_free(struct watcher *w)
{
	if (!w)
		return;
	sd_event_source_disable_unref(w->site);
	sd_event_source_disable_unref(w->policy);
	sd_event_source_disable_unref(w->quiet);
	free(w);
}

bool watcher_pending(struct watcher *w)
{
	struct store_policy texts = {0};
	struct err err = {{0}};

	if (!w)
		return false;
	if (w->looked && w->policy)
		return w->pending;
	w->looked = true;
	w->pending = false;
	if (loading_directory(w->agent->config.directory, &texts, &err) < 0)
		return false;
	w->pending = texts.file_count && !str_eq(texts.digest, agent_edition(w->agent)->digest);
	store_policy_done(&texts);
	return w->pending;
}
