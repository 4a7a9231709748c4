# SPDX-License-Identifier: GPL-3.0-or-later
# UC-5 UC-8 UC-36: the right host and the right address do not make the right caller: the called
# host refuses the wrong identity while the caller's own host only observes, and mapped rules show
# the difference.
. "$(dirname "$0")/lib-attest.sh"

attest_host pay-1 observe
attest_usual <<END
$(attested settlement-calls-api settlement api tcp/8443)
$(rule settlement-calls-mapped settlement api tcp/9000)
END
serve api api-1 api.service 8443
serve api-mapped api-1 api.service 9000

connects "settlement is vouched for" pay-1 settlement.service "$API" 8443
backup_tries() {
	status_of run pay-1 backup.service traffic tcp-client "$API" 8443 --timeout $PATIENCE
	got=$?
}
in_time backup_tries
same "backup is refused, with an answer" $got $REFUSED
like "at its first SYN" "$SAID" 'refused after [0-9]{1,6} us'
recorded "api-1 knows who it was" api-1 '
	.decision == "denied" and .from.identity == "prod/payments/backup" and .from.node == "pay-1"
	and .service == "tcp/8443" and .direction == "in"'
recorded "its own host has only noted it" pay-1 '
	.decision == "would_deny" and .from.identity == "prod/payments/backup"'
# One record of a node's refused connections in ten seconds, and address family.
status_of run pay-1 nobody.service traffic tcp-client "$API_6" 8443 --timeout $PATIENCE
same "a process without an identity is refused" $? $REFUSED
recorded "with the far agent's word" api-1 '.reason == "attest_refused:no_identity"'
refused "settlement's user and token in another unit" pay-1 replay.service "$API" 8443
connects "a mapped rule cannot tell" pay-1 backup.service "$API" 9000
recorded "and says so" api-1 '
	.decision == "allowed" and .assurance == "mapped" and .service == "tcp/9000"'
same "backup never reached the attested port" "$(server_connections api)" 1

talk live pay-1 settlement.service "$API" 8443
port=$(port_of live)
status_of run pay-1 backup.service traffic tcp-client "$API" 8443 --timeout $PATIENCE
same "what was vouched for one connection is not for another" $? $REFUSED
runs_on "which goes on" live

# UC-8: an identity may forbid what rests on an address alone.
{
	printf 'trust_domain: acme.example\nidentities:\n'
	identity settlement prod/payments/settlement settlement.service
	identity api prod/payments/api api.service tcp/9000 'min_assurance: attested'
	printf 'rules:\n'
	rule settlement-calls-mapped settlement api tcp/9000
} | policy
status_of bw pay-1 check "$WORK/policy"
like "check says what rests on an address alone" "$SAID" 'warning: .*mapped'
apply_all
denied "an identity that demands more is not opened by it" \
	pay-1 settlement.service "$API" 9000
finish_tests
