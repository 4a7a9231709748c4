# SPDX-License-Identifier: GPL-3.0-or-later
# UC-68: a clock that is set back by hours, live or before a restart, opens nothing that had ended
# and makes nothing last longer.
. "$(dirname "$0")/lib.sh"

preload_build week_later
shift_to() {
	printf '%019d' "$1" | dd of="$WORK/later" conv=notrunc status=none
	chmod 644 "$WORK/later"
}
shifted_start() {
	LD_PRELOAD="$WORK/week_later.so" WEEK_LATER="$WORK/later" \
		ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0" agent_start "$1"
}
untrusted() { [ "$(bw_json pay-1 .clock_trusted status)" = false ]; }
trusted() { [ "$(bw_json pay-1 .clock_trusted status)" = true ]; }

host_add pay-1 11
host_add api-1 21
place_usual
views
agent_config pay-1
agent_config api-1
shift_to 14400
# ends SECONDS SECONDS: a policy whose rules end so much later
ends() {
	{
		policy_head
		rule ends settlement api tcp/8443 "expires: $(date -u -d "+14400 sec +$1 sec" +%FT%TZ)"
		rule ends-later settlement api tcp/9000 \
			"expires: $(date -u -d "+14400 sec +$2 sec" +%FT%TZ)"
		rule stays backup api tcp/8443
	} | policy
}
shifted_start pay-1
agent_start api-1
ends 3600 3600
apply_all
# A fresh host believes its clock after an hour only; this one has had its hour.
agent_stop pay-1
jq ".wall_highest = $(($(date +%s) + 14395))" "$WORK/pay-1/state/state.json" >"$WORK/state.json"
must cp "$WORK/state.json" "$WORK/pay-1/state/state.json"
shifted_start pay-1
API=${ADDR4[api-1]}
serve api api-1 api.service 8443
serve other api-1 api.service 9000
closed() { reaches_not pay-1 settlement.service "$API" "$1"; }

ends 8 35
must apply pay-1
connects "before its end the rule holds" pay-1 settlement.service "$API" 8443
check "the rule ends" wait_for 30 closed 8443
connects "another has not ended" pay-1 settlement.service "$API" 9000

pause 2
shift_to 0
check "a clock that is set back by four hours is not trusted" wait_for 15 untrusted
refused "what ended stays ended" pay-1 settlement.service "$API" 8443
connects "what has no end goes on" pay-1 backup.service "$API" 8443
agent_stop pay-1 KILL
shifted_start pay-1
check "nor is it at the next start" untrusted
refused "what ended stays ended" pay-1 settlement.service "$API" 8443
check "what was to end does, though the clock is held back" wait_for 60 closed 9000
# Every load computes the ends anew.
unit_dir pay-1 newcomer.service >/dev/null
must bw pay-1 mode enforce --reason 'drill' >/dev/null
refused "and is not renewed by a load" pay-1 settlement.service "$API" 9000

shift_to 14460
check "the clock is right again: trusted" wait_for 15 trusted
refused "what ended stays ended" pay-1 settlement.service "$API" 9000
connects "what has no end goes on" pay-1 backup.service "$API" 8443
finish_tests
