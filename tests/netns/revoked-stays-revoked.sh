# SPDX-License-Identifier: GPL-3.0-or-later
# UC-20: what was revoked stays revoked when the agent is killed, when its numbers are lost and when
# the host starts anew: no other conduit inherits the number that a cut flow still carries, and a
# revoked conduit is found again under whatever number it has then.
. "$(dirname "$0")/lib.sh"

host_add api-2 22
host_add api-3 23
{
	policy_head | sed '1adefaults: {deny_out: drop}
$d'
	identity one prod/one one.service tcp/7001
	identity two prod/two two.service tcp/7002
	echo rules:
	rule settlement-calls-api settlement api 'tcp/8443, tcp/9000'
	rule settlement-calls-one settlement one tcp/7001
	rule settlement-calls-two settlement two tcp/7002
} >"$WORK/whole.yaml"
usual <<END
$(rule settlement-calls-api settlement api 'tcp/8443, tcp/9000')
END
policy <"$WORK/whole.yaml"
must apply pay-1
serve one api-2 one.service 7001
serve two api-3 two.service 7002

# A conduit that came with a view, was revoked and went; then its number is forgotten.
place prod/one api-2
views pay-1
views_live pay-1
talk held pay-1 settlement.service "${ADDR4[api-2]}" 7001 --timeout 60000
must bw pay-1 revoke rule settlement-calls-one --reason test
stands_still() {
	local n
	n=$(lines_of held)
	pause 1
	[ "$(lines_of held)" = "$n" ]
}
check "the revoked flow stands still" stands_still
unplace prod/one api-2
views pay-1
views_live pay-1
agent_stop pay-1 KILL
rm "$WORK/pay-1/run/numbers"
place prod/two api-3
views pay-1
agent_start pay-1
views_live pay-1
connects "another conduit is opened" pay-1 settlement.service "${ADDR4[api-3]}" 7002
pause 3
check "and the revoked flow does not run on it" stands_still
stop held KILL

# A single conduit is revoked by its number; numbers are of this boot.
number() { bw_json pay-1 ".conduits[] | select(.service == \"$1\") | .conduit" conduits; }
serve api api-1 api.service 8443
serve other api-1 api.service 9000
must bw pay-1 revoke conduit "$(number tcp/9000)" --reason test
no_answer "a revoked conduit is closed" pay-1 settlement.service "$API" 9000
sed '/name: api,/s/serves: \[/&tcp\/7003, /; s/tcp\/8443, tcp\/9000/tcp\/7003, &/' "$WORK/whole.yaml" | policy
must apply pay-1
no_answer "it stays closed with another policy" pay-1 settlement.service "$API" 9000
connects "where others are open" pay-1 settlement.service "$API" 8443
before=$(number tcp/9000)
agent_stop pay-1 KILL
must host_nft pay-1 flush ruleset
rm "$WORK/pay-1/run/numbers"
agent_start pay-1
same "after a new start it has another number" $(($(number tcp/9000) != before)) 1
no_answer "and is closed under that" pay-1 settlement.service "$API" 9000
connects "and no other one instead" pay-1 settlement.service "$API" 8443
connects "nor this one" pay-1 settlement.service "${ADDR4[api-3]}" 7002
finish_tests
