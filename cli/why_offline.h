/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `why --policy DIR`: the oracle's answer from files alone. */
#pragma once

#include "cli/cli.h"
#include "rules/service.h"

/* words: SRC and DST as given. Prints and returns the exit code. */
int why_offline(struct cli *c, const struct verb *v, const char *dir, char *const words[2],
		const struct service *service);
