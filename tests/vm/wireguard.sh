# SPDX-License-Identifier: GPL-3.0-or-later
# R25: WireGuard beneath, as README advises: what the kernel itself sends is named once in agent.yaml, and
# what identities say inside is judged by who they are.
. "$(dirname "$0")/../netns/lib.sh"

host_add pay-1 11
host_add api-1 21
modprobe wireguard 2>/dev/null
at pay-1 ip link add probe type wireguard 2>/dev/null || skip_all "this kernel has no WireGuard"
at pay-1 ip link del probe
[ -n "$(type -P wg)" ] || skip_all "needs wg"
for h in pay-1 api-1; do
	agent_config $h enforce 'essentials: {kernel: [{proto: udp, port: 51820, why: wireguard}]}'
done
usual enforce <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000')
END
# tunnel HOST LAST PEER LAST: of PEER's address in the view
tunnel() {
	must at "$1" ip address add "10.79.0.$2/24" dev eth0
	must at "$1" ip link add wg0 type wireguard
	must at "$1" wg set wg0 listen-port 51820 private-key "$WORK/$1.key" \
		peer "$(cat "$WORK/$3.pub")" endpoint "10.79.0.$4:51820" allowed-ips "${ADDR4[$3]}/32"
	must at "$1" ip link set wg0 up
	must at "$1" ip route add "${ADDR4[$3]}/32" dev wg0 src "${ADDR4[$1]}"
}
for h in pay-1 api-1; do
	(umask 077 && wg genkey >"$WORK/$h.key")
	wg pubkey <"$WORK/$h.key" >"$WORK/$h.pub"
done
tunnel pay-1 11 api-1 21
tunnel api-1 21 pay-1 11
serve api api-1 api.service 8443
serve_udp api-udp api-1 api.service 9000
connects "through the tunnel" pay-1 settlement.service "$API" 8443
udp_answers "datagrams" pay-1 settlement.service "$API" 9000
refused "not for who may not" pay-1 backup.service "$API" 8443
udp_denied "nor may a process use the tunnel's port" pay-1 settlement.service 10.79.0.21 51820
finish_tests
