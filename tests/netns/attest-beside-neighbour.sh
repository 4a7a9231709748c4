# SPDX-License-Identifier: GPL-3.0-or-later
# UC-85: a neighbour that creates and destroys nftables tables makes the kernel drop what is held at
# that moment: that costs the connection one retransmission of its SYN, and never a refusal.
. "$(dirname "$0")/lib-attest.sh"

HOSTILE[pay-1]=1
attest_usual <<<"$(attested settlement-calls-api settlement api tcp/8443)"
serve api api-1 api.service 8443
queries() { grep -c "^query" "$WORK/peer.out"; }
hears() { [ "$(queries)" -ge "$1" ]; }
another_table() {
	host_nft api-1 'add table inet other; add chain inet other c {
		type filter hook input priority 10; policy accept; }; add rule inet other c counter'
	host_nft api-1 delete table inet other
}

# A slow answer, and a table that is destroyed while it is waited for.
hostile peer pay-1 answer --delay 400 --identity spiffe://acme.example/prod/payments/settlement
PATIENCE=20000
step=$WAIT_STEP WAIT_STEP=0.02 # the answer does not wait for us
connects "before" pay-1 x.service "$API" 8443
hit=0
# On a slow machine the answer may be quicker than the neighbour.
for i in $(seq 12); do
	[ $i -le 4 ] || [ $hit = 0 ] || break
	before=$(queries)
	start "caller-$i" pay-1 x.service \
		traffic tcp-client "$API" 8443 --timeout $((PATIENCE * WAIT_FACTOR))
	wait_for 10 hears $((before + 1))
	must another_table
	finish "caller-$i" 30
	same "a table destroyed meanwhile: connection $i comes to be" $? $DONE
	like "after one retransmission at most ($i)" "$(said "caller-$i")" \
		'connected in [0-9]+ us( after 1 retransmissions)? from'
	grep -q 'after 1 retr' "$WORK/caller-$i.out" && hit=$((hit + 1))
done
same "the kernel did drop what was held (of $((i - 1)): $hit)" $((hit > 0)) 1
stop peer
WAIT_STEP=$step

# A neighbour who never rests, at both hosts, and an honest agent. Where the machine is emulated
# (tests/vm) he rests a little, and callers are fewer.
export REST=0.05
callers=40
[ "$WAIT_FACTOR" = 1 ] || REST=0.5 callers=10
agent_config pay-1
attest_config pay-1
agent_start pay-1
must apply pay-1
check "an honest peer" wait_for 60 reaches pay-1 settlement.service "$API" 8443
neighbour() {
	while nft 'add table inet other; add chain inet other c {
		type filter hook input priority 10; policy accept; }; add rule inet other c counter' &&
		nft delete table inet other; do sleep $REST; done
}
export -f neighbour
for host in pay-1 api-1; do
	start "neighbour-$host" $host neighbour.service bash -c neighbour
done
failed=
for i in $(seq $callers); do
	status_of run pay-1 settlement.service \
		traffic tcp-client "$API" 8443 --timeout $((PATIENCE * WAIT_FACTOR))
	[ $? = 0 ] || failed+=" $i: $SAID"
done
same "each connection comes to be" "$failed" ""
for host in pay-1 api-1; do
	same "the neighbour of $host was busy all the time" "$(ended "neighbour-$host"; echo $?)" 1
	stop "neighbour-$host"
done
same "the tables stand" "$(bw_json api-1 .drift status) $(bw_json pay-1 .drift status)" 'null null'
finish_tests
