# SPDX-License-Identifier: GPL-3.0-or-later
# What the agent knows of documents is damaged on disk: it starts all the same, the last policy is in
# force, what was too old before is too old still, and status says what happened.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-documents.sh"

host_add pay-1 11
host_add api-1 21
place_usual
SEQUENCE=1
keys_make
signed_config pay-1 selective
DOCUMENTS=$WORK/pay-1/state/documents
API=${ADDR4[api-1]}
{ policy_head; rule calls settlement api tcp/8443; policy_nodes; } | policy
manifest 2
head pay-1
must deliver pay-1
cp "$TREE/heads/pay-1.dsse.json" "$WORK/old-head"
cp "$TREE/manifests/2" "$WORK/old-manifest"
old=$MANIFEST
{ policy_head; rule calls settlement api 'tcp/8443, tcp/9000'; policy_nodes; } | policy
manifest 4 '"rollback_floor": 3'
head pay-1
must deliver pay-1
agent_start pay-1
serve other api-1 api.service 9000
check "revision 4 is in force" wait_for 20 in_force pay-1 4

known() { jq -Sc . "$DOCUMENTS/known.json"; }
before=$(known)
damaged() { # FILE: status says so
	bw_json pay-1 '.documents.errors[] | "\(.document) \(.code)"' status | grep -qx "$1 damaged"
}
old_head() {
	cp "$WORK/old-head" "$WORK/pay-1/site/heads/.new"
	mv "$WORK/pay-1/site/heads/.new" "$WORK/pay-1/site/heads/pay-1.dsse.json"
}
hit() { # WHAT COMMAND...: damages, starts again, and offers what is too old
	local what=$1
	shift
	agent_stop pay-1
	# What follows from copies is in state-files-damaged.sh; here is what there is without.
	rm -r "$WORK/pay-1/run/spare"
	"$@"
	agent_start pay-1
	check "$what: the last policy is in force" wait_for 20 in_force pay-1 4
	connects "$what: what it permits goes" pay-1 settlement.service "$API" 9000
}
garble() { printf 'x{' >"$DOCUMENTS/$1"; }
halve() { truncate -s 40 "$DOCUMENTS/$1"; }

for way in garble halve 'rm -f'; do
	name=${way%% *}
	if [ "$name" = rm ]; then
		hit "known.json $name" rm -f "$DOCUMENTS/known.json"
	else
		hit "known.json $name" "$name" known.json
	fi
	check "known.json $name: status says so" damaged known.json
	same "known.json $name: it is written anew" "$(known)" "$before"
	old_head
	check "known.json $name: the older head is refused" wait_for 10 refused_as pay-1 rollback
	must deliver pay-1
done

no_rollback() { ! refused_as pay-1 rollback; }
check "the right head is taken again" wait_for 20 no_rollback
MANIFEST=$old MANIFEST_REVISION=2
head pay-1
must deliver pay-1
check "the older manifest is, too" wait_for 20 refused_as pay-1 rollback
check "and revision 4 stays" in_force pay-1 4
for way in garble halve; do
	hit "generations.json $way" "$way" generations.json
	check "generations.json $way: status says so" damaged generations.json
	like "generations.json $way: it is written anew" \
		"$(jq -c '.generations[] | [.revision, .outcome]' "$DOCUMENTS/generations.json")" '\[4,"confirmed"\]'
done
finish_tests
