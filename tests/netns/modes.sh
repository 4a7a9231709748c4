# SPDX-License-Identifier: GPL-3.0-or-later
# UC-27 UC-28 UC-67: observe denies nothing and records, selective denies where the local end is
# an identity, enforce denies everything that no rule allows; a mode may end by itself.
. "$(dirname "$0")/lib.sh"

host_add far 99
usual observe <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
serve api api-1 api.service 8443
serve plain api-1 plain.service 7000
# Of a cgroup that nobody has seen before: its socket must live until the log is read.
talk watched pay-1 backup.service "$API" 8443
runs_on "observe: what no rule allows passes" watched
check "observe: and is recorded" wait_for 15 decided pay-1 \
	'.decision == "would_deny" and .reason == "no_rule"'
connects "observe: at ingress too" far x.service "$API" 8443
same "status says observe" "$(bw_json pay-1 .mode status)" observe
for host in pay-1 api-1; do must bw $host mode selective --reason test; done
refused "selective: denied where the local end is an identity" pay-1 backup.service "$API" 8443
no_answer "selective: at ingress too" far x.service "$API" 8443
connects "selective: two processes without a name talk" pay-1 cron.service "$API" 7000
unclaimed() { [ "$(bw_json pay-1 .unclaimed_flows status)" -gt 0 ]; }
talk nameless pay-1 cron.service "$API" 7000
check "selective: which status counts" wait_for 15 unclaimed
for host in pay-1 api-1; do must bw $host mode enforce --reason test; done
refused "enforce: a process without a name is denied (UC-27)" pay-1 cron.service "$API" 7000
is_cut "enforce: and its flow is cut" nameless
connects "enforce: what a rule allows passes" pay-1 settlement.service "$API" 8443
no_answer "enforce: a listener without a name is not reached" far x.service "$API" 7000
must bw pay-1 mode observe --for 2s --reason test
expect "a mode for two seconds" $REFUSED run pay-1 cron.service \
	traffic tcp-client 127.0.0.1 7001 --timeout 1500
back() { [ "$(bw_json pay-1 .mode status)" = enforce ]; }
check "ends by itself" wait_for 15 back
refused "and denies again" pay-1 cron.service "$API" 7000
expect "a change needs a reason" 2 bw pay-1 mode observe
expect "no such mode" 2 bw pay-1 mode off --reason test
finish_tests
