/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The store when things go wrong: locked, full, read-only, damaged, gone, killed. */
#include "controller/store.h"

#include "base/mem.h"
#include "base/text.h"
#include "controller/core.h"
#include "tests/unit/core_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILLS 12

static void path_of(const struct core_fixture *f, const char *name, char path[512])
{
	(void)snprintf(path, 512, "%s/%s", f->dir, name);
}

/* A second process' lock, by a connection of our own. */
static sqlite3 *lock_database(const struct core_fixture *f)
{
	sqlite3 *db = NULL;
	char path[512];

	path_of(f, "controller.db", path);
	CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
	CHECK_INT(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	return db;
}

static void unlock_database(sqlite3 *db)
{
	(void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	(void)sqlite3_close(db);
}

TEST(a_locked_database_refuses_writes_and_goes_on_serving)
{
	char token[64], node[NODE_NAME_MAX];
	struct core_fixture f;
	sqlite3 *other;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/web", "n1", "10.0.0.1"), &f.err);
	CHECK_OK(core_token_create(f.core, "n1", 600, 1, "op", token, sizeof(token), &f.err),
		 &f.err);
	other = lock_database(&f);
	CHECK_INT(core_put(&f, "prod/api", "n2", "10.0.0.2"), -EBUSY);
	CHECK_CONTAINS(f.err.text, "locked by another process; nothing was changed");
	CHECK_INT(core_token_use(f.core, token, "x", node, sizeof(node), &f.err), -EBUSY);
	/* Nothing of it is in the picture; heads, manifests and blobs are there. */
	CHECK_STR(core_view_text(&f, "n1"), "web |");
	core_tick(f.core);
	unlock_database(other);
	CHECK_OK(core_put(&f, "prod/api", "n2", "10.0.0.2"), &f.err);
	CHECK_STR(core_view_text(&f, "n1"), "web | api@n2");
	CHECK_OK(core_token_use(f.core, token, "x", node, sizeof(node), &f.err), &f.err);
	core_tick(f.core);
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM heads"), 1);
	core_teardown(&f);
}

TEST(a_database_that_is_gone_takes_no_writes)
{
	char path[512], away[512];
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/web", "n1", "10.0.0.1"), &f.err);
	path_of(&f, "controller.db", path);
	path_of(&f, "elsewhere.db", away);
	CHECK_INT(rename(path, away), 0);
	CHECK_INT(core_put(&f, "prod/api", "n2", "10.0.0.2"), -EIO);
	CHECK_CONTAINS(f.err.text, "is gone or was replaced");
	CHECK_STR(core_view_text(&f, "n1"), "web |");
	CHECK_INT(rename(away, path), 0);
	CHECK_OK(core_put(&f, "prod/api", "n2", "10.0.0.2"), &f.err);
	core_teardown(&f);
}

static int fill_up(struct core_fixture *f, unsigned tries)
{
	int r = 0;

	for (unsigned i = 0; i < tries && r == 0; i++)
		r = core_put(f, "prod/api", "n2", i % 2 ? "10.0.0.2" : "10.0.0.3");
	return r;
}

/* What was refused is neither in the picture nor in the store; what follows works. */
static void check_whole(struct core_fixture *f)
{
	CHECK_OK(core_put(f, "ops/log", "n5", "10.0.0.5"), &f->err);
	core_reopen(f, true);
	CHECK_INT(core_sql(f, "SELECT count(*) FROM placements"),
		  core_sql(f, "SELECT count(DISTINCT subject) FROM audit WHERE verb = 'place'"));
	CHECK_STR(core_view_text(f, "n1"), "web | log@n5 api@n2");
}

TEST(a_file_size_limit_loses_nothing)
{
	struct rlimit old, small;
	struct core_fixture f;
	char path[512];
	struct stat st;
	int r;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/web", "n1", "10.0.0.1"), &f.err);
	(void)signal(SIGXFSZ, SIG_IGN);
	path_of(&f, "controller.db-wal", path);
	CHECK_INT(stat(path, &st), 0);
	CHECK_INT(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = (rlim_t)st.st_size + 65536;
	CHECK_INT(setrlimit(RLIMIT_FSIZE, &small), 0);
	r = fill_up(&f, 200);
	CHECK_INT(setrlimit(RLIMIT_FSIZE, &old), 0);
	CHECK_CONTAINS(f.err.text, "no room left");
	CHECK_INT(r, -ENOSPC);
	check_whole(&f);
	core_teardown(&f);
}

static void fill_disk(const struct core_fixture *f, char path[512])
{
	CLEANUP(closep) int fd = -1;
	char block[4096] = {0};

	path_of(f, "ballast", path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	while (write(fd, block, sizeof(block)) > 0)
		;
	CHECK_INT(errno, ENOSPC);
}

TEST(a_full_disk_loses_nothing)
{
	struct core_fixture f;
	char ballast[512];
	const char *text;
	uint64_t sequence;
	size_t len;

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", test_dir(), "tmpfs", 0, "size=8m") < 0)
		test_skip("needs a small file system, and so root: %s", strerror(errno));
	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/web", "n1", "10.0.0.1"), &f.err);
	fill_disk(&f, ballast);
	CHECK_INT(fill_up(&f, 200), -ENOSPC);
	CHECK_CONTAINS(f.err.text, "no room left");
	CHECK_INT(core_log(f.core, "n1", "[{}]", 4, &f.err), -ENOSPC);
	/* Nodes are served meanwhile. */
	CHECK_OK(core_head(f.core, "n1", &text, &len, &sequence, &f.err), &f.err);
	core_tick(f.core);
	CHECK_INT(unlink(ballast), 0);
	CHECK_OK(fill_up(&f, 1), &f.err);
	check_whole(&f);
	core_teardown(&f);
	(void)umount2(test_dir(), MNT_DETACH);
}

static void make_newer(const struct core_fixture *f)
{
	sqlite3 *db = NULL;
	char path[512];

	path_of(f, "controller.db", path);
	CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
	CHECK_INT(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(db);
}

TEST(a_database_of_a_newer_controller_is_not_touched)
{
	struct core_config config = {0};
	struct core_fixture f;
	struct core *c = NULL;

	core_setup_published(&f);
	core_free(f.core);
	make_newer(&f);
	config.data_dir = f.dir;
	CHECK_INT(core_open(&config, &c, &f.err), -EIO);
	CHECK_CONTAINS(f.err.text, "version 99");
	f.core = NULL;
	core_teardown(&f);
}

TEST(a_damaged_database_is_named)
{
	struct core_config config = {0};
	CLEANUP(closep) int fd = -1;
	struct core_fixture f;
	struct core *c = NULL;
	char path[512];

	core_setup_published(&f);
	core_free(f.core);
	f.core = NULL;
	path_of(&f, "controller.db", path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	CHECK_INT(pwrite(fd, "this is no database at all", 26, 0), 26);
	config.data_dir = f.dir;
	CHECK_INT(core_open(&config, &c, &f.err), -EIO);
	CHECK_CONTAINS(f.err.text, "is damaged");
	core_teardown(&f);
}

TEST(a_directory_or_database_open_to_others_is_refused)
{
	struct core_config config = {0};
	struct core_fixture f;
	struct core *c = NULL;
	char path[512];

	core_setup(&f);
	core_free(f.core);
	f.core = NULL;
	config.data_dir = f.dir;
	CHECK_INT(chmod(f.dir, 0755), 0);
	CHECK_INT(core_open(&config, &c, &f.err), -EPERM);
	CHECK_INT(core_init(f.dir, "acme.example", &f.err), -EPERM);
	CHECK_INT(chmod(f.dir, 0700), 0);
	path_of(&f, "controller.db", path);
	CHECK_INT(chmod(path, 0644), 0);
	CHECK_INT(core_open(&config, &c, &f.err), -EPERM);
	core_teardown(&f);
}

TEST(a_directory_keeps_its_trust_domain_and_keys)
{
	CLEANUP(freep) char *before = NULL, *after = NULL;
	struct core_fixture f;

	core_setup(&f);
	before = mem_strdup(f.core->key.public.id);
	core_free(f.core);
	CHECK_INT(core_init(f.dir, "other.example", &f.err), -EEXIST);
	CHECK_INT(core_init(f.dir, "Bad Name", &f.err), -EINVAL);
	CHECK_OK(core_init(f.dir, "acme.example", &f.err), &f.err);
	f.core = NULL;
	CHECK_OK(core_open(&(struct core_config){.data_dir = f.dir}, &f.core, &f.err), &f.err);
	after = mem_strdup(f.core->key.public.id);
	CHECK_STR(after, before);
	core_teardown(&f);
}

/* --- names that look like SQL ------------------------------------------------------------------
 */

TEST(sql_in_names_is_data)
{
	static const char *const evil[] = {"'; DROP TABLE placements; --",
					   "\" OR 1=1 --",
					   "x'); DELETE FROM audit; --",
					   "%",
					   "\\'; --",
					   "?1",
					   ":x",
					   "$1"};
	char token[64], node[NODE_NAME_MAX];
	struct core_fixture f;
	int64_t audit;
	json_t *s;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/web", "n1", "10.0.0.1"), &f.err);
	audit = core_sql(&f, "SELECT count(*) FROM audit");
	for (size_t i = 0; i < ARRAY_LEN(evil); i++) {
		(void)core_put(&f, evil[i], "n1", NULL);
		(void)core_put(&f, "prod/web", evil[i], NULL);
		(void)core_take(&f, evil[i], "n1");
		(void)core_token_create(f.core, evil[i], 60, 1, evil[i], token, sizeof(token),
					&f.err);
		(void)core_token_use(f.core, evil[i], evil[i], node, sizeof(node), &f.err);
		(void)core_node_evict(f.core, evil[i], evil[i], &f.err);
		(void)core_report_of(&f, evil[i], "");
		/* A reason may be anything, and comes back as it was. */
		json_decref(f.answer);
		f.answer = NULL;
		CHECK_OK(core_quarantine(f.core, "web", NULL, evil[i], evil[i], &f.answer, &f.err),
			 &f.err);
		CHECK_STR(json_string_value(json_object_get(f.answer, "reason")), evil[i]);
		core_reopen(&f, true);
		CHECK_STR(f.core->actions[0].reason, evil[i]);
		CHECK_STR(f.core->actions[0].who, evil[i]);
		json_decref(f.answer);
		f.answer = NULL;
		CHECK_OK(core_release(f.core, "web", evil[i], evil[i], &f.answer, &f.err), &f.err);
	}
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM placements"), 1);
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM audit"), audit + 2 * (int64_t)ARRAY_LEN(evil));
	s = core_fleet_status(f.core, &f.err);
	CHECK(s != NULL);
	json_decref(s);
	core_teardown(&f);
}

/* --- killed ---------------------------------------------------------------------------------- */

/* Says so once it has begun. */
static _Noreturn void place_until_killed(struct core_fixture *f, int say)
{
	static const char *const addresses[] = {"10.0.0.1", "10.0.0.2", "10.0.0.3"};

	for (unsigned i = 0;; i++) {
		(void)core_put(f, i % 2 ? "prod/web" : "prod/api", i % 3 ? "n1" : "n2",
			       addresses[i % ARRAY_LEN(addresses)]);
		if (i == 1 && write(say, "x", 1) != 1)
			_exit(1);
		(void)core_take(f, i % 2 ? "prod/web" : "prod/api", i % 5 ? "n1" : "n2");
		(void)core_report_of(f, "n1", "\"addresses\":[\"10.0.0.9\"]");
		core_tick(f->core);
	}
}

/* Kills it at another moment each time. */
static void place_and_kill(struct core_fixture *f, const struct core_config *config,
			   unsigned after_us)
{
	int status, pipes[2];
	char byte;
	pid_t pid;

	CHECK_INT(pipe(pipes), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		if (core_open(config, &f->core, &f->err) < 0)
			_exit(1);
		place_until_killed(f, pipes[1]);
	}
	(void)close(pipes[1]);
	CHECK_INT(read(pipes[0], &byte, 1), 1);
	(void)close(pipes[0]);
	(void)usleep(after_us);
	CHECK_INT(kill(pid, SIGKILL), 0);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status));
}

/* Each write and its audit line are one: the newest line about a placement says what is there. */
static void check_audit_agrees(struct core_fixture *f)
{
	static const char disagreeing[] =
		"SELECT count(*) FROM (SELECT subject, json_extract(detail, '$.node') AS node,"
		" verb, max(id) FROM audit WHERE verb IN ('place', 'unplace') GROUP BY 1, 2) AS a"
		" WHERE (a.verb = 'place') <> EXISTS (SELECT 1 FROM placements AS p"
		" WHERE p.identity = a.subject AND p.node = a.node AND p.source = 0)";

	CHECK_INT(core_sql(f, disagreeing), 0);
	CHECK_INT(core_sql(f, "SELECT count(*) FROM pragma_integrity_check"
			      " WHERE integrity_check <> 'ok'"),
		  0);
}

TEST(killed_at_any_point_the_last_state_is_whole)
{
	struct core_config config = {.reports_place = true};
	struct core_fixture f;

	core_setup_published(&f);
	core_free(f.core);
	f.core = NULL;
	config.data_dir = f.dir;
	for (unsigned i = 0; i < KILLS; i++) {
		place_and_kill(&f, &config, i * 2311);
		check_audit_agrees(&f);
		CHECK_OK(core_open(&config, &f.core, &f.err), &f.err);
		CHECK(f.core->policy != NULL);
		core_free(f.core);
		f.core = NULL;
	}
	CHECK(core_sql(&f, "SELECT count(*) FROM audit WHERE verb = 'place'") > 0);
	core_teardown(&f);
}

/* --- the interface ---------------------------------------------------------------------------- */

static int stop_at_once(void *user, const struct store_row *row)
{
	(void)row;
	++*(int *)user;
	return -ECANCELED;
}

TEST(a_transaction_rolled_back_leaves_nothing)
{
	struct store *s = NULL;
	struct err err = {{0}};
	char path[512];
	int rows = 0;

	(void)snprintf(path, sizeof(path), "%s/t.db", test_dir());
	CHECK_OK(store_sqlite.open(path, true, &s, &err), &err);
	CHECK_OK(store_begin(s, &err), &err);
	CHECK_INT(store_order(s, STORE_META_PUT, &err, store_text("a"), store_text("1")), 1);
	store_rollback(s);
	CHECK_INT(store_ask(s, STORE_META_GET, stop_at_once, &rows, &err, store_text("a")), 0);
	CHECK_OK(store_begin(s, &err), &err);
	CHECK_INT(store_order(s, STORE_META_PUT, &err, store_text("a"), store_text("2")), 1);
	CHECK_OK(store_commit(s, &err), &err);
	CHECK_INT(store_ask(s, STORE_META_GET, stop_at_once, &rows, &err, store_text("a")),
		  -ECANCELED);
	CHECK_INT(rows, 1);
	store_close(s);
	CHECK_INT(store_sqlite.open("/nonexistent/t.db", true, &s, &err), -ENOENT);
}

TEST(every_question_is_sql_that_the_schema_understands)
{
	static const struct store_value nothing[STORE_VALUES_MAX];
	struct store *s = NULL;
	struct err err = {{0}};
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/t.db", test_dir());
	CHECK_OK(store_sqlite.open(path, true, &s, &err), &err);
	for (int q = 0; q < STORE_QUERIES; q++) {
		int r;

		CHECK_OK(store_begin(s, &err), &err);
		r = store_run(s, (enum store_query)q, nothing, 0, NULL, NULL, &err);
		/* Nulls where values belong are refused as such, not as nonsense. */
		if (r < 0 && !strstr(err.text, "datatype mismatch"))
			CHECK_INT(r, -EEXIST);
		store_rollback(s);
	}
	store_close(s);
}

/* --- another backend: this one fails at the n-th call ------------------------------------------
 */

struct failing {
	struct store store; /* first: the interface */
	struct store *behind;
	size_t calls, fail_at;
};

static struct failing *failing_of(struct store *s)
{
	return (struct failing *)s;
}

static bool fails(struct failing *f)
{
	return ++f->calls == f->fail_at;
}

static int failing_begin(struct store *s, struct err *err)
{
	if (fails(failing_of(s)))
		return err_set(err, ENOSPC, "no room left (begin)");
	return store_begin(failing_of(s)->behind, err);
}

static int failing_commit(struct store *s, struct err *err)
{
	if (fails(failing_of(s))) {
		store_rollback(failing_of(s)->behind);
		return err_set(err, ENOSPC, "no room left (commit)");
	}
	return store_commit(failing_of(s)->behind, err);
}

static void failing_rollback(struct store *s)
{
	store_rollback(failing_of(s)->behind);
}

static int failing_run(struct store *s, enum store_query q, const struct store_value *values,
		       size_t count, store_row_fn *row, void *user, struct err *err)
{
	if (fails(failing_of(s)))
		return err_set(err, ENOSPC, "no room left (run)");
	return store_run(failing_of(s)->behind, q, values, count, row, user, err);
}

static int64_t failing_last_id(struct store *s)
{
	return store_last_id(failing_of(s)->behind);
}

static const struct store_ops failing_ops = {
	.name = "failing",
	.begin = failing_begin,
	.commit = failing_commit,
	.rollback = failing_rollback,
	.run = failing_run,
	.last_id = failing_last_id,
};

static int order_of(struct core_fixture *f, unsigned which)
{
	char token[64], node[NODE_NAME_MAX];
	struct svid s = {.role = SVID_NODE, .name = "n3", .serial = "01"};

	json_decref(f->answer);
	f->answer = NULL;
	switch (which) {
	case 0:
		return core_put(f, "prod/api", "n2", "10.0.0.2");
	case 1:
		return core_take(f, "prod/web", "n1");
	case 2:
		return core_quarantine(f->core, "web", NULL, "r", "op", &f->answer, &f->err);
	case 3:
		return core_revoke(f->core, "rule", "web-api", 60, "r", "op", &f->answer, &f->err);
	case 4:
		return core_publish_next(f, 2, core_policy);
	case 5:
		return core_token_create(f->core, "n1", 60, 1, "op", token, sizeof(token), &f->err);
	case 6:
		return core_token_use(f->core, f->woken[0], "x", node, sizeof(node), &f->err);
	case 7:
		return core_node_ban(f->core, "n1", true, "op", &f->err);
	case 8:
		return core_report_of(f, "n1",
				      "\"workloads\":[{\"identity\":\"ops/log\"}],"
				      "\"cut\":[{\"from\":\"web\"}]");
	default:
		return core_cert_issued(f->core, &s, &f->err);
	}
}

/* The whole of what the picture in memory says. */
static char *picture_of(struct core_fixture *f)
{
	json_t *s = core_fleet_status(f->core, &f->err);
	char *text;

	CHECK(s != NULL);
	(void)json_object_del(s, "audit");
	(void)json_object_del(s, "store");
	text = json_dumps(s, JSON_SORT_KEYS | JSON_INDENT(1));
	json_decref(s);
	return text;
}

static void start(struct core_fixture *f)
{
	core_setup_published(f);
	CHECK_OK(core_put(f, "prod/web", "n1", "10.0.0.1"), &f->err);
	CHECK_OK(
		core_token_create(f->core, "n1", 600, 1, "op", f->woken[0], NODE_NAME_MAX, &f->err),
		&f->err);
	CHECK_OK(core_report_of(f, "n1", "\"addresses\":[\"10.0.0.1\"]"), &f->err);
	core_tick(f->core);
}

/* Nothing half done, whatever call of the store fails: refused orders leave all as it was. */
TEST(a_store_that_fails_at_any_call_changes_nothing)
{
	for (unsigned which = 0; which <= 9; which++) {
		struct core_fixture f;
		struct failing failing = {.store.ops = &failing_ops};
		int r = -1;

		start(&f);
		failing.behind = f.core->store;
		for (size_t n = 1; r < 0; n++) {
			CLEANUP(freep) char *before = picture_of(&f), *after = NULL;

			failing.calls = 0;
			failing.fail_at = n;
			f.core->store = &failing.store;
			r = order_of(&f, which);
			f.core->store = failing.behind;
			if (r < 0) {
				CHECK_CONTAINS(f.err.text, "no room left");
				after = picture_of(&f);
				CHECK_STR(after, before);
			}
			CHECK(n < 100);
		}
		core_teardown(&f);
	}
}
