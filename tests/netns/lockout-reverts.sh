# SPDX-License-Identifier: GPL-3.0-or-later
# UC-69: a policy that locks the operator out reverts by itself, in the kernel, with the agent
# dead.
. "$(dirname "$0")/lib.sh"

host_add ops 50
people() {
	policy_head
	rule settlement-calls-api settlement api tcp/8443
	cat
	printf 'networks:\n  - {name: operators, cidrs: ["10.77.0.50/32", "fd77::50/128"]}\n'
}
usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
$(rule operators-come operators cache tcp/6379)
networks:
  - {name: operators, cidrs: ["10.77.0.50/32", "fd77::50/128"]}
END
serve console pay-1 cache.service 6379
serve api api-1 api.service 8443
talk kept pay-1 settlement.service "$API" 8443
connects "the operator comes in" ops o.service "$PAY" 6379
people </dev/null | policy
asked=$(now_ms)
must apply pay-1 --confirm-within 5s
began=$(now_ms)
agent_stop pay-1 KILL
no_answer "now he is locked out, and the agent is dead" ops o.service "$PAY" 6379
in_again() { run ops o.service traffic tcp-client "$PAY" 6379 --timeout 300; }
check "the kernel lets him in again" wait_for 8 in_again
# It began between the question and the answer.
same "not before the time that was asked" $(($(now_ms) - asked > 5000)) 1
same "and at that time" $(($(now_ms) - began < 7500)) 1
connects "over IPv6 too" ops o.service "$PAY_6" 6379
runs_on "a flow that both policies allow has not noticed" kept
agent_start pay-1
connects "the next agent does not bring the lock-out back" ops o.service "$PAY" 6379
same "and has no candidate" "$(bw_json pay-1 '.generation.candidate // "none"' status)" none

must apply pay-1 --confirm-within 20s
no_answer "once more, with the agent alive" ops o.service "$PAY" 6379
must bw pay-1 rollback
connects "rollback is immediate" ops o.service "$PAY" 6379
must apply pay-1 --confirm-within 5s
must bw pay-1 confirm
pause 5.5
no_answer "a confirmed policy stays" ops o.service "$PAY" 6379
finish_tests
