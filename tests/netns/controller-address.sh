# SPDX-License-Identifier: GPL-3.0-or-later
# The way to the controller is essential, for the courier's unit alone: open in mode enforce before
# any policy is there, listed, and closed to everybody else. A name is looked up beside the agent.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-documents.sh"

host_add pay-1 11
host_add ctl 9
keys_make
CTL=${ADDR4[ctl]}
controller_config() { # HOST URL
	agent_config "$1" enforce
	sed -i "s|^source:.*|source: {controller: {url: \"$2\"}}|" "$WORK/$1/agent.yaml"
	trust_lines >>"$WORK/$1/agent.yaml"
	echo "svid: {cert: $WORK/svid.pem, key: $WORK/svid.key, bundle: $WORK/bundle.pem}" \
		>>"$WORK/$1/agent.yaml"
}
serve controller ctl bailiwick-controller.service 8443
serve other ctl other.service 8444

controller_config pay-1 "https://$CTL:8443"
agent_start pay-1
unit_dir pay-1 bailiwick-courier.service >"$WORK/unit"
pause 0.5
connects "the courier reaches the controller" pay-1 bailiwick-courier.service "$CTL" 8443
refused "no other port of it" pay-1 bailiwick-courier.service "$CTL" 8444
refused "no other unit does" pay-1 backup.service "$CTL" 8443
refused "nor does the agent itself" pay-1 bailiwickd.service "$CTL" 8443
like "it is listed as an essential" \
	"$(bw_json pay-1 '.conduits[] | "\(.essential) \(.to.identity // .to.name // "") \(.service)"' conduits)" \
	'true .*tcp/8443'
expect "and cannot be revoked" 3 bw pay-1 revoke conduit \
	"$(bw_json pay-1 '[.conduits[] | select(.service == "tcp/8443")][0].conduit' conduits)" --reason test
like "status says that nobody answers" "$(bw pay-1 status)" "controller $CTL not reached"
agent_stop pay-1

# ------------------------------------------------------------------------------------- a name
controller_config pay-1 "https://localhost:8443"
serve local pay-1 local.service 8443 127.0.0.1
agent_start pay-1
opened() {
	run pay-1 bailiwick-courier.service traffic tcp-client 127.0.0.1 8443 --timeout $PATIENCE
}
check "a name is looked up, and its address opened" wait_for 10 opened
same "and kept" "$(jq -r .name "$WORK/pay-1/state/controller.json")" localhost
refused "the address of before is closed" pay-1 bailiwick-courier.service "$CTL" 8443
helper=$(pgrep -P "${PID[agent-pay-1]}")
like "the process that looks up holds no capability" "$(cat "/proc/$helper/status")" \
	'CapEff:[[:space:]]0000000000000000'
like "and is under a filter of its own" "$(cat "/proc/$helper/status")" 'Seccomp:[[:space:]]2'
kill -KILL "$helper"
pause 1.2
check "without it the address stays" opened
check "and the agent lives" bw pay-1 status
agent_stop pay-1 KILL
controller_config pay-1 "https://localhost:8443"
agent_start pay-1
check "after a restart it is open at once" opened
helper=$(pgrep -P "${PID[agent-pay-1]}")
agent_stop pay-1 KILL
check "it ends with the agent" wait_for 15 test ! -d "/proc/$helper"

# ---------------------------------------------------------------------- as its unit runs it
# A user of its own, capabilities from the ambient set, no capset(2): what it may not give up by that
# call the process that looks up must not have all the same.
AGENT=64123
chmod 755 "$WORK"
chown -R $AGENT:$AGENT "$WORK/pay-1/state" "$WORK/pay-1/run"
rm -f "$WORK/pay-1/state/controller.json"
rm -rf "$WORK/pay-1/run/spare"
capabilities=-all,+net_admin,+sys_ptrace,+dac_read_search
start agent-pay-1 pay-1 bailiwickd.service setpriv --reuid $AGENT --regid $AGENT --clear-groups \
	--inh-caps=$capabilities --ambient-caps=$capabilities --bounding-set=$capabilities \
	--no-new-privs "$WORK/tools/refuse" capset \
	bailiwickd --config "$WORK/pay-1/agent.yaml" --foreground
wait_for 10 agent_ready pay-1 || fail "it starts" "$(said agent-pay-1)"
check "without capset(2) a name is looked up" wait_for 10 opened
agent=$(cat "$WORK/pay-1/run/bailiwickd.pid")
helper=$(pgrep -P "$agent")
status=$(cat "/proc/$helper/status")
like "by a process without a capability" "$status" 'CapPrm:[[:space:]]0000000000000000'
like "nor one to come" "$status" 'CapAmb:[[:space:]]0000000000000000'
like "that a list of processes names" "$status" 'Name:[[:space:]]bailiwick-names'
same "and that has nothing open but its question" \
	"$(find "/proc/$helper/fd" -mindepth 1 -printf '%f\n' | sort -n | tail -n 1)" 3
same "nothing is complained of" "$(said agent-pay-1 | grep -c 'looked up any more')" 0
stop agent-pay-1
check "it ends with the agent there, too" wait_for 15 test ! -d "/proc/$helper"
finish_tests
