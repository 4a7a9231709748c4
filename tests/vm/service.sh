# SPDX-License-Identifier: GPL-3.0-or-later
# UC-10 UC-86 UC-93: as installed, under systemd: the hardened unit starts without root and enforces
# for real units; stop, restart, SIGKILL and a hang leave the policy in force and cut nobody. Only
# for a machine of its own (tests/vm): the policy is that of the whole host.
. "$(dirname "$0")/../netns/lib.sh"

[ "$(cat /proc/1/comm)" = systemd ] && [ "$(systemd-detect-virt)" != none ] ||
	skip_all "needs a virtual machine with systemd"
SERVICE=bailiwickd.service
ME=$WORK/tools

# This host, as one of the test's: the name is that of the first namespace.
host_add far 99
must ip netns attach "$ID-here" 1
HOSTS+=(here)
ADDR4[here]=10.77.0.1 ADDR6[here]=fd77::1
must ip link add eth0 type veth peer name here netns "$NET"
ip_of "$NET" link set here master br0 up
ip address add 10.77.0.1/24 dev eth0
ip address add fd77::1/64 dev eth0 nodad
ip link set eth0 up

place prod/payments/settlement far
place prod/payments/api here
place prod/payments/cache here
place prod/payments/backup here
mkdir -p "$WORK/policy" /etc/bailiwick/site
cat >/etc/bailiwick/agent.yaml <<END
version: 1
node: here
trust_domain: acme.example
mode: enforce
END
view_json here >/etc/bailiwick/site/view.json
{
	policy_head
	rule settlement-calls-api settlement api tcp/8443
	rule cache-calls-settlement cache settlement tcp/7777
} >"$WORK/policy/policy.yaml"

# unit NAME COMMAND...: in a unit that systemd makes; ends with the command's status
unit() {
	local name=$1
	shift
	systemd-run --quiet --collect --wait --pipe --unit="$name" "$@"
}
# server NAME PORT
server() {
	systemd-run --quiet --collect --unit="$1" "$ME/traffic" tcp-server :: "$2" &&
		wait_for 10 listens "$2"
}
listens() { ss -Hltn "sport = $1" | grep -q .; }
state() { systemctl show --value -p "$1" "$SERVICE"; }
active() { [ "$(state ActiveState)" = active ]; }
is_pid_other_than() { active && [ "$(state MainPID)" != "$1" ]; }
has() { grep -E "^$1:" "/proc/$(state MainPID)/status" | tr -s '\t ' ' '; }

must systemd-sysusers
must systemd-tmpfiles --create
must systemctl daemon-reload
check "the unit starts" systemctl start "$SERVICE"
check "and is active" active
check "and answers" bailiwick status
like "it is not root" "$(has Uid)" '^Uid: [1-9]'
same "it has CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH" "$(has CapEff)" \
	'CapEff: 0000000000081004'
same "gains no privilege" "$(has NoNewPrivs)" 'NoNewPrivs: 1'
same "and filters its system calls" "$(has Seccomp)" 'Seccomp: 2'
check "apply" bailiwick apply "$WORK/policy" --reason test
check "the API starts" server api 8443
check "a service that nobody has named" server other 9000
start far-server far settlement.service traffic tcp-server :: 7777
wait_line far-server '^listening' || exit 1

# enforces WHEN: between hosts, in both directions, for units
enforces() {
	connects "$1: the caller of the API" far settlement.service 10.77.0.1 8443
	connects "$1: over IPv6" far settlement.service fd77::1 8443
	denied "$1: nobody's service" far settlement.service 10.77.0.1 9000
	expect "$1: a unit that may call" $DONE unit cache "$ME/traffic" tcp-client \
		"${ADDR4[far]}" 7777 --timeout 5000
	expect "$1: a unit that may not" $REFUSED unit backup "$ME/traffic" tcp-client \
		"${ADDR4[far]}" 7777 --timeout 5000
}
enforces "at first"
expect "over IPv6 too" $DONE unit cache "$ME/traffic" tcp-client "${ADDR6[far]}" 7777 --timeout 5000
check "denials are in the journal" wait_for 5 bash -c "journalctl -u $SERVICE -o cat --no-pager |
	grep -q '\"decision\":\"denied\".*backup'"
like "unknown cgroups are asked about by the native queue" "$(nft list table inet bailiwick)" \
	'queue (flags [a-z,]+ )?to 7100'

talk live far settlement.service 10.77.0.1 8443 --timeout 60000
right=0
for _ in 1 2 3; do
	systemctl stop api
	systemd-run --quiet --collect --unit=api "$ME/traffic" tcp-server :: 8443 && wait_for 10 listens 8443
	run far settlement.service traffic tcp-client 10.77.0.1 8443 --timeout 900 >/dev/null &&
		right=$((right + 1))
done
same "a restarted service is known from its first packet" "$right" 3
stop live
talk live far settlement.service 10.77.0.1 8443 --timeout 60000

systemctl stop "$SERVICE"
same "stopped" "$(state ActiveState)" inactive
check "stopped: the table stays" nft list table inet bailiwick
connects "stopped: the caller of the API" far settlement.service 10.77.0.1 8443
denied "stopped: nobody's service" far settlement.service 10.77.0.1 9000
expect "stopped: an unknown unit is refused" $REFUSED unit backup "$ME/traffic" tcp-client \
	"${ADDR4[far]}" 7777 --timeout 5000
runs_on "stopped: a live flow goes on" live
check "started again" systemctl start "$SERVICE"
same "with the policy that was in force" "$(bailiwick status -o json | jq .policy_revision)" 1
runs_on "started again: a live flow goes on" live
enforces "started again"

pid=$(state MainPID)
must systemctl kill --signal=KILL "$SERVICE"
connects "killed: the caller of the API" far settlement.service 10.77.0.1 8443
denied "killed: nobody's service" far settlement.service 10.77.0.1 9000
check "systemd starts it again" wait_for 20 is_pid_other_than "$pid"
runs_on "killed: a live flow goes on" live
enforces "after a kill"

pid=$(state MainPID)
must systemctl restart "$SERVICE"
runs_on "restarted: a live flow goes on" live
pid=$(state MainPID)
must systemctl reload "$SERVICE"
same "reload keeps the process" "$(state MainPID)" "$pid"
runs_on "reloaded: a live flow goes on" live

kill -STOP "$pid"
connects "hung: the caller of the API" far settlement.service 10.77.0.1 8443
pause 8 # a long wait that looks is long, one that sleeps is not
check "the watchdog ends an agent that hangs" wait_for 60 is_pid_other_than "$pid"
runs_on "after the watchdog: a live flow goes on" live
enforces "after the watchdog"
same "nothing complained of permissions" "$(journalctl -u "$SERVICE" -o cat --no-pager |
	grep -ciE 'not permitted|permission denied|EPERM')" 0
systemctl stop api other "$SERVICE"
nft delete table inet bailiwick
ip link del eth0
finish_tests
