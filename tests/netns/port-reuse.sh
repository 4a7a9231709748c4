# SPDX-License-Identifier: GPL-3.0-or-later
# UC-36: who takes over a port does not take over what its last owner was allowed: TCP in
# TIME_WAIT, a UDP sender, a UDP receiver (R3, R21).
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000')
END
serve api api-1 api.service 8443 :: --close-after 1
serve_udp api-udp api-1 api.service 9000
tcp_from() { # PORT UNIT
	run pay-1 "$2" traffic tcp-client "$API" 8443 --port "$1" --wait-close --timeout $PATIENCE
}
expect "settlement speaks from port 40000; the server closes first" \
	$DONE tcp_from 40000 settlement.service
check "the server's end is in TIME_WAIT" sh -c \
	"nsenter --net=$(ns api-1) ss -Htn state time-wait | grep -q 40000"
expect "backup cannot follow on that port" $REFUSED tcp_from 40000 backup.service
expect "settlement can, without waiting" $DONE tcp_from 40000 settlement.service
like "with its first SYN" "$SAID" 'connected in [0-9]{1,6} us'

udp_from() { # PORT UNIT
	run pay-1 "$2" datagrams udp-client "$API" 9000 --port "$1" --timeout 1500
}
expect "settlement's datagrams from port 40001" $DONE udp_from 40001 settlement.service
udp_from 40001 backup.service >"$WORK/udp.out"
like "backup's from the same port are denied" "$(cat "$WORK/udp.out")" 'answered 0'
expect "settlement's pass again" $DONE udp_from 40001 settlement.service

# The receiver: another unit of the API's host binds the port that the API has left.
place prod/payments/cache api-1
views
views_live api-1
expect "settlement's flow is live" $DONE udp_from 40001 settlement.service
stop api-udp
serve_udp thief api-1 cache.service 9000
udp_from 40001 settlement.service >/dev/null
same "what another identity has bound receives nothing of a live flow" \
	"$(said thief | grep -c '^from' || true)" 0
udp_from 40002 settlement.service >/dev/null
same "nor of a new one" "$(said thief | grep -c '^from' || true)" 0
stop thief
serve_udp api-udp2 api-1 api.service 9000
expect "the API itself receives again" $DONE udp_from 40001 settlement.service
finish_tests
