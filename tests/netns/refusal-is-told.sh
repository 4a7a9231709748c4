# SPDX-License-Identifier: GPL-3.0-or-later
# A program whose datagram is refused is told so: the kernel's ICMP error reaches its socket, and is no
# denial of its own that hides the one that counts. In every mode, on a flow that ran before as well
# as on a first datagram that was held for its sender's name.
. "$(dirname "$0")/lib.sh"

host_add pay-1 11
host_add api-1 21
usual enforce <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000')
END
serve_udp api-udp api-1 api.service 9000

# The send itself fails with EPERM where the kernel refuses; what its ICMP error says comes next.
told() {
	local name=$1 want=$2
	shift 2
	status_of run pay-1 "$@" --count 2 --timeout $((PATIENCE * WAIT_FACTOR))
	like "$name" "$SAID" "$want"
}

for mode in enforce selective; do
	must bw pay-1 mode "$mode" --reason test
	told "$mode: a first datagram" 'No route to host' backup.service datagrams udp-client "$API" 9000
	told "$mode: IPv6" 'Permission denied' backup.service datagrams udp-client "$API_6" 9000
	told "$mode: to another service" 'No route to host' \
		settlement.service datagrams udp-client "$API" 9001
	told "$mode: on loopback" 'No route to host' \
		backup.service datagrams udp-client 127.0.0.1 9000
	told "$mode: to the host's own address" 'No route to host' \
		backup.service datagrams udp-client "$PAY" 9000
	like "$mode: why tells of the datagram" "$(bw pay-1 why --last)" 'udp/9000'
done

must bw pay-1 mode enforce --reason test
told "a datagram that was held for its sender's name" 'No route to host' \
	fresh.service/worker datagrams udp-client "$API" 9000
told "a datagram that was held, IPv6" 'Permission denied' \
	fresh.service/worker-6 datagrams udp-client "$API_6" 9000

start flow pay-1 settlement.service datagrams udp-client "$API" 9000 --count 0 --every 50 --timeout 200
sleep 0.5
must bw pay-1 revoke rule settlement-calls-api --reason test
sleep 0.5
stop flow
like "a flow that ran is told" "$(last_line flow)" 'No route to host'
udp_denied "and stays refused" pay-1 settlement.service "$API" 9000
recorded "recorded is the datagram" pay-1 '.service == "udp/9000" and .decision == "denied"'
not_recorded "not what the kernel says of it" pay-1 '.service | startswith("icmp")'

# By the far host, where the called identity tells strangers: whatever the caller's host makes of the flow.
policy_head() {
	printf 'trust_domain: acme.example\ndefaults: {deny_in: reject}\nidentities:\n'
	identity settlement prod/payments/settlement settlement.service ''
	identity backup prod/payments/backup backup.service ''
	identity api prod/payments/api api.service 'tcp/8443, udp/9000'
	identity cache prod/payments/cache cache.service ''
	printf 'rules:\n'
}
{
	policy_head
	rule settlement-calls-api settlement api tcp/8443
} | policy
must bw pay-1 mode observe --reason test
apply_all
for unit in cron.service settlement.service; do
	told "from afar: $unit, observed" 'No route to host' $unit datagrams udp-client "$API" 9000
	told "from afar: $unit, observed, IPv6" 'Permission denied' $unit datagrams udp-client "$API_6" 9000
done
must bw pay-1 mode selective --reason test
told "from afar: a process without a name" 'No route to host' cron.service datagrams udp-client "$API" 9000
told "from afar: and IPv6" 'Permission denied' cron.service datagrams udp-client "$API_6" 9000
recorded "recorded where it was refused" api-1 '.service == "udp/9000" and .decision == "denied"'
for host in pay-1 api-1; do
	not_recorded "and not what was said of it at $host" $host '.service | startswith("icmp")'
done
finish_tests
