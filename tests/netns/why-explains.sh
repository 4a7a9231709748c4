# SPDX-License-Identifier: GPL-3.0-or-later
# UC-84 UC-6 UC-26: why was this denied; who listens here; what did the agent decide.
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
serve api api-1 api.service 8443
refused "a denied flow" pay-1 backup.service "$API" 8443
status_of bw pay-1 why backup api tcp/8443 -o json
same "why: denied is exit 3" $? 3
same "why: decision" "$(jq -r .decision <<<"$SAID")" denied
same "why: reason" "$(jq -r .reason <<<"$SAID")" no_rule
same "why: nearest rule" "$(jq -r .nearest.rule <<<"$SAID")" settlement-calls-api
same "why: advice is given" "$(jq -r '.advice | length > 10' <<<"$SAID")" true
expect "why: allowed is exit 0" 0 bw pay-1 why settlement api tcp/8443
last() { bw pay-1 why --last -o json | jq -e '.from | tostring | test("backup")'; }
check "why --last names the caller" wait_for 15 last
expect "why offline" 3 bailiwick why backup api tcp/8443 --policy "$WORK/policy"
cgroup=$(unit_dir pay-1 backup.service)
status_of bw pay-1 why "cgroup:$cgroup" "$API:8443" tcp/8443 -o json
same "why by cgroup and address" $? 3
listener=$(bw_json api-1 '.listeners[] | select(.port == 8443) | .identity' inventory | head -n 1)
like "inventory names the listener (UC-6)" "$listener" 'prod/payments/api$'
start ssh api-1 ssh.service traffic tcp-server :: 22
wait_line ssh listening
of_ssh='[.listeners[] | select(.port == 22) | .identity] | unique[]'
same "inventory: unclaimed" "$(bw_json api-1 "$of_ssh" inventory)" unclaimed
# Nobody leaves the list by a name that JSON cannot hold.
odd=$WORK/$(printf 'odd\351')
cp "$(command -v traffic)" "$odd"
start odd api-1 odd.service "$odd" tcp-server :: 2323
wait_line odd listening
of_odd='[.listeners[] | select(.port == 2323) | .exe | endswith("odd\\xe9")] | unique[]'
same "inventory: an executable named by any bytes" "$(bw_json api-1 "$of_odd" inventory)" true
check "a decision record leads to the policy (UC-26)" wait_for 15 decided pay-1 \
	'.policy_digest != null and .view_sequence != null and .service == "tcp/8443"'
connects "settlement runs" pay-1 settlement.service "$API" 8443
has_workload='.identities[] | select(.name == "settlement") | .workloads | length > 0'
same "identities lists settlement's cgroup" "$(bw_json pay-1 "$has_workload" identities)" true
to_api='.flows[] | select(.to | tostring | test("api"))'
flow() { bw_json pay-1 "$to_api" flows | grep -q settlement; }
talk live pay-1 settlement.service "$API" 8443
check "flows lists it" wait_for 15 flow
same "history lists the policy" "$(bw_json pay-1 '.changes | length' history)" 1
who='.changes[0] | "\(.who) \(.reason)"'
like "history says who and why" "$(bw_json pay-1 "$who" history)" 'root.* test'
start_fed watch pay-1 operator.service bailiwick -C "$WORK/pay-1/run" watch -o json
# It may be a moment until it looks; each port is a conversation of its own, and told.
port=9000
shows() {
	port=$((port + 1))
	run pay-1 backup.service traffic tcp-client "$API_6" $port
	wait_for 1 grep -q '"denied"' "$WORK/watch.out"
}
check "watch shows a denial as it happens" wait_for 15 shows
for verb in status conduits flows identities history inventory doctor version; do
	status_of bw pay-1 $verb
	wide=$(awk 'length > 100' <<<"$SAID" | head -n 1)
	same "$verb fits 100 columns" "$wide" ""
done
finish_tests
