/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `attest ping` from the engine's side: whoever asked gets one answer, whatever happens. */
#include "agent/attest.h"

#include "agent/workload.h"
#include "tests/unit/cgroup_fixture.h"
#include "tests/unit/peers_fixture.h"

#include <jansson.h>

struct asked {
	unsigned answers, without;
};

static void ignore(void *user)
{
	(void)user;
}

static void on_pinged(void *user, json_t *result)
{
	struct asked *a = user;

	a->answers++;
	a->without += result == NULL;
	json_decref(result);
}

TEST(pings_that_are_on_their_way_are_answered_when_the_agent_ends)
{
	struct workloads_config config = {0};
	struct asked asked = {0};
	struct attest *t = NULL;
	struct err err = {{0}};
	struct world w;

	fixture_cgroups();
	fixture_network();
	config.cgroup_root = fixture_root();
	world_make(&w);
	CHECK_OK(workloads_new(&config, w.event, ignore, NULL, &w.a.agent.workloads, &err), &err);
	w.a.agent.config.queue_max_pending = 16;
	CHECK_OK(attest_open(&w.a.agent, &t, &err), &err);
	/* The stream stands before the clock of these two runs, however slow the machine is. */
	CHECK_OK(attest_ping(t, "api-1", NULL, on_pinged, &asked, &err), &err);
	WORLD_UNTIL(&w, asked.answers == 1);
	asked = (struct asked){0};
	w.b.answers = ANSWER_LATER;
	CHECK_OK(attest_ping(t, "api-1", NULL, on_pinged, &asked, &err), &err);
	CHECK_OK(attest_ping(t, "api-1", NULL, on_pinged, &asked, &err), &err);
	WORLD_UNTIL(&w, w.b.held_count == 2);
	CHECK_UINT(asked.answers, 0);
	attest_free(t);
	CHECK_UINT(asked.answers, 2);
	CHECK_UINT(asked.without, 2);
	workloads_free(w.a.agent.workloads);
	world_done(&w);
}
