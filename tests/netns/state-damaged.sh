# SPDX-License-Identifier: GPL-3.0-or-later
# What the agent wrote about itself is damaged or lost: it starts all the same, with policy and mode
# as they were, says so, and keeps the damaged file. Nothing opens, nobody is cut off.
. "$(dirname "$0")/lib.sh"

usual selective <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
{
	policy_head
	rule settlement-calls-api settlement api 'tcp/8443, tcp/9000'
} | policy
apply_all
serve api api-1 api.service 8443
serve other api-1 api.service 9000
talk live pay-1 settlement.service "$API" 9000
STATE=$WORK/pay-1/state

mode() { must bw pay-1 mode "$@" --reason test; }
now_in_force() { bw_json pay-1 '"\(.policy_revision) \(.mode)"' status; }
told() { bw_json pay-1 '.problems[]' status | grep -c 'state.json was'; }
hit() { # WHAT REVISION MODE COMMAND...
	local what=$1 revision=$2 mode=$3
	shift 3
	agent_stop pay-1 KILL
	rm -f "$STATE/state.json.damaged"
	# What follows from it is in state-files-damaged.sh; here is what there is without.
	rm -r "$WORK/pay-1/run/spare"
	"$@"
	agent_start pay-1
	same "$what: revision and mode" "$(now_in_force)" "$revision $mode"
	same "$what: status says so" "$(told)" 1
	runs_on "$what: what runs goes on" live
	connects "$what: what may, passes" pay-1 settlement.service "$API" 8443
	if [ "$mode" = observe ]; then
		connects "$what: what may not, passes as before" pay-1 backup.service "$API" 8443
	else
		denied "$what: what may not, does not" pay-1 backup.service "$API" 8443
	fi
	check "$what: state.json is whole again" jq -e .confirmed "$STATE/state.json"
}
garble() { printf 'x{' >"$STATE/state.json"; }
halve() { truncate -s 40 "$STATE/state.json"; }
newer() { jq '. + {news: 1}' "$STATE/state.json" >"$STATE/.new" && mv "$STATE/.new" "$STATE/state.json"; }
lose() { rm "$STATE/state.json"; }

hit "garbled" 2 selective garble
same "garbled: it is kept" "$(cat "$STATE/state.json.damaged")" 'x{'
agent_stop pay-1
agent_start pay-1
same "the next start knows of nothing" "$(told)" 0
mode enforce
hit "cut short" 2 enforce halve
hit "of a newer release" 2 enforce newer
hit "lost" 2 enforce lose
mode observe
hit "observing" 2 observe garble
mode enforce --for 10m
hit "on trial" 2 enforce garble
same "on trial: it ends" "$(bw_json pay-1 '.mode_until != null' status)" true
mode selective

no_history() { garble && rm "$STATE/history"; }
hit "without a history" 2 selective no_history
{
	policy_head
	rule settlement-calls-api settlement api 'tcp/8443, tcp/9000'
	rule backup-calls-api backup api 'tcp/8444'
} | policy
must apply pay-1
{
	policy_head
	rule settlement-calls-api settlement api 'tcp/8443, tcp/9000'
	rule backup-calls-api backup api 'tcp/8444, tcp/8445'
} | policy
must apply pay-1 --confirm-within 60s
hit "on probation" 4 selective garble
same "on probation: it still is" "$(bw_json pay-1 .generation.candidate status)" 4
spoil() { garble && printf 'x{' >"$STATE/policy/$1/meta"; }
hit "and the candidate is damaged, too" 3 selective spoil 4
same "and it is on probation no longer" "$(bw_json pay-1 .generation.candidate status)" null
same "nor is it in the kernel" "$(host_nft pay-1 list set inet bailiwick candidate_on | grep -c elements)" 0
must apply pay-1
hit "the policy in force is damaged, too" 3 selective spoil 5
bad_view() { garble && printf 'x{' >"$STATE/view.json"; }
hit "the view is damaged, too" 3 selective bad_view

# As after the start of the host: the kernel has nothing.
mode enforce
reboot() { garble && host_nft pay-1 delete table inet bailiwick; }
hit "at the start of the host" 3 enforce reboot
finish_tests
