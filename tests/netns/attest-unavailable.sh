# SPDX-License-Identifier: GPL-3.0-or-later
# UC-62: when nobody can vouch, each rule's on_unavailable decides, whatever the cause: the far
# agent dead, none there, this host without a certificate, its agent dead or hung; and it ends with
# the cause.
. "$(dirname "$0")/lib-attest.sh"

attest_usual <<END
$(attested closed-without settlement api 'tcp/8443, udp/8443')
$(attested open-without settlement api 'tcp/9000, udp/9000' 'on_unavailable: allow')
END
serve closed api-1 api.service 8443
serve open api-1 api.service 9000
serve_udp closed-udp api-1 api.service 8443
serve_udp open-udp api-1 api.service 9000
caller="pay-1 settlement.service"

asked() { # NAME: questions are answered
	check "$1" wait_for 60 reaches $caller "$API" 8443
	connects "$1, the other rule too" $caller "$API" 9000
}
# without NAME [FILTER]: nobody can vouch; what the called host records
without() {
	check "$1: a rule that denies does" wait_for 30 reaches_not $caller "$API" 8443
	denied "$1: and goes on to" $caller "$API" 8443
	check "$1: a rule that allows does" wait_for 30 reaches $caller "$API" 9000
	udp_denied "$1: datagrams are denied" $caller "$API" 8443
	udp_answers "$1: or allowed" $caller "$API" 9000
	[ -z "${2:-}" ] || recorded "$1: which is recorded" api-1 "$2"
	: >"$WORK/api-1/decisions.log"
}
asked "at first"

agent_stop pay-1 KILL
without "the far agent is dead" '.decision == "allowed" and .reason == "allowed_unavailable"'
agent_start pay-1
asked "the far agent is back"

NO_AGENT[pay-1]=1
views
views_live api-1
without "the view gives no agent" '.decision == "denied" and .reason == "attest_unavailable"'
unset 'NO_AGENT[pay-1]'
views
views_live api-1
asked "the view gives one again"

mv "$WORK/api-1/svid" "$WORK/api-1/svid-away"
agent_stop api-1
agent_start api-1
without "this host has no certificate" '.decision == "denied" and .reason == "attest_unavailable"'
mv "$WORK/api-1/svid-away" "$WORK/api-1/svid"
asked "it has one again"

kill -STOP "${PID[agent-api-1]}"
without "this host's agent hangs"
kill -CONT "${PID[agent-api-1]}"
asked "it goes on"

agent_stop api-1 KILL
without "this host's agent is dead"
agent_start api-1
asked "the next one asks"
finish_tests
