/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the classification sets of a generation would say: the same records in the same order of
 * sets as the kernel's chains look them up. For flows that the kernel did not classify itself.
 */
#pragma once

#include "base/addr.h"
#include "rules/compile.h"

enum lookup_direction { LOOKUP_OUT, LOOKUP_IN };

/*
 * identity: index in the generation's policy. far: destination when it goes out, source when it
 * comes in. port: the service's. NULL when no conduit is defined (LIVE_NONE ones are returned).
 */
const struct conduit *lookup_conduit(const struct generation *g, uint32_t identity,
				     enum lookup_direction direction, const struct addr *far,
				     uint8_t l4proto, uint16_t port);
