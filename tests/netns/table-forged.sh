# SPDX-License-Identifier: GPL-3.0-or-later
# Packets from a neighbour on the wire on tuples of live flows, and ports used again (R1, R9, R21).
. "$(dirname "$0")/table.bash"

tables_up
host_add wire 9
load left
load right
serve server right s.service 8443

wire_forge() {
	local kind=$1 from=$2 sport=$3 to=$4 dport=$5
	shift 5
	at wire forge "$kind" --from "$from" --sport "$sport" --to "$to" --dport "$dport" "$@"
}

for pair in "$L4 $R4" "$L6 $R6"; do
	read -r from to <<<"$pair"
	talk flow left a.service "$to" 8443
	port=$(port_of flow)
	for kind in syn synack rst fin ack; do
		must wire_forge $kind "$from" "$port" "$to" 8443
		must wire_forge $kind "$to" 8443 "$from" "$port"
	done
	runs_on "a live flow survives forged packets, $to" flow
	stop flow
	like "SYNs on live entries are counted, $to" "$(counter right resynced)" '^[1-9]'
done

expect "a forged verdict mark opens nothing" $REFUSED \
	run left b.service traffic tcp-client "$R4" 8443 --mark 0x80000191 --timeout $PATIENCE
before=$(counter right denied)
must wire_forge syn "$L4" 4444 "$R4" 7000 --mark 0x8000019b
must wire_forge ack "$L4" 4445 "$R4" 8443
connects "what is permitted still connects" left a.service "$R4" 8443
[ "$(counter right denied)" -ge "$before" ] && pass "nothing forged was let in"

# The server closes first: the caller's port meets a TIME_WAIT socket, and the listener is known by
# its port.
stop server
serve server right s.service 8443 :: --close-after 1
for i in 1 2 3; do
	status_of run left a.service traffic tcp-client "$R4" 8443 --port 33333 --wait-close
	like "the same port a $i. time" "$SAID" 'connected'
done

# Another program takes over the port: the listener's name must not be inherited from nobody.
stop server
must table right del - <<<"listeners_a tcp 8443 = $S"
must table right switch agent_alive off
serve thief right t.service 8443
no_answer "without an agent a TIME_WAIT socket vouches for nobody" left a.service "$R4" 8443
status_of run left a.service traffic tcp-client "$R4" 8443 --port 33333 --timeout 700
like "also on the port that is in TIME_WAIT" "$SAID" '^timeout'
finish_tests
