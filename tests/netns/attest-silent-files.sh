# SPDX-License-Identifier: GPL-3.0-or-later
# UC-18: one identity runs an executable of a file system that it serves itself, and that does not
# answer. It counts as one that cannot be read, others' executables are measured all the same, and
# neither a start of the agent nor its end waits for it.
. "$(dirname "$0")/lib-attest.sh"

BIN=$WORK/bin
mkdir "$BIN"
for name in first second third; do
	cp "$WORK/tools/traffic" "$BIN/$name"
	printf '%s' "$name" >>"$BIN/$name"
done
REFERENCE=$(sha256sum "$BIN"/* | awk '{ printf "%s%s", sep, $1; sep = ", " }')
policy_head() {
	printf 'trust_domain: acme.example\nidentities:\n'
	identity settlement prod/payments/settlement settlement.service '' "reference: [$REFERENCE]"
	identity backup prod/payments/backup backup.service '' "reference: [$REFERENCE]"
	identity cache prod/payments/cache cache.service
	identity api prod/payments/api api.service 'tcp/8443'
	printf 'rules:\n'
}
client() {
	run pay-1 settlement.service "$BIN/$1" tcp-client "$API" 8443 \
		--timeout $((PATIENCE * WAIT_FACTOR))
}
attest_usual selective < <(measured settlement-calls-api settlement api tcp/8443)
serve api api-1 api.service 8443
expect "an approved executable passes" $DONE client first

FILES=$WORK/pay-1/tmpfs
mkdir "$FILES"
start_fed silent pay-1 files.service silent_fs "$FILES" "$WORK/tools/traffic"
wait_line silent '^mounted' || skip_all "no FUSE here"
# What it takes to run it is in memory then; what is behind is not.
start warm pay-1 files.service "$FILES/program" tcp-server :: 5555
wait_line warm '^listening' || exit 1
stop warm
feed silent now
wait_line silent '^silent' || exit 1
start slow pay-1 backup.service "$FILES/program" tcp-server :: 5555
check "the one on the silent file system runs" wait_line slow '^listening'

told() { bw_json pay-1 '.evidence[].identity' status | grep -q backup; }
check "it counts as one that cannot be read" wait_for 25 told
expect "another's executable that is new is measured" $DONE client second
agent_stop pay-1 KILL
agent_start pay-1
check "a start does not wait for it" agent_ready pay-1
check "and takes it for unreadable" wait_for 25 told
expect "others are measured then, too" $DONE client third
before=$(now_ms)
agent_stop pay-1
check "an end does not wait for it" test $(($(now_ms) - before)) -lt $((9000 * WAIT_FACTOR))
finish_tests
