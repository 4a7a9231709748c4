# SPDX-License-Identifier: GPL-3.0-or-later
# Conntrack calls the direction "original" that it sees first: of a datagram flow that ran before it
# looked, that may be the answers. Such a flow is judged by who asks: it goes on when its host
# enforces, vouched for where its rule wants that, and is cut where nothing permits it.
. "$(dirname "$0")/lib-attest.sh"

attest_host pay-1 observe
attest_host api-1 observe
API=${ADDR4[api-1]}
# At api-1 conntrack sees only what leaves, at pay-1 only what arrives.
turn() { # HOST HOOK WAY HOOK WAY
	host_nft "$1" -f - <<-END
		table inet neighbour {
			counter turned { }
			chain unseen { type filter hook $2 priority raw; udp $3 { 8443, 9000, 9002 } notrack; }
			chain seen { type filter hook $4 priority 10;
				udp $5 { 8443, 9000, 9002 } ct direction original counter name turned; }
		}
	END
}
turned() { # HOST DATAGRAMS
	[ "$(host_nft "$1" -j list counter inet neighbour turned 2>/dev/null |
		jq '[.nftables[].counter.packets? // empty] | add')" -ge "$2" ]
}
turn api-1 prerouting dport output sport
turn pay-1 output dport input sport
for port in 8443 9000 9002; do
	serve_udp "api-$port" api-1 api.service "$port"
	start "live-$port" pay-1 settlement.service \
		datagrams udp-client "$API" "$port" --count 0 --every 20
done
must wait_for 10 turned api-1 20
must wait_for 10 turned pay-1 20
for host in pay-1 api-1; do
	host_nft "$host" flush chain inet neighbour unseen
done
attest_usual observe <<END
$(rule mapped settlement api udp/9000)
$(attested attested settlement api udp/8443)
END
for host in api-1 pay-1; do
	same "$host enforces" "$(bw "$host" mode selective --reason 'go live' -o json | jq -r .mode)" \
		selective
done
pause 1
stop live-9000
like "the answers were seen first: no datagram is lost" "$(said live-9000)" '^done'
stop live-8443
# A datagram whose question had no answer in time is lost, and counted by the agent.
read -r sent answered < <(said live-8443 | sed -nE 's/.*: sent ([0-9]+) answered ([0-9]+) .*/\1 \2/p')
like "nor where the caller is asked about" "$(said live-8443)" '^(done|stalled): sent [0-9]{2,}'
same "but for late answers ($sent sent, $answered answered)" $((sent - answered <= $(late))) 1
stop live-9002
like "what nothing permits is cut" "$(said live-9002)" '^stalled'
finish_tests
