# SPDX-License-Identifier: GPL-3.0-or-later
# UC-16 UC-37: views with a thousand peers, one after the other: each is in force within a second,
# what left is closed, what stays notices nothing, and nothing grows.
. "$(dirname "$0")/lib.sh"

PEERS=1000 ROUNDS=12
usual <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000')
END
serve api api-1 api.service 8443
serve_udp sink api-1 api.service 9000
talk live pay-1 settlement.service "$API" 8443
# Round n: peers n*100 to n*100+999; api-1 is always there, far only in odd rounds.
host_add far 99
FAR=${ADDR4[far]}
serve far far any.service 8443
large() { # ROUND
	place_far "$1"
	SEQUENCE=$((SEQUENCE + 1))
	view_json pay-1 | jq -c --argjson first $(($1 * 100)) --argjson n $PEERS '
		.peers += [range($first; $first + $n) | {identity: "prod/payments/api",
			node: "n\(.)", addresses: ["10.78.\(. / 250 | floor).\(. % 250 + 1)"]}]' |
		view_put pay-1
}
place_far() {
	if [ $(($1 % 2)) = 1 ]; then
		place prod/payments/api far tcp/8443
	else
		unplace prod/payments/api far
	fi
}
memory() { awk '/^VmRSS/ { print $2 }' "/proc/${PID[agent-pay-1]}/status"; }
start flood pay-1 settlement.service datagrams flood "$API" 9000 --rate 2000 --for 5000
wait_line sink '^from'
best=(99999 99999)
for round in $(seq $ROUNDS); do
	began=$(now_ms)
	large "$round"
	views_live pay-1
	took=$(($(now_ms) - began))
	[ $took -ge ${best[round % 2]} ] || best[round % 2]=$took
	if [ $((round % 2)) = 1 ]; then
		connects "round $round: the new place is open" pay-1 settlement.service "$FAR" 8443
		talk "far$round" pay-1 settlement.service "$FAR" 8443
	else
		is_cut "round $round: the place that went is cut" "far$((round - 1))"
		refused "round $round: and closed" pay-1 settlement.service "$FAR" 8443
	fi
	[ "$round" != 4 ] || before=$(memory)
done
after=$(memory)
# The clock is the machine's, which others use as well: the best of each kind tells.
same "a view with a new place was in force within a second (${best[1]} ms)" $((best[1] < 1000)) 1
same "one without it, too (${best[0]} ms)" $((best[0] < 1000)) 1
conduits() { bw_json pay-1 .conduits status; }
same "a conduit each for both services, and no more" "$(conduits)" $((2 * PEERS + 2))
# A sanitizer keeps what was freed.
grep -q __asan_init "$B/bailiwickd" ||
	same "memory does not grow by views ($before kB, then $after kB)" \
		$((after < before + 3000)) 1
finish flood
wait_line sink '^flood'
like "datagrams of what stays lose nothing" "$(said sink | grep '^flood')" 'lost 0 duplicates 0'
runs_on "a live flow noticed nothing" live
SEQUENCE=$((SEQUENCE + 1))
view_json pay-1 | view_put pay-1
views_live pay-1
same "a small view again" "$(conduits)" 2
finish_tests
