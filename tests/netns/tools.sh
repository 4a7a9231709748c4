# SPDX-License-Identifier: GPL-3.0-or-later
# The tools of these tests themselves: two hosts, plain nft rules, no agent.
. "$(dirname "$0")/lib.sh"

host_add left 1
host_add right 2
R4=${ADDR4[right]} R6=${ADDR6[right]}

serve echo right server.service 8443
serve_udp dgrams right server.service 9000
for address in "$R4" "$R6"; do
	connects "tcp to $address" left a.service "$address" 8443
	udp_answers "udp to $address" left a.service "$address" 9000
	expect "ping $address" $DONE run left a.service datagrams ping "$address"
	status_of run left a.service datagrams ping "$address" --checksum 4660
	like "an ICMP checksum can be chosen, $address" "$SAID" '^checksum 4660.*answered 1'
done
refused "closed port" left a.service "$R4" 1
expect "udp to a closed port is refused" $REFUSED run left a.service datagrams udp-client "$R4" 1
same "a program runs in its unit" \
	"$(run left a.service cat /proc/self/cgroup | grep '^0::')" "0::/$ID/left/system.slice/a.service"
same "a program gets its uid" "$(run -u 1001 left a.service id -u)" 1001

start talk left a.service traffic tcp-client "$R4" 8443 --count 0 --every 20 --progress
wait_line talk '^message 2'
runs_on "a conversation runs" talk
port=$(sed -n 's/.* from [^ ]* //p' "$WORK/talk.out")
for kind in syn rst fin ack; do
	must at left forge "$kind" --from "${ADDR4[left]}" --sport "$port" --to "$R4" --dport 8443
done
runs_on "forged packets out of window disturb nobody" talk

must host_nft right -f - <<-END
	table ip t {
		chain in {
			type filter hook input priority 0
			ip saddr 10.9.9.9 udp dport 9000 counter
			tcp dport 8443 socket cgroupv2 level 4 "${CG#/sys/fs/cgroup/}/right/system.slice/server.service" counter
			meta mark 7 counter
		}
	}
END
must at left forge udp --from 10.9.9.9 --sport 5 --to "$R4" --dport 9000 --data spoofed
same "a spoofed datagram arrives" \
	"$(host_nft right list chain ip t in | grep -c 'saddr 10.9.9.9.*packets 1 ')" 1
must host_nft right add rule ip t in tcp dport 8443 drop
is_cut "a dropped conversation is seen as cut" talk
no_answer "no answer is seen as such" left a.service "$R4" 8443
must host_nft right flush chain ip t in
must host_nft right add rule ip t in tcp dport 8443 reject with tcp reset
refused "a reset is seen as a refusal" left a.service "$R4" 8443
must host_nft right flush ruleset

start_fed many left a.service traffic hold "$R4" 8443 300
wait_line many '^held 300 of 300'
feed many round
wait_line many '^round 1 alive 300 dead 0'
same "300 flows live" "$(last_line many)" "round 1 alive 300 dead 0"
# One that lives at both ends: the server may still know the conversation that was cut.
port=$(at left ss -Htn state established 'dport = 8443' | awk 'NR == 1 { sub(/.*:/, "", $3); print $3 }')
victim=$(at right ss -Htn state established "sport = 8443 and dport = $port" | awk '{ print $4 }')
must at right ss -K dst "${victim%:*}" dport = "${victim##*:}"
feed many round
wait_line many '^round 2'
like "one killed flow is found" "$(last_line many)" '^round 2 alive 299 dead 1'
feed many quit
finish many
same "hold says that one was lost" $? $LOST

start flood left a.service datagrams flood "$R4" 9000 --rate 5000 --for 600
finish flood
wait_line dgrams '^flood'
like "a flood arrives whole" "$(said dgrams)" 'flood sent [0-9]+ received [0-9]+ lost 0 duplicates 0'

views_file() { place x left; place y right tcp/1; views; cat "$WORK/left/site/view.json"; }
check "views are JSON" jq -e '.placed[0].identity == "x" and .peers[0].services == ["tcp/1"]' <(views_file)
finish_tests
