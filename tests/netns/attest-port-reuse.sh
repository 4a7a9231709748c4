# SPDX-License-Identifier: GPL-3.0-or-later
# UC-36: who takes over a port does not take over what was vouched for its last owner: not a flow in
# TIME_WAIT, not one whose end was never seen, not a datagram sender's; and the right caller is not
# locked out by them (R1).
. "$(dirname "$0")/lib-attest.sh"

# pay-1 observes: it lets anybody out.
attest_host pay-1 observe
attest_usual <<<"$(attested settlement-calls-api settlement api 'tcp/8443, udp/8443')"
serve api api-1 api.service 8443 :: --close-after 1
serve_udp api-udp api-1 api.service 8443
to_port() { # ADDRESS PORT UNIT
	run pay-1 "$3" traffic tcp-client "$1" 8443 --port "$2" --wait-close \
		--timeout $((9000 * WAIT_FACTOR))
}
from_port() { # PORT UNIT
	to_port "$API" "$@"
}
expect "settlement speaks from port 40000; the server closes first" \
	$DONE from_port 40000 settlement.service
check "the server's end is in TIME_WAIT" sh -c \
	"nsenter --net=$(ns api-1) ss -Htn state time-wait | grep -q 40000"
expect "backup cannot follow on that port" $REFUSED from_port 40000 backup.service
expect "settlement can" $DONE from_port 40000 settlement.service

# A SYN that meets a TIME_WAIT socket finds a server that began to listen after the agent last
# looked for listeners: it asks about each such SYN (R21).
listed() { host_nft api-1 list map inet bailiwick listeners_a | grep -q 8443; }
unlisted() { ! listed; }
port=40020
for to in "$API" "$API_6"; do
	expect "settlement speaks from port $port, $to" $DONE to_port "$to" $port settlement.service
	check "its end is in TIME_WAIT" sh -c \
		"nsenter --net=$(ns api-1) ss -Htn state time-wait | grep -q $port"
	stop api
	check "the server is forgotten" wait_for 20 unlisted
	refused "its port answers that it is closed" pay-1 backup.service "$to" 8443
	serve api api-1 api.service 8443 :: --close-after 1
	expect "backup is refused by a server that has just begun" \
		$REFUSED to_port "$to" $port backup.service
	stop api
	check "the server is forgotten again" wait_for 20 unlisted
	serve api api-1 api.service 8443 :: --close-after 1
	expect "settlement is served by it" $DONE to_port "$to" $port settlement.service
	port=$((port + 1))
done

# The client dies, and its farewell is lost before the called host sees it.
must at pay-1 sysctl -qw net.ipv4.tcp_orphan_retries=1
stop api
serve api api-1 api.service 8443
abandon() { # PORT: settlement's flow from there stays in api-1's flow table, and in it alone
	# It says nothing more, and has acknowledged what it heard: the called host's socket has no
	# reason to end.
	start old pay-1 settlement.service traffic tcp-client "$API" 8443 --port "$1" \
		--count 0 --every 60000 --progress --timeout $((PATIENCE * WAIT_FACTOR))
	wait_line old '^message 1' 20
	check "nothing is on its way to port $1" wait_for 20 acknowledged api-1 "$1"
	must at pay-1 nft add table inet hole
	must at pay-1 nft 'add chain inet hole out { type filter hook postrouting priority 300; }'
	must at pay-1 nft "add rule inet hole out tcp sport $1 drop"
	stop old KILL
	gone() { ! at pay-1 ss -Htan "sport = :$1" | grep -q .; }
	check "the socket of port $1 is gone" wait_for 20 gone "$1"
	must at pay-1 nft delete table inet hole
	at pay-1 conntrack -D -p tcp --sport "$1" >/dev/null 2>&1
}
abandon 40010
expect "another identity is refused on the port of a flow that api-1 still knows" \
	$REFUSED from_port 40010 backup.service
abandon 40011
expect "the same identity goes on from its port" $DONE run pay-1 settlement.service \
	traffic tcp-client "$API" 8443 --port 40011 --timeout $((9000 * WAIT_FACTOR))

udp_from() { # PORT UNIT
	run pay-1 "$2" datagrams udp-client "$API" 8443 --port "$1" --timeout 2000
}
# The called host learns of a sender's change when its flow has been quiet.
expect "settlement's datagrams from port 40001" $DONE unless_late udp_from 40001 settlement.service
expect "and again" $DONE unless_late udp_from 40001 settlement.service
status_of udp_from 40002 backup.service
like "backup's from another port are denied" "$? $SAID" "^($UNREACHABLE|$NO_ANSWER) .*answered 0"
finish_tests
