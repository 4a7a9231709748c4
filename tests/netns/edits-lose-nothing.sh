# SPDX-License-Identifier: GPL-3.0-or-later
# UC-2 UC-17: editing rules under a flood of datagrams loses none, and splitting a range (R16)
# neither; applying the same policy twice sends the kernel nothing but the heartbeat.
. "$(dirname "$0")/lib.sh"

edited() { # SERVICES NAME EXTRA-RULES
	policy_head | sed 's,tcp/9000\, udp/9000\],tcp/9000-9010\, udp/9000-9010],'
	rule "$2" settlement api "tcp/9000-9010, $1"
	for i in $(seq "$3"); do
		rule "more-$i" backup api "tcp/$((9000 + i))"
	done
}
usual <<END
$(rule backup-calls-api backup api tcp/8443)
END
edited udp/9000-9010 first 1 | policy
apply_all
serve_udp sink api-1 api.service 9003
serve api api-1 api.service 9004
talk live pay-1 settlement.service "$API" 9004
start flood pay-1 settlement.service datagrams flood "$API" 9003 --rate 4000 --for 120000
wait_line sink '^from'
for i in 1 2 3; do
	edited udp/9000-9010 "name-$i" $((i * 3)) | policy
	apply_all
	edited 'udp/9000-9004, udp/9005-9010' "name-$i" 2 | policy
	apply_all
	edited 'udp/9003, udp/9000-9010' "name-$i" 2 | policy
	apply_all
done
check "the edits happened during the flood" kill -0 "${PID[flood]}"
stop flood
wait_line sink '^flood'
like "no datagram is lost by edits and splits" "$(said sink | grep '^flood')" \
	'received [0-9]+ lost 0 duplicates 0'
runs_on "nor a TCP flow of the range" live

start monitor pay-1 monitor.service nft monitor
beats() { grep -c ' agent_alive ' "$WORK/monitor.out"; }
beaten() { [ "$(beats)" -ge "$1" ]; }
check "the heartbeat is seen" wait_for 15 beaten 1
before=$(lines_of monitor)
apply pay-1 >/dev/null
check "and goes on" wait_for 30 beaten $(($(beats) + 4))
news() { tail -n +$((before + 1)) "$WORK/monitor.out" | grep -v -e '^#' -e agent_alive -e '^$'; }
same "the same policy again changes nothing" "$(news | head -c 300)" ""
stop monitor
finish_tests
