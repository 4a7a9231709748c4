# SPDX-License-Identifier: GPL-3.0-or-later
# UC-10 UC-13: on one host both ends are judged: 127.0.0.1, ::1 and the host's own addresses.
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-uses-cache settlement cache 'tcp/6379, udp/6379')
END
serve cache pay-1 cache.service 6379
serve_udp cache-udp pay-1 cache.service 6379
for address in 127.0.0.1 ::1 "$PAY" "$PAY_6"; do
	connects "settlement uses the cache at $address" pay-1 settlement.service "$address" 6379
	denied "backup does not, $address" pay-1 backup.service "$address" 6379
	denied "nor does a process without a name, $address" pay-1 cron.service "$address" 6379
	udp_answers "settlement's datagrams pass, $address" pay-1 settlement.service "$address" 6379
	udp_denied "backup's datagrams do not, $address" pay-1 backup.service "$address" 6379
done
serve plain pay-1 plain.service 7000
connects "two processes without a name talk" pay-1 cron.service 127.0.0.1 7000
talk live pay-1 settlement.service 127.0.0.1 6379
must bw pay-1 revoke rule settlement-uses-cache --reason test
is_cut "revoking cuts a live loopback flow (UC-37)" live
finish_tests
