/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One verb, one file (FORMATS "Command line"); the results are its JSON objects. */
#pragma once

#include "agent/control.h"

extern const struct verb verb_status, verb_identities, verb_conduits, verb_flows, verb_inventory,
	verb_doctor, verb_history, verb_why, verb_watch, verb_plan, verb_version, verb_apply,
	verb_apply_offline, verb_confirm, verb_rollback, verb_mode, verb_revoke, verb_quarantine,
	verb_release, verb_grant, verb_suggest, verb_attest;

/* {identity, name, node, type} of a party. */
json_t *party_json(const struct generation *gen, uint32_t party);
/* {confirmed, candidate, falls_back_in} */
json_t *generation_json(const struct agent *a);
/* attestation, peers, no_agent, evidence and svid of status. */
void attestation_status(struct agent *a, json_t *o);
/* Names of nodes whose word rules here want, and which the view gives no endpoint of an agent. */
json_t *attestation_no_agent(const struct agent *a);
/* RFC 3339, or null for 0. */
json_t *wall_json(struct wall t);
