# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# One row: the memory of an agent with many conduits and with peers that it asks and that ask it.
#   B=... NODES=450 bash bench/peers.sh
#
# On api-1 each of ten services of the API is attested for each of NODES nodes: for each service a
# conduit that asks and one that is vouched for. Eight of the nodes are real hosts with agents; from each a connection is made whose both
# ends are asked about, so that two streams stand between it and api-1.
TEST=bench/peers
ID_PREFIX=bwbench
. "$(dirname "$0")/../tests/netns/lib-attest.sh"
exec 3>&2 # only the row goes to stdout

NODES=${NODES:-450}
PEERS=8
GOAL_MB=10
FIRST_PORT=8000

services() {
	seq -f 'tcp/%.0f' -s ', ' $FIRST_PORT $((FIRST_PORT + 9))
}

large_policy() {
	printf 'trust_domain: acme.example\nidentities:\n'
	identity settlement prod/payments/settlement settlement.service ''
	identity api prod/payments/api api.service "$(services)"
	printf 'rules:\n'
	attested settlement-calls-api settlement api "$(services)" 'callee: attested'
}

# The view of lib-attest.sh, and beside it nodes that nobody will hear of
large_view() {
	view_json api-1 | jq -c --argjson more $((NODES - PEERS)) '
		[range($more) | {node: "far-\(.)", addresses: ["10.\(128 + . / 65536 | floor
			).\(. / 256 | floor % 256).\(. % 256)"]}] as $far
		| .nodes += $far
		| .peers += [$far[] | . + {identity: "prod/payments/settlement"}]' | view_put api-1
}

# memory_kb VmRSS, or RssAnon: without the pages that files are mapped to, libraries' most of all
memory_kb() {
	awk -v what="$1:" '$1 == what { print $2 }' "/proc/${PID[agent-api-1]}/status"
}

connected_all() {
	[ "$(bw_json api-1 '[.peers[]? | select(.state == "connected")] | length' \
		status)" = $((2 * PEERS)) ]
}

attest_host api-1 selective
place prod/payments/api api-1
for i in $(seq $PEERS); do
	attest_host "pay-$i" selective
	place prod/payments/settlement "pay-$i"
done
views
large_view
large_policy | policy
agent_start api-1
must apply api-1
# As after a boot: what an apply needs for a while is no part of it.
agent_stop api-1
agent_start api-1
pause 2
alone=$(memory_kb VmRSS)
for i in $(seq $PEERS); do
	agent_start "pay-$i"
	must apply "pay-$i"
done
serve api api-1 api.service $FIRST_PORT
for i in $(seq $PEERS); do
	must run "pay-$i" settlement.service traffic tcp-client "${ADDR4[api-1]}" $FIRST_PORT \
		--timeout 8000
done
wait_for 5 connected_all || {
	fail "set-up" "not all peers are connected: $(bw_json api-1 .peers status | tr -d '\n ')"
	exit 1
}
pause 2
with=$(memory_kb VmRSS)
own=$(memory_kb RssAnon)
conduits=$(bw_json api-1 .conduits status)
jq -cn --argjson alone "$alone" --argjson with "$with" --argjson peers $PEERS \
	--argjson own "$own" --arg conduits "$conduits" --argjson goal $GOAL_MB '($with / 1024) as $mb
	| {id: "agent-memory-peers", unit: "MB", goal: "<= \($goal) MB", met: ($mb <= $goal),
	what: "agent memory, \($conduits) conduits, \($peers) connected peers, both directions",
	min: $mb, median: $mb, max: $mb,
	note: "\($alone / 102.4 | round / 10) MB before they connected, \(($with - $alone) / $peers
		| round) kB each; \($own / 102.4 | round / 10) MB without pages of libraries"}'
