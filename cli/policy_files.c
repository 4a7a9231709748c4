/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/policy_files.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/zone.h"
#include "cli/signed_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void policy_files_done(struct policy_files *f)
{
	for (size_t i = 0; i < f->count; i++) {
		free(f->entries[i].path);
		free(f->entries[i].name);
		free(f->entries[i].text);
	}
	free(f->entries);
	*f = (struct policy_files){0};
}

int policy_files_add(struct policy_files *f, char *take_path, char *take_name, char *take_text,
		     size_t len, struct err *err)
{
	struct policy_file file = {
		.path = take_path, .name = take_name, .text = take_text, .len = len};
	int r = vec_grow(&f->entries, &f->cap, f->count + 1, sizeof(*f->entries), POLICY_FILES_MAX);

	if (file.path == NULL || file.name == NULL || file.text == NULL)
		r = -ENOMEM;
	if (r < 0) {
		(void)err_set(err, -r, "%s: %s", file.path != NULL ? file.path : "policy",
			      r == -E2BIG ? "too many files" : strerror(-r));
		free(file.path);
		free(file.name);
		free(file.text);
		return r;
	}
	f->total += len;
	f->entries[f->count++] = file;
	return 0;
}

static int add_file(struct policy_files *f, const char *path, const char *name, struct err *err)
{
	char *text;
	size_t len;
	int r = file_read(AT_FDCWD, path, POLICY_TEXT_MAX - f->total, &text, &len, err);

	if (r < 0)
		return r;
	return policy_files_add(f, mem_strdup(path), mem_strdup(name), text, len, err);
}

/* ---- directories ---- */

struct walk {
	struct policy_files *files;
	bool nested;
	struct err *err;
};

static int visible(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static int walk_directory(const struct walk *w, const char *dir, const char *prefix,
			  unsigned depth);

static int walk_entry(const struct walk *w, const char *dir, const char *prefix, const char *name,
		      unsigned depth)
{
	CLEANUP(freep) char *path = mem_printf("%s/%s", dir, name);
	CLEANUP(freep) char *flat = mem_printf("%s%s", prefix, name);
	CLEANUP(freep) char *below = NULL;
	struct stat st;

	if (path == NULL || flat == NULL)
		return err_set(w->err, ENOMEM, "out of memory");
	if (stat(path, &st) < 0)
		return err_set(w->err, errno, "%s: %s", path, strerror(errno));
	if (S_ISDIR(st.st_mode)) {
		if (depth == POLICY_DIRS_MAX)
			return err_set(w->err, E2BIG, "%s: directories nested deeper than %d", path,
				       POLICY_DIRS_MAX);
		below = mem_printf("%s.", flat);
		return below != NULL ? walk_directory(w, path, below, depth + 1)
				     : err_set(w->err, ENOMEM, "out of memory");
	}
	if (!str_ends(name, ".yaml"))
		return 0;
	if (depth > 0 && !w->nested)
		return err_set(w->err, EINVAL,
			       "%s: an agent's directory has no directories of policy in it; the "
			       "file one level up, or signed documents (bailiwick sign) would be "
			       "right",
			       path);
	return add_file(w->files, path, flat, w->err);
}

static int walk_directory(const struct walk *w, const char *dir, const char *prefix, unsigned depth)
{
	struct dirent **names = NULL;
	int count = scandir(dir, &names, visible, alphasort), r = 0;

	if (count < 0)
		return err_set(w->err, errno, "%s: %s", dir, strerror(errno));
	for (int i = 0; i < count; i++) {
		if (r == 0)
			r = walk_entry(w, dir, prefix, names[i]->d_name, depth);
		free(names[i]);
	}
	free(names);
	return r;
}

/* Names become names of blobs, and of files at the agent: there can be only one of each. */
static int check_names(const struct policy_files *f, size_t first, struct err *err)
{
	for (size_t i = first; i < f->count; i++) {
		for (size_t j = first; j < i; j++) {
			if (str_eq(f->entries[i].name, f->entries[j].name))
				return err_set(err, EEXIST,
					       "%s and %s would both be called %s; another name "
					       "for one of them would be right",
					       f->entries[j].path, f->entries[i].path,
					       f->entries[i].name);
		}
	}
	return 0;
}

static int read_directory(struct policy_files *f, const char *dir, bool nested, struct err *err)
{
	const struct walk w = {.files = f, .nested = nested, .err = err};
	size_t first = f->count;
	int r = walk_directory(&w, dir, "", 0);

	if (r == 0)
		r = check_names(f, first, err);
	if (r < 0 || f->count > first)
		return r;
	if (signed_tree_is(dir))
		return err_set(err, EINVAL,
			       "%s: signed documents, which no directory's policy is; bailiwick "
			       "apply --offline %s would be right",
			       dir, dir);
	return err_set(err, ENOENT, "%s: no policy here; files named *.yaml would be right", dir);
}

int policy_files_read(struct policy_files *f, const char *path, bool nested, struct err *err)
{
	CLEANUP(freep) char *dir = NULL;
	const char *slash = strrchr(path, '/');
	struct stat st;
	size_t len = strlen(path);

	if (stat(path, &st) < 0)
		return err_set(err, errno, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return add_file(f, path, slash != NULL ? slash + 1 : path, err);
	while (len > 1 && path[len - 1] == '/')
		len--;
	dir = mem_printf("%.*s/policy", (int)len, path);
	if (dir == NULL || len > PATH_MAX)
		return err_set(err, ENOMEM, "out of memory");
	if (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode))
		dir[len] = '\0';
	return read_directory(f, dir, nested, err);
}

/* A host without the tz database cannot tell; agents and controllers look again. */
static bool zone_may_exist(void *user, const char *zone)
{
	(void)user;
	return zone_known(zone) || !zone_known("Etc/UTC");
}

int policy_files_check(const struct policy_files *f, enum policy_names names, struct wall now,
		       struct policy **ret, struct err *err)
{
	static const struct policy_features features = {.attested = true,
							.zone_known = zone_may_exist};
	CLEANUP(policy_freep) struct policy *p = policy_new();
	int r = p != NULL ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < f->count; i++)
		r = policy_add_text(
			p, names == POLICY_BY_NAME ? f->entries[i].name : f->entries[i].path,
			f->entries[i].text, f->entries[i].len);
	if (r == 0)
		r = policy_finish(p, &features, now);
	if (r < 0 && r != -EINVAL)
		return err_set(err, -r, "policy: %s", strerror(-r));
	*ret = TAKE_PTR(p);
	return r;
}
