/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The static export: DIR/v1/{manifests,blobs/sha256,heads}, the same bytes that the URLs give.
 * Everything is written beside and renamed; a file whose bytes are there already is left alone, so
 * a web server's ETags hold. Blobs and views come first, then manifests, then heads, with the disk
 * in step between them: no head ever points to what is not there.
 *
 * What nothing points to any more is taken away when it is older than a head lives: a node that
 * holds such a head still finds everything. The last three revisions stay in any case.
 *
 * A fleet's documents take seconds, and whoever serves them serves everybody else, too: so the work
 * is done in steps. Between two steps anything may change. Another policy: all begins again. A
 * node's view: it is written, and on the disk, before the head that names it.
 */
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/static_path.h"
#include "controller/core_parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REVISIONS_KEPT 3
#define DIR_MODE       0755 /* for a web server's eyes: nothing in it is secret to nodes */
#define FILE_MODE      0644
#define TEMPORARY      ".new"
#define FILE_MAX       (64U << 20)
#define AGAIN_MAX      8 /* other policies meanwhile */
#define NS_PER_US      1000

enum stage {
	STAGE_BLOBS,
	STAGE_VIEWS,
	STAGE_MANIFESTS,
	STAGE_SAVE,
	STAGE_HEADS,
	STAGE_END,
	STAGE_DONE
};

struct exporting {
	struct core *c;
	char *dir;
	enum stage stage;
	uint32_t next; /* node of this stage */
	unsigned again;
	char manifest_sha256[SHA256_HEX_LEN];
	uint64_t loads;
	bool durable; /* files on the disk before they have their names */
	int dir_fd;
	struct map *wanted; /* paths that stay */
	bool *listed;       /* nodes */
	size_t listed_count;
	size_t written, unchanged, removed, heads;
	int64_t revisions[REVISIONS_KEPT];
	size_t revision_count;
	struct err *err; /* of the step under way */
};

/* --- one file -------------------------------------------------------------------------------- */

static bool same_file(int dir_fd, const char *path, const void *bytes, size_t len)
{
	CLEANUP(freep) char *text = NULL;
	struct stat st;
	size_t there;

	if (fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || (size_t)st.st_size != len)
		return false;
	return file_read(dir_fd, path, FILE_MAX, &text, &there, NULL) == 0 && there == len &&
	       memcmp(text, bytes, len) == 0;
}

static int write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_beside(const struct exporting *e, const char *path, const void *bytes, size_t len)
{
	char temporary[STATIC_PATH_MAX + sizeof(TEMPORARY)];
	int fd, r;

	(void)snprintf(temporary, sizeof(temporary), "%s%s", path, TEMPORARY);
	fd = openat(e->dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		    FILE_MODE);
	if (fd < 0)
		return -errno;
	r = write_all(fd, bytes, len);
	if (r == 0 && e->durable && fsync(fd) < 0)
		r = -errno;
	/* On its way already when the disk is put in step, which holds everybody up. */
	if (r == 0 && !e->durable)
		(void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0 && renameat(e->dir_fd, temporary, e->dir_fd, path) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(e->dir_fd, temporary, 0);
	return r;
}

static int put(struct exporting *e, const char *path, const void *bytes, size_t len)
{
	int r = map_put_str(e->wanted, path, e);

	if (r < 0)
		return err_set(e->err, -r, "export: %s", strerror(-r));
	if (same_file(e->dir_fd, path, bytes, len)) {
		e->unchanged++;
		return 0;
	}
	r = write_beside(e, path, bytes, len);
	if (r < 0)
		return err_set(e->err, r == -EFBIG || r == -EDQUOT ? ENOSPC : -r,
			       "export to '%s/%s': %s; what was there is whole", e->dir, path,
			       strerror(-r));
	e->written++;
	return 0;
}

static int in_step(const struct exporting *e)
{
	if (syncfs(e->dir_fd) < 0)
		return err_set(e->err, errno, "export to '%s': %s", e->dir, strerror(errno));
	return 0;
}

/* --- documents -------------------------------------------------------------------------------- */

static int put_blob(struct exporting *e, const char *node, const char *sha256)
{
	CLEANUP(freep) char *bytes = NULL;
	char path[STATIC_PATH_MAX];
	size_t len;
	int r;

	r = core_blob(e->c, node, sha256, &bytes, &len, e->err);
	return r < 0 ? r : put(e, static_path_blob(path, sha256), bytes, len);
}

static int take_revision(void *user, const struct store_row *row)
{
	struct exporting *e = user;

	if (e->revision_count < REVISIONS_KEPT)
		e->revisions[e->revision_count++] = store_row_int(row, 0);
	return 0;
}

struct digests {
	char (*at)[SHA256_HEX_LEN];
	size_t count, cap;
};

static int take_digest(void *user, const struct store_row *row)
{
	struct digests *d = user;
	int r = vec_grow(&d->at, &d->cap, d->count + 1, sizeof(*d->at), MANIFEST_BLOBS_MAX);

	if (r == 0)
		(void)snprintf(d->at[d->count++], SHA256_HEX_LEN, "%s", store_row_text(row, 1));
	return r;
}

static int put_policy_blobs(struct exporting *e, int64_t revision)
{
	struct digests d = {0};
	int r;

	r = store_ask(e->c->store, STORE_MANIFEST_BLOBS, take_digest, &d, e->err,
		      store_int(revision));
	for (size_t i = 0; i < d.count && r >= 0; i++)
		r = put_blob(e, NULL, d.at[i]);
	free(d.at);
	return r < 0 ? r : 0;
}

static int put_manifest(struct exporting *e, int64_t revision)
{
	CLEANUP(freep) char *bytes = NULL;
	char path[STATIC_PATH_MAX];
	size_t len;
	int r;

	r = core_manifest(e->c, (uint64_t)revision, &bytes, &len, e->err);
	return r < 0 ? r : put(e, static_path_manifest(path, (uint64_t)revision), bytes, len);
}

static bool exported(const struct exporting *e, uint32_t node)
{
	const struct core *c = e->c;

	return node < e->listed_count && e->listed[node] && !views_node_at(c->views, node)->shut &&
	       (node >= c->node_count || !c->nodes[node] || c->nodes[node]->state != NODE_BANNED);
}

static int put_view(struct exporting *e, uint32_t node)
{
	struct core *c = e->c;
	int r = head_make_current(c, node, e->err);

	return r < 0 ? r
		     : put_blob(e, views_node_at(c->views, node)->name,
				c->nodes[node]->head.view_sha256);
}

/* The newest there is now; what has come since its view was written is written before it. */
static int put_head(struct exporting *e, uint32_t node)
{
	struct core *c = e->c;
	const struct head_state *h = &c->nodes[node]->head;
	char path[STATIC_PATH_MAX];
	int r = head_make_current(c, node, e->err);

	if (r == 0 && !map_get_str(e->wanted, static_path_blob(path, h->view_sha256))) {
		e->durable = true;
		r = put_view(e, node);
		e->durable = false;
	}
	/* Numbers that go out must not come again: saved before anybody can fetch them. */
	if (r == 0 && h->unsaved)
		r = heads_save(c, e->err);
	if (r == 0)
		r = put(e, static_path_head(path, views_node_at(c->views, node)->name), h->envelope,
			h->envelope_len);
	e->heads += r == 0;
	return r;
}

/* --- what is no longer wanted ------------------------------------------------------------------
 */

static void prune_one(struct exporting *e, const char *folder, const char *name)
{
	char path[STATIC_PATH_MAX + NAME_MAX];
	struct static_name parsed;
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (map_get_str(e->wanted, path) || fstatat(e->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	/* Only what an export wrote, and nothing that a head still in use may name. */
	if (!S_ISREG(st.st_mode) ||
	    (static_path_parse(path, &parsed) < 0 && !str_ends(name, TEMPORARY)))
		return;
	if (st.st_mtim.tv_sec + HEAD_LIFE_S > core_now(e->c).s)
		return;
	e->removed += unlinkat(e->dir_fd, path, 0) == 0;
}

static void prune_folder(struct exporting *e, const char *folder)
{
	int fd = openat(e->dir_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *d;

	if (!dir) {
		closep(&fd);
		return;
	}
	while ((d = readdir(dir)) != NULL)
		if (d->d_name[0] != '.')
			prune_one(e, folder, d->d_name);
	(void)closedir(dir);
}

/* --- the whole ------------------------------------------------------------------------------- */

static int make_folders(struct exporting *e)
{
	static const char *const folders[] = {"v1/heads", "v1/manifests", "v1/blobs/sha256"};
	char path[CORE_PATH_MAX];
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(folders) && r == 0; i++) {
		if (snprintf(path, sizeof(path), "%s/%s", e->dir, folders[i]) >= (int)sizeof(path))
			return err_set(e->err, ENAMETOOLONG, "'%s': path too long", e->dir);
		r = dir_make(path, DIR_MODE, e->err);
	}
	if (r < 0)
		return r;
	e->dir_fd = open(e->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (e->dir_fd < 0)
		return err_set(e->err, errno, "export to '%s': %s", e->dir, strerror(errno));
	return 0;
}

static int put_revisions(struct exporting *e, int (*one)(struct exporting *e, int64_t revision))
{
	int r = 0;

	for (size_t i = 0; i < e->revision_count && r >= 0; i++)
		r = one(e, e->revisions[i]);
	return r;
}

static int put_blobs(struct exporting *e)
{
	int r;

	e->revision_count = 0;
	r = store_ask(e->c->store, STORE_MANIFESTS, take_revision, e, e->err,
		      store_int(REVISIONS_KEPT));
	return r < 0 ? r : put_revisions(e, put_policy_blobs);
}

static int prune(struct exporting *e)
{
	int r = in_step(e);

	if (r < 0)
		return r;
	prune_folder(e, "v1/heads");
	prune_folder(e, "v1/manifests");
	prune_folder(e, "v1/blobs/sha256");
	return 0;
}

static int save(struct exporting *e)
{
	int r = heads_save(e->c, e->err);

	return r < 0 ? r : in_step(e);
}

/* The next of the stage's nodes, or its end. */
static int next_node(struct exporting *e, int (*one)(struct exporting *e, uint32_t node),
		     enum stage after)
{
	while (e->next < e->listed_count && !exported(e, e->next))
		e->next++;
	if (e->next < e->listed_count)
		return one(e, e->next++);
	e->stage = after;
	e->next = 0;
	return 0;
}

static int whole_stage(struct exporting *e, int r, enum stage after)
{
	if (r >= 0)
		e->stage = after;
	return r;
}

static int one_thing(struct exporting *e)
{
	switch (e->stage) {
	case STAGE_BLOBS:
		return whole_stage(e, put_blobs(e), STAGE_VIEWS);
	case STAGE_VIEWS:
		return next_node(e, put_view, STAGE_MANIFESTS);
	case STAGE_MANIFESTS:
		return whole_stage(e, put_revisions(e, put_manifest), STAGE_SAVE);
	case STAGE_SAVE:
		return whole_stage(e, save(e), STAGE_HEADS);
	case STAGE_HEADS:
		return next_node(e, put_head, STAGE_END);
	case STAGE_END:
		return whole_stage(e, prune(e), STAGE_DONE);
	case STAGE_DONE:
		break;
	}
	return 0;
}

/* From the beginning: what is written is seen to be the same and stays. */
static int begin(struct exporting *e)
{
	struct core *c = e->c;

	map_free(e->wanted);
	freep(&e->listed);
	e->wanted = map_new((size_t)3 * VIEWS_NODES_MAX, NULL);
	e->listed = core_nodes_listed(c, &e->listed_count);
	e->stage = STAGE_BLOBS;
	e->next = 0;
	e->heads = e->unchanged = 0;
	e->loads = c->loads;
	memcpy(e->manifest_sha256, c->manifest_sha256, sizeof(e->manifest_sha256));
	return e->wanted && e->listed ? 0 : err_set(e->err, ENOMEM, "out of memory");
}

static int look_for_changes(struct exporting *e)
{
	const struct core *c = e->c;

	if (e->loads == c->loads && str_eq(e->manifest_sha256, c->manifest_sha256))
		return 0;
	if (++e->again > AGAIN_MAX)
		return err_set(e->err, EBUSY,
			       "export to '%s': policy changes faster than it is written", e->dir);
	return begin(e);
}

int core_export_step(struct exporting *e, int64_t budget_us, struct err *err)
{
	struct mono since = mono_now();
	int r = core_ready(e->c, err);

	e->err = err;
	if (r == 0)
		r = look_for_changes(e);
	while (r >= 0 && e->stage != STAGE_DONE) {
		r = one_thing(e);
		if ((mono_now().ns - since.ns) / NS_PER_US >= budget_us)
			break;
	}
	return r < 0 ? r : e->stage != STAGE_DONE;
}

json_t *core_export_result(const struct exporting *e)
{
	return json_pack("{s:i,s:s,s:I,s:I,s:I,s:I,s:I}", "version", 1, "dir", e->dir, "revision",
			 (json_int_t)e->c->manifest.revision, "heads", (json_int_t)e->heads,
			 "written", (json_int_t)e->written, "unchanged", (json_int_t)e->unchanged,
			 "removed", (json_int_t)e->removed);
}

void core_export_free(struct exporting *e)
{
	if (!e)
		return;
	map_free(e->wanted);
	free(e->listed);
	free(e->dir);
	closep(&e->dir_fd);
	free(e);
}

int core_export_begin(struct core *c, const char *dir, struct exporting **ret, struct err *err)
{
	struct exporting *e;
	int r;

	if (!dir || dir[0] != '/')
		return err_set(err, EINVAL, "an absolute path to export to would be right");
	r = core_ready(c, err);
	if (r == 0 && !c->policy)
		r = err_set(err, ENOENT, "no policy is published yet");
	if (r < 0)
		return r;
	e = mem_calloc(1, sizeof(*e));
	if (!e)
		return err_set(err, ENOMEM, "out of memory");
	*e = (struct exporting){.c = c, .dir = mem_strdup(dir), .dir_fd = -1, .err = err};
	r = e->dir ? make_folders(e) : err_set(err, ENOMEM, "out of memory");
	if (r == 0)
		r = begin(e);
	if (r < 0)
		core_export_free(e);
	else
		*ret = e;
	return r;
}

int core_export(struct core *c, const char *dir, json_t **ret, struct err *err)
{
	struct exporting *e;
	int r = core_export_begin(c, dir, &e, err);

	if (r < 0)
		return r;
	do {
		r = core_export_step(e, INT64_MAX, err);
	} while (r > 0);
	if (r == 0)
		*ret = core_export_result(e);
	core_export_free(e);
	return r < 0 ? r : *ret ? 0 : err_set(err, ENOMEM, "out of memory");
}
