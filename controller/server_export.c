/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An export takes as long as the fleet is large; a quarantine must not wait for it. So whoever
 * asked is parked, and the loop goes round between slices: what has come meanwhile is answered
 * first.
 */
#include "base/mem.h"
#include "controller/exchange.h"
#include "controller/woken.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_US 4000

struct export_run {
	struct exporting *work; /* NULL: it is over */
	struct exchange *x;     /* who waits */
	sd_event_source *slice;
	json_t *result;
	int r;
	struct err err;
};

static void run_free(struct export_run *run)
{
	sd_event_source_disable_unref(run->slice);
	core_export_free(run->work);
	json_decref(run->result);
	free(run);
}

/* Its connection goes on as that of a poll that was woken. */
static void resume(struct server *s, struct export_run *run)
{
	struct exchange *x = run->x;

	x->state = EXCHANGE_WOKEN;
	x->conn->due_s = server_seconds() + SERVER_ANSWER_S;
	MHD_resume_connection(x->connection);
	woken_soon(s->woken);
}

static int on_slice(sd_event_source *source, void *user)
{
	struct server *s = user;
	struct export_run *run = s->export;

	run->r = core_export_step(run->work, SLICE_US, &run->err);
	if (run->r > 0)
		return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	if (run->r == 0)
		run->result = core_export_result(run->work);
	core_export_free(TAKE_PTR(run->work));
	resume(s, run);
	return 0;
}

int server_export_begin(struct server *s, struct exchange *x, const char *dir, struct err *err)
{
	struct export_run *run;
	int r;

	if (s->export != NULL)
		return err_set(err, EBUSY,
			       "another export is under way; try again when it is over");
	run = mem_calloc(1, sizeof(*run));
	if (run == NULL)
		return err_set(err, ENOMEM, "out of memory");
	run->x = x;
	r = core_export_begin(s->core, dir, &run->work, err);
	if (r >= 0)
		r = sd_event_add_defer(s->loop, &run->slice, on_slice, s);
	/* At the same priority a source that is always ready is served before what epoll brings. */
	if (r >= 0)
		r = sd_event_source_set_priority(run->slice, SD_EVENT_PRIORITY_IDLE);
	if (r < 0) {
		run_free(run);
		return err->text[0] != '\0' ? r : err_set(err, -r, "event loop: %s", strerror(-r));
	}
	s->export = run;
	x->state = EXCHANGE_PARKED;
	x->conn->due_s = 0;
	MHD_suspend_connection(x->connection);
	return 0;
}

bool server_export_of(const struct server *s, const struct exchange *x)
{
	return s->export != NULL && s->export->x == x;
}

int server_export_end(struct server *s, json_t **ret, struct err *err)
{
	struct export_run *run = TAKE_PTR(s->export);
	int r = run->r;

	if (run->work != NULL)
		r = err_set(err, EBUSY, "the server is going down");
	else if (r < 0)
		*err = run->err;
	else if (run->result == NULL)
		r = err_set(err, ENOMEM, "out of memory");
	else
		*ret = TAKE_PTR(run->result);
	run_free(run);
	return r < 0 ? r : 0;
}

void server_export_drop(struct server *s)
{
	struct export_run *run = s->export;

	if (run == NULL)
		return;
	if (run->x->state == EXCHANGE_PARKED) {
		(void)sd_event_source_set_enabled(run->slice, SD_EVENT_OFF);
		resume(s, run);
		return;
	}
	run_free(TAKE_PTR(s->export));
}
