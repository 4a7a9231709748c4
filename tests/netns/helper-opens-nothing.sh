# SPDX-License-Identifier: GPL-3.0-or-later
# UC-23 (R4): a conntrack helper that another table attaches opens no door; an expected flow is
# judged like any other.
. "$(dirname "$0")/lib.sh"

host_add far 99 # a host without an agent: only pay-1's own kernel judges
place prod/payments/api far
policy_head() {
	printf 'trust_domain: acme.example\nidentities:\n'
	identity settlement prod/payments/settlement settlement.service ''
	identity backup prod/payments/backup backup.service ''
	identity cache prod/payments/cache cache.service ''
	identity api prod/payments/api api.service udp/69
	printf 'rules:\n'
}
usual <<END
$(rule settlement-fetches settlement api udp/69)
END
FAR=${ADDR4[far]}
if ! host_nft pay-1 -f - <<-END; then
	table ip helpers {
		ct helper tftp { type "tftp" protocol udp; }
		chain out {
			type filter hook output priority 10
			udp dport 69 ct helper set "tftp"
		}
	}
END
	skip_all "this kernel has no TFTP helper"
fi
mkfifo "$WORK/request"
run_exec pay-1 settlement.service socat -T 10 - "UDP4-DATAGRAM:$FAR:69,bind=:5069" \
	<>"$WORK/request" >"$WORK/answer" 2>&1 3>&- &
printf '\000\001file\000octet\000' >"$WORK/request"
expected() { at pay-1 conntrack -L expect 2>/dev/null | grep -q 'dport=5069'; }
check "the kernel expects a flow" wait_for 15 expected
at far datagrams udp-client "$PAY" 5069 --port 7777 --one-way --count 5 >/dev/null
must at far datagrams udp-client "$PAY" 5069 --port 69 --one-way --count 1
answered() { [ -s "$WORK/answer" ]; }
check "an answer from the service itself arrives" wait_for 15 answered
same "nothing from the expected port did" "$(wc -c <"$WORK/answer")" 8
status_of bw pay-1 doctor -o json
like "doctor names the helper" "$SAID" 'helper'
finish_tests
