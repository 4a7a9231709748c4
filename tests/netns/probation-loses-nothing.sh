# SPDX-License-Identifier: GPL-3.0-or-later
# UC-67 on probation: a candidate that cuts ports up otherwise, adds networks, callers and receivers
# gives conduits other numbers. What both policies permit goes on through its start, its rollback,
# its confirmation, and its fall-back, with the agent alive, killed before, and started again after.
. "$(dirname "$0")/lib-attest.sh"

people() { # WHAT-BACKUP-SERVES
	printf 'trust_domain: acme.example\n'
	printf 'networks:\n  - {name: near, cidrs: ["10.77.0.0/24", "fd77::/64"]}\n'
	printf 'identities:\n'
	identity settlement prod/payments/settlement settlement.service
	identity backup prod/payments/backup backup.service "$1"
	identity api prod/payments/api api.service tcp/8440-9010
	identity cache prod/payments/cache cache.service tcp/6379
	printf 'rules:\n'
}
plain() {
	people ""
	rule range settlement api tcp/9000-9010
	attested question settlement api tcp/8443
	rule within settlement cache tcp/6379
}
otherwise() {
	people tcp/6379
	rule range settlement api 'tcp/9000-9003, tcp/9004-9010'
	rule more backup api 'tcp/9003, tcp/8443'
	rule reach settlement near 'tcp/9002-9005'
	attested question settlement api 'tcp/8440-8443, tcp/8444'
	attested others cache api tcp/8443
	rule within settlement 'cache, backup' tcp/6379
}
attest_usual < <(rule first settlement api tcp/9000)
plain | policy
apply_all

serve ranged api-1 api.service 9003
serve asked api-1 api.service 8443
serve cache pay-1 cache.service 6379
flows=()
begin() { # SUFFIX
	talk "range$1" pay-1 settlement.service "$API" 9003 --timeout 9000
	talk "asked$1" pay-1 settlement.service "$API_6" 8443 --timeout 9000
	flows+=("range$1" "asked$1")
}
alive() { # WHEN
	local flow
	for flow in "${flows[@]}"; do
		runs_on "$1: $flow" "$flow"
	done
}
on_probation() { # SECONDS
	otherwise | policy
	apply_all --confirm-within "$1"
}
both() { # VERB
	must bw pay-1 "$1"
	must bw api-1 "$1"
}
no_candidate() { [ "$(bw_json "$1" '.generation.candidate == null' status)" = true ]; }
fallen_back() {
	check "$1: pay-1 has no candidate" wait_for 20 no_candidate pay-1
	check "$1: api-1 has no candidate" wait_for 20 no_candidate api-1
}
switch_off() { ! host_nft "$1" list set inet bailiwick candidate_on | grep -q elements; }

begin ''
# Which of two receivers at one port a flow goes to is no part of its number: one that begins on
# probation ends with it.
talk within pay-1 settlement.service 127.0.0.1 6379 --timeout 9000
flows+=(within)
on_probation 60s
alive "on probation"
begin 2
both rollback
alive "rolled back"

on_probation 5s
alive "on probation again"
fallen_back "by time"
alive "fallen back"

on_probation 5s
begin 3
agent_stop pay-1 KILL
agent_stop api-1 KILL
check "the kernel of pay-1 falls back by itself" wait_for 10 switch_off pay-1
check "the kernel of api-1 does" wait_for 10 switch_off api-1
alive "fallen back with the agents dead"
agents_start pay-1 api-1
fallen_back "after the start"
pause 1.2
alive "agents started again"

on_probation 60s
agent_stop pay-1 KILL
agent_stop api-1 KILL
agents_start pay-1 api-1
alive "killed and started on probation"
both confirm
alive "confirmed"
agent_stop pay-1 KILL
agent_stop api-1 KILL
agents_start pay-1 api-1
alive "confirmed and started again"
finish_tests
