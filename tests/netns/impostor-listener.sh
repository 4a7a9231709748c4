# SPDX-License-Identifier: GPL-3.0-or-later
# UC-13 UC-36: a process that listens on the API's port is not the API (R12, R21, R40).
. "$(dirname "$0")/lib.sh"

usual enforce <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000')
$(rule settlement-uses-cache settlement cache tcp/6379)
END
serve api api-1 api.service 8443 :: --close-after 1
connects "the API answers" pay-1 settlement.service "$API" 8443
expect "and its end stays in TIME_WAIT" $DONE run pay-1 settlement.service \
	traffic tcp-client "$API" 8443 --port 40010 --wait-close
stop api
serve thief api-1 thief.service 8443
no_answer "an impostor gets no connection" pay-1 settlement.service "$API" 8443
no_answer "over IPv6 neither" pay-1 settlement.service "$API_6" 8443
expect "not even on a port in TIME_WAIT" $NO_ANSWER run pay-1 settlement.service \
	traffic tcp-client "$API" 8443 --port 40010 --timeout 700
same "and accepted nothing" "$(said thief | grep -c '^accepted' || true)" 0
serve cache-thief pay-1 backup.service 6379
asked() {
	host_nft pay-1 list counter inet bailiwick questions | sed -n 's/.*packets \([0-9]*\).*/\1/p'
}
before=$(asked)
denied "an impostor on loopback gets nothing" pay-1 settlement.service 127.0.0.1 6379
same "indeed nothing" "$(said cache-thief | grep -c '^accepted' || true)" 0
# Whose it is was asked and answered; repeating a packet that no set lets in would ask until the
# cgroup's meter is spent.
check "and a question is not asked over and over" test $(($(asked) - before)) -le 2
stop thief
serve api2 api-1 api.service 8443 "$API"
connects "the API answers again" pay-1 settlement.service "$API" 8443
reuses() {
	run pay-1 settlement.service traffic tcp-client "$API" 8443 --port 40010 --timeout 700
}
check "also on the port in TIME_WAIT, once it is known to listen" wait_for 8 reuses
# Now the port is the API's, by that list; another address is not.
serve neighbour api-1 thief.service 8443 "$API_6"
no_answer "an impostor beside it, on another address" pay-1 settlement.service "$API_6" 8443
same "hears nothing" "$(said neighbour | grep -c '^accepted' || true)" 0
connects "nor hinders the API" pay-1 settlement.service "$API" 8443
finish_tests
