# SPDX-License-Identifier: GPL-3.0-or-later
# UC-29: certificates by proof, made with openssl alone: a courier's, a renewal that the courier
# brings, one after the old certificate has expired; and every proof that proves something else.
. "$(dirname "$0")/lib-controller.sh"

controller_start
node_enrolled pay-1
node_enrolled pay-2

# proof NODE PURPOSE CSR-NAME [JQ-FILTER [KEY]]: fills PROOF
proof() {
	local der digest
	der=$(openssl x509 -in "$WORK/$1.pem" -outform DER | base64 -w0)
	digest=$(sha256sum <"$WORK/$3.csr" | cut -d' ' -f1)
	PROOF=$(jq -cn --arg purpose "$2" --arg csr "$digest" --arg der "$der" \
		--arg host "10.77.0.$CTL_NUMBER" --arg now "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
		'{version: 1, purpose: $purpose, csr_sha256: $csr, controller: $host, time: $now,
		certificates: [$der]}' | jq -c "${4:-.}" |
		envelope application/vnd.bailiwick.proof.v1+json "${5:-$WORK/$1.key}" | base64 -w0)
}
# with PATH CSR-NAME: curl's arguments
with() {
	ARGS=(-H 'Content-Type: application/pkcs10' --data-binary "@$WORK/$2.b64"
		"$URL/.well-known/est/$1")
	[ -z "$PROOF" ] || ARGS+=(-H "Bailiwick-Proof: $PROOF")
}

node_keys courier
as_nobody
proof pay-1 courier courier
with courier/simpleenroll courier
ask 200 "a node's proof gets its courier a certificate" "${ARGS[@]}"
cert_of courier
like "of its own" "$(openssl x509 -in "$WORK/courier.pem" -noout -ext subjectAltName)" \
	'/bailiwick/courier/pay-1'
as courier
problem 503 no_policy "which is good for documents" "$URL/v1/head"
problem 403 forbidden "and not for operators" "$URL/v1/operator/status"

# --- what proves something else
as_nobody
node_keys other
refused() { # NAME PATH CSR
	with "$2" "$3"
	problem 401 "${4:-unauthorized}" "$1" "${ARGS[@]}"
}
proof pay-1 courier courier
refused "another request" courier/simpleenroll other
proof pay-1 renew courier
refused "another purpose" courier/simpleenroll courier
proof pay-1 courier courier '.controller = "ctl.evil.example"'
refused "made out to another controller" courier/simpleenroll courier
proof pay-1 courier courier '.time = "2026-01-01T00:00:00Z"'
refused "an old one" courier/simpleenroll courier expired
proof pay-1 courier courier . "$WORK/pay-2.key"
refused "signed by another key" courier/simpleenroll courier
proof pay-1 courier courier '.certificates = []'
with courier/simpleenroll courier
problem 400 bad_request "without a certificate" "${ARGS[@]}"
proof courier courier courier
refused "by the courier itself" courier/simpleenroll courier
PROOF=''
refused "none at all" courier/simpleenroll courier
PROOF=$(head -c 3000 /dev/zero | base64 -w0 | head -c 2000)
with courier/simpleenroll courier
problem 400 bad_request "bytes that are none" "${ARGS[@]}"
slowed_down "guessing is slowed down" "${ARGS[@]}"
PROOF=''
with courier/simpleenroll courier
slowed_down "with no proof, too" "${ARGS[@]}"
proof pay-1 courier courier
with courier/simpleenroll courier
ask 200 "which a proof that holds does not notice" "${ARGS[@]}"
sleep 7 # tries come back, one each six seconds
proof pay-1 courier courier
with courier/simpleenroll courier
problem 400 bad_request "a Host that is nobody's name" -H 'Host: ctl.evil.example' "${ARGS[@]}"

# --- renewal by the courier
node_keys fresh
as courier
proof pay-1 renew fresh
with simplereenroll fresh
ask 200 "the courier brings the node's renewal" "${ARGS[@]}"
cert_of fresh
like "which is the node's" "$(openssl x509 -in "$WORK/fresh.pem" -noout -ext subjectAltName)" \
	'/bailiwick/node/pay-1'
proof pay-2 renew fresh
with simplereenroll fresh
problem 403 forbidden "not another node's" "${ARGS[@]}"
PROOF=''
with simplereenroll fresh
problem 401 unauthorized "nor one of its own" "${ARGS[@]}"

# --- after the end of a certificate
controller_stop
controller_start --svid-ttl 1s
node_enrolled pay-3
sleep 2
as pay-3
problem 401 expired_certificate "an expired certificate is refused" "$URL/v1/head"
as_nobody
node_keys again
proof pay-3 renew again
with simpleenroll again
ask 200 "with it one may still prove who one is" "${ARGS[@]}"
cert_of again
like "and be it again" "$(openssl x509 -in "$WORK/again.pem" -noout -ext subjectAltName)" \
	'/bailiwick/node/pay-3'
node_keys courier3
proof pay-3 courier courier3
with courier/simpleenroll courier3
problem 401 expired "not for a courier" "${ARGS[@]}"
must ctl node ban pay-3
proof pay-3 renew again
with simpleenroll again
problem 403 banned "nor when banned" "${ARGS[@]}"
still_serves "after all these proofs"
finish_tests
