# SPDX-License-Identifier: GPL-3.0-or-later
# One host talks to itself: both ends are judged with one mark (R12, R13).
. "$(dirname "$0")/table.bash"

tables_up
{
	for v in 4 6; do
		own=127.0.0.1 address=$R4
		[ $v = 4 ] || own=::1 address=$R6
		for to in $own "$address"; do
			echo "out${v}_a $T_ $to tcp 8443 = 71$v"
			echo "out${v}_a $T_ $to udp 9000 = 72$v"
		done
		for n in 71$v 72$v; do
			conduit $n right t.service
			conduit $n right s.service
		done
		echo "tw_ends_a 71$v tcp 8443"
	done
} | sort -u >>"$WORK/right.el"
load right
must table right switch agent_alive on
serve server right s.service 8443
serve_udp dgrams right s.service 9000
serve nobody right n.service 7001
serve_udp nobody_udp right n.service 7002

for address in 127.0.0.1 ::1 "$R4" "$R6"; do
	connects "permitted, $address" right t.service "$address" 8443
	udp_answers "datagrams, $address" right t.service "$address" 9000
	refused "another identity, $address" right s.service "$address" 7001
	denied "nobody to an identity, $address" right n.service "$address" 8443
	udp_denied "nobody's datagrams to an identity, $address" right n.service "$address" 9000
	connects "nobody to nobody, $address" right n.service "$address" 7001
	udp_answers "nobody's datagrams to nobody, $address" right n.service "$address" 7002
	refused "a closed port answers, $address" right n.service "$address" 7999
	expect "echo among nobodies, $address" $DONE run right n.service datagrams ping "$address"
done

talk flow right t.service 127.0.0.1 8443
must table right cut "$WORK/right.el" 714
is_cut "revoked in mid-flow" flow
must table right add - <<<"live 714 = accept"

stop server
stop dgrams
refused "no listener: told at once" right t.service 127.0.0.1 8443
for unit in n.service a.service; do
	serve thief right $unit 8443
	serve_udp thief_udp right $unit 9000
	denied "an impostor listener gets nothing ($unit)" right t.service 127.0.0.1 8443
	udp_denied "nor its datagrams ($unit)" right t.service 127.0.0.1 9000
	stop thief
	stop thief_udp
done

# In enforce mode nobody may talk to the outside, but a host is not cut off from itself.
TABLE_OPTIONS=(--deny-unclaimed)
load right
load left
must table right switch agent_alive on
connects "nobody to nobody, enforced" right n.service 127.0.0.1 7001
udp_answers "nobody's datagrams to nobody, enforced" right n.service 127.0.0.1 7002
refused "nobody to the outside, enforced" left c.service "$R4" 7001
finish_tests
