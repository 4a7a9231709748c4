# SPDX-License-Identifier: GPL-3.0-or-later
# UC-37 on probation: a rule that was mapped becomes attested while connections run. Those that the
# far agent vouches for go on through the switch, through its fallback, however that comes, and
# through its confirmation.
. "$(dirname "$0")/lib-attest.sh"

mapped_rules() {
	policy_head
	rule settlement-calls-api settlement api 'tcp/8443'
}
attested_rules() {
	policy_head
	attested settlement-calls-api settlement api 'tcp/8443'
}
attest_usual < <(mapped_rules | sed '1,/^rules:/d')
serve api api-1 api.service 8443
caller="pay-1 settlement.service"
talk good $caller "$API" 8443 --timeout 9000
talk good6 $caller "$API_6" 8443 --timeout 9000
no_candidate() { [ "$(bw_json api-1 ".generation.candidate == null" status)" = true ]; }
alive() { # WHAT
	goes_on good 30
	runs_on "$1" good
	runs_on "$1, IPv6 too" good6
}
attested_rules | policy
must apply pay-1

must apply api-1 --confirm-within 60s
alive "on probation: who is vouched for goes on"
connects "on probation: a new one is vouched for" $caller "$API" 8443
talk young $caller "$API" 8443 --timeout 9000
must bw api-1 rollback
alive "rolled back: it goes on"
runs_on "rolled back: what began on probation, too" young

must apply api-1 --confirm-within 5s
alive "on probation again: it goes on"
check "nobody confirms" wait_for 20 no_candidate
alive "fallen back: it goes on"
must apply api-1 --confirm-within 60s
alive "on probation a third time"
must bw api-1 confirm
alive "confirmed: it goes on"

# The other way round: what began while nobody was asked is asked about when the trial is over.
mapped_rules | policy
must apply api-1 --confirm-within 60s
alive "mapped on probation: who was vouched for goes on"
talk trial $caller "$API" 8443 --timeout 9000
talk stray pay-1 x.service "$API" 8443 --timeout 9000
must bw api-1 rollback
alive "rolled back to attested: it goes on"
goes_on trial 30
runs_on "rolled back to attested: what began on probation, too" trial
is_cut "rolled back to attested: what nobody vouches for stands still" stray 30
must apply api-1 --confirm-within 5s
alive "mapped again: it goes on"
talk trial2 $caller "$API" 8443 --timeout 9000
check "nobody confirms again" wait_for 20 no_candidate
alive "fallen back to attested: it goes on"
goes_on trial2 30
runs_on "fallen back to attested: what began on probation, too" trial2
finish_tests
