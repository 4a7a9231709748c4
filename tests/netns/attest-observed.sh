# SPDX-License-Identifier: GPL-3.0-or-later
# UC-28 UC-67: where a node, an identity or a rule only observes, a question that fails denies
# nothing and is recorded with its reason.
. "$(dirname "$0")/lib-attest.sh"

attest_host pay-1 observe
attest_host api-1 observe
attest_usual <<<"$(attested settlement-calls-api settlement api 'tcp/8443, udp/8443')"
serve api api-1 api.service 8443
serve_udp api-udp api-1 api.service 8443
# passes NAME UNIT: a connection comes to be, perhaps after retransmissions
passes() {
	connects "$1" pay-1 "$2" "$API" 8443
	udp_answers "$1, datagrams" pay-1 "$2" "$API" 8443
}
# Not while the far agent that was dead is still taken for dead.
asked_again() {
	local before
	before=$(attest_count api-1 vouched)
	reaches pay-1 settlement.service "$API" 8443
	[ "$(attest_count api-1 vouched)" -gt "$before" ]
}
# failing NAME: each way a question fails
failing() {
	check "$1: questions are answered" wait_for 30 asked_again
	passes "$1: vouched for" settlement.service
	passes "$1: the wrong identity" backup.service
	recorded "$1: it is recorded" api-1 '.decision == "would_deny" and
		.from.identity == "prod/payments/backup"'
	passes "$1: nobody's process" nobody.service
	recorded "$1: that too" api-1 '.decision == "would_deny" and
		.reason == "attest_refused:no_identity"'
	kill -STOP "${PID[agent-pay-1]}"
	passes "$1: the peer hangs" settlement.service
	kill -CONT "${PID[agent-pay-1]}"
	agent_stop pay-1 KILL
	passes "$1: the peer is dead" settlement.service
	recorded "$1: that is recorded" api-1 '.decision == "would_deny" and
		(.reason | test("^attest_(unavailable|timeout)$"))'
	kill -STOP "${PID[agent-api-1]}"
	pause 3
	passes "$1: this host's agent hangs" settlement.service
	kill -CONT "${PID[agent-api-1]}"
	agent_start pay-1
	: >"$WORK/api-1/decisions.log"
}
failing "node"
{
	policy_head | sed '/name: api/s/}$/, mode: observe}/'
	attested settlement-calls-api settlement api 'tcp/8443, udp/8443'
} | policy
apply_all
must bw api-1 mode selective --reason test
failing "identity"
{
	policy_head
	attested settlement-calls-api settlement api 'tcp/8443, udp/8443' 'mode: observe'
} | policy
apply_all
failing "rule"
{ policy_head; attested settlement-calls-api settlement api 'tcp/8443, udp/8443'; } | policy
apply_all
check "enforced: vouched for" wait_for 30 reaches pay-1 settlement.service "$API" 8443
refused "enforced: the wrong identity" pay-1 backup.service "$API" 8443
finish_tests
