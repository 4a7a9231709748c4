# SPDX-License-Identifier: GPL-3.0-or-later
# A router between the hosts whose next link takes less: what it says of the packets of a flow reaches the
# flow's socket in every mode, whatever the flow's mark is, and is no denial of its own. The router runs an
# agent in mode enforce: what its kernel has to say about packets that it forwards goes out.
. "$(dirname "$0")/lib.sh"

MTU=1300
host_add pay-1 11
host_add api-1 21
host_add gw-1 1

# arm HOST NUMBER: a link of its own to the router, and the way over it
arm() {
	local host=$1 n=$2 other=pay-1
	[ "$host" != pay-1 ] || other=api-1
	must ip link add eth1 netns "$ID-$host" type veth peer name "eth$n" netns "$ID-gw-1"
	must at "$host" ip address add "10.78.$n.2/24" dev eth1
	must at "$host" ip address add "fd78:$n::2/64" dev eth1 nodad
	must at gw-1 ip address add "10.78.$n.1/24" dev "eth$n"
	must at gw-1 ip address add "fd78:$n::1/64" dev "eth$n" nodad
	must at "$host" ip link set eth1 up
	must at gw-1 ip link set "eth$n" up
	must at "$host" ip route add "${ADDR4[$other]}/32" via "10.78.$n.1" src "${ADDR4[$host]}"
	must at "$host" ip -6 route add "${ADDR6[$other]}/128" via "fd78:$n::1" src "${ADDR6[$host]}"
	must at gw-1 ip route add "${ADDR4[$host]}/32" via "10.78.$n.2" mtu $MTU
	must at gw-1 ip -6 route add "${ADDR6[$host]}/128" via "fd78:$n::2" mtu $MTU
}

forget_paths() {
	local host
	for host in pay-1 api-1; do
		at $host ip route flush cache
		at $host ip -6 route flush cache
	done
}

knows_mtu() {
	[[ $(at "$1" ip route get "$2") == *"mtu $MTU"* ]]
}

# bytes NAME UNIT ADDRESS PORT: more than a packet holds, there and back; both ends have learned the path
bytes() {
	local name=$1 unit=$2 address=$3 port=$4 back=$PAY got family=TCP4
	[[ $address != *:* ]] || back=$PAY_6 family=TCP6 address=[$address]
	forget_paths
	got=$(head -c 200000 /dev/zero | run pay-1 "$unit" socat -t 9 -T 9 - \
		"$family:$address:$port" | wc -c)
	same "$name: TCP gets through" "$got" 200000
	check "$name: the sender has learned the path" knows_mtu pay-1 "$3"
	check "$name: so has the one who answers" knows_mtu api-1 "$back"
}

# datagram NAME UNIT ADDRESS PORT
datagram() {
	forget_paths
	status_of run pay-1 "$2" datagrams udp-client "$3" "$4" --count 6 --size 1400 --timeout 700
	like "$1: datagrams get through" "$SAID" 'answered [1-9]'
	check "$1: their sender has learned the path" knows_mtu pay-1 "$3"
}

must at gw-1 sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
arm pay-1 1
arm api-1 2
usual observe <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000')
$(rule settlement-pings-api settlement api 'icmp/echo, icmpv6/echo')
END
agent_config gw-1 enforce
agent_start gw-1
must apply gw-1
start api api-1 api.service socat TCP6-LISTEN:8443,fork,reuseaddr EXEC:cat
start cron api-1 cron.service socat TCP6-LISTEN:7000,fork,reuseaddr EXEC:cat
listens() { at api-1 ss -Hltn "sport = $1" | grep -q .; }
wait_for 10 listens 8443 && wait_for 10 listens 7000 || fail "set-up" "the servers do not listen"
serve_udp api-udp api-1 api.service 9000
serve_udp cron-udp api-1 cron.service 7001

for mode in observe selective enforce; do
	for host in pay-1 api-1; do
		must bw $host mode $mode --reason test
	done
	for address in "$API" "$API_6"; do
		status_of run pay-1 settlement.service ping -c 1 -W 5 -t 1 "$address"
		like "$mode $address: the router is on the way" "$SAID" 'exceeded'
		bytes "$mode $address conduit" settlement.service "$address" 8443
		datagram "$mode $address conduit" settlement.service "$address" 9000
		[ $mode = enforce ] && continue
		bytes "$mode $address unclaimed" cron.service "$address" 7000
		datagram "$mode $address unclaimed" cron.service "$address" 7001
		[ $mode = observe ] || continue
		bytes "$mode $address nobody permits" backup.service "$address" 8443
		datagram "$mode $address nobody permits" backup.service "$address" 9000
	done
done
# Answers die on the way, too.
expired() { at api-1 awk '$1 == "Icmp:" && $2 ~ /[0-9]/ { print $6 }' /proc/net/snmp; }
must at api-1 sysctl -qw net.ipv4.ip_default_ttl=1
before=$(expired)
status_of run pay-1 settlement.service ping -c 1 -W 5 "$API"
expired_more() { [ "$(expired)" -gt "$before" ]; }
check "who answers is told that the answer died" wait_for 5 expired_more
must at api-1 sysctl -qw net.ipv4.ip_default_ttl=64
for host in pay-1 api-1 gw-1; do
	not_recorded "nothing is recorded of what routers say at $host" $host \
		'.service | startswith("icmp") and . != "icmp/echo" and . != "icmpv6/echo"'
done

# Of packets that the router forwards nothing is judged, nor marked.
must bw gw-1 mode selective --reason test
bytes "by a selective router" settlement.service "$API_6" 8443
marked() { at gw-1 conntrack -L -f ipv6 -p tcp --orig-port-dst 8443 2>/dev/null | grep -v 'mark=0 '; }
entries() { at gw-1 conntrack -L -f ipv6 -p tcp --orig-port-dst 8443 2>/dev/null | grep -c 'mark='; }
like "it knows the flows" "$(entries)" '[1-9]'
same "and marks none" "$(marked)" ''

# A process on the router is no router.
must bw gw-1 mode enforce --reason test
start flow pay-1 settlement.service datagrams udp-client "$API" 9000 --port 6000 --count 0 --every 50
wait_line api-udp "^from (::ffff:)?$PAY 6000"
# Refused at once, or when it is known who that is.
run gw-1 liar.service forge error-udp --from "$API" --to "$PAY" --sport 9000 --dport 6000 \
	--type 3 --code 3 >/dev/null
recorded "an error that a process makes is refused" gw-1 '.service == "icmp/3" and .decision == "denied"'
stop flow
like "nobody is told" "$(last_line flow)" 'errors 0'
finish_tests
