# SPDX-License-Identifier: GPL-3.0-or-later
# UC-62: SIGSTOP of the agent. Known cgroups are judged by the kernel alone; within 2 s questions
# are refused at once instead of waiting; after SIGCONT they are answered again.
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
serve api api-1 api.service 8443
talk live pay-1 settlement.service "$API" 8443
kill -STOP "${PID[agent-pay-1]}"
runs_on "a live flow goes on" live
connects "a known cgroup begins a new one" pay-1 settlement.service "$API" 8443
serial=0
stranger() {
	serial=$((serial + 1))
	run pay-1 "late-$serial.service" traffic tcp-client "$API" "$1" --timeout "${2:-300}"
}
stranger_refused() {
	stranger 8443
	[ $? = $REFUSED ]
}
check "an unknown cgroup is refused at once after 2 s" wait_for 4 stranger_refused
kill -CONT "${PID[agent-pay-1]}"
stranger_passes() { stranger 8443 1500; }
check "after SIGCONT an unknown cgroup is resolved again" wait_for 15 stranger_passes
runs_on "the live flow has not noticed" live
finish_tests
