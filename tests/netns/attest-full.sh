# SPDX-License-Identifier: GPL-3.0-or-later
# What waits for answers is bounded: one node whose agent is silent takes no more than its share, and
# others are answered meanwhile; when the table or the queue is full, what does not fit is dropped,
# counted and told.
. "$(dirname "$0")/lib-attest.sh"

HOSTILE[pay-1]=1
host_add evil 66
attest_host pay-2
place prod/payments/settlement pay-2
attest_usual <<<"$(attested settlement-calls-api settlement api tcp/8443)"
serve api api-1 api.service 8443
hostile deaf pay-1 deaf
connects "before" pay-2 settlement.service "$API" 8443

# crowd COUNT PORT: so many connections of pay-1 begin at once, from that port on
crowd() {
	must at evil forge syn --from "$PAY" --sport "$2" --ports "$1" --count "$1" \
		--to "$API" --dport 8443
}
share() { [ "$(attest_count api-1 per_source)" -gt 0 ]; }
most=0 port=1024
# An agent that is silent for long is not asked for a while: then nothing is held at all.
crowded() {
	local now
	crowd 600 $port
	port=$((port + 600))
	now=$(held_by api-1)
	[ "$now" -gt $most ] && most=$now
	share && [ $most -gt 0 ]
}
check "one node's share is used up" wait_for 30 crowded
same "it is not more than its share ($most)" $((most <= 256)) 1
recorded "what is beyond is told" api-1 '.decision == "denied" and .reason == "peer_busy"'
crowd 600 30000
for i in 1 2 3; do
	connects "others are answered meanwhile ($i)" pay-2 settlement.service "$API" 8443
done
stop deaf
nothing_held() { [ "$(held_by api-1)" = 0 ]; }
check "in the end nothing is held" wait_for 10 nothing_held

# A small table.
agent_stop api-1
sed -i '/^attest:/a queues: {max_pending: 16}' "$WORK/api-1/agent.yaml"
agent_start api-1
check "a small table" wait_for 30 reaches pay-2 settlement.service "$API" 8443
hostile deaf2 pay-1 deaf
most=0
drops() { bw_json api-1 .queue.drops status; }
before=$(drops)
full() {
	crowded
	[ "$(drops)" -gt "$before" ]
}
check "it is full, which is counted" wait_for 30 full
same "and never holds more than it may ($most)" $((most <= 16)) 1
check "there is room again" wait_for 30 reaches pay-2 settlement.service "$API" 8443
same "nothing of the silent node's has reached the server" "$(said api | grep -c "$PAY")" 0
finish_tests
