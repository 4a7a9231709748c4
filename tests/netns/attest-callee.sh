# SPDX-License-Identifier: GPL-3.0-or-later
# R44: `callee: attested`: the caller's host lets no byte out before the called host's agent has
# said who listens there; both sides may ask each other about the same connection.
. "$(dirname "$0")/lib-attest.sh"

# api-1 observes: it would let anybody listen.
attest_host api-1 observe
attest_usual <<END
$(rule to-listener settlement api tcp/8443 'callee: attested')
$(attested to-both settlement api 'tcp/9000, udp/9000' 'callee: attested')
$(rule to-allow settlement api 'udp/8443' 'callee: attested, on_unavailable: allow')
END
caller="pay-1 settlement.service"
serve api api-1 api.service 8443
serve both api-1 api.service 9000
serve_udp api-udp api-1 api.service 8443
serve_udp both-udp api-1 api.service 9000
connects "the right listener" $caller "$API" 8443
connects "the right listener, IPv6" $caller "$API_6" 8443
connects "both ends ask" $caller "$API" 9000
udp_answers "datagrams" $caller "$API" 8443
udp_answers "datagrams, both ends" $caller "$API" 9000
recorded "it is recorded at the caller's" pay-1 '.decision == "allowed" and .service == "tcp/8443"'
refused "another identity is not even asked for" pay-1 backup.service "$API" 8443

stop api
serve impostor api-1 backup.service 8443
expect "an impostor listens" $REFUSED run $caller traffic tcp-client "$API" 8443 --timeout $PATIENCE
same "and has heard nothing" "$(server_connections impostor)" 0
recorded "the caller's host knows" pay-1 '.decision == "denied" and .service == "tcp/8443" and
	.direction == "out"'
stop impostor
status_of run $caller traffic tcp-client "$API" 8443 --timeout $PATIENCE
same "nobody listens" $? $REFUSED
serve api api-1 api.service 8443
connects "the right one is back" $caller "$API" 8443

agent_stop api-1 KILL
check "its agent is dead: closed" wait_for 30 reaches_not $caller "$API" 8443
check "or open, where the rule says so" wait_for 30 \
	run $caller datagrams udp-client "$API" 8443 --timeout 1000
agent_start api-1
check "it is back" wait_for 30 reaches $caller "$API" 8443
agent_stop pay-1 KILL
check "the caller's agent is dead: closed" wait_for 10 reaches_not $caller "$API" 8443
finish_tests
