# SPDX-License-Identifier: GPL-3.0-or-later
# Pings of one identifier share a conntrack entry, and so does SCTP between two ports. Who sends on it is
# looked at all the same: an identity has no part in what another, or nobody, has opened.
. "$(dirname "$0")/lib.sh"

usual selective <<END
$(rule settlement-pings-api settlement api 'icmp/echo, icmpv6/echo')
END

# pings UNIT ADDRESS IDENTIFIER
pings() {
	run pay-1 "$1" ping -c 2 -i 0.2 -W 5 -e "$3" "$2"
}

# pings_not NAME UNIT ADDRESS IDENTIFIER
pings_not() {
	status_of run pay-1 "$2" ping -c 2 -i 0.2 -W 1 -e "$4" "$3"
	like "$1" "$SAID" ' 0 received'
}

init() {
	run pay-1 "$1" forge sctp --from "$2" --to "$3" --sport 5000 --dport 5001
}

for mode in selective enforce; do
	must bw pay-1 mode $mode --reason test
	for b in "$API" "$API_6"; do
		a=$PAY
		[ "$b" = "$API" ] || a=$PAY_6
		expect "$mode: who may ping does, $b" $DONE pings settlement.service "$b" 4711
		pings_not "$mode: another identity not by the same identifier, $b" backup.service "$b" 4711
		expect "$mode: who may still does, $b" $DONE pings settlement.service "$b" 4711
		if [ $mode = enforce ]; then
			pings_not "enforce: nor does nobody, $b" cron.service "$b" 4711
			continue
		fi
		expect "selective: nobody may by the same, $b" $DONE pings cron.service "$b" 4711
		expect "selective: and goes on, $b" $DONE pings cron.service "$b" 4711
		pings_not "selective: an identity not on nobody's, $b" backup.service "$b" 4711
		check "selective: nobody may talk SCTP, $b" init cron.service "$a" "$b"
		status_of init backup.service "$a" "$b"
		like "selective: an identity may not, $b" "$SAID" 'not permitted'
		check "selective: nobody still may, $b" init cron.service "$a" "$b"
	done
done
recorded "whose ping it was is recorded" pay-1 \
	'.service == "icmp/echo" and .decision == "denied" and .from.identity == "prod/payments/backup"'
recorded "and whose SCTP" pay-1 \
	'.service == "proto/132" and .decision == "denied" and .from.identity == "prod/payments/backup"'

# The agent cannot look up whose socket a raw one is; that it is a process the kernel has seen.
run pay-1 cron.service forge other --from "$PAY" --to "$API" --sport 1 --dport 1 --proto 253 \
	--data hello >/dev/null
recorded "a process without an identity is no packet without a socket" pay-1 \
	'.service == "proto/253" and .reason == "no_identity"'
like "why tells of it" "$(bw pay-1 why --last)" 'proto/253.*no_identity'
finish_tests
