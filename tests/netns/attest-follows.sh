# SPDX-License-Identifier: GPL-3.0-or-later
# UC-1 UC-10: with a controller: enrolled agents know each other's endpoints by the mapping, vouch
# with the certificates that enrolment gave, and when settlement moves its old place loses its flow
# and its right, its new place has both.
. "$(dirname "$0")/lib-fleet.sh"

fleet_policy <<<"$(attested settlement-calls-api settlement api tcp/8443)"
fleet_up pay-1 pay-2 api-1
fleet_place
mapped pay-1 pay-2 api-1
serve api api-1 api.service 8443
endpoints() { [ "$(bw_json api-1 '[.peers[] | select(.state == "connected") | .node] |
	index("pay-1") != null' status)" = true ]; }
check "settlement is vouched for" wait_for 60 reaches pay-1 settlement.service "$API" 8443
check "over a stream to its node" wait_for 10 endpoints
talk old pay-1 settlement.service "$API" 8443
recorded "allowed, attested" api-1 '.decision == "allowed" and .assurance == "attested" and
	.from.identity == "prod/payments/settlement" and .from.node == "pay-1"'
refused "not placed at pay-2" pay-2 settlement.service "$API" 8443

must ctl place prod/payments/settlement --node pay-2
must ctl place prod/payments/settlement --node pay-1 --remove
mapped pay-1 pay-2 api-1
is_cut "moved: the old flow ends" old
denied "moved: the old place" pay-1 settlement.service "$API" 8443
check "moved: the new place" wait_for 30 reaches pay-2 settlement.service "$API" 8443
talk new pay-2 settlement.service "$API" 8443

# pay-1 only observes now: its word for settlement is no longer believed.
must bw pay-1 mode observe --reason test
denied "what pay-1 says of settlement" pay-1 settlement.service "$API" 8443
recorded "is not believed" api-1 ".decision == \"denied\" and .from.address == \"$PAY\" and
	(.reason | test(\"^(unknown_peer|no_rule|attest_refused)\"))"

controller_stop KILL
connects "without the controller" pay-2 settlement.service "$API" 8443
runs_on "nothing changes" new
finish_tests
