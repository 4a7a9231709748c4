# SPDX-License-Identifier: GPL-3.0-or-later
# UC-86: `nft flush ruleset` and edits by root leave the policy intact; what a flush destroys
# while no agent owns the table comes back with the agent.
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
serve api api-1 api.service 8443
talk live pay-1 settlement.service "$API" 8443
must host_nft pay-1 add table ip foreign
host_nft pay-1 flush ruleset
same "the foreign table is gone" "$(host_nft pay-1 list tables | grep -c foreign)" 0
check "ours is there" wait_for 15 host_nft pay-1 list table inet bailiwick
refused "and denies" pay-1 backup.service "$API" 8443
connects "and permits" pay-1 settlement.service "$API" 8443
runs_on "a live flow goes on" live
status_of host_nft pay-1 delete table inet bailiwick
owned=$?
check "after a deletion it is there" wait_for 15 host_nft pay-1 list table inet bailiwick
denies() {
	run pay-1 backup.service traffic tcp-client "$API" 8443 --timeout 1000
	[ $? = $REFUSED ]
}
check "and denies still" wait_for 15 denies
runs_on "the live flow still goes on" live
[ $owned = 0 ] || pass "an owned table refuses other hands"

agent_stop pay-1 KILL
host_nft pay-1 flush ruleset
agent_start pay-1
refused "after a flush without an owner the next agent denies again" \
	pay-1 backup.service "$API" 8443
connects "and permits again" pay-1 settlement.service "$API" 8443
runs_on "the live flow is adopted" live
finish_tests
