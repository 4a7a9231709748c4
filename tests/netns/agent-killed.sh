# SPDX-License-Identifier: GPL-3.0-or-later
# UC-62: SIGKILL of the agent changes nothing that the kernel can judge; an unknown cgroup is
# refused; the next agent takes over without touching a flow, with the same conduit numbers.
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000')
END
serve api api-1 api.service 8443
serve_udp api-udp api-1 api.service 9000
talk live pay-1 settlement.service "$API" 8443
mkdir -p "$(unit_dir pay-1 backup.service)"
numbers() { bw_json pay-1 '[.conduits[] | "\(.conduit) \(.service)"] | sort | join(",")' conduits; }
before=$(numbers)
agent_stop pay-1 KILL
agent_stop api-1 KILL
runs_on "the flow goes on" live
connects "what was allowed is allowed" pay-1 settlement.service "$API" 8443
udp_answers "datagrams too" pay-1 settlement.service "$API" 9000
refused "what was denied is denied" pay-1 backup.service "$API" 8443
serial=0
stranger_refused() {
	serial=$((serial + 1))
	run pay-1 "late-$serial.service" traffic tcp-client "$API" 8443 --timeout 300
	[ $? = $REFUSED ]
}
check "a cgroup nobody knows is refused within 2 s and at once" wait_for 4 stranger_refused
status_of bw pay-1 status
same "the command says that no agent answers" $? 1
like "and where it looked" "$SAID" 'control.sock'
check "the table stands" host_nft pay-1 list table inet bailiwick
agent_start pay-1
agent_start api-1
same "the next agent keeps the numbers" "$(numbers)" "$before"
runs_on "the flow has not noticed" live
connects "new flows pass" pay-1 settlement.service "$API" 8443
refused "denied stays denied" pay-1 backup.service "$API" 8443
must bw pay-1 revoke rule settlement-calls-api --reason test
is_cut "and the old flow can be cut by the new agent" live
agent_stop pay-1
same "an agent that is told to stop takes its sockets along" \
	"$(find "$WORK/pay-1/run" -type s)" ""
finish_tests
