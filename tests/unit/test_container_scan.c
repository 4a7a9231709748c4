/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/container_scan.h"

#include "base/mem.h"
#include "tests/unit/cgroup_fixture.h"
#include "tests/unit/test.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#define ID_A "5f2b6c0a4e7d1893c5b2a6f0e4d8c1b7a3f9e2d6c0b4a8f1e5d9c3b7a1f4e8d2"
#define ID_B "c0ffee00112233445566778899aabbccddeeff00112233445566778899aabbcc"

static void ignore(void *user)
{
	(void)user;
}

static int leave_network(void *user)
{
	(void)user;
	return unshare(CLONE_NEWNET);
}

static const json_t *entry_of(const json_t *list, pid_t pid)
{
	const json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
		if (json_integer_value(json_object_get(o, "pid")) == pid)
			return o;
	return NULL;
}

static const char *word(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text != NULL ? text : "(none)";
}

TEST(what_has_a_network_of_its_own_is_named)
{
	struct workloads_config config = {0};
	struct workloads *w = NULL;
	sd_event *event = NULL;
	struct err err = {{0}};
	pid_t container, unit, here;
	const json_t *o;
	size_t more = 0;
	json_t *list;
	int value = -1;

	fixture_cgroups();
	fixture_network();
	config.cgroup_root = fixture_root();
	CHECK(sd_event_new(&event) >= 0);
	CHECK_OK(workloads_new(&config, event, ignore, NULL, &w, &err), &err);
	fixture_make("system.slice/docker-" ID_A ".scope");
	fixture_make("system.slice/docker-" ID_B ".scope");
	fixture_make("system.slice/private.service");
	container = fixture_process("system.slice/docker-" ID_A ".scope", FIXTURE_NO_UID,
				    leave_network, NULL, &value);
	CHECK_INT(value, 0);
	unit = fixture_process("system.slice/private.service", FIXTURE_NO_UID, leave_network, NULL,
			       &value);
	here = fixture_process("system.slice/docker-" ID_B ".scope", FIXTURE_NO_UID, NULL, NULL,
			       NULL);

	list = containers_apart(w, &more);
	CHECK(list != NULL);
	o = entry_of(list, container);
	CHECK_STR(word(o, "runtime"), "docker");
	CHECK_STR(word(o, "container"), ID_A);
	CHECK_STR(word(o, "unit"), "docker-" ID_A ".scope");
	o = entry_of(list, unit);
	CHECK_STR(word(o, "runtime"), "");
	CHECK_STR(word(o, "unit"), "private.service");
	/* One in the host's network namespace is an identity like any. */
	CHECK(entry_of(list, here) == NULL);
	json_decref(list);
	workloads_free(w);
	sd_event_unref(event);
}
