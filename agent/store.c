/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/store.h"

#include "agent/spare.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATE_TEXT_MAX   (16U << 20)
#define VIEW_KEPT_MAX    (64U << 20)
#define HISTORY_TEXT_MAX (16U << 20)
#define NUMBERS_TEXT_MAX (128U << 20)
#define STORE_MODE_DIR   0700
#define STORE_MODE_FILE  0600
#define STATE_FILE       "state.json"
#define POLICY_PATH_MAX  160 /* policy/REVISION/NAME */

struct store {
	int state_fd, run_fd;
	struct spare *spare;
	/* What could not be written last, and what would show that it can be again. */
	char *problem;
	char problem_name[NAME_MAX];
	size_t problem_len;
	bool problem_in_run;
};

static int open_dir(const char *path, mode_t mode, int *ret_fd, struct err *err)
{
	int r = dir_make(path, mode, err);

	if (r < 0)
		return r;
	*ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*ret_fd < 0)
		return err_set(err, errno, "%s: %s", path, strerror(errno));
	/* Two agents would undo each other's state, and take each other's control socket away. */
	if (flock(*ret_fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, errno,
			       errno == EWOULDBLOCK
				       ? "%s: another agent uses it; a directory of its own for "
					 "each would be right"
				       : "%s: cannot be locked",
			       path);
	return 0;
}

int store_open(const char *state_dir, const char *run_dir, struct store **ret, struct err *err)
{
	struct store *s = mem_calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(err, ENOMEM, "out of memory");
	s->state_fd = s->run_fd = -1;
	r = open_dir(state_dir, STORE_MODE_DIR, &s->state_fd, err);
	if (r >= 0)
		r = open_dir(run_dir, 0755, &s->run_fd, err);
	if (r >= 0)
		r = spare_open(s->run_fd, s->state_fd, &s->spare, err);
	if (r < 0) {
		store_free(s);
		return r;
	}
	/* On a disk that takes nothing each policy is refused by itself. */
	(void)spare_directory(s->state_fd, "policy", NULL);
	*ret = s;
	return 0;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	closep(&s->state_fd);
	closep(&s->run_fd);
	spare_free(s->spare);
	free(s->problem);
	free(s);
}

struct spare *store_spare(struct store *s)
{
	return s->spare;
}

int store_mend(struct store *s, void (*told)(void *user, const char *text), void *user,
	       struct err *err)
{
	return spare_mend(s->spare, s->state_fd, told, user, err);
}

const char *store_problem(const struct store *s)
{
	return s->problem;
}

/*
 * A failed write is remembered until the same one, or one as large in the same place, succeeds: a
 * full disk may still take what is small.
 */
static bool shows_it_is_over(const struct store *s, int dir_fd, const char *name, size_t len)
{
	return (dir_fd == s->run_fd) == s->problem_in_run &&
	       (len >= s->problem_len || str_eq(name, s->problem_name));
}

static int write_durable(struct store *s, int dir_fd, const char *name, const void *bytes,
			 size_t len, struct err *err)
{
	struct err local = {{0}};
	int r = file_write_durable(dir_fd, name, bytes, len, STORE_MODE_FILE, &local);

	if (r >= 0) {
		if (s->problem && shows_it_is_over(s, dir_fd, name, len))
			freep(&s->problem);
		return 0;
	}
	freep(&s->problem);
	s->problem = mem_printf("cannot write %s: %s", name, local.text);
	(void)snprintf(s->problem_name, sizeof(s->problem_name), "%s", name);
	s->problem_len = len;
	s->problem_in_run = dir_fd == s->run_fd;
	return err_set(err, -r, "cannot write %s: %s", name, local.text);
}

static int write_json(struct store *s, int dir_fd, const char *name, const json_t *value,
		      struct err *err)
{
	size_t len = 0;
	CLEANUP(freep) char *text = value ? json_text_lines(value, &len) : NULL;

	if (!text)
		return err_set(err, ENOMEM, "out of memory");
	return write_durable(s, dir_fd, name, text, len, err);
}

static int write_kept(struct store *s, const char *name, const void *bytes, size_t len,
		      struct err *err)
{
	int r = spare_write(s->spare, name, bytes, len, err);

	return r < 0 ? r : write_durable(s, s->state_fd, name, bytes, len, err);
}

static int read_kept(struct store *s, const char *name, size_t max, char **ret_text,
		     size_t *ret_len, struct err *err)
{
	return spare_or_file(s->spare, name, s->state_fd, name, max, ret_text, ret_len, err);
}

int store_text_write(struct store *s, const char *name, const char *text, size_t len,
		     struct err *err)
{
	return write_kept(s, name, text, len, err);
}

int store_text_read(struct store *s, const char *name, size_t max, char **ret_text, struct err *err)
{
	size_t len;

	return read_kept(s, name, max, ret_text, &len, err);
}

int store_json_write(struct store *s, const char *name, const json_t *value, struct err *err)
{
	size_t len = 0;
	CLEANUP(freep) char *text = value ? json_text_lines(value, &len) : NULL;

	if (!text)
		return err_set(err, ENOMEM, "out of memory");
	return write_kept(s, name, text, len, err);
}

int store_json_read(struct store *s, const char *name, json_t **ret, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	size_t len;
	int r = read_kept(s, name, STATE_TEXT_MAX, &text, &len, err);

	return r < 0 ? r : json_parse_strict(text, len, name, ret, err);
}

/* --- state -------------------------------------------------------------------------------- */

static void take_wall(struct json_object *o, const char *key, struct wall *ret)
{
	ret->s = json_take_int(o, key, 0, INT64_MAX);
}

static void may_digest(struct json_object *o, const char *key, char ret[SHA256_HEX_LEN])
{
	const char *text = json_may_string(o, key, SHA256_HEX_LEN - 1);

	(void)snprintf(ret, SHA256_HEX_LEN, "%s", text ? text : "");
}

static int take_borders(json_t *borders, struct store_state *ret, struct err *err)
{
	struct json_object o;

	if (!borders)
		return 0;
	json_object_begin(&o, borders, STATE_FILE, "borders", err);
	ret->borders = (uint64_t)json_take_int(&o, "revision", 1, INT64_MAX);
	may_digest(&o, "manifest", ret->borders_manifest);
	return json_finish(&o);
}

static int parse_state(const char *text, size_t len, struct store_state *ret, struct err *err)
{
	CLEANUP(json_decrefp) json_t *json = NULL;
	struct store_state state = {.known = true};
	struct json_object o;
	const char *mode, *before;
	json_t *borders;
	int r;

	r = json_parse_strict(text, len, STATE_FILE, &json, err);
	if (r < 0)
		return r;
	json_object_begin(&o, json, STATE_FILE, "", err);
	state.confirmed = (uint64_t)json_take_int(&o, "confirmed", 0, INT64_MAX);
	state.candidate = (uint64_t)json_take_int(&o, "candidate", 0, INT64_MAX);
	take_wall(&o, "falls_back", &state.falls_back);
	state.last_revision = (uint64_t)json_take_int(&o, "last_revision", 0, INT64_MAX);
	may_digest(&o, "confirmed_manifest", state.confirmed_manifest);
	may_digest(&o, "candidate_manifest", state.candidate_manifest);
	mode = json_take_string(&o, "mode", 16);
	before = json_take_string(&o, "mode_before", 16);
	take_wall(&o, "mode_until", &state.mode_until);
	state.view_sequence = (uint64_t)json_take_int(&o, "view_sequence", 0, INT64_MAX);
	take_wall(&o, "wall_highest", &state.wall_highest);
	borders = json_may_object(&o, "borders");
	r = json_finish(&o);
	if (r >= 0)
		r = take_borders(borders, &state, err);
	if (r >= 0 &&
	    (mode_parse(mode, &state.mode) < 0 || mode_parse(before, &state.mode_before) < 0))
		r = err_set(err, EBADMSG, STATE_FILE ": unknown mode");
	if (r >= 0)
		*ret = state;
	return r;
}

int store_state_read(struct store *s, struct store_state *ret, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	size_t len;
	int r = file_read(s->state_fd, STATE_FILE, STATE_TEXT_MAX, &text, &len, err);

	if (r == -ENOENT) {
		memset(ret, 0, sizeof(*ret));
		return 0;
	}
	return r < 0 ? r : parse_state(text, len, ret, err);
}

int store_state_copy(struct store *s, struct store_state *ret, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	size_t len;
	int r = spare_read(s->spare, STATE_FILE, STATE_TEXT_MAX, &text, &len);

	return r < 0 ? r : parse_state(text, len, ret, err);
}

/*
 * Unlike other files: whoever asks for a change is told that it failed where the disk does not take
 * this one, so the copy comes after it and says no more than it does.
 */
static int write_state(struct store *s, const json_t *json, struct err *err)
{
	size_t len = 0;
	CLEANUP(freep) char *text = json ? json_text_lines(json, &len) : NULL;
	int r;

	if (!text)
		return err_set(err, ENOMEM, "out of memory");
	r = write_durable(s, s->state_fd, STATE_FILE, text, len, err);
	if (r < 0)
		return r;
	r = spare_write(s->spare, STATE_FILE, text, len, err);
	if (r < 0)
		spare_remove(s->spare, STATE_FILE); /* it is older now */
	return r;
}

int store_state_write(struct store *s, const struct store_state *st, struct err *err)
{
	CLEANUP(json_decrefp)
	json_t *json =
		json_pack("{s:I,s:I,s:I,s:I,s:s,s:s,s:I,s:I,s:I,s:s,s:s}", "confirmed",
			  (json_int_t)st->confirmed, "candidate", (json_int_t)st->candidate,
			  "falls_back", (json_int_t)st->falls_back.s, "last_revision",
			  (json_int_t)st->last_revision, "mode", mode_name(st->mode), "mode_before",
			  mode_name(st->mode_before), "mode_until", (json_int_t)st->mode_until.s,
			  "view_sequence", (json_int_t)st->view_sequence, "wall_highest",
			  (json_int_t)st->wall_highest.s, "confirmed_manifest",
			  st->confirmed_manifest, "candidate_manifest", st->candidate_manifest);

	if (json && st->borders &&
	    json_object_set_new(json, "borders",
				json_pack("{s:I,s:s}", "revision", (json_int_t)st->borders,
					  "manifest", st->borders_manifest)) < 0)
		return err_set(err, ENOMEM, "out of memory");
	return write_state(s, json, err);
}

void store_state_aside(struct store *s)
{
	spare_aside(s->state_fd, STATE_FILE);
}

struct wall store_last_write(struct store *s)
{
	static const char *const names[] = {STATE_FILE, STORE_STATE_DAMAGED, "view.json",
					    "history"};
	struct wall last = {0};
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (fstatat(s->state_fd, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_mtim.tv_sec > last.s)
			last.s = st.st_mtim.tv_sec;
	return last;
}

void store_overlay_aside(struct store *s)
{
	spare_aside(s->state_fd, "overlay.json");
}

/* --- policies ----------------------------------------------------------------------------- */

void store_policy_done(struct store_policy *p)
{
	for (size_t i = 0; i < p->file_count; i++) {
		free(p->files[i].name);
		free(p->files[i].text);
	}
	free(p->files);
	memset(p, 0, sizeof(*p));
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct store_file *)a)->name, ((const struct store_file *)b)->name);
}

void store_policy_digest(struct store_policy *p)
{
	uint8_t digests[STORE_FILES_MAX][2][SHA256_LEN], whole[SHA256_LEN];
	int r = 0;

	/* Empty: two policies with unknown digests must not be taken for the same. */
	p->digest[0] = '\0';
	if (p->file_count > STORE_FILES_MAX)
		return;
	qsort(p->files, p->file_count, sizeof(*p->files), by_name);
	for (size_t i = 0; i < p->file_count && r >= 0; i++) {
		const struct store_file *f = &p->files[i];

		r = sha256(f->name, strlen(f->name), digests[i][0]);
		if (r >= 0)
			r = sha256(f->text, f->len, digests[i][1]);
	}
	if (r >= 0)
		r = sha256(digests, p->file_count * sizeof(digests[0]), whole);
	if (r >= 0)
		hex_format(whole, sizeof(whole), p->digest);
}

static bool file_name_ok(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < 128 && name[0] != '.' && !strchr(name, '/') &&
	       (str_ends(name, ".yaml") || str_ends(name, ".yml") || str_ends(name, ".json"));
}

static int write_policy_files(struct store *s, int fd, const struct store_policy *p,
			      struct err *err)
{
	CLEANUP(json_decrefp) json_t *names = json_array(), *meta = NULL;
	char when[RFC3339_TEXT_MAX];

	for (size_t i = 0; i < p->file_count; i++) {
		int r;

		if (!file_name_ok(p->files[i].name))
			return err_set(err, EINVAL, "%s: not a policy file name; NAME.yaml",
				       p->files[i].name);
		r = write_durable(s, fd, p->files[i].name, p->files[i].text, p->files[i].len, err);
		if (r < 0)
			return r;
		if (json_array_append_new(names, json_string(p->files[i].name)) < 0)
			return err_set(err, ENOMEM, "out of memory");
	}
	meta = json_pack("{s:I,s:s,s:s,s:s,s:s,s:O}", "revision", (json_int_t)p->revision, "digest",
			 p->digest, "who", p->who, "reason", p->reason, "when",
			 rfc3339_format(when, p->when), "files", names);
	return write_json(s, fd, "meta", meta, err);
}

static void policy_path(uint64_t revision, const char *file, char ret[POLICY_PATH_MAX])
{
	(void)snprintf(ret, POLICY_PATH_MAX, "policy/%" PRIu64 "%s%s", revision, file ? "/" : "",
		       file ? file : "");
}

/* A name in a directory is lost with the power until that very directory is on disk. */
static int sync_directory(int dir_fd, const char *name)
{
	CLEANUP(closep) int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -1 : fsync(fd);
}

/* Into a directory of its own that gets its name last, so that a half-written one is never read. */
static int write_policy(struct store *s, const struct store_policy *p, struct err *err)
{
	CLEANUP(closep) int fd = -1;
	char name[64], final_name[POLICY_PATH_MAX];
	int r;

	(void)snprintf(name, sizeof(name), "policy/.new-%" PRIu64, p->revision);
	policy_path(p->revision, NULL, final_name);
	/* Copies come last: what was never in force must not come back from them. */
	spare_remove_below(s->spare, final_name);
	(void)tree_remove(s->state_fd, name, NULL);
	if (mkdirat(s->state_fd, name, STORE_MODE_DIR) < 0)
		return err_set(err, errno, "cannot keep the policy: %s", strerror(errno));
	fd = openat(s->state_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_set(err, errno, "cannot keep the policy: %s", strerror(errno));
	r = write_policy_files(s, fd, p, err);
	/* An agent that was killed before it knew of this revision left it: it was never in force.
	 */
	if (r >= 0)
		r = tree_remove(s->state_fd, final_name, err);
	if (r >= 0 && (fsync(fd) < 0 || renameat(s->state_fd, name, s->state_fd, final_name) < 0 ||
		       sync_directory(s->state_fd, "policy") < 0 || fsync(s->state_fd) < 0))
		r = err_set(err, errno, "cannot keep the policy: %s", strerror(errno));
	if (r < 0)
		(void)tree_remove(s->state_fd, name, NULL);
	return r;
}

int store_policy_write(struct store *s, const struct store_policy *p, struct err *err)
{
	struct store_policy back = {0};
	int r = write_policy(s, p, err);

	/* Whole, and from now on there are copies. */
	if (r >= 0)
		r = store_policy_read(s, p->revision, &back, err);
	store_policy_done(&back);
	return r;
}

static int read_policy_file(struct store *s, uint64_t revision, const char *name, size_t max,
			    char **ret_text, size_t *ret_len, struct err *err)
{
	char path[POLICY_PATH_MAX];

	policy_path(revision, name, path);
	return read_kept(s, path, max, ret_text, ret_len, err);
}

static int read_policy_files(struct store *s, const json_t *names, struct store_policy *p,
			     struct err *err)
{
	size_t n = json_array_size(names);

	if (n > STORE_FILES_MAX)
		return err_set(err, E2BIG, "more than %d policy files", STORE_FILES_MAX);
	p->files = mem_calloc(n, sizeof(*p->files));
	if (!p->files)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		const char *name = json_string_value(json_array_get(names, i));
		struct store_file *f = &p->files[p->file_count];
		int r;

		if (!name || !file_name_ok(name))
			return err_set(err, EBADMSG, "the stored policy names a strange file");
		r = read_policy_file(s, p->revision, name, POLICY_TEXT_MAX, &f->text, &f->len, err);
		if (r < 0)
			return r;
		f->name = mem_strdup(name);
		p->file_count++;
		if (!f->name)
			return err_set(err, ENOMEM, "out of memory");
	}
	return 0;
}

static int read_policy_meta(struct store *s, uint64_t revision, struct store_policy *p,
			    json_t **ret_names, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	CLEANUP(json_decrefp) json_t *json = NULL;
	struct json_object o;
	const char *who, *reason, *when, *digest;
	size_t len;
	int r;

	r = read_policy_file(s, revision, "meta", STATE_TEXT_MAX, &text, &len, err);
	if (r >= 0)
		r = json_parse_strict(text, len, "meta", &json, err);
	if (r < 0)
		return r;
	json_object_begin(&o, json, "meta", "", err);
	p->revision = (uint64_t)json_take_int(&o, "revision", 1, INT64_MAX);
	digest = json_take_string(&o, "digest", 64);
	who = json_take_string(&o, "who", sizeof(p->who) - 1);
	reason = json_take_string(&o, "reason", sizeof(p->reason) - 1);
	when = json_take_string(&o, "when", RFC3339_TEXT_MAX);
	*ret_names = json_incref(json_take_array(&o, "files", STORE_FILES_MAX));
	r = json_finish(&o);
	if (r < 0)
		return r;
	(void)snprintf(p->digest, sizeof(p->digest), "%s", digest);
	(void)snprintf(p->who, sizeof(p->who), "%s", who);
	(void)snprintf(p->reason, sizeof(p->reason), "%s", reason);
	return rfc3339_parse(when, &p->when) < 0 ? err_set(err, EBADMSG, "meta: bad time") : 0;
}

static int check_policy_digest(struct store_policy *p, struct err *err)
{
	char written[sizeof(p->digest)];

	(void)snprintf(written, sizeof(written), "%s", p->digest);
	store_policy_digest(p);
	if (!p->digest[0])
		return err_set(err, ENOMEM, "out of memory");
	if (!str_eq(p->digest, written))
		return err_set(err, EBADMSG, "a file of it is not what was applied");
	return 0;
}

int store_policy_read(struct store *s, uint64_t revision, struct store_policy *ret, struct err *err)
{
	CLEANUP(json_decrefp) json_t *names = NULL;
	struct store_policy p = {0};
	int r;

	r = read_policy_meta(s, revision, &p, &names, err);
	if (r >= 0 && p.revision != revision)
		r = err_set(err, EBADMSG, "it says of itself to be %" PRIu64, p.revision);
	if (r >= 0)
		r = read_policy_files(s, names, &p, err);
	if (r >= 0)
		r = check_policy_digest(&p, err);
	if (r < 0) {
		store_policy_done(&p);
		return err_prefix(err, r, "stored policy, revision %" PRIu64, revision);
	}
	*ret = p;
	return 0;
}

size_t store_policy_revisions(struct store *s, uint64_t *revisions, size_t max)
{
	int fd = openat(s->state_fd, "policy", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	size_t n = 0;

	if (!d) {
		closep(&fd);
		return 0;
	}
	while (n < max && (e = readdir(d))) {
		if (text_u64(e->d_name, 1, INT64_MAX, &revisions[n]) == 0)
			n++;
	}
	(void)closedir(d);
	for (size_t i = 1; i < n; i++) {
		for (size_t k = i; k > 0 && revisions[k] > revisions[k - 1]; k--) {
			uint64_t swap = revisions[k];

			revisions[k] = revisions[k - 1];
			revisions[k - 1] = swap;
		}
	}
	return n;
}

void store_policy_prune(struct store *s, uint64_t keep_a, uint64_t keep_b)
{
	uint64_t revisions[64];
	size_t n = store_policy_revisions(s, revisions, ARRAY_LEN(revisions));

	for (size_t i = STORE_GENERATIONS_KEPT; i < n; i++) {
		char name[POLICY_PATH_MAX];

		if (revisions[i] == keep_a || revisions[i] == keep_b)
			continue;
		policy_path(revisions[i], NULL, name);
		spare_remove_below(s->spare, name);
		(void)tree_remove(s->state_fd, name, NULL);
	}
}

/* --- view --------------------------------------------------------------------------------- */

int store_view_write(struct store *s, const char *text, size_t len, struct err *err)
{
	return write_kept(s, "view.json", text, len, err);
}

int store_view_read(struct store *s, char **ret_text, size_t *ret_len, struct err *err)
{
	return read_kept(s, "view.json", VIEW_KEPT_MAX, ret_text, ret_len, err);
}

/* --- history ------------------------------------------------------------------------------ */

json_t *store_history(struct store *s)
{
	CLEANUP(freep) char *text = NULL;
	json_t *list = json_array();
	size_t len = 0;
	char *line, *rest;

	if (!list || read_kept(s, "history", HISTORY_TEXT_MAX, &text, &len, NULL) < 0)
		return list;
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		json_t *entry = line[0] ? json_loads(line, JSON_REJECT_DUPLICATES, NULL) : NULL;

		if (entry)
			(void)json_array_append_new(list, entry);
	}
	return list;
}

/* The newest lines, so that there is room for one more. */
static const char *newest_lines(const char *text)
{
	size_t lines = 0;

	for (const char *p = text; (p = strchr(p, '\n')); p++)
		lines++;
	for (; lines >= STORE_HISTORY_MAX; lines--)
		text = strchr(text, '\n') + 1;
	return text;
}

/* Lines are moved as they are; a file that cannot be read is not replaced by one line. */
int store_history_add(struct store *s, const json_t *entry, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	size_t line_len = 0;
	CLEANUP(freep) char *line = json_text(entry, &line_len);
	CLEANUP(buf_done) struct buf b;
	size_t len = 0;
	int r;

	buf_init(&b, HISTORY_TEXT_MAX);
	if (!line)
		return err_set(err, ENOMEM, "out of memory");
	r = read_kept(s, "history", HISTORY_TEXT_MAX, &text, &len, err);
	if (r < 0 && r != -ENOENT)
		return r;
	if (text)
		buf_puts(&b, newest_lines(text));
	buf_puts(&b, line);
	buf_putc(&b, '\n');
	if (b.r < 0)
		return err_set(err, -b.r, "history: %s", strerror(-b.r));
	return write_kept(s, "history", b.data, b.len, err);
}

/* --- numbers ------------------------------------------------------------------------------ */

/* Numbers live as long as conntrack: this boot, this network namespace (R17). */
static int numbers_header(char *text, size_t size)
{
	CLEANUP(freep) char *boot = NULL;
	struct stat st;
	size_t len;

	if (file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &boot, &len, NULL) < 0 ||
	    stat("/proc/self/ns/net", &st) < 0)
		return -EIO;
	boot[strcspn(boot, "\n")] = '\0';
	(void)snprintf(text, size, "bailiwick-numbers 1 %s %" PRIu64 "\n", boot,
		       (uint64_t)st.st_ino);
	return 0;
}

int store_numbers_write(struct store *s, const struct numbers *conduits,
			const struct numbers *identities, struct err *err)
{
	CLEANUP(buf_done) struct buf b;
	char header[160];

	buf_init(&b, NUMBERS_TEXT_MAX);
	if (numbers_header(header, sizeof(header)) < 0)
		return err_set(err, EIO, "cannot read the boot id");
	buf_puts(&b, header);
	numbers_format(conduits, &b);
	buf_puts(&b, "identities\n");
	numbers_format(identities, &b);
	if (b.r < 0)
		return err_set(err, -b.r, "numbers: %s", strerror(-b.r));
	return write_durable(s, s->run_fd, "numbers", b.data, b.len, err);
}

int store_numbers_read(struct store *s, struct numbers *conduits, struct numbers *identities,
		       bool *ret_found, struct err *err)
{
	static const char divider[] = "\nidentities\n";
	CLEANUP(freep) char *text = NULL;
	char header[160];
	size_t len, head;
	char *second;
	int r;

	*ret_found = false;
	r = file_read(s->run_fd, "numbers", NUMBERS_TEXT_MAX, &text, &len, err);
	if (r == -ENOENT)
		return 0;
	if (r < 0 || numbers_header(header, sizeof(header)) < 0)
		return r < 0 ? r : err_set(err, EIO, "cannot read the boot id");
	head = strlen(header);
	if (len < head || memcmp(text, header, head) != 0)
		return 0;
	/* The header's own line end may be the divider's first byte. */
	second = strstr(text + head - 1, divider);
	if (!second)
		return err_set(err, EBADMSG, "run_dir/numbers is damaged");
	r = second < text + head ? 0
				 : numbers_parse(conduits, text + head,
						 (size_t)(second + 1 - (text + head)), err);
	second += sizeof(divider) - 1;
	if (r >= 0)
		r = numbers_parse(identities, second, len - (size_t)(second - text), err);
	*ret_found = r >= 0;
	return r;
}
