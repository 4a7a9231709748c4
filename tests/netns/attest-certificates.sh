# SPDX-License-Identifier: GPL-3.0-or-later
# UC-29: the agents' own certificates: one that ends vouches for nothing more and cuts nothing; new
# files are taken as a pair or not at all; a skewed clock is a warning until it is past a
# certificate's end.
. "$(dirname "$0")/lib-attest.sh"

host_add pay-1 11
svid pay-1 -until 25
attest_config pay-1
attest_usual <<<"$(attested settlement-calls-api settlement api tcp/8443)"
serve api api-1 api.service 8443
caller="pay-1 settlement.service"
check "it is vouched for" wait_for 20 reaches $caller "$API" 8443
talk live $caller "$API" 8443
check "until the caller's certificate ends" wait_for 60 reaches_not $caller "$API" 8443
# The first one may have been held until its deadline; who comes then is told.
unvouched() {
	reaches_not $caller "$API" 8443
	decided api-1 '.decision == "denied" and .reason == "attest_unavailable"'
}
check "nobody could vouch" wait_for 30 unvouched
runs_on "what was vouched for goes on" live

# A certificate without its key, then the key.
svid pay-1 -to "$WORK/next"
cp "$WORK/next/cert.pem" "$WORK/pay-1/svid/cert.pem"
pause 3
denied "half a pair is not used" $caller "$API" 8443
cp "$WORK/next/key.pem" "$WORK/pay-1/svid/key.pem"
check "the pair is, without a restart" wait_for 90 reaches $caller "$API" 8443
svid api-1
connects "a change of files interrupts nothing" $caller "$API" 8443

# Clocks: a minute is noticed, two days are past the end of a day's certificate.
agent_stop api-1
later 60
agent_start api-1
check "a minute of skew does not matter" wait_for 30 reaches $caller "$API" 8443
skewed() { bw api-1 status -o json |
	jq -e 'any(.peers[]; .node == "pay-1" and (.skew_s | fabs) >= 30)'; }
check "and is shown" wait_for 20 skewed
agent_stop api-1
later $((2 * 86400))
agent_start api-1
check "two days do" wait_for 30 reaches_not $caller "$API" 8443
runs_on "and still what was vouched for goes on" live
agent_stop api-1
later 0
agent_start api-1
check "the right time" wait_for 30 reaches $caller "$API" 8443
finish_tests
