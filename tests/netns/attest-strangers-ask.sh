# SPDX-License-Identifier: GPL-3.0-or-later
# R45 R46: an agent answers nodes of its view only, about connections to themselves only, and tells
# no more than it is asked; who sends nonsense loses the stream, and nobody else notices.
. "$(dirname "$0")/lib-attest.sh"

attest_host pay-2
attest_usual <<END
$(attested settlement-calls-api settlement api tcp/8443)
END
serve api api-1 api.service 8443
talk live pay-1 settlement.service "$API" 8443
port=$(port_of live)
about=(--src "$PAY" --sport "$port" --dst "$API" --dport 8443)
ESTABLISHED=8 EVIDENCE=1

status_of asks api-1 "$PAY" ask "${about[@]}" --flags $ESTABLISHED
like "the far end of a connection learns who it is" "$SAID" \
	'answer ok .* identity spiffe://acme.example/prod/payments/settlement '
like "but not its user" "$SAID" ' uid -1 '
status_of asks api-1 "$PAY" ask "${about[@]}" --flags $((ESTABLISHED | EVIDENCE))
like "unless evidence is asked for" "$SAID" 'answer ok .* uid 0 '
status_of asks api-1 "$PAY" ask "${about[@]}"
like "a connection that stands is none that begins" "$SAID" 'answer wrong_state'
status_of asks api-1 "$PAY" ask --src "$PAY" --sport 9 --dst "$API" --dport 8443
like "no socket, no name" "$SAID" 'answer no_socket .* identity  '
status_of asks pay-2 "$PAY" ask "${about[@]}" --flags $ESTABLISHED
like "another node learns nothing of it" "$SAID" 'answer (not_my_address|no_socket) .* identity  '
status_of asks api-1 "$PAY" ask --src "${ADDR4[pay-2]}" --sport "$port" --dst "$API" --dport 8443
like "nor is anything told about another host's address" "$SAID" 'answer not_my_address'
status_of asks api-1 "$PAY" ask --src "$API" --sport "$port" --dst "$PAY" --dport 8443
like "nor about the wrong direction" "$SAID" 'answer (not_my_address|no_socket)'

# answers: the agent serves as before
answers() {
	asks api-1 "$PAY" ask "${about[@]}" --flags $ESTABLISHED | grep -q 'answer ok'
}
# stranger NAME [SVID-OPTION...]: no stream, or one that is closed before an answer
stranger() {
	local name=$1
	shift
	mkdir -p "$WORK/stranger/svid"
	svid stranger -to "$WORK/stranger/svid" "$@"
	status_of run pay-2 bailiwickd.service ask_peer ask "$PAY" $ATTEST_PORT --node pay-2 \
		"${about[@]}" --cert "$WORK/stranger/svid/cert.pem" --key "$WORK/stranger/svid/key.pem"
	like "$name learns nothing" "$? $SAID" "^($REFUSED|$RESET) (no stream|closed)"
}
stranger "a node that the view does not know" -id spiffe://acme.example/bailiwick/node/pay-9
stranger "a workload" -id spiffe://acme.example/prod/payments/api
stranger "a node of another root" -id spiffe://acme.example/bailiwick/node/pay-2 -ca other-ca
stranger "a node of another trust domain" -id spiffe://evil.example/bailiwick/node/pay-2
stranger "an expired certificate" -id spiffe://acme.example/bailiwick/node/pay-2 -from -99 -until -9
status_of run pay-2 bailiwickd.service ask_peer ask "$PAY" $ATTEST_PORT "${about[@]}"
like "nobody learns nothing" "$? $SAID" "^($REFUSED|$RESET) (no stream|closed)"
status_of asks pay-2 "$PAY" old "${about[@]}"
like "nor anybody by TLS 1.2" "$? $SAID" "^($REFUSED|$RESET) (no stream|closed)"
refused "another process than the agent does not reach a peer's agent (R45)" \
	pay-1 backup.service "$API" $ATTEST_PORT

for kind in garbage length nohello answers; do
	status_of asks pay-2 "$PAY" $kind "${about[@]}"
	like "'$kind': the stream ends" "$? $SAID" "^$RESET closed"
done
start slow pay-2 bailiwickd.service ask_peer slow "$PAY" $ATTEST_PORT --node pay-2 \
	--cert "$WORK/pay-2/svid/cert.pem" --key "$WORK/pay-2/svid/key.pem" "${about[@]}"
start half pay-2 bailiwickd.service ask_peer half "$PAY" $ATTEST_PORT --timeout 30000
check "meanwhile others are answered" answers
finish half 40
same "a handshake that is not ended is" $? $RESET
status_of asks pay-2 "$PAY" many "${about[@]}" --count 300 --timeout 9000
same "many streams" $(($? == DONE || $? == RESET)) 1
check "after many streams, others are answered" answers
# Who opened them has used up what a node may cost, and has it back after a while.
asks_again() {
	asks pay-2 "$PAY" ask "${about[@]}" | grep -q '^answer'
}
check "and so is who opened them, later" wait_for 30 asks_again
sleep 3
status_of asks pay-2 "$PAY" flood --src "$PAY" --sport 9 --dst "${ADDR4[pay-2]}" --dport 9 \
	--count 30000 --timeout 20000
like "a flood of questions is answered or refused" "$? $SAID" \
	"^($DONE flood: 0 ok, [0-9]+ busy, [0-9]+ other|$RESET )"
check "after a flood, others are answered" answers
runs_on "and the conversation goes on" live
connects "as do new ones" pay-1 settlement.service "$API" 8443
finish_tests
