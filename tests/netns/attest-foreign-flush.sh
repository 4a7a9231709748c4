# SPDX-License-Identifier: GPL-3.0-or-later
# UC-86 on a kernel without persistent owners (R37): somebody deletes the called host's table while
# vouched flows run: it is repaired, and they go on, at the latest when the agent has asked about
# them again; who may not call may not afterwards either.
. "$(dirname "$0")/lib-attest.sh"

unowned_tables

attest_host pay-1 observe
attest_usual <<<"$(attested settlement-calls-api settlement api tcp/8443)"
serve api api-1 api.service 8443
repairs() { bw_json api-1 .repairs status; }
more_repairs() { [ "$(repairs)" -gt "$before" ]; }
for i in 1 2 3; do
	for k in 1 2 3 4; do
		start "flow-$k" pay-1 settlement.service traffic tcp-client "$API" 8443 --count 0 \
			--every 2 --progress --timeout $((40000 * WAIT_FACTOR))
		wait_line "flow-$k" '^message 2' 20
	done
	before=$(repairs)
	must host_nft api-1 delete table inet bailiwick
	check "round $i: repaired" wait_for 10 more_repairs
	for k in 1 2 3 4; do
		goes_on "flow-$k" 35 && pass "round $i: vouched flow $k goes on" ||
			fail "round $i: vouched flow $k goes on" "$(last_line "flow-$k");
				$(at api-1 conntrack -L -p tcp --sport "$(port_of "flow-$k")" 2>/dev/null)"
		stop "flow-$k" KILL
	done
	connects "round $i: settlement" pay-1 settlement.service "$API" 8443
	refused "round $i: backup" pay-1 backup.service "$API" 8443
done
finish_tests
