# SPDX-License-Identifier: GPL-3.0-or-later
# UC-37: revoking a rule, an identity or a conduit cuts the live flows concerned at their next
# packet, in both directions, the server that talks first included, lists them, and disturbs no
# other flow.
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000')
$(rule settlement-listens settlement api tcp/9000)
$(rule backup-calls-api backup api 'tcp/8443, tcp/9000')
END
serve api api-1 api.service 8443
serve speaker api-1 api.service 9000 :: --talk 30
serve_udp api-udp api-1 api.service 9000
talk bystander pay-1 backup.service "$API" 8443

talk caller pay-1 settlement.service "$API" 8443
talk caller6 pay-1 settlement.service "$API_6" 8443
start udp pay-1 settlement.service \
	datagrams udp-client "$API" 9000 --count 0 --every 30 --timeout 300
wait_line api-udp '^from'
port=$(port_of caller)
cut=$(bw_json pay-1 '.cut | tostring' revoke rule settlement-calls-api --reason 'contract ended')
is_cut "revoking a rule cuts its flow at the caller's host" caller
is_cut "and over IPv6" caller6
like "the cut flow is listed" "$cut" "[^0-9]${port}[^0-9]"
refused "and no new one is made" pay-1 settlement.service "$API" 8443
stop udp
like "its running datagrams end too" "$(said udp)" '^(refused|stalled): sent [0-9]+ answered [1-9]'
udp_denied "and no new ones are let through" pay-1 settlement.service "$API" 9000
runs_on "another identity's flow goes on" bystander

# A conduit by its number; the client is silent, the server speaks.
talk silent pay-1 settlement.service "$API" 9000 --quiet-side
wanted='.conduits[] | select(.service == "tcp/9000" and .from.name == "settlement") | .conduit'
number=$(bw_json pay-1 "$wanted" conduits)
cut=$(bw_json pay-1 '.cut | length' revoke conduit "$number" --reason test)
is_cut "revoking one conduit cuts it" silent
same "and only it is listed" "$cut" 1

# Revoked where the server is, while the caller's agent knows nothing of it. There a caller is its
# node, so a service is open to it until no rule opens it to anybody on that node (R19).
talk listener pay-1 backup.service "$API" 9000 --quiet-side
must bw api-1 revoke rule backup-calls-api --reason test
runs_on "another rule still opens the service to that node" listener
must bw api-1 revoke rule settlement-listens --reason test
is_cut "revoking at the server's host cuts a server that talks first" listener
runs_on "what the other rule opens runs on" bystander
must bw api-1 revoke rule settlement-calls-api --reason test
is_cut "until that one is revoked as well" bystander
finish_tests
