# SPDX-License-Identifier: GPL-3.0-or-later
# The power goes as soon as state.json names a policy that was applied: that policy is on the disk.
. "$(dirname "$0")/lib.sh"

preload_build power_cut
host_add pay-1 11
host_add api-1 21
place_usual
views
agent_config pay-1 selective
STATE=$WORK/pay-1/state
{ policy_head; rule settlement-calls-api settlement api tcp/8443; } | policy

# agent_cut STEP: an agent whose power goes at that step of writing; 0: never
agent_cut() {
	rm -rf "$STATE" "$WORK/pay-1/run" "$WORK/steps"
	mkdir "$STATE" "$WORK/pay-1/run"
	host_nft pay-1 delete table inet bailiwick 2>/dev/null
	traffic --netns "$(ns pay-1)" --cgroup "$(unit_dir pay-1 bailiwickd.service)" exec -- \
		env LD_PRELOAD="$WORK/power_cut.so" POWER_DIR="$STATE" POWER_CUT_AT="$1" \
		POWER_LOG="$WORK/steps" POWER_LOSES=1 \
		bailiwickd --config "$WORK/pay-1/agent.yaml" --foreground \
		>>"$WORK/pay-1/agent.log" 2>&1 </dev/null 8<&- 3>&- &
	PID[agent-pay-1]=$!
	wait_for 20 agent_ready pay-1
	apply pay-1 >/dev/null 2>&1
}
agent_cut 0
agent_stop pay-1
step=$(awk '/rename .*\/policy\/1$/ { seen = 1 } seen && /rename .*\/state.json$/ { renamed = 1 }
	renamed && / fsync .*\/state$/ { print $1 + 1; exit }' "$WORK/steps")
like "steps are followed" "$step" '^[0-9]+$'
agent_cut "$step"
check "the power goes" wait_for 10 ended agent-pay-1
same "state.json names it" "$(jq .confirmed "$STATE/state.json")" 1
rm -rf "$WORK/pay-1/run" && mkdir "$WORK/pay-1/run"
host_nft pay-1 delete table inet bailiwick 2>/dev/null
agent_start pay-1
same "the policy is there" "$(bw_json pay-1 .policy_revision status)" 1
same "and nothing is said to be lost" "$(bw_json pay-1 '[.problems[] | select(test("lost|damaged"))] | join("; ")' status)" ''
finish_tests
