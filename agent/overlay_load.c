/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What operators closed here, at a start. Where neither the file nor a copy of it can be read, the
 * kernel still knows: what policy would open now and the kernel's table does not is taken for
 * closed, conduit by conduit, and stays so until somebody releases it.
 */
#include "agent/overlay.h"
#include "agent/store.h"
#include "base/log.h"
#include "base/mem.h"
#include "rules/marks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ADOPTED_REASON "overlay.json was lost: closed in the kernel when the agent started"

int overlay_load(struct agent *a, struct err *err)
{
	char text[ERR_TEXT_MAX];
	struct err cause = {{0}};
	int r = store_overlay_read(a->store, a->conduit_numbers, &a->overlay, &cause);

	if (r >= 0)
		return 0;
	if (r == -ENOMEM)
		return err_set(err, ENOMEM, "out of memory");
	store_overlay_aside(a->store);
	(void)snprintf(
		text, sizeof(text),
		"overlay.json was damaged and is kept as overlay.json.damaged (%.256s); what "
		"it revoked stays closed as far as the kernel knows it: see bailiwick status, "
		"and revoke or quarantine again",
		cause.text);
	agent_damaged(a, text);
	a->overlay_lost = true;
	return 0;
}

static bool is_live(const struct set_items *live, uint32_t number)
{
	uint32_t vouched = number | MARK_VOUCHED;

	return live && (set_items_find(live, &number) || set_items_find(live, &vouched));
}

static int adopt_one(struct overlay *ov, uint32_t number)
{
	struct overlay_revoked entry = {.kind = REVOKED_CONDUIT};
	struct overlay_revoked *grown =
		reallocarray(ov->revoked, ov->revoked_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	ov->revoked = grown;
	entry.name = mem_printf("%u", number);
	entry.reason = mem_strdup(ADOPTED_REASON);
	if (!entry.name || !entry.reason) {
		free(entry.name);
		free(entry.reason);
		return -ENOMEM;
	}
	grown[ov->revoked_count++] = entry;
	return 0;
}

int overlay_adopt(struct agent *a, struct err *err)
{
	CLEANUP(generation_freep) struct generation *gen = NULL;
	CLEANUP(generation_freep) struct generation *candidate = NULL;
	const struct set_items *live;
	size_t count = 0;
	int r;

	if (!a->overlay_lost || !a->applied || !a->enforcing)
		return 0;
	r = agent_compile(a, &gen, &candidate, err);
	live = ruleset_find(a->applied, (struct set_ref){.kind = SET_LIVE});
	for (size_t i = 0; r >= 0 && i < gen->conduit_count; i++) {
		const struct conduit *c = &gen->conduits[i];

		if ((c->flags & CONDUIT_ESSENTIAL) ||
		    (c->verdict == LIVE_NONE && c->vouched == LIVE_NONE) ||
		    is_live(live, c->number) || a->overlay.revoked_count >= STORE_OVERLAY_MAX)
			continue;
		r = adopt_one(&a->overlay, c->number);
		count++;
	}
	if (r < 0)
		return r == -ENOMEM ? err_set(err, ENOMEM, "out of memory") : r;
	log_warn("%zu conduits that the kernel does not let run stay closed", count);
	agent_overlay_keep(a);
	return 0;
}
