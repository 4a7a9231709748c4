/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table of verbs. Those that only read are open to group bailiwick. */
#include "agent/verbs.h"

#include <stddef.h>

const struct verb *const control_verbs[] = {
	&verb_status,        &verb_identities, &verb_conduits, &verb_flows,
	&verb_inventory,     &verb_doctor,     &verb_history,  &verb_why,
	&verb_watch,         &verb_plan,       &verb_version,  &verb_apply,
	&verb_apply_offline, &verb_confirm,    &verb_rollback, &verb_mode,
	&verb_revoke,        &verb_quarantine, &verb_release,  &verb_grant,
	&verb_suggest,       &verb_attest,     NULL,
};
