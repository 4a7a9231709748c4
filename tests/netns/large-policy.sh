# SPDX-License-Identifier: GPL-3.0-or-later
# UC-62: a policy of tens of thousands of conduits goes in beside live traffic: no flow notices, new
# process groups are answered meanwhile, the agent does not take its own load for somebody else's.
. "$(dirname "$0")/lib.sh"

NODES=${NODES:-100}
people() {
	policy_head | sed '$d'
	identity stores prod/stores stores.service
	printf 'rules:\n'
	rule settlement-calls-api settlement api tcp/8443
}
usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
serve api api-1 api.service 8443
talk live pay-1 settlement.service "$API" 8443

# The stores are on many nodes: 3 callers, 100 services, and each node's addresses.
ports=$(seq -s, -f 'tcp/%.0f' 2000 2099)
{ people; rule stores 'settlement, backup, cache' stores "${ports//,/, }"; } | policy
SEQUENCE=$((SEQUENCE + 1))
many='[range($n) | {node: "s-\(.)", addresses: ["10.78.\(. / 250 | floor).\(. % 250 + 1)"]}]'
view_json pay-1 | jq -c --argjson n "$NODES" "$many as \$more | .nodes += \$more |
	.peers += [\$more[] | . + {identity: \"prod/stores\"}]" | view_put pay-1
views_live pay-1

start load pay-1 admin.service bailiwick -C "$WORK/pay-1/run" apply "$WORK/policy" --reason test
right=0
for i in 1 2 3 4 5; do
	run pay-1 "new-$i.service" traffic tcp-client "$PAY" 9 --timeout 2500 >/dev/null
	[ $? = $REFUSED ] && right=$((right + 1))
done
same "new process groups are looked up during the load" "$right" 5
finish load 60
same "the load succeeds" $? 0
like "all of it" "$(bw_json pay-1 .conduits status)" "^$((NODES * 300 + 1))$"
runs_on "the live flow has not noticed" live
refused "what was denied is denied" pay-1 backup.service "$API" 8443
same "nobody was suspected" "$(grep -cE 'lost|repair|ALERT' "$WORK/pay-1/agent.log")" 0
same "and nothing was mended" "$(bw_json pay-1 .drift status)" null
must bw pay-1 revoke rule settlement-calls-api --reason test
is_cut "one of many conduits is revoked" live
finish_tests
