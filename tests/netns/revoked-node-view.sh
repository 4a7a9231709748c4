# SPDX-License-Identifier: GPL-3.0-or-later
# UC-69: a node that the signed manifest revokes is nobody to the others, whatever a controller's view
# says of it: its flows are cut, it is not called, and a newer view does not bring it back.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-documents.sh"

host_add pay-1 11
host_add api-1 21
place_usual
SEQUENCE=1
keys_make
signed_config pay-1 selective
{
	policy_head
	rule calls settlement api tcp/8443
	policy_nodes
} | policy
manifest 1
head pay-1
must deliver pay-1
agent_start pay-1
API=${ADDR4[api-1]}
serve api api-1 api.service 8443
check "the first policy is in force" wait_for 15 in_force pay-1 1
connects "before, the node is called" pay-1 settlement.service "$API" 8443
talk transfer pay-1 settlement.service "$API" 8443

manifest 2 '"revoked_nodes": ["api-1", "api-9"]'
head pay-1
must deliver pay-1
is_cut "its flow is cut" transfer
refused "it is not called" pay-1 settlement.service "$API" 8443
check "the manifest is in force" wait_for 20 in_force pay-1 2
check "what is left out of the view is told" refused_as pay-1 revoked_node
like "with the node's name" "$(bw_json pay-1 '.documents.errors[].text' status)" "'api-1' is revoked"
agent_stop pay-1 KILL
agent_start pay-1
refused "nor is it after a restart" pay-1 settlement.service "$API" 8443
SEQUENCE=2
signed_view pay-1
head pay-1
must deliver pay-1
check "a newer view that names it again is taken" wait_for 10 head_in_force pay-1
refused "without it" pay-1 settlement.service "$API" 8443
check "and that is told" refused_as pay-1 revoked_node

manifest 3
SEQUENCE=3
signed_view pay-1
head pay-1
must deliver pay-1
check "a manifest without it is in force" wait_for 20 in_force pay-1 3
connects "and the node is called again" pay-1 settlement.service "$API" 8443
same "no trouble" "$(bw_json pay-1 '.documents.errors | length' status)" 0

# Its policy may fall back: what policy keys say of a node does not, nor with a restart.
on_trial() { [ "$(bw_json pay-1 .generation.candidate status)" = "$1" ]; }
manifest 4 '"revoked_nodes": ["api-1"]'
head pay-1
must deliver pay-1
check "a manifest that names it again is on probation" wait_for 15 on_trial 4
must bw pay-1 rollback
refused "the node is not called while its policy falls back" pay-1 settlement.service "$API" 8443
agent_stop pay-1 KILL
agent_start pay-1
check "it is tried once more" wait_for 15 on_trial 4
must bw pay-1 rollback
agent_stop pay-1 KILL
agent_start pay-1
same "and then no more" "$(bw_json pay-1 .policy_revision status)" 3
refused "the node is not called after a restart" pay-1 settlement.service "$API" 8443
finish_tests
