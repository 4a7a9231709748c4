# SPDX-License-Identifier: GPL-3.0-or-later
# UC-46: observe, let the agent propose rules from what it saw, fill in who answers for them, check,
# apply, enforce: nothing that ran is refused, and what nobody used is.
. "$(dirname "$0")/lib.sh"

host_add pay-1 11
host_add api-1 21
host_add far 50
place_usual
views
policy_head | sed '/^rules:/d' | policy
for host in pay-1 api-1; do
	agent_config "$host" observe
	agent_start "$host"
done
apply_all
API=${ADDR4[api-1]} API_6=${ADDR6[api-1]} FAR=${ADDR4[far]}
serve api api-1 api.service 8443
serve_udp api_udp api-1 api.service 9000
serve cache pay-1 cache.service 6379
serve far far far.service 443
serve tool pay-1 tool.service 7000

everything_works() {
	connects "$1: TCP to a known identity" pay-1 settlement.service "$API" 8443
	connects "$1: the same over IPv6" pay-1 settlement.service "$API_6" 8443
	udp_answers "$1: datagrams" pay-1 backup.service "$API" 9000
	connects "$1: to a neighbour on the same host" pay-1 settlement.service 127.0.0.1 6379
	connects "$1: to an address nobody knows" pay-1 backup.service "$FAR" 443
}

proposals() {
	bw "$1" suggest -o json | jq "${@:2}"
}

# Records come one by one: both flows to the API, and the stray one.
has_all() {
	proposals pay-1 -e '(.rules | length) >= 4 and (.unclaimed | length) > 0 and
		any(.rules[]; .to == ["api"] and .from == ["settlement"] and .flows >= 2)'
}
has_some() {
	[ "$(proposals api-1 '.rules | length')" -ge 1 ]
}

# Whose a flow was is looked up when the record comes: these live longer than that takes.
talk session pay-1 settlement.service "$API" 8443
talk session6 pay-1 settlement.service "$API_6" 8443
talk cached pay-1 settlement.service 127.0.0.1 6379
talk backup pay-1 backup.service "$FAR" 443
start datagrams pay-1 backup.service datagrams udp-client "$API" 9000 --count 0 --every 20
# A process that no identity claims: it is listed, and no rule is made up for it.
talk stray pay-1 stray.service "$FAR" 443
check "proposals come" wait_for 20 has_all
check "at the called host, too" wait_for 20 has_some
same "for each conversation once" "$(proposals pay-1 -c '[.rules[] | .from[0] + " " + .to[0]] |
	sort')" '["backup api","backup backup-tcp-443-servers","settlement api","settlement cache"]'
same "with its services and no ephemeral port" "$(proposals pay-1 -c '[.rules[].services[]] |
	unique')" '["tcp/443","tcp/6379","tcp/8443","udp/9000"]'
same "with evidence" "$(proposals pay-1 '[.rules[] | select(.flows > 0 and .first != null and
	.last != null and (.peers | length) > 0)] | length')" 4
flows=$(proposals pay-1 '.rules[] | select(.to == ["api"] and .from == ["settlement"]) | .flows')
same "flows are counted, not packets" "$flows" 2
same "an address is proposed as a network" "$(proposals pay-1 -c '.networks[].cidrs')" \
	"[\"$FAR/32\"]"
like "the process without identity is listed" "$(proposals pay-1 -c '.unclaimed')" 'stray.service'
like "the called host proposes the same" "$(proposals api-1 -c '[.rules[].to[]] | unique')" '"api"'
# What became of a conversation that is missing: what was counted and recorded.
[ "$FAILED" = 0 ] || {
	proposals pay-1 -c '.totals, .unclaimed'
	decisions pay-1 | jq -c '[.time, .decision, .reason, .service, .direction, .count, .from, .to]'
	at pay-1 conntrack -L -p tcp --dport 443 2>/dev/null
} >&2
covered=$(proposals pay-1 '(.totals.permitted + .totals.proposed) * 100 / .totals.flows | floor')
same "80 % of this host's flows are covered ($covered %)" $((covered >= 80)) 1
same "--since leaves out what is older" "$(bw_json pay-1 '.rules | length' suggest --since 1d)" 4

bw pay-1 suggest >"$WORK/policy/suggested.yaml"
agent_stop pay-1 KILL
agent_stop api-1
agent_start api-1
check "a restart forgets nothing" test "$(proposals api-1 '.rules | length')" -ge 1
expect "nobody answers for it yet" 3 bailiwick check "$WORK/policy"
like "which is what check says" "$SAID" 'owner.* is empty'
sed -i 's/^    owner:$/    owner: payments/; s/^    purpose:$/    purpose: seen in March/' \
	"$WORK/policy/suggested.yaml"
expect "filled in, it is a policy" 0 bailiwick check "$WORK/policy"
agent_start pay-1
apply_all
for host in pay-1 api-1; do
	must bw "$host" mode enforce --reason 'rules are there'
done
everything_works enforced
runs_on "what ran, runs" session
denied "what nobody used is refused" pay-1 cache.service "$API" 8443
same "and nothing is proposed twice" "$(proposals pay-1 '.rules | length')" 0
finish_tests
