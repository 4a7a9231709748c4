# SPDX-License-Identifier: GPL-3.0-or-later
# UC-37: a rule that was mapped becomes attested while connections run: those that the far agent
# vouches for go on, the others stop; back to mapped, all that runs goes on.
. "$(dirname "$0")/lib-attest.sh"

# pay-1 observes, so that there is something that nobody will vouch for.
attest_host pay-1 observe
attest_usual <<<"$(rule settlement-calls-api settlement api 'tcp/8443, udp/8443')"
serve api api-1 api.service 8443
serve_udp api-udp api-1 api.service 8443
talk good pay-1 settlement.service "$API" 8443 --timeout 9000
talk good6 pay-1 settlement.service "$API_6" 8443 --timeout 9000
talk bad pay-1 backup.service "$API" 8443 --timeout 9000
{ policy_head; attested settlement-calls-api settlement api 'tcp/8443, udp/8443'; } | policy
must apply pay-1
must apply api-1
is_cut "who is not vouched for stands still" bad 30
goes_on good 30
runs_on "who is goes on" good
runs_on "IPv6 too" good6
connects "a new one is vouched for" pay-1 settlement.service "$API" 8443
refused "a wrong one refused" pay-1 backup.service "$API" 8443

{ policy_head; rule settlement-calls-api settlement api 'tcp/8443, udp/8443'; } | policy
must apply api-1
runs_on "back to mapped: goes on" good
must apply pay-1
runs_on "and on" good6

# An agent that adopts running flows: in observe nothing is cut, then enforced.
must bw api-1 mode observe --reason test
talk stray pay-1 backup.service "$API" 8443 --timeout 9000
{ policy_head; attested settlement-calls-api settlement api 'tcp/8443, udp/8443'; } | policy
must apply pay-1
must apply api-1
runs_on "observed: the stray goes on" stray
must bw api-1 mode selective --reason test
is_cut "enforced: it ends" stray 30
goes_on good 30
runs_on "who is vouched for has not noticed" good

# Permitted as a network before: a flow comes onto the conduit that asks with its next packet, and
# that may be long after.
{
	policy_head
	rule everyone-calls-api everyone api tcp/8443
	printf 'networks:\n  - {name: everyone, cidrs: ["10.77.0.0/16"]}\n'
} | policy
must apply api-1
WAIT_FACTOR=4 talk idle pay-1 settlement.service "$API" 8443 --every 8000 --timeout 9000
{ policy_head; attested settlement-calls-api settlement api 'tcp/8443, udp/8443'; } | policy
must apply api-1
check "what says nothing for long goes on, too" goes_on idle 60

# Nobody can vouch when the rule begins to ask: its on_unavailable holds for what runs, too.
unvouched() { # WHAT SIGNAL
	{ policy_head; rule settlement-calls-api settlement api 'tcp/8443, udp/8443'; } | policy
	must apply pay-1
	must apply api-1
	talk "$1" pay-1 settlement.service "$API" 8443 --timeout 9000
	kill "-$2" "${PID[agent-pay-1]}"
	{
		policy_head
		attested settlement-calls-api settlement api 'tcp/8443, udp/8443' \
			'on_unavailable: allow'
	} | policy
	must apply api-1
	goes_on "$1" 60
	runs_on "the far agent is $1, the rule allows: it goes on" "$1"
}
unvouched hung STOP
kill -CONT "${PID[agent-pay-1]}"
unvouched dead KILL
finish_tests
