# SPDX-License-Identifier: GPL-3.0-or-later
# UC-19: quarantine ends every conversation of one identity and of nothing else, keeps the network
# that forensics needs, lists what it cut; release brings it back.
. "$(dirname "$0")/lib.sh"

host_add forensics 50
usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
$(rule backup-calls-api backup api tcp/8443)
$(rule forensics-pulls settlement forensic-net tcp/9999)
networks:
  - {name: forensic-net, cidrs: ["10.77.0.50/32"]}
END
serve api api-1 api.service 8443
serve collector forensics c.service 9999
talk bad pay-1 settlement.service "$API" 8443
talk good pay-1 backup.service "$API" 8443
talk evidence pay-1 settlement.service "${ADDR4[forensics]}" 9999
port=$(port_of bad)
cut=$(bw_json pay-1 '.cut | tostring' quarantine identity prod/payments/settlement \
	--keep forensic-net --reason 'incident 7')
is_cut "its flow is cut" bad
like "the cut flow is evidence" "$cut" "[^0-9]${port}[^0-9]"
refused "it may not begin anew" pay-1 settlement.service "$API" 8443
runs_on "the forensic path stays" evidence
runs_on "others notice nothing" good
agent_stop pay-1 KILL
agent_start pay-1
refused "a quarantine outlives the agent" pay-1 settlement.service "$API" 8443
must bw pay-1 release identity prod/payments/settlement --reason 'incident 7 closed'
connects "release brings it back" pay-1 settlement.service "$API" 8443
finish_tests
