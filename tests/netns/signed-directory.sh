# SPDX-License-Identifier: GPL-3.0-or-later
# Documents from a directory, signed: good ones are enforced, a newer policy after commit-confirm;
# each attack is refused with its name, and what is in force stays. Quarantine of a head acts at
# once and waits for no download.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-documents.sh"

host_add pay-1 11
host_add api-1 21
place_usual
SEQUENCE=1
keys_make
for host in pay-1 api-1; do signed_config "$host" selective; done
rules_one() {
	policy_head
	rule calls settlement api tcp/8443
	policy_nodes
}
rules_one | policy
manifest 1
for host in pay-1 api-1; do head "$host"; must deliver "$host"; done
agents_start pay-1 api-1
API=${ADDR4[api-1]}
serve api api-1 api.service 8443
serve other api-1 api.service 9000

check "the first policy is in force" wait_for 15 in_force pay-1 1
check "at the other host, too" wait_for 15 in_force api-1 1
connects "what it permits goes" pay-1 settlement.service "$API" 8443
refused "what it does not is refused" pay-1 backup.service "$API" 8443
refused "and other ports are" pay-1 settlement.service "$API" 9000
same "digest of policy is the manifest's" "$(bw_json pay-1 .policy_digest status)" "$MANIFEST"
like "history says by whom and why" "$(bw_json pay-1 '.changes[] | "\(.who) \(.reason) \(.outcome)"' history)" \
	'directory revision 1 (probation|applied)'
same "no trouble" "$(bw_json pay-1 '.documents.errors | length' status)" 0
expect "unsigned policy is refused, whoever asks" 3 apply pay-1
like "and how it can come is said" "$SAID" 'signed'

# ------------------------------------------------------------------------------- a newer policy
talk transfer pay-1 settlement.service "$API" 8443
{ policy_head; rule calls settlement api 'tcp/8443, tcp/9000'; policy_nodes; } | policy
manifest 2
for host in pay-1 api-1; do head "$host"; must deliver "$host"; done
check "revision 2 is confirmed by itself" wait_for 20 in_force pay-1 2
check "at the other host, too" wait_for 20 in_force api-1 2
connects "what it adds goes" pay-1 settlement.service "$API" 9000
runs_on "a conversation that both permit went on" transfer
check "the head is in force" wait_for 15 head_in_force api-1

# ------------------------------------------------------------------------------------- attacks
IN_FORCE=2
more_refused() {
	[ "$(bw_json pay-1 .documents.refused status)" -gt "$1" ]
}
attack() { # NAME CODE, after a bad document was made with HEAD_SEQUENCE for pay-1
	local before
	before=$(bw_json pay-1 .documents.refused status)
	must deliver pay-1
	check "$1 is refused" wait_for 8 more_refused "$before"
	check "$1 is refused as $2" wait_for 15 refused_as pay-1 "$2"
	same "$1: policy stays" "$(bw_json pay-1 .policy_revision status)" "$IN_FORCE"
	same "$1: view stays" "$(bw_json pay-1 .view_sequence status)" "$SEQUENCE"
}
good_again() {
	head pay-1
	must deliver pay-1
	check "a good head ends the trouble" wait_for 8 head_in_force pay-1
}
HEAD_KEYS=thief head pay-1
attack "a head by another key" signature
HEAD_KEYS=policy head pay-1
attack "a head by the policy key" signature
good_again
HEAD_SEQUENCE=$((HEAD_SEQUENCE - 3))
head pay-1
attack "an older head" rollback
HEAD_SEQUENCE=$((HEAD_SEQUENCE + 3))
head pay-1 "\"issued\": \"$(later -120)\", \"expires\": \"$(later -60)\""
attack "an expired head" freeze
head pay-1 '"node": "api-1"'
attack "another node's head" wrong_node
head pay-1 '"trust_domain": "evil.example"'
attack "another trust domain's head" wrong_trust_domain
head pay-1 '"surprise": 1'
attack "a head with an unknown member" malformed
make_document manifest "$KEYS/controller.key" <<<'{}' >"$TREE/heads/pay-1.dsse.json"
attack "another payload type" wrong_type
head pay-1 && command head -c 100 "$TREE/heads/pay-1.dsse.json" >"$TREE/cut" &&
	mv "$TREE/cut" "$TREE/heads/pay-1.dsse.json"
attack "half a head" malformed
good_again

MANIFEST_KEYS=controller manifest 3
head pay-1
attack "a manifest by the controller's key" signature
manifest 3 && head pay-1 "\"stable\": {\"revision\": 3, \"sha256\": \"$(printf a | sha256sum | cut -d' ' -f1)\"}"
attack "a manifest that the head does not name" mix_and_match
manifest 3 '"requires": ["time-travel"]' && head pay-1
attack "a manifest that needs what we have not" requires
manifest 3 '"revoked_nodes": ["pay-1"]' && head pay-1
attack "a manifest that revokes this node" revoked_node
{ policy_head; rule calls settlement api tcp/8443; } | policy
manifest 3 && head pay-1
attack "a policy without bounds" invalid_policy
{ policy_head; rule calls nobody api tcp/8443; policy_nodes; } | policy
manifest 3 && head pay-1
attack "a policy with a mistake" invalid_policy
like "and the mistake is named" "$(bw_json pay-1 '.documents.errors[].text' status)" 'nobody'
rules_one | policy
manifest 2
good_again
check "the same revision, signed again, is taken" wait_for 15 in_force pay-1 2
manifest 4 '"rollback_floor": 4'
good_again
check "a manifest with a floor is taken" wait_for 15 in_force pay-1 4
IN_FORCE=4
manifest 1 && head pay-1
attack "a manifest below the floor" rollback
like "metrics count refusals" "$(at pay-1 curl -s --unix-socket "$WORK/pay-1/run/metrics.sock" http://x/metrics)" \
	'bailiwick_documents_refused_total\{code="signature"\} [1-9]'

# ------------------------------------------------------------------------- what acts at once
manifest 9
head pay-1 '"quarantine": [{"identity": "prod/payments/settlement", "reason": "test"}]'
rm -f "$WORK/pay-1/site/manifests/9"
mkdir -p "$WORK/keep" && mv "$TREE/manifests/9" "$WORK/keep/9"
must deliver pay-1
is_cut "quarantine cuts although the manifest is missing" transfer
check "which is said" wait_for 15 refused_as pay-1 unavailable
mv "$WORK/keep/9" "$TREE/manifests/9"
head pay-1
must deliver pay-1
check "the policy follows when it is there" wait_for 20 in_force pay-1 9
connects "and a head without it ends the quarantine" pay-1 settlement.service "$API" 8443

# ----------------------------------------------------------------------------------- restarts
before=$(bw_json pay-1 '"\(.policy_revision) \(.policy_digest) \(.view_sequence)"' status)
agent_stop pay-1 KILL
mv "$WORK/pay-1/site" "$WORK/pay-1/gone"
agent_start pay-1
same "a restart without the directory has the same" \
	"$(bw_json pay-1 '"\(.policy_revision) \(.policy_digest) \(.view_sequence)"' status)" "$before"
refused "and enforces it" pay-1 backup.service "$API" 8443
mv "$WORK/pay-1/gone" "$WORK/pay-1/site"
HEAD_SEQUENCE=$((HEAD_SEQUENCE - 2))
head pay-1
must deliver pay-1
check "an old head is still refused after it" wait_for 15 refused_as pay-1 rollback
finish_tests
