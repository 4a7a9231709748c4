# SPDX-License-Identifier: GPL-3.0-or-later
# The agent as bailiwickd.service starts it: a user of its own, no root, three capabilities. It does
# all that the tests as root see it do: cgroups by handle, executables of others, sockets, queues.
. "$(dirname "$0")/lib.sh"

# No entry in passwd is needed; nobody else has this number.
AGENT=64123
host_add pay-1 11
host_add api-1 21
agent_config pay-1 selective
chmod 755 "$WORK"
touch "$WORK/pay-1/decisions.log"
chown -R $AGENT:$AGENT "$WORK/pay-1/state" "$WORK/pay-1/run" "$WORK/pay-1/decisions.log"
place_usual
views pay-1
capabilities=-all,+net_admin,+sys_ptrace,+dac_read_search
start agent-pay-1 pay-1 bailiwickd.service setpriv --reuid $AGENT --regid $AGENT --clear-groups \
	--inh-caps=$capabilities --ambient-caps=$capabilities --bounding-set=$capabilities \
	--no-new-privs bailiwickd --config "$WORK/pay-1/agent.yaml" --foreground
wait_for 10 agent_ready pay-1 || fail "it starts" "$(said agent-pay-1)"
proc=/proc/$(cat "$WORK/pay-1/run/bailiwickd.pid")
status=$(cat "$proc/status")
like "it is not root" "$status" "Uid:.$AGENT.$AGENT.$AGENT.$AGENT"
like "it has three capabilities" "$status" 'CapEff:.0000000000081004'
like "and a filter" "$status" 'Seccomp:.2'
like "no core of it has the node's key" "$(cat "$proc/limits")" 'Max core file size  *0  *0 '

traffic=$(readlink -f "$(type -P traffic)")
{
	policy_head | sed '$d'
	printf '  - {name: tool, path: prod/tool, workload: [{unit: tool.service, exe: "%s"}]}\n' "$traffic"
	echo rules:
	rule settlement-calls-api settlement api tcp/8443
	rule tool-calls-api tool api tcp/8443
} | policy
place prod/tool pay-1
views
agent_start api-1
apply_all
API=${ADDR4[api-1]}
serve api api-1 api.service 8443
serve cache pay-1 cache.service 6379
connects "what is allowed is allowed" pay-1 settlement.service "$API" 8443
refused "what is not is denied" pay-1 backup.service "$API" 8443
unit_remove pay-1 settlement.service
connects "a restarted unit from its first packet" pay-1 settlement.service "$API" 8443
connects "an identity by its executable" pay-1 tool.service "$API" 8443
like "listeners are known" "$(bw pay-1 inventory)" '6379 prod/payments/cache'
check "decisions are written" wait_for 15 decided pay-1 '.decision == "denied"'
talk live pay-1 settlement.service "$API" 8443
must bw pay-1 revoke rule settlement-calls-api --reason test
is_cut "a revocation cuts" live
finish_tests
