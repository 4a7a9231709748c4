# SPDX-License-Identifier: GPL-3.0-or-later
# UC-83: what must not be published is refused with its reason, and nothing changes anywhere.
. "$(dirname "$0")/lib-fleet.sh"

fleet_usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
talk live pay-1 settlement.service "$API" 8443
good=$WORK/good
cp -r "$WORK/signed" "$good"
in_force() { bw_json pay-1 '[.policy_revision, .policy_digest, .view_sequence] | tostring' status; }
before=$(in_force)

manifest_of() {
	find "$1" -path '*manifests/*' -type f | head -n 1
}
# resigned KEY JQ-FILTER [TYPE]: a tree whose manifest was changed and signed by hand
resigned() {
	local file to
	rm -rf "$WORK/bad"
	cp -r "$good" "$WORK/bad"
	file=$(manifest_of "$WORK/bad")
	payload <"$file" | jq -c "$2" >"$WORK/payload"
	rm "$file"
	to=$(jq -r .revision "$WORK/payload")
	[[ $file != *.json ]] || to+=.dsse.json
	envelope "${3:-$TYPE_MANIFEST}" "$1" <"$WORK/payload" >"$(dirname "$file")/$to"
}
# not_published NAME PATTERN: $WORK/bad is refused, saying so
not_published() {
	status_of ctl publish "$WORK/bad"
	same "$1: refused" $(($? != 0)) 1
	like "$1: says why" "$SAID" "$2"
}
next='.revision += 1'
resigned "$DATA/controller.key" "$next"
not_published "signed by the controller's key" '[Ss]ign|key'
openssl genpkey -algorithm ed25519 -out "$WORK/stranger.key" 2>/dev/null
resigned "$WORK/stranger.key" "$next"
not_published "signed by a stranger" '[Ss]ign|key'
resigned "$DATA/policy.key" "$next" "$TYPE_HEAD"
not_published "a head for a manifest" 'type'
resigned "$DATA/policy.key" '.comment = "once more"'
not_published "another text for the same revision" 'revision'
resigned "$DATA/policy.key" "$next | .trust_domain = \"evil.example\""
not_published "another trust domain" 'trust.domain'
resigned "$DATA/policy.key" "$next | .policy[0].size += 1"
not_published "a wrong size" 'size|bytes'
resigned "$DATA/policy.key" "$next | .surprise = 1"
not_published "an unknown member" 'surprise'
resigned "$DATA/policy.key" "$next | .policy[0].name = \"../../etc/passwd\""
not_published "a path for a name" 'name'
resigned "$DATA/policy.key" "$next | .rollback_floor = 1000"
not_published "a floor above the revision" 'floor'

resigned "$DATA/policy.key" "$next"
blob=$(find "$WORK/bad" -path '*blobs/sha256/*' -type f | head -n 1)
printf ' ' >>"$blob"
not_published "a blob that was changed" 'digest|sha256|size|bytes'
rm "$blob"
not_published "a blob that is missing" "blob|$(basename "$blob" | cut -c1-8)"
resigned "$DATA/policy.key" "$next"
head -c 200 "$(manifest_of "$WORK/bad")" >"$WORK/half"
cp "$WORK/half" "$(manifest_of "$WORK/bad")"
not_published "half a manifest" .

# A policy that is wrong in itself is not even signed.
published=$REVISION
fleet_policy <<END
$(rule settlement-calls-api settlment api tcp/8443)
END
REVISION=$((published + 1))
status_of sign_policy
same "a policy with a mistake is not signed" $(($? != 0)) 1
like "with line, column and advice" "$SAID" 'policy[.]yaml:[0-9]+:[0-9]+: .*settlment.*settlement'

resigned "$DATA/policy.key" "$next | .requires = [\"teleport\"]"
not_published "what needs a feature that nobody has" 'teleport'
same "pay-1 has what it had" "$(in_force)" "$before"
runs_on "and its flows run on" live
denied "and denials stay" pay-1 backup.service "$API" 8443
REVISION=$published
fleet_policy <<END
$(rule settlement-calls-api settlement api tcp/8443)
$(rule backup-calls-api backup api tcp/8443)
END
publish
fleet_live pay-1 api-1
connects "after all that a good one is taken" pay-1 backup.service "$API" 8443
finish_tests
