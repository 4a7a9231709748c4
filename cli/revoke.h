/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What `revoke` and `release` have in common: a kind, a name and a reason. */
#pragma once

#include "cli/cli.h"

/* The request's arguments, or NULL with *ret_exit set and the error printed. */
json_t *revoke_args(struct cli *c, const struct verb *v, const struct args *a, size_t reason,
		    int *ret_exit);
