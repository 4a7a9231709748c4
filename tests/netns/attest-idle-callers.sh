# SPDX-License-Identifier: GPL-3.0-or-later
# R45: in mode selective a process without an identity reaches another node's agent as it reaches
# everything. That it holds connections there and says nothing keeps no agent of its host out.
. "$(dirname "$0")/lib-attest.sh"

attest_usual selective <<<"$(attested settlement-calls-api settlement api tcp/8443)"
serve api api-1 api.service 8443
connects "both agents are there" pay-1 settlement.service "$API" 8443 --timeout $PATIENCE

# More than are let in at a time; each comes back when it is closed.
for i in {1..24}; do
	start "idle$i" api-1 nobody.service bash -c 'while :; do
		exec 5<>"/dev/tcp/$0/'$ATTEST_PORT'"
		echo in
		read -r -u 5 line
		exec 5>&-
		sleep 0.01
	done' "$PAY"
done
sleep 2
agent_stop api-1 KILL
agent_start api-1
connected() {
	connects_quietly=$(run pay-1 settlement.service traffic tcp-client "$API" 8443 --timeout 1500) &&
		peer_connected api-1 pay-1
}
check "an agent that begins again is let in" wait_for 20 connected
for i in {1..24}; do
	stop "idle$i" KILL
done
finish_tests
