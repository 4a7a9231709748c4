# SPDX-License-Identifier: GPL-3.0-or-later
# UC-37: a forged SYN on the tuple of a live vouched flow neither cuts it nor opens anything; nor do
# RST, FIN and data; a queue's packet mark cannot be brought along.
. "$(dirname "$0")/lib-attest.sh"

host_add evil 66
attest_usual <<<"$(attested settlement-calls-api settlement api 'tcp/8443, udp/8443')"
serve api api-1 api.service 8443
serve_udp api-udp api-1 api.service 8443
forged() { must at evil forge "$@"; }
for family in 4 6; do
	[ $family = 4 ] && a=$PAY b=$API
	[ $family = 6 ] && a=$PAY_6 b=$API_6
	talk "live$family" pay-1 settlement.service "$b" 8443
	port=$(port_of "live$family")
	forge_between evil "$a" "$port" "$b" 8443
	forged syn --from "$a" --sport "$port" --to "$b" --dport 8443 --count 2000 --rate 2000
	runs_on "a vouched flow survives them, IPv$family" "live$family"
	# A tuple of which nobody at pay-1 knows.
	forged syn --from "$a" --sport 999 --to "$b" --dport 8443 --count 2
done
recorded "a SYN that nobody at pay-1 has sent is refused" api-1 '
	.decision == "denied" and (.reason | test("^(attest_refused:no_socket|no_socket)$")) and
	.from.port == 999'
same "only two connections have reached the server" "$(server_connections api)" 2
serve plain api-1 api.service 9000
for mark in 0x80000001 0x90000001 0x90000002 0x90000003 0x90000004 0xa0000001 0xa0000002 \
	0x10000001 0x20000001 0x30000001; do
	status_of run pay-1 backup.service traffic tcp-client "$API" 8443 --mark $mark --timeout $PATIENCE
	got=$?
	[ $got = $REFUSED ] || break
done
same "no packet mark opens anything to backup ($mark)" $got $REFUSED
finish_tests
