# SPDX-License-Identifier: GPL-3.0-or-later
# Another operator: by a key that stays where it was made, or one that is handed over; in the audit
# log. A stolen operator's key: shut out at its next request, on a connection that is open too;
# whoever is left is told who did it and why; the last one is not locked out by mistake, and the pair
# in the data directory is always a good one.
. "$(dirname "$0")/lib-controller.sh"

host_add ctl $CTL_NUMBER
controller_start
cp "$DATA/ca.pem" "$WORK/own.pem"
cp "$DATA/ca.key" "$WORK/own.key"

# operator NAME: a certificate of the same CA, as whoever keeps the CA makes one
operator() {
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" \
		-keyout "$WORK/$1.key" -out "$WORK/$1.req" 2>/dev/null
	printf '%s\n' 'basicConstraints = critical, CA:FALSE' 'keyUsage = critical, digitalSignature' \
		'extendedKeyUsage = serverAuth, clientAuth' \
		"subjectAltName = URI:spiffe://acme.example/bailiwick/operator/$1" >"$WORK/$1.ext"
	openssl x509 -req -in "$WORK/$1.req" -CA "$WORK/own.pem" -CAkey "$WORK/own.key" \
		-CAcreateserial -days 30 -extfile "$WORK/$1.ext" -out "$WORK/$1.pem" 2>/dev/null
}
operator alice
operator bob
by() { # NAME VERB...
	local who=$1
	shift
	at ctl bailiwick-controller "$@" --data "$DATA" --cert "$WORK/$who.pem" --key "$WORK/$who.key"
}

# --- known from the first use
must by alice node list
must by bob node list
must ctl status
good() { ctl_json '[.operators[] | select(.state == "good") | .operator] | sort | join(" ")' operator list; }
same "three operators are known" "$(good)" "alice bob local"
same "one of them asks" "$(ctl_json '[.operators[] | select(.asks) | .operator] | join(" ")' operator list)" local

# --- a connection that is open
mkfifo "$WORK/keep.in"
at ctl openssl s_client -quiet -connect "10.77.0.$CTL_NUMBER:$CTL_PORT" -CAfile "$DATA/ca.pem" \
	-cert "$WORK/alice.pem" -key "$WORK/alice.key" <"$WORK/keep.in" >"$WORK/keep.out" 2>/dev/null &
KEEP=$!
exec {keep}>"$WORK/keep.in"
request() { printf 'GET /v1/operator/nodes HTTP/1.1\r\nHost: x\r\n\r\n' >&$keep; }
request
answers() { grep -ao 'HTTP/1.1 [0-9]*' "$WORK/keep.out" | cut -d' ' -f2 | tr '\n' ' '; }
answered() { [ "$(answers | wc -w)" -ge "$1" ]; }
check "alice asks on a connection of her own" wait_for 30 answered 1
same "which is answered" "$(answers)" "200 "

# --- revoked
expect "a reason is needed" 2 ctl operator revoke alice
expect "and somebody who is known" 1 ctl operator revoke alicia --reason "laptop stolen"
like "says what lists them" "$SAID" 'operator list'
check "bob revokes alice" by bob operator revoke alice --reason "laptop stolen"
request
check "her open connection is answered" wait_for 30 answered 2
same "with a refusal" "$(answers)" "200 403 "
exec {keep}>&-
wait $KEEP
as alice
problem 403 revoked "and a new one, too" "$URL/v1/operator/status"
like "says what to do" "$(jq -r .detail "$WORK/body")" 'one with a new key would be right'
same "but not why" "$(grep -c laptop "$WORK/body")" 0
problem 403 revoked "an order" -H 'Content-Type: application/json' \
	--data-binary '{"node": "pay-1"}' "$URL/v1/operator/tokens"
expect "the command says so" 3 by alice token create --node pay-1
like "in a sentence" "$SAID" "operator 'alice' was revoked"
same "the others go on" "$(good)" "bob local"
like "the audit log has it" "$(ctl audit)" 'bob +operator-revoke +alice +.*laptop'
controller_stop KILL
controller_start
problem 403 revoked "also after a kill" "$URL/v1/operator/status"
operator carol
serial=$(openssl x509 -in "$WORK/carol.pem" -noout -serial | cut -d= -f2)
must by carol node list
check "by a serial number as openssl prints it" ctl operator revoke "$serial" --reason left
as carol
problem 403 revoked "it is revoked, too" "$URL/v1/operator/status"

# --- one more
mkdir "$WORK/desk"
cd "$WORK/desk" || exit 1
own() { # DIR VERB...: with what is in DIR alone
	local dir=$1
	shift
	at ctl bailiwick-controller "$@" --data "$dir" --url "$URL"
}
expect "whom?" 2 ctl operator add
expect "a name that is none" 2 ctl operator add a/b
expect "nor are dots" 2 ctl operator add ..
expect "local is taken" 1 ctl operator add local --to x
expect "bob, too" 1 ctl operator add bob --to x
like "says until when" "$SAID" "operator 'bob' has a certificate that is good until"
same "and leaves nothing behind" "$(find . -mindepth 1)" ""
check "a key is made elsewhere" at ctl bailiwick-controller operator request dora
same "for nobody else" "$(stat -c %a dora dora/operator.key | tr '\n' ' ')" "700 600 "
expect "once" 1 at ctl bailiwick-controller operator request dora
expect "a key is no request" 1 ctl operator add dora --request dora/operator.key --to out
expect "the request is not hers alone" 2 ctl operator request eve --request dora/operator.csr
check "bob has it certified" by bob operator add dora --request dora/operator.csr --to out
same "without the key" "$(ls out | tr '\n' ' ')" "ca.pem operator.pem "
like "for the name that bob said" "$(openssl x509 -in out/operator.pem -noout -ext subjectAltName)" \
	'URI:spiffe://acme.example/bailiwick/operator/dora$'
cp out/* dora
check "dora gives an order" own dora node ban pay-6
like "in her name" "$(ctl audit)" 'dora +node-ban +pay-6'
like "and the audit log has who made her one" "$(ctl audit)" 'bob +operator-issue +dora'
expect "nobody else gets a certificate for that key" 1 ctl operator add eve --request dora/operator.csr
like "says whose it is" "$SAID" "the key of operator 'dora'"
check "she renews it herself" own dora operator add dora --to dora-2
check "which is as good" own dora-2 node unban pay-6
same "with a key for nobody else" "$(stat -c %a dora-2 dora-2/operator.key | tr '\n' ' ')" "700 600 "
expect "nothing is written over" 1 own dora operator add dora --to dora-2
like "says what is there" "$SAID" 'dora-2/operator.key is there already'
check "dora is revoked" ctl operator revoke dora --reason left
expect "she gives no orders" 3 own dora status
expect "nor does what she renewed" 3 own dora-2 status
expect "she makes no operators" 3 own dora operator add eve
expect "her key does not come back" 3 ctl operator add dora --request dora/operator.csr --to again
like "says why" "$SAID" 'this key was revoked'
check "another one of hers does" ctl operator add dora --to again
check "and counts at once" own again status
controller_stop KILL
controller_start
check "also after a kill" own again node list
check "revoked by bob" by bob operator revoke dora --reason left
must at ctl bailiwick-controller operator request eve
as_operator
problem 400 bad_request "what is no request" --data-binary '{"request": "AAAA"}' \
	"$URL/v1/operator/operators/eve/add"
problem 400 bad_request "a path that is no name" --path-as-is --data-binary \
	"{\"request\": \"$(openssl req -in eve/operator.csr -outform DER | base64 -w0)\"}" \
	"$URL/v1/operator/operators/../add"
as carol
problem 403 revoked "somebody revoked adds nobody" --data-binary '{"request": "AAAA"}' \
	"$URL/v1/operator/operators/eve/add"
node_enrolled pay-9
as pay-9
problem 403 forbidden "nor does a node" --data-binary '{"request": "AAAA"}' \
	"$URL/v1/operator/operators/eve/add"
cd / || exit 1

# --- the last one
check "bob is revoked" ctl operator revoke bob --reason left
old=$(sha256sum <"$DATA/operator.key")
cp "$DATA/operator.pem" "$WORK/thief.pem"
cp "$DATA/operator.key" "$WORK/thief.key"
expect "the last one is not locked out by mistake" 1 ctl operator revoke local --reason copied
like "says how it is done" "$SAID" '--force'
same "and is as good as before" "$(good)" local
check "with --force it is" ctl operator revoke local --reason copied --force
as thief
problem 403 revoked "whoever has a copy is out" "$URL/v1/operator/status"
check "whoever is at the machine is not" ctl node list
differ() { [ "$(sha256sum <"$DATA/operator.key")" != "$old" ]; }
check "with a new key" differ
same "for nobody else" "$(stat -c %a "$DATA/operator.key")" 600
cp "$WORK/thief.pem" "$DATA/operator.pem"
cp "$WORK/thief.key" "$DATA/operator.key"
controller_stop
controller_start
check "an old pair from a backup is replaced at the start" ctl node list
finish_tests
