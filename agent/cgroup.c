/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/cgroup.h"

#include "agent/cgroup_watch.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MOUNTINFO_MAX (4U << 20)
#define FDS_MAX       256  /* directories that are kept open */
#define FILEID_KERNFS 0xfe /* linux/exportfs.h, not exported to user space */

struct cgroup_tree {
	struct cgroup_mount mount;
	int mount_fd;
	char *mount_real; /* what /proc/self/fd says of mount_fd */
	char *root_path;  /* below the mount */
	struct cgroup *root;
	struct map *by_id, *by_path;
	uint64_t above[CGROUP_LEVEL_MAX]; /* what holds the root, by level */
	uint64_t above_of;                /* the root that this was found for; 0: for none */
	struct cgroup_watcher *watcher;
	const struct cgroup_handler *handler;
	uint64_t lost;
	uint32_t fd_count;
	bool overflow;
};

static struct cgroup *look(struct cgroup_tree *t, const char *path, bool *ret_added);

/* --- nodes ----------------------------------------------------------------------------------- */

struct cgroup *cgroup_tree_root(const struct cgroup_tree *t)
{
	return t->root;
}

struct cgroup *cgroup_tree_find(const struct cgroup_tree *t, uint64_t id)
{
	return map_get(t->by_id, &id, sizeof(id));
}

const char *cgroup_below_root_path(const struct cgroup_tree *t, const char *path)
{
	size_t len = strlen(t->root_path);

	return len > 0 && path[len] == '/' ? path + len + 1 : path + len;
}

const char *cgroup_below_root(const struct cgroup_tree *t, const struct cgroup *c)
{
	return cgroup_below_root_path(t, c->path);
}

static void node_free(struct cgroup *c)
{
	closep(&c->fd);
	free(c->path);
	free(c->data);
	free(c);
}

static void unlink_node(struct cgroup_tree *t, struct cgroup *c)
{
	if (c->previous != NULL)
		c->previous->next = c->next;
	else if (c->parent != NULL)
		c->parent->children = c->next;
	else
		t->root = NULL;
	if (c->next != NULL)
		c->next->previous = c->previous;
}

static void remove_node(struct cgroup_tree *t, struct cgroup *c)
{
	struct cgroup *next;

	for (struct cgroup *child = c->children; child != NULL; child = next) {
		next = child->next;
		remove_node(t, child);
	}
	t->handler->removed(t->handler->user, c);
	cgroup_watcher_del(t->watcher, &c->directory);
	cgroup_watcher_del(t->watcher, &c->events);
	(void)map_del(t->by_id, &c->id, sizeof(c->id));
	(void)map_del_str(t->by_path, c->path);
	unlink_node(t, c);
	t->fd_count -= c->fd >= 0;
	node_free(c);
}

static int index_node(struct cgroup_tree *t, struct cgroup *c)
{
	int r = map_put(t->by_id, &c->id, sizeof(c->id), c);

	if (r < 0)
		return r;
	r = map_put_str(t->by_path, c->path, c);
	if (r < 0)
		(void)map_del(t->by_id, &c->id, sizeof(c->id));
	return r;
}

static struct cgroup *add_node(struct cgroup_tree *t, struct cgroup *parent, const char *path,
			       const struct stat *st)
{
	struct cgroup *c = mem_calloc(1, sizeof(*c));

	if (c == NULL)
		goto lost;
	c->directory = (struct cgroup_watch){.cgroup = c, .wd = -1};
	c->events = (struct cgroup_watch){.cgroup = c, .wd = -1, .populated = true};
	c->fd = -1;
	c->id = st->st_ino;
	c->owner = st->st_uid;
	c->path = mem_strdup(path);
	c->data = mem_calloc(1, t->handler->data_size);
	if (c->path == NULL || c->data == NULL || index_node(t, c) < 0) {
		node_free(c);
		goto lost;
	}
	c->parent = parent;
	if (parent == NULL) {
		t->root = c;
		return c;
	}
	c->delegated = parent->delegated || parent->owner != 0;
	c->next = parent->children;
	if (c->next != NULL)
		c->next->previous = c;
	parent->children = c;
	return c;
lost:
	t->lost++;
	return NULL;
}

/* --- looking --------------------------------------------------------------------------------- */

static int stat_path(const struct cgroup_tree *t, const char *path, struct stat *ret)
{
	if (fstatat(t->mount_fd, path[0] == '\0' ? "." : path, ret, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return S_ISDIR(ret->st_mode) ? 0 : -ENOTDIR;
}

static bool descend(const struct cgroup_tree *t, const struct cgroup *c)
{
	return c->level < CGROUP_LEVEL_MAX && t->handler->descend(t->handler->user, c);
}

static bool join(char ret_path[CGROUP_PATH_MAX], const char *parent, const char *name)
{
	int n = snprintf(ret_path, CGROUP_PATH_MAX, "%s%s%s", parent, parent[0] != '\0' ? "/" : "",
			 name);

	return n >= 0 && n < CGROUP_PATH_MAX;
}

/* Reads the directory; every child found is marked as walked. `fresh` has no older children. */
static void read_children(struct cgroup_tree *t, struct cgroup *c, bool fresh);

static void walk_node(struct cgroup_tree *t, struct cgroup *c)
{
	struct cgroup *next;

	if (descend(t, c)) {
		/* Watched first, read then: what appears in between is seen twice, not never. */
		cgroup_watcher_add(t->watcher, &c->directory, c->path);
		read_children(t, c, false);
	} else {
		cgroup_watcher_del(t->watcher, &c->directory);
		for (struct cgroup *child = c->children; child != NULL; child = child->next)
			child->walked = false;
	}
	for (struct cgroup *child = c->children; child != NULL; child = next) {
		next = child->next;
		if (!child->walked)
			remove_node(t, child);
	}
}

static void read_child(struct cgroup_tree *t, struct cgroup *c, const char *name, bool fresh)
{
	char path[CGROUP_PATH_MAX];
	struct cgroup *child;
	bool added = false;

	if (!join(path, c->path, name)) {
		t->lost++;
		return;
	}
	child = look(t, path, &added);
	if (child == NULL)
		return;
	child->walked = true;
	if (!fresh && !added)
		walk_node(t, child);
}

static void read_children(struct cgroup_tree *t, struct cgroup *c, bool fresh)
{
	const struct dirent *e;
	DIR *dir;
	int fd = openat(t->mount_fd, c->path[0] == '\0' ? "." : c->path,
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (struct cgroup *child = c->children; child != NULL; child = child->next)
		child->walked = false;
	if (fd < 0)
		return; /* gone meanwhile; its parent hears of it */
	dir = fdopendir(fd);
	if (dir == NULL) {
		(void)close(fd);
		t->lost++;
		return;
	}
	while ((e = readdir(dir)) != NULL)
		if (e->d_type == DT_DIR && !str_eq(e->d_name, ".") && !str_eq(e->d_name, ".."))
			read_child(t, c, e->d_name, fresh);
	(void)closedir(dir);
}

static struct cgroup *parent_of(const struct cgroup_tree *t, const char *path)
{
	char parent[CGROUP_PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t len = slash != NULL ? (size_t)(slash - path) : 0;

	memcpy(parent, path, len);
	parent[len] = '\0';
	return map_get_str(t->by_path, parent);
}

static uint8_t level_of(const struct cgroup_tree *t, const char *path)
{
	unsigned level = t->mount.level;

	if (path[0] != '\0')
		level++;
	for (; *path != '\0' && level < UINT8_MAX; path++)
		if (*path == '/')
			level++;
	return (uint8_t)level;
}

/*
 * A manager makes the cgroup as root, and gives it to the user when it starts his process, which is
 * before he can make any cgroup below (R39).
 */
static void look_at_owner(const struct cgroup_tree *t, struct cgroup *c)
{
	struct stat st;

	if (c->owner == 0 && stat_path(t, c->path, &st) == 0 && st.st_ino == c->id)
		c->owner = st.st_uid;
}

/*
 * Makes what is known of one path agree with the file system. Returns its node, or NULL when there
 * is none or it is not to be known.
 */
static struct cgroup *look(struct cgroup_tree *t, const char *path, bool *ret_added)
{
	struct cgroup *known = map_get_str(t->by_path, path), *parent = NULL;
	struct stat st;
	int r = stat_path(t, path, &st);

	if (known != NULL && r == 0 && known->id == st.st_ino)
		return known;
	/* Gone, or made again under the same name: then it is another cgroup. */
	if (known != NULL)
		remove_node(t, known);
	if (r < 0)
		return NULL;
	if (!str_eq(path, t->root_path)) {
		parent = parent_of(t, path);
		if (parent == NULL || !descend(t, parent))
			return NULL;
		look_at_owner(t, parent);
	}
	known = add_node(t, parent, path, &st);
	if (known == NULL)
		return NULL;
	known->level = level_of(t, path);
	if (ret_added != NULL)
		*ret_added = true;
	t->handler->added(t->handler->user, known);
	if (descend(t, known)) {
		cgroup_watcher_add(t->watcher, &known->directory, known->path);
		read_children(t, known, true);
	}
	return known;
}

int cgroup_tree_walk(struct cgroup_tree *t)
{
	uint64_t lost = t->lost;
	bool added = false;

	t->overflow = false;
	if (look(t, t->root_path, &added) != NULL && !added)
		walk_node(t, t->root);
	return t->lost != lost ? -E2BIG : 0;
}

bool cgroup_tree_root_changed(const struct cgroup_tree *t)
{
	struct stat st;
	int r = stat_path(t, t->root_path, &st);

	if (t->root == NULL)
		return r == 0;
	return r < 0 || st.st_ino != t->root->id;
}

/* --- events ---------------------------------------------------------------------------------- */

static void on_entry(void *user, struct cgroup *parent, const char *name)
{
	struct cgroup_tree *t = user;
	char path[CGROUP_PATH_MAX];

	if (join(path, parent->path, name))
		(void)look(t, path, NULL);
}

static void on_entry_by_id(void *user, uint64_t parent, const char *name)
{
	struct cgroup *c = cgroup_tree_find(user, parent);

	if (c != NULL)
		on_entry(user, c, name);
}

static void on_populated(void *user, struct cgroup *c)
{
	struct cgroup_tree *t = user;
	CLEANUP(freep) char *text = NULL;
	char path[CGROUP_PATH_MAX];
	size_t len = 0;

	if (t->handler->populated == NULL || !join(path, c->path, "cgroup.events") ||
	    file_read(t->mount_fd, path, CGROUP_PATH_MAX, &text, &len, NULL) < 0)
		return;
	t->handler->populated(t->handler->user, c, strstr(text, "populated 1") != NULL);
}

/*
 * Given to a user only after cgroups were made in it, as by hand: from now on he may move his
 * processes between them, so those below are looked at as if they were new.
 */
static void on_attributes(void *user, struct cgroup *c)
{
	struct cgroup_tree *t = user;

	if (c->owner != 0)
		return;
	look_at_owner(t, c);
	if (c->owner == 0 || c->delegated)
		return;
	while (c->children != NULL)
		remove_node(t, c->children);
	read_children(t, c, true);
}

static void on_overflow(void *user)
{
	struct cgroup_tree *t = user;

	t->overflow = true;
}

static void on_drained(void *user)
{
	struct cgroup_tree *t = user;

	if (t->overflow)
		(void)cgroup_tree_walk(t);
	if (t->handler->settled != NULL)
		t->handler->settled(t->handler->user);
}

static const struct cgroup_watcher_handler watcher_handler = {
	.entry = on_entry,
	.entry_by_id = on_entry_by_id,
	.populated = on_populated,
	.attributes = on_attributes,
	.overflow = on_overflow,
	.drained = on_drained,
};

void cgroup_watch_populated(struct cgroup_tree *t, struct cgroup *c)
{
	char path[CGROUP_PATH_MAX];

	if (c->events.wd < 0 && join(path, c->path, "cgroup.events"))
		cgroup_watcher_add(t->watcher, &c->events, path);
}

/* --- ids and paths --------------------------------------------------------------------------- */

int cgroup_mount_fd(const struct cgroup_tree *t)
{
	return t->mount_fd;
}

static int read_fd_path(int fd, char *ret_path, size_t size)
{
	char link[64];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, ret_path, size);
	if (n < 0)
		return -errno;
	if ((size_t)n >= size)
		return -ENAMETOOLONG;
	ret_path[n] = '\0';
	return 0;
}

int cgroup_open(const struct cgroup_tree *t, uint64_t id)
{
	union {
		struct file_handle handle;
		char bytes[sizeof(struct file_handle) + sizeof(uint64_t)];
	} h = {.handle = {.handle_bytes = sizeof(uint64_t), .handle_type = FILEID_KERNFS}};
	int fd;

	memcpy(h.bytes + sizeof(struct file_handle), &id, sizeof(id));
	fd = open_by_handle_at(t->mount_fd, &h.handle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int cgroup_path_of(const struct cgroup_tree *t, uint64_t id, char *ret_path, size_t size)
{
	CLEANUP(closep) int fd = id != 0 ? cgroup_open(t, id) : -ESTALE;
	size_t mount_len = strlen(t->mount_real);
	char path[CGROUP_PATH_MAX];
	const char *below;
	struct stat st;
	int r;

	if (fd < 0)
		return fd;
	r = read_fd_path(fd, path, sizeof(path));
	if (r < 0)
		return r;
	if (strncmp(path, t->mount_real, mount_len) != 0 ||
	    (path[mount_len] != '/' && path[mount_len] != '\0'))
		return -EXDEV;
	below = path + mount_len + (path[mount_len] == '/' ? 1 : 0);
	/* A directory removed meanwhile has a path of words only. */
	if (stat_path(t, below, &st) < 0 || st.st_ino != id)
		return -ESTALE;
	if (strlen(below) >= size)
		return -ENAMETOOLONG;
	memcpy(ret_path, below, strlen(below) + 1);
	return 0;
}

/* "/sys/fs/cgroup/a/b/" or "a/b" -> "a/b"; false for paths that lead elsewhere. */
static bool below_mount(const struct cgroup_mount *m, const char *path, char ret[CGROUP_PATH_MAX])
{
	size_t mount_len = strlen(m->path), len = 0;

	if (strncmp(path, m->path, mount_len) == 0 &&
	    (path[mount_len] == '/' || path[mount_len] == '\0'))
		path += mount_len;
	while (*(path += strspn(path, "/")) != '\0') {
		size_t part = strcspn(path, "/");

		if (len + part + 2 > CGROUP_PATH_MAX || (part <= 2 && strspn(path, ".") >= part))
			return false;
		if (len > 0)
			ret[len++] = '/';
		memcpy(ret + len, path, part);
		len += part;
		path += part;
	}
	ret[len] = '\0';
	return true;
}

uint64_t cgroup_id_of(const struct cgroup_tree *t, const char *path)
{
	char below[CGROUP_PATH_MAX];
	struct stat st;

	if (!below_mount(&t->mount, path, below) || stat_path(t, below, &st) < 0)
		return 0;
	return st.st_ino;
}

/* Whether `path` is `ancestor` (of that length) or lies below it. */
static bool path_is_within(const char *path, const char *ancestor, size_t len)
{
	if (len == 0)
		return true;
	return strncmp(path, ancestor, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static size_t next_prefix(const char *path, size_t len)
{
	if (path[len] == '/')
		len++;
	return len + strcspn(path + len, "/");
}

/* By walking down the path. */
static void find_line(const struct cgroup_tree *t, const char *path, uint64_t *ret_ids,
		      size_t count)
{
	char prefix[CGROUP_PATH_MAX];
	size_t len = 0;

	memset(ret_ids, 0, count * sizeof(*ret_ids));
	while (path[len] != '\0') {
		uint8_t level;

		len = next_prefix(path, len);
		memcpy(prefix, path, len);
		prefix[len] = '\0';
		level = level_of(t, prefix);
		if (level <= count)
			ret_ids[level - 1] = cgroup_id_of(t, prefix);
	}
}

/* As long as the root is the same directory, so is everything that holds it. */
static void known_line(struct cgroup_tree *t, const struct cgroup *c, uint64_t *ret_ids,
		       size_t count)
{
	if (t->above_of != t->root->id) {
		find_line(t, t->root_path, t->above, ARRAY_LEN(t->above));
		t->above_of = t->root->id;
	}
	for (size_t i = 0; i < count; i++)
		ret_ids[i] = i < ARRAY_LEN(t->above) ? t->above[i] : 0;
	for (; c != NULL; c = c->parent)
		if (c->level > 0 && c->level <= count)
			ret_ids[c->level - 1] = c->id;
}

int cgroup_line_of(struct cgroup_tree *t, uint64_t id, char *ret_path, size_t size,
		   uint64_t *ret_ids, size_t count)
{
	const struct cgroup *c = cgroup_tree_find(t, id);
	int r;

	if (c == NULL) {
		r = cgroup_path_of(t, id, ret_path, size);
		if (r == 0)
			find_line(t, ret_path, ret_ids, count);
		return r;
	}
	if (strlen(c->path) >= size)
		return -ENAMETOOLONG;
	memcpy(ret_path, c->path, strlen(c->path) + 1);
	known_line(t, c, ret_ids, count);
	return 0;
}

static void locate_outside(const struct cgroup_tree *t, struct cgroup_cover *cover)
{
	char prefix[CGROUP_PATH_MAX];
	size_t len = 0;

	cover->outside = true;
	do {
		if (cover->path[len] == '\0')
			return; /* an ancestor of our root: no element can mean it and not us */
		len = next_prefix(cover->path, len);
	} while (path_is_within(t->root_path, cover->path, len));
	memcpy(prefix, cover->path, len);
	prefix[len] = '\0';
	cover->outside_level = level_of(t, prefix);
	if (cover->outside_level <= CGROUP_LEVEL_MAX)
		cover->outside_id = cgroup_id_of(t, prefix);
}

static struct cgroup *locate_below(struct cgroup_tree *t, const char *path)
{
	struct cgroup *c = look(t, t->root_path, NULL), *child;
	char prefix[CGROUP_PATH_MAX];
	size_t len = strlen(t->root_path);

	while (c != NULL && path[len] != '\0' && descend(t, c)) {
		len = next_prefix(path, len);
		memcpy(prefix, path, len);
		prefix[len] = '\0';
		child = look(t, prefix, NULL);
		if (child == NULL)
			break;
		c = child;
	}
	return c;
}

/*
 * Whether a known cgroup is still there. From its own directory that is one name to look up and not
 * every part of the path, each of which costs the kernel a lock: this is asked for every
 * connection. In a directory that was removed nothing is found, and what has the name by then is
 * another directory.
 */
static bool is_there(struct cgroup_tree *t, struct cgroup *c)
{
	struct stat st;
	int fd;

	if (c->fd >= 0)
		return fstatat(c->fd, "cgroup.procs", &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (stat_path(t, c->path, &st) < 0 || st.st_ino != c->id)
		return false;
	if (t->fd_count == FDS_MAX)
		return true;
	fd = openat(t->mount_fd, c->path[0] == '\0' ? "." : c->path,
		    O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return true;
	if (fstat(fd, &st) < 0 || st.st_ino != c->id) {
		(void)close(fd);
		return false;
	}
	c->fd = fd;
	t->fd_count++;
	return true;
}

int cgroup_tree_locate(struct cgroup_tree *t, uint64_t id, struct cgroup_cover *ret_cover)
{
	struct cgroup *c = cgroup_tree_find(t, id);
	int r;

	/* Field by field: the path is four kilobytes, and this is asked for every connection. */
	ret_cover->known = NULL;
	ret_cover->outside = false;
	ret_cover->outside_id = 0;
	ret_cover->outside_level = 0;
	ret_cover->path[0] = '\0';
	if (c != NULL) {
		memcpy(ret_cover->path, c->path, strlen(c->path) + 1);
		/* So do the paths above lead to what they did, and one look is enough. */
		if (is_there(t, c)) {
			ret_cover->known = c;
			return 0;
		}
	} else if ((r = cgroup_path_of(t, id, ret_cover->path, sizeof(ret_cover->path))) < 0)
		return r;
	if (!path_is_within(ret_cover->path, t->root_path, strlen(t->root_path))) {
		locate_outside(t, ret_cover);
		return 0;
	}
	ret_cover->known = locate_below(t, ret_cover->path);
	/* The node that was known may be gone, and its name be another cgroup's by now. */
	if (ret_cover->known == NULL || (c != NULL && ret_cover->known->id != id))
		return -ESTALE;
	return 0;
}

/* --- opening --------------------------------------------------------------------------------- */

static int find_mount(struct cgroup_tree *t, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	char real[CGROUP_PATH_MAX];
	struct statfs fs;
	size_t len = 0;
	int r = file_read(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, &len, err);

	if (r < 0)
		return r;
	r = cgroup_mount_parse(text, &t->mount);
	if (r < 0)
		return err_set(err, -r,
			       "cgroups: no cgroup2 file system is mounted where its root "
			       "can be seen; /sys/fs/cgroup would be right");
	t->mount_fd = open(t->mount.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->mount_fd < 0 || fstatfs(t->mount_fd, &fs) < 0)
		return err_set(err, errno, "cgroups: '%s': %s", t->mount.path, strerror(errno));
	if (fs.f_type != CGROUP2_SUPER_MAGIC)
		return err_set(err, EXDEV, "cgroups: something is mounted over '%s'",
			       t->mount.path);
	r = read_fd_path(t->mount_fd, real, sizeof(real));
	if (r < 0)
		return err_set(err, -r, "cgroups: '%s': %s", t->mount.path, strerror(-r));
	t->mount_real = mem_strdup(real);
	return t->mount_real == NULL ? err_set(err, ENOMEM, "cgroups: out of memory") : 0;
}

static int find_root(struct cgroup_tree *t, const char *root, struct err *err)
{
	char below[CGROUP_PATH_MAX] = "";
	struct stat st;
	int r;

	if (root != NULL && !str_eq(root, "auto") && !below_mount(&t->mount, root, below))
		return err_set(err, EINVAL, "cgroup_root: '%s' is no path below '%s'", root,
			       t->mount.path);
	r = stat_path(t, below, &st);
	if (r < 0)
		return err_set(err, -r,
			       "cgroup_root: '%s' below '%s': %s; a cgroup that exists, or auto, "
			       "would be right",
			       below, t->mount.path, strerror(-r));
	t->root_path = mem_strdup(below);
	return t->root_path == NULL ? err_set(err, ENOMEM, "cgroups: out of memory") : 0;
}

int cgroup_tree_open(const char *root, bool no_fanotify, sd_event *event,
		     const struct cgroup_handler *handler, struct cgroup_tree **ret_tree,
		     struct err *err)
{
	CLEANUP(cgroup_tree_freep) struct cgroup_tree *t = mem_calloc(1, sizeof(*t));
	int r;

	if (t == NULL)
		return err_set(err, ENOMEM, "cgroups: out of memory");
	t->mount_fd = -1;
	t->handler = handler;
	t->by_id = map_new(CGROUPS_MAX, NULL);
	t->by_path = map_new(CGROUPS_MAX, NULL);
	if (t->by_id == NULL || t->by_path == NULL)
		return err_set(err, ENOMEM, "cgroups: out of memory");
	r = find_mount(t, err);
	if (r == 0)
		r = find_root(t, root, err);
	if (r == 0)
		r = cgroup_watcher_new(t->mount_fd, t->mount.path, no_fanotify, event,
				       &watcher_handler, t, &t->watcher, err);
	if (r < 0)
		return r;
	*ret_tree = TAKE_PTR(t);
	return 0;
}

void cgroup_tree_free(struct cgroup_tree *t)
{
	if (t == NULL)
		return;
	if (t->root != NULL)
		remove_node(t, t->root);
	cgroup_watcher_free(t->watcher);
	map_free(t->by_id);
	map_free(t->by_path);
	if (t->mount_fd >= 0)
		(void)close(t->mount_fd);
	free(t->mount_real);
	free(t->root_path);
	free(t);
}

void cgroup_tree_freep(struct cgroup_tree **t)
{
	cgroup_tree_free(*t);
	*t = NULL;
}

void cgroup_tree_counters(const struct cgroup_tree *t, struct cgroup_counters *ret_counters)
{
	*ret_counters = (struct cgroup_counters){.known = map_count(t->by_id), .lost = t->lost};
	cgroup_watcher_counters(t->watcher, ret_counters);
}
