# SPDX-License-Identifier: GPL-3.0-or-later
# The path of a packet through the table itself, both hosts, both families (UC-10, UC-13).
. "$(dirname "$0")/table.bash"

tables_up
load left
load right
serve server right s.service 8443
serve_udp dgrams right s.service 9000
serve other right t.service 7000
serve nobody right n.service 7001

for address in "$R4" "$R6"; do
	connects "identity to identity, $address" left a.service "$address" 8443
	udp_answers "datagrams, $address" left a.service "$address" 9000
	expect "echo, $address" $DONE run left a.service datagrams ping "$address"
	refused "no rule: refused at once, $address" left b.service "$address" 8443
	refused "another port: refused at once, $address" left a.service "$address" 7000
	expect "datagrams of another identity, $address" $REFUSED \
		run left b.service datagrams udp-client "$address" 9000 --timeout $PATIENCE
	no_answer "nobody to an identity: dropped there, $address" left c.service "$address" 7000
	connects "nobody to nobody, $address" left c.service "$address" 7001
	refused "a closed port answers, $address" left c.service "$address" 7999
	expect "echo of an identity without a rule, $address" $REFUSED \
		run left b.service datagrams ping "$address" --timeout $PATIENCE
	expect "an ICMP checksum is no port, $address" $REFUSED \
		run left b.service datagrams ping "$address" --checksum 8443 --timeout $PATIENCE
done


ip_of "$ID-left" neigh flush all
ip_of "$ID-right" neigh flush all
connects "neighbour discovery is let through" left a.service "$R6" 8443

talk flow left a.service "$R4" 8443
must table right cut "$WORK/right.el" 411
is_cut "revoked at the server" flow
must table right add - <<<"live 411 = accept"
talk flow left a.service "$R4" 8443
must table left cut "$WORK/left.el" 401
is_cut "revoked at the caller" flow
must table left add - <<<"live 401 = accept"
connects "given again" left a.service "$R4" 8443
same "the chains are as they were loaded" "$(table left check)" "chains as they should be"
finish_tests
