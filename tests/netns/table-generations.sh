# SPDX-License-Identifier: GPL-3.0-or-later
# The switch between generations, leases and changes under traffic (R15, R16): nothing permitted is
# lost, what only one generation has follows the switch.
. "$(dirname "$0")/table.bash"

tables_up
# Both generations know everything; 401 stays, 405 is added, 406 removed by the candidate.
both_slots() {
	sed -n 's/^\([a-z0-9_]*\)_a /\1_b /p' "$1"
}
{
	echo "out4_a $A $R4 tcp 7001 = 406"
	conduit 406 left a.service accept/none
} >>"$WORK/left.el"
both_slots "$WORK/left.el" >>"$WORK/left.el"
{
	echo "out4_b $A $R4 tcp 7002 = 405"
	conduit 405 left a.service none/accept
} >>"$WORK/left.el"
both_slots "$WORK/right.el" >>"$WORK/right.el"
load left
load right
serve server right s.service 8443
serve_udp dgrams right s.service 9000
serve removed right n.service 7001
serve added right n.service 7002

connects "what the candidate removes is there" left a.service "$R4" 7001
refused "what it adds is not" left a.service "$R4" 7002
talk kept left a.service "$R4" 8443
talk cut left a.service "$R4" 7001

start flood left a.service datagrams flood "$R4" 9000 --rate 5000 --for 4000
for _ in 1 2 3 4 5 6 7 8 9 10; do
	for host in left right; do
		must table $host switch candidate_on 100
	done
	pause 0.2
done
finish flood
wait_line dgrams '^flood'
like "no datagram was lost by twenty switches" "$(said dgrams)" 'flood sent [0-9]+ received [0-9]+ lost 0 '
runs_on "a flow both permit runs on" kept

must table left switch candidate_on 6000
refused "removed by the candidate" left a.service "$R4" 7001
connects "added by the candidate" left a.service "$R4" 7002
wait_for 15 run left a.service traffic tcp-client "$R4" 7001 --timeout 500
refused "its end is the rollback" left a.service "$R4" 7002
must table left switch candidate_on on
connects "confirmed" left a.service "$R4" 7002

# A lease ends by itself, and a renewal holds it.
must table left switch candidate_on off
must table left del - <<<"live 401 = accept"
must table left add - <<-END
	live 401 = leased
	leased_a 401 = 5
END
connects "while the lease lives" left a.service "$R4" 8443
must table left renew 401 9000
pause 5.5
connects "renewed" left a.service "$R4" 8443
check "a lease ends" wait_for 15 reaches_not left a.service "$R4" 8443
refused "without anybody" left a.service "$R4" 8443

# A service is cut up differently: the old number is classified again, without a loss.
must table left del - <<<"live 401 = leased"
must table left add - <<<"live 401 = accept"
talk split left a.service "$R4" 8443
port=$(port_of split)
grep -v ' 401\| = 401' "$WORK/left.el" >"$WORK/new.el"
{
	echo "out4_a $A $R4 tcp 8443 = 455"
	conduit 455 left a.service
	echo "rederive 401"
} >>"$WORK/new.el"
must table left change "$WORK/left.el" "$WORK/new.el"
runs_on "a rederived flow runs on" split
like "it has the new number" "$(at left conntrack -L -p tcp --sport "$port" 2>/dev/null)" 'mark=455'
finish_tests
