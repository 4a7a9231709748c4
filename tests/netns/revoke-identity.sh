# SPDX-License-Identifier: GPL-3.0-or-later
# UC-37 UC-51: revoking an identity cuts all of its flows at once, for as long as was asked.
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
cut=$(bw_json pay-1 '.cut | length' revoke identity prod/payments/settlement --for 3s --reason test)
same "both flows are listed" "$cut" 2
is_cut "its first flow is cut" one
is_cut "its second flow is cut" two
runs_on "the other identity's flow goes on" other
refused "it may not begin anew" pay-1 settlement.service "$API" 8443
back() { run pay-1 settlement.service traffic tcp-client "$API" 8443 --timeout 500; }
check "it comes back when the time is over" wait_for 5 back
same "and not before" $(($(now_ms) - began >= 3000)) 1
finish_tests
