# SPDX-License-Identifier: GPL-3.0-or-later
# UC-51 UC-65: every session of vendor x, on every host, is cut by one command that names the label;
# others, the vendor's neighbours on the same hosts too, notice nothing. Then a rule, with an end.
. "$(dirname "$0")/lib-fleet.sh"

{
	printf 'trust_domain: acme.example\nidentities:\n'
	identity settlement prod/payments/settlement settlement.service ''
	identity pump prod/vendor/pump pump.service '' 'labels: [vendor=x]'
	identity valve prod/vendor/valve valve.service '' 'labels: [vendor=x]'
	identity meter prod/vendor/meter meter.service '' 'labels: [vendor=y]'
	identity api prod/payments/api api.service 'tcp/8443'
	printf 'rules:\n'
	rule settlement-calls-api settlement api tcp/8443
	rule vendors-call-api '"vendor=x|y"' api tcp/8443
	fleet_nodes
} | policy
fleet_up pay-1 pay-2 api-1
for identity in prod/payments/settlement prod/vendor/pump prod/vendor/meter; do
	must ctl place $identity --node pay-1
done
must ctl place prod/vendor/valve --node pay-2
must ctl place prod/payments/api --node api-1
mapped pay-1 pay-2 api-1
serve api api-1 api.service 8443
talk pump pay-1 pump.service "$API" 8443
talk pump-6 pay-1 pump.service "$API_6" 8443
talk valve pay-2 valve.service "$API" 8443
talk meter pay-1 meter.service "$API" 8443
talk own pay-1 settlement.service "$API" 8443
must ctl revoke label vendor=x --reason 'contract ended'
for session in pump pump-6 valve; do
	is_cut "$session of vendor x is cut" $session
done
denied "vendor x may not begin anew" pay-1 pump.service "$API" 8443
denied "nor on the other host" pay-2 valve.service "$API" 8443
runs_on "vendor y goes on" meter
runs_on "the own identity goes on" own
agent_stop pay-2 KILL
fleet_agent_start pay-2
denied "a revocation outlives the agent" pay-2 valve.service "$API" 8443

must ctl revoke rule settlement-calls-api --for 10s --reason 'for a moment'
is_cut "a rule is revoked" own
denied "closed" pay-1 settlement.service "$API" 8443
check "and opens again at its end" wait_for 30 reaches pay-1 settlement.service "$API" 8443
runs_on "vendor y has noticed nothing" meter
expect "an unknown rule cannot be revoked" 1 ctl revoke rule nothing --reason test
like "it is named" "$SAID" nothing
finish_tests
