# SPDX-License-Identifier: GPL-3.0-or-later
# UC-26 UC-29 UC-84: who was denied what, why, by which policy; what was allowed; how many.
. "$(dirname "$0")/lib.sh"

host_add far 99
usual <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000')
END
serve api api-1 api.service 8443
serve_udp api-udp api-1 api.service 9000

# newest HOST FILTER: the last record that jq's filter accepts
newest() {
	decisions "$1" | jq -c -s "[.[] | select($2)] | last"
}
# records HOST FILTER: how many
records() {
	decisions "$1" | jq -s "[.[] | select($2)] | length"
}
# is NAME PATH WANT: a field of $RECORD
is() {
	same "$1" "$(jq -r "$2" <<<"$RECORD")" "$3"
}

# The refused connection's socket is long gone when the agent reads of it.
refused "backup calls the API" pay-1 backup.service "$API" 8443
check "the denial is recorded" wait_for 15 decided pay-1 '.decision == "denied"'
RECORD=$(newest pay-1 '.decision == "denied"')
# At once: the second record comes when ten seconds are over.
for i in 1 2 3; do run pay-1 backup.service traffic tcp-client "$API" 8443 >/dev/null; done
same "one flow, one record in ten seconds" \
	"$(records pay-1 '.decision == "denied" and .to.address == "'"$API"'"')" 1
is "time has milliseconds" '.time | test("^20..-..-..T..:..:..[.]...Z$")' true
is "node" .node pay-1
is "reason" .reason no_rule
is "no rule decided" '.rule, .conduit' $'null\nnull'
is "caller" .from.identity prod/payments/backup
is "caller's node and address" '.from | "\(.node) \(.address)"' "pay-1 $PAY"
is "caller's process group" '.from.cgroup | endswith("/system.slice/backup.service")' true
is "caller's uid" .from.uid 0
is "called one" '.to | "\(.identity) \(.node) \(.address) \(.port)"' \
	"prod/payments/api api-1 $API 8443"
is "service and direction" '"\(.service) \(.direction) \(.assurance)"' "tcp/8443 out mapped"
is "policy" .policy_digest "$(bw_json pay-1 .policy_digest status)"
is "mapping" .view_sequence "$(bw_json pay-1 .view_sequence status)"

refused "IPv6" pay-1 backup.service "$API_6" 8443
check "IPv6 is recorded" wait_for 15 decided pay-1 '.to.address == "'"$API_6"'"'
rate() { [ "$(bw_json pay-1 .denied_per_minute status)" -ge 2 ]; }
check "status counts them" wait_for 15 rate

connects "settlement calls the API" pay-1 settlement.service "$API" 8443
permitted='.decision == "allowed" and .reason == "permitted" and .service == "tcp/8443"'
for host in pay-1 api-1; do
	check "what is allowed is recorded at $host" wait_for 15 decided $host "$permitted"
done
RECORD=$(newest pay-1 "$permitted")
is "with its rule and conduit" '"\(.rule) \(.conduit > 0)"' "settlement-calls-api true"
is "with both names" '"\(.from.identity) \(.to.identity)"' \
	"prod/payments/settlement prod/payments/api"
RECORD=$(newest api-1 "$permitted")
is "at ingress an address vouches for its node only" '"\(.from.identity) \(.from.node)"' "null pay-1"
is "at ingress the listener is known" '"\(.to.identity) \(.direction)"' "prod/payments/api in"

udp_answers "datagrams" pay-1 settlement.service "$API" 9000
check "allowed datagrams are recorded" wait_for 15 decided pay-1 \
	'.decision == "allowed" and .service == "udp/9000"'
udp_denied "backup's datagrams" pay-1 backup.service "$API" 9000
check "denied datagrams too" wait_for 15 decided pay-1 \
	'.decision == "denied" and .service == "udp/9000" and .from.identity == "prod/payments/backup"'
no_answer "a host that no rule names" far x.service "$API" 8443
check "is unknown_peer" wait_for 15 decided api-1 \
	'.reason == "unknown_peer" and .direction == "in" and .from.address == "'"${ADDR4[far]}"'"'
serve plain api-1 plain.service 7000
talk nameless pay-1 cron.service "$API" 7000
check "a process without identity is let pass as unclaimed" wait_for 15 decided pay-1 \
	'.decision == "allowed" and .reason == "unclaimed" and (.from.cgroup | endswith("cron.service"))'

# Other ways to ask.
status_of bw pay-1 why --last -o json
same "why --last: exit 3" $? 3
start sleeper pay-1 settlement.service sleep 60
moved() { grep -q settlement.service "/proc/${PID[sleeper]}/cgroup"; }
check "a process of settlement" wait_for 15 moved
expect "why by process" 0 bw pay-1 why "pid:${PID[sleeper]}" api tcp/8443
stop sleeper
seen=$(bw pay-1 why backup api tcp/8443 -o json | jq -r '.seen | "\(.count >= 2) \(.last)"')
like "why says what was seen" "$seen" '^true from .*:[0-9]+$'
status_of bw pay-1 why nobody api tcp/8443
same "an unknown name is an error" $? 1
like "which says what would be right" "$SAID" 'no identity is called'
expect "a misspelt one is guessed" 1 bw pay-1 why settlment api tcp/8443
like "the guess" "$SAID" "did you mean 'settlement'"
must at pay-1 nft 'add table inet fw; add chain inet fw in { type filter hook output priority -50; }'
foreign=$(bw pay-1 why settlement api tcp/8443 -o json | jq -r '.foreign[0]')
same "why names other tables that judge" "$foreign" "table inet fw, chain in"
must at pay-1 nft delete table inet fw

# A lease that ends, a rule that is only watched.
policy <<END
$(policy_head)
$(rule settlement-calls-api settlement api tcp/8443 "mode: observe, expires: $(date -u -d -1hour +%FT%TZ)")
$(rule backup-too backup api tcp/8443 "expires: $(date -u -d +15sec +%FT%TZ)")
END
apply_all
talk live pay-1 backup.service "$API" 8443
connects "an ended rule in observe mode lets pass" pay-1 settlement.service "$API" 8443
check "and is recorded with its rule" wait_for 15 decided pay-1 \
	'.decision == "would_deny" and .reason == "lease_ended" and .rule == "settlement-calls-api"'
is_cut "a lease ends" live 40
check "and is recorded as ended" wait_for 15 decided pay-1 \
	'.decision == "denied" and .reason == "lease_ended" and .from.identity == "prod/payments/backup"'

# Where records go.
mv "$WORK/pay-1/decisions.log" "$WORK/pay-1/decisions.log.1"
refused "after rotation" pay-1 cache.service "$API" 8443
check "a rotated file is opened anew" wait_for 15 decided pay-1 '.decision == "denied"'

metric() { # NAME: its value
	at pay-1 curl -s --unix-socket "$WORK/pay-1/run/metrics.sock" http://agent/metrics |
		awk -v name="$1" '$1 == name { print $2 }'
}
same "metrics: mode" "$(metric 'bailiwick_mode{mode="selective"}')" 1
like "metrics: denials" "$(metric 'bailiwick_decisions_total{decision="denied"}')" '^[1-9]'
same "metrics: nothing lost" "$(metric 'bailiwick_records_lost_total{place="nflog"}')" 0
like "metrics: flow table" "$(metric bailiwick_conntrack_entries_max)" '^[1-9]'
same "metrics: only GET" "$(at pay-1 curl -s -o /dev/null -w '%{http_code}' -X POST \
	--unix-socket "$WORK/pay-1/run/metrics.sock" http://agent/metrics)" 405
same "metrics: only /metrics" "$(at pay-1 curl -s -o /dev/null -w '%{http_code}' \
	--unix-socket "$WORK/pay-1/run/metrics.sock" http://agent/etc/passwd)" 404

same "the socket is for root and its group" "$(stat -c %a "$WORK/pay-1/run/metrics.sock")" 660

agent_stop pay-1
agent_start pay-1
mv "$WORK/pay-1/decisions.log" "$WORK/pay-1/decisions.log.2"
refused "after a restart" pay-1 backup.service "$API" 9001
check "denials are recorded again" wait_for 15 decided pay-1 '.service == "tcp/9001"'
finish_tests
