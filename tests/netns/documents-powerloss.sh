# SPDX-License-Identifier: GPL-3.0-or-later
# Killed, or without power, at each step of taking a new head, view and policy: the next start has
# a whole generation, the old one or the new one, never none, and goes on to the new one when it is
# offered again. By default the two ends of each file that leave different disks: killed when it has
# its new name, without power when that is durable and nothing later is. STEPS=all takes every step in
# both ways, in a quarter of an hour (TIMEOUT=3600).
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-documents.sh"

preload_build power_cut

host_add pay-1 11
host_add api-1 21
place_usual
SEQUENCE=1
keys_make
signed_config pay-1 selective
STATE=$WORK/pay-1/state
{ policy_head; rule calls settlement api tcp/8443; policy_nodes; } | policy
manifest 1
head pay-1
deliver pay-1
agent_start pay-1
check "revision 1 is in force" wait_for 15 in_force pay-1 1
first=$MANIFEST
agent_stop pay-1
cp -a "$STATE" "$WORK/state-1"
{ policy_head; rule calls settlement api 'tcp/8443, tcp/9000'; policy_nodes; } | policy
SEQUENCE=2
signed_view pay-1
manifest 2
head pay-1
deliver pay-1
second=$MANIFEST

# The host as it was with revision 1, rebooted: nothing in the kernel.
reset() {
	rm -rf "$STATE" "$WORK/pay-1"/backup-* "$WORK/pay-1/run"
	cp -a "$WORK/state-1" "$STATE"
	mkdir "$WORK/pay-1/run"
	host_nft pay-1 delete table inet bailiwick 2>/dev/null
}
reboot() {
	rm -rf "$WORK/pay-1/run"
	mkdir "$WORK/pay-1/run"
	host_nft pay-1 delete table inet bailiwick 2>/dev/null
}
# run_cut STEP [LOSES]: an agent that dies at that step, or is ended after it confirmed revision 2
run_cut() {
	rm -f "$WORK/steps"
	traffic --netns "$(ns pay-1)" --cgroup "$(unit_dir pay-1 bailiwickd.service)" exec -- \
		env LD_PRELOAD="$WORK/power_cut.so" POWER_DIR="$STATE" POWER_CUT_AT="$1" \
		POWER_LOG="$WORK/steps" ${2:+POWER_LOSES=1} \
		bailiwickd --config "$WORK/pay-1/agent.yaml" --foreground \
		>>"$WORK/pay-1/agent.log" 2>&1 </dev/null 8<&- 3>&- &
	PID[agent-pay-1]=$!
	wait_for 20 ended_or_confirmed
	stop agent-pay-1 2>/dev/null
}
ended_or_confirmed() {
	ended agent-pay-1 || in_force pay-1 2
}
site_away() { mv "$WORK/pay-1/site" "$WORK/pay-1/away"; }
site_back() { mv "$WORK/pay-1/away" "$WORK/pay-1/site"; }

reset
run_cut 0
total=$(wc -l <"$WORK/steps")
like "steps are followed" "$total" '^[1-9][0-9]+$'
mapfile -t -O 1 STEP <"$WORK/steps"
grep -q 'documents/known.json' "$WORK/steps" || fail "steps are followed" "known.json is not seen"

# Which generation a start without the directory has; in GOT when it is none that may be.
look() {
	site_away
	reboot
	agent_start pay-1
	GOT=$(bw_json pay-1 '"\(.policy_digest) \(.view_sequence) \(.state)"' status)
	site_back
	case $GOT in
	"$first 1 ready" | "$first 2 ready" | "$first "[12]" probation") GOT= ;;
	"$second "[12]" ready" | "$second "[12]" probation") GOT= ;;
	esac
}
# Directories are synced when a file has its new name.
named() { [[ ${STEP[$1]:-} == *' fsync '* && ${STEP[$1]} != *.new ]]; }
# chosen STEP LOSES
chosen() {
	[ "${STEPS:-}" = all ] && return
	if [ -n "$2" ]; then named $(($1 - 1)); else named "$1"; fi
}
taken=0
broken=
exec 4>&2 2>/dev/null # the shell reports each agent that is killed
for ((at = 1; at <= total; at++)); do
	for loses in '' 1; do
		chosen $at "$loses" || continue
		reset
		run_cut $at $loses
		look
		[ -z "$GOT" ] ||
			broken+=" $at${loses:+ (power)}: ${STEP[at]}: $GOT;"
		# Now and then: it goes on from there.
		if [ $((taken % 6)) = 5 ] && ! wait_for 30 in_force pay-1 2; then
			broken+=" $at: does not go on to revision 2;"
		fi
		agent_stop pay-1 KILL
		taken=$((taken + 1))
	done
done
exec 2>&4 4>&-
same "a whole generation after each of $taken ends, of $total steps" "$broken" ""
finish_tests
