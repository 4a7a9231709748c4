# SPDX-License-Identifier: GPL-3.0-or-later
# UC-19 UC-52: one command at the controller quarantines an identity on every host: within a second
# its flows die, wherever they are, and no others; the forensic path stays; the list of what was cut
# comes back as evidence; release brings it back.
. "$(dirname "$0")/lib-fleet.sh"

fleet_policy <<END
$(rule settlement-calls-api settlement api tcp/8443)
$(rule backup-calls-api backup api tcp/8443)
$(rule forensics-pulls settlement forensic-net tcp/9999)
networks:
  - {name: forensic-net, cidrs: ["10.77.0.50/32"]}
END
host_add forensics 50
fleet_up pay-1 pay-2 api-1
fleet_place
must ctl place prod/payments/settlement --node pay-2
mapped pay-1 pay-2 api-1
serve api api-1 api.service 8443
serve collector forensics c.service 9999
talk good pay-1 backup.service "$API" 8443
talk evidence pay-1 settlement.service "${ADDR4[forensics]}" 9999
both_ended() { ended "bad-1-$round" && ended "bad-2-$round"; }
best=99999
for round in 1 2 3; do
	talk "bad-1-$round" pay-1 settlement.service "$API" 8443
	talk "bad-2-$round" pay-2 settlement.service "$API_6" 8443
	began=$(now_ms)
	ctl quarantine prod/payments/settlement --keep forensic-net --reason "incident $round" \
		--wait 20s -o json >"$WORK/cut" 2>&1 8<&- 3>&- &
	wait_for 10 both_ended
	took=$(($(now_ms) - began))
	[ $took -lt $best ] && best=$took
	wait $!
	cut=$(jq -c .cut "$WORK/cut")
	is_cut "round $round: its flow on pay-1 is cut" "bad-1-$round"
	is_cut "round $round: and on pay-2" "bad-2-$round"
	for flow in "bad-1-$round" "bad-2-$round"; do
		like "round $round: $flow comes back as evidence" "$cut" "[^0-9]$(port_of $flow)[^0-9]"
	done
	denied "round $round: it may not begin anew" pay-2 settlement.service "$API" 8443
	[ $round = 3 ] && break
	must ctl release prod/payments/settlement --reason "closed $round"
	check "round $round: released on pay-1" wait_for 10 reaches pay-1 settlement.service "$API" 8443
	check "round $round: released on pay-2" wait_for 10 reaches pay-2 settlement.service "$API" 8443
done
same "within a second (best of three: $best ms)" $((best < 1000)) 1
runs_on "the forensic path stays" evidence
runs_on "others notice nothing" good

agent_stop pay-1 KILL
controller_stop KILL
fleet_agent_start pay-1
denied "it outlives agent and controller" pay-1 settlement.service "$API" 8443
controller_start
denied "and the controller's own restart" pay-2 settlement.service "$API" 8443
must ctl release prod/payments/settlement --reason 'incidents closed'
check "release brings it back on pay-1" wait_for 90 reaches pay-1 settlement.service "$API" 8443
check "and on pay-2" wait_for 90 reaches pay-2 settlement.service "$API" 8443
runs_on "and nobody else noticed anything" good
expect "a quarantine without a reason is refused" 2 ctl quarantine prod/payments/settlement
expect "of an unknown identity too" 1 ctl quarantine prod/payments/nobody --reason test
expect "and one that keeps an unknown network" 1 \
	ctl quarantine prod/payments/settlement --keep nowhere --reason test
finish_tests
