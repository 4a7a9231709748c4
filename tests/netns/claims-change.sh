# SPDX-License-Identifier: GPL-3.0-or-later
# UC-27 UC-37: policy gives a running process an identity, takes it away, gives it another: its live
# flows are judged anew as those of what it is now, without a packet lost where they may go on.
. "$(dirname "$0")/lib.sh"

# world UNIT-OF-SETTLEMENT MORE-IDENTITIES <rules
world() {
	printf 'trust_domain: acme.example\nidentities:\n'
	identity settlement prod/payments/settlement "$1" ''
	[ -z "$2" ] || echo "$2"
	identity backup prod/payments/backup backup.service ''
	identity cache prod/payments/cache cache.service ''
	identity api prod/payments/api api.service 'tcp/8443, tcp/9000'
	printf 'rules:\n'
	rule settlement-calls-api settlement api 'tcp/8443, tcp/9000'
	cat
}
usual <<END
$(rule settlement-calls-api settlement api 'tcp/8443, tcp/9000')
END
place prod/payments/cron pay-1
views
CRON=$(identity cron prod/payments/cron cron.service '')
apply_world() { # HOST... then as world
	world "$2" "$3" | policy
	must apply "$1"
}
apply_world pay-1 settlement.service '' </dev/null
apply_world api-1 settlement.service '' </dev/null
serve api api-1 api.service 8443
serve more api-1 api.service 9000
flow_of() { # PROGRAM: who the agent says it is
	bw_json pay-1 ".flows[] | select(.src | endswith(\":$(port_of "$1")\")) | .from" flows
}
is_of() { [ "$(flow_of "$1")" = "$2" ] || [[ $(flow_of "$1") == $2@* ]]; }

for address in "$API" "$API_6"; do
	talk nameless pay-1 cron.service "$address" 8443
	check "a process without a name talks ($address)" wait_for 15 is_of nameless unclaimed
	apply_world pay-1 settlement.service "$CRON" \
		< <(rule cron-calls-api cron api tcp/8443)
	runs_on "named, and permitted: its flow goes on" nameless
	check "as the identity's" wait_for 15 is_of nameless cron
	apply_world pay-1 settlement.service '' </dev/null
	is_cut "the name and its rule gone: the flow ends with its conduit" nameless
	talk nameless pay-1 cron.service "$address" 8443
	apply_world pay-1 settlement.service "$CRON" </dev/null
	is_cut "named, and permitted nothing: its flow ends" nameless
	apply_world pay-1 settlement.service '' </dev/null

	# The identity stays, the process is not it any more.
	talk former pay-1 settlement.service "$address" 8443
	check "settlement talks" wait_for 15 is_of former settlement
	apply_world pay-1 other.service '' </dev/null
	runs_on "not settlement any more, and nobody: its flow goes on" former
	check "as nobody's" wait_for 15 is_of former unclaimed
	refused "settlement's next unit is new, backup none" pay-1 backup.service "$address" 8443
	apply_world pay-1 settlement.service '' </dev/null
	runs_on "settlement again: it goes on" former
	check "as settlement's" wait_for 15 is_of former settlement
	apply_world pay-1 other.service \
		"$(identity cron prod/payments/cron settlement.service '')" </dev/null
	is_cut "somebody else without a permission: it ends" former
	apply_world pay-1 settlement.service '' </dev/null
done

# The other end: who listens.
talk inward pay-1 settlement.service "$API" 8443
world settlement.service '' </dev/null | sed 's/unit: api.service/unit: other.service/' | policy
must apply api-1
runs_on "selective: a listener that is nobody any more keeps its flow" inward
must bw api-1 mode enforce --reason test
is_cut "enforce: it does not" inward
world settlement.service '' </dev/null | policy
must apply api-1
connects "the API again" pay-1 settlement.service "$API" 8443

must bw pay-1 mode enforce --reason test
talk former pay-1 settlement.service "$API" 8443
talk second pay-1 settlement.service "$API" 9000
apply_world pay-1 other.service '' </dev/null
is_cut "enforce: not settlement any more, its flow ends" former
is_cut "and its other one" second
apply_world pay-1 settlement.service '' </dev/null
connects "settlement again" pay-1 settlement.service "$API" 8443
finish_tests
