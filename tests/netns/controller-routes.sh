# SPDX-License-Identifier: GPL-3.0-or-later
# The controller's HTTP, route by route, with curl and openssl alone: enrolment over EST, trust, the
# long poll, immutable documents with Range, status and logs, the operator's side; who may ask what.
. "$(dirname "$0")/lib-controller.sh"

controller_start --admin "unix:$WORK/admin.sock"
as_nobody
ask 200 "cacerts needs no certificate" "$URL/.well-known/est/cacerts"
base64 -d "$WORK/body" | openssl pkcs7 -inform DER -print_certs -out "$WORK/roots.pem"
same "and is the root" "$(openssl x509 -in "$WORK/roots.pem" -noout -fingerprint)" \
	"$(openssl x509 -in "$DATA/ca.pem" -noout -fingerprint)"
ask 200 "trust needs none either" "$URL/v1/trust"
same "and has the policy key" "$(jq -r '.policy.keys[0]' <<<"$BODY")" "$(cat "$DATA/policy.pub")"
etag=$(sed -n 's/^ETag: //p' <<<"$HEADERS")
ask 304 "which is not sent twice" -H "If-None-Match: $etag" "$URL/v1/trust"
ask 200 "the trust bundle is SPIFFE's" "$URL/v1/trust-bundle"
same "with one key for X.509" "$(jq -r '.keys[0] | [.kty, .use, .crv] | tostring' <<<"$BODY")" \
	'["EC","x509-svid","P-256"]'

# --- enrolment
node_keys pay-1
token pay-1
mapfile -t args < <(enroll_args pay-1 "$TOKEN")
ask 200 "a token enrols" "${args[@]}"
cert_of pay-1
text=$(openssl x509 -in "$WORK/pay-1.pem" -noout -text)
like "the name is the token's, not the request's" "$text" \
	'URI:spiffe://acme.example/bailiwick/node/pay-1'
same "it chains to the root" "$(openssl verify -CAfile "$DATA/ca.pem" "$WORK/pay-1.pem" 2>&1)" \
	"$WORK/pay-1.pem: OK"
problem 409 used "the token works once" "${args[@]}"
like "and says by whom and when" "$BODY" "pay-1.*[0-9]{4}-[0-9]{2}-[0-9]{2}T"
problem 401 unauthorized "no token, no certificate" --data-binary "@$WORK/pay-1.b64" \
	-H 'Content-Type: application/pkcs10' "$URL/.well-known/est/simpleenroll"
like "and how to give one" "$HEADERS" 'WWW-Authenticate: Basic'
token pay-2
mapfile -t args < <(enroll_args pay-1 "${TOKEN%?}x")
problem 401 unauthorized "a wrong secret" "${args[@]}"
problem 400 bad_request "what is no request" -u "${TOKEN%%.*}:${TOKEN#*.}" \
	-H 'Content-Type: application/pkcs10' --data-binary 'AAAA' "$URL/.well-known/est/simpleenroll"
problem 415 content_type "nor what says to be something else" -u "${TOKEN%%.*}:${TOKEN#*.}" \
	-H 'Content-Type: text/plain' --data-binary "@$WORK/pay-1.b64" \
	"$URL/.well-known/est/simpleenroll"
openssl genrsa -out "$WORK/rsa.key" 2048 2>/dev/null
openssl req -new -key "$WORK/rsa.key" -subj /CN=x -outform DER 2>/dev/null | base64 >"$WORK/rsa.b64"
problem 400 bad_request "a key of another kind" -u "${TOKEN%%.*}:${TOKEN#*.}" \
	-H 'Content-Type: application/pkcs10' --data-binary "@$WORK/rsa.b64" \
	"$URL/.well-known/est/simpleenroll"
node_keys pay-2
mapfile -t args < <(enroll_args pay-2 "$TOKEN")
ask 200 "none of which has used the token up" "${args[@]}"
cert_of pay-2

# --- who may ask what
as_nobody
problem 401 no_certificate "the head needs a certificate" "$URL/v1/head"
as pay-1
problem 403 forbidden "a node is no operator" "$URL/v1/operator/status"
as_operator
problem 403 forbidden "an operator is no node" "$URL/v1/head"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
	-keyout "$WORK/stranger.key" -out "$WORK/stranger.pem" -subj /O=stranger \
	-addext 'subjectAltName=URI:spiffe://acme.example/bailiwick/operator/root' 2>/dev/null
as stranger
problem 401 bad_certificate "a certificate of a stranger" "$URL/v1/operator/status"

# --- the head
as pay-1
problem 503 no_policy "without a policy one is told to come back" "$URL/v1/head"
like "when" "$HEADERS" 'Retry-After: [0-9]+'
fleet_policy <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
publish
must ctl place prod/payments/settlement --node pay-1 --address 10.77.0.11
ask 200 "the head" "$URL/v1/head"
etag=$(sed -n 's/^ETag: //p' <<<"$HEADERS")
like "its tag is the sequence" "$etag" '^"[0-9]+"$'
payload <"$WORK/body" >"$WORK/head.json"
same "its own" "$(jq -r .node "$WORK/head.json")" pay-1
same "with that sequence" "\"$(jq -r .sequence "$WORK/head.json")\"" "$etag"
ask 304 "not sent twice" -H "If-None-Match: $etag" "$URL/v1/head"
began=$(now_ms)
ask 304 "a poll waits its seconds" -H "If-None-Match: $etag" -H 'Prefer: wait=2' "$URL/v1/head"
same "no shorter" $(($(now_ms) - began >= 2000)) 1
like "and says so" "$HEADERS" 'Preference-Applied: wait=2'
poll() {
	at ctl curl -sS --max-time 90 --cacert "$DATA/ca.pem" --cert "$WORK/pay-1.pem" \
		--key "$WORK/pay-1.key" -H "If-None-Match: $etag" -H 'Prefer: wait=50' \
		-o "$WORK/polled" -w '%{http_code}' "$URL/v1/head" >"$WORK/polled.status"
}
poll &
POLL=$!
parked() { at ctl curl -s --unix-socket "$WORK/admin.sock" http://x/metrics | grep -q 'polls_parked 1$'; }
wait_for 10 parked || fail "set-up" "no poll is parked"
must ctl place prod/payments/backup --node pay-2 --address 10.77.0.12
parked && pass "what does not concern it does not wake it" || fail "woken" "for nothing"
must ctl place prod/payments/cache --node pay-1 --address 10.77.0.11
wait $POLL
same "what does, does" "$(cat "$WORK/polled.status")" 200
same "with a higher sequence" \
	$(($(payload <"$WORK/polled" | jq .sequence) > $(jq .sequence "$WORK/head.json"))) 1
ask 200 "HEAD is GET without the body" -I "$URL/v1/head"

# --- immutable documents
revision=$(jq .stable.revision "$WORK/head.json")
ask 200 "the manifest" "$URL/v1/manifests/$revision"
like "for ever" "$HEADERS" 'Cache-Control: .*immutable'
same "that the head means" "$(sha256sum <"$WORK/body" | cut -d' ' -f1)" \
	"$(jq -r .stable.sha256 "$WORK/head.json")"
blob=$(payload <"$WORK/body" | jq -r '.policy[0].sha256')
ask 200 "a blob of it" "$URL/v1/blobs/sha256/$blob"
same "by its digest" "$(sha256sum <"$WORK/body" | cut -d' ' -f1)" "$blob"
cp "$WORK/body" "$WORK/blob"
ask 206 "a part of it" -r 10-19 "$URL/v1/blobs/sha256/$blob"
same "is that part" "$(cat "$WORK/body")" "$(head -c 20 "$WORK/blob" | tail -c 10)"
like "and says which" "$HEADERS" "Content-Range: bytes 10-19/$(stat -c %s "$WORK/blob")"
ask 206 "the end of it" -r -5 "$URL/v1/blobs/sha256/$blob"
problem 416 range "a part that is not there" -r 99999999- "$URL/v1/blobs/sha256/$blob"
ask 304 "not sent twice" -H "If-None-Match: \"$blob\"" "$URL/v1/blobs/sha256/$blob"
payload <"$WORK/polled" | jq -r .view.sha256 >"$WORK/view"
ask 200 "its view" "$URL/v1/blobs/sha256/$(cat "$WORK/view")"
same "of this node" "$(jq -r .node "$WORK/body")" pay-1
as pay-2
problem 404 not_found "another node's view is not to be had" \
	"$URL/v1/blobs/sha256/$(cat "$WORK/view")"
as pay-1
problem 404 not_found "an unknown blob" \
	"$URL/v1/blobs/sha256/$(printf x | sha256sum | cut -d' ' -f1)"
problem 404 not_found "what is no digest" "$URL/v1/blobs/sha256/ABC"
problem 404 not_found "an unknown revision" "$URL/v1/manifests/999"
problem 404 not_found "what is no revision" "$URL/v1/manifests/latest"

# --- reports
report='{"version": 1, "node": "pay-1", "head_sequence": 1, "policy_revision": 1,
	"policy_digest": "", "view_sequence": 1, "mode": "observe", "state": "ready", "errors": [],
	"workloads": [], "cut": []}'
ask 204 "a status" -H 'Content-Type: application/json' --data-binary "$report" "$URL/v1/status"
problem 400 bad_request "a status of another node" --data-binary "${report/pay-1/pay-2}" \
	"$URL/v1/status"
echo '[{"decision": "denied"}]' | gzip >"$WORK/logs.gz"
ask 204 "decision records" -H 'Bailiwick-Dropped: 7' --data-binary "@$WORK/logs.gz" "$URL/v1/logs"
ask 204 "with a count that is none" -H 'Bailiwick-Dropped: -1' --data-binary "@$WORK/logs.gz" "$URL/v1/logs"
same "how many the node has lost is listed" "$(ctl node list -o json |
	jq '.nodes[] | select(.node == "pay-1").log_records_dropped')" 7
problem 400 bad_request "which are packed" --data-binary '[]' "$URL/v1/logs"

# --- renewal
node_keys again
ask 200 "a node renews with its certificate" -H 'Content-Type: application/pkcs10' \
	--data-binary "@$WORK/again.b64" "$URL/.well-known/est/simplereenroll"
cert_of again
like "and keeps its name" "$(openssl x509 -in "$WORK/again.pem" -noout -ext subjectAltName)" \
	'node/pay-1$'
must ctl node evict pay-2
as pay-2
problem 403 forbidden "evicted, the certificate is refused" "$URL/v1/head"
must ctl node ban pay-1
as again
problem 403 banned "banned, everything is" "$URL/v1/head"

# --- health
admin() { at ctl curl -s -o /dev/null -w '%{http_code}' --unix-socket "$WORK/admin.sock" "http://x$1"; }
same "healthy" "$(admin /healthz)" 200
same "ready" "$(admin /readyz)" 200
same "the API is not there" "$(admin /v1/trust)" 404
as_nobody
problem 404 not_found "and health is not elsewhere" "$URL/healthz"
finish_tests
