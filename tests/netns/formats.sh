# SPDX-License-Identifier: GPL-3.0-or-later
# UC-17 UC-26 UC-33 UC-60 UC-87: what programs read. Every field of version 1 of each verb's JSON is
# there with its type, the decision records too, and the exit codes 0 to 5 mean what they say.
. "$(dirname "$0")/lib.sh"

soon=$(date -u -d +1hour +%FT%TZ)
usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
$(rule settlement-reports settlement api tcp/9000 "expires: $soon")
$(rule ship-out settlement outside tcp/6514)
networks:
  - {name: outside, cidrs: ["192.0.2.0/24"]}
END
serve api api-1 api.service 8443
talk live pay-1 settlement.service "$API" 8443
refused "a denied flow" pay-1 backup.service "$API" 8443
check "is recorded" wait_for 15 decided pay-1 '.decision == "denied"'

JQ='def is($types): . as $v | any($types | split("|")[];
	. == ($v | type) or (. == "int" and ($v | type) == "number" and $v == ($v | floor))
	or (. == "time" and ($v | type) == "string" and ($v | test("^20..-..-..T..:..:..([.][0-9]+)?Z$")))
	or (. == "digest" and ($v | type) == "string" and ($v | test("^[0-9a-f]{64}$"))));'

# fields NAME STATUS PATH:TYPES... -- COMMAND...: each path leads to at least one value, all of a type
fields() {
	local name=$1 want=$2 program= field bad
	shift 2
	while [ "$1" != -- ]; do
		field=${1//\`/\"}
		program+="${program:+, }(if ([${field%:*}] | length > 0 and all(.[]; is(\"${field##*:}\")))"
		program+=" then empty else \"$1\" end)"
		shift
	done
	shift
	SAID=$("$@" 2>"$WORK/err")
	same "$name: exit" $? "$want"
	same "$name: one object, one line" "$(wc -l <<<"$SAID")" 1
	bad=$(jq -r "$JQ [$program] | join(\", \")" <<<"$SAID" 2>&1)
	same "$name: fields" "$bad" ""
}
# words NAME PATH WORD...: a closed list
words() {
	local name=$1 path=$2 other
	shift 2
	other=$(jq -c "[$path] - $(json_list "$@")" <<<"$SAID")
	same "$name" "$other" '[]'
}

fields status 0 .version:int .node:string .mode:string .state:string .generation.confirmed:int \
	.generation.candidate:null .generation.falls_back_in:null .heartbeat_age:number \
	.unclaimed_flows:int .forwarded:string .conntrack.used:int .conntrack.max:int \
	.policy_revision:int .policy_digest:digest .view_sequence:int .conduits:int .identities:int \
	.leases_next_end:time .denied_per_minute:int '.drift:null|string' '.features[]:boolean' \
	.clock_trusted:boolean .queue.depth:int .queue.max:int .queue.held:int .queue.timeouts:int \
	.queue.drops:int .controller.connected:boolean '.controller.last_contact:null' \
	-- bw pay-1 status -o json
words "status: mode" .mode observe selective enforce
words "status: state" .state starting ready probation stale degraded
words "status: forwarded" .forwarded enforced not_enforced

fields identities 0 .version:int '.identities[].identity:string' '.identities[].name:string' \
	'.identities[].number:int' '.identities[].workloads[].cgroup:string|null' \
	'.identities[].workloads[].cgroup_id:int' '.identities[].workloads[].uid:int|null' \
	'.identities[].workloads[].unit:string' '.identities[].addresses:array' \
	'.identities[].labels:array' -- bw pay-1 identities -o json

conduit_fields=(.version:int '.conduits[].conduit:int' '.conduits[].from.identity:string|null'
	'.conduits[].from.node:string|null' '.conduits[].to.identity:string|null'
	'.conduits[].to.node:string|null' '.conduits[].service:string' '.conduits[].rule:string|null'
	'.conduits[].verdict:string' '.conduits[].assurance:string' '.conduits[].lease_ends:time|null'
	'.conduits[].packets:int' '.conduits[].bytes:int' '.conduits[].essential:boolean')
fields conduits 0 "${conduit_fields[@]}" -- bw pay-1 conduits -o json
words "conduits: verdict" '.conduits[].verdict' accept leased ask watched added removed
words "conduits: assurance" '.conduits[].assurance' mapped attested measured
same "conduits: a lease has an end" "$(jq '[.conduits[] | select(.verdict == "leased")
	| .lease_ends] | length > 0 and all(.[]; . != null)' <<<"$SAID")" true
fields "conduits --by zone" 0 "${conduit_fields[@]}" '.zones[].from:string' '.zones[].to:string' \
	'.zones[].conduits:array' -- bw pay-1 conduits --by zone -o json
used() { bw_json pay-1 '.conduits[] | select(.rule == "settlement-calls-api") | .packets > 0' conduits |
	grep -q true; }
check "conduits: packets are counted" wait_for 15 used
pause 1.1
status_of bw pay-1 conduits --unused 1s -o json
same "conduits --unused: without the used one" \
	"$(jq '[.conduits[] | select(.rule == "settlement-calls-api")] | length' <<<"$SAID")" 0
same "conduits --unused: with the others" \
	"$(jq '[.conduits[] | select(.rule == "settlement-reports")] | length > 0' <<<"$SAID")" true

fields flows 0 .version:int '.flows[].conduit:int' '.flows[].proto:string' '.flows[].src:string' \
	'.flows[].dst:string' '.flows[].from:string' '.flows[].to:string' '.flows[].packets:int' \
	'.flows[].bytes:int' '.flows[].state:string' -- bw pay-1 flows -o json

why_fields=(.version:int .decision:string .from:object .to:object .conduit:int\|null
	.rule:string\|null .assurance:string .reason:string .advice:string)
fields "why, denied" 3 "${why_fields[@]}" .nearest.rule:string .nearest.fails_on:string \
	-- bw pay-1 why backup api tcp/8443 -o json
fields "why, allowed" 0 "${why_fields[@]}" .conduit:int .rule:string \
	-- bw pay-1 why settlement api tcp/8443 -o json
fields "why --last" 3 "${why_fields[@]}" -- bw pay-1 why --last -o json
fields "why --policy" 3 "${why_fields[@]}" .nearest.rule:string \
	-- bailiwick why backup api tcp/8443 --policy "$WORK/policy" -o json
cgroup=$(unit_dir pay-1 settlement.service)
for source in settlement prod/payments/settlement "cgroup:$cgroup" "pid:${PID[live]}"; do
	expect "why: from ${source%%:*}" 0 bw pay-1 why "$source" api tcp/8443
done
for target in api prod/payments/api "$API" "$API:8443" "[$API_6]:8443"; do
	expect "why: to $target" 0 bw pay-1 why settlement "$target" tcp/8443
done

fields "check, good" 0 .version:int .ok:boolean .errors:array .warnings:array \
	-- bailiwick check "$WORK/policy" -o json
fields "check --explain" 0 .ok:boolean .conduits:array '.conduits[].service:string' \
	'.conduits[].rule:string' -- bailiwick check "$WORK/policy" --explain -o json
sed 's/owner: tests/owner: ""/; s/\[settlement\]/[settlemnt]/' "$WORK/policy/policy.yaml" \
	>"$WORK/bad.yaml"
fields "check, bad" 3 .ok:boolean '.errors[].file:string' '.errors[].line:int' \
	'.errors[].column:int' '.errors[].message:string' '.errors[].advice:string' .warnings:array \
	-- bailiwick check "$WORK/bad.yaml" -o json

mkdir "$WORK/next"
sed "s,tcp/9000,tcp/9000-9001,; s/expires: $soon/window: {days: [mon], from: \"00:00\", \
to: \"00:01\", zone: UTC}/" "$WORK/policy/policy.yaml" >"$WORK/next/policy.yaml"
{
	rule backup-calls-api backup api tcp/8443
} >"$WORK/one-rule"
sed -i "/^rules:/r $WORK/one-rule" "$WORK/next/policy.yaml"
plan_fields=(.version:int '.adds[].from:string' '.adds[].to:string' '.adds[].service:string'
	'.adds[].rule:string' '.adds[].effect:string' .removes:array .changes:array
	'.reach[].identity:string' '.reach[].before:int' '.reach[].after:int' .text:string)
fields plan 0 "${plan_fields[@]}" -- bw pay-1 plan "$WORK/next" -o json
same "plan: the reach of the identity touched" "$(jq -c '.reach[]
	| select(.identity == "prod/payments/backup") | [.before, .after]' <<<"$SAID")" '[0,1]'
same "plan: an identity with other conduits and as many peers is touched" "$(jq -c '.reach[]
	| select(.identity == "prod/payments/settlement") | .before == .after' <<<"$SAID")" true
like "plan: nft text" "$(jq -r .text <<<"$SAID")" 'add element inet bailiwick'
fields "apply --confirm-within" 0 "${plan_fields[@]}" .revision:int .digest:digest \
	.falls_back_in:int -- bw pay-1 apply "$WORK/next" --confirm-within 60s --reason trial -o json
same "on trial: state" "$(bw_json pay-1 .state status)" probation
status_of bw pay-1 conduits -o json
words "on trial: verdicts" '.conduits[].verdict' accept leased ask watched added removed
same "on trial: added is seen" "$(jq 'any(.conduits[]; .verdict == "added")' <<<"$SAID")" true
fields rollback 0 .version:int .generation.confirmed:int .generation.candidate:null \
	.generation.falls_back_in:null -- bw pay-1 rollback -o json
bw pay-1 apply "$WORK/next" --confirm-within 60s --reason trial >/dev/null
fields confirm 0 .version:int .generation.confirmed:int .generation.candidate:null \
	-- bw pay-1 confirm -o json
fields "apply, the same again" 0 .adds:array .removes:array .changes:array .reach:array \
	.revision:int .digest:digest .falls_back_in:null \
	-- bw pay-1 apply "$WORK/next" --reason again -o json
same "apply, the same again: nothing changes" \
	"$(jq '(.adds + .removes + .changes) | length' <<<"$SAID")" 0
fields history 0 .version:int '.changes[].revision:int' '.changes[].digest:digest' \
	'.changes[].when:time' '.changes[].who:string' '.changes[].reason:string' \
	'.changes[].gained:int' '.changes[].lost:int' -- bw pay-1 history -o json

flow_fields=('.cut[].conduit:int' '.cut[].proto:string' '.cut[].src:string' '.cut[].dst:string'
	'.cut[].from:string' '.cut[].to:string')
wait_for 15 goes_on live || fail "set-up" "the conversation stands still"
fields revoke 0 .version:int "${flow_fields[@]}" .until:time \
	-- bw pay-1 revoke rule settlement-calls-api --for 2s --reason test -o json
is_cut "revoke: cuts" live
open() { run pay-1 settlement.service traffic tcp-client "$API" 8443 --timeout 1000; }
check "revoke --for ends" wait_for 15 open
talk live pay-1 settlement.service "$API" 8443
fields quarantine 0 .version:int "${flow_fields[@]}" \
	-- bw pay-1 quarantine identity prod/payments/settlement --keep outside --reason test -o json
fields release 0 .version:int .cut:array \
	-- bw pay-1 release identity prod/payments/settlement --reason test -o json
fields mode 0 .version:int .mode:string .until:null -- bw pay-1 mode enforce --reason test -o json
fields "mode --for" 0 .mode:string .until:time \
	-- bw pay-1 mode observe --for 8h --reason test -o json
must bw pay-1 mode selective --reason test
fields doctor 0 .version:int '.checks[].name:string' '.checks[].ok:boolean' \
	'.checks[].detail:string' '.checks[].consequence:string' -- bw pay-1 doctor -o json
fields inventory 0 .version:int '.listeners[].proto:string' '.listeners[].address:string' \
	'.listeners[].port:int' '.listeners[].cgroup:string' '.listeners[].unit:string' \
	'.listeners[].uid:int' '.listeners[].exe:string' '.listeners[].identity:string' \
	-- bw api-1 inventory -o json
fields version 0 .version:int .release:string '.features[]:boolean' -- bw pay-1 version -o json

# Decision records, live and in the log.
start_fed watch pay-1 operator.service bailiwick -C "$WORK/pay-1/run" watch -o json
# It may be a moment until it looks; each port is a conversation of its own, and told.
port=9000
shows() {
	port=$((port + 1))
	run pay-1 cache.service traffic tcp-client "$API" $port >/dev/null
	wait_for 1 grep -q '"denied"' "$WORK/watch.out"
}
check "watch shows a denial" wait_for 15 shows
record_fields=(.time:time .node:string .decision:string .reason:string '.conduit:int|null'
	'.rule:string|null' .service:string .direction:string .assurance:string .evidence:object
	.policy_digest:digest .view_sequence:int .count:int)
for end in from to; do
	record_fields+=(".$end.identity:string|null" ".$end.node:string|null"
		".$end.address:string|null" ".$end.port:int|null" ".$end.cgroup:string|null"
		".$end.uid:int|null")
done
fields "watch -o json" 0 "${record_fields[@]}" -- grep -m 1 denied "$WORK/watch.out"
same "records of the log: all have the fields" "$(decisions pay-1 | jq -r "$JQ select(
	(.time | is(\"time\")) and (.evidence | is(\"object\")) and (.count | is(\"int\")) and
	(.from | has(\"uid\")) and (.to | has(\"cgroup\")) and (.node == \"pay-1\") | not)")" ""
SAID=$(decisions pay-1 | jq -s '{r: .}')
words "records: decision" '.r[].decision' allowed would_deny denied
words "records: direction" '.r[].direction' in out forward
words "records: assurance" '.r[].assurance' device mapped attested measured none
words "records: reason" '.r[].reason' permitted essential no_rule no_identity not_placed lease_ended \
	outside_window revoked quarantined queue_full unknown_peer unknown_cgroup unclaimed no_socket \
	wrong_state ambiguous receiver_changed resync expected untracked foreign_mark not_owner \
	stale_view malformed

# Exit codes. 4 and 5 are the agent's own words; tests/unit has them whatever the kernel does.
expect "exit 0: ok" 0 bw pay-1 status
expect "exit 1: no agent" 1 bailiwick -C "$WORK/nowhere" status
like "exit 1: says where it looked" "$SAID" "$WORK/nowhere"
expect "exit 2: no such verb" 2 bw pay-1 stauts
like "exit 2: the verb that was meant" "$SAID" "did you mean 'status'"
expect "exit 2: no such option" 2 bw pay-1 status --verbsoe
expect "exit 2: a verb of a later release" 2 bw pay-1 attest x
expect "exit 1: an archive that is not there" 1 bw pay-1 apply --offline x.tar
expect "exit 3: a failed check" 3 bailiwick check "$WORK/bad.yaml"
expect "exit 3: denied" 3 bw pay-1 why backup api tcp/9000
finish_tests
