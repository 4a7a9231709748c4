# SPDX-License-Identifier: GPL-3.0-or-later
# UC-84 UC-26: what people see of attested connections: whom a record names and by whose word, which
# check failed and on which host, who is not reached, and what to type next.
. "$(dirname "$0")/lib-attest.sh"

# why HOST WORDS...: what the screen says, in one line, runs of spaces as one
why() {
	bw "$1" why "${@:2}" | tr -s ' \n' ' '
}

# shown NAME HOST PATTERN [LINE]: a line of status
shown() {
	like "$1" "$(bw "$2" status | tr -s ' \n' ' ')" "$3"
}

# evidence HOST FILTER: of the newest record with an answer or a question
evidence() {
	decisions "$1" | jq -s -r "[.[] | select(.evidence.node)] | last | $2"
}

attest_host pay-1 observe
attest_usual <<END
$(attested settlement-calls-api settlement api tcp/8443)
$(rule mapped-port settlement api tcp/9000)
$(attested or-nobody settlement api udp/9000 'on_unavailable: allow')
END
serve api api-1 api.service 8443
serve api-mapped api-1 api.service 9000
serve_udp api-udp api-1 api.service 9000

# --- nobody has called yet ---------------------------------------------------------------------

shown "status: nothing is held, nothing is lost" api-1 \
	'attestation 0 of 1,024 held, 0 timed out, 0 lost; peers [01] of 1 connected'
shown "status: the certificate" api-1 'certificate spiffe://acme\.example/bailiwick/node/api-1, valid'
ping=$(bw api-1 attest ping pay-1)
same "ping: every check passes" $? 0
for check in certificate endpoint stream node key answer; do
	like "ping: $check" "$ping" "ok +$check +"
done
like "ping: a summary" "$ping" 'checks, 0 failed; answered in [0-9.]+ (us|ms)\.'
same "ping in JSON" "$(bw_json api-1 '"\(.version) \(all(.checks[]; .ok)) \(.rtt_us > 0)"' \
	attest ping pay-1)" "1 true true"
shown "status: connected" api-1 'peers 1 of 1 connected'

# --- settlement is vouched for -----------------------------------------------------------------

talk live pay-1 settlement.service "$API" 8443
recorded "the record names who was vouched for" api-1 '
	.decision == "allowed" and .reason == "permitted" and .assurance == "attested" and
	.from.identity == "prod/payments/settlement" and .rule == "settlement-calls-api"'
same "by whose word" "$(evidence api-1 '.evidence |
	"\(.node) \(.status) \(.spiffe_id) \(.unit)"')" \
	"pay-1 ok spiffe://acme.example/prod/payments/settlement settlement.service"
same "with what was found to hold" "$(evidence api-1 '.evidence.match |
	contains(["tuple", "syn_sent"])')" true
same "how long it took and was held" \
	"$(evidence api-1 '.evidence.rtt_us > 0 and .evidence.held_us >= .evidence.rtt_us')" true
recorded "the caller's own host asked nobody" pay-1 '
	.decision == "allowed" and .service == "tcp/8443" and .assurance == "mapped" and
	.evidence == {}'
connects "a mapped rule asks nobody" pay-1 settlement.service "$API" 9000
recorded "and its record claims no more" api-1 '
	.service == "tcp/9000" and .assurance == "mapped" and .from.identity == null and
	.evidence == {}'
same "flows: known by somebody's word" "$(bw_json api-1 \
	'.flows[] | select(.dst | endswith(":8443")) | .assurance' flows)" attested
same "conduits: the node's asks, settlement's accepts" "$(bw_json api-1 '[.conduits[] |
	select(.service == "tcp/8443") | "\(.from.name // .from.node) \(.verdict) \(.assurance)"] |
	sort | join(", ")' conduits)" "pay-1 ask attested, settlement accept attested"
check "conduits: packets of vouched flows count" test "$(bw_json api-1 '.conduits[] |
	select(.service == "tcp/8443" and .from.name == "settlement") | .packets' conduits)" -gt 0
like "conduits: ! is for what rests on an address" "$(bw api-1 conduits)" 'tcp/9000 accept +mapped !'
why_settlement=$(why api-1 settlement api tcp/8443)
like "why: whose word is wanted" "$why_settlement" \
	"asks for each connection pay-1's agent must vouch for settlement; where nobody can say"
like "why: who vouched for the newest connection" "$why_settlement" \
	'settlement: pay-1 vouched for its newest connection, unit settlement\.service'
tuple="tcp $PAY:$(port_of live) > $API:8443"
ping=$(bw api-1 attest ping pay-1 "$tuple")
same "ping of that connection: every check passes" $? 0
for check in status tuple domain placement policy; do
	like "ping of that connection: $check" "$ping" "ok +$check +"
done

# --- backup is not -----------------------------------------------------------------------------

refused "backup is refused" pay-1 backup.service "$API" 8443
recorded "the record names it all the same" api-1 '
	.decision == "denied" and .reason == "no_rule" and .assurance == "attested" and
	.from.identity == "prod/payments/backup" and .evidence.unit == "backup.service"'
last=$(why api-1 --last)
like "why --last: who it was" "$last" 'denied backup at pay-1 -> api at api-1, tcp/8443'
like "why --last: which check, on which host" "$last" 'failed policy, on api-1: no rule lets'
like "why --last: what pay-1 said" "$last" \
	'evidence pay-1 answered ok in .*spiffe://acme\.example/prod/payments/backup, unit backup'
like "why --last: the nearest rule" "$last" 'nearest settlement-calls-api .* fails: caller is backup'
status_of bw api-1 why --last
same "why --last: exit code" $? 3
refused "a process without identity is refused" pay-1 nobody.service "$API" 8443
recorded "with the far agent's word" api-1 '.reason == "attest_refused:no_identity" and
	.assurance == "mapped" and .from.identity == null and .evidence.status == "no_identity"'
last=$(why api-1 --last)
like "why --last: found on the far host" "$last" 'failed status, on pay-1: '
like "why --last: why it does not vouch" "$last" "pay-1's agent does not vouch for it: the process"
like "why --last: what to do there" "$last" 'to allow give it one.*bailiwick inventory on pay-1'
like "why --last: what to type" "$last" 'next bailiwick attest ping pay-1'
shown "status: counted" api-1 '2 refused'

# --- nobody answers ----------------------------------------------------------------------------

kill -STOP "${PID[agent-pay-1]}"
no_answer "an agent that hangs: silence" pay-1 settlement.service "$API" 8443
recorded "a time-out" api-1 '.decision == "denied" and .reason == "attest_timeout" and
	.evidence.node == "pay-1" and .evidence.status == null and .evidence.held_us > 500000'
last=$(why api-1 --last)
like "why --last: who did not answer" "$last" "because pay-1's agent did not answer in time"
like "why --last: the next try asks again" "$last" 'dropped in silence, so that the next try asks'
shown "status: timed out" api-1 '[1-9][0-9]* timed out'
agent_stop pay-1 KILL
silent "an agent that is gone: denied" pay-1 settlement.service "$API" 8443
recorded "nobody could be asked" api-1 '.decision == "denied" and
	.reason == "attest_unavailable" and .evidence.failed and .assurance == "mapped"'
last=$(why api-1 --last)
like "why --last: which host" "$last" 'failed connection, on pay-1: '
like "why --last: what to start" "$last" 'to allow start bailiwickd on pay-1'
shown "status: who is not reached" api-1 'UNREACHABLE pay-1 at 10\.77\.0\.11:7113: '
status_of bw api-1 attest ping pay-1
same "ping: exit code" $? 3
like "ping: what failed" "$SAID" 'NO +stream'
udp_answers "what may pass where nobody can say" pay-1 settlement.service "$API" 9000
recorded "is told apart" api-1 '.decision == "allowed" and .reason == "allowed_unavailable" and
	.assurance == "mapped" and .from.identity == null and .evidence.node == "pay-1"'
like "doctor: the peer" "$(bw api-1 doctor | tr -s ' \n' ' ')" 'NO peers pay-1'
metrics=$(at api-1 curl -s --unix-socket "$WORK/api-1/run/metrics.sock" http://agent/metrics)
like "metrics: outcomes" "$metrics" 'bailiwick_attest_outcomes_total\{outcome="vouched"\} [1-9]'
like "metrics: none is held" "$metrics" 'bailiwick_attest_held 0'
status_of bw api-1 attest ping pay-9
same "ping: a node that nobody knows" $? 3
status_of bw api-1 attest ping api-1
same "ping: this node" $? 1
like "ping: why not" "$SAID" 'this node'
status_of bw api-1 attest pong pay-1
same "ping: another word" $? 2

# --- nobody ever could -------------------------------------------------------------------------

NO_AGENT[pay-1]=1
views
views_live api-1
shown "status: a node without an agent" api-1 'NO AGENT pay-1: the view names no agent there'
like "doctor: that node" "$(bw api-1 doctor | tr -s ' \n' ' ')" 'NO peers without agent pay-1'
status_of bw api-1 attest ping pay-1
like "ping: no endpoint" "$? $SAID" '^3 .*NO +endpoint'
agent_stop api-1
rm "$WORK/api-1/svid/cert.pem"
agent_start api-1
shown "status: no certificate" api-1 'NO CERTIFICATE this node can neither ask nor vouch'
like "doctor: no certificate" "$(bw api-1 doctor | tr -s ' \n' ' ')" 'NO certificate none'
status_of bw api-1 attest ping pay-1
like "ping: no certificate" "$? $SAID" '^3 .*NO +certificate'
finish_tests
