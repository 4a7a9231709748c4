# SPDX-License-Identifier: GPL-3.0-or-later
# bailiwick apply --offline ARCHIVE: the documents of a tar, verified as any others; nothing of a
# bad archive is taken, an incomplete one neither; a revision that fell back may be tried again.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-documents.sh"

host_add pay-1 11
host_add api-1 21
place_usual
SEQUENCE=1
keys_make
# The directory is empty: nothing comes but by hand.
signed_config pay-1 selective
agent_start pay-1
API=${ADDR4[api-1]}
serve api api-1 api.service 8443
serve other api-1 api.service 9000

# archive NAME [DIR]: a tar as `bailiwick-controller publish --to` has it
archive() {
	local dir=${2:-$TREE}
	tar -C "$dir" -cf "$WORK/$1.tar" .
}
offline() {
	bw pay-1 apply --offline "$WORK/$1.tar" --reason "${2:-test}" -o json
}

{ policy_head; rule calls settlement api tcp/8443; policy_nodes; } | policy
manifest 1
head pay-1
archive one
status_of offline one "carried by hand"
same "an archive is taken" $? 0
same "revision, digest, head and view are said" \
	"$(jq -c '[.revision, .digest, .head_sequence, .view_sequence]' <<<"$SAID")" \
	"[1,\"$MANIFEST\",1,1]"
same "and what it adds" "$(jq -r '.adds[] | "\(.from) \(.to) \(.service) \(.rule)"' <<<"$SAID")" \
	"settlement@pay-1 api@api-1 tcp/8443 calls"
same "whom each may reach, too" "$(jq -c '.reach[] | select(.after > 0)' <<<"$SAID")" \
	'{"identity":"prod/payments/settlement","before":0,"after":1}'
check "and confirmed by itself" wait_for 15 in_force pay-1 1
connects "what it permits goes" pay-1 settlement.service "$API" 8443
refused "the rest is refused" pay-1 backup.service "$API" 8443
like "history says who brought it and why" \
	"$(bw_json pay-1 '.changes[] | "\(.who): \(.reason)"' history)" 'root \(archive\): carried by hand'
expect "the same archive again changes nothing" 0 offline one
same "and says so" "$(jq -c '[.adds, .removes, .changes, .reach]' <<<"$SAID")" "[[],[],[],[]]"

# -------------------------------------------------------------------------------- bad archives
before=$(bw_json pay-1 '"\(.policy_digest) \(.view_sequence) \(.documents.head_newest)"' status)
bad() { # NAME PATTERN ARCHIVE
	expect "refused: $1" 3 offline "$3"
	like "and why: $1" "$SAID" "$2"
	same "nothing changed: $1" "$before" \
		"$(bw_json pay-1 '"\(.policy_digest) \(.view_sequence) \(.documents.head_newest)"' status)"
}
HEAD_KEYS=thief head pay-1
archive thief
bad "another key's head" 'signature' thief
head pay-1 '"node": "api-1"'
archive wrong
bad "another node's head" 'wrong_node' wrong
head pay-1 "\"issued\": \"$(later -200)\", \"expires\": \"$(later -100)\""
archive expired
bad "an expired head" 'freeze' expired
{ policy_head; rule calls settlement api 'tcp/8443, tcp/9000'; policy_nodes; } | policy
MANIFEST_KEYS=thief manifest 2
head pay-1
archive manifest
bad "another key's manifest" 'signature' manifest
manifest 2
head pay-1
cp -r "$TREE" "$WORK/partial"
rm "$WORK/partial/blobs/sha256/$(digest "$WORK/policy/policy.yaml")"
archive partial "$WORK/partial"
bad "a blob is missing" 'lacks policy blob' partial
cp -r "$TREE" "$WORK/swapped"
echo "{}" >"$WORK/swapped/blobs/sha256/$(digest "$WORK/policy/policy.yaml")"
archive swapped "$WORK/swapped"
bad "a blob is another" 'digest|oversize' swapped
cp -r "$TREE" "$WORK/headless"
rm "$WORK/headless/heads/pay-1.dsse.json"
archive headless "$WORK/headless"
bad "no head of this node" 'head' headless

# ------------------------------------------------------------------------- a good one, a view
archive two
expect "the whole of it is taken" 0 offline two
check "and confirmed" wait_for 15 in_force pay-1 2
connects "what it adds goes" pay-1 settlement.service "$API" 9000
bad_before=$before
talk transfer pay-1 settlement.service "$API" 8443
unplace prod/payments/settlement pay-1
SEQUENCE=2
signed_view pay-1
head pay-1
archive moved
status_of offline moved
same "a view that takes an identity away" $? 0
same "and the flows it cut are said" "$(jq '.cut | length > 0' <<<"$SAID")" true
is_cut "they are cut" transfer
before=$(bw_json pay-1 '"\(.policy_digest) \(.view_sequence) \(.documents.head_newest)"' status)
[ "$before" != "$bad_before" ]
same "state moved on" $? 0
bad "an archive of last week" 'rollback' two

# ------------------------------------------------------------- fallen back, and tried once more
place prod/payments/settlement pay-1
SEQUENCE=3
signed_view pay-1
{ policy_head; rule calls settlement api tcp/9000; policy_nodes; } | policy
manifest 3
head pay-1
archive three
expect "revision 3 is taken on probation" 0 offline three
same "what it removes is said" "$(jq -r '.removes[] | "\(.from) \(.service)"' <<<"$SAID")" \
	"settlement@pay-1 tcp/8443"
expect "an operator takes it back" 0 bw pay-1 rollback
check "which is reported" wait_for 15 refused_as pay-1 rolled_back
same "revision 2 is in force" "$(bw_json pay-1 .policy_revision status)" 2
like "by whom and why is said" "$(bw_json pay-1 '.documents.errors[].text' status)" 'operator'
expect "an operator may bring it again at once" 0 offline three
expect "and take it back" 0 bw pay-1 rollback
check "which is reported again" wait_for 15 refused_as pay-1 rolled_back
agent_stop pay-1
agent_start pay-1
check "it is not tried again by itself, a restart included" wait_for 15 refused_as pay-1 rolled_back
expect "an operator may bring it again" 0 offline three
check "and then it is confirmed" wait_for 15 in_force pay-1 3
finish_tests
