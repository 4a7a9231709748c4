# SPDX-License-Identifier: GPL-3.0-or-later
# UC-19 UC-37: to revoke or quarantine ends the flows that were vouched for as that identity, at
# their next packet, and no others of the same host; released, it is asked about again.
. "$(dirname "$0")/lib-attest.sh"

attest_usual <<END
$(attested settlement-calls-api settlement api 'tcp/8443, udp/8443')
$(attested backup-calls-api backup api 'tcp/8443, udp/8443')
END
serve api api-1 api.service 8443
serve_udp api-udp api-1 api.service 8443
datagrams() { # NAME UNIT PORT
	start "$1" pay-1 "$2" datagrams udp-client "$API" 8443 --port "$3" --count 100000 --every 50
	wait_line api-udp "^from (::ffff:)?$PAY $3"
}
name=0
for way in 'quarantine identity prod/payments/settlement' 'revoke rule settlement-calls-api' \
	'revoke identity prod/payments/settlement'; do
	name=$((name + 1))
	talk "bad-$name" pay-1 settlement.service "$API" 8443
	talk "good-$name" pay-1 backup.service "$API" 8443
	[ $name = 1 ] || way+=" --for $((15 * WAIT_FACTOR))s"
	# shellcheck disable=SC2086
	must bw api-1 $way --reason test
	is_cut "$way: its flow ends" "bad-$name"
	runs_on "$way: the neighbour's goes on" "good-$name"
	denied "$way: it does not begin anew" pay-1 settlement.service "$API" 8443
	udp_denied "$way: nor by datagrams" pay-1 settlement.service "$API" 8443
	udp_answers "$way: the neighbour's are answered" pay-1 backup.service "$API" 8443
	connects "$way: the neighbour calls" pay-1 backup.service "$API" 8443
	stop "good-$name"
	[ $name -gt 1 ] || must bw api-1 release ${way#* } --reason test
	check "$way: undone, it is vouched for again" wait_for 30 \
		reaches pay-1 settlement.service "$API" 8443
done
# At the caller's end, too: its agent answers for it no more.
talk last pay-1 settlement.service "$API" 8443
must bw pay-1 quarantine identity prod/payments/settlement --reason test
is_cut "quarantined at its own host" last
refused "its own kernel refuses" pay-1 settlement.service "$API" 8443
finish_tests
