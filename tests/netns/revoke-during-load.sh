# SPDX-License-Identifier: GPL-3.0-or-later
# UC-18: a policy of 200,000 elements is being loaded when a rule is revoked: its flows end before
# the load does, the load does not open it again, and nobody else notices.
. "$(dirname "$0")/lib.sh"

host_add pay-1 11
host_add api-1 21
PEERS=2000
place_usual
SEQUENCE=1
view_json api-1 | view_put api-1
more='.peers += [range($n) | {identity: "prod/payments/api", node: "n\(.)",
	addresses: ["10.78.\(. / 250 | floor).\(. % 250 + 1)"]}]'
view_json pay-1 | jq -c --argjson n $PEERS "$more" | view_put pay-1
people() {
	printf 'trust_domain: acme.example\nidentities:\n'
	identity settlement prod/payments/settlement settlement.service ''
	identity backup prod/payments/backup backup.service ''
	identity cache prod/payments/cache cache.service ''
	identity api prod/payments/api api.service 'tcp/any, udp/any'
	printf 'rules:\n'
	rule settlement-calls-api settlement api 'tcp/8443, udp/9000'
	rule backup-calls-api backup api tcp/8443
}
API=${ADDR4[api-1]}
agents_start pay-1 api-1
people | policy
apply_all
serve api api-1 api.service 8443
serve_udp sink api-1 api.service 9000
talk live pay-1 settlement.service "$API" 8443
talk doomed pay-1 backup.service "$API" 8443
start flood pay-1 settlement.service datagrams flood "$API" 9000 --rate 2000 --for 6000
wait_line sink '^from'
{
	people
	rule many settlement api tcp/20000-20099
} | policy
revision() { [ "$(bw_json pay-1 .policy_revision status)" = 2 ]; }
apply pay-1 >"$WORK/apply.out" 2>&1 &
applying=$!
check "the load has begun" wait_for 20 revision
bw pay-1 revoke rule backup-calls-api --reason test -o json >"$WORK/revoke.out" &
revoking=$!
is_cut "the revoked flow ends" doomed
check "while the load goes on" kill -0 $applying
refused "and nothing opens it in between" pay-1 backup.service "$API" 8443
wait $applying
same "the policy is applied" $? 0
refused "nor does its end" pay-1 backup.service "$API" 8443
wait $revoking
same "the revocation succeeds" $? 0
same "and lists the flow once" "$(jq '.cut | length' "$WORK/revoke.out")" 1
refused "closed for good" pay-1 backup.service "$API" 8443
same "all that was wanted is there" "$(bw_json pay-1 .drift status)" null
finish flood
wait_line sink '^flood'
like "another's datagrams did not notice" "$(said sink | grep '^flood')" 'lost 0 duplicates 0'
runs_on "nor its connection" live
must apply api-1
serve many api-1 api.service 20017
connects "the new rule holds" pay-1 settlement.service "$API" 20017
finish_tests
