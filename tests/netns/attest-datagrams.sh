# SPDX-License-Identifier: GPL-3.0-or-later
# The first datagram of a flow is held until it is vouched for, and those that come meanwhile with
# it; the wrong identity's never arrive; DNS and other essentials never wait for anybody.
. "$(dirname "$0")/lib-attest.sh"

host_add dns 53
attest_host pay-1 observe
attest_host api-1 selective "essentials: {dns: [\"${ADDR4[dns]}\"]}"
attest_usual <<<"$(attested settlement-calls-api settlement api udp/8443)"
serve_udp api api-1 api.service 8443
start dns dns named.service datagrams udp-server :: 53
wait_line dns '^listening'

# A host that only observes holds nothing until it knows a unit that has just begun: its agent would
# have to say of the first datagram that it cannot tell whose it was.
unit_dir pay-1 settlement.service >/dev/null
known() {
	[ "$(bw_json pay-1 '.identities[] | select(.name == "settlement") | .workloads | length' \
		identities)" -gt 0 ]
}
check "settlement's unit is known" wait_for 15 known
udp_answers "settlement's first datagram" pay-1 settlement.service "$API" 8443
udp_answers "IPv6" pay-1 settlement.service "$API_6" 8443
twenty() {
	status_of run pay-1 settlement.service \
		datagrams udp-client "$API" 8443 --count 20 --timeout $PATIENCE
	how="$? $SAID"
}
in_time twenty
like "twenty of one flow: none is lost" "$how" '^0 .*answered 20'
udp_denied "backup's" pay-1 backup.service "$API" 8443
recorded "by name" api-1 '.decision == "denied" and .from.identity == "prod/payments/backup" and
	.service == "udp/8443"'
udp_answers "DNS" api-1 api.service "${ADDR4[dns]}" 53
kill -STOP "${PID[agent-pay-1]}"
udp_answers "DNS while a peer hangs" api-1 api.service "${ADDR4[dns]}" 53
kill -CONT "${PID[agent-pay-1]}"
# The first datagram of a flow is lost where the answer is late; this is another one's.
check "asked again" wait_for 30 run pay-1 settlement.service datagrams udp-client "$API" 8443 \
	--timeout 1000 --port 5301
start live pay-1 settlement.service \
	datagrams udp-client "$API" 8443 --count 400 --every 20 --port 5301
wait_line api "^from (::ffff:)?$PAY 5301"
kill -STOP "${PID[agent-api-1]}"
udp_answers "DNS while this host's agent hangs" api-1 api.service "${ADDR4[dns]}" 53
udp_denied "a new flow is denied then" pay-1 settlement.service "$API" 8443
kill -CONT "${PID[agent-api-1]}"
finish live 60
like "a vouched flow has not noticed" "$(last_line live)" '^done: .*answered 400'
finish_tests
