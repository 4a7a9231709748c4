/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where the controller is, when its URL has a name: the essential that lets
 * bailiwick-courier.service, and no other unit, reach it (R45). config_essentials.c opens its port
 * to that unit at every address, so that a host which cannot look the name up is not cut off; here
 * that becomes the addresses that the name has, looked up by a process of its own, without a
 * capability and under a filter, because a resolver that hangs must not stop the heartbeat, and one
 * that was taken over must not run the table. The last answer stays until there is another,
 * restarts included.
 *
 * The courier is not asked: it would open its own way out.
 */
#pragma once

#include "agent/agent.h"

#define CONTROLLER_ADDRESSES_MAX 8
#define CONTROLLER_COURIER_UNIT  "bailiwick-courier.service"
/* `bailiwickd --look-up HOST` is the process that looks up, for the agent itself to execute. */
#define CONTROLLER_ADDRESS_OPTION "--look-up"

/* Before anything is opened: makes the process that looks up. NULL where there is no name. */
int controller_address_new(struct agent *a, struct controller_address **ret, struct err *err);
void controller_address_free(struct controller_address *c);
/* The addresses that were known last, before the first load. c may be NULL everywhere. */
int controller_address_load(struct controller_address *c, struct err *err);
/* Asks for the first time. */
int controller_address_start(struct controller_address *c, struct err *err);
/* Once a second; asks again now and then, sooner while the controller is not reached. */
void controller_address_tick(struct controller_address *c, bool connected);
/* That process: answers at descriptor 3. Ends at once where it has a capability. */
_Noreturn void controller_address_look_up(const char *host);
