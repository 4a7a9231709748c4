# SPDX-License-Identifier: GPL-3.0-or-later
# UC-46 UC-67 UC-80: README's first hour, its own lines in their order: a controller, three hosts that
# enrol with tokens, a first policy, observe, suggest, rules, enforce, quarantine. Only paths and
# addresses are this test's.
. "$(dirname "$0")/lib-fleet.sh"

# block N KIND: the Nth fenced block of that kind in README's first hour
block() {
	awk -v want="$1" -v kind="$2" '
		/^## / { on = /^## The first hour/ }
		on && $0 ~ "^ *```" kind "$" { inside = ++n == want; next }
		/^ *```/ { inside = 0 }
		on && inside { sub(/^   /, ""); print }' "$ROOT/README.md"
}
here() { # HOST: README's paths and names as this test has them
	sed -e "s,/var/lib/bailiwick-controller,$DATA,g" -e "s,/var/lib/bailiwick,$WORK/$1/state,g" \
		-e "s,/etc/bailiwick,$WORK/$1/etc,g" -e "s,ctl\.acme\.example,10.77.0.$CTL_NUMBER,g" \
		-e "s,^node: pay-1,node: $1,"
}

# What README's commands are here; HOST is where its reader sits.
HOST=ctl
bailiwick-controller() {
	if [ "$1" = dev ]; then
		start controller ctl bailiwick-controller.service bailiwick-controller "$@" --data "$DATA"
		wait_for 15 controller_answers
	else
		at ctl bailiwick-controller "$@" --data "$DATA"
	fi
}
bailiwick() {
	case $1 in
	enroll) at "$HOST" bailiwick "$@" --config "$WORK/$HOST/agent.yaml" ;;
	*) at "$HOST" bailiwick -C "$WORK/$HOST/run" "$@" ;;
	esac
}
systemctl() {
	fleet_agent_start "$HOST" && courier_start "$HOST"
}
# follow NAME N HOST: README's Nth block of commands works, as written; what it says is in TEXT
follow() {
	local lines status
	HOST=$3
	lines=$(block "$2" sh | here "$3")
	like "block $2 is for ${3%-*}" "$lines" '^# on (ctl|pay-1)'
	cd "$WORK/desk" || exit 1
	eval "set -e; $lines; set +e" >"$WORK/said" 2>&1
	status=$?
	set +e
	cd "$ROOT" || exit 1
	TEXT=$(cat "$WORK/said")
	[ $status = 0 ] && pass "$1" || fail "$1" "ended with $status: ${TEXT:0:600}"
}
write_file() { # N: README's Nth YAML block, to the file that its first line names
	local text
	text=$(block "$1" yaml)
	sed 1d <<<"$text" >"$WORK/desk/$(sed -n '1s/^# //p' <<<"$text")"
}

mkdir -p "$WORK/desk/policy"
host_add ctl $CTL_NUMBER
for host in pay-1 pay-2 api-1; do
	host_add $host "$(number_of $host)"
	mkdir -p "$WORK/$host/etc" "$WORK/$host/state" "$WORK/$host/run"
	{
		block 1 yaml | here $host
		printf 'state_dir: %s\nrun_dir: %s\ncgroup_root: %s\nlog: {decisions: %s}\n' \
			"$WORK/$host/state" "$WORK/$host/run" "$CG/$host" "$WORK/$host/decisions.log"
	} >"$WORK/$host/agent.yaml"
	check "README's agent.yaml is sound on $host" bailiwickd --config "$WORK/$host/agent.yaml" --check
done
follow "1. a controller" 1 ctl
follow "2. a token" 2 ctl
like "which prints the command to run on the host" "$TEXT" 'bailiwick enroll --url .* --token .* --pin '
for host in pay-1 pay-2 api-1; do
	token $host
	follow "2. $host enrols and starts" 3 $host
	check "$host is connected" wait_for 15 connected $host
	same "$host observes" "$(bw_json $host .mode status)" observe
done
write_file 2
follow "3. a first policy, checked, signed, published" 4 ctl
REVISION=1
fleet_live pay-1 pay-2 api-1
follow "4. who runs where" 5 ctl
like "status lists the nodes" "$TEXT" 'pay-1.*pay-2|api-1'
for host in pay-1 pay-2 api-1; do
	check "$host has its mapping" wait_for 10 up_to_date $host
done

API=10.77.0.21
serve api api-1 payments-api.service 8443
connects "5. observed, not denied" pay-1 settlement.service $API 8443
# When the rule begins to ask, what runs waits until it is vouched for.
talk live pay-1 settlement.service $API 8443 --timeout 9000
suggested() { bw pay-1 suggest | grep -q 'from: .settlement'; }
wait_for 15 suggested
follow "5. rules are suggested" 6 pay-1
like "from what was seen" "$TEXT" '10[.]77[.]0[.]21.*settlement.*tcp/8443'
write_file 3
follow "6. rules, signed, compared, published" 7 ctl
like "the difference in words" "$TEXT" 'settlement.*payments-api'
REVISION=2
fleet_live pay-1 pay-2 api-1
for host in pay-1 pay-2 api-1; do
	follow "7. $host enforces" 8 $host
done
connects "what is permitted works" pay-1 settlement.service $API 8443
runs_on "what ran, runs" live
denied "the same program on another host is refused" pay-2 settlement.service $API 8443
bw pay-2 why --last >"$WORK/why" 2>&1
like "and why --last says what" "$(cat "$WORK/why")" 'denied .*10[.]77[.]0[.]21:8443'
follow "8. quarantine and release, on every host" 9 ctl
is_cut "8. which cut the flow" live
check "8. and let it begin anew" wait_for 10 reaches pay-1 settlement.service $API 8443
finish_tests
