# SPDX-License-Identifier: GPL-3.0-or-later
# UC-85 (R8): a table that marks packets and masquerades by that mark works beside ours; a table
# that writes the conntrack mark is named and enforcement refused without --force.
. "$(dirname "$0")/lib.sh"

host_add pay-1 11
must at pay-1 ip address add 10.77.0.111/24 dev eth0
must host_nft pay-1 -f - <<-END
	table ip kube {
		chain marks {
			type nat hook output priority -100
			tcp dport 8443 meta mark set meta mark or 0x4000
		}
		chain post {
			type nat hook postrouting priority 100
			meta mark & 0x4000 == 0x4000 counter snat to 10.77.0.111
		}
	}
END
usual <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000')
$(rule translated translated api tcp/8443)
networks:
  - {name: translated, cidrs: ["10.77.0.111/32"]}
END
serve api api-1 api.service 8443
connects "settlement connects through the neighbour's translation" \
	pay-1 settlement.service "$API" 8443
like "the server saw the translated address" "$(said api)" 'accepted .*10\.77\.0\.111 '
same "the neighbour's rule matched" \
	"$(host_nft pay-1 list chain ip kube post | grep -c 'packets [1-9]')" 1
# The first packet of a cgroup that nobody knows goes through the queue and keeps the mark.
unit_remove pay-1 settlement.service
connects "so does the first packet of a new cgroup" pay-1 settlement.service "$API" 8443
same "translated again" "$(said api | grep -c 'accepted .*10\.77\.0\.111 ')" 2
refused "backup stays refused" pay-1 backup.service "$API" 8443
must host_nft pay-1 add table ip writer
must host_nft pay-1 add chain ip writer pre '{ type filter hook output priority -150; }'
must host_nft pay-1 add rule ip writer pre tcp dport 1 ct mark set 7
status_of bw pay-1 mode enforce --reason test
like "another writer of the conntrack mark is named" "$SAID" 'writer'
status_of bw pay-1 doctor
like "by doctor too" "$SAID" 'writer'
finish_tests
