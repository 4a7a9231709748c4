# SPDX-License-Identifier: GPL-3.0-or-later
# UC-13 UC-36: a connection is let in to the listener that it was judged for. While its SYN waits
# for the far node's answer that one may end, and somebody else may take the port.
. "$(dirname "$0")/lib-attest.sh"

HOSTILE[pay-1]=1
attest_usual enforce <<<"$(attested settlement-calls-api settlement api 'tcp/8443, udp/8443')"
hostile peer pay-1 answer --identity spiffe://acme.example/prod/payments/settlement
peers() { # SIGNAL: the peer, and its process for the stream
	# shellcheck disable=SC2046
	kill "-$1" "${PID[peer]}" $(pgrep -P "${PID[peer]}")
}
# call COMMAND...: its packet is held when this returns, and until the peer may answer. Of one packet
# the deadline may have passed before somebody looks, and a peer that is silent for long is not asked.
call() {
	local try
	peers STOP
	for try in 1 2 3 4 5; do
		start caller pay-1 x.service "$@"
		wait_for 2 holds api-1 && return
		finish caller
		peers CONT
		wait_for 30 run pay-1 x.service traffic tcp-client "$API" 8443 --timeout 1500
		peers STOP
	done
	fail "set-up" "nothing is held"
}

serve api api-1 api.service 8443
connects "the far node answers" pay-1 x.service "$API" 8443
stop api

# Where the deadline passes before the thief is there, nothing was held any more.
heard=0
theft() {
	serve api api-1 api.service 8443
	call traffic tcp-client "$API" 8443 --timeout 1200
	stop api
	serve thief api-1 thief.service 8443
	peers CONT
	finish caller
	heard=$((heard + $(said thief | grep -c '^accepted')))
	stop thief
}
in_time theft
same "whoever took the port meanwhile hears nothing" $heard 0
recorded "for that reason" api-1 '.decision == "denied" and .reason == "receiver_changed"'

# The same port, an identity of its own
serve api api-1 api.service 8443
connects "the API is back" pay-1 x.service "$API" 8443
call traffic tcp-client "$API" 8443 --timeout $PATIENCE
stop api
serve again api-1 api.service 8443
peers CONT
finish caller
same "who is the same identity is called" $? $DONE

# Datagrams
serve_udp names api-1 api.service 8443
call datagrams udp-client "$API" 8443 --count 1 --timeout 1500
stop names
serve_udp thief api-1 thief.service 8443
peers CONT
finish caller
same "a datagram that was held is no other's either" \
	"$(said thief | grep -vc '^listening' || true)" 0
finish_tests
