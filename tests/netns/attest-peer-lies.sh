# SPDX-License-Identifier: GPL-3.0-or-later
# UC-5 UC-36: whoever answers in a node's place vouches for nothing but what is placed on that node:
# no other status, no other identity, no broken frame and no other certificate opens anything, and
# the agent that asked goes on asking.
. "$(dirname "$0")/lib-attest.sh"

HOSTILE[pay-1]=1
host_add pay-2 12
attest_usual <<END
$(attested settlement-calls-api settlement api tcp/8443)
$(attested cache-calls-api cache api tcp/8443)
END
unplace prod/payments/cache pay-1
place prod/payments/cache pay-2
views
views_live api-1
serve api api-1 api.service 8443
SETTLEMENT=spiffe://acme.example/prod/payments/settlement

# After three failures in ten seconds the agent does not try for five.
tries() {
	run pay-1 x.service traffic tcp-client "$API" 8443 --timeout 1200 >"$WORK/try"
	HOW=$?
	[ $HOW = 0 ] || grep -qE "$HEARD" "$WORK/peer.out"
}
# lies NAME EXIT HEARD KIND [OPTION...]: what answers has said HEARD; EXIT is a pattern
lies() {
	local name=$1 want=$2
	HEARD=$3
	shift 3
	hostile peer pay-1 "$@"
	wait_for 30 tries || fail "$name" "nobody was asked: $(said peer)"
	like "$name opens nothing" "$HOW" "^($want)\$"
	stop peer
}
believed() {
	hostile peer pay-1 answer --identity $SETTLEMENT
	HEARD='never' check "$1" wait_for 30 tries
	connects "$1, at once" pay-1 x.service "$API" 8443
	stop peer
}

believed "a node vouches for what is placed on it"
for status in 1 2 3 4 5 6 8 9 10 999; do
	lies "status $status" $REFUSED '^answered' answer --status $status --identity $SETTLEMENT
done
for status in 7 11; do
	lies "status $status" $NO_ANSWER '^answered' answer --status $status --identity $SETTLEMENT
done
lies "OK without the tuple" $REFUSED '^answered' answer --match 0x3e --identity $SETTLEMENT
lies "OK without SYN_SENT" $REFUSED '^answered' answer --match 0x3d --identity $SETTLEMENT
lies "OK without a name" $REFUSED '^answered' answer
lies "an identity without a rule" $REFUSED '^answered' answer \
	--identity spiffe://acme.example/prod/payments/backup
lies "an identity that is placed elsewhere" $REFUSED '^answered' answer \
	--identity spiffe://acme.example/prod/payments/cache
lies "another trust domain" $REFUSED '^answered' answer \
	--identity spiffe://evil.example/prod/payments/settlement
lies "the node itself" $REFUSED '^answered' answer \
	--identity spiffe://acme.example/bailiwick/node/pay-1
lies "a name that is none" "$REFUSED|$NO_ANSWER" '^answered' answer --identity 'settlement'
believed "after lies, the truth is believed"

for kind in hangup garbage length half other deaf; do
	lies "'$kind'" $NO_ANSWER '^query' $kind --identity $SETTLEMENT
done
for kind in nohello early; do
	lies "'$kind'" "$REFUSED|$NO_ANSWER" '^(stream|over)' $kind --identity $SETTLEMENT
done
lies "a refusal, then OK" "$REFUSED" '^answered' twice --identity $SETTLEMENT
lies "TLS 1.2" $NO_ANSWER '^no stream' old --identity $SETTLEMENT
lies "no TLS" $NO_ANSWER '^listening' plain
lies "TLS that never begins" $NO_ANSWER '^connected' mute
lies "another node's HELLO" "$REFUSED|$NO_ANSWER" '^(stream|over|no stream)' answer --node pay-2 \
	--identity $SETTLEMENT
believed "after nonsense, too"

# certified NAME OPTION...: a certificate that does not prove to be pay-1, and all else is right
certified() {
	local name=$1
	shift
	svid pay-1 "$@"
	lies "$name" $NO_ANSWER '^(no stream|stream|over)' answer --identity $SETTLEMENT
}
certified "the certificate of another node" -id spiffe://acme.example/bailiwick/node/pay-2
certified "a workload's certificate" -id $SETTLEMENT
certified "the right name under another root" -ca other-ca
certified "another trust domain's certificate" -id spiffe://evil.example/bailiwick/node/pay-1
certified "an expired certificate" -from -7200 -until -3600
certified "one that is not valid yet" -from 3600 -until 7200
certified "two names" -id spiffe://acme.example/bailiwick/node/pay-1,URI:spiffe://acme.example/b
svid pay-1
believed "the right certificate"
same "no lie reached the server" "$(server_connections api)" 8
finish_tests
