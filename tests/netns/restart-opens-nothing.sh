# SPDX-License-Identifier: GPL-3.0-or-later
# UC-2: an agent that is killed and started again in any mode denies all the time: it takes over what
# the kernel does, also where the chains are not its own, and never observes in between.
. "$(dirname "$0")/lib.sh"

usual enforce <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
serve api api-1 api.service 8443
talk live pay-1 settlement.service "$API" 8443

# In a shell of its own, so that there are many attempts in the moment of a start.
start knock pay-1 backup.service bash -c "while :; do
	traffic tcp-client $API 8443 --timeout 200 >/dev/null 2>&1 && echo through
	echo knocked
done"
wait_line knock knocked
again() { # WHAT [COMMAND...]: killed, changed, started
	local host knocks
	for host in pay-1 api-1; do
		start "monitor-$host" "$host" monitor.service nft monitor
	done
	for host in pay-1 api-1; do
		wait_line "monitor-$host" agent_alive || fail "set-up" "nothing is seen at $host"
	done
	agent_stop pay-1 KILL
	agent_stop api-1 KILL
	[ $# = 1 ] || must "${@:2}"
	knocks=$(lines_of knock)
	check "$1: somebody knocks at the kernel alone" wait_for 15 more_lines knock $((knocks + 1))
	knocks=$(lines_of knock)
	agents_start pay-1 api-1
	check "$1: and while they start" wait_for 15 more_lines knock $((knocks + 1))
	for host in pay-1 api-1; do
		stop "monitor-$host"
		same "$1: $host does not observe" \
			"$(said "monitor-$host" | grep -c 'add element inet bailiwick observe_on')" 0
	done
	same "$1: nobody who may not came through" "$(said knock | grep -c through)" 0
	runs_on "$1: what may, goes on" live
}
again "enforce"
again "enforce, other chains" host_nft pay-1 insert rule inet bailiwick deny_rule counter
must bw pay-1 mode selective --reason test
must bw api-1 mode selective --reason test
again "selective"
must bw pay-1 mode enforce --for 10m --reason test
must bw api-1 mode enforce --for 10m --reason test
same "the switch to a trial lets nobody through" "$(said knock | grep -c through)" 0
again "enforce on trial"
finish_tests
