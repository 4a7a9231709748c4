# SPDX-License-Identifier: GPL-3.0-or-later
# UC-62 UC-83: courier killed, stopped, missing; agent and controller restarted, in any order. What
# is enforced stays, and each change arrives once they are back.
. "$(dirname "$0")/lib-fleet.sh"

fleet_usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
talk live pay-1 settlement.service "$API" 8443
publish_rules() { # open|closed: whether backup may call
	{
		rule settlement-calls-api settlement api tcp/8443
		[ "$1" = closed ] || rule backup-calls-api backup api tcp/8443
	} | fleet_policy
	publish
}
follows() { # NAME open|closed
	local wanted=reaches
	[ "$2" = open ] || wanted=reaches_not
	FLEET_LIVE_MAX=90 fleet_live pay-1
	check "$1" wait_for 15 $wanted pay-1 backup.service "$API" 8443
	runs_on "$1; what is allowed runs on" live
}

courier_stop pay-1 KILL
check "the agent sees that its courier is dead" wait_for 10 disconnected pay-1
courier_stop api-1 KILL
publish_rules open
denied "a change waits for a courier" pay-1 backup.service "$API" 8443
courier_start pay-1
courier_start api-1
fleet_live api-1
follows "courier killed: the next one brings the change" open

kill -STOP "${PID[courier-pay-1]}"
publish_rules closed
connects "a courier that hangs only delays" pay-1 backup.service "$API" 8443
kill -CONT "${PID[courier-pay-1]}"
follows "courier stopped and continued" closed

agent_stop pay-1 KILL
publish_rules open
runs_on "with the agent dead all goes on" live
fleet_agent_start pay-1
follows "agent killed: the courier comes back to the next" open

controller_stop KILL
check "the agent sees that the controller is gone" wait_for 90 disconnected pay-1
runs_on "without controller" live
controller_start
publish_rules closed
follows "controller killed: it comes back with all it knew" closed

agent_stop pay-1
courier_stop pay-1 KILL
fleet_agent_start pay-1
runs_on "an agent without courier enforces" live
denied "what the last policy denied too" pay-1 backup.service "$API" 8443
courier_start pay-1
publish_rules open
follows "all restarted" open
same "kernel and policy agree" "$(bw_json pay-1 .drift status)" null
finish_tests
