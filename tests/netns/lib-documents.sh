# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# Signed documents without a controller: for tests of the agent's side. Source lib.sh first.
#
#   keys_make                              policy.key, policy.pub, controller.key, ... in $WORK/keys
#   signed_config pay-1 [MODE [LINE...]]   as agent_config, with trust; the directory is $WORK/pay-1/site
#   { policy_head; ...; policy_nodes; } | policy
#   manifest 3 [MEMBER...]                 signs $WORK/policy as revision 3, into $WORK/tree
#   head pay-1 [MEMBER...]                 signs a head: newest manifest, newest view of that host
#   deliver pay-1                          what pay-1 may need, into its directory, head last
#
# A MEMBER is text of JSON, such as '"urgent": true', that is added or takes the place of the usual.

KEYS=$WORK/keys
TREE=$WORK/tree
HEAD_SEQUENCE=0
MANIFEST= MANIFEST_REVISION=0
mkdir -p "$KEYS" "$TREE/heads" "$TREE/manifests" "$TREE/blobs/sha256"

# key_make NAME
key_make() {
	(umask 077 && openssl genpkey -algorithm ed25519 -out "$KEYS/$1.key")
	openssl pkey -in "$KEYS/$1.key" -pubout -out "$KEYS/$1.pub"
}

keys_make() {
	local name
	for name in policy controller thief; do
		key_make "$name"
	done
	chmod 755 "$KEYS"
	# Below /tmp, which is sticky: what the agent trusts belongs to root all the way up.
}

trust_lines() {
	cat <<-END
		trust:
		  policy: {keys: [$KEYS/policy.pub], threshold: 1}
		  controller: {keys: [$KEYS/controller.pub], threshold: 1}
	END
}

signed_config() {
	local host=$1
	agent_config "$@"
	trust_lines >>"$WORK/$host/agent.yaml"
}

# policy_nodes [HOST...]: the bounds that signed policy must have
policy_nodes() {
	local host
	[ $# -gt 0 ] || set -- "${HOSTS[@]}"
	printf 'nodes:\n'
	for host in "$@"; do
		printf '  - {pattern: "%s", addresses: ["%s", "%s"]}\n' \
			"$host" "${ADDR4[$host]}" "${ADDR6[$host]}"
	done
}

digest() {
	sha256sum "$1" | cut -d' ' -f1
}

# blob_add FILE: its digest
blob_add() {
	local sha
	sha=$(digest "$1")
	cp "$1" "$TREE/blobs/sha256/$sha"
	echo "$sha"
}

later() {
	date -u -d "@$(($(date +%s) + $1))" +%Y-%m-%dT%H:%M:%SZ
}

# merge BASE MEMBER...: JSON objects, later ones win
merge() {
	local base=$1 member
	shift
	for member in "$@"; do
		base=$(jq -c ". + {$member}" <<<"$base") || return
	done
	echo "$base"
}

# manifest REVISION [MEMBER...]; MANIFEST_KEYS: names of keys that sign
manifest() {
	local revision=$1 sha json keys=() name
	shift
	sha=$(blob_add "$WORK/policy/policy.yaml")
	json=$(merge "$(cat <<-END
		{"version": 1, "trust_domain": "acme.example", "revision": $revision,
		 "rollback_floor": 0, "issued": "$(later 0)", "expires": "$(later 86400)",
		 "requires": [], "revoked_nodes": [], "comment": "revision $revision",
		 "policy": [{"name": "policy.yaml", "sha256": "$sha",
		             "size": $(stat -c %s "$TREE/blobs/sha256/$sha")}]}
	END
	)" "$@") || return
	for name in ${MANIFEST_KEYS:-policy}; do keys+=("$KEYS/$name.key"); done
	make_document manifest "${keys[@]}" <<<"$json" >"$TREE/manifests/$revision" || return
	MANIFEST=$(digest "$TREE/manifests/$revision")
	MANIFEST_REVISION=$revision
}

# head HOST [MEMBER...]; HEAD_KEYS
head() {
	local host=$1 json keys=() name sha
	shift
	HEAD_SEQUENCE=$((HEAD_SEQUENCE + 1))
	mkdir -p "$WORK/$host"
	[ -s "$WORK/$host/view.json" ] || view_json "$host" >"$WORK/$host/view.json"
	sha=$(blob_add "$WORK/$host/view.json")
	json=$(merge "$(cat <<-END
		{"version": 1, "trust_domain": "acme.example", "node": "$host",
		 "sequence": $HEAD_SEQUENCE, "issued": "$(later 0)", "expires": "$(later 86400)",
		 "urgent": false, "stable": {"revision": $MANIFEST_REVISION, "sha256": "$MANIFEST"},
		 "candidate": null,
		 "view": {"sha256": "$sha", "size": $(stat -c %s "$TREE/blobs/sha256/$sha"),
		          "sequence": $(jq .sequence "$WORK/$host/view.json")},
		 "quarantine": [], "revoked": [], "grants": []}
	END
	)" "$@") || return
	for name in ${HEAD_KEYS:-controller}; do keys+=("$KEYS/$name.key"); done
	make_document head "${keys[@]}" <<<"$json" >"$TREE/heads/$host.dsse.json"
}

# signed_view HOST: a newer view, as placed now
signed_view() {
	view_json "$1" >"$WORK/$1/view.json"
}

# deliver HOST: the head last, as anybody should who fills a directory
deliver() {
	local site=$WORK/$1/site
	mkdir -p "$site/heads" "$site/manifests" "$site/blobs/sha256"
	cp "$TREE"/blobs/sha256/* "$site/blobs/sha256/"
	cp "$TREE"/manifests/* "$site/manifests/"
	cp "$TREE/heads/$1.dsse.json" "$site/heads/.new" &&
		mv "$site/heads/.new" "$site/heads/$1.dsse.json"
}

# in_force HOST REVISION: confirmed, nothing on probation
in_force() {
	[ "$(bw_json "$1" '"\(.policy_revision) \(.generation.candidate)"' status)" = "$2 null" ]
}

head_in_force() {
	[ "$(bw_json "$1" .documents.head_sequence status)" = "${2:-$HEAD_SEQUENCE}" ]
}

# refused_as HOST CODE: status says that a document was refused so
refused_as() {
	bw_json "$1" '.documents.errors[].code' status | grep -qx "$2"
}
