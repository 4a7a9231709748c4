# SPDX-License-Identifier: GPL-3.0-or-later
# UC-29 UC-30 UC-62: a permission with an end is ended by the kernel, to the second, with the
# agent dead; its live flow is cut, others go on.
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule backup-calls-api backup api tcp/8443)
END
serve api api-1 api.service 8443
day=$(date -u -d '+3 days' +%a | tr '[:upper:]' '[:lower:]')
# leased SECONDS: settlement's rule ends so much later
leased() {
	ends=$(date -u -d "+$1 seconds" +%Y-%m-%dT%H:%M:%SZ)
	ends_ms=$(($(date -d "$ends" +%s) * 1000))
	{
		policy_head
		rule maintenance settlement api tcp/8443 "expires: $ends"
		rule backup-calls-api backup api tcp/8443
		rule never settlement api tcp/9000 \
			"window: {days: [$day], from: '10:00', to: '11:00', zone: UTC}"
	} | policy
	apply_all
}
leased 3600
talk session pay-1 settlement.service "$API" 8443
talk other pay-1 backup.service "$API" 8443
refused "a window that is closed is closed" pay-1 settlement.service "$API" 9000
status_of bw pay-1 why settlement api tcp/9000 -o json
like "and why says so" "$SAID" 'outside_window'
# Little is left to do between here and the end.
leased 8
agent_stop pay-1 KILL
agent_stop api-1 KILL
runs_on "with both agents dead the session goes on" session
is_cut "the kernel ends it" session
late=$(($(told_ms session) - ends_ms))
# The program notices at its next message, or when it has waited for the answer.
same "not before its time (off by $late ms)" $((late > -300)) 1
same "and at its time (off by $late ms)" $((late < 2500)) 1
denied "nothing new is let through" pay-1 settlement.service "$API" 8443
runs_on "other flows go on" other
finish_tests
