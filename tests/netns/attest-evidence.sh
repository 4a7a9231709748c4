# SPDX-License-Identifier: GPL-3.0-or-later
# UC-5 UC-18: a rule that says measured demands an approved executable: of the caller at each
# connection, and of everything that runs under the identity for as long as its connections live. A
# descriptor that was passed on, and a process that was moved, are noticed.
. "$(dirname "$0")/lib-attest.sh"

BIN=$WORK/bin
mkdir "$BIN"
# program NAME [TEXT]: one of its own, by its bytes
program() {
	cp "$WORK/tools/traffic" "$BIN/$1.new"
	printf '%s' "${2:-}" >>"$BIN/$1.new"
	mv "$BIN/$1.new" "$BIN/$1"
}
digest() { sha256sum "$1" | cut -d' ' -f1; }
program approved 1
program other 2
# Makes and passes sockets.
TRAVEL=$WORK/tools/travel
REFERENCE="$(digest "$BIN/approved"), $(digest "$TRAVEL")"

policy_head() {
	printf 'trust_domain: acme.example\nidentities:\n'
	identity settlement prod/payments/settlement settlement.service '' "reference: [$REFERENCE]"
	identity backup prod/payments/backup backup.service ''
	identity cache prod/payments/cache cache.service
	identity api prod/payments/api api.service 'tcp/8443, tcp/9000'
	printf 'rules:\n'
}
rules() {
	measured settlement-calls-api settlement api tcp/8443
	attested settlement-asks-api settlement api tcp/9000
}
# client PROGRAM PORT [OPTION...]: in settlement's unit
client() {
	run pay-1 settlement.service "$BIN/$1" tcp-client "$API" "$2" \
		--timeout $((PATIENCE * WAIT_FACTOR)) "${@:3}"
}
talking() {
	start "$1" pay-1 settlement.service "$BIN/$2" tcp-client "$API" 8443 --count 0 \
		--every "$TALK_STEP" --progress --timeout $((PATIENCE * WAIT_FACTOR))
	wait_line "$1" '^message 2' || fail "set-up" "no conversation '$1': $(last_line "$1")"
}
# problems HOST: of executables, as status has them
problems() {
	bw_json "$1" '.evidence | length' status
}
troubled() {
	[ "$(problems "$1")" -gt 0 ]
}
untroubled() {
	[ "$(problems "$1")" = 0 ]
}

attest_usual selective <<<"$(rules)"
serve api api-1 api.service 8443
serve attested api-1 api.service 9000

# --- each connection

expect "an approved executable passes" $DONE client approved 8443
recorded "as measured" api-1 '
	.decision == "allowed" and .assurance == "measured" and .service == "tcp/8443"'
expect "another one is refused" $REFUSED client other 8443
recorded "for what it is" api-1 '
	.decision == "denied" and .reason == "not_measured"
	and .from.identity == "prod/payments/settlement"'
expect "where a rule only says attested it passes" $DONE client other 9000
same "nothing else has reached the measured port" "$(server_connections api)" 1

# --- sockets that travel

expect "a program that keeps its socket passes" $DONE \
	run pay-1 settlement.service "$TRAVEL" keep "$API" 8443
start giver pay-1 settlement.service "$TRAVEL" give "$API" 8443 "$WORK/passing"
wait_line giver '^waiting' || fail "set-up" "$(said giver)"
expect "a socket that was passed to another unit is refused" $REFUSED \
	run pay-1 backup.service "$TRAVEL" take "$API" 8443 "$WORK/passing"
recorded "as another's" api-1 '.decision == "denied" and
	(.reason == "attest_refused:holder_mismatch" or .reason == "not_measured")'
check "the agent names who has it" wait_for 15 \
	grep -q 'process [0-9]*, of another cgroup than the socket.s, holds it' \
	"$WORK/pay-1/agent.log"
finish giver

start_fed mover pay-1 settlement.service "$TRAVEL" wait "$API" 8443
wait_line mover '^waiting' || fail "set-up" "$(said mover)"
echo "${PID[mover]}" >"$(unit_dir pay-1 backup.service)/cgroup.procs"
feed mover go
finish mover
same "a process that was moved is refused" $? $REFUSED

# --- what runs meanwhile

check "nothing is wrong" wait_for 15 untroubled pay-1
talking live approved
start intruder pay-1 settlement.service "$BIN/other" tcp-server :: 9999
is_cut "an executable that is not approved ends what is measured" live
recorded "it is denied where it comes from" pay-1 '
	.decision == "denied" and .direction == "out" and .service == "tcp/8443"'
check "there is an alert" grep -q 'settlement: process .*none of the approved' \
	"$WORK/pay-1/agent.log"
same "and status tells of it" "$(problems pay-1)" 1
expect "new connections are closed" $REFUSED client approved 8443
expect "what is only attested goes on" $DONE client approved 9000
agent_stop pay-1 KILL
agent_start pay-1
expect "a restart of the agent opens nothing" $REFUSED client approved 8443
same "and knows why" "$(problems pay-1)" 1
stop intruder KILL
check "it is over when everything is approved" wait_for 30 client approved 8443
check "for status, too" wait_for 15 untroubled pay-1

# --- replaced on disk, as an upgrade does it

talking live approved
program approved 3
check "an upgrade under a running process is a warning" wait_for 15 troubled pay-1
runs_on "it goes on" live
expect "the new file is not approved yet" $REFUSED client approved 8443
runs_on "which does not end the old one" live
REFERENCE="$REFERENCE, $(digest "$BIN/approved")"
{ policy_head; rules; } | policy
apply_all
expect "until policy approves it" $DONE client approved 8443
runs_on "it still goes on" live
# The agent with the other answer to upgrades
sed -i '/^evidence:/d' "$WORK/pay-1/agent.yaml"
echo 'evidence: {deleted_exe: deny}' >>"$WORK/pay-1/agent.yaml"
agent_stop pay-1
agent_start pay-1
is_cut "or is not approved any more, where configured so" live
check "after which the new one may" wait_for 30 client approved 8443
finish_tests
