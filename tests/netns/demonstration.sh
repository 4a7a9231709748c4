# SPDX-License-Identifier: GPL-3.0-or-later
# UC-5 UC-10 UC-13 UC-18 UC-19 UC-29 UC-30 UC-31 UC-37 UC-48 UC-49: the demonstration goes as the
# policy says, in 100 columns, and leaves nothing behind, also when it is interrupted.
. "$(dirname "$0")/lib.sh"

# demo NAME: its process group is its own, so that it can be interrupted as from a terminal
demo() {
	ID_PREFIX=bwd B=$B setsid bash examples/demo.sh >"$WORK/$1.txt" 2>&1 8<&- 3>&- &
	PID[$1]=$!
}
left_of() { # NAME: what is left
	ip netns list | grep "^bwd${PID[$1]}-"
	ls -d "$CGROUP_MOUNT/bwd${PID[$1]}" "/tmp/bwd${PID[$1]}".* 2>/dev/null
}

demo whole
finish whole 240
same "it ends well" $? 0
text=$(cat "$WORK/whole.txt")
like "all scenes" "$text" 'All [0-9]+ scenes went as the policy says'
same "nothing unexpected" "$(grep -c UNEXPECTED <<<"$text")" 0
same "100 columns" "$(awk 'length > 100 && !/broken.yaml:/' <<<"$text")" ""
same "nothing is left" "$(left_of whole)" ""

# What it says, but for what differs from one run to the next: times, counts, numbers that are given
# out, and how a connection that is cut looks. GOLDEN_UPDATE=1 writes it anew.
the_same() {
	sed -E -e 's/ +/ /g' -e 's/\b[0-9]+(\.[0-9]+)? (us|ms|s)\b/N \2/g' \
		-e 's/kernel [0-9.]+/kernel N/' -e 's/\b[0-9]+ messages/N messages/' \
		-e 's/(connection reset|connection cut|reset|closed|stalled|cut)( after|$)/cut\2/' \
		-e 's/(reset|closed|stalled|cut) (N ms)/cut \2/' \
		-e 's/cut after N s$/cut after N ms/' \
		-e 's/^ 0x[0-9a-f]+ packets [0-9]+ bytes [0-9]+/ MARK packets N bytes N/' \
		-e 's/sequence [0-9]+/sequence N/' -e '/^ pay-2 tcp settlement/d' \
		-e 's/[0-9]+ flows? cut so far/N flows cut so far/' -e 's/[0-9]+ cgroups/N cgroups/' \
		"$1"
}
golden=$ROOT/tests/golden/demonstration.txt
[ -z "${GOLDEN_UPDATE:-}" ] || the_same "$WORK/whole.txt" >"$golden"
same "its text is the golden one" "$(diff <(the_same "$WORK/whole.txt") "$golden" | head -n 10)" ""

for signal in INT TERM; do
	demo "cut-$signal"
	reached() { grep -q "$1" "$WORK/cut-$signal.txt"; }
	check "$signal: in the second scene" wait_for 40 reached '^2[.] '
	kill "-$signal" -- "-${PID[cut-$signal]}"
	finish "cut-$signal" 30
	same "$signal: says so" $(($? != 0)) 1
	same "$signal: nothing is left" "$(left_of "cut-$signal")" ""
done
finish_tests
