# SPDX-License-Identifier: GPL-3.0-or-later
# UC-69 (R15): candidates come, are confirmed, rolled back, and fall back by themselves under a
# flood of datagrams; what both policies allow loses nothing, and what only one allows follows it.
. "$(dirname "$0")/lib.sh"

people() { # SERVICES [RULES-MORE]
	printf 'trust_domain: acme.example\nidentities:\n'
	identity settlement prod/payments/settlement settlement.service ''
	identity backup prod/payments/backup backup.service ''
	identity cache prod/payments/cache cache.service ''
	identity api prod/payments/api api.service 'tcp/9000-9010, udp/9000-9010, tcp/8443'
	printf 'rules:\n'
	rule flood settlement api "$1"
	[ -z "${2:-}" ] || rule extra backup api "$2"
}
usual <<END
$(rule unused settlement api tcp/8443)
END
one() { people 'udp/9000-9010, tcp/9000-9010' | policy; }
two() { people 'udp/9000-9004, udp/9005-9010, tcp/9000-9005, tcp/9006-9010' tcp/8443 | policy; }
one
apply_all
serve api api-1 api.service 9003
serve extra api-1 api.service 8443
serve_udp sink api-1 api.service 9003
talk live pay-1 settlement.service "$API" 9003
start flood pay-1 settlement.service datagrams flood "$API" 9003 --rate 3000 --for 120000
wait_line sink '^from'
cat >"$WORK/opener" <<END
while :; do
	traffic tcp-client $API 9003 --timeout $PATIENCE >/dev/null && echo opened || echo failed
done
END
start opener pay-1 settlement.service bash "$WORK/opener"
wait_line opener opened
both() {
	local host
	for host in pay-1 api-1; do must bw $host "$@"; done
}
for _ in 1 2; do
	two
	apply_all --confirm-within 60s
	connects "on probation: the candidate judges" pay-1 backup.service "$API" 8443
	both rollback
	refused "rolled back: it does not" pay-1 backup.service "$API" 8443
	two
	apply_all --confirm-within 60s
	both confirm
	connects "confirmed: it does" pay-1 backup.service "$API" 8443
	one
	apply_all --confirm-within 60s
	refused "the first again, on probation" pay-1 backup.service "$API" 8443
	both confirm
	refused "and for good" pay-1 backup.service "$API" 8443
done
two
apply_all --confirm-within 5s
connects "the last candidate judges" pay-1 backup.service "$API" 8443
fallen() { [ "$(bw_json pay-1 .generation.candidate status)" = null ]; }
check "and falls back by itself" wait_for 20 fallen
refused "in the kernel too" pay-1 backup.service "$API" 8443
stop opener KILL
same "no new connection was refused in between" "$(said opener | grep -c failed || true)" 0
check "all this during the flood" kill -0 "${PID[flood]}"
stop flood
wait_line sink '^flood'
like "no datagram is lost by any switch" "$(said sink | grep '^flood')" \
	'received [0-9]+ lost 0 duplicates 0'
runs_on "nor a connection" live
finish_tests
