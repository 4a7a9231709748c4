# SPDX-License-Identifier: GPL-3.0-or-later
# UC-10 UC-46 UC-86 UC-93: what `make install` leaves on a stock Debian: controller, agent and
# courier by their units, enrolled with README's commands; restarts, hangs and an upgrade lose
# nothing and open nothing; after a reboot the policy is in force before the network is up,
# controller or not. Only for a machine of its own (tests/vm): the policy is that of the whole host.
. "$(dirname "$0")/../netns/lib-fleet.sh"

[ "$(cat /proc/1/comm)" = systemd ] && [ "$(systemd-detect-virt)" != none ] ||
	skip_all "needs a virtual machine with systemd"
PATH=${PATH//"$B:"/} # the programs are those that are installed
CONTROLLER=bailiwick-controller.service AGENT=bailiwickd.service COURIER=bailiwick-courier.service
UNITS="$CONTROLLER $AGENT $COURIER"
DATA=/var/lib/bailiwick-controller
NAME=ctl.acme.example
URL=https://$NAME:$CTL_PORT
ADDRESS=10.77.0.21
KEPT=/var/lib/bailiwick-tests/units # over the reboot
ME=$KEPT/traffic

state() { systemctl show --value -p "$2" "$1"; }
active() { [ "$(state "$1" ActiveState)" = active ]; }
is_pid_other_than() { active "$1" && [ "$(state "$1" MainPID)" != "$2" ]; }
listens() { ss -Hltn "sport = $1" | grep -q .; }
# complaints UNIT: of what its sandbox keeps from it
complaints() {
	journalctl -b -u "$1" -o cat --no-pager | grep -v '^{' |
		grep -iE 'not permitted|permission denied|EPERM|read-only|SIGSYS|in use|looked up any more'
}
compatible() {
	local unit
	for unit in $UNITS; do
		same "$unit: nothing that it does is kept from it ($1)" "$(complaints "$unit")" ''
		same "$unit: nothing has ended it ($1)" "$(state "$unit" NRestarts)" "$2"
	done
}
# here FILTER VERB...: of this host's agent
here() { bailiwick "${@:2}" -o json | jq -r "$1"; }

# --- what is installed

installed() {
	local unit said
	for unit in $UNITS; do
		same "$unit: sound" "$(systemd-analyze verify --man=no "$unit" 2>&1)" ''
		said=$(systemd-analyze security --no-pager --threshold=20 "$unit" 2>&1)
		[ $? = 0 ] && pass "$unit: exposed by less than 2.0" ||
			fail "$unit: exposed by less than 2.0" "$(tail -n 1 <<<"$said")"
		same "$unit: not started by installing it" "$(state "$unit" ActiveState)" inactive
	done
}

# --- the first hour, by units

network() {
	local name
	host_add pay-1 11
	for name in ctl api-1; do
		must ip netns attach "$ID-$name" 1
		HOSTS+=($name)
		ADDR4[$name]=$ADDRESS ADDR6[$name]=fd77::21
	done
	mkdir -p "$WORK/api-1" && ln -s /run/bailiwick "$WORK/api-1/run"
	must ip link add eth0 type veth peer name api-1 netns "$NET"
	ip_of "$NET" link set api-1 master br0 up
	must ip address add $ADDRESS/24 dev eth0
	must ip address add fd77::21/64 dev eth0 nodad
	must ip link set eth0 up
	echo "$ADDRESS $NAME" >>/etc/hosts
}

# The lines of the manual page, which a second operator follows.
controller_by_the_book() {
	local lines
	lines=$(awk '/^For real/ { on = 1 } /^\.Ed/ { on = 0 } on && !/^(For|\.)/' \
		"$ROOT/man/bailiwick-controller.8" | sed 's/\\e$/\\/; /publish/d')
	cd "$WORK" || exit 1
	must bailiwick keygen policy-1
	must bailiwick keygen policy-2
	check "the manual's init" bash -ec "$lines"
	check "its unit starts on that" wait_for 15 controller_answers
	must systemctl disable --now $CONTROLLER
	rm -rf $DATA
	cd "$ROOT" || exit 1
}

# Keys and database by `dev`, as root; then the unit.
controller_up() {
	start controller ctl bailiwick-controller.service bailiwick-controller dev \
		--trust-domain acme.example --listen 0.0.0.0:$CTL_PORT --name $NAME
	check "the first steps: dev" wait_for 15 controller_answers
	stop controller
	check "its unit starts on what dev has made" systemctl enable --now $CONTROLLER
	check "and answers root" wait_for 15 controller_answers
	check "its health, on its admin socket" curl -sf --unix-socket \
		/run/bailiwick-controller/admin.sock http://localhost/readyz
	same "all of it belongs to its user" \
		"$(find $DATA ! -user bailiwick-controller)" ''
}

host_up() {
	token api-1
	check "README's enrol" bailiwick enroll --url "$URL" --token "$TOKEN" --pin "$PIN" \
		--policy-pin "$POLICY_PIN"
	cat >>/etc/bailiwick/agent.yaml <<-END
		essentials:
		  management:
		    - {from: "10.77.0.0/24", service: tcp/$CTL_PORT, by: [$CONTROLLER]}
	END
	check "README's start" systemctl enable --now bailiwickd bailiwick-courier
	check "it is connected" wait_for 20 connected api-1
	same "and observes" "$(here .mode status)" observe
}

# unit NAME COMMAND...: in a unit that systemd makes; ends with the command's status
unit() {
	local name=$1
	shift
	systemd-run --quiet --collect --wait --pipe --unit="$name" "$@"
}

# enforces_now WHEN
enforces_now() {
	connects "$1: a caller that is vouched for" pay-1 settlement.service $ADDRESS 9000
	connects "$1: one by its address" pay-1 settlement.service $ADDRESS 6379
	denied "$1: one that may not" pay-1 backup.service $ADDRESS 9000
	expect "$1: a unit of ours that is vouched for" $DONE unit report "$ME" tcp-client \
		"${ADDR4[pay-1]}" 7777 --timeout 6000
	expect "$1: one of ours that may not" $REFUSED unit backup "$ME" tcp-client \
		"${ADDR4[pay-1]}" 7777 --timeout 6000
}

the_policy() {
	printf 'trust_domain: acme.example\nidentities:\n'
	identity settlement prod/payments/settlement settlement.service tcp/7777
	identity backup prod/payments/backup backup.service ''
	identity api prod/payments/api api.service tcp/9000
	identity cache prod/payments/cache cache.service tcp/6379
	identity report prod/payments/report report.service ''
	printf 'rules:\n'
	attested settlement-calls-api settlement api tcp/9000
	rule settlement-calls-cache settlement cache tcp/6379
	attested report-calls-settlement report settlement tcp/7777
	fleet_nodes
}

policy_up() {
	local name
	the_policy | policy
	publish
	for name in settlement backup; do
		must ctl place prod/payments/$name --node pay-1
	done
	for name in backup api cache report; do
		must ctl place prod/payments/$name --node api-1
	done
	enrolled pay-1
	fleet_live pay-1 api-1
	mapped pay-1 api-1
	must bw pay-1 mode selective --reason test
	check "README's mode" bailiwick mode selective --reason "first hour"
}

# server NAME PORT: a service of this host, there after a reboot, too
server() {
	cat >"/etc/systemd/system/$1.service" <<-END
		[Unit]
		DefaultDependencies=no
		After=local-fs.target
		[Service]
		ExecStart=$ME tcp-server :: $2
		Restart=always
		[Install]
		WantedBy=sysinit.target
	END
	must systemctl enable --now "$1"
	wait_for 10 listens "$2"
}

# --- restarts

fds() { state $AGENT NFileDescriptorStore; }
is_gone() { [ "$(state "$1" MainPID)" = 0 ]; }

# From where settlement runs, without its identity: their own host lets them through. Until
# $WORK/enough is there.
strangers() {
	: >"$WORK/strangers"
	for _ in {1..300}; do
		[ ! -e "$WORK/enough" ] || return
		run pay-1 stranger.service traffic tcp-client $ADDRESS 9000 --timeout 600 >/dev/null 2>&1
		echo $? >>"$WORK/strangers"
		pause 0.5
	done
}
were_refused() { # WHEN
	: >"$WORK/enough"
	wait "$STRANGERS"
	like "$1: strangers have tried" "$(wc -l <"$WORK/strangers")" '^([3-9]|[0-9]{2,})$'
	same "$1: and none got in" "$(grep -cx $DONE "$WORK/strangers")" 0
	rm "$WORK/enough"
}

each_restarts() {
	local unit pid
	for unit in $UNITS; do
		pid=$(state "$unit" MainPID)
		check "$unit: restart" systemctl restart "$unit"
		check "$unit: is another process" is_pid_other_than "$unit" "$pid"
		runs_on "$unit restarted: a live flow goes on" live
	done
	check "restarted: connected again" wait_for 60 connected api-1
}

# The far agent stands still, so the packet waits; it is asked about anew when it comes again.
held_through_restart() {
	kill -STOP "${PID[agent-pay-1]}"
	start waits pay-1 settlement.service traffic tcp-client $ADDRESS 9000 --timeout 30000
	check "a first packet is held" wait_for 10 holds
	must systemctl restart $AGENT
	same "it opens nothing" "$(said waits | grep -c '^connected')" 0
	kill -CONT "${PID[agent-pay-1]}"
	finish waits 40
	same "held when the agent was restarted: retransmitted, vouched for, let go" $? $DONE
}
holds() { [ "$(here .queue.held status)" -gt 0 ]; }

# The descriptor store: from the end of one agent to the start of the next.
port_stays_taken() {
	mkdir -p "/run/systemd/system/$AGENT.d"
	printf '[Service]\nRestartSec=4\n' >"/run/systemd/system/$AGENT.d/later.conf"
	must systemctl daemon-reload
	same "the attestation port is in the descriptor store, for both families" "$(fds)" 2
	local pid
	pid=$(state $AGENT MainPID)
	must systemctl kill --signal=KILL $AGENT
	check "killed" wait_for 4 is_gone $AGENT
	check "no agent, and its port stays taken" listens 7113
	like "so that nobody else gets it" "$(traffic tcp-server 0.0.0.0 7113 --for 100 2>&1)" 'in use'
	same "still no agent" "$(state $AGENT MainPID)" 0
	check "systemd starts another one" wait_for 20 is_pid_other_than $AGENT "$pid"
	rm -r "/run/systemd/system/$AGENT.d"
	must systemctl daemon-reload
	same "which has the port, and it is stored once" "$(fds) $(ss -Hltn 'sport = 7113' | wc -l)" "2 2"
	like "by its own socket" "$(ss -Hltnp 'sport = 7113')" bailiwickd
	runs_on "killed: a live flow goes on" live
	enforces_now "restarted"
}

restarts() {
	talk live pay-1 settlement.service $ADDRESS 9000 --timeout 60000
	strangers &
	STRANGERS=$!
	each_restarts
	held_through_restart
	port_stays_taken
	were_refused "restarts"
}

# The agent's is in service.sh.
watchdogs() {
	local controller courier
	controller=$(state $CONTROLLER MainPID) courier=$(state $COURIER MainPID)
	kill -STOP "$controller" "$courier"
	pause 35 # a long wait that looks is long, one that sleeps is not
	check "the watchdog ends a controller that hangs" \
		wait_for 60 is_pid_other_than $CONTROLLER "$controller"
	check "and a courier" wait_for 60 is_pid_other_than $COURIER "$courier"
	check "which goes on" wait_for 60 connected api-1
}

# --- upgrade

is_version_of() {
	local program=${1%.service}
	cmp -s "/proc/$(state "$1" MainPID)/exe" "$B/$program"
}

upgrade() {
	local unit program
	strangers &
	STRANGERS=$!
	for unit in $UNITS; do
		program=${unit%.service}
		printf 'next' >>"$B/$program"
		must install -m 0755 "$B/$program" "/usr/local/sbin/$program"
	done
	check "make install over what runs" make -s -C "$ROOT" install-data
	runs_on "new files: a live flow goes on" live
	check "try-restart" systemctl try-restart $UNITS
	for unit in $UNITS; do
		check "$unit: is the new version" is_version_of "$unit"
	done
	runs_on "upgraded: a live flow goes on" live
	check "upgraded: connected" wait_for 60 connected api-1
	enforces_now "upgraded"
	were_refused "upgraded"
	stop live
}

# --- reboot

# As cloud-init and ifupdown have it: the network comes up after network-pre.target and before
# sysinit.target.
network_at_boot() {
	cat >$KEPT/net <<-END
		#!/bin/bash
		set -e
		ip netns add far
		ip link add eth0 type veth peer name eth0 netns far
		ip address add $ADDRESS/24 dev eth0
		ip link set eth0 up
		nsenter --net=/run/netns/far ip address add 10.77.0.11/24 dev eth0
		nsenter --net=/run/netns/far ip link set eth0 up
	END
	cat >$KEPT/knock <<-END
		#!/bin/bash
		while :; do
			for port in 9001 6379; do
				nsenter --net=/run/netns/far $ME tcp-client $ADDRESS \$port --timeout 400
				echo "\$port \$?" >>/run/knocks
			done
			sleep 0.2
		done
	END
	chmod +x $KEPT/net $KEPT/knock
	early test-network Type=oneshot RemainAfterExit=yes ExecStart=$KEPT/net
	early test-knock ExecStart=$KEPT/knock
	sed -i 's/^Before=.*//; s/^After=.*/After=test-network.service/' \
		/etc/systemd/system/test-knock.service
	must systemctl enable test-network test-knock
}
early() { # NAME LINE...
	cat >"/etc/systemd/system/$1.service" <<-END
		[Unit]
		DefaultDependencies=no
		After=local-fs.target network-pre.target
		Before=network.target sysinit.target
		[Install]
		WantedBy=sysinit.target
		[Service]
	END
	printf '%s\n' "${@:2}" >>"/etc/systemd/system/$1.service"
}

before_reboot() {
	must server other 9001
	must bailiwick mode enforce --reason test
	check "enforced with the controller on this host: connected" wait_for 60 connected api-1
	denied "enforced: nobody's service" pay-1 settlement.service $ADDRESS 9001
	network_at_boot
	sed -i "/ $NAME\$/d" /etc/hosts
	must systemctl disable $CONTROLLER
	here '[.policy_revision, .mode] | join(" ")' status >$KEPT/before
	ip link del eth0
}

knocked() { grep -c "^$1$" /run/knocks; }
came_up() {
	local up network
	same "boot: no unit is left out" \
		"$(journalctl -b -o cat --no-pager | grep -iE 'ordering cycle|to break' | head -n 3)" ''
	check "boot: the agent is active" active $AGENT
	check "boot: the courier is active, without a controller" active $COURIER
	check "boot: the host is up" systemctl is-active multi-user.target
	up=$(state $AGENT ActiveEnterTimestampMonotonic)
	network=$(state test-network ExecMainStartTimestampMonotonic)
	check "boot: the policy is in force before the network is up ($up, $network)" \
		test "$up" -gt 0 -a "$up" -lt "$network"
	same "boot: the policy and the mode of before" \
		"$(here '[.policy_revision, .mode] | join(" ")' status)" "$(cat $KEPT/before)"
	same "boot: without its controller" "$(here .controller.connected status)" false
	check "boot: who may comes in" wait_for 30 grep -qx "6379 $DONE" /run/knocks
	like "boot: who may not has tried" "$(grep -c '^9001' /run/knocks)" '^[1-9]'
	same "boot: and never got in" "$(knocked "9001 $DONE")" 0
	compatible "boot" 0
}

removed() {
	must systemctl stop test-knock
	check "make uninstall" make -s -C "$ROOT" uninstall
	for unit in $UNITS; do
		same "uninstalled: $unit has ended" "$(systemctl is-active "$unit")" inactive
	done
	same "uninstalled: nothing of it is left" \
		"$(find /usr/local /etc/systemd ! -type d -name 'bailiwick*' ! -name 'bailiwick-tests*')" ''
	check "uninstalled: the policy is in force until it is taken away" nft list table inet bailiwick
}

first_hour() {
	mkdir -p $KEPT
	cp "$B/tests/tools/traffic" $ME
	network
	installed
	controller_by_the_book
	controller_up
	host_up
	policy_up
	must server api 9000
	must server cache 6379
	serve settlement pay-1 settlement.service 7777
	enforces_now "at first"
	compatible "the first hour" 0
}

if [ "${BOOTS:-0}" = 0 ]; then
	first_hour
	restarts
	watchdogs
	upgrade
	before_reboot
	for unit in $UNITS; do
		same "$unit: nothing was kept from it" "$(complaints "$unit")" ''
	done
	exit 75 # tests/vm/guest: again, after a reboot
fi
came_up
removed
finish_tests
