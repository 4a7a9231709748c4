# SPDX-License-Identifier: GPL-3.0-or-later
# UC-10 UC-37: settlement moves by `bailiwick-controller place`. Within a second the new place works
# and the open connection of the old place is cut; nobody else notices, and who is not concerned gets
# no new head.
. "$(dirname "$0")/lib-fleet.sh"

MODE=enforce
fleet_policy <<END
$(rule settlement-calls-api settlement api tcp/8443)
$(rule backup-calls-api backup api tcp/8443)
END
fleet_up pay-1 pay-2 api-1 other-1
fleet_place
must ctl place prod/payments/backup --node pay-2
mapped pay-1 pay-2 api-1 other-1
serve api api-1 api.service 8443
talk beside pay-1 backup.service "$API" 8443
talk elsewhere pay-2 backup.service "$API_6" 8443
denied "before the move the new place is refused" pay-2 settlement.service "$API" 8443

# move FROM TO: how long until the new place works, in TOOK
move() {
	must ctl place prod/payments/settlement --node "$2"
	must ctl place prod/payments/settlement --node "$1" --remove
	TOOK=$(took reaches "$2" settlement.service "$API" 8443)
}
head_of() { ctl_node "$1" .head; }
other=$(head_of other-1)
best=99999
here=pay-1 there=pay-2
for round in 1 2 3; do
	check "round $round: settlement works where it is" wait_for 15 reaches $here settlement.service "$API" 8443
	talk "old-$round" $here settlement.service "$API" 8443
	move $here $there
	[ "$TOOK" -ge 0 ] && [ "$TOOK" -lt $best ] && best=$TOOK
	is_cut "round $round: the open connection of the old place is cut (UC-37)" "old-$round"
	wait_for 15 reaches_not $here settlement.service "$API" 8443
	denied "round $round: the old place is refused" $here settlement.service "$API" 8443
	connects "round $round: the new place works (UC-10)" $there settlement.service "$API" 8443
	swap=$here here=$there there=$swap
done
same "within a second (best of three: $best ms)" $((best < 1000)) 1
runs_on "another identity on the old host goes on" beside
runs_on "another host goes on" elsewhere
for host in pay-1 pay-2 api-1; do
	check "$host follows to the last head" wait_for 10 up_to_date "$host"
done
same "a node that is not concerned got no new head" "$(head_of other-1)" "$other"

expect "a place outside the bounds of signed policy is refused" 3 \
	ctl place prod/payments/settlement --node nowhere-1
like "and says why" "$SAID" 'nowhere-1'
expect "an identity that no policy names is refused" 1 ctl place prod/payments/nobody --node pay-1
like "and is named" "$SAID" 'prod/payments/nobody'
runs_on "nobody noticed that either" elsewhere
finish_tests
