# SPDX-License-Identifier: GPL-3.0-or-later
# UC-39: just-in-time access. A grant opens one pair of a rule that policy marks grantable, ends in
# the kernel with both agents dead, does not lift a quarantine, and opens nothing that policy does
# not foresee.
. "$(dirname "$0")/lib.sh"

JIT=break-glass
usual <<END
$(rule $JIT 'settlement, backup' api tcp/8443 'grantable: {max: 1h}')
$(rule plain settlement api tcp/9000)
END
serve api api-1 api.service 8443
serve other api-1 api.service 9000

# grant HOST RULE FROM TO DURATION
grant() {
	bw "$1" grant "$2" --from "$3" --to "$4" --for "$5" --reason 'ticket 7'
}

# Both ends enforce: the caller's host and the called one are asked.
grant_both() {
	grant pay-1 "$@" && grant api-1 "$@"
}

refused "without a grant the rule opens nothing" pay-1 settlement.service "$API" 8443
status_of bw pay-1 why settlement api tcp/8443 -o json
like "and why says that none is in force" "$SAID" 'no grant for settlement > api is in force'

expect "a rule that is not grantable is not granted" 3 grant pay-1 plain settlement api 10m
like "with the reason" "$SAID" 'not grantable'
expect "nor is more than the rule allows" 3 grant pay-1 $JIT settlement api 2h
like "which is told" "$SAID" 'at most 60min'
expect "nor a pair that the rule does not name" 3 grant pay-1 $JIT cache api 10m
like "which is told too" "$SAID" 'not under from:'
expect "a grant has an end" 2 bw pay-1 grant $JIT --from settlement --to api --reason x
expect "and a reason" 2 bw pay-1 grant $JIT --from settlement --to api --for 10m

talk plain pay-1 settlement.service "$API" 9000
must grant_both $JIT settlement api 10m
connects "a grant opens its pair" pay-1 settlement.service "$API" 8443
refused "and no other pair of the rule" pay-1 backup.service "$API" 8443
like "it is a lease" "$(bw_json pay-1 '.conduits[] | select(.rule == "'$JIT'" and
	.from.name == "settlement") | .verdict' conduits)" '^leased$'
like "history says who and why" "$(bw_json pay-1 '.changes[-1] | .who, .reason' history)" \
	'root.ticket 7'

talk session pay-1 settlement.service "$API" 8443
agent_stop pay-1 KILL
agent_start pay-1
runs_on "the grant outlives the agent" session

must bw pay-1 quarantine identity prod/payments/settlement --reason 'incident 8'
is_cut "a quarantine beats it" session
status_of grant pay-1 $JIT settlement api 10m
like "a new grant says that it does not open" "$SAID" 'does not open yet: quarantined'
refused "and it does not" pay-1 settlement.service "$API" 8443
must bw pay-1 release identity prod/payments/settlement --reason 'incident 8 closed'
connects "after the release it counts again" pay-1 settlement.service "$API" 8443

must bw pay-1 revoke rule $JIT --for 1h --reason 'incident 9'
refused "so does a revocation" pay-1 settlement.service "$API" 8443

# For backup, to the second, in the kernel: nobody is there to end it.
must bw api-1 grant $JIT --from backup --to api --for 10m --reason 'ticket 8'
agent_stop pay-1 KILL
rm -rf "$WORK/pay-1/state/overlay.json" "$WORK/pay-1"/{state,run}/spare
agent_start pay-1
talk plain2 pay-1 settlement.service "$API" 9000
seconds=7
asked=$(date +%s%3N)
must grant pay-1 $JIT backup api ${seconds}s
granted=$(date +%s%3N)
talk session2 pay-1 backup.service "$API" 8443
agent_stop pay-1 KILL
agent_stop api-1 KILL
is_cut "with both agents dead the kernel ends it" session2
# It was granted between the question and the answer; ends are whole seconds.
early=$(($(told_ms session2) - asked - seconds * 1000))
late=$(($(told_ms session2) - granted - seconds * 1000))
same "not before its time (off by $early ms)" $((early > -1300)) 1
same "and at its time (off by $late ms)" $((late < 2500)) 1
denied "nothing new is let through" pay-1 backup.service "$API" 8443
runs_on "other flows go on" plain2
finish_tests
