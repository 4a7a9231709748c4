# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# Rows of attested connections: how many new ones a second, how much later each is established, and
# what the same costs by other means, in one run.
#   B=... SIZE=full|quick bash bench/attested.sh
#
# The calling host's processes, agent included, run on one CPU and the called host's on another, as
# if they were two machines. Subjects (attested_subjects.sh) take turns, forwards and backwards;
# every figure is one of a turn against one of the same turn, and of those the median counts.
TEST=bench/attested
ID_PREFIX=bwbench
. "$(dirname "$0")/../tests/netns/lib-attest.sh"
. "$(dirname "$0")/attested_subjects.sh"
exec 3>&2 # only rows go to stdout

SIZE=${SIZE:-full}
TURNS=6
ROUNDS=2 # of rates in a turn
RATE_MS=500
PACED_MS=1000
CROWD_TURNS=3
COLD=7
[ "$SIZE" = full ] || { TURNS=2 PACED_MS=700 CROWD_TURNS=1 COLD=2; }
CPU_CALLER=0
CPU_CALLED=$(($(nproc) > 1 ? 1 : 0))

FAST=(none again conntrack mapped queue attested callee)
SLOW=(opensnitch haproxy-full haproxy-resumed stunnel)

# note TURN SUBJECT WHAT COMMAND...: one line of samples
note() {
	local turn=$1 name=$2 what=$3 got
	shift 3
	[ -z "${WHY[$name]:-}" ] || return 0
	got=$("$@") || {
		WHY[$name]="$what did not measure"
		return 0
	}
	jq -c --arg turn "$turn" --arg subject "$name" --arg what "$what" \
		'{turn: $turn, subject: $subject, what: $what} + .' <<<"$got" >>"$WORK/samples"
}

# Nanoseconds that a program has been on a CPU
cpu_ns() {
	cut -d ' ' -f 1 "/proc/${PID[$1]}/schedstat"
}

# What its programs take for each connection is noted beside its rate.
watched() {
	local name=$1 program got
	local -A before
	shift
	for program in ${WATCH[$name]:-}; do
		before[$program]=$(cpu_ns "$program") || return 1
	done
	got=$(client "$name" "$@") || return 1
	for program in ${WATCH[$name]:-}; do
		got=$(jq -c --arg program "$program" --argjson ns \
			$(($(cpu_ns "$program") - before[$program])) \
			'.cpu[$program] = $ns / 1000 / .count' <<<"$got") || return 1
	done
	echo "$got"
}

rate() {
	note "$1" "$2" "rate-$3" watched "$2" rate "$3" $RATE_MS
}

# paced TURN SUBJECT RATE [fork|warm OTHERS]
paced() {
	local how=
	[ "${4:-}" != fork ] || how=fork
	note "$1" "$2" "paced-$3${4:+-$4}${5:+-$5}" client "$2" paced 4 "$PACED_MS" "$3" $how
}

# Names, backwards in every other turn.
in_turn() {
	local turn=$1
	shift
	if [ $((turn % 2)) = 0 ]; then printf '%s\n' "$@"; else printf '%s\n' "$@" | tac; fi
}

turn() {
	local turn=$1 name round
	for round in $(seq "$ROUNDS"); do
		for name in $(in_turn $((turn + round)) "${FAST[@]}" "${SLOW[@]}"); do
			[ "$round" = 1 ] || [[ " ${SLOW[*]} " != *" $name "* ]] || continue
			rate "$turn.$round" "$name" 1
			rate "$turn.$round" "$name" 8
		done
	done
	for name in $(in_turn "$turn" "${FAST[@]}"); do
		paced "$turn" "$name" 500
	done
	for name in $(in_turn "$turn" queue attested); do
		paced "$turn" "$name" 2000
	done
	for name in $(in_turn "$turn" none attested "${SLOW[@]}"); do
		paced "$turn" "$name" 100
	done
}

# Without CPUs of their own: the kernel puts all that is done for a connection where it
# likes, so that it is the sum of both hosts' work that counts.
spread() {
	local turn name
	pin_hosts "$CPU_CALLER,$CPU_CALLED" "$CPU_CALLER,$CPU_CALLED"
	for turn in $(seq $((TURNS * ROUNDS))); do
		for name in $(in_turn "$turn" none queue attested opensnitch haproxy-resumed); do
			note "$turn" "$name" spread-8 watched "$name" rate 8 $RATE_MS
		done
	done
}

# With other processes on the host, and a new process for each connection.
crowd() {
	local turn=$1 others=$2 name
	start crowd none-a crowd.service "$B/bench/connects" crowd "$others"
	wait_line crowd '^standing' 20 || exit 1
	for name in $(in_turn "$turn" none queue attested opensnitch); do
		paced "$turn" "$name" 50 fork "$others"
		paced "$turn" "$name" 50 warm "$others"
	done
	stop crowd
}

# The first question on a stream: the far agent has just come back.
cold_stream() {
	[ -z "${WHY[attested]:-}" ] || return 0
	agent_stop pay-1
	agent_start pay-1
	pin pay-1
	note "$1" attested cold-stream client attested first 5000
}

# The first connection of a process group that did not exist a moment ago
cold_group() {
	local turn=$1 name
	for name in $(in_turn "$turn" none mapped attested); do
		[ -z "${WHY[$name]:-}" ] || continue
		unit_remove "${CALLER[$name]}" settlement.service
		note "$turn" "$name" cold-group client "$name" first 5000
	done
}

reasons() {
	local name
	for name in "${FAST[@]}" "${SLOW[@]}"; do
		[ -z "${WHY[$name]:-}" ] || jq -cn --arg s "$name" --arg why "${WHY[$name]}" '{($s): $why}'
	done | jq -cs 'add // {}'
}

: >"$WORK/samples"
ours_add
baselines_add
snitch_add
sidecars_add
[ "$CPU_CALLER" = "$CPU_CALLED" ] || spread
pin_hosts "$CPU_CALLER" "$CPU_CALLED"
for turn in $(seq $TURNS); do
	turn "$turn"
done
for turn in $(seq $CROWD_TURNS); do
	crowd "$turn" 10
	crowd "$turn" 1000
done
for turn in $(seq $COLD); do
	cold_stream "$turn"
	cold_group "$turn"
done
[ -z "${SAMPLES:-}" ] || cp "$WORK/samples" "$SAMPLES"
jq -cs --argjson why "$(reasons)" -f "$ROOT/bench/attested.jq" "$WORK/samples"
