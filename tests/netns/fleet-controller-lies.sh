# SPDX-License-Identifier: GPL-3.0-or-later
# UC-83: the controller is replaced, or its key is stolen. Each lie is refused by its name and told
# upward; what is in force stays. The best that a thief can do is to place identities within the
# bounds that policy signed.
. "$(dirname "$0")/lib-fleet.sh"

command -v nginx >/dev/null || skip_all "nginx is not installed"
{
	printf 'trust_domain: acme.example\nidentities:\n'
	identity settlement prod/payments/settlement settlement.service ''
	identity backup prod/payments/backup backup.service ''
	identity cache prod/payments/cache cache.service 'tcp/6379'
	identity api prod/payments/api api.service 'tcp/8443' 'placement: {nodes: ["api-*"]}'
	printf 'rules:\n'
	rule settlement-calls-api settlement api tcp/8443
	fleet_nodes
} | policy
fleet_up pay-1 pay-2 api-1
fleet_place
mapped pay-1 pay-2 api-1
must ctl publish --to "$WORK/first"
publish --floor 2
fleet_live pay-1 pay-2 api-1
must ctl place prod/payments/settlement --node pay-2
check "pay-1 is up to date" wait_for 10 up_to_date pay-1
check "pay-2 is up to date" wait_for 10 up_to_date pay-2
check "api-1 is up to date" wait_for 10 up_to_date api-1
must ctl publish --to "$WORK/true"
serve api api-1 api.service 8443
serve evil pay-2 api.service 8443
talk live pay-1 settlement.service "$API" 8443
controller_stop KILL
cp -r "$WORK/true" "$WORK/lies"
nginx_start liar ctl "$WORK/lies"

HEAD=$WORK/lies/v1/heads/pay-1.dsse.json
truth() { payload <"$WORK/true/v1/heads/pay-1.dsse.json"; }
in_force() { bw_json pay-1 '[.policy_revision, .policy_digest, .view_sequence] | tostring' status; }
errors_of() { bw_json "$1" '.documents.errors | tostring' status; }
says() { errors_of pay-1 | grep -qE "$1"; }
before=$(in_force)
# blob <bytes: into the tree, by its digest, which is printed with the size
blob() {
	local sum
	cat >"$WORK/blob"
	sum=$(sha256sum <"$WORK/blob" | cut -d' ' -f1)
	cp "$WORK/blob" "$WORK/lies/v1/blobs/sha256/$sum"
	echo "$sum $(stat -c %s "$WORK/blob")"
}
# Each lie has a sequence of its own, so that each is looked at.
sequence=$(truth | jq .sequence)
# lie KEY JQ-FILTER [TYPE]: what nginx says to pay-1 from now on
lie() {
	sequence=$((sequence + 1))
	truth | jq -c ".sequence = $sequence | .urgent = true | $2" | envelope "${3:-$TYPE_HEAD}" "$1" >"$WORK/head"
	mv "$WORK/head" "$HEAD"
}
# refused_as NAME PATTERN: pay-1 has seen it, says so, and has what it had
refused_as() {
	courier_stop pay-1 KILL
	courier_start pay-1
	wait_for 15 says "$2"
	like "$1: refused by name" "$(errors_of pay-1)" "$2"
	same "$1: what is in force stays" "$(in_force)" "$before"
}
stolen=$DATA/controller.key
openssl genpkey -algorithm ed25519 -out "$WORK/stranger.key" 2>/dev/null

lie "$WORK/stranger.key" .
refused_as "a controller with another key" signature
lie "$DATA/policy.key" .
refused_as "a head signed by the policy key" signature
cp "$WORK/first/v1/heads/pay-1.dsse.json" "$HEAD"
refused_as "an old head" rollback
cp "$WORK/true/v1/heads/pay-2.dsse.json" "$HEAD"
refused_as "another node's head" wrong_node
lie "$stolen" '.trust_domain = "evil.example"'
refused_as "a head of another trust domain" wrong_trust_domain
lie "$stolen" '.issued = "2026-01-01T00:00:00Z" | .expires = "2026-01-02T00:00:00Z"'
refused_as "an expired head" freeze
lie "$stolen" . "$TYPE_MANIFEST"
refused_as "a head under another type" wrong_type
lie "$stolen" '.surprise = true'
refused_as "a head with a member that nobody knows" malformed
truth | envelope "$TYPE_HEAD" "$stolen" | cut -c1-300 >"$HEAD"
refused_as "half a head" malformed
{ cat "$WORK/true/v1/heads/pay-1.dsse.json"; head -c 3000000 /dev/zero; } >"$HEAD"
refused_as "a head without end" 'oversize|malformed|too large'

# Policy by a thief of the controller's key: the manifest, with a rule of his own.
manifest=$WORK/lies/v1/manifests
payload <"$manifest/2" | jq -c '.revision = 3' | envelope "$TYPE_MANIFEST" "$stolen" >"$manifest/3"
lie "$stolen" ".stable = {revision: 3, sha256: \"$(sha256sum <"$manifest/3" | cut -d' ' -f1)\"}"
refused_as "a policy signed by the controller's key" signature
lie "$stolen" '.stable.revision = 3'
refused_as "one revision's number with another's digest" mix_and_match
lie "$stolen" ".stable = {revision: 1, sha256: \"$(sha256sum <"$manifest/1" | cut -d' ' -f1)\"}"
refused_as "a policy below the floor" rollback

# The mapping by a thief: a blob that is not what was signed, then one beyond the bounds.
view=$(truth | jq -r .view.sha256)
wider='.sequence += 1 | .placed += [{identity: "prod/payments/api"}]
	| .peers += [{identity: "prod/payments/api", node: "pay-2", addresses: ["10.77.0.12"]},
		{identity: "prod/payments/api", node: "evil-1", addresses: ["10.77.0.12"]}]'
read -r sum size <<<"$(jq -c "$wider" "$WORK/lies/v1/blobs/sha256/$view" | blob)"
echo '{"version": 1}' >"$WORK/lies/v1/blobs/sha256/$sum"
lie "$stolen" ".view = {sha256: \"$sum\", size: $size, sequence: (.view.sequence + 1)}"
refused_as "a mapping with other bytes" 'digest|not the bytes'
read -r sum size <<<"$(jq -c "$wider" "$WORK/lies/v1/blobs/sha256/$view" | blob)"
lie "$stolen" ".view = {sha256: \"$sum\", size: $size, sequence: (.view.sequence + 1)}"
courier_stop pay-1 KILL
courier_start pay-1
check "a mapping beyond the signed bounds is reported" wait_for 15 says 'prod/payments/api'
like "with the place it may not be at" "$(errors_of pay-1)" 'pay-2|evil-1'
denied "and opens nothing" pay-1 settlement.service "${ADDR4[pay-2]}" 8443
connects "what lies within is as it was" pay-1 settlement.service "$API" 8443
runs_on "through all of this the flow ran" live
denied "and what is denied is denied" pay-1 backup.service "$API" 8443
same "kernel and policy agree" "$(bw_json pay-1 .drift status)" null

# The real one comes back, and hears what happened.
stop liar
rm -f "$WORK/liar/pid"
controller_start
# A change, so that it need not wait for its regular report.
must bw pay-1 mode enforce --reason 'the controller lied'
told() { ctl_node pay-1 tostring | grep -q 'prod/payments/api'; }
check "told upward" wait_for 90 told
finish_tests
