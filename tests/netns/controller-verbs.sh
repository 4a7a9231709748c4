# SPDX-License-Identifier: GPL-3.0-or-later
# bailiwick-controller as a command: what init and dev make, what serve refuses, verbs without a
# server, from elsewhere, with wrong words; a data directory that survives; certificates of an
# existing PKI.
. "$(dirname "$0")/lib-controller.sh"

host_add ctl $CTL_NUMBER
controller() { at ctl bailiwick-controller "$@"; }

# --- a command line with mistakes
expect "no verb" 2 controller
expect "an unknown verb" 2 controller quarantin
like "has a suggestion" "$SAID" 'quarantine'
expect "an unknown option" 2 controller token create --nod pay-1
like "has one too" "$SAID" '--node'
expect "token without a node" 2 controller token create
expect "a node that has no name" 2 controller node ban ../x
expect "what is no duration" 2 controller token create --node a --ttl soon
expect "reports: on or off" 2 controller serve --data "$DATA" --reports perhaps
expect "listening on a name" 2 controller serve --data "$DATA" --listen ctl:8443
expect "help" 0 controller place --help
like "tells the options" "$SAID" '--address'

# --- the data directory
mkdir -p "$WORK/ctl"
expect "serve without keys" 1 controller serve --data "$WORK/ctl/nothing"
like "says what makes them" "$SAID" 'bailiwick-controller init .*makes'
mkdir -m 0700 "$WORK/ctl/empty"
expect "also in an empty directory" 1 controller serve --data "$WORK/ctl/empty"
like "says so there" "$SAID" 'bailiwick-controller init'
expect "init needs a trust domain" 2 controller init --data "$DATA" --name ctl.acme.example
openssl genpkey -algorithm ed25519 -out "$WORK/policy.key" 2>/dev/null
openssl pkey -in "$WORK/policy.key" -pubout -out "$WORK/policy.pub" 2>/dev/null
check "init" controller init --data "$DATA" --trust-domain acme.example \
	--name "${ADDR4[ctl]}" --name ctl.acme.example --policy-key "$WORK/policy.pub"
same "a directory of one's own" "$(stat -c %a "$DATA")" 700
same "keys for nobody else" "$(stat -c %a "$DATA"/*.key | sort -u)" 600
same "and no policy key" "$(find "$DATA" -name 'policy.key' | wc -l)" 0
before=$(sha256sum "$DATA"/*.key "$DATA"/*.pem)
check "init again" controller init --data "$DATA" --name ctl.acme.example
same "changes nothing" "$(sha256sum "$DATA"/*.key "$DATA"/*.pem)" "$before"
expect "another trust domain is refused" 1 controller init --data "$DATA" --trust-domain other.example
expect "no server, no answer" 1 controller status --data "$DATA"
like "and what starts one" "$SAID" 'bailiwick-controller serve'
chmod 755 "$DATA"
expect "a directory that others can read is refused" 1 controller init --data "$DATA"
chmod 700 "$DATA"

# --- serve
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
	-keyout "$WORK/corp.key" -out "$WORK/corp.pem" -subj "/O=corporate" 2>/dev/null
serve_real() {
	start controller ctl bailiwick-controller.service bailiwick-controller serve --data "$DATA" \
		--listen "${ADDR4[ctl]}:$CTL_PORT" --node-ca "$WORK/corp.pem" "$@"
	wait_for 15 controller_answers && return
	fail "set-up" "the controller does not serve: $(tail -n 2 "$WORK/controller.out")"
	exit 1
}
serve_real
same "the endpoint is the first name" "$(cat "$DATA/endpoint")" "$URL"
expect "a second server for the same directory" 1 \
	controller serve --data "$DATA" --listen 127.0.0.1:9999
like "is refused" "$SAID" 'another controller'
expect "setting it up meanwhile" 1 controller init --data "$DATA" --name other.acme.example
like "is refused, too" "$SAID" 'another controller'
check "tokens work" controller token create --node pay-1 --data "$DATA"
pasted=$(ctl token create --node pay-1 | sed -n '/^  bailiwick enroll/,/[^\\]$/p')
same "and print a command to paste that fits the screen" $(($(wc -L <<<"$pasted") <= 100)) 1
like "a shell has every word of it" "$(sh -c "bailiwick() { echo \$# \$*; }; $pasted")" \
	'^9 enroll --url .* --token .* --pin .* --policy-pin sha256:'
expect "a name that only the controller refuses" 2 controller token create --node 'pay 1' --data "$DATA"
same "no policy key signed anything yet" "$(ctl_json .policy status)" null
printf 'trust_domain: acme.example\n' >"$WORK/plain.yaml"
expect "a policy needs to be signed" 1 controller publish "$WORK/plain.yaml" --data "$DATA"
like "says how" "$SAID" 'bailiwick sign'
printf 'trust_domain: acme.example\nrules: [{name: open, from: nobody}]\n' >"$WORK/wrong.yaml"
cp "$WORK/policy.key" "$DATA/policy.key"
expect "a policy with errors fails the check" 3 controller publish "$WORK/wrong.yaml" --data "$DATA"
like "and is not published" "$SAID" 'nothing was published'
rm "$DATA/policy.key"
openssl genpkey -algorithm ed25519 -out "$WORK/other.key" 2>/dev/null
printf 'trust_domain: acme.example\nnodes: [{pattern: pay-1, addresses: [10.77.0.11]}]\n' \
	>"$WORK/sound.yaml"
must bailiwick sign "$WORK/sound.yaml" --key "$WORK/other.key" --out "$WORK/others"
expect "so does one that a stranger signed" 3 controller publish "$WORK/others" --data "$DATA"
must bailiwick sign "$WORK/sound.yaml" --key "$WORK/policy.key" --out "$WORK/changed"
find "$WORK/changed" -path '*/sha256/*' -type f | while read -r blob; do echo >>"$blob"; done
expect "so does one that was changed" 3 controller publish "$WORK/changed" --data "$DATA"
expect "what is not there is another error" 1 controller publish "$WORK/nowhere" --data "$DATA"

# --- from elsewhere
host_add desk 40
mkdir "$WORK/desk.d"
cp "$DATA/operator.pem" "$DATA/operator.key" "$DATA/ca.pem" "$WORK/desk.d"
remote() {
	at desk bailiwick-controller "$@" --url "$URL" --cert "$WORK/desk.d/operator.pem" \
		--key "$WORK/desk.d/operator.key" --ca "$WORK/desk.d/ca.pem"
}
check "an operator elsewhere" remote node list
expect "without knowing who answers" 1 at desk bailiwick-controller node list --url "$URL" \
	--cert "$WORK/desk.d/operator.pem" --key "$WORK/desk.d/operator.key" --ca "$WORK/corp.pem"
like "asks nobody" "$SAID" 'certificate'

# --- certificates of an existing PKI
corp_leaf() { # NAME ID
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" \
		-keyout "$WORK/$1.key" -out "$WORK/$1.req" 2>/dev/null
	printf '%s\n' 'basicConstraints = critical, CA:FALSE' 'keyUsage = critical, digitalSignature' \
		'extendedKeyUsage = serverAuth, clientAuth' "subjectAltName = URI:$2" >"$WORK/$1.ext"
	openssl x509 -req -in "$WORK/$1.req" -CA "$WORK/corp.pem" -CAkey "$WORK/corp.key" \
		-CAcreateserial -days 1 -extfile "$WORK/$1.ext" -out "$WORK/$1.pem" 2>/dev/null
}
corp_leaf corp-node spiffe://acme.example/bailiwick/node/corp-1
corp_leaf corp-operator spiffe://acme.example/bailiwick/operator/local
as corp-node
problem 503 no_policy "a node of an existing PKI is known" "$URL/v1/head"
as corp-operator
problem 401 bad_certificate "but it names no operators" "$URL/v1/operator/status"

# --- a node that is gone for good
ctl node ban pay-6 >/dev/null
ctl node unban pay-6 >/dev/null
mkdir -p "$DATA/logs"
echo '{}' >"$DATA/logs/pay-6.jsonl"
expect "forgetting needs a reason" 2 controller node forget pay-6 --data "$DATA"
expect "and a reason needs forgetting" 2 controller node evict pay-6 --reason x --data "$DATA"
check "a node is forgotten" controller node forget pay-6 --reason "scrapped" --data "$DATA"
same "no list has it" "$(ctl_json '[.nodes[].node] | index("pay-6")' node list)" null
same "nor its decision records" "$(find "$DATA/logs" -name 'pay-6*')" ""
like "the audit log has it" "$(ctl audit)" 'local +node-forget +pay-6 +.*scrapped'
expect "it is not known any more" 1 controller node forget pay-6 --reason again --data "$DATA"

# --- the next start
ctl node ban pay-7 >/dev/null
controller_stop
expect "stopped, verbs say so" 1 controller status --data "$DATA"
serve_real --reports off
same "what was written is there" "$(ctl_json '.nodes[] | select(.node == "pay-7") | .state' status)" \
	banned
same "reports are off" "$(ctl_json .reports_place status)" false
like "the audit log tells who" "$(ctl audit)" 'local +node-ban +pay-7'
controller_stop KILL
serve_real
check "also after a kill" ctl node list
finish_tests
