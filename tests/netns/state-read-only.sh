# SPDX-License-Identifier: GPL-3.0-or-later
# The state directory of an enrolled host is read-only, or its disk full, while the agent runs and when
# it starts: what the controller closes meanwhile is closed, also after a start without the controller;
# status says what is wrong; with a disk that takes it, it is on the disk.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-fleet.sh"
. "$(dirname "$0")/lib-damage.sh"

host_add pay-1 11
mkdir -p "$WORK/pay-1/tmpfs"
must mount -t tmpfs -o size=2m,mode=755 bwtest "$WORK/pay-1/tmpfs"
fleet_config pay-1 observe
sed -i "s,$WORK/pay-1/state,$WORK/pay-1/tmpfs/state,g" "$WORK/pay-1/agent.yaml"
STATE=$WORK/pay-1/tmpfs/state
damage_up

read_only() { mount -o remount,ro "$WORK/pay-1/tmpfs"; }
writable() { mount -o remount,rw "$WORK/pay-1/tmpfs"; }
full() { head -c 4M /dev/zero >"$WORK/pay-1/tmpfs/fill" 2>/dev/null; df "$WORK/pay-1/tmpfs" | grep -q '100%'; }
roomy() { rm "$WORK/pay-1/tmpfs/fill"; }
opened() { reaches pay-1 cache.service "$API" 8443; }
said() { bw pay-1 status -o json | jq -e --arg n "$1" '.problems | any(test($n; "i"))'; }
at_rest() { [ "$(bw_json pay-1 '.problems | map(select(test("cannot write"))) | length' status)" = 0 ]; }
head_on_disk() {
	[ "$(jq -r .payload "$STATE/documents/head.dsse.json" | base64 -d | jq .sequence)" = \
		"$(bw_json pay-1 .documents.head_sequence status)" ]
}

# survives WHAT SPOIL MEND REASON
survives() {
	must ctl release prod/payments/cache --reason test
	check "$1: open before" wait_for 10 opened
	must "$2"
	must ctl quarantine prod/payments/cache --reason test
	check "$1: what the controller closes is closed" wait_for 10 closed
	mapped pay-1
	courier_pause STOP
	agent_stop pay-1 KILL
	if start_again; then pass "$1: the agent starts"; else
		fail "$1: the agent starts" "$(tail -n 1 "$WORK/pay-1/agent.log")"
		exit 1
	fi
	enforced "$1, after a start"
	check "$1: status says so" said "$4"
	courier_pause CONT
	check "$1: the controller is there again" wait_for 20 current
	must "$3"
	must ctl release prod/payments/cache --reason test
	check "$1: what it opens afterwards is open" wait_for 10 opened
	must ctl quarantine prod/payments/cache --reason test
	check "$1: and closed what it closes" wait_for 10 closed
	check "$1: it is on the disk" wait_for 20 head_on_disk
}
survives "read-only" read_only writable 'read-only'
survives "full" full roomy 'no space'
finish_tests
