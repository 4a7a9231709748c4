# SPDX-License-Identifier: GPL-3.0-or-later
# Both ends of a datagram are checked, in both directions (R3), with and without the fast path.
. "$(dirname "$0")/table.bash"

tables_up
load left
load right

both_ends() {
	local why=$1 address
	for address in "$R4" "$R6"; do
		serve_udp server right s.service 9000
		expect "permitted, $why, $address" $DONE run left a.service \
			datagrams udp-client "$address" 9000 --port 40000 --count 3 --timeout $PATIENCE
		expect "another cgroup on the caller's port, $why, $address" $REFUSED run left \
			b.service datagrams udp-client "$address" 9000 --port 40000 --timeout $PATIENCE
		# Not by the caller's permission: it leaves as nobody's, and an address is all that
		# the other end knows (R19).
		expect "nobody on the caller's port, $why, $address" $DONE run left \
			c.service datagrams udp-client "$address" 9000 --port 40000 --timeout $PATIENCE
		expect "the owner again, $why, $address" $DONE run left a.service \
			datagrams udp-client "$address" 9000 --port 40000 --timeout $PATIENCE
		stop server
		serve_udp thief right t.service 9000
		expect "another receiver on the port, $why, $address" $NO_ANSWER run left \
			a.service datagrams udp-client "$address" 9000 --port 40000 --timeout 400
		same "it got nothing, $why, $address" "$(said thief | grep -c from)" 0
		stop thief
		expect "no receiver: the kernel answers, $why, $address" $REFUSED run left \
			a.service datagrams udp-client "$address" 9000 --port 40000 --timeout $PATIENCE
	done
}

both_ends "by live_udp"
for host in left right; do
	grep '^live_udp' "$WORK/$host.el" >"$WORK/$host.udp"
	must table $host del "$WORK/$host.udp"
done
both_ends "by reclassification"
finish_tests
