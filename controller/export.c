/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The static export: DIR/v1/{manifests,blobs/sha256,heads}, the same bytes that the URLs give.
 * Everything is written beside and renamed; a file whose bytes are there already is left alone, so
 * a web server's ETags hold. Blobs and views come first, then manifests, then heads, with the disk
 * in step between them: no head ever points to what is not there.
 *
 * What nothing points to any more is taken away when it is older than a head lives: a node that
 * holds such a head still finds everything. The last three revisions stay in any case.
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

struct exporting {
	struct core *c;
	const char *dir;
	int dir_fd;
	struct map *wanted; /* paths that stay */
	bool *listed;       /* nodes */
	size_t listed_count;
	size_t written, unchanged, removed, heads, views;
	int64_t revisions[REVISIONS_KEPT];
	size_t revision_count;
	struct err *err;
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

static int put_views(struct exporting *e)
{
	struct core *c = e->c;
	int r = 0;

	for (uint32_t i = 0; i < views_node_count(c->views) && r == 0; i++) {
		if (!exported(e, i))
			continue;
		r = head_make_current(c, i, e->err);
		if (r == 0)
			r = put_blob(e, views_node_at(c->views, i)->name,
				     c->nodes[i]->head.view_sha256);
		e->views++;
	}
	return r;
}

static int put_heads(struct exporting *e)
{
	struct core *c = e->c;
	char path[STATIC_PATH_MAX];
	int r = 0;

	for (uint32_t i = 0; i < views_node_count(c->views) && r == 0; i++) {
		const struct head_state *h = exported(e, i) ? &c->nodes[i]->head : NULL;

		if (!h || !h->envelope)
			continue;
		r = put(e, static_path_head(path, views_node_at(c->views, i)->name), h->envelope,
			h->envelope_len);
		e->heads++;
	}
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

static int put_everything(struct exporting *e)
{
	int r;

	r = store_ask(e->c->store, STORE_MANIFESTS, take_revision, e, e->err,
		      store_int(REVISIONS_KEPT));
	for (size_t i = 0; i < e->revision_count && r >= 0; i++)
		r = put_policy_blobs(e, e->revisions[i]);
	if (r >= 0)
		r = put_views(e);
	for (size_t i = 0; i < e->revision_count && r >= 0; i++)
		r = put_manifest(e, e->revisions[i]);
	/* Numbers that go out must not come again: saved before anybody can fetch them. */
	if (r >= 0)
		r = heads_save(e->c, e->err);
	if (r >= 0)
		r = in_step(e);
	if (r >= 0)
		r = put_heads(e);
	if (r >= 0)
		r = in_step(e);
	return r < 0 ? r : 0;
}

int core_export(struct core *c, const char *dir, json_t **ret, struct err *err)
{
	struct exporting e = {.c = c, .dir = dir, .dir_fd = -1, .err = err};
	int r;

	if (!dir || dir[0] != '/')
		return err_set(err, EINVAL, "an absolute path to export to would be right");
	r = core_ready(c, err);
	if (r == 0 && !c->policy)
		r = err_set(err, ENOENT, "no policy is published yet");
	if (r < 0)
		return r;
	e.wanted = map_new((size_t)3 * VIEWS_NODES_MAX, NULL);
	e.listed = core_nodes_listed(c, &e.listed_count);
	r = e.wanted && e.listed ? make_folders(&e) : err_set(err, ENOMEM, "out of memory");
	if (r == 0)
		r = put_everything(&e);
	if (r == 0) {
		prune_folder(&e, "v1/heads");
		prune_folder(&e, "v1/manifests");
		prune_folder(&e, "v1/blobs/sha256");
		*ret = json_pack("{s:i,s:s,s:I,s:I,s:I,s:I,s:I}", "version", 1, "dir", dir,
				 "revision", (json_int_t)c->manifest.revision, "heads",
				 (json_int_t)e.heads, "written", (json_int_t)e.written, "unchanged",
				 (json_int_t)e.unchanged, "removed", (json_int_t)e.removed);
		r = *ret ? 0 : err_set(err, ENOMEM, "out of memory");
	}
	map_free(e.wanted);
	free(e.listed);
	closep(&e.dir_fd);
	return r;
}
