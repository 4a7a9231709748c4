# SPDX-License-Identifier: GPL-3.0-or-later
# UC-86 without persistent owners: somebody empties or deletes the table while a large policy is
# being loaded; in the end the kernel holds all of it.
. "$(dirname "$0")/lib.sh"

unowned_tables

NODES=${NODES:-100}
usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
serve api api-1 api.service 8443
people() { # SERVICES
	policy_head | sed '$d'
	identity stores prod/stores stores.service
	printf 'rules:\n'
	rule settlement-calls-api settlement api tcp/8443
	rule stores 'settlement, backup, cache' stores "$1"
}
SEQUENCE=$((SEQUENCE + 1))
many='[range($n) | {node: "s-\(.)", addresses: ["10.78.\(. / 250 | floor).\(. % 250 + 1)"]}]'
view_json pay-1 | jq -c --argjson n "$NODES" "$many as \$more | .nodes += \$more |
	.peers += [\$more[] | . + {identity: \"prod/stores\"}]" | view_put pay-1
views_live pay-1

elements() {
	host_nft pay-1 -j list map inet bailiwick live |
		jq '[.nftables[].map? // empty | .elem[]] | length'
}
repairs() { bw_json pay-1 .repairs status; }
more_repairs() { [ "$(repairs)" -gt "$before" ]; }
revision=1
# Between two transactions of the load the agent answers, and says what it is loading.
loading() { [ "$(bw_json pay-1 .policy_revision status)" = "$revision" ]; }
# Its number is used up.
again() {
	must apply pay-1
	revision=$(bw_json pay-1 .policy_revision status)
}
# during NAME NFT-COMMAND...: of a load that is under way
during() {
	local name=$1 first=$((2000 + revision * 100)) ports
	shift
	ports=$(seq -s, -f 'tcp/%.0f' $first $((first + 99)))
	people "${ports//,/, }" | policy
	revision=$((revision + 1)) before=$(repairs)
	start load pay-1 admin.service \
		bailiwick -C "$WORK/pay-1/run" apply "$WORK/policy" --reason test
	wait_for 20 loading || fail "set-up" "no load was seen"
	must host_nft pay-1 "$@"
	# A load whose table went is told as failed, and can be repeated.
	finish load 60 || again
	check "$name: repaired" wait_for 10 more_repairs
	like "$name: the policy is in force" "$(bw_json pay-1 .conduits status)" \
		"^$((NODES * 300 + 1))$"
	# Every conduit, and the reserved ones for unclaimed processes and for refusals.
	same "$name: the kernel holds all of it" "$(elements)" \
		"$(($(bw_json pay-1 .conduits status) + 2))"
	same "$name: no drift" "$(bw_json pay-1 .drift status)" null
	connects "$name: permits" pay-1 settlement.service "$API" 8443
	# The first packet of its cgroup may be a question that a busy agent answers late: SYN again.
	expect "$name: denies" $REFUSED run pay-1 backup.service \
		traffic tcp-client "$API" 8443 --timeout 6000
}
during "verdicts flushed" flush map inet bailiwick live
during "table deleted" delete table inet bailiwick
finish_tests
