# SPDX-License-Identifier: GPL-3.0-or-later
# TCP Fast Open: a SYN that carries data is held like any other. What it carries reaches the server
# when the caller has been vouched for, once, and never before or otherwise.
. "$(dirname "$0")/lib-attest.sh"

attest_host pay-1 observe
attest_host api-1 selective
attest_usual <<<"$(attested settlement-calls-api settlement api 'tcp/8443, tcp/9000')"
# Client and server without a cookie, and without asking the server's program.
for host in pay-1 api-1; do
	at $host sysctl -qw net.ipv4.tcp_fastopen=1543 || skip_all "no TCP Fast Open here"
done
command -v socat >/dev/null && curl --version | grep -q TLS || skip_all "needs socat and curl"
start server api-1 api.service socat -u TCP6-LISTEN:9000,ipv6only=0,reuseaddr,fork STDOUT
listens() { at api-1 ss -Hltn 'sport = :9000' | grep -q .; }
check "a server listens" wait_for 5 listens
serve api api-1 api.service 8443
connects "the way to the far agent is open" pay-1 settlement.service "$API" 8443

# sends NAME UNIT ADDRESS: its first line goes with the SYN
sends() {
	start "$1" pay-1 "$2" curl -s -m $((20 * WAIT_FACTOR)) --tcp-fastopen "http://$3:9000/$1"
}
got() { said server | grep -c "GET /$1 "; }
arrived() { [ "$(got "$1")" -gt 0 ]; }
with_syn() { at api-1 nstat -asz TcpExtTCPFastOpenPassive | awk '/Passive/ { print $2 }'; }

before=$(with_syn)
sends open settlement.service "$API"
check "what a SYN carries arrives" wait_for 9 arrived open
same "with it: the kernel has taken it" $(($(with_syn) > before)) 1
sends open6 settlement.service "[$API_6]"
check "IPv6 too" wait_for 9 arrived open6

kill -STOP "${PID[agent-pay-1]}"
sends waits settlement.service "$API"
check "without an answer the SYN is held" wait_for 9 holds api-1
pause 1
same "and what it carries is not delivered" "$(got waits)" 0
kill -CONT "${PID[agent-pay-1]}"
check "when the answer comes it is" wait_for 15 arrived waits
pause 0.5
same "once" "$(got waits)" 1

for unit in backup.service unheard-of.service; do
	sends "${unit%.service}" $unit "$API"
	finish "${unit%.service}" $((25 * WAIT_FACTOR))
	# The client takes itself for connected when it sends: it hears of a refusal as it reads.
	like "$unit: refused" $? '^(7|56)$'
	same "$unit: nothing of it is delivered" "$(got "${unit%.service}")" 0
done
nothing_held() { ! holds api-1; }
check "nothing stays held" wait_for 5 nothing_held
connects "and others pass" pay-1 settlement.service "$API" 8443
finish_tests
