# SPDX-License-Identifier: GPL-3.0-or-later
# As state-files-damaged.sh, but there are no copies either, as after the first start of a release that
# makes them; and after a reboot, when the kernel has nothing and run_dir neither. What was in force
# cannot be known any more: the kernel's table stays as it is until the controller says it again.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-fleet.sh"
. "$(dirname "$0")/lib-damage.sh"

damage_up
courier_pause STOP

uncopied() { rm -rf "$WORK/pay-1/run/spare" "$STATE/spare"; }
for way in empty garble gone gone_all; do
	eval "lone_$way() { uncopied; $way \"\$1\"; }"
done
gone_all() { find "$1" -mindepth 1 -delete; }
state_is() { [ "$(bw_json pay-1 .state status)" = "$1" ]; }

# kept FILE WAY [NAME]: the table is left as it is, until the controller is there
kept() {
	hit "$@"
	check "$1, $2: status says that nobody governs the table" state_is degraded
	courier_pause CONT
	check "$1, $2: with the controller everything is current" wait_for 20 current
	enforced "$1, $2, with the controller"
	check "$1, $2: nothing is kept back" state_is ready
	courier_pause STOP
}
for way in lone_empty lone_garble lone_gone; do
	kept documents/head.dsse.json $way head
done
kept view.json lone_garble
kept view.json lone_gone view
for dir in blobs manifests; do
	file=$(cd "$STATE" && echo documents/$dir/*)
	kept "$file" lone_garble
	kept "$file" lone_gone
done
kept documents lone_gone_all manifest

# A second start finds no more than the first, and makes no more of it.
hit view.json lone_garble
agent_stop pay-1
start_again || fail "twice" "the agent does not start"
enforced "twice"
check "twice: nobody governs the table" state_is degraded
courier_pause CONT
check "twice: with the controller everything is current" wait_for 20 current
courier_pause STOP

# What operators closed here nobody says again: the kernel knows it.
hit overlay.json lone_garble
courier_pause CONT
check "overlay.json: with the controller everything is current" wait_for 20 current
enforced "overlay.json, with the controller"
like "overlay.json: what stays closed can be seen" "$(bw_json pay-1 '.overlay[].reason' status)" 'was lost'
agent_stop pay-1
start_again || fail "overlay.json" "the agent does not start again"
enforced "overlay.json, a start later"
for conduit in $(bw_json pay-1 '.overlay[] | select(.reason | contains("was lost")).name' status); do
	must bw pay-1 release conduit "$conduit" --reason test
done
connects "overlay.json: what is released is open" pay-1 backup.service "$API" 8443
must bw pay-1 quarantine identity prod/payments/backup --reason test
courier_pause STOP

# After a reboot.
rebooted() {
	rm -rf "$WORK/pay-1/run"
	mkdir "$WORK/pay-1/run"
	host_nft pay-1 delete table inet bailiwick
	"$2" "$1"
}
for way in empty garble directory gone; do
	eval "boot_$way() { rebooted \"\$1\" $way; }"
	hit documents/head.dsse.json boot_$way
	hit overlay.json boot_$way
done
courier_pause CONT
check "after reboots: with the controller everything is current" wait_for 20 current
courier_pause STOP
agent_stop pay-1 KILL
rebooted "$STATE/view.json" garble
start_again || fail "a view lost with a reboot" "the agent does not start"
denied "a view lost with a reboot: closed is closed" pay-1 cache.service "$API" 8443
denied "a view lost with a reboot: closed here is closed" pay-1 backup.service "$API" 8443
denied "a view lost with a reboot: nothing opens" pay-1 settlement.service "$API" 9000
courier_pause CONT
check "a view lost with a reboot: with the controller everything is current" wait_for 20 current
connects "a view lost with a reboot: then what may, passes" pay-1 settlement.service "$API" 8443

# And without anything at all.
courier_pause STOP
talk live pay-1 settlement.service "$API" 8443
hit . lone_gone_all table
check "everything lost: nobody governs the table" state_is degraded
finish_tests
