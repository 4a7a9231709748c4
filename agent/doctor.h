/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the checks of `doctor` share. */
#pragma once

#include "agent/agent.h"

#include <jansson.h>
#include <sys/types.h>

struct diagnosis {
	struct agent *agent;
	json_t *checks;
	bool ok;
	pid_t asking;
};

/* One line; consequence: of a check that fails. */
void doctor_check(struct diagnosis *d, const char *name, bool ok, const char *detail,
		  const char *consequence);

/* --- doctor_attest.c: what attested and measured rules need --- */
void doctor_attest(struct diagnosis *d);
/* Whether the file system of the agent's own executable has fs-verity. */
bool doctor_has_verity(void);
