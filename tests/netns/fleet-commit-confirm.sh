# SPDX-License-Identifier: GPL-3.0-or-later
# UC-69 UC-82: a published policy is on probation: one after which denials shoot up, or the controller
# is out of reach, reverts by itself, is reported, and is not tried again.
. "$(dirname "$0")/lib-fleet.sh"

fleet_usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
$(rule backup-calls-api backup api tcp/8443)
END
good=$REVISION
state_is() { [ "$(bw_json "$1" .state status)" = "$2" ]; }
in_force() { bw_json pay-1 '[.policy_revision, .state] | join(" ")' status; }
back() { [ "$(in_force)" = "$1 ready" ]; }
told() { # REVISION: the controller knows that pay-1 went back from it
	ctl_node pay-1 tostring | grep -q 'rolled_back'
}

for i in 1 2 3 4; do
	start "caller-$i" pay-1 settlement.service bash -c \
		"while :; do traffic tcp-client $API 8443 --timeout 300; sleep 0.05; done"
done
pause 2
fleet_policy <<END
$(rule backup-calls-api backup api tcp/8443)
END
publish
check "the new policy is tried" wait_for 20 state_is pay-1 probation
check "denials shoot up: it reverts by itself" wait_for 150 back "$good"
check "what was allowed is allowed again" wait_for 15 reaches pay-1 settlement.service "$API" 8443
check "and it is reported" wait_for 10 told
pause 3
same "it is not tried again" "$(in_force)" "$good ready"
agent_stop pay-1 KILL
fleet_agent_start pay-1
pause 3
same "nor by the next agent" "$(in_force)" "$good ready"

# A newer one is welcome, whatever noise somebody makes who would like to keep it away: what no policy
# ever let through is no fault of this one. From an identity, from nobody in particular, from outside.
noise() { # NAME HOST SERVICE ADDRESS
	start "$1" "$2" "$3" bash -c \
		"while :; do traffic tcp-client $4 9 --timeout 100; sleep 0.02; done"
}
fleet_policy <<END
$(rule settlement-calls-api settlement api tcp/8443)
$(rule cache-calls-api cache api tcp/8443)
END
publish
check "a newer revision is tried" wait_for 40 state_is pay-1 probation
noise noise-1 pay-1 settlement.service "$API"
noise noise-2 pay-1 nobody.service "$API"
noise noise-3 api-1 api.service "$PAY"
check "and taken in spite of the noise" wait_for 60 back "$REVISION"
FLEET_LIVE_MAX=60 fleet_live pay-1 api-1
connects "what it permits is permitted" pay-1 cache.service "$API" 8443
finish_tests
