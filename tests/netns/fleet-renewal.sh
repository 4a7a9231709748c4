# SPDX-License-Identifier: GPL-3.0-or-later
# UC-29 UC-83: enrolment and certificates: a token works once and tells by whom it was used, an SVID
# is renewed at half life with a fresh key; evict and ban are different; enforcement depends on none.
. "$(dirname "$0")/lib-fleet.sh"

later 0
fleet_usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
talk live pay-1 settlement.service "$API" 8443
svid() { openssl x509 -in "$WORK/$1/state/svid.pem" -noout "${@:2}"; }
same "the key is nobody else's" "$(stat -c %a "$WORK/pay-1/state/svid.key")" 600
like "the SVID names the node" "$(svid pay-1 -ext subjectAltName)" \
	'spiffe://acme.example/bailiwick/node/pay-1'

# enrols_not NAME PATTERN: pay-3 with TOKEN and PIN
enrols_not() {
	status_of enroll pay-3
	same "$1 enrols nobody" $(($? != 0)) 1
	like "$1: says so" "$SAID" "$2"
}
host_add pay-3 13
fleet_config pay-3
token pay-3
right=$PIN
PIN=sha256:$(printf %064d 7)
enrols_not "a wrong pin" '[Pp]in'
PIN=$right
must enroll pay-3
rm -f "$WORK/pay-3/state"/svid.*
enrols_not "a used token" 'used.*pay-3'
token pay-3 --ttl 1s
pause 2.1
enrols_not "a token that has ended" 'expired|ended'
token pay-3
TOKEN=${TOKEN%.*}.AAAAAAAAAAAAAAAAAAAAAAAAAA
enrols_not "a wrong secret" '[Tt]oken'

# Half of its life later.
first=$(svid pay-1 -serial)
later $((15 * 3600))
renewed() { [ "$(svid "$1" -serial)" != "$first" ]; }
check "renewed at half life" wait_for 30 renewed pay-1
like "for the same node" "$(svid pay-1 -ext subjectAltName)" 'bailiwick/node/pay-1'
same "with a key of its own" "$(svid pay-1 -pubkey)" \
	"$(openssl pkey -in "$WORK/pay-1/state/svid.key" -pubout)"
check "and the courier goes on" wait_for 60 connected pay-1

# Long after its end: by proof with the old key.
first=$(svid pay-1 -serial)
later $((5 * 86400))
check "five days after its end it is renewed by proof" wait_for 120 renewed pay-1
check "and the courier is back" wait_for 120 connected pay-1
runs_on "enforcement did not depend on it" live

# Evict: enrol again. Ban: not even with a token.
must ctl node evict pay-1
check "an evicted node is cut off" wait_for 120 disconnected pay-1
runs_on "but enforces" live
agent_stop pay-1
courier_stop pay-1
rm -f "$WORK/pay-1/state"/svid.*
token pay-1
must enroll pay-1
fleet_agent_start pay-1
courier_start pay-1
check "and comes back with a new token" wait_for 60 connected pay-1
# Its peers, too, have come back from the leap of five days.
check "as have its peers" wait_for 120 connected api-1
must ctl node ban pay-1
check "a banned node is cut off" wait_for 120 disconnected pay-1
# A courier whose certificate has ended in the leap comes back within a minute or so.
is_cut "its peers know it no more" live 150
denied "but it enforces" pay-1 backup.service "$API" 8443
status_of ctl token create --node pay-1
like "and gets no token" "$? $SAID" '^[1-9].*[Bb]an'
must ctl node unban pay-1
check "let back, its peers know it again" wait_for 90 reaches pay-1 settlement.service "$API" 8443
finish_tests
