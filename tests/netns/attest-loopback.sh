# SPDX-License-Identifier: GPL-3.0-or-later
# R12: between two processes of one host one kernel vouches for both ends: an attested rule asks
# nobody there.
. "$(dirname "$0")/lib-attest.sh"

attest_usual <<<"$(attested settlement-calls-cache settlement cache 'tcp/6379, udp/6379')"
serve cache pay-1 cache.service 6379
serve_udp cache-udp pay-1 cache.service 6379
before=$(attest_count pay-1 asked)
for address in 127.0.0.1 ::1 "$PAY" "$PAY_6"; do
	connects "settlement calls its neighbour at $address" pay-1 settlement.service $address 6379
	udp_answers "by datagrams at $address" pay-1 settlement.service $address 6379
	denied "backup does not at $address" pay-1 backup.service $address 6379
done
same "nobody was asked" "$(attest_count pay-1 asked)" "$before"
agent_stop pay-1 KILL
pause 3
connects "nor is an agent needed" pay-1 settlement.service 127.0.0.1 6379
finish_tests
