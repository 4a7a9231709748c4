# SPDX-License-Identifier: GPL-3.0-or-later
# UC-36: a rule begins to ask while the machine is busy with others' work: whom the far agent vouches
# for is found as soon as elsewhere, and goes on with a retransmission.
. "$(dirname "$0")/lib-attest.sh"

preload_build busy_dump
asking=$(attested settlement-calls-api settlement api tcp/8443)
attest_usual <<<"$asking"
agent_stop api-1
LD_PRELOAD="$WORK/busy_dump.so" ASAN_OPTIONS="$ASAN_OPTIONS:verify_asan_link_order=0" \
	agent_start api-1
serve api api-1 api.service 8443
# Permitted as a network: the flow comes onto the conduit that asks with its next packet only.
{
	policy_head
	rule everyone-calls-api everyone api tcp/8443
	printf 'networks:\n  - {name: everyone, cidrs: ["10.77.0.0/16"]}\n'
} | policy
must apply api-1
# Of what is dropped the fifth retransmission comes after six seconds, the next one after twelve.
talk good pay-1 settlement.service "$API" 8443 --timeout $((9000 * WAIT_FACTOR))
{ policy_head; echo "$asking"; } | policy
must apply api-1
goes_on good 60
runs_on "who is vouched for goes on" good
connects "and begins anew" pay-1 settlement.service "$API" 8443
finish_tests
