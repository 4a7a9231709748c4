# SPDX-License-Identifier: GPL-3.0-or-later
# UC-5 UC-10: a rule that says attested admits a connection when the far agent has vouched for that
# very connection, in both address families, and says so in the record.
. "$(dirname "$0")/lib-attest.sh"

attest_usual <<<"$(attested settlement-calls-api settlement api tcp/8443)"
serve api api-1 api.service 8443

connects "vouched for: the first connection" pay-1 settlement.service "$API" 8443
connects "and the next" pay-1 settlement.service "$API" 8443
connects "IPv6" pay-1 settlement.service "$API_6" 8443
refused "another identity on the same host is stopped by its own kernel" \
	pay-1 backup.service "$API" 8443
recorded "allowed is recorded, with its assurance" api-1 '
	.decision == "allowed" and .reason == "permitted" and .assurance == "attested" and
	.from.identity == "prod/payments/settlement" and .rule == "settlement-calls-api"'
check "the stream is shown" wait_for 15 peer_connected api-1 pay-1
talk session pay-1 settlement.service "$API" 8443
runs_on "a conversation goes on" session
bw pay-1 conduits >/dev/null
same "asked for is attested" "$(bw_json api-1 '[.conduits[] | select(.rule ==
	"settlement-calls-api") | .assurance] | unique | join(",")' conduits)" attested
finish_tests
