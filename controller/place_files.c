/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/place_files.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/core_parts.h"
#include "rules/policy_grammar.h"
#include "rules/yaml_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_LEN_MAX 256
#define KEY_LEN_MAX  2200 /* a path and a node */

struct entry {
	char *identity, *node;
	struct addr *addresses;
	size_t count;
};

struct reading {
	struct core *c;
	const char *file;
	struct entry *entries;
	size_t count, cap;
	struct map *seen; /* "identity node" -> entry number + 1 */
	struct err *err;
	int r;
};

static void entry_free(struct entry *e)
{
	free(e->identity);
	free(e->node);
	free(e->addresses);
}

static void reading_done(struct reading *d)
{
	for (size_t i = 0; i < d->count; i++)
		entry_free(&d->entries[i]);
	free(d->entries);
	map_free(d->seen);
}

/* --- one file -------------------------------------------------------------------------------- */

/* The first mistake counts. */
static int fault(struct reading *d, const struct yaml_tree_node *at, const char *text)
{
	if (d->r == 0)
		d->r = err_set(d->err, EINVAL, "%s:%u:%u: %s", d->file, at ? at->line : 1,
			       at ? at->column : 1, text);
	return d->r;
}

static void on_yaml_error(void *user, uint32_t line, uint32_t column, const char *message,
			  const char *advice)
{
	struct reading *d = user;

	if (d->r == 0)
		d->r = err_set(d->err, EINVAL, "%s:%u:%u: %s%s%s", d->file, line, column, message,
			       advice ? "; " : "", advice ? advice : "");
}

static const char *scalar(struct reading *d, const struct yaml_tree_node *map, const char *key)
{
	const struct yaml_tree_node *n = yaml_tree_get(map, key);
	char text[64];

	if (n && n->kind == YAML_TREE_SCALAR)
		return n->text;
	(void)snprintf(text, sizeof(text), "'%s' is missing; a text would be right", key);
	(void)fault(d, n ? n : map, text);
	return NULL;
}

static void read_addresses(struct reading *d, const struct yaml_tree_node *map, struct entry *e)
{
	const struct yaml_tree_node *list = yaml_tree_get(map, "addresses");
	size_t cap = 0;

	if (!list)
		return;
	if (list->kind != YAML_TREE_LIST)
		(void)fault(d, list, "'addresses' is no list; [10.0.0.5] would be one");
	for (const struct yaml_tree_node *n = yaml_tree_first(list); n && d->r == 0;
	     n = yaml_tree_next(n)) {
		if (vec_grow(&e->addresses, &cap, e->count + 1, sizeof(*e->addresses),
			     VIEW_ADDRESSES_MAX) < 0)
			(void)fault(d, n, "too many addresses");
		else if (n->kind != YAML_TREE_SCALAR ||
			 addr_parse(n->text, &e->addresses[e->count]) < 0)
			(void)fault(d, n, "not an address; 10.0.0.5 would be one");
		else
			e->count++;
	}
}

static void only_known(struct reading *d, const struct yaml_tree_node *map,
		       const char *const *known, size_t count)
{
	for (const struct yaml_tree_node *n = yaml_tree_first(map); n && d->r == 0;
	     n = yaml_tree_next(n)) {
		bool found = false;

		for (size_t i = 0; i < count && !found; i++)
			found = str_eq(n->key, known[i]);
		if (!found)
			(void)fault(d, n, "unknown key");
	}
}

static int entry_once(struct reading *d, const struct yaml_tree_node *at, const struct entry *e)
{
	char key[KEY_LEN_MAX];

	(void)snprintf(key, sizeof(key), "%s %s", e->identity, e->node);
	if (map_get_str(d->seen, key))
		return fault(d, at,
			     "this identity is placed on this node already; one entry with "
			     "all its addresses would be right");
	return map_put_str(d->seen, key, d) < 0 ? fault(d, at, "out of memory") : 0;
}

static void judge_entry(struct reading *d, const struct yaml_tree_node *at, struct entry *e)
{
	struct err why = {{0}};

	if (d->r < 0)
		return;
	if (!node_name_ok(e->node))
		(void)fault(d, at, "not a node name");
	else if (path_fault(e->identity, d->c->trust_domain))
		(void)fault(d, at, "not the path of an identity");
	/* Bounds can be known only with a policy; until then the entry waits. */
	else if (d->c->policy && views_check_place(d->c->views, e->identity, e->node, e->addresses,
						   e->count, &why) < 0)
		(void)fault(d, at, why.text);
	else
		(void)entry_once(d, at, e);
}

static void read_entry(struct reading *d, const struct yaml_tree_node *map)
{
	static const char *const known[] = {"identity", "node", "addresses"};
	const char *identity, *node;
	struct entry *e;

	if (map->kind != YAML_TREE_MAP) {
		(void)fault(d, map, "not an entry; {identity: PATH, node: NODE} would be one");
		return;
	}
	only_known(d, map, known, ARRAY_LEN(known));
	identity = d->r == 0 ? scalar(d, map, "identity") : NULL;
	node = d->r == 0 ? scalar(d, map, "node") : NULL;
	if (d->r < 0)
		return;
	if (vec_grow(&d->entries, &d->cap, d->count + 1, sizeof(*d->entries), PLACE_ENTRIES_MAX) <
	    0) {
		(void)fault(d, map, "too many placements");
		return;
	}
	e = &d->entries[d->count++];
	e->identity = mem_strdup(identity);
	e->node = mem_strdup(node);
	if (!e->identity || !e->node) {
		(void)fault(d, map, "out of memory");
		return;
	}
	read_addresses(d, map, e);
	judge_entry(d, map, e);
}

static void read_tree(struct reading *d, const struct yaml_tree *tree)
{
	static const char *const known[] = {"placements"};
	const struct yaml_tree_node *list;

	if (d->r < 0 || !tree->root)
		return;
	if (tree->root->kind != YAML_TREE_MAP) {
		(void)fault(d, tree->root, "not a map; 'placements: [...]' would be right");
		return;
	}
	only_known(d, tree->root, known, ARRAY_LEN(known));
	list = yaml_tree_get(tree->root, "placements");
	if (!list || list->kind != YAML_TREE_LIST) {
		(void)fault(d, list ? list : tree->root, "'placements' is no list");
		return;
	}
	for (const struct yaml_tree_node *n = yaml_tree_first(list); n && d->r == 0;
	     n = yaml_tree_next(n))
		read_entry(d, n);
}

static int read_file(struct reading *d, int dir_fd, const char *name)
{
	const struct yaml_report report = {on_yaml_error, d};
	CLEANUP(freep) char *text = NULL;
	struct yaml_tree tree = {0};
	size_t len;
	int r;

	d->file = name;
	r = file_read(dir_fd, name, PLACE_FILE_MAX, &text, &len, d->err);
	if (r < 0)
		return r;
	r = yaml_tree_parse(text, len, &report, &tree);
	if (r < 0)
		r = err_set(d->err, ENOMEM, "%s: out of memory", name);
	else
		read_tree(d, &tree);
	yaml_tree_done(&tree);
	return r < 0 ? r : d->r;
}

/* --- the folder ------------------------------------------------------------------------------ */

struct names {
	char strange[NAME_LEN_MAX]; /* one that is no regular file */
	char (*at)[NAME_LEN_MAX];
	size_t count, cap;
	uint64_t digest; /* of names, sizes, times; order does not matter */
};

static bool is_ours(const char *name)
{
	return name[0] != '.' && (str_ends(name, ".yaml") || str_ends(name, ".json"));
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void add_name(struct names *n, int dir_fd, const char *name)
{
	char text[NAME_LEN_MAX + 128];
	struct stat st;

	if (!is_ours(name) || strlen(name) >= NAME_LEN_MAX ||
	    fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    vec_grow(&n->at, &n->cap, n->count + 1, sizeof(*n->at), PLACE_FILES_MAX) < 0)
		return;
	(void)snprintf(text, sizeof(text), "%s %" PRId64 " %" PRId64 ".%ld %" PRIu64, name,
		       (int64_t)st.st_size, (int64_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
		       (uint64_t)st.st_ino);
	n->digest += hash_bytes(text, strlen(text));
	if (!S_ISREG(st.st_mode))
		(void)snprintf(n->strange, NAME_LEN_MAX, "%s", name);
	(void)snprintf(n->at[n->count++], NAME_LEN_MAX, "%s", name);
}

/* Without the folder nothing is placed by files. */
static int list_folder(const struct core *c, int *ret_dir, struct names *n)
{
	char path[CORE_PATH_MAX];
	struct dirent *e;
	DIR *dir;
	int copy;

	if (snprintf(path, sizeof(path), "%s/%s", c->dir, PLACE_FILES_DIR) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	*ret_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	n->digest = 1;
	if (*ret_dir < 0)
		return 0;
	copy = openat(*ret_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = copy >= 0 ? fdopendir(copy) : NULL;
	if (!dir) {
		closep(&copy);
		return -EIO;
	}
	while ((e = readdir(dir)) != NULL)
		add_name(n, *ret_dir, e->d_name);
	(void)closedir(dir);
	if (n->count > 0)
		qsort(n->at, n->count, sizeof(*n->at), by_name);
	return 0;
}

/* --- against what was in force ---------------------------------------------------------------- */

struct orders {
	struct place_order *at;
	size_t count, cap;
};

static int order_add(struct orders *o, const struct place_order *order)
{
	int r = vec_grow(&o->at, &o->cap, o->count + 1, sizeof(*o->at),
			 (size_t)2 * PLACE_ENTRIES_MAX);

	if (r == 0)
		o->at[o->count++] = *order;
	return r;
}

static const struct place *file_place(const struct core *c, const struct entry *e)
{
	const struct place_identity *id = views_find_identity(c->views, e->identity);
	uint32_t node = views_find_node(c->views, e->node);

	for (size_t i = 0; id && i < id->place_count; i++)
		if (id->places[i].source == PLACE_FILE && id->places[i].node == node)
			return &id->places[i];
	return NULL;
}

static bool same_place(const struct place *p, const struct entry *e)
{
	if (!p || p->address_count != e->count)
		return false;
	for (size_t i = 0; i < e->count; i++)
		if (!addr_eq(&p->addresses[i], &e->addresses[i]))
			return false;
	return true;
}

/* New and changed ones, and those that no file names any more. */
static int compare(const struct reading *d, struct orders *o)
{
	const struct place_identity *id;
	char key[KEY_LEN_MAX];
	int r = 0;

	for (size_t i = 0; i < d->count && r == 0; i++) {
		const struct entry *e = &d->entries[i];

		if (!same_place(file_place(d->c, e), e))
			r = order_add(o, &(struct place_order){e->identity, e->node, e->addresses,
							       e->count, false});
	}
	for (uint32_t i = 0; (id = views_identity_at(d->c->views, i)) && r == 0; i++) {
		for (size_t j = 0; j < id->place_count && r == 0; j++) {
			const char *node = views_node_at(d->c->views, id->places[j].node)->name;

			(void)snprintf(key, sizeof(key), "%s %s", id->path, node);
			if (id->places[j].source == PLACE_FILE && !map_get_str(d->seen, key))
				r = order_add(o, &(struct place_order){.identity = id->path,
								       .node = node,
								       .remove = true});
		}
	}
	return r;
}

static int write_orders(struct core *c, const struct orders *o, struct err *err)
{
	json_t *detail = json_pack("{s:I}", "changes", (json_int_t)o->count);
	int r;

	r = core_write_begin(c, "file", "place-files", PLACE_FILES_DIR, detail, err);
	json_decref(detail);
	if (r < 0)
		return r;
	for (size_t i = 0; i < o->count && r >= 0; i++)
		r = place_store(c, &o->at[i], PLACE_FILE, err);
	return core_write_end(c, r, err);
}

static int apply(struct reading *d)
{
	struct orders o = {0};
	int r;

	r = compare(d, &o);
	if (r < 0)
		r = err_set(d->err, -r, "%s: %s", PLACE_FILES_DIR, strerror(-r));
	if (r == 0 && o.count > 0)
		r = write_orders(d->c, &o, d->err);
	for (size_t i = 0; i < o.count && r == 0; i++)
		(void)place_apply(d->c, &o.at[i], PLACE_FILE);
	if (r == 0 && o.count > 0)
		(void)heads_changed(d->c, false);
	free(o.at);
	return r;
}

static int read_all(struct reading *d, int dir_fd, const struct names *n)
{
	int r = 0;

	/* Changes behind a link would not be seen. */
	if (n->strange[0] != '\0')
		return err_set(d->err, EINVAL, "%s: not a regular file; a copy would be right",
			       n->strange);
	d->seen = map_new(PLACE_ENTRIES_MAX, NULL);
	if (!d->seen)
		return err_set(d->err, ENOMEM, "out of memory");
	for (size_t i = 0; i < n->count && r == 0; i++)
		r = read_file(d, dir_fd, n->at[i]);
	return r == 0 ? apply(d) : r;
}

void place_files_tick(struct core *c)
{
	struct place_files *f = &c->files;
	CLEANUP(closep) int dir_fd = -1;
	struct names n = {0};
	struct reading d = {.c = c};
	struct err err = {{0}};
	int r;

	d.err = &err;
	r = list_folder(c, &dir_fd, &n);
	/* Another policy is another judgement of the same files. */
	n.digest += c->manifest.revision;
	if (r == 0 && n.digest != f->seen) {
		r = read_all(&d, dir_fd, &n);
		/* A store that was busy is tried again; a mistake waits for another file. */
		f->seen = r == 0 || r == -EINVAL ? n.digest : 0;
		if (r < 0 && !str_eq(err.text, f->fault.text))
			log_warn("controller: placements: %s; those of the last good reading stay",
				 err.text);
		f->failed = r < 0;
		f->fault = err;
		f->applied = d.count;
	}
	reading_done(&d);
	free(n.at);
}
