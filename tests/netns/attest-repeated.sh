# SPDX-License-Identifier: GPL-3.0-or-later
# A SYN that comes twice is one question; one that is held too long is dropped, and its
# retransmission is a new question; an answer that comes too late opens nothing.
. "$(dirname "$0")/lib-attest.sh"

HOSTILE[pay-1]=1
host_add evil 66
attest_usual <<<"$(attested settlement-calls-api settlement api tcp/8443)"
serve api api-1 api.service 8443
IDENTITY=(--identity spiffe://acme.example/prod/payments/settlement)
queries() { grep -c "^query" "$WORK/peer.out"; }
hears() { [ "$(queries)" -ge "$1" ]; }

hostile peer pay-1 answer --delay 300 "${IDENTITY[@]}"
connects "a slow peer: the stream" pay-1 x.service "$API" 8443
slow() {
	local before
	before=$(queries)
	status_of run pay-1 x.service traffic tcp-client "$API" 8443 --timeout $PATIENCE
	how="$? $SAID" asked=$(($(queries) - before))
}
in_time slow
like "a slow peer: its answer is waited for" "$how" '^0 connected in [3-9][0-9]{5} us from'
same "with one question" $asked 1
# pay-1 would reset what it has not begun, and a SYN after that is another connection.
must host_nft pay-1 'add table inet mute; add chain inet mute in {
	type filter hook input priority 0; policy accept; };
	add rule inet mute in tcp dport { 998, 999 } drop'
must host_nft api-1 'add table inet after; add chain inet after in {
	type filter hook input priority 200; policy accept; };
	add rule inet after in tcp sport 999 tcp flags syn counter'
came() { host_nft api-1 'list table inet after' | grep -o 'packets [0-9]*'; }
before=$(queries) joined=$(attest_count api-1 joined)
must at evil forge syn --from "$PAY" --sport 999 --to "$API" --dport 8443 --count 5 --seq 7
check "five times the same SYN" wait_for 5 hears $((before + 1))
let_in() { [ "$(came)" != 'packets 0' ]; }
check "are let in" wait_for 5 let_in
pause 1
same "as one" "$(came)" 'packets 1'
same "are one question" "$(($(queries) - before)) $(($(attest_count api-1 joined) - joined))" '1 4'
must at evil forge syn --from "$PAY" --sport 998 --to "$API" --dport 8443 --count 1 --seq 7
must at evil forge syn --from "$PAY" --sport 998 --to "$API" --dport 8443 --count 1 --seq 8
check "another sequence number is another connection" wait_for 5 hears $((before + 3))
stop peer

# A peer that has answered is asked again when it is silent: after three failures in ten seconds it is
# not asked for five, and then once only, until it answers.
again() { run pay-1 x.service traffic tcp-client "$API" 8443 --timeout 1500; hears 1; }
asks_twice() {
	hostile peer pay-1 answer "${IDENTITY[@]}"
	wait_for 30 run pay-1 x.service traffic tcp-client "$API" 8443 --timeout 1500
	stop peer
	hostile peer pay-1 deaf "${IDENTITY[@]}"
	status_of run pay-1 x.service traffic tcp-client "$API" 8443 --timeout 3500
	how=$? asked=$(queries)
	stop peer
	[ "$asked" -ge 2 ]
}
wait_for 40 asks_twice
same "each retransmission asks again" $? 0
same "a deaf peer: silence" "$how" $NO_ANSWER
recorded "it is a time-out" api-1 '.reason == "attest_timeout" and .decision == "denied"'
hostile peer pay-1 answer --delay 950 "${IDENTITY[@]}"
served=$(server_connections api)
check "one that is too slow is asked" wait_for 30 again
before=$(queries)
silent "too slow: silence" pay-1 x.service "$API" 8443
same "none of its answers counted" "$(server_connections api)" "$served"
finish_tests
