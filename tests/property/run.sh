#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The property test: three hosts as network namespaces, random policies, real packets, and the
# kernel must decide each as the oracle does. `run.sh` runs 2,500 decisions and then lets mutated
# rulesets be caught; `run.sh --seed N [--decisions N] [--mutate K] [--verbose] [--hold]` is one run.
set -u
cd "$(dirname "$0")/../.." || exit 2

B=${B:-$PWD/build/gcc}
ID=bwprop$$
program=$B/tests/property/property

[ "$(id -u)" = 0 ] || { echo "needs root"; exit 77; }
grep -q ' - cgroup2 ' /proc/self/mountinfo || { echo "cgroup2 is not mounted"; exit 77; }

cgroup=$(awk '$0 ~ / - cgroup2 / { print $5; exit }' /proc/self/mountinfo)/$ID

cleanup() {
	local _
	# The program removes its cgroups itself, unless it was killed.
	for _ in $(seq 50); do
		[ -d "$cgroup" ] || break
		find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null
		sleep 0.05
	done
	for host in here b c; do
		ip netns delete "$ID-$host" 2>/dev/null
	done
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Not `ip -n`, which wants to change mounts and cannot in every chroot.
ip_of() {
	local netns=$1
	shift
	nsenter --net="/run/netns/$netns" ip "$@"
}

# host NAME: quiet about ICMP rate limits, which would hide answers.
host() {
	ip netns add "$ID-$1" || exit 1
	nsenter --net="/run/netns/$ID-$1" sh -c '
		ip link set lo up
		sysctl -qw net.ipv4.ping_group_range="0 2147483647" net.ipv4.icmp_ratelimit=0 \
			net.ipv4.icmp_msgs_per_sec=100000 net.ipv6.icmp.ratelimit=0 \
			net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
			net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
			net.ipv4.ip_local_port_range="61000 65001"' 2>/dev/null
}

# link HOST DEVICE NETWORK: one cable from here; the other end has addresses 9 to 12.
link() {
	local n
	ip link add "$2" netns "$ID-here" type veth peer name eth0 netns "$ID-$1" || exit 1
	for n in 1 2; do
		ip_of "$ID-here" address add "10.$3.0.$n/24" dev "$2"
	done
	ip_of "$ID-here" address add "fd$3::1/64" dev "$2" nodad
	ip_of "$ID-here" link set "$2" up
	for n in 9 10 11 12; do
		ip_of "$ID-$1" address add "10.$3.0.$n/24" dev eth0
		ip_of "$ID-$1" address add "fd$3::$(printf %x $n)/64" dev eth0 nodad
	done
	ip_of "$ID-$1" link set eth0 up
	ip_of "$ID-$1" route add default via "10.$3.0.1"
	ip_of "$ID-$1" -6 route add default via "fd$3::1"
}

host here
host b
host c
link b eth0 77
link c eth1 78

# IPv6 needs a moment after a link has come up; what is lost then would look like a decision.
for host in 77:b 78:c; do
	for n in 9 a b c; do
		for _ in $(seq 50); do
			nsenter --net="/run/netns/$ID-here" ping -q -c 1 -W 0.2 \
				"fd${host%:*}::$n" >/dev/null && break
		done
		nsenter --net="/run/netns/$ID-${host#*:}" ping -q -c 1 -W 1 -I \
			"fd${host%:*}::$n" "fd${host%:*}::1" >/dev/null ||
			{ echo "the namespaces cannot talk"; exit 1; }
	done
done

property() {
	"$program" --here "/run/netns/$ID-here" --b "/run/netns/$ID-b" --c "/run/netns/$ID-c" \
		--cgroup "$ID" "$@"
}

if [ $# -gt 0 ]; then
	property "$@"
	exit
fi

failed=0
# The same flows each time; with PROPERTY_FRESH=1 also some nobody has seen. A seed that finds
# something is printed, and PROPERTY_SEED replays it.
property --seed "${PROPERTY_SEED:-1}" --decisions 2000 || failed=1
[ -z "${PROPERTY_FRESH:-}" ] || property --seed 0 --decisions 500 || failed=1
for mutation in 1 2 3 4 5 6 7 8 9 10 11 12; do
	property --seed "${PROPERTY_SEED:-1}" --decisions 5000 --mutate $mutation || failed=1
done
exit $failed
