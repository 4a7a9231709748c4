# SPDX-License-Identifier: GPL-3.0-or-later
# UC-17: the same policy and the same view again send the kernel nothing but the heartbeat.
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000')
END
serve api api-1 api.service 8443
talk live pay-1 settlement.service "$API" 8443
start monitor pay-1 operator.service nft monitor
beats() { grep -c ' agent_alive ' "$WORK/monitor.out"; }
beaten() { [ "$(beats)" -ge "$1" ]; }
# changes COMMAND...: what the kernel reports but the heartbeat, while it runs and for two beats after,
# each of which is two lines at most
changes() {
	local before
	before=$(lines_of monitor)
	"$@" >/dev/null
	wait_for 30 beaten $(($(beats) + 4)) || echo "the heart has stopped"
	tail -n "+$((before + 1))" "$WORK/monitor.out" | grep -v '^#' | grep -v ' agent_alive '
}
calm() { [ -z "$(changes true)" ]; }
check "what began is known, and only the heart beats" wait_for 60 calm
same "apply of the same" "$(changes apply pay-1 2>"$WORK/err")" ""
# views would count in a process of its own.
SEQUENCE=$((SEQUENCE + 1))
renew() { view_json pay-1 | view_put pay-1 && wait_for 15 view_arrived pay-1; }
same "the same view with a higher sequence" "$(changes renew)" ""
same "it was taken" "$(bw_json pay-1 .view_sequence status)" "$SEQUENCE"
policy <<END
# The same in other words.
$(policy_head)
$(rule settlement-calls-api settlement api 'udp/9000, tcp/8443')
END
same "the same in other words" "$(changes apply pay-1 2>"$WORK/err")" ""
{ policy_head; rule settlement-calls-api settlement api tcp/8443; } | policy
like "another policy is seen" "$(changes apply pay-1 2>"$WORK/err")" 'inet bailiwick'
runs_on "nobody noticed" live
finish_tests
