# SPDX-License-Identifier: GPL-3.0-or-later
# UC-36: a new connection from a port whose old flow the kernel still knows: another process group
# never inherits that flow, and is not locked out by it either (R1).
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
$(rule cache-calls-api cache api tcp/8443)
END
serve api api-1 api.service 8443

resyncs() { # deleted|kept
	at pay-1 curl -s --unix-socket "$WORK/pay-1/run/metrics.sock" http://agent/metrics |
		awk -v name="bailiwick_resync_total{flow=\"$1\"}" '$1 == name { print $2 }'
}

must at pay-1 sysctl -qw net.ipv4.tcp_orphan_retries=1
# The client dies, and its farewell is lost before conntrack sees it. It says nothing more, and has
# acknowledged what it heard: a server that repeats itself gets a RST, and that ends the entry.
abandon() { # PORT: settlement's flow from there stays in the flow tables
	start old pay-1 settlement.service traffic tcp-client "$API" 8443 --port "$1" \
		--count 0 --every 60000 --progress --timeout $((PATIENCE * WAIT_FACTOR))
	wait_line old '^message 1' || fail "set-up" "no conversation from port $1"
	check "nothing is on its way to port $1" wait_for 15 acknowledged api-1 "$1"
	must at pay-1 nft add table inet hole
	must at pay-1 nft 'add chain inet hole out { type filter hook output priority -300; }'
	must at pay-1 nft "add rule inet hole out tcp sport $1 tcp flags & (fin | rst) != 0 drop"
	stop old KILL
	gone() { ! at pay-1 ss -Htan "sport = :$1" | grep -q .; }
	check "the socket of port $1 is gone" wait_for 10 gone "$1"
	must at pay-1 nft delete table inet hole
}

abandon 40010
entry() { at pay-1 conntrack -L -p tcp --sport 40010 2>/dev/null | grep -q ESTABLISHED; }
check "the abandoned flow is still known" entry
status_of run pay-1 cache.service traffic tcp-client "$API" 8443 --port 40010 --timeout 5000
same "another identity gets through from that port" $? $DONE
like "at a retransmission, not with its first SYN" "$SAID" 'connected in [0-9]{5,7} us'
same "the agent removed the old entry" "$(resyncs deleted)" 1
check "and recorded it" wait_for 15 decided pay-1 \
	'.reason == "resync" and .decision == "denied" and .from.identity == "prod/payments/cache"'
check "the new flow is the new identity's" wait_for 15 decided pay-1 \
	'.decision == "allowed" and .from.identity == "prod/payments/cache"'

abandon 40011
status_of run pay-1 backup.service traffic tcp-client "$API" 8443 --port 40011 --timeout 5000
same "who has no rule is refused" $? $REFUSED
same "by the same way" "$(resyncs deleted)" 2

abandon 40012
status_of run pay-1 settlement.service traffic tcp-client "$API" 8443 --port 40012 --timeout 5000
same "the same identity goes on from its port" $? $DONE
same "without the agent" "$(resyncs deleted)" 2
finish_tests
