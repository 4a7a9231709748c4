#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The table of figures, baselines in the same run, as text and as JSON:
#
#   bench/run.sh [--quick] [--json FILE] \
#       [--only packets|load|attested|revoke|follow|peers|agent|views|fleet]
#
# About a quarter of an hour; --quick about five minutes, with fewer repetitions and smaller fleets,
# for smoke tests. Each program prints its rows as JSON, one a line, and says on stderr why it could not measure. The
# exit status is 0 when every program measured, whether or not the goals were met: figures of a busy
# machine are no reason to fail a build.
set -u

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
B=${B:-$ROOT/build/gcc}
ID=bwbench$$
SIZE=full
JSON=
ONLY=
FAILED=0
RUNNING=

usage() {
	sed -n '6,7s/^# *//p' "$0" >&2
	exit 2
}

while [ $# -gt 0 ]; do
	case $1 in
	--quick) SIZE=quick ;;
	--json) [ $# -gt 1 ] || usage; JSON=$2; shift ;;
	--only) [ $# -gt 1 ] || usage; ONLY=$2; shift ;;
	*) usage ;;
	esac
	shift
done

[ "$(id -u)" = 0 ] || { echo "bench: needs root: namespaces, cgroups, nftables" >&2; exit 1; }
CGROUP_MOUNT=$(awk '$0 ~ / - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
[ -n "$CGROUP_MOUNT" ] || { echo "bench: cgroup2 is not mounted" >&2; exit 1; }
CG=$CGROUP_MOUNT/$ID
WORK=$(mktemp -d "/tmp/$ID.XXXXXX") || exit 1
mkdir -p "$CG/units" "$CG/host" || exit 1

# Namespaces of the programs have no name and end with them.
cleanup() {
	trap '' INT TERM EXIT
	local i
	[ -z "$RUNNING" ] || kill "$RUNNING" 2>/dev/null
	wait
	echo 1 >"$CG/cgroup.kill"
	for i in 1 2 3 4 5 6 7 8 9 10; do
		find "$CG" -depth -type d -exec rmdir {} + 2>/dev/null
		[ -d "$CG" ] || break
		sleep 0.1
	done
	[ ! -d "$CG" ] || echo "bench: cgroup $CG is left behind" >&2
	rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# measure NAME PROGRAM...: rows to $WORK/rows. LIMIT: seconds that it may take
measure() {
	local name=$1
	shift
	[ -z "$ONLY" ] || [ "$ONLY" = "$name" ] || return 0
	echo "bench: $name" >&2
	# In the background, so that a signal to this script is not kept waiting.
	timeout "${LIMIT:-300}" "$@" >>"$WORK/rows" &
	RUNNING=$!
	if ! wait "$RUNNING"; then
		echo "bench: $name did not measure" >&2
		FAILED=1
	fi
	RUNNING=
}

flows=10000
changes=100
nodes=18000
[ $SIZE = full ] || { flows=1000; changes=20; nodes=500; }
level=$(echo "${CG#"$CGROUP_MOUNT"/}/units/x" | tr '/' '\n' | wc -l)
: >"$WORK/rows"
measure packets "$B/bench/packets" "$CG/units" "$level" $SIZE
measure load "$B/bench/load" "$CG/units" "$level" $SIZE
LIMIT=900 measure attested env B="$B" SIZE=$SIZE bash "$ROOT/bench/attested.sh"
measure revoke env B="$B" FLOWS=$flows bash "$ROOT/bench/revoke.sh"
measure follow env B="$B" COUNT=$changes bash "$ROOT/bench/follow.sh"
measure peers env B="$B" bash "$ROOT/bench/peers.sh"
measure agent "$B/bench/agent" "$B/bailiwickd" "$B/bailiwick" "$WORK" "$CG/host" $SIZE
measure views "$B/bench/views" $SIZE
LIMIT=3600 measure fleet env B="$B" COUNT=$nodes bash "$ROOT/bench/fleet_load.sh"

# ------------------------------------------------------------------------------------- printing

jq -s --arg when "$(date -u +%Y-%m-%dT%H:%M:%SZ)" --arg kernel "$(uname -r)" --arg size $SIZE \
	--argjson cpus "$(nproc)" --arg release "$("$B/bailiwick" version 2>/dev/null | awk 'NR == 1 { print $NF }')" \
	--arg cpu "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" \
	'{version: 1, when: $when, release: $release, kernel: $kernel, cpus: $cpus, cpu: $cpu,
	size: $size, rows: .}' "$WORK/rows" >"$WORK/table.json" || exit 1
[ -z "$JSON" ] || cp "$WORK/table.json" "$JSON" || FAILED=1

jq -r '
	def number(unit):
		if . == null then "-"
		elif unit == "" then (. * 1000 | round / 1000 | tostring
			| if test("\\.") then . else . + ".0" end)
		elif . >= 100 then (round | tostring)
		else (. * 10 | round / 10 | tostring) end;
	def span:
		.unit as $u
		| if .min == null or .min == .max then ""
		else "\(.min | number($u)) .. \(.max | number($u))" end;
	"\(.cpus) CPUs (\(.cpu)), kernel \(.kernel), \(.when), \(.size)",
	(["what", "measured", "range", "goal", "", "note"],
	(.rows[] | .unit as $u | [.what,
		((.median | number($u)) + (if .median != null and $u != "" then " " + $u else "" end)),
		span, .goal,
		(if .met == true then "met" elif .met == false then "MISSED" else "" end), .note])
	| @tsv)' "$WORK/table.json" | awk -F '\t' '
	NF < 2 { print; next }
	{ for (i = 1; i <= NF; i++) { cell[NR, i] = $i; if (i < 6 && length($i) > wide[i]) wide[i] = length($i) } last = NR }
	END {
		for (r = 1; r <= last; r++) {
			if (!((r, 1) in cell)) continue
			line = ""
			for (i = 1; i <= 6; i++) line = line sprintf("%-" (i < 6 ? wide[i] : 0) "s  ", cell[r, i])
			sub(/ +$/, "", line)
			print line
		}
	}'
exit $FAILED
