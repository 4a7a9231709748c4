/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The courier faces the network, so it has nothing worth taking: no capability, a user of its own,
 * no new privileges, a system call filter. The unit file does the same from outside.
 */
#pragma once

#include "base/err.h"

#define COURIER_USER_DEFAULT "bailiwick-courier"

/*
 * As root: becomes `user` (name or number; NULL: bailiwick-courier). As anybody else the user stays
 * what it is. In every case no capability is left.
 */
int privilege_drop(const char *user, struct err *err);
/* No new privileges, no new programs, none of the calls that a courier never makes. */
int privilege_confine(struct err *err);
