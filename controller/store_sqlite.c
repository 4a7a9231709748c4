/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The store in one SQLite file. WAL: readers and the writer do not wait for each other, and what
 * was committed is there after a kill or a power loss (synchronous=FULL). Each text is prepared
 * once and only ever gets values bound to it.
 */
#include "controller/store.h"

#include "base/clock.h"
#include "base/mem.h"
#include "controller/store_schema.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MODE     0600
#define BUSY_AGAIN_MS 5000
#define BUSY_SHORT_MS 20
#define TEXT_MAX      64 /* of PRAGMA user_version */
#define CACHE_KIB     "8192"
#define WAL_PAGES_MAX "2000"

struct store_lite {
	struct store store; /* first: the interface */
	sqlite3 *db;
	sqlite3_stmt *statements[STORE_QUERIES];
	char *path;
	dev_t device;
	ino_t inode;
	struct mono busy_at; /* when the lock was waited for in vain */
};

static struct store_lite *lite_of(struct store *s)
{
	return (struct store_lite *)s;
}

/* --- errors ---------------------------------------------------------------------------------- */

/*
 * A quota and a file size limit (RLIMIT_FSIZE) are as full as a full disk, but SQLite calls them
 * failed writes, and errno may have changed by the time it can be asked for.
 */
static bool is_full(struct store_lite *l, int code)
{
	int os = sqlite3_system_errno(l->db);
	struct rlimit limit;

	if ((code & 0xff) == SQLITE_FULL)
		return true;
	if (sqlite3_extended_errcode(l->db) != SQLITE_IOERR_WRITE)
		return false;
	return os == ENOSPC || os == EDQUOT || os == EFBIG ||
	       (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY);
}

static int fail(struct store_lite *l, int code, struct err *err)
{
	const char *why = l->db ? sqlite3_errmsg(l->db) : sqlite3_errstr(code);

	if (l->db && is_full(l, code))
		return err_set(err, ENOSPC,
			       "database '%s': no room left on the device; nothing was changed",
			       l->path);
	switch (code & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		l->busy_at = mono_now();
		return err_set(err, EBUSY,
			       "database '%s' is locked by another process; nothing was changed, "
			       "try again",
			       l->path);
	case SQLITE_READONLY:
		return err_set(err, EROFS, "database '%s' is read-only; nothing was changed",
			       l->path);
	case SQLITE_CONSTRAINT:
		return err_set(err, EEXIST, "database '%s': %s", l->path, why);
	case SQLITE_NOMEM:
		return err_set(err, ENOMEM, "database '%s': out of memory", l->path);
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return err_set(err, EIO,
			       "database '%s' is damaged (%s); put back a backup of it and start "
			       "again",
			       l->path, why);
	default:
		return err_set(err, EIO, "database '%s': %s", l->path, why);
	}
}

static int run_text(struct store_lite *l, const char *sql, struct err *err)
{
	int code = sqlite3_exec(l->db, sql, NULL, NULL, NULL);

	return code == SQLITE_OK ? 0 : fail(l, code, err);
}

/* A database removed or replaced under us would take writes and lose them. */
static int check_there(struct store_lite *l, struct err *err)
{
	struct stat st;

	if (stat(l->path, &st) == 0 && st.st_dev == l->device && st.st_ino == l->inode)
		return 0;
	return err_set(err, EIO,
		       "database '%s' is gone or was replaced; nothing was changed, start the "
		       "controller again when it is back",
		       l->path);
}

/* --- transactions ---------------------------------------------------------------------------- */

static int lite_begin(struct store *s, struct err *err)
{
	struct store_lite *l = lite_of(s);
	int r = check_there(l, err);
	/* Whoever holds it for long must not make every order in turn wait for it. */
	bool again = l->busy_at.ns > 0 && mono_ms_since(l->busy_at, mono_now()) < BUSY_AGAIN_MS;

	(void)sqlite3_busy_timeout(l->db, again ? BUSY_SHORT_MS : STORE_BUSY_MS);
	/* The lock is taken now: a transaction that read first could not wait for it later. */
	return r < 0 ? r : run_text(l, "BEGIN IMMEDIATE", err);
}

static void lite_rollback(struct store *s)
{
	struct store_lite *l = lite_of(s);

	if (!sqlite3_get_autocommit(l->db))
		(void)sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL);
}

static int lite_commit(struct store *s, struct err *err)
{
	int r = run_text(lite_of(s), "COMMIT", err);

	if (r < 0)
		lite_rollback(s);
	return r;
}

/* --- questions ------------------------------------------------------------------------------- */

static int64_t row_number(const struct store_row *row, int column)
{
	sqlite3_stmt *statement;

	memcpy(&statement, row->backend, sizeof(statement));
	return sqlite3_column_int64(statement, column);
}

static const char *row_text(const struct store_row *row, int column, size_t *ret_len)
{
	sqlite3_stmt *statement;
	const unsigned char *text;

	memcpy(&statement, row->backend, sizeof(statement));
	text = sqlite3_column_text(statement, column);
	*ret_len = text ? (size_t)sqlite3_column_bytes(statement, column) : 0;
	return text ? (const char *)text : "";
}

static int bind(sqlite3_stmt *statement, int at, const struct store_value *v)
{
	switch (v->kind) {
	case STORE_NULL:
		return sqlite3_bind_null(statement, at);
	case STORE_INT:
		return sqlite3_bind_int64(statement, at, v->number);
	case STORE_TEXT:
		return sqlite3_bind_text64(statement, at, v->bytes, v->len, SQLITE_STATIC,
					   SQLITE_UTF8);
	case STORE_BLOB:
		return sqlite3_bind_blob64(statement, at, v->bytes, v->len, SQLITE_STATIC);
	}
	return SQLITE_MISUSE;
}

static int prepare(struct store_lite *l, enum store_query q, sqlite3_stmt **ret, struct err *err)
{
	int code;

	if (!l->statements[q]) {
		code = sqlite3_prepare_v3(l->db, store_sql[q], -1, SQLITE_PREPARE_PERSISTENT,
					  &l->statements[q], NULL);
		if (code != SQLITE_OK)
			return fail(l, code, err);
	}
	*ret = l->statements[q];
	return 0;
}

static int step(struct store_lite *l, sqlite3_stmt *statement, store_row_fn *row, void *user,
		struct err *err)
{
	const struct store_row view = {&statement, row_number, row_text};
	int code, count = 0, r = 0;

	while (r >= 0 && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		count++;
		if (row)
			r = row(user, &view);
	}
	if (r < 0)
		return r == -ENOMEM ? err_set(err, ENOMEM, "out of memory") : r;
	if (code != SQLITE_DONE)
		return fail(l, code, err);
	return sqlite3_stmt_readonly(statement) ? count : sqlite3_changes(l->db);
}

static int lite_run(struct store *s, enum store_query q, const struct store_value *values,
		    size_t count, store_row_fn *row, void *user, struct err *err)
{
	struct store_lite *l = lite_of(s);
	sqlite3_stmt *statement = NULL;
	int r, code = SQLITE_OK;

	r = prepare(l, q, &statement, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count && code == SQLITE_OK; i++)
		code = bind(statement, (int)i + 1, &values[i]);
	r = code == SQLITE_OK ? step(l, statement, row, user, err) : fail(l, code, err);
	/* The result of the reset is that of the last step, told already. */
	(void)sqlite3_reset(statement);
	(void)sqlite3_clear_bindings(statement);
	return r;
}

static int64_t lite_last_id(struct store *s)
{
	return sqlite3_last_insert_rowid(lite_of(s)->db);
}

/* --- opening --------------------------------------------------------------------------------- */

static void lite_close(struct store *s)
{
	struct store_lite *l = lite_of(s);

	for (size_t i = 0; i < ARRAY_LEN(l->statements); i++)
		(void)sqlite3_finalize(l->statements[i]);
	(void)sqlite3_close(l->db);
	free(l->path);
	free(l);
}

static int user_version(struct store_lite *l, int *ret, struct err *err)
{
	sqlite3_stmt *statement = NULL;
	int code = sqlite3_prepare_v2(l->db, "PRAGMA user_version", -1, &statement, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_step(statement);
	if (code == SQLITE_ROW)
		*ret = sqlite3_column_int(statement, 0);
	(void)sqlite3_finalize(statement);
	return code == SQLITE_ROW ? 0 : fail(l, code, err);
}

static int migrate_step(struct store_lite *l, int version, struct err *err)
{
	char text[TEXT_MAX];
	int r;

	(void)snprintf(text, sizeof(text), "PRAGMA user_version = %d", version + 1);
	r = lite_begin(&l->store, err);
	if (r < 0)
		return r;
	r = run_text(l, store_schema_steps[version], err);
	if (r == 0)
		r = run_text(l, text, err);
	if (r == 0)
		return lite_commit(&l->store, err);
	lite_rollback(&l->store);
	return r;
}

static int migrate(struct store_lite *l, struct err *err)
{
	int version = 0, r;

	r = user_version(l, &version, err);
	if (r == 0 && (version < 0 || version > STORE_SCHEMA_VERSION))
		return err_set(err, EIO,
			       "database '%s' is of version %d; this release knows %d: a newer "
			       "controller would be right",
			       l->path, version, STORE_SCHEMA_VERSION);
	while (r == 0 && version < STORE_SCHEMA_VERSION)
		r = migrate_step(l, version++, err);
	return r;
}

static int settings(struct store_lite *l, struct err *err)
{
	int code = sqlite3_busy_timeout(l->db, STORE_BUSY_MS);

	if (code != SQLITE_OK)
		return fail(l, code, err);
	(void)sqlite3_extended_result_codes(l->db, 1);
	(void)sqlite3_limit(l->db, SQLITE_LIMIT_LENGTH, (int)STORE_BLOB_MAX);
	return run_text(l,
			"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
			"PRAGMA trusted_schema = OFF;"
			"PRAGMA cache_size = -" CACHE_KIB ";"
			"PRAGMA wal_autocheckpoint = " WAL_PAGES_MAX ";",
			err);
}

/* SQLite would make the file by the umask; tokens and flows are nobody else's business. */
static int make_file(struct store_lite *l, bool make, struct err *err)
{
	CLEANUP(closep) int fd = -1;
	struct stat st;

	fd = open(l->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (make ? O_CREAT : 0), FILE_MODE);
	if (fd < 0 && errno == ENOENT)
		return err_set(err, ENOENT,
			       "database '%s' is missing; 'bailiwick-controller init' makes one",
			       l->path);
	if (fd < 0)
		return err_set(err, errno, "database '%s': %s", l->path, strerror(errno));
	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "database '%s': %s", l->path, strerror(errno));
	if (!S_ISREG(st.st_mode) || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return err_set(err, EPERM,
			       "database '%s' can be read by others (mode %04o); 0600 would be "
			       "right",
			       l->path, (unsigned)(st.st_mode & 07777));
	l->device = st.st_dev;
	l->inode = st.st_ino;
	return 0;
}

static int lite_open_file(struct store_lite *l, const char *where, bool make, struct err *err)
{
	int code, r;

	l->path = mem_strdup(where);
	if (!l->path)
		return err_set(err, ENOMEM, "out of memory");
	r = make_file(l, make, err);
	if (r < 0)
		return r;
	code = sqlite3_open_v2(l->path, &l->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (code != SQLITE_OK)
		return fail(l, code, err);
	r = settings(l, err);
	return r < 0 ? r : migrate(l, err);
}

static int lite_open(const char *where, bool make, struct store **ret, struct err *err)
{
	struct store_lite *l = mem_calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_set(err, ENOMEM, "out of memory");
	l->store.ops = &store_sqlite;
	r = lite_open_file(l, where, make, err);
	if (r < 0) {
		lite_close(&l->store);
		return r;
	}
	*ret = &l->store;
	return 0;
}

const struct store_ops store_sqlite = {
	.name = "sqlite",
	.open = lite_open,
	.close = lite_close,
	.begin = lite_begin,
	.commit = lite_commit,
	.rollback = lite_rollback,
	.run = lite_run,
	.last_id = lite_last_id,
};
