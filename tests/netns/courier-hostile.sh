#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# UC-83: a courier that was taken over can delay, and lie about this node; it can put nothing into
# force, cost no more than a bounded amount of memory and time, and stop nothing.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-documents.sh"

host_add pay-1 11
host_add api-1 21
API=10.77.0.21
keys_make
SOCKET=$WORK/pay-1/run/courier.sock

# policy_of RULE...
policy_of() {
	{
		policy_head
		printf '%s\n' "$@"
		policy_nodes
	} | policy
}
place prod/payments/settlement pay-1
place prod/payments/backup pay-1
place prod/payments/api api-1 tcp/8443
policy_of "$(rule settlement-calls-api settlement api tcp/8443)"
signed_config pay-1 enforce
sed -i '/^source:/d' "$WORK/pay-1/agent.yaml"
echo 'source: {controller: {url: "https://10.77.0.99:8443"}}' >>"$WORK/pay-1/agent.yaml"
agent_start pay-1
serve api api-1 api.service 8443

# courier MODE [OPTION...]: in the background; waits for nothing
courier() {
	local mode=$1
	shift
	start "courier" pay-1 courier.service hostile_courier --socket "$SOCKET" --tree "$TREE" \
		--node pay-1 "$@" "$mode" ${HEADS[@]+"${HEADS[@]}"}
}
HEADS=()
in_force() { [ "$(bw_json pay-1 .policy_revision status)" = "$1" ]; }

# The honest one first: what it brings comes into force.
manifest 1
signed_view pay-1
head pay-1
cp "$TREE/heads/pay-1.dsse.json" "$WORK/old.json"
courier honest --for 200000
check "an honest courier brings policy" wait_for 40 in_force 1
[ "$FAILED" = 0 ] || finish_tests
check "which comes out of its probation" wait_for 60 bash -c \
	"bailiwick -C $WORK/pay-1/run status -o json | jq -e '.generation.candidate == null and .state == \"ready\"'"
stop courier
sequence() { bw_json pay-1 .documents.head_sequence status; }
taken=$(sequence)
talk live pay-1 settlement.service "$API" 8443
memory=$(awk '/^VmRSS/ { print $2 }' "/proc/${PID[agent-pay-1]:-$(cat "$WORK/pay-1/run/bailiwickd.pid")}/status")
agent_pid=$(cat "$WORK/pay-1/run/bailiwickd.pid")

# What would open more, signed by nobody who may; another node's; and an older one.
policy_of "$(rule settlement-calls-api settlement api tcp/8443)" "$(rule backup-calls-api backup api tcp/8443)"
manifest 2
head api-1
HEAD_KEYS=thief head pay-1
cp "$TREE/heads/pay-1.dsse.json" "$WORK/forged.json"
head pay-1 '"expires": "2020-01-01T00:00:00Z"'
cp "$TREE/heads/pay-1.dsse.json" "$WORK/expired.json"
head pay-1
cp "$TREE/heads/pay-1.dsse.json" "$WORK/next.json"
echo '{"payload": 1}' >"$WORK/nonsense.json"

# after NAME: the agent is as it was
after() {
	local began took
	finish courier 30 >/dev/null || stop courier KILL
	began=$(now_ms)
	check "$1: nothing came into force" in_force 1
	took=$(($(now_ms) - began))
	same "$1: the agent answers at once" "$((took < 2000))" 1
	same "$1: it is the same process" "$(cat "$WORK/pay-1/run/bailiwickd.pid")" "$agent_pid"
	same "$1: the head is the same" "$(sequence)" "$taken"
	check "$1: what is allowed runs on" goes_on live
}

# during NAME: while it goes on, the agent does its work
during() {
	local began
	began=$(now_ms)
	status_of bw pay-1 status
	same "$1: meanwhile status answers" "$(($? == 0 && $(now_ms) - began < 3000))" 1
	connects "$1: and new connections are judged" pay-1 settlement.service "$API" 8443
	denied "$1: as policy says" pay-1 backup.service "$API" 8443
}

for mode in garbage lengths nohello csrs endless; do
	courier $mode --for 3000
	pause 0.5
	during $mode
	after $mode
done

HEADS=("$WORK/forged.json" "$WORK/expired.json" "$TREE/heads/api-1.dsse.json" "$WORK/old.json" "$WORK/nonsense.json")
courier once --for 20000
after "forged, expired, old, others' heads"
like "and it is told why" "$(bw_json pay-1 '[.documents.errors[].code] | join(" ")' status)" 'signature|freeze|wrong_node|malformed'

HEADS=("$WORK/forged.json")
courier flood --for 4000
pause 0.5
during "a flood of heads"
after "a flood of heads"
HEADS=()

# The right head, and wrong bytes for each document that it names.
courier lies --for 5000
pause 0.5
during lies
finish courier 30 >/dev/null
check "lies: nothing came into force" in_force 1
check "lies: what is allowed runs on" goes_on live
same "no control character came to the log" "$(grep -c $'\033' "$WORK/pay-1/agent.log")" 0

courier deaf --for 3000
pause 0.5
during "a courier that answers nothing"
finish courier 30 >/dev/null

now=$(awk '/^VmHWM/ { print $2 }' "/proc/$agent_pid/status")
same "memory is bounded: $memory kB before, at most $now kB" "$((now < memory + 12000))" 1

# Only root and the courier's user are let in; and one at a time.
courier honest --for 60000
wait_line courier '^config' 30
expect "a second courier is sent away" 0 hostile_courier --socket "$SOCKET" --tree "$TREE" \
	--node pay-1 --for 1000 once
like "it is hung up on" "$SAID" '[1-9] hang-ups'
stop courier
expect "a stranger is sent away" 0 traffic --uid 64999 exec -- hostile_courier --socket "$SOCKET" \
	--tree "$TREE" --node pay-1 --for 1000 once
like "he is hung up on" "$SAID" '[1-9] hang-ups'

# And the honest one is still good for something.
courier honest --for 200000
check "an honest courier delivers after all that" wait_for 60 in_force 2
connects "and it works" pay-1 backup.service "$API" 8443
finish_tests
