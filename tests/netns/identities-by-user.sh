# SPDX-License-Identifier: GPL-3.0-or-later
# UC-4 UC-45: identities that a user distinguishes, alone or within a unit: stream and datagram, as
# caller and (resolved by the agent, R20) as listener.
. "$(dirname "$0")/lib.sh"

host_add pay-1 11
host_add api-1 21
for who in prod/alone prod/within; do
	place $who pay-1
done
place prod/api api-1
place prod/listener api-1
views
{
	printf 'trust_domain: acme.example\nidentities:\n'
	printf '  - {name: alone, path: prod/alone, workload: [{user: "1001"}]}\n'
	printf '  - {name: within, path: prod/within, workload: [{unit: shared.service, user: "1002"}]}\n'
	printf '  - {name: listener, path: prod/listener, workload: [{user: "1003"}]}\n'
	identity api prod/api api.service 'tcp/8443, udp/9000'
	printf 'rules:\n'
	rule alone-calls alone api 'tcp/8443, udp/9000'
	rule within-calls within api 'tcp/8443, udp/9000'
	rule listener-is-called alone listener 'tcp/7000, udp/7001'
} | policy
for host in pay-1 api-1; do
	agent_config "$host" selective
	agent_start "$host"
done
apply_all
API=${ADDR4[api-1]}
serve api api-1 api.service 8443
serve_udp api-udp api-1 api.service 9000
start listens -u 1003 api-1 any.service traffic tcp-server :: 7000
start listens-udp -u 1003 api-1 any.service datagrams udp-server :: 7001
wait_line listens '^listening' && wait_line listens-udp '^listening' || exit 1
tcp() { run -u "$1" pay-1 "$2" traffic tcp-client "$API" "${3:-8443}" --timeout $PATIENCE; }
udp() { run -u "$1" pay-1 "$2" datagrams udp-client "$API" "${3:-9000}" --count 60 --every 5; }
expect "a user alone is an identity" $DONE tcp 1001 some.service
expect "wherever it runs" $DONE tcp 1001 other.service
expect "a user within a unit is one" $DONE tcp 1002 shared.service
expect "datagrams of a user within a unit, sixty in a row" $DONE udp 1002 shared.service
expect "datagrams of a user alone" $DONE udp 1001 some.service
# The agent is asked for each datagram, and for so many of a process group in a second.
few() { run -u "$1" pay-1 some.service datagrams udp-client "$API" 7001 --count 20 --every 50; }
expect "a listener that only its user distinguishes is called" $DONE tcp 1001 some.service 7000
expect "and gets datagrams" $DONE few 1001
expect "but not of whom no rule permits" $REFUSED tcp 1002 shared.service 7000
agent_stop pay-1 KILL
expect "the same without an agent: what is known needs no question" $DONE udp 1002 shared.service
expect "for a user alone too" $DONE udp 1001 some.service
agent_stop api-1 KILL
closed() { ! tcp 1001 some.service 7000; }
check "the listener, without: its user is the agent's to know" closed
finish_tests
