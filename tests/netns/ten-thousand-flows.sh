# SPDX-License-Identifier: GPL-3.0-or-later
# UC-37: 10,000 live flows, one of them revoked: it dies at its next packet, the others lose
# nothing.
. "$(dirname "$0")/lib.sh"

FLOWS=${FLOWS:-10000}
usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
$(rule backup-calls-api backup api tcp/8443)
END
at pay-1 sysctl -qw net.ipv4.ip_local_port_range='2000 60000'
serve api api-1 api.service 8443 :: --for 120000
start_fed many pay-1 settlement.service traffic hold "$API" 8443 "$FLOWS" --timeout 8000
wait_line many '^held' 60
like "all are connected" "$(last_line many)" "^held $FLOWS of $FLOWS"
talk one pay-1 backup.service "$API" 8443
must bw pay-1 revoke rule backup-calls-api --reason test
is_cut "the one is cut" one
feed many round
wait_line many '^round 1' 20
same "the others live" "$(last_line many)" "round 1 alive $FLOWS dead 0"
feed many quit
finish many 20
finish_tests
