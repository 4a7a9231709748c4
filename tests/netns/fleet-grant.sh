# SPDX-License-Identifier: GPL-3.0-or-later
# UC-39: a grant opens a rule that signed policy marks `grantable`, for these two, for so long, and
# ends in the kernel with agent and controller dead; what is not grantable stays closed.
. "$(dirname "$0")/lib-fleet.sh"

fleet_usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
$(rule break-glass backup api tcp/9000 'grantable: {max: 1h}')
END
serve glass api-1 api.service 9000
denied "closed until it is granted" pay-1 backup.service "$API" 9000
talk other pay-1 settlement.service "$API" 8443
expect "what is not grantable is refused" 3 ctl grant settlement-calls-api \
	--from prod/payments/settlement --to prod/payments/api --for 60s --reason test
like "by name" "$SAID" 'grantable'
expect "longer than signed policy allows is refused" 3 ctl grant break-glass \
	--from prod/payments/backup --to prod/payments/api --for 2h --reason test
denied "nothing has changed" pay-1 backup.service "$API" 9000
began=$(date +%s%3N)
must ctl grant break-glass --from prod/payments/backup --to prod/payments/api --for 15s \
	--reason 'CHG-1'
check "granted" wait_for 10 reaches pay-1 backup.service "$API" 9000
talk session pay-1 backup.service "$API" 9000
denied "for these two only" pay-1 settlement.service "$API" 9000
agent_stop pay-1 KILL
controller_stop KILL
is_cut "the kernel ends it, nobody alive" session 30
took=$(($(told_ms session) - began))
same "not before its time (after $took ms)" $((took > 13500)) 1
denied "and nothing new is let through" pay-1 backup.service "$API" 9000
runs_on "others notice nothing" other
finish_tests
