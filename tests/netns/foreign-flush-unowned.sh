# SPDX-License-Identifier: GPL-3.0-or-later
# UC-86 on a kernel without persistent owners (R37): nothing keeps root from the table, so what is
# flushed, deleted or edited is seen by event and repaired, with an alert.
. "$(dirname "$0")/lib.sh"

unowned_tables

usual <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000')
END
same "the table has no owner" "$(bw_json pay-1 .table.owned status)" false
serve api api-1 api.service 8443
serve_udp api-udp api-1 api.service 9000
# A busy machine may take a second to repair; the conversation waits for it.
talk live pay-1 settlement.service "$API" 8443 --timeout 8000
repairs() { bw_json pay-1 .repairs status; }
denies() {
	run pay-1 backup.service traffic tcp-client "$API" 8443 --timeout 1000
	[ $? = $REFUSED ]
}
repaired() { # NAME
	check "$1: repaired" wait_for 15 more_repairs
	check "$1: denies" wait_for 15 denies
	connects "$1: permits" pay-1 settlement.service "$API" 8443
	udp_answers "$1: datagrams too" pay-1 settlement.service "$API" 9000
	before=$(repairs)
}
more_repairs() { [ "$(repairs)" -gt "$before" ]; }
before=$(repairs)
must host_nft pay-1 flush ruleset
repaired "flush ruleset"
runs_on "flush ruleset: a live flow goes on" live
must host_nft pay-1 delete table inet bailiwick
repaired "the table deleted"
runs_on "the table deleted: a live flow goes on" live
must host_nft pay-1 flush chain inet bailiwick out
repaired "a chain emptied"
runs_on "a chain emptied: a live flow goes on" live
must host_nft pay-1 insert rule inet bailiwick out accept
repaired "a rule slipped in"
runs_on "a rule slipped in: a live flow goes on" live
# Without verdicts nothing passes: what spoke in that moment may have been reset.
must host_nft pay-1 flush map inet bailiwick live
repaired "the verdicts flushed"
talk live2 pay-1 settlement.service "$API" 8443 --timeout 8000
like "the alert names who did it" "$(cat "$WORK/pay-1/agent.log")" \
	'ALERT: table bailiwick was deleted by nft'
agent_stop pay-1 KILL
must host_nft pay-1 flush ruleset
agent_start pay-1
check "what was flushed while no agent ran is back" wait_for 15 denies
runs_on "and the live flow goes on" live2
# What became of a flow that stands still: its marks, and what the agent has denied and done.
[ "$FAILED" = 0 ] || {
	for host in pay-1 api-1; do
		echo "--- $host: flow table, denials, agent"
		at "$host" conntrack -L -p tcp --dport 8443 2>/dev/null
		decisions "$host" | jq -c 'select(.decision == "denied") |
			[.time, .reason, .direction, .conduit, .from.port, .to.port, .count]' | tail -n 20
		grep -E 'ALERT|repaired' "$WORK/$host/agent.log"
	done
	host_nft pay-1 list map inet bailiwick live | head -n 20
} >&2
finish_tests
