# SPDX-License-Identifier: GPL-3.0-or-later
# 10,000 SYNs a second from unknown sources are answered by nobody and asked about nobody; as many
# from a known node's address delay that node at most. Others notice neither.
. "$(dirname "$0")/lib-attest.sh"

# A fifth of them where the machine is emulated (tests/vm): it would do nothing else.
RATE=$((WAIT_FACTOR > 1 ? 2000 : 10000))
host_add evil 66
attest_host pay-2
place prod/payments/settlement pay-2
attest_usual <<<"$(attested settlement-calls-api settlement api tcp/8443)"
serve api api-1 api.service 8443
connects "before" pay-1 settlement.service "$API" 8443
connects "before, pay-2" pay-2 settlement.service "$API" 8443
talk live pay-1 settlement.service "$API" 8443
flood() { # NAME OPTION...
	local name=$1
	shift
	start "$name" evil e.service forge syn --to "$API" --dport 8443 --rate $RATE \
		--count 100000000 "$@"
}
# through NAME HOST COUNT: connections of it, one after the other
through() {
	local i
	for i in $(seq "$3"); do
		connects "$1 ($i)" "$2" settlement.service "$API" 8443
	done
}
nothing_held() { [ "$(held_by api-1)" = 0 ]; }
before=$(attest_count api-1 asked)
flood unknown --from 10.78.0.1 --sources 60000 --sport 1000
pause 1
through "flood of unknown sources: settlement at pay-1" pay-1 5
through "flood of unknown sources: settlement at pay-2" pay-2 5
stop unknown
like "they were many" "$(last_line unknown)" 'sent [0-9]{4,} syn'
same "and nobody was asked about them" $(($(attest_count api-1 asked) - before <= 20)) 1

flood known --from "$PAY" --sport 1024 --ports 60000
pause 1
PATIENCE=15000
through "flood in pay-1's name: pay-2" pay-2 5
through "flood in pay-1's name: pay-1 itself" pay-1 2
stop known
like "they were many, too" "$(last_line known)" 'sent [0-9]{4,} syn'
runs_on "a conversation has noticed neither" live
through "afterwards: pay-1" pay-1 2
check "what was held is answered" wait_for 10 nothing_held
same "no forged SYN has reached the server" "$(server_connections api)" 22
finish_tests
