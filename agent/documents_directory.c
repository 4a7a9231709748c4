/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signed documents from a directory that is laid out as the static export
 * (controller-client/static_path.h), with or without the leading v1/. Watched, and looked through
 * now and then because a directory that was moved into place tells nothing. Who may write there is
 * of no account: only signatures count. Files are read as an unprivileged carrier's bytes would be:
 * bounded, and never through a symbolic link at the end, so that whoever may write there cannot
 * have other files of this host read by us.
 */
#include "agent/documents_parts.h"

#include "agent/heartbeat.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/static_path.h"
#include "controller-client/view_decode.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

/* Copies come in steps; the tree is looked at once it has been quiet for so long. */
#define QUIET_US    100000
#define LOOK_EACH_S 10

#define WATCH_MASK                                                                                 \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ATTRIB |        \
	 IN_DELETE_SELF | IN_MOVE_SELF)

static const char *const below[] = {
	"",           "/v1",           "/heads",        "/v1/heads",
	"/manifests", "/v1/manifests", "/blobs/sha256", "/v1/blobs/sha256",
	"/blobs",     "/v1/blobs",
};

struct directory_source {
	struct documents *documents;
	struct document_source source;
	sd_event_source *watches[ARRAY_LEN(below)];
	sd_event_source *quiet;
	unsigned seconds;
};

/* --- reading ------------------------------------------------------------------------------ */

static int read_one(const char *directory, const char *prefix, const char *name, size_t max,
		    char **ret, size_t *ret_len, struct err *err)
{
	CLEANUP(freep) char *path = mem_printf("%s/%s%s", directory, prefix, name);

	if (!path)
		return err_set(err, ENOMEM, "out of memory");
	return file_read_itself(AT_FDCWD, path, max, ret, ret_len, err);
}

/* "v1/..." as static_path_*() gives it; without v1/ where that is not there. */
static int read_name(const struct directory_source *s, const char *name, size_t max, char **ret,
		     size_t *ret_len, struct err *err)
{
	const char *directory = s->documents->agent->config.directory;
	int r = read_one(directory, "", name, max, ret, ret_len, err);

	if ((r == -ENOENT || r == -ENOTDIR) && str_starts(name, "v1/"))
		r = read_one(directory, "", name + strlen("v1/"), max, ret, ret_len, err);
	return r;
}

/* The static export has REVISION; who copies by hand may have kept REVISION.dsse.json. */
static int read_manifest(const struct directory_source *s, uint64_t revision, size_t max,
			 char **ret, size_t *ret_len, struct err *err)
{
	char name[STATIC_PATH_MAX], longer[STATIC_PATH_MAX + 16];
	int r;

	(void)static_path_manifest(name, revision);
	r = read_name(s, name, max, ret, ret_len, err);
	if (r != -ENOENT && r != -ENOTDIR)
		return r;
	(void)snprintf(longer, sizeof(longer), "%s.dsse.json", name);
	return read_name(s, longer, max, ret, ret_len, err);
}

static void want_manifest(void *user, uint64_t revision, size_t max)
{
	struct directory_source *s = user;
	CLEANUP(freep) char *text = NULL;
	char name[24];
	struct err err = {{0}};
	size_t len = 0;

	if (read_manifest(s, revision, max, &text, &len, &err) >= 0) {
		documents_manifest(s->documents, revision, text, len);
		return;
	}
	(void)snprintf(name, sizeof(name), "%" PRIu64, revision);
	documents_failed(s->documents, "manifest", name, err.text);
}

static void want_blob(void *user, const char *sha256, uint64_t size)
{
	struct directory_source *s = user;
	CLEANUP(freep) char *bytes = NULL;
	char name[STATIC_PATH_MAX];
	struct err err = {{0}};
	size_t len = 0;

	(void)size;
	if (read_name(s, static_path_blob(name, sha256), VIEW_DOCUMENT_MAX, &bytes, &len, &err) <
	    0) {
		documents_failed(s->documents, "blob", sha256, err.text);
		return;
	}
	if (len >= HEARTBEAT_LARGE_BYTES)
		heartbeat_extend(s->documents->agent);
	documents_blob(s->documents, sha256, bytes, len);
}

static void look(struct directory_source *s)
{
	struct documents *d = s->documents;
	CLEANUP(freep) char *text = NULL;
	char name[STATIC_PATH_MAX];
	struct err err = {{0}};
	size_t len = 0;
	int r;

	r = read_name(s, static_path_head(name, d->agent->config.node), DSSE_ENVELOPE_MAX, &text,
		      &len, &err);
	if (r < 0) {
		if (r != -ENOENT && r != -ENOTDIR)
			intake_trouble(&d->in, "head", "unavailable", err.text, documents_now(d));
		return;
	}
	/* What was missing may have come: it is asked for again at once. */
	intake_set_source(&d->in, &s->source, mono_now());
	documents_head(d, text, len);
}

/* --- watching ----------------------------------------------------------------------------- */

static int on_quiet(sd_event_source *e, uint64_t usec, void *user)
{
	(void)e;
	(void)usec;
	look(user);
	return 0;
}

static int on_event(sd_event_source *e, const struct inotify_event *event, void *user)
{
	struct directory_source *s = user;

	for (size_t i = 0; i < ARRAY_LEN(below); i++) {
		if (s->watches[i] == e &&
		    (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)))
			s->watches[i] = sd_event_source_disable_unref(e);
	}
	(void)sd_event_source_set_time_relative(s->quiet, QUIET_US);
	return sd_event_source_set_enabled(s->quiet, SD_EVENT_ONESHOT);
}

/* Whether a directory appeared that was not watched before. */
static bool watch(struct directory_source *s)
{
	struct agent *a = s->documents->agent;
	bool appeared = false;

	for (size_t i = 0; i < ARRAY_LEN(below); i++) {
		CLEANUP(freep) char *path = NULL;

		if (s->watches[i])
			continue;
		path = mem_printf("%s%s", a->config.directory, below[i]);
		if (path && access(path, F_OK) == 0 &&
		    sd_event_add_inotify(a->event, &s->watches[i], path, WATCH_MASK, on_event, s) >=
			    0)
			appeared = true;
	}
	return appeared;
}

void directory_source_tick(struct directory_source *s)
{
	if (!s)
		return;
	if (watch(s) || ++s->seconds >= LOOK_EACH_S) {
		s->seconds = 0;
		look(s);
	}
}

const struct document_source *directory_source_of(struct directory_source *s)
{
	return &s->source;
}

int directory_source_new(struct documents *d, struct directory_source **ret, struct err *err)
{
	struct directory_source *s = mem_calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(err, ENOMEM, "out of memory");
	s->documents = d;
	s->source = (struct document_source){
		.name = "directory",
		.want_manifest = want_manifest,
		.want_blob = want_blob,
		.user = s,
	};
	/* Looked at as soon as the loop turns. */
	r = sd_event_add_time_relative(d->agent->event, &s->quiet, CLOCK_MONOTONIC, 0, 0, on_quiet,
				       s);
	if (r < 0) {
		directory_source_free(s);
		return err_set(err, -r, "timer: cannot watch the directory");
	}
	(void)watch(s);
	*ret = s;
	return 0;
}

void directory_source_free(struct directory_source *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < ARRAY_LEN(below); i++)
		sd_event_source_disable_unref(s->watches[i]);
	sd_event_source_disable_unref(s->quiet);
	free(s);
}
