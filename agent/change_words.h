/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A change of policy in words: which conversations come and go, and the reach of each identity. */
#pragma once

#include "agent/agent.h"

/*
 * {adds, removes, changes, reach} of FORMATS `plan`. Conversations are those of this host; reach
 * counts parties over the whole policy. NULL when out of memory.
 */
json_t *change_words(const struct edition *before, const struct policy *policy,
		     const struct generation *after);
