# SPDX-License-Identifier: GPL-3.0-or-later
# UC-64 UC-83: the controller is dead for a week of simulated time. Enforcement is as it was, but for
# the rule that says `on_stale: end`, which the kernel ends by itself; `stale` is shown; and when the
# controller comes back, so does everything.
. "$(dirname "$0")/lib-fleet.sh"

later 0
fleet_usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
$(rule backup-calls-api backup api tcp/8443 'on_stale: end')
END
state_is() { [ "$(bw_json "$1" .state status)" = "$2" ]; }
talk live pay-1 settlement.service "$API" 8443
controller_stop KILL
expires=$(date -d "$(bw_json pay-1 .documents.expires status)" +%s)
same "a head lives for about a day" $((expires - $(date +%s) > 20 * 3600)) 1

# Some seconds before the end of the hour after the head's expiry.
agent_stop pay-1
agent_stop api-1
later $((expires + 3600 - 20 - $(date +%s)))
fleet_agent_start api-1
fleet_agent_start pay-1
check "an expired head is stale" wait_for 15 state_is pay-1 stale
talk ending pay-1 backup.service "$API" 8443
agent_stop pay-1 KILL
agent_stop api-1 KILL
is_cut "on_stale: end, the agents dead: the kernel ends it" ending 40
denied "and lets nothing new through" pay-1 backup.service "$API" 8443
runs_on "a rule that keeps goes on" live
connects "and begins anew" pay-1 settlement.service "$API" 8443

later 604800
fleet_agent_start pay-1
fleet_agent_start api-1
for host in pay-1 api-1; do
	check "$host is stale after a week" wait_for 15 state_is $host stale
	like "$host says so on its screen" "$(bw $host status)" 'stale'
done
check "a metric says it too" bash -c "curl -s --unix-socket '$WORK/pay-1/run/metrics.sock' \
	http://x/metrics | grep -E '^bailiwick_.*stale.* 1'"
runs_on "after a week what ran runs" live
connects "what is allowed is allowed" pay-1 settlement.service "$API" 8443
denied "what is not is not" pay-1 cache.service "$API" 8443
denied "what ended has ended" pay-1 backup.service "$API" 8443

controller_start
for host in pay-1 api-1; do
	check "$host is back" wait_for 120 connected $host
	check "$host is stale no more" wait_for 60 state_is $host ready
done
check "and what had ended begins again" wait_for 20 reaches pay-1 backup.service "$API" 8443
runs_on "the connection of last week" live
finish_tests
