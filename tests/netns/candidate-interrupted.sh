# SPDX-License-Identifier: GPL-3.0-or-later
# UC-69: a probation that is interrupted - rolled back while it is being loaded, confirmed with a full
# disk, its agent killed in between - never leaves a host without a policy.
. "$(dirname "$0")/lib.sh"

host_add pay-1 11
mkdir -p "$WORK/pay-1/tmpfs"
must mount -t tmpfs -o size=8m,mode=700 bwtest "$WORK/pay-1/tmpfs"
agent_config pay-1 selective
sed -i "s,^state_dir:.*,state_dir: $WORK/pay-1/tmpfs/state," "$WORK/pay-1/agent.yaml"
host_add api-2 22
for i in 1 2 3 4 5 6 7 8; do
	place "prod/wide/$i" api-2
done
usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
serve api api-1 api.service 8443
talk live pay-1 settlement.service "$API" 8443

# Thousands of conduits: a load in many transactions, with time for a request in between.
large() {
	local i
	policy_head | sed '$d'
	for i in 1 2 3 4 5 6 7 8; do
		identity "wide-$i" "prod/wide/$i" "wide-$i.service" "$(ports "$i")"
	done
	echo rules:
	rule settlement-calls-api settlement api tcp/8443
	for i in 1 2 3 4 5 6 7 8; do
		rule "many-$i" settlement "wide-$i" "$(ports "$i")"
	done
}
ports() {
	seq -f 'tcp/%g' -s ', ' $(($1 * 1000)) $(($1 * 1000 + 249))
}
large | policy
# request NAME JSON: as the command sends it, without the time that the command takes
request() {
	at pay-1 socat -t 30 - "UNIX-CONNECT:$WORK/pay-1/run/control.sock" <<<"$2" >"$WORK/$1.json"
}
apply_request=$(jq -cRs '{verb: "apply", args: {files: [{name: "policy.yaml", text: .}],
	confirm_within_s: 60, reason: "test"}}' "$WORK/policy/policy.yaml")
interrupted=0
for wait in 0.02 0.05 0.1 0.15 0.2 0.25; do
	request applied "$apply_request" &
	pause "$wait"
	request rolled '{"verb": "rollback", "args": {}}'
	wait $!
	bw pay-1 rollback >/dev/null 2>&1
	views pay-1
	views_live pay-1
	wait_for 15 reaches pay-1 settlement.service "$API" 8443 || break
	interrupted=$((interrupted + 1))
done
same "rolled back while it is loaded, the flow goes on" "$interrupted" 6
connects "and new ones pass" pay-1 settlement.service "$API" 8443
same "the kernel's switch is off" "$(host_nft pay-1 list set inet bailiwick candidate_on | grep -c elements)" 0

{
	policy_head
	rule settlement-calls-api settlement api tcp/8443
	rule backup-calls-api backup api tcp/8443
} | policy
must apply pay-1 --confirm-within 60s
head -c 16M /dev/zero >"$WORK/pay-1/tmpfs/fill" 2>/dev/null
status_of bw pay-1 confirm
same "with a full disk it is not confirmed" $(($? != 0)) 1
like "with the reason" "$SAID" '([Nn]o space|disk|write)'
views pay-1
views_live pay-1
runs_on "and what ran, runs" live
connects "new ones pass" pay-1 settlement.service "$API" 8443
same "it is still on probation" "$(bw_json pay-1 '.generation.candidate != null' status)" true
rm "$WORK/pay-1/tmpfs/fill"
must bw pay-1 confirm
connects "with space it is confirmed" pay-1 backup.service "$API" 8443
agent_stop pay-1 KILL
agent_start pay-1
connects "and stays so" pay-1 backup.service "$API" 8443
stop live
finish_tests
