#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Certificates that live for 40 seconds: node and courier renew them again and again, each time with
# a fresh key, through an agent that is killed in the middle, and nobody loses contact.
. "$(dirname "$0")/lib-fleet.sh"

controller_start --svid-ttl 40s
host_add pay-1 11
fleet_config pay-1
token pay-1
must enroll pay-1
serial() { openssl x509 -in "$WORK/pay-1/state/svid.pem" -noout -serial; }
key() { openssl pkey -in "$WORK/pay-1/state/svid.key" -pubout 2>/dev/null | sha256sum; }
fits() { [ "$(openssl x509 -in "$WORK/pay-1/state/svid.pem" -noout -pubkey | sha256sum)" = "$(key)" ]; }
first=$(serial)
first_key=$(key)
renewed() { [ "$(serial)" != "$first" ]; }
fleet_agent_start pay-1
courier_start pay-1
check "in contact" wait_for 20 connected pay-1
for round in 1 2 3; do
	check "renewed, $round" wait_for 60 renewed
	check "key and certificate fit, $round" fits
	same "the key is a fresh one, $round" "$([ "$(key)" != "$first_key" ] && echo yes)" yes
	same "there is no other key left, $round" "$(find "$WORK/pay-1/state" -name '*.new' | wc -l)" 0
	first=$(serial)
	first_key=$(key)
	if [ $round = 2 ]; then
		agent_stop pay-1 KILL
		fleet_agent_start pay-1
	fi
done
check "and in contact all the time" wait_for 20 connected pay-1
same "status tells when the next is due" "$(bw_json pay-1 '.svid.renew_at | length' status)" 20
same "no certificate was refused" "$(grep -c 'HTTP 40' "$WORK/pay-1/courier.log")" 0
finish_tests
