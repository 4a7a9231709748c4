/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Decision records of nodes: DATA/logs/NODE.jsonl, one record a line. A file that has grown to its
 * cap becomes NODE.jsonl.1, the one before goes. Not in the database: they are many, and losing the
 * last of them in a power loss loses no state.
 */
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOGS_DIR        "logs"
#define LOG_JSON_MAX    (4U << 20) /* agents hold back half of that */
#define LOG_OBJECTS_MAX 131072     /* each takes some hundred bytes of memory */
#define LOG_RECORD_MAX  (16U << 10)
#define LOG_FILE_MAX    (8LL << 20)
#define LOG_RECORDS_MAX 100000

static int logs_path(const struct core *c, char *buf, const char *node, const char *suffix,
		     struct err *err)
{
	if (snprintf(buf, CORE_PATH_MAX, "%s/%s/%s.jsonl%s", c->dir, LOGS_DIR, node, suffix) >=
	    CORE_PATH_MAX)
		return err_set(err, ENAMETOOLONG, "log of '%s': path too long", node);
	return 0;
}

static int rotate(const struct core *c, const char *node, const char *path, struct err *err)
{
	char old[CORE_PATH_MAX];
	struct stat st;
	int r;

	if (stat(path, &st) < 0 || st.st_size < LOG_FILE_MAX)
		return 0;
	r = logs_path(c, old, node, ".1", err);
	if (r == 0 && rename(path, old) < 0)
		r = err_set(err, errno, "log '%s': %s", path, strerror(errno));
	return r;
}

static int open_log(const struct core *c, const char *node, int *ret_fd, struct err *err)
{
	char path[CORE_PATH_MAX], dir[CORE_PATH_MAX];
	int r, fd;

	if (snprintf(dir, sizeof(dir), "%s/%s", c->dir, LOGS_DIR) >= (int)sizeof(dir))
		return err_set(err, ENAMETOOLONG, "'%s': path too long", c->dir);
	r = dir_make(dir, 0700, err);
	if (r == 0)
		r = logs_path(c, path, node, "", err);
	if (r == 0)
		r = rotate(c, node, path, err);
	if (r < 0)
		return r;
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(err, errno, "log '%s': %s", path, strerror(errno));
	*ret_fd = fd;
	return 0;
}

void core_log_forget(const struct core *c, const char *node)
{
	static const char *const suffixes[] = {"", ".1"};
	char path[CORE_PATH_MAX];

	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
		if (logs_path(c, path, node, suffixes[i], NULL) == 0)
			(void)unlink(path);
}

/* "[{},{},{}" takes eighty times its size in memory; braces in texts count, and are few. */
static bool too_many_objects(const char *json, size_t len)
{
	size_t count = 0;

	for (size_t i = 0; i < len; i++)
		count += json[i] == '{' || json[i] == '[';
	return count > LOG_OBJECTS_MAX;
}

static int to_lines(const json_t *list, struct buf *b, struct err *err)
{
	json_t *record;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > LOG_RECORDS_MAX)
		return err_set(err, EINVAL, "logs: no list of at most %d records", LOG_RECORDS_MAX);
	json_array_foreach(list, i, record) {
		CLEANUP(freep) char *line = NULL;

		if (!json_is_object(record))
			return err_set(err, EINVAL, "logs: record %zu is no object", i);
		line = json_text(record, NULL);
		if (!line)
			return err_set(err, ENOMEM, "out of memory");
		if (strlen(line) > LOG_RECORD_MAX)
			return err_set(err, EINVAL, "logs: record %zu has more than %u KiB", i,
				       LOG_RECORD_MAX >> 10);
		buf_puts(b, line);
		buf_putc(b, '\n');
	}
	return b->r < 0 ? err_set(err, -b->r, "logs: %s", strerror(-b->r)) : 0;
}

/* All or nothing: half a record would make the file unreadable from there on. */
static int append(int fd, const struct buf *b, struct err *err)
{
	off_t before = lseek(fd, 0, SEEK_END);
	size_t done = 0;

	while (done < b->len) {
		ssize_t n = write(fd, b->data + done, b->len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			int code = n < 0 ? errno : EIO;

			if (ftruncate(fd, before) < 0)
				return err_set(err, EIO,
					       "logs: %s, and the file holds half a "
					       "record",
					       strerror(errno));
			return err_set(err, code == EFBIG || code == EDQUOT ? ENOSPC : code,
				       "logs: %s; nothing was kept", strerror(code));
		}
		done += (size_t)n;
	}
	return 0;
}

/* Less than before: another start of the agent. */
uint64_t core_log_dropped(struct core *c, const char *node, uint64_t dropped)
{
	uint32_t at = views_find_node(c->views, node);
	struct node_record *n = at != VIEWS_NONE ? core_node_at(c, at) : NULL;
	uint64_t before;

	if (!n)
		return 0;
	before = n->logs_dropped;
	n->logs_dropped = dropped;
	return dropped >= before ? dropped - before : dropped;
}

int core_log(struct core *c, const char *node, const char *json, size_t len, struct err *err)
{
	CLEANUP(buf_done) struct buf b;
	CLEANUP(closep) int fd = -1;
	json_t *list = NULL;
	int r;

	buf_init(&b, LOG_JSON_MAX);
	r = check_node_name(node, err);
	if (r == 0 && len > LOG_JSON_MAX)
		r = err_set(err, E2BIG, "logs: more than %u MiB", LOG_JSON_MAX >> 20);
	if (r == 0 && too_many_objects(json, len))
		r = err_set(err, E2BIG, "logs: more than %d objects", LOG_OBJECTS_MAX);
	if (r == 0)
		r = json_parse_strict(json, len, "logs", &list, err);
	if (r == -EBADMSG)
		r = -EINVAL;
	if (r == 0)
		r = to_lines(list, &b, err);
	json_decref(list);
	if (r == 0)
		r = open_log(c, node, &fd, err);
	return r < 0 ? r : append(fd, &b, err);
}
