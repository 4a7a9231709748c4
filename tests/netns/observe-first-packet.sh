# SPDX-License-Identifier: GPL-3.0-or-later
# UC-10 UC-46: a host that observes lets the first packets of a new unit pass before its kernel knows
# whose they are. Such a flow has its record all the same, and `suggest` has it. Where the mode asks,
# the first packet itself is judged, and a datagram is vouched for.
. "$(dirname "$0")/lib-attest.sh"

host_add far 50
attest_host pay-1 observe
attest_host api-1 selective
attest_usual <<END
$(rule outward settlement api tcp/9000)
$(rule inward api cache tcp/6379)
$(attested vouched settlement api udp/8443)
END
FAR=${ADDR4[far]}
serve api api-1 api.service 9000
serve_udp api-udp api-1 api.service 8443
serve far far far.service 443

# unseen COMMAND...: while pay-1's agent stands still, so that its kernel hears of no new unit
unseen() {
	kill -STOP "${PID[agent-pay-1]}"
	"$@"
	kill -CONT "${PID[agent-pay-1]}"
}

proposals() {
	bw pay-1 suggest -o json | jq "$@"
}
has_stray() {
	proposals -e --arg unit "$1.service" 'any(.unclaimed[]; tostring | contains($unit))'
}

# --- observing: connections --------------------------------------------------------------------

unseen talk outward pay-1 settlement.service "$API" 9000
recorded "a caller whom a rule permits" pay-1 '
	.decision == "allowed" and .reason == "permitted" and .rule == "outward" and
	.service == "tcp/9000" and .direction == "out" and .assurance == "mapped" and
	.from.identity == "prod/payments/settlement" and .to.identity == "prod/payments/api"'
unseen talk stray pay-1 stray.service "$FAR" 443
recorded "a caller without an identity" pay-1 '
	.decision == "allowed" and .reason == "unclaimed" and .service == "tcp/443" and
	(.from.cgroup | test("stray[.]service"))'
# The log tells of one in ten seconds that calls this service.
unseen talk second pay-1 second.service "$FAR" 443
recorded "and another one, soon after" pay-1 '
	.decision == "allowed" and .reason == "unclaimed" and
	(.from.cgroup | test("second[.]service"))'
unseen talk backup pay-1 backup.service "$API" 9000
recorded "a caller whom no rule permits" pay-1 '
	.decision == "would_deny" and .reason == "no_rule" and .service == "tcp/9000" and
	.from.identity == "prod/payments/backup"'
called() {
	serve cache pay-1 cache.service 6379
	talk inward api-1 api.service "$PAY" 6379
}
unseen called
recorded "a server that is called at once" pay-1 '
	.decision == "allowed" and .reason == "permitted" and .rule == "inward" and
	.direction == "in" and .to.identity == "prod/payments/cache"'
check "suggest has the first" wait_for 15 has_stray stray
check "and the second" wait_for 15 has_stray second
check "what is permitted is counted" wait_for 15 \
	proposals -e '.totals.permitted >= 2 and .totals.unattributed == 0'
same "what is not is proposed, and no more" \
	"$(proposals -c '[.rules[] | .from[0] + " " + .to[0]]')" '["backup api"]'

# --- where the mode asks ------------------------------------------------------------------------

stop outward
for mode in selective enforce; do
	must bw pay-1 mode $mode --reason test
	: >"$WORK/pay-1/decisions.log"
	: >"$WORK/api-1/decisions.log"
	unit_remove pay-1 settlement.service
	connects "$mode: the first connection of a new unit" pay-1 settlement.service "$API" 9000
	recorded "$mode: it is recorded" pay-1 '
		.decision == "allowed" and .rule == "outward" and
		.from.identity == "prod/payments/settlement"'
	unit_remove pay-1 settlement.service
	udp_answers "$mode: the first datagram of a new unit" pay-1 settlement.service "$API" 8443
	recorded "$mode: it was vouched for" api-1 '
		.decision == "allowed" and .assurance == "attested" and .service == "udp/8443" and
		.from.identity == "prod/payments/settlement"'
	recorded "$mode: its own host has recorded it" pay-1 '
		.decision == "allowed" and .service == "udp/8443" and
		.from.identity == "prod/payments/settlement"'
done
finish_tests
