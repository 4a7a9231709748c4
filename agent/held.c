/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/held.h"

#include "agent/agent.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>

static const struct {
	unsigned what;
	const char *word;
} words[] = {
	{HELD_POLICY, " policy"},
	{HELD_VIEW, " view"},
	{HELD_HEAD, " head"},
};

static int say(const struct agent *a, struct err *err)
{
	const char *text[ARRAY_LEN(words)];

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		text[i] = a->held & words[i].what ? words[i].word : "";
	return err_set(err, EAGAIN,
		       "what was in force cannot be read any more; the kernel's table stays as it "
		       "is until there is a new:%s%s%s",
		       text[0], text[1], text[2]);
}

int held_begin(struct agent *a, struct err *err)
{
	int r;

	/* The parts ask for a generation; this one is never sent. */
	edition_done(&a->candidate);
	a->doubling = false;
	r = agent_compile(a, &a->confirmed.gen, &a->candidate.gen, err);
	if (r < 0)
		return r;
	(void)say(a, err);
	log_error("%s", err->text);
	freep(&a->drift);
	a->drift = mem_strdup(err->text);
	return a->drift ? 0 : err_set(err, ENOMEM, "out of memory");
}

void held_head_came(struct agent *a)
{
	a->held &= ~(unsigned)HELD_HEAD;
}

bool held_over(struct agent *a, struct err *err)
{
	bool policy = (a->held & HELD_POLICY) && !a->confirmed.revision;
	bool view = (a->held & HELD_VIEW) && !a->view->sequence;

	if (!a->held)
		return true;
	if (policy || view || (a->held & HELD_HEAD)) {
		(void)say(a, err);
		return false;
	}
	/* A candidate that nobody knows of: the kernel would have fallen back by itself. */
	if (nft_switch_clear(a->nft, SET_CANDIDATE_ON, err) < 0)
		return false;
	log_info("what was missing is here; the table follows it again");
	a->held = 0;
	return true;
}
