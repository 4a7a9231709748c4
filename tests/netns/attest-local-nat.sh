# SPDX-License-Identifier: GPL-3.0-or-later
# The caller's host rewrites addresses on the way out (service addresses, other source ports): its
# agent finds the socket behind the tuple that the called host sees.
. "$(dirname "$0")/lib-attest.sh"

attest_host pay-1 observe
attest_usual <<<"$(attested settlement-calls-api settlement api 'tcp/8443, udp/8443')"
serve api api-1 api.service 8443
serve_udp api-udp api-1 api.service 8443
must host_nft pay-1 -f - <<END
table ip services {
	chain out {
		type nat hook output priority -100;
		ip daddr 10.99.0.1 meta l4proto { tcp, udp } th dport 443 dnat to $API:8443
	}
	chain post {
		type nat hook postrouting priority 100;
		tcp dport 8443 tcp sport 5500 masquerade to :7000-7100
	}
}
END
ip_of "$ID-pay-1" route add 10.99.0.1 via "$API"
connects "a service address" pay-1 settlement.service 10.99.0.1 443
udp_answers "by datagrams" pay-1 settlement.service 10.99.0.1 443
expect "another source port" $DONE run pay-1 settlement.service \
	traffic tcp-client "$API" 8443 --port 5500 --timeout $PATIENCE
status_of run pay-1 backup.service traffic tcp-client 10.99.0.1 443 --timeout $PATIENCE
same "the wrong identity behind it is refused" $? $REFUSED
recorded "by name" api-1 '.decision == "denied" and .from.identity == "prod/payments/backup"'
finish_tests
