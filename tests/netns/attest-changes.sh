# SPDX-License-Identifier: GPL-3.0-or-later
# Policy changes while a question is out: the answer is judged by what holds when it comes.
. "$(dirname "$0")/lib-attest.sh"

HOSTILE[pay-1]=1
attest_usual <<<"$(attested first settlement api tcp/8443)"
serve api api-1 api.service 8443
hostile peer pay-1 answer --identity spiffe://acme.example/prod/payments/settlement
caller="pay-1 x.service"
reaches_in() { # MS HOST UNIT ADDRESS PORT
	run "$2" "$3" traffic tcp-client "$4" "$5" --timeout "$1"
}
none_held() {
	[ "$(held_by api-1)" = 0 ]
}
replace() { # rules on stdin, in force on the called host when it returns
	{ policy_head; cat; } | policy
	must apply api-1
}
peers() { # SIGNAL: the peer, and its process for the stream
	# shellcheck disable=SC2046
	kill "-$1" "${PID[peer]}" $(pgrep -P "${PID[peer]}")
}
# while_out <rules: these come into force while a connection is held; exit status of its client.
# The peer cannot answer before; a deadline that passes meanwhile only makes the retransmission ask.
while_out() {
	peers STOP
	start client $caller traffic tcp-client "$API" 8443 --timeout $PATIENCE
	check "held" wait_for 5 holds api-1
	replace
	peers CONT
	finish client
}

check "vouched for, the peer is known" wait_for 30 reaches_in 1500 $caller "$API" 8443
while_out <<<"$(attested first backup api tcp/8443)"
same "another identity's rule now: refused" $? "$REFUSED"
recorded "for want of a rule" api-1 '.decision == "denied" and .reason == "no_rule" and
	.from.identity == "prod/payments/settlement"'

replace <<<"$(attested first settlement api tcp/8443)"
check "the rule is back" wait_for 30 reaches_in 1500 $caller "$API" 8443
served=$(server_connections api)
while_out <<<"$(attested first settlement api tcp/9000)"
same "no rule for the service now: silence" $? "$NO_ANSWER"
same "and nothing came through" "$(server_connections api)" "$served"

replace <<<"$(attested first settlement api tcp/8443)"
check "the rule is back again" wait_for 30 reaches_in 1500 $caller "$API" 8443
# It may be the third one, after seven seconds.
PATIENCE=15000 while_out <<<"$(rule first settlement api tcp/8443)"
same "nobody need be asked now: the retransmission passes" $? "$DONE"
check "nothing stays held" wait_for 5 none_held
finish_tests
