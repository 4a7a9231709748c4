# SPDX-License-Identifier: GPL-3.0-or-later
# UC-67: enforcing on a busy host resets no permitted flow; denied ones were recorded before, are
# cut then, and are listed. Marks that somebody else left on them, conduit numbers by chance
# included, open and close nothing.
. "$(dirname "$0")/lib.sh"

host_add pay-1 11
host_add api-1 21
API=${ADDR4[api-1]} API_6=${ADDR6[api-1]}
serve api api-1 api.service 8443
serve speaker api-1 api.service 9000 :: --talk 30
serve_udp api-udp api-1 api.service 9000
# All of this is older than the agents.
marks() { # NUMBER: everything that is sent now carries it
	host_nft pay-1 -f - <<-END
		table inet neighbour {
			chain out { type filter hook output priority 10; }
		}
		flush chain inet neighbour out
		add rule inet neighbour out ct mark set $1
	END
}
for i in 1 2 3 4 5; do
	talk "ok-$i" pay-1 settlement.service "$API" 8443
done
talk ok-6 pay-1 settlement.service "$API_6" 8443
talk ok-speaker pay-1 settlement.service "$API" 9000 --quiet-side
marks 900
start_fed idle pay-1 settlement.service traffic hold "$API" 8443 20
wait_line idle '^held 20'
marks 1
talk bad pay-1 backup.service "$API" 8443
start ok-udp pay-1 settlement.service datagrams udp-client "$API" 9000 --count 0 --every 20
host_nft pay-1 delete table inet neighbour
# A conversation that the host cannot live without, of a unit that has no identity.
serve ssh pay-1 ssh.service 2222
talk operator api-1 operator.service "${ADDR4[pay-1]}" 2222
agent_config pay-1 observe \
	"essentials: {management: [{from: \"$API/32\", service: tcp/2222, by: [ssh.service]}]}"
usual observe <<END
$(rule settlement-calls-api settlement api 'tcp/8443, tcp/9000, udp/9000')
END
runs_on "in observe the flow that nothing permits goes on" bad
check "and is recorded as one that would be denied" wait_for 15 decided pay-1 \
	'.decision == "would_deny" and (.from.identity | endswith("backup"))'
# Once more, while nothing is denied.
marks 901
feed idle round
wait_line idle '^round 1'
host_nft pay-1 delete table inet neighbour
port=$(port_of bad)
for host in pay-1 api-1; do
	said=$(bw "$host" mode selective --reason 'go live' -o json)
	same "$host enforces" "$(jq -r .mode <<<"$said")" selective
	[ "$host" = api-1 ] || like "the flow that is cut is listed" "$said" "[^0-9]${port}[^0-9]"
done
is_cut "the denied flow is cut" bad
for i in 1 2 3 4 5; do
	runs_on "permitted flow $i goes on" "ok-$i"
done
runs_on "so does the one over IPv6" ok-6
runs_on "so does the one whose server talks" ok-speaker
feed idle round
wait_line idle '^round 2'
like "idle flows are alive" "$(last_line idle)" 'alive 20 dead 0'
for round in "that has no mark yet" "that has its mark"; do
	port=$(port_of operator)
	said=$(bw pay-1 mode enforce --reason 'go on' -o json)
	same "enforcing it all, an essential $round is not told of as cut" \
		"$(jq "[.cut[] | tostring | select(test(\"[^0-9]${port}[^0-9]\"))] | length" <<<"$said")" 0
	runs_on "and goes on" operator
	must bw pay-1 mode selective --reason 'and back'
done
stop ok-udp
like "no datagram was lost" "$(said ok-udp)" '^done'
finish_tests
