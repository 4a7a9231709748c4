# SPDX-License-Identifier: GPL-3.0-or-later
# R18: one identity of a node is asked about, another is mapped, for the same service of the same
# host: questions come first, each gets what its own rule gives, and what the mapped rule gives by
# address alone holds only while nobody can vouch.
. "$(dirname "$0")/lib-attest.sh"

attest_host pay-1 observe
attest_usual <<END
$(attested settlement-calls-api settlement api 'tcp/8443, udp/8443')
$(rule backup-calls-api backup api 'tcp/8443, udp/8443')
END
serve api api-1 api.service 8443
serve_udp api-udp api-1 api.service 8443
for unit in settlement backup; do
	connects "$unit" pay-1 $unit.service "$API" 8443
	udp_answers "$unit, datagrams" pay-1 $unit.service "$API" 8443
done
refused "who is named and has no rule" pay-1 cache.service "$API" 8443
recorded "by name" api-1 '.decision == "denied" and .from.identity == "prod/payments/cache"'
talk mapped-flow pay-1 backup.service "$API" 8443
talk vouched-flow pay-1 settlement.service "$API" 8443

must bw api-1 quarantine identity prod/payments/settlement --reason test
is_cut "settlement in quarantine: its flow ends" vouched-flow
denied "and none begins, though a mapped rule holds for its host" \
	pay-1 settlement.service "$API" 8443
runs_on "backup's goes on" mapped-flow
connects "and begins" pay-1 backup.service "$API" 8443
must bw api-1 release identity prod/payments/settlement --reason test
check "released" wait_for 20 reaches pay-1 settlement.service "$API" 8443

agent_stop pay-1 KILL
check "nobody can vouch: the mapped rule holds" wait_for 30 reaches pay-1 backup.service "$API" 8443
connects "for whoever has the address" pay-1 cache.service "$API" 8443
recorded "which is recorded" api-1 '.decision == "allowed" and
	(.reason == "allowed_unavailable" or .assurance == "mapped")'
must bw api-1 quarantine identity prod/payments/backup --reason test
check "and ends with backup's quarantine" wait_for 10 \
	reaches_not pay-1 backup.service "$API" 8443
must bw api-1 release identity prod/payments/backup --reason test
agent_start pay-1
check "asked again: who has no rule" wait_for 30 reaches_not pay-1 cache.service "$API" 8443
connects "asked again: settlement" pay-1 settlement.service "$API" 8443
finish_tests
