# SPDX-License-Identifier: GPL-3.0-or-later
# UC-10: echo is a service addressed to nodes; an ICMP checksum is no port, whatever its value
# (R6).
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/8443')
END
serve_udp api api-1 api.service 8443
udp_answers "the service itself works" pay-1 settlement.service "$API" 8443
for address in "$API" "$API_6"; do
	status_of run pay-1 settlement.service \
		datagrams ping "$address" --checksum 8443 --timeout 500
	like "a ping whose checksum looks like the port is refused, $address" "$SAID" 'answered 0'
	like "its checksum was that number, $address" "$SAID" '^checksum 8443'
done
{
	policy_head
	rule settlement-calls-api settlement api 'tcp/8443, udp/8443'
	rule settlement-pings-api settlement api 'icmp/echo, icmpv6/echo'
} | policy
apply_all
for address in "$API" "$API_6"; do
	expect "with a rule settlement pings, $address" $DONE \
		run pay-1 settlement.service ping -c 2 -i 0.2 -W 5 "$address"
	status_of run pay-1 backup.service datagrams ping "$address" --timeout 500
	like "backup does not, $address" "$SAID" 'answered 0'
done
finish_tests
