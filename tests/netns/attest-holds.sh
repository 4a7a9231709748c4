# SPDX-License-Identifier: GPL-3.0-or-later
# One held connection from end to end: who may passes in far less than the deadline, who may not
# hears so at once, nothing stays held, and whatever becomes of the far agent, each packet has its
# one verdict.
. "$(dirname "$0")/lib-attest.sh"

HOLD_US=800000
# The caller's own agent only observes, so that it is the called host that decides.
attest_host pay-1 observe
attest_host api-1 selective
attest_usual <<<"$(attested settlement-calls-api settlement api 'tcp/8443, udp/8443')"
serve api api-1 api.service 8443
serve_udp api-udp api-1 api.service 8443
caller="pay-1 settlement.service"

none_held() {
	[ "$(held_by api-1)" = 0 ]
}
answered() { # finding: so many more than before; `count` remembers
	echo $(($(attest_count api-1 "$1") - ${BEFORE[$1]:-0}))
}
declare -A BEFORE
remember() {
	local what
	for what in asked vouched refused timed_out unavailable; do
		BEFORE[$what]=$(attest_count api-1 $what)
	done
}
tally() { # asked vouched refused timed_out unavailable, since remember
	echo "$(answered asked) $(answered vouched) $(answered refused) $(answered timed_out)" \
		"$(answered unavailable)"
}
connect_us() {
	status_of run $caller traffic tcp-client "$API" 8443 --timeout $PATIENCE
	sed -n 's/^connected in \([0-9]*\) us from.*/\1/p' <<<"$SAID"
}

connects "who may is let in" $caller "$API" 8443
one() {
	remember
	us=$(connect_us)
}
in_time one
same "on a warm stream in less than the deadline" "$((${us:-$HOLD_US} < HOLD_US))" 1
same "by one question, asked anew for each connection" "$(tally)" "1 1 0 0 0"

others() {
	remember
	run pay-1 backup.service traffic tcp-client "$API" 8443 --timeout $PATIENCE
	backup=$?
	run pay-1 unheard-of.service traffic tcp-client "$API" 8443 --timeout $PATIENCE
	nobody=$?
}
in_time others >/dev/null
same "another identity there is refused at once" $backup $REFUSED
same "and a process that is nobody's" $nobody $REFUSED
same "each by a question of its own" "$(tally)" "2 0 2 0 0"

udp_answers "a datagram is let through" $caller "$API" 8443
wrong_datagram() {
	remember
	run pay-1 backup.service datagrams udp-client "$API" 8443 --timeout 1000
	got=$?
}
in_time wrong_datagram >/dev/null
same "another identity's is not" $((got == REFUSED || got == NO_ANSWER || got == UNREACHABLE)) 1
like "after a question" "$(tally)" '^[1-9][0-9]* 0 [1-9][0-9]* 0 0$'

kill -STOP "${PID[agent-pay-1]}"
remember
silent "the far agent hangs: no answer" $caller "$API" 8443
check "but nothing stays held" wait_for 5 none_held
like "and it counts as what it is" "$(tally)" '^[1-9][0-9]* 0 0 [1-9][0-9]* [0-9]+$'
kill -CONT "${PID[agent-pay-1]}"
check "it goes on: asked again" wait_for 30 reaches $caller "$API" 8443

agent_stop pay-1 KILL
check "the far agent is dead: closed" wait_for 10 reaches_not $caller "$API" 8443
remember
denied "and who asks hears so" $caller "$API" 8443
like "since nobody can vouch" "$(tally)" '^[1-9][0-9]* 0 0 0 [1-9][0-9]*$'
agent_start pay-1
check "it is back: open" wait_for 30 reaches $caller "$API" 8443

check "every packet has had its verdict" wait_for 5 none_held
same "and no more than one" "$(bw_json api-1 '.queue.refused // 0' status)" 0
finish_tests
