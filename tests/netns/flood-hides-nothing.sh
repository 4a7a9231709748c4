# SPDX-License-Identifier: GPL-3.0-or-later
# A neighbour who sends from ever new addresses uses up the log of what comes in, and what is lost
# there is counted; what this host's own identities were denied is recorded all the same (R28).
. "$(dirname "$0")/lib.sh"

host_add far 99
usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
serve_udp sink api-1 api.service 9000
run api-1 api.service true
flood() {
	local i k
	for i in $(seq "$1" 250); do
		for k in $(seq 250); do
			forge udp --from "10.78.$i.$k" --sport 7 --to "$2" --dport 9000
		done
	done
}
export -f flood
for first in 1 90 180; do
	start "flood-$first" far x.service bash -c "flood $first ${ADDR4[api-1]}"
done
lost() { host_nft api-1 list counter inet bailiwick log_lost | awk '/packets/ { print $2 }'; }
lossy() { [ "$(lost)" -gt 200 ]; }
check "the flood is more than is logged" wait_for 30 lossy
refused "meanwhile an identity of this host is denied" api-1 api.service "${ADDR4[pay-1]}" 7777
check "that is recorded" wait_for 15 decided api-1 '.decision == "denied" and .service == "tcp/7777"'
before=$(lost)
lost_more() { [ "$(lost)" -gt "$before" ]; }
check "and the flood goes on" wait_for 30 lost_more
finish_tests
