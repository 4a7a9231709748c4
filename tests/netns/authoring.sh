# SPDX-License-Identifier: GPL-3.0-or-later
# Policy on its way to a signature, as its authors work: keys, signing by file, token and program,
# second signatures, checking and comparing trees. Signatures are checked by stock openssl as well.
. "$(dirname "$0")/lib.sh"

cd "$WORK" || exit 1
DIR=$WORK/site
mkdir -p "$DIR/policy/eu"

write_policy() {
	cat >"$DIR/policy/payments.yaml" <<-END
		trust_domain: acme.example
		defaults: {assurance: mapped}
		identities:
		  - name: settlement
		    path: prod/payments/settlement
		    labels: [environment=prod]
		    workload: [{unit: ${1:-settlement.service}, user: 1000}]
		  - name: api
		    path: prod/payments/api
		    labels: [environment=prod]
		    workload: [{unit: api.service}]
		    serves: [tcp/8443, tcp/9000-9100]
		nodes: [{pattern: "pay-*", addresses: [10.0.0.0/29]}]
		rules:
		  - name: settlement-calls-api
		    from: [settlement]
		    to: [api]
		    services: [tcp/8443${2:-}]
		    purpose: "n\u00e4chtlicher Lauf \U0001f512"
		    owner: payments
		    ticket: 010
	END
}
write_policy
cat >"$DIR/policy/eu/more.yaml" <<-END
	trust_domain: acme.example
	networks: [{name: world, cidrs: ["0.0.0.0/0"]}]
	rules:
	  - {name: out, from: [settlement], to: [world], services: [tcp/443], purpose: test, owner: me}
END

# signed WORDS...: the last line of a signing is kept, warnings are not of interest here.
sign() {
	bailiwick sign "$@" -o json 2>"$WORK/sign.err"
}

# pae FILE: what was signed, by shell alone.
pae() {
	local type body=$WORK/body
	type=$(jq -r .payloadType "$1")
	jq -r .payload "$1" | base64 -d >"$body"
	printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$(stat -c %s "$body")"
	cat "$body"
}

# openssl_verifies FILE KEY.pub INDEX
openssl_verifies() {
	pae "$1" >"$WORK/pae"
	jq -r ".signatures[$3].sig" "$1" | base64 -d >"$WORK/sig"
	if openssl pkey -pubin -in "$2" -noout -text | grep -q ED25519; then
		openssl pkeyutl -verify -pubin -inkey "$2" -rawin -in "$WORK/pae" -sigfile "$WORK/sig"
	else
		openssl dgst -sha256 -verify "$2" -signature "$WORK/sig" "$WORK/pae"
	fi
}

tree() {
	(cd "$1" 2>/dev/null && find . -type f -exec sha256sum {} + | sort -k 2)
}

# ------------------------------------------------------------------------------------- keygen

for type in ed25519 p256; do
	must bailiwick keygen "$type" --type "$type"
	same "$type: the private half is for its owner only" "$(stat -c %a "$type")" 600
	check "$type: openssl reads the private half" openssl pkey -in "$type" -noout
	same "$type: the public half belongs to it" "$(openssl pkey -in "$type" -pubout)" \
		"$(cat "$type.pub")"
done
must bailiwick keygen other
before=$(cat ed25519)
expect "a key is never overwritten" 1 bailiwick keygen ed25519
same "and is as it was" "$(cat ed25519)" "$before"
rm other && expect "nor its public half" 1 bailiwick keygen other
same "and no half pair is left" "$(ls other 2>&1 | grep -c 'No such file')" 1
must rm other.pub
must bailiwick keygen other
same "the keyid is the digest of the DER public key" \
	"$(bailiwick keygen third -o json | jq -r .keyid)" \
	"$(openssl pkey -pubin -in third.pub -outform DER | sha256sum | cut -d ' ' -f 1)"

# --------------------------------------------------------------------------------------- sign

result=$(sign "$DIR" --key ed25519)
S=$DIR/signed/v1
same "the first revision is 1" "$(jq -r .revision <<<"$result")" 1
same "the file is where the result says" "$(jq -r .file <<<"$result")" "$S/manifests/1"
same "the digest is that of the envelope" "$(jq -r .digest <<<"$result")" \
	"$(sha256sum "$S/manifests/1" | cut -d ' ' -f 1)"
check "openssl verifies the Ed25519 signature over the PAE" \
	openssl_verifies "$S/manifests/1" ed25519.pub 0
jq -r .payload "$S/manifests/1" | base64 -d >manifest.json
same "each file is a blob" "$(jq -r '.policy[].name' manifest.json | sort | tr '\n' ' ')" \
	"eu.more.json payments.json "
while read -r hex size; do
	same "a blob is named after its digest" "$(sha256sum "$S/blobs/sha256/$hex" | cut -d ' ' -f 1)" \
		"$hex"
	same "and has its size" "$(stat -c %s "$S/blobs/sha256/$hex")" "$size"
	check "and is JSON" jq -e . "$S/blobs/sha256/$hex"
done < <(jq -r '.policy[] | "\(.sha256) \(.size)"' manifest.json)
blob=$S/blobs/sha256/$(jq -r '.policy[] | select(.name == "payments.json").sha256' manifest.json)
same "a text stays the text it was" "$(jq -c '.rules[0].ticket' "$blob")" '"010"'
same "a number is one" "$(jq -c '.identities[0].workload[0].user' "$blob")" 1000
same "in any script" "$(jq -r '.rules[0].purpose' "$blob")" "$(printf 'n\u00e4chtlicher Lauf \U0001f512')"

old=$(tree "$DIR/signed")
for words in "--revision 1" "--floor 3" "--requires telepathy" "--revoke-node a/b" "--expires soon" \
	"--issued yesterday" "--issued 2020-01-01T00:00:00Z --expires 1h" "--revision 0"; do
	# shellcheck disable=SC2086
	expect "refused: $words" 1 bailiwick sign "$DIR" --key ed25519 $words
done
expect "refused: a comment of two lines" 1 bailiwick sign "$DIR" --key ed25519 --comment $'a\nb'
expect "refused: a key that others may read" 1 bailiwick sign "$DIR" --key ed25519.pub
sed -i '/^nodes/d' "$DIR/policy/payments.yaml"
expect "refused: policy without nodes" 3 bailiwick sign "$DIR" --key ed25519
like "and why" "$SAID" "signed policy needs nodes"
write_policy "settlement.service" ", tcp/x"
expect "refused: policy with errors" 3 bailiwick sign "$DIR" --key ed25519
like "with their place" "$SAID" "payments.yaml:18:26: \"tcp/x\" is not a service"
same "nothing of that was written" "$(tree "$DIR/signed")" "$old"

write_policy settle.service ", tcp/9000-9100"
result=$(sign "$DIR" --key ed25519 --floor 1 --revoke-node pay-9 --revoke-node pay-8 --comment two)
same "the next revision is one more" "$(jq -r '"\(.revision) \(.rollback_floor)"' <<<"$result")" "2 1"
result=$(sign "$DIR" --key ed25519 --revision 7 --unrevoke-node pay-8)
expect "nobody is unrevoked who was not revoked" 1 bailiwick sign "$DIR" --key ed25519 --unrevoke-node pay-7
same "the floor stays, and so does a revocation that nobody took back" \
	"$(jq -c '[.revision, .rollback_floor, .revoked_nodes]' <<<"$result")" '[7,1,["pay-9"]]'
cp -r "$DIR/signed" low
expect "a floor may fall" 0 bailiwick sign "$DIR" --key ed25519 --out low --floor 0
like "with a warning" "$SAID" "the floor falls from 1 to 0"
expect "and check sees it" 0 bailiwick check low --trust ed25519.pub
like "as well" "$SAID" "the rollback floor falls from 1 to 0"
one=$(sign "$DIR" --key ed25519 --issued 2026-11-21T18:00:00Z --expires 3000d --out a)
two=$(sign "$DIR" --key ed25519 --issued 2026-11-21T18:00:00Z --expires 3000d --out b)
same "the same policy signed twice is the same bytes" "$(jq -r .digest <<<"$one")" \
	"$(jq -r .digest <<<"$two")"
same "file by file" "$(tree a)" "$(tree b)"

expect "one signing at a time" 1 flock "$DIR/signed" bailiwick sign "$DIR" --key ed25519
like "says who is in the way" "$SAID" "somebody else is signing here"

# -------------------------------------------------------------------------- a second signature

expect "a second signature" 0 bailiwick sign a/v1/manifests/1 --key p256
check "leaves the first one valid" openssl_verifies a/v1/manifests/1 ed25519.pub 0
check "and openssl verifies the P-256 one" openssl_verifies a/v1/manifests/1 p256.pub 1
expect "one second signature at a time" 1 flock a/v1/manifests bailiwick sign a/v1/manifests/1 --key other
cp -r a blind
for blob in blind/v1/blobs/sha256/*; do sed -i 's/443/444/' "$blob"; done
expect "nobody signs a manifest whose policy is another" 3 bailiwick sign blind/v1/manifests/1 --key other
like "it is named" "$SAID" 'is not the .*json that was signed'
cp a/v1/manifests/1 alone
expect "a manifest alone may be signed" 0 bailiwick sign alone --key other
like "but its policy was not looked at" "$SAID" 'lies in no signed tree'
expect "the same key does not count twice" 1 bailiwick sign a/v1/manifests/1 --key p256
expect "a signature changes nothing in a manifest" 2 bailiwick sign a/v1/manifests/1 --key other \
	--floor 1
expect "threshold 2 of 2" 0 bailiwick check a --trust ed25519.pub --trust p256.pub --threshold 2
expect "one signature is too few for threshold 2" 3 \
	bailiwick check b --trust ed25519.pub --trust p256.pub --threshold 2
expect "the same key given twice is refused" 1 bailiwick check b --trust p256.pub --trust p256.pub
expect "a threshold above the keys is refused" 1 bailiwick check b --trust p256.pub --threshold 2

# -------------------------------------------------------------------------------------- tokens

export SOFTHSM2_CONF=$WORK/softhsm2.conf
mkdir "$WORK/tokens"
printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$WORK/tokens" \
	>"$SOFTHSM2_CONF"
token() {
	softhsm2-util --init-token --free --label "$1" --so-pin 5678 --pin 1234
}
if must token policy && must softhsm2-util --import p256 --token policy --label ec --id 01 --pin 1234 &&
	must softhsm2-util --import ed25519 --token policy --label ed --id 02 --pin 1234; then
	export BAILIWICK_PIN=1234
	U='pkcs11:token=policy'
	for pair in "ec p256" "ed ed25519"; do
		read -r object key <<<"$pair"
		expect "token: $key" 0 bailiwick sign "$DIR" --key "$U;object=$object" --out "t-$key"
		check "token: openssl verifies $key" openssl_verifies "t-$key/v1/manifests/1" "$key.pub" 0
	done
	expect "token: the key by its id, PIN in the URI" 0 env -u BAILIWICK_PIN bailiwick sign "$DIR" \
		--key "$U;id=%01?pin-value=1234" --out t-id
	(umask 077 && echo 1234 >pin)
	expect "token: PIN from a file" 0 env -u BAILIWICK_PIN bailiwick sign "$DIR" \
		--key "$U;object=ec?pin-source=file:$WORK/pin" --out t-pin
	chmod 644 pin
	expect "token: a PIN that others may read" 1 env -u BAILIWICK_PIN bailiwick sign "$DIR" \
		--key "$U;object=ec?pin-source=file:$WORK/pin" --out t-none
	expect "token: no PIN and nobody to ask" 1 env -u BAILIWICK_PIN setsid -w bailiwick sign "$DIR" \
		--key "$U;object=ec" --out t-none
	like "token: says where it may come from" "$SAID" 'BAILIWICK_PIN or pin-source'
	expect "token: a wrong PIN" 1 env BAILIWICK_PIN=9999 bailiwick sign "$DIR" \
		--key "$U;object=ec" --out t-none
	expect "token: two keys fit" 1 bailiwick sign "$DIR" --key "$U" --out t-none
	like "token: says how to choose" "$SAID" 'more than one private key fits; object=NAME'
	expect "token: no such token" 1 bailiwick sign "$DIR" --key pkcs11:token=nobody --out t-none
	expect "token: another key's public half" 1 bailiwick sign "$DIR" \
		--key "$U;object=ec?pin-value=1234" --public other.pub --out t-none
	same "token: no PIN in messages" "$(grep -c 1234 <<<"$SAID")" 0
	must token second
	expect "token: two tokens fit" 1 bailiwick sign "$DIR" --key "pkcs11:object=ec" --out t-none
	expect "token: not a URI" 1 bailiwick sign "$DIR" --key "pkcs11:nonsense" --out t-none
	same "token: nothing of that was written" "$(tree t-none)" ""
fi

# ------------------------------------------------------------------------------------ programs

program() {
	printf '#!/bin/sh\n%s\n' "$2" >"$WORK/$1" && chmod 755 "$WORK/$1"
}
program good "exec openssl pkeyutl -sign -inkey '$WORK/ed25519' -rawin -in /dev/stdin"
program good-ec "exec openssl dgst -sha256 -sign '$WORK/p256'"
program garbage 'echo this is no signature'
program long 'head -c 100000 /dev/zero'
program silent 'exit 0'
program failing 'exit 3'
program killed 'kill -9 $$'
expect "program: Ed25519" 0 bailiwick sign "$DIR" --key "exec:$WORK/good" --public ed25519.pub --out e-1
check "program: openssl verifies" openssl_verifies e-1/v1/manifests/1 ed25519.pub 0
expect "program: P-256" 0 bailiwick sign "$DIR" --key "exec:$WORK/good-ec" --public p256.pub --out e-2
for pair in "garbage|is no signature by" "long|more than 128 bytes" "silent|wrote no signature" \
	"failing|ended with status 3" "killed|ended by signal 9" "absent|No such file"; do
	expect "program: ${pair%%|*}" 1 bailiwick sign "$DIR" --key "exec:$WORK/${pair%%|*}" \
		--public p256.pub --out e-none
	like "program: ${pair%%|*}, and says so" "$SAID" "${pair#*|}"
done
expect "program: the other key" 1 bailiwick sign "$DIR" --key "exec:$WORK/good" --public p256.pub \
	--out e-none
expect "program: needs its public key" 1 bailiwick sign "$DIR" --key "exec:$WORK/good" --out e-none
expect "program: by absolute path only" 1 bailiwick sign "$DIR" --key exec:good --public p256.pub \
	--out e-none
same "program: nothing of that was written" "$(tree e-none)" ""

# --------------------------------------------------------------------------------- check, diff

expect "a signed tree" 0 bailiwick check "$DIR/signed" --trust ed25519.pub -o json
same "is verified" "$(jq -c '[.ok, .signed.verified, .signed.revision]' <<<"$SAID")" '[true,true,7]'
expect "a revision of it" 0 bailiwick check "$DIR/signed@1" --trust ed25519.pub --explain
like "with what it opens" "$SAID" 'settlement +api +tcp/8443'
expect "without keys it says that nobody looked" 0 bailiwick check "$DIR/signed"
like "at the signature" "$SAID" "nobody's signature was checked"
expect "nested directories of policy" 0 bailiwick check "$DIR" --explain
like "are read" "$SAID" 'settlement +world \(network\) +tcp/443'
expect "apply does not read them" 1 bailiwick plan "$DIR"
expect "another key" 3 bailiwick check "$DIR/signed" --trust other.pub
cp -r "$DIR/signed" bad
sed -i 's/"sig":"..../"sig":"AAAA/' bad/v1/manifests/7
expect "a forged signature" 3 bailiwick check bad --trust ed25519.pub
cp -r b bad-blob
for blob in bad-blob/v1/blobs/sha256/*; do sed -i 's/443/444/' "$blob"; done
expect "a changed blob" 3 bailiwick check bad-blob --trust ed25519.pub
like "is named" "$SAID" 'is not the .*json that was signed'
cp b/v1/manifests/1 b/v1/manifests/5
expect "a manifest under another's name" 3 bailiwick check b@5 --trust ed25519.pub

expect "two revisions compared" 0 bailiwick diff "$DIR/signed@1" "$DIR/signed@2" -o json
same "by conversation" "$(jq -c '.changes[] | [.identity, .peer, .service, .effect]' <<<"$SAID")" \
	'["prod/payments/settlement","prod/payments/api","tcp/9000-9100","gained"]'
same "and by what names stand for" \
	"$(jq -c '.definitions[] | [.kind, .name, .what[0].field, .what[0].after]' <<<"$SAID")" \
	'["identity","prod/payments/settlement","workload","{unit: settle.service, user: 1000}"]'
expect "a tree against the files it came from" 0 bailiwick diff "$DIR/signed" "$DIR"
same "is the same" "$SAID" "no conversation changes."
expect "a revision that is not there" 1 bailiwick diff "$DIR/signed@3" "$DIR"
like "names the newest" "$SAID" "no revision 3 here; the newest is 7"
expect "plan of signed documents" 1 bailiwick plan "$DIR/signed"
like "says how they are applied" "$SAID" "bailiwick apply --offline"
expect "a difference with a forged tree" 3 bailiwick diff "$DIR" bad --trust ed25519.pub

finish_tests
