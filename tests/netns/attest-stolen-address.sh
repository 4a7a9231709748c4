# SPDX-License-Identifier: GPL-3.0-or-later
# UC-5: settlement's address is taken by another host, which runs a unit of that name, and even an
# agent with a certificate of its own: what rests on the address alone is open to it, what is
# attested is not.
. "$(dirname "$0")/lib-attest.sh"

attest_usual <<END
$(attested settlement-calls-api settlement api tcp/8443)
$(attested settlement-needs-api settlement api tcp/9000 'on_unavailable: allow')
END
serve api api-1 api.service 8443
serve api-2 api-1 api.service 9000
connects "before: settlement" pay-1 settlement.service "$API" 8443
talk live pay-1 settlement.service "$API" 8443

# pay-1 is unplugged; the thief has its addresses.
host_add thief 99
thief() { traffic --netns "$(ns thief)" --cgroup "$(unit_dir thief settlement.service)" "$@"; }
ip_of "$NET" link set pay-1 down
ip_of "$ID-thief" address add "$PAY/24" dev eth0
ip_of "$ID-thief" address add "$PAY_6/64" dev eth0 nodad
for host in api-1 thief; do ip_of "$ID-$host" neigh flush all; done
steals() { # ADDRESS-OF-API SOURCE PORT
	thief tcp-client "$1" "$3" --from "$2" --timeout 2500 >"$WORK/thief.out"
}
expect "the stolen address" $NO_ANSWER steals "$API" "$PAY" 8443
expect "the stolen IPv6 address" $NO_ANSWER steals "$API_6" "$PAY_6" 8443
recorded "nobody could vouch" api-1 '.decision == "denied" and .from.address == "'"$PAY"'" and
	(.reason | test("^attest_(unavailable|timeout)"))'
expect "a rule that says on_unavailable: allow is as good as mapped" $DONE steals "$API" "$PAY" 9000
recorded "which is recorded" api-1 '.decision == "allowed" and .reason == "allowed_unavailable"'

# He answers for pay-1, as whom he can prove to be.
mkdir -p "$WORK/thief/svid"
svid thief -id spiffe://acme.example/bailiwick/node/pay-2
hostile liar thief answer --node pay-1 --identity spiffe://acme.example/prod/payments/settlement
tried() { steals "$API" "$PAY" 8443 || grep -q stream "$WORK/liar.out"; }
check "the thief's agent is asked" wait_for 30 tried
like "and does not convince: the address does not prove the node" "$(said thief)" \
	'^(timeout|refused)'
same "nothing of his has reached the server" "$(server_connections api)" 2
stop liar

# He goes; pay-1 comes back.
ip netns del "$ID-thief"
HOSTS=(pay-1 api-1)
ip_of "$NET" link set pay-1 up
for host in api-1 pay-1; do ip_of "$ID-$host" neigh flush all; done
back() { reaches pay-1 settlement.service "$API" 8443; }
check "settlement is vouched for again" wait_for 30 back
finish_tests
