# SPDX-License-Identifier: GPL-3.0-or-later
# UC-1 UC-10 UC-13 UC-36: the process decides who may talk; not the host, the address or the user.
. "$(dirname "$0")/lib.sh"

host_add far 99
usual <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000')
END
serve api api-1 api.service 8443
serve api-more api-1 api.service 9000
serve_udp api-udp api-1 api.service 9000
for address in "$API" "$API_6"; do
	connects "settlement reaches the API at $address (UC-10)" \
		pay-1 settlement.service "$address" 8443
	refused "backup on the same host does not, $address (UC-13)" \
		pay-1 backup.service "$address" 8443
	refused "settlement gets no other port, $address" pay-1 settlement.service "$address" 9000
	udp_answers "settlement's datagrams pass, $address" pay-1 settlement.service "$address" 9000
	udp_denied "backup's datagrams do not, $address" pay-1 backup.service "$address" 9000
done
no_answer "the API's host gives no answer to a host that no rule names" far x.service "$API" 8443
no_answer "nor over IPv6" far x.service "$API_6" 8443
no_answer "an unclaimed process gets only what its node may" pay-1 cron.service "$API" 9000
refused "the API may not call back" api-1 api.service "$PAY" 8443

# The same uid, the same executable, a child: the cgroup decides.
expect "a child inherits the limits" $REFUSED run pay-1 backup.service \
	sh -c "exec traffic tcp-client $API 8443"
expect "and so does a change of user" $REFUSED run -u 1001 pay-1 backup.service \
	traffic tcp-client "$API" 8443
like "a refusal is immediate" "$SAID" '^refused after [0-9]{1,5} us'
check "the refusal is recorded with both names" wait_for 15 decided pay-1 \
	'.decision == "denied" and (.from.identity | endswith("backup")) and
		(.to.identity | endswith("api"))'
finish_tests
