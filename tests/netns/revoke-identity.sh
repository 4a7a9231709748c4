# SPDX-License-Identifier: GPL-3.0-or-later
# UC-37 UC-51: revoking an identity cuts all of its flows at once, for as long as was asked; what was
# revoked for good is named by status until it is released, each kind by its name.
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
$(rule backup-calls-api backup api tcp/8443)
END
serve api api-1 api.service 8443
talk one pay-1 settlement.service "$API" 8443
talk two pay-1 settlement.service "$API_6" 8443
talk other pay-1 backup.service "$API" 8443
began=$(now_ms)
cut=$(bw_json pay-1 '.cut | length' revoke identity prod/payments/settlement --for 8s --reason test)
same "both flows are listed" "$cut" 2
is_cut "its first flow is cut" one
is_cut "its second flow is cut" two
runs_on "the other identity's flow goes on" other
refused "it may not begin anew" pay-1 settlement.service "$API" 8443
back() { run pay-1 settlement.service traffic tcp-client "$API" 8443 --timeout 500; }
check "it comes back when the time is over" wait_for 15 back
same "and not before" $(($(now_ms) - began >= 8000)) 1

number() { bw_json pay-1 '[.conduits[] | select(.rule == "backup-calls-api") | .conduit][0]' conduits; }
for what in "rule backup-calls-api" "conduit $(number)"; do
	must bw pay-1 revoke $what --reason "no more"
	refused "revoked, $what is closed" pay-1 backup.service "$API" 8443
	like "status names it" "$(bw pay-1 status)" "REVOKED +$what: no more"
	expect "another kind of that name is not released" 1 \
		bw pay-1 release identity "${what#* }" --reason test
	must bw pay-1 release $what --reason test
	check "released, it is open again" wait_for 15 reaches pay-1 backup.service "$API" 8443
	same "and status names nothing" "$(bw_json pay-1 '.overlay | length' status)" 0
done
finish_tests
