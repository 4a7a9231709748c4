# SPDX-License-Identifier: GPL-3.0-or-later
# ICMP errors about flows end where the flows do, whatever `live` says of them: they are told to the socket
# that sent what they quote, never judged as conversations of their own, and never touch a mark (R6, R14).
# About a flow that is refused, or that does not exist, nobody is told.
. "$(dirname "$0")/table.bash"

tables_up
host_add evil 66
load left
load right observe
serve_udp deaf right s.service 9000 :: --silent
serve_udp deaf-too right t.service 7002 :: --silent
LOCAL=6000

# flow UNIT PORT: a datagram leaves, and its sender waits for what comes of it
flow() {
	LOCAL=$((LOCAL + 1))
	start flow left "$1" datagrams udp-client "$FAR" "$2" --port $LOCAL --timeout "${3:-60000}"
	PORT=$2
	wait_for 10 entry || fail "set-up" "no entry of port $LOCAL"
}

entry() {
	at left conntrack -L -f "$FAMILY" -p udp --orig-port-src $LOCAL --orig-port-dst "$PORT" \
		2>/dev/null | grep -o 'mark=[0-9]*'
}

# error [OPTION...]: "parameter problem" about the datagram, which sockets are told as EPROTO
error() {
	must at evil forge error-udp --from "$EVIL" --to "$NEAR" --dport $LOCAL --peer "$FAR" \
		--sport "$PORT" --type $TYPE "$@"
}

# Beside the record of a flow there is none of what is said of it.
recorded_errors() {
	# As numbers: names need a file that a small system does not have.
	host_nft left -n list set inet bailiwick denied$V | grep -cE ' \. (1|58) \. '
}

# told NAME MARK
told() {
	error
	finish flow
	same "$1: it is no record, $FAMILY" "$(recorded_errors)" 0
	like "$1: the socket is told, $FAMILY" "$(last_line flow)" 'errors 1 Protocol error'
	same "$1: the mark is as it was, $FAMILY" "$(entry)" "mark=$2"
}

# silence NAME MARK
silence() {
	local before
	before=$(counter left denied)
	error
	denied_more() { [ "$(counter left denied)" -gt "$before" ]; }
	check "$1: it is turned away, $FAMILY" wait_for 10 denied_more
	finish flow
	like "$1: the socket hears nothing, $FAMILY" "$(last_line flow)" 'errors 0'
	same "$1: it is no record, $FAMILY" "$(recorded_errors)" 0
	same "$1: the mark is as it was, $FAMILY" "$(entry)" "mark=$2"
}

# live VERDICT: of the conduit to udp/9000
live() {
	local n=${V}02
	must table left del - <<<"live $n = accept
live_udp4 $n $(cg left a.service) = accept"
	[ -z "$1" ] || must table left add - <<<"live $n = $1
live_udp4 $n $(cg left a.service) = $1"
}

live_again() {
	local n=${V}02
	[ -z "$1" ] || must table left del - <<<"live $n = $1
live_udp4 $n $(cg left a.service) = $1"
	must table left add - <<<"live $n = accept
live_udp4 $n $(cg left a.service) = accept"
}

for V in 4 6; do
	FAR=$R4 NEAR=$L4 EVIL=${ADDR4[evil]} FAMILY=ipv4 TYPE=12
	[ $V = 4 ] || FAR=$R6 NEAR=$L6 EVIL=${ADDR6[evil]} FAMILY=ipv6 TYPE=4
	flow a.service 9000
	told "permitted" ${V}02
	for verdict in ask watched; do
		flow a.service 9000
		live $verdict
		told "$verdict" ${V}02
		live_again $verdict
	done
	flow a.service 9000
	must table left add - <<<"rederive ${V}02"
	told "to be classified again" ${V}02
	must table left del - <<<"rederive ${V}02"
	flow c.service 7002
	told "of nobody" $((UNCLAIMED))
	must table left add - <<<"observe_who $B_"
	flow b.service 7002
	told "of somebody who is observed" 0
	must table left del - <<<"observe_who $B_"

	must table left switch observe_on on
	flow b.service 7002
	told "observed" 0
	flow b.service 7002 4000
	must table left switch observe_on off
	silence "refused since" 0

	for verdict in '' leased; do
		flow a.service 9000 4000
		live "$verdict"
		silence "${verdict:-revoked}" ${V}02
		live_again "$verdict"
	done

	flow a.service 9000 2000
	error --dport $((LOCAL + 500))
	finish flow
	like "about a flow that there is not, $FAMILY" "$(last_line flow)" 'errors 0'
done

# A process that makes errors itself is no kernel: it has no part in a flow that has no mark.
V=4 FAR=$R4 NEAR=$L4 EVIL=${ADDR4[evil]} FAMILY=ipv4 TYPE=12
made() {
	run left "$1" forge error-udp --from "$L4" --to "$R4" --dport 7002 --sport $LOCAL --type 3 --code 3
}
must table left add - <<<"observe_who $B_"
flow b.service 7002
must made c.service
same "a process without a name leaves no mark" "$(entry)" mark=0
status_of made a.service
like "one with a name is refused" "$SAID" 'not permitted'
same "and leaves none either" "$(entry)" mark=0
stop flow KILL

same "and that is recorded" "$(recorded_errors)" 1

# What is said of answers has the direction of the flow's first packet.
heard() {
	at left awk '$1 == "Icmp:" && $2 ~ /[0-9]/ { print $7 }' /proc/net/snmp
}
heard_more() { [ "$(heard)" -gt "$1" ]; }
answers() {
	local before
	before=$(heard)
	must at evil forge error-udp --from "$EVIL" --to "$NEAR" --dport "$1" --peer "$FAR" --sport "$2" \
		--type $TYPE
	check "what is said of answers is heard" wait_for 10 heard_more "$before"
}
mark_of() {
	at left conntrack -L -p udp --orig-port-src "$2" --orig-port-dst "$1" 2>/dev/null |
		grep -o 'mark=[0-9]*'
}
must table left add - <<END
in4_a $A $R4 udp 6999 = 405
live 405 = watched
live_udp4 405 $(cg left a.service) = watched
in4_a $A $R4 udp 5069 = 406
live 406 = accept
live_udp4 406 $(cg left a.service) = accept
END
must table left del - <<<"observe_who $B_"
recorded_before=$(recorded_errors)
serve_udp watched left a.service 6999
expect "a flow that a rule only records" $DONE run right s.service datagrams udp-client "$L4" 6999 \
	--port 6501 --timeout $PATIENCE
answers 6999 6501
same "what is said of its answers is no record" "$(recorded_errors)" "$recorded_before"
same "and leaves its mark" "$(mark_of 6999 6501)" mark=405

# A flow that a helper expects (R4) is classified by its own packets.
if ! host_nft left -f - <<-END; then
	table ip helpers {
		ct helper tftp { type "tftp" protocol udp; }
		chain out {
			type filter hook output priority 10
			udp dport 9000 ct helper set "tftp"
		}
	}
END
	echo "skip $TEST: expected flows: this kernel has no TFTP helper" >&3
	finish_tests
fi
start_fed client left a.service socat - "UDP4-DATAGRAM:$R4:9000,bind=:5069"
printf '\000\001file\000octet\000' >"$WORK/client.in"
expected() { at left conntrack -L expect 2>/dev/null | grep -q 'dport=5069'; }
check "the kernel expects a flow" wait_for 15 expected
must at right datagrams udp-client "$L4" 5069 --port 7777 --one-way --count 1
expected_mark() { [ "$(mark_of 5069 7777)" = mark=406 ]; }
check "it is on its own conduit" wait_for 10 expected_mark
answers 5069 7777
same "what is said of its answers leaves its mark" "$(mark_of 5069 7777)" mark=406
same "and is no record" "$(recorded_errors)" "$recorded_before"
finish_tests
