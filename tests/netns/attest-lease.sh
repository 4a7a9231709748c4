# SPDX-License-Identifier: GPL-3.0-or-later
# UC-29 UC-30 UC-37: the end of an attested rule ends its vouched flows in the kernel, with no agent
# alive at either end.
. "$(dirname "$0")/lib-attest.sh"

attest_host pay-1
attest_host api-1
for_long=$(attested for-long settlement api tcp/9000)
attest_usual <<<"$for_long"
serve api api-1 api.service 8443
serve long api-1 api.service 9000
serve_udp api-udp api-1 api.service 8443
# leased SECONDS: one of the rules ends so much later
leased() {
	end=$(date -u -d "+$1 seconds" +%FT%TZ)
	{
		policy_head
		attested for-a-while settlement api 'tcp/8443, udp/8443' "expires: $end"
		echo "$for_long"
	} | policy
	apply_all
}
leased 3600
talk ends pay-1 settlement.service "$API" 8443
talk stays pay-1 settlement.service "$API" 9000
udp_answers "datagrams before the end" pay-1 settlement.service "$API" 8443
# From here to its end there is little to do.
leased 10
same "it ends" "$(bw_json api-1 '[.conduits[] | select(.rule == "for-a-while" and
	.lease_ends != null)] | length > 0' conduits)" true
agent_stop pay-1 KILL
agent_stop api-1 KILL
finish ends 40
how=$?
same "its flow is cut" $((how == RESET || how == CLOSED || how == LOST)) 1
# The time of a file is read from a clock that is behind by a tick of up to 10 ms.
same "not before its end" $((($(told_ms ends) + 10) / 1000 >= $(date -d "$end" +%s))) 1
runs_on "the other rule's goes on" stays
denied "nothing begins" pay-1 settlement.service "$API" 8443
udp_denied "nor by datagrams" pay-1 settlement.service "$API" 8443
agents_start pay-1 api-1
denied "nor with the agents back" pay-1 settlement.service "$API" 8443
check "the other rule is asked for" wait_for 30 reaches pay-1 settlement.service "$API" 9000
finish_tests
