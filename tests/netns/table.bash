# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# Two hosts whose kernel tables are loaded by hand (tests/tools/table_load), without agents: left
# has a.service (identity, may call right), b.service (identity, may nothing) and c.service (nobody);
# right has s.service (identity: tcp/8443, udp/9000, echo from left), t.service (identity, nothing)
# and n.service (nobody). Source it instead of lib.sh.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

A=0x40000001 B_=0x40000002 S=0x40000011 T_=0x40000012 NOBODY=0x7ffffff0 UNCLAIMED=0x0fffff00
TABLE_OPTIONS=()

# table HOST VERB...: levels: units are four deep here
table() {
	local host=$1
	shift
	table_load --netns "$(ns "$host")" --levels 8 ${TABLE_OPTIONS[@]+"${TABLE_OPTIONS[@]}"} "$@"
}

cg() {
	unit_dir "$1" "$2"
}

# conduit NUMBER UNIT_HOST UNIT: it is live, datagrams too, and this unit is an end of it
conduit() {
	echo "live $1 = ${4:-accept}"
	echo "live_udp4 $1 $(cg "$2" "$3") = ${4:-accept}"
	echo "ends4_a $1 $(cg "$2" "$3")"
}

left_elements() {
	local v address
	echo "who_c4_a $(cg left a.service) = $A"
	echo "who_c4_a $(cg left b.service) = $B_"
	echo "who_c4_a $(cg left c.service) = $NOBODY"
	for v in 4 6; do
		address=${ADDR4[right]}
		[ $v = 4 ] || address=${ADDR6[right]}
		echo "out${v}_a $A $address tcp 8443 = ${v}01"
		echo "out${v}_a $A $address udp 9000 = ${v}02"
		conduit ${v}01 left a.service
		conduit ${v}02 left a.service
		conduit ${v}03 left a.service
	done
	echo "out_echo4_a $A ${ADDR4[right]} 8 = 403"
	echo "out_echo6_a $A ${ADDR6[right]} 128 = 603"
}

right_elements() {
	local v address
	echo "who_c4_a $(cg right s.service) = $S"
	echo "who_c4_a $(cg right t.service) = $T_"
	echo "who_c4_a $(cg right n.service) = $NOBODY"
	for v in 4 6; do
		address=${ADDR4[left]}
		[ $v = 4 ] || address=${ADDR6[left]}
		echo "in${v}_a $S $address tcp 8443 = ${v}11"
		echo "in${v}_a $S $address udp 9000 = ${v}12"
		conduit ${v}11 right s.service
		conduit ${v}12 right s.service
		echo "live ${v}13 = accept"
	done
	echo "in_echo4_a ${ADDR4[left]} 8 = 413"
	echo "in_echo6_a ${ADDR6[left]} 128 = 613"
	echo "listeners_a tcp 8443 = $S"
}

tables_up() {
	host_add left 1
	host_add right 2
	L4=${ADDR4[left]} L6=${ADDR6[left]} R4=${ADDR4[right]} R6=${ADDR6[right]}
	left_elements >"$WORK/left.el"
	right_elements >"$WORK/right.el"
}

# load HOST [VERB]: as if an agent were alive
load() {
	must table "$1" "${2:-load}" "$WORK/$1.el"
	must table "$1" switch agent_alive on
}

counter() {
	table "$1" counters | awk -v name="$2" '$1 == name { print $2 }'
}
