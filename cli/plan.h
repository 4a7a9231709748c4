/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The plan of a change in words, and the request that carries policy texts: `plan` and `apply`. */
#pragma once

#include "cli/cli.h"

/* Adds, removes, changes, reach; nft text when verbose. */
void plan_render(const json_t *result, const struct screen *s, struct buf *b);

/*
 * Reads and checks the policy at `path`; warnings go to stderr. On success {files: [{name, text}]};
 * otherwise NULL, *ret_exit set and everything printed.
 */
json_t *plan_files(struct cli *c, const struct verb *v, const char *path, int *ret_exit);
