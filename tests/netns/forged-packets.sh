# SPDX-License-Identifier: GPL-3.0-or-later
# UC-37: packets forged by a neighbour on the wire do not end, revive or take over a live
# conversation (R1, R9), and a process cannot mark its packets into one.
. "$(dirname "$0")/lib.sh"

host_add evil 66
# A refused packet is answered and its flow ended: the worst that a forged one could bring about.
policy_head() {
	printf 'trust_domain: acme.example\ndefaults: {deny_in: reject}\nidentities:\n'
	identity settlement prod/payments/settlement settlement.service ''
	identity backup prod/payments/backup backup.service ''
	identity cache prod/payments/cache cache.service tcp/6379
	identity api prod/payments/api api.service 'tcp/8443, udp/9000'
	printf 'rules:\n'
}
usual <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000')
END
serve api api-1 api.service 8443
serve_udp api-udp api-1 api.service 9000
forged() { must at evil forge "$@"; }
for family in 4 6; do
	[ $family = 4 ] && a=$PAY b=$API
	[ $family = 6 ] && a=$PAY_6 b=$API_6
	talk "live$family" pay-1 settlement.service "$b" 8443
	port=$(port_of "live$family")
	forge_between evil "$a" "$port" "$b" 8443
	runs_on "a TCP flow survives forged SYN, RST, FIN and data, IPv$family" "live$family"
	start "udp$family" pay-1 settlement.service datagrams udp-client "$b" 9000 --port 5300 \
		--count 40 --every 30
	wait_line api-udp "^from (::ffff:)?$a 5300"
	forged udp --from "$a" --sport 5300 --to "$b" --dport 9000 --data x --count 5
	forged udp --from "$b" --sport 9000 --to "$a" --dport 5300 --data x --count 5
	finish "udp$family"
	like "a UDP flow survives forged datagrams, IPv$family" "$(last_line "udp$family")" '^done:'
done
# A SYN in the opener's direction is the one that conntrack lets through on a live entry.
resynced() {
	host_nft api-1 -j list counter inet bailiwick resynced |
		jq '.nftables[1].counter.packets'
}
same "no forged SYN was classified" "$(resynced)" 6
refused "an address that is forged does not make a caller" evil e.service "$API" 8443

for mark in 0x80000001 0x80000002 0x80000003 0x80000004 0x80000005 0x00000001 0x00000002 \
	0x10000001 0x20000001 0x0ffffffe 0x40000001 0x7ffffff0; do
	status_of run pay-1 backup.service traffic tcp-client "$API" 8443 --mark $mark --timeout $PATIENCE
	got=$?
	[ $got = $REFUSED ] || break
done
same "no packet mark opens anything to backup ($mark)" $got $REFUSED
status_of run pay-1 backup.service datagrams udp-client "$API" 9000 --mark 0x80000002 --timeout 300
like "nor to its datagrams" "$SAID" 'answered 0'
status_of run pay-1 settlement.service traffic tcp-client "$API" 8443 --mark 0x4000 --timeout 900
same "a mark of others does not hinder settlement" $? 0
finish_tests
