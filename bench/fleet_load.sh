# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# A fleet against one controller (bench/fleet_load.c), on loopback of a namespace of its own.
#   B=... COUNT=18000 bash bench/fleet_load.sh
# Prints rows: enrolment, memory of a parked poll, a placement that concerns three nodes, a policy
# change that concerns all. Groups of three nodes: a service on one, its client on the two others.
set -u

# In a network namespace of its own, which ends with it.
[ -n "${FLEET_LOAD_ALONE:-}" ] || exec env FLEET_LOAD_ALONE=1 unshare --net bash "$0"
ip link set lo up

B=${B:-$(cd "$(dirname "$0")/.." && pwd)/build/gcc}
COUNT=${COUNT:-18000}
PATH=$B:$PATH
WORK=$(mktemp -d /dev/shm/bwbench.XXXXXX) || exit 1
DATA=$WORK/data
SERVER=
LOAD=

cleanup() {
	trap '' INT TERM EXIT
	[ -z "$LOAD" ] || kill "$LOAD" 2>/dev/null
	[ -z "$SERVER" ] || kill "$SERVER" 2>/dev/null
	wait 2>/dev/null
	rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
	echo "fleet_load: $*" >&2
	tail -n 3 "$WORK/server.log" >&2
	exit 1
}

# row ID WHAT VALUE UNIT [GOAL MET]: as bench/run.sh prints them; MET is true, false or null
row() {
	jq -nc --arg id "fleet-$1" --arg what "$2" --argjson value "$3" --arg unit "$4" \
		--arg goal "${5:-}" --argjson met "${6:-null}" \
		'{id: $id, what: $what, unit: $unit, min: $value, median: $value, max: $value,
		goal: $goal, met: $met, note: ""}'
}

# holds EXPRESSION: true or false
holds() {
	awk "BEGIN { print (($1) ? \"true\" : \"false\") }"
}

rss_kb() {
	awk '/^VmRSS/ { print $2 }' "/proc/$SERVER/status"
}

# CPU of the controller so far, in milliseconds
cpu_ms() {
	awk -v hz="$(getconf CLK_TCK)" '{ print ($14 + $15) * 1000 / hz }' "/proc/$SERVER/stat"
}

# cpu_row ID WHAT MS-BEFORE: per node
cpu_row() {
	row "$1" "$2" "$(awk -v n="$COUNT" -v a="$3" -v b="$(cpu_ms)" 'BEGIN { printf "%.2f", (b - a) / n }')" ms
}

ctl() {
	bailiwick-controller "$@" --data "$DATA" >"$WORK/ctl.out" 2>&1 ||
		fail "$1: $(head -n 2 "$WORK/ctl.out")"
}

# Services on every third node, their clients on the two after it.
write_policy() {
	mkdir -p "$WORK/policy"
	awk -v count="$COUNT" -v purpose="$1" 'BEGIN {
		print "trust_domain: acme.example"
		print "defaults: {assurance: mapped}"
		print "identities:"
		for (i = 0; i < count; i += 3) {
			printf "  - {name: s%d, path: prod/s/%d, workload: [{unit: s%d.service}], serves: [tcp/8443]}\n", i, i, i
			printf "  - {name: c%d, path: prod/c/%d, workload: [{unit: c%d.service}]}\n", i, i, i
		}
		print "rules:"
		for (i = 0; i < count; i += 3)
			printf "  - {name: r%d, from: [c%d], to: [s%d], services: [tcp/8443], purpose: %s, owner: bench}\n", i, i, i, purpose
		print "nodes:"
		print "  - {pattern: \"n-*\", addresses: [\"10.0.0.0/8\"]}"
	}' >"$WORK/policy/policy.yaml"
}

write_placements() {
	mkdir -p "$DATA/placements"
	awk -v count="$COUNT" 'BEGIN {
		printf "{\"placements\": ["
		for (i = 0; i < count; i++)
			printf "%s{\"identity\": \"prod/%s/%d\", \"node\": \"n-%05d\", \"addresses\": [\"10.%d.%d.%d\"]}", i ? ",\n" : "", i % 3 ? "c" : "s", i - i % 3, i, i / 65536, (i / 256) % 256, i % 256
		print "]}"
	}' >"$WORK/placements.json"
	mv "$WORK/placements.json" "$DATA/placements/bench.json"
}

serve() {
	bailiwick-controller "$1" --data "$DATA" --listen 127.0.0.1:8443 >"$WORK/server.log" 2>&1 &
	SERVER=$!
	for _ in $(seq 200); do
		[ -e "$DATA/endpoint" ] && curl -sko /dev/null https://127.0.0.1:8443/v1/trust && return
		sleep 0.1
	done
	fail "the controller does not serve"
}

stop() {
	kill "$SERVER" && wait "$SERVER"
	rm -f "$DATA/endpoint"
}

# said PATTERN: the next line of the load that begins so, in LINE. Enrolling 18,000 nodes takes
# minutes, both ends being on one busy machine.
said() {
	while read -r -t 900 -u "${FLEET[0]}" LINE; do
		[[ $LINE == $1* ]] && return
	done
	fail "the load said nothing about '$1'"
}

# event NAME NODES COMMAND...: how many polls it answers, and when
event() {
	local name=$1 nodes=$2 woken p50 p99 last
	shift 2
	echo "mark $name $nodes 300" >&"${FLEET[1]}"
	said marked
	"$@"
	said "woken $name"
	read -r _ _ woken p50 p99 last <<<"$LINE"
	row "$name-nodes" "$name: nodes answered, of $nodes concerned" "$woken" nodes "$nodes" \
		"$(holds "$woken == $nodes")"
	row "$name-p50" "$name: to the middle node, the command included" "$p50" ms
	row "$name-p99" "$name: to 99 % of them" "$p99" ms
	row "$name-last" "$name: to the last" "$last" ms
}

serve dev
stop
"$B/bench/fleet_load" tokens "$DATA" "$COUNT" >"$WORK/tokens" || fail "no tokens"
write_placements
serve dev
write_policy one
ctl publish "$WORK/policy"
sleep 2
before=$(rss_kb)
cpu=$(cpu_ms)
coproc FLEET { exec "$B/bench/fleet_load" run 127.0.0.1 8443 "$WORK/tokens"; }
LOAD=$FLEET_PID
said enrolled
read -r _ _ seconds <<<"$LINE"
row enrol "nodes enrolled per second, EST over TLS, both ends here" \
	"$(awk -v n="$COUNT" -v s="$seconds" 'BEGIN { printf "%.0f", n / s }')" nodes
said parked
read -r _ _ seconds <<<"$LINE"
row park "long polls parked per second, mutual TLS, both ends here" \
	"$(awk -v n="$COUNT" -v s="$seconds" 'BEGIN { printf "%.0f", n / s }')" polls
cpu_row cpu "the controller's CPU for one node: enrolled, head signed, poll parked" "$cpu"
sleep 2
each=$(awk -v n="$COUNT" -v kb=$(($(rss_kb) - before)) 'BEGIN { printf "%.1f", kb / n }')
# Few nodes say nothing about the goals: what the process needs anyway is most of their memory.
if [ "$COUNT" -ge 18000 ]; then
	row polls "parked TLS long polls on one controller" "$COUNT" polls 18,000 true
	row memory "memory of a parked poll" "$each" kB "<= 20 kB" "$(holds "$each <= 20")"
else
	row polls "parked TLS long polls on one controller" "$COUNT" polls
	row memory "memory of a parked poll" "$each" kB
fi
# A second place of one service: the new node, and both nodes of its client.
event placement 3 ctl place prod/s/0 --node n-00007 --address 10.0.0.7
write_policy two
cpu=$(cpu_ms)
event policy "$COUNT" ctl publish "$WORK/policy"
cpu_row policy-cpu "the controller's CPU for one node: new policy, head signed, poll answered" "$cpu"
echo quit >&"${FLEET[1]}"
