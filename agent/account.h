/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Users and groups of this host by name, or by number where no such name is (getpwnam_r(3)). Asked
 * when a policy is taken into use, never while a packet waits: a name service may be slow.
 */
#pragma once

#include "agent/claim.h"

extern const struct claim_names account_names;
