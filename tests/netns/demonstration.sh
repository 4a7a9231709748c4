# SPDX-License-Identifier: GPL-3.0-or-later
# UC-10 UC-13 UC-19 UC-29 UC-30 UC-31 UC-37 UC-48 UC-49: the demonstration goes as the policy says,
# in 100 columns, and leaves nothing behind, also when it is interrupted.
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
finish whole 120
same "it ends well" $? 0
text=$(cat "$WORK/whole.txt")
like "all scenes" "$text" 'All [0-9]+ scenes went as the policy says'
same "nothing unexpected" "$(grep -c UNEXPECTED <<<"$text")" 0
same "100 columns" "$(awk 'length > 100 && !/broken.yaml:/' <<<"$text")" ""
same "nothing is left" "$(left_of whole)" ""

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
