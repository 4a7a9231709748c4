# SPDX-License-Identifier: GPL-3.0-or-later
# UC-62: what was vouched for runs on while agents are killed, stopped and started at either end; a
# peer that hangs costs silence, not an opening; and no connection waits for ever.
. "$(dirname "$0")/lib-attest.sh"

attest_usual <<<"$(attested settlement-calls-api settlement api tcp/8443)"
serve api api-1 api.service 8443
talk live pay-1 settlement.service "$API" 8443
caller="pay-1 settlement.service"

kill -STOP "${PID[agent-pay-1]}"
silent "a peer that hangs: no answer" $caller "$API" 8443
recorded "the time-out is recorded" api-1 '.decision == "denied" and
	(.reason == "attest_timeout" or .reason == "attest_unavailable")'
runs_on "a peer that hangs: what was vouched for goes on" live
kill -CONT "${PID[agent-pay-1]}"
check "a peer that goes on is asked again" wait_for 30 reaches $caller "$API" 8443

for host in pay-1 api-1; do
	agent_stop $host KILL
	runs_on "agent of $host killed: what was vouched for goes on" live
	check "agent of $host killed: nothing begins" wait_for 10 reaches_not $caller "$API" 8443
	agent_start $host
	check "agent of $host is back" wait_for 30 reaches $caller "$API" 8443
	runs_on "agent of $host is back: the flow has not noticed" live
done

agent_stop api-1 KILL
agent_stop pay-1 KILL
runs_on "both killed: it goes on" live
denied "both killed: nothing begins" $caller "$API" 8443
agents_start api-1 pay-1
check "both are back" wait_for 30 reaches $caller "$API" 8443
runs_on "and it still goes on" live

# The next agent can still end what the last one vouched for.
must bw api-1 revoke rule settlement-calls-api --reason test
is_cut "and can be cut" live
finish_tests
