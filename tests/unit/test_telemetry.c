/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/telemetry.h"

#include "agent/conntrack.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Groups that nothing uses: what happens on this machine is not this test's. */
#define UNUSED_GROUP 64999

static struct agent agent;
static char path[512];

static void no_log(enum log_level level, const char *line, void *user)
{
	(void)level;
	(void)line;
	(void)user;
}

/* Sources need privileges that a unit test may lack; records come in by telemetry_record(). */
static struct telemetry *start(void)
{
	struct telemetry *t = NULL;
	struct err err = {{0}};

	log_set_hook(no_log, NULL);
	memset(&agent, 0, sizeof(agent));
	(void)snprintf(path, sizeof(path), "%s/decisions.log", test_dir());
	(void)snprintf(agent.config.node, sizeof(agent.config.node), "pay-1");
	agent.config.decisions = DECISIONS_FILE;
	agent.config.decisions_file = path;
	agent.config.nflog_group = UNUSED_GROUP;
	CHECK(sd_event_new(&agent.event) >= 0);
	CHECK_OK(conntrack_open(&agent.conntrack, &err), &err);
	CHECK_OK(telemetry_new(&agent, &t, &err), &err);
	agent.telemetry = t;
	return t;
}

static void stop(struct telemetry *t)
{
	telemetry_free(t);
	conntrack_free(agent.conntrack);
	sd_event_unref(agent.event);
}

static json_t *denial(const char *from, int port, const char *decision)
{
	return json_pack("{s:s,s:s,s:{s:s,s:s,s:i},s:{s:s,s:s},s:s,s:s,s:i}", "decision", decision,
			 "reason", "no_rule", "from", "identity", from, "address", "10.77.0.11",
			 "port", port, "to", "identity", "prod/api", "address", "10.77.0.21",
			 "service", "tcp/8443", "direction", "out", "count", 1);
}

/* Lines of the file; their counts are added up in *ret_flows. */
static size_t lines(json_int_t *ret_flows)
{
	CLEANUP(freep) char *text = NULL;
	size_t len, n = 0;

	*ret_flows = 0;
	if (file_read(AT_FDCWD, path, 1 << 20, &text, &len, NULL) < 0)
		return 0;
	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1, n++) {
		json_t *json = json_loadb(line, (size_t)(end - line), 0, NULL);

		CHECK(json != NULL);
		*ret_flows += json_integer_value(json_object_get(json, "count"));
		json_decref(json);
	}
	return n;
}

static void count_record(void *user, const json_t *record)
{
	int *n = user;

	CHECK_STR(json_string_value(json_object_get(record, "node")), "pay-1");
	(*n)++;
}

TEST(a_flow_is_told_once_and_counted)
{
	struct telemetry *t = start();
	json_int_t flows;
	json_t *seen;

	for (int i = 0; i < 3; i++)
		telemetry_record(t, denial("prod/backup", 40000 + i, "denied"));
	CHECK_UINT(lines(&flows), 1);
	seen = telemetry_seen(t, "prod/backup", "prod/api", "tcp/8443");
	CHECK_INT(json_integer_value(json_object_get(seen, "count")), 3);
	CHECK_STR(json_string_value(json_object_get(seen, "last")), "from 10.77.0.11:40002");
	json_decref(seen);
	stop(t);
	CHECK_UINT(lines(&flows), 2);
	CHECK_INT(flows, 3);
}

TEST(seen_is_by_names_addresses_and_service)
{
	static const struct {
		const char *from, *to, *service;
		int count;
	} rows[] = {
		{NULL, NULL, NULL, 2},
		{"prod/backup", NULL, NULL, 1},
		{"prod/backup", "prod/api", "tcp/8443", 1},
		{"prod/backup", "prod/api", "tcp/443", 0},
		{"10.77.0.11", "10.77.0.21", NULL, 2},
		{"10.77.0.12", NULL, NULL, 0},
	};
	struct telemetry *t = start();

	telemetry_record(t, denial("prod/backup", 40000, "denied"));
	telemetry_record(t, denial("prod/other", 40000, "would_deny"));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		json_t *seen = telemetry_seen(t, rows[i].from, rows[i].to, rows[i].service);

		CHECK_INT(json_integer_value(json_object_get(seen, "count")), rows[i].count);
		json_decref(seen);
	}
	stop(t);
}

TEST(allowed_flows_do_not_push_denials_out)
{
	struct telemetry *t = start();
	char name[32];
	json_t *last;

	CHECK(telemetry_last_denial(t) == NULL);
	telemetry_record(t, denial("prod/backup", 40000, "denied"));
	for (int i = 0; i < 2 * TELEMETRY_RING_MAX; i++) {
		(void)snprintf(name, sizeof(name), "prod/%d", i);
		telemetry_record(t, denial(name, 40000, "allowed"));
	}
	last = telemetry_last_denial(t);
	CHECK_STR(json_string_value(json_object_get(json_object_get(last, "from"), "identity")),
		  "prod/backup");
	CHECK_UINT(telemetry_counters(t)->ring_dropped, 0);
	json_decref(last);
	stop(t);
}

static void wait_for_next_millisecond(void)
{
	struct mono then = mono_now();

	while (mono_ms_since(then, mono_now()) < 2)
		continue;
}

TEST(the_last_denial_is_the_one_seen_last)
{
	struct telemetry *t = start();
	json_t *last;

	telemetry_record(t, denial("prod/a", 1, "denied"));
	telemetry_record(t, denial("prod/b", 1, "would_deny"));
	wait_for_next_millisecond();
	telemetry_record(t, denial("prod/a", 2, "denied"));
	last = telemetry_last_denial(t);
	CHECK_STR(json_string_value(json_object_get(json_object_get(last, "from"), "identity")),
		  "prod/a");
	CHECK_INT(json_integer_value(json_object_get(last, "count")), 2);
	json_decref(last);
	stop(t);
}

TEST(the_ring_keeps_the_newest_and_counts_the_rest)
{
	struct telemetry *t = start();
	char name[32];
	json_t *seen;

	for (int i = 0; i < TELEMETRY_RING_MAX + 5; i++) {
		(void)snprintf(name, sizeof(name), "prod/%d", i);
		telemetry_record(t, denial(name, 40000, "denied"));
	}
	CHECK_UINT(telemetry_counters(t)->ring_dropped, 5);
	seen = telemetry_seen(t, "prod/4", NULL, NULL);
	CHECK_INT(json_integer_value(json_object_get(seen, "count")), 0);
	json_decref(seen);
	seen = telemetry_seen(t, "prod/5", NULL, NULL);
	CHECK_INT(json_integer_value(json_object_get(seen, "count")), 1);
	json_decref(seen);
	stop(t);
}

TEST(rates_are_those_of_the_last_minute)
{
	struct telemetry *t = start();
	struct telemetry_rates r;

	telemetry_record(t, denial("prod/a", 1, "denied"));
	telemetry_record(t, denial("prod/a", 2, "denied"));
	telemetry_record(t, denial("prod/b", 1, "would_deny"));
	telemetry_record(t, denial("prod/c", 1, "allowed"));
	telemetry_rates(t, &r);
	CHECK_UINT(r.denied, 2);
	CHECK_UINT(r.would_deny, 1);
	CHECK_UINT(r.allowed, 1);
	CHECK_UINT(telemetry_totals(t)->denied, 2);
	stop(t);
}

TEST(watchers_are_told_until_they_leave)
{
	struct telemetry *t = start();
	int first = 0, second = 0;

	CHECK_INT(telemetry_watch(t, count_record, &first), 0);
	CHECK_INT(telemetry_watch(t, count_record, &second), 0);
	telemetry_record(t, denial("prod/a", 1, "denied"));
	telemetry_unwatch(t, &first);
	telemetry_record(t, denial("prod/b", 1, "denied"));
	CHECK_INT(first, 1);
	CHECK_INT(second, 2);
	telemetry_unwatch(t, &second);
	stop(t);
}

struct leaver {
	struct telemetry *telemetry;
	int told;
};

static void leave(void *user, const json_t *record)
{
	struct leaver *l = user;

	(void)record;
	l->told++;
	telemetry_unwatch(l->telemetry, l);
}

TEST(a_watcher_may_leave_while_it_is_told)
{
	struct telemetry *t = start();
	struct leaver l = {t, 0};
	int other = 0;

	CHECK_INT(telemetry_watch(t, leave, &l), 0);
	CHECK_INT(telemetry_watch(t, count_record, &other), 0);
	telemetry_record(t, denial("prod/a", 1, "denied"));
	telemetry_record(t, denial("prod/b", 1, "denied"));
	CHECK_INT(l.told, 1);
	CHECK_INT(other, 2);
	telemetry_unwatch(t, &other);
	stop(t);
}

TEST(watchers_are_bounded)
{
	struct telemetry *t = start();
	int n[TELEMETRY_WATCHERS_MAX + 1] = {0};

	for (size_t i = 0; i < TELEMETRY_WATCHERS_MAX; i++)
		CHECK_INT(telemetry_watch(t, count_record, &n[i]), 0);
	CHECK_INT(telemetry_watch(t, count_record, &n[TELEMETRY_WATCHERS_MAX]), -EBUSY);
	stop(t);
}
