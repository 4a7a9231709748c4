# SPDX-License-Identifier: GPL-3.0-or-later
# agent.yaml: every mistake with its place, nothing is changed, exit status not 0; --check prints
# the effective configuration. Without CAP_NET_ADMIN the kernel refuses: said, and nothing half
# done.
. "$(dirname "$0")/lib.sh"

host_add pay-1 11
agent_config pay-1
[ -x "$B/bailiwickd" ] || skip_all "bailiwickd is not built"
status_of bailiwickd --config "$WORK/pay-1/agent.yaml" --check
same "--check accepts a good file" $? 0
like "and prints what is in force" "$SAID" "node: .?pay-1"
expect "--check accepts the commented example" 0 bailiwickd --config examples/agent.yaml --check
like "its essentials are read" "$SAID" 'package mirror'
bad() { # NAME PATTERN <agent.yaml
	cat >"$WORK/bad.yaml"
	status_of run pay-1 bailiwickd.service timeout 5 \
		bailiwickd --config "$WORK/bad.yaml" --foreground
	got=$?
	same "refused: $1" $((got != 0 && got != 124)) 1
	like "place and reason: $1" "$SAID" "bad.yaml:[0-9]+:[0-9]+: .*$2"
}
bad "an unknown key" 'nodee' <<<$'version: 1\nnodee: pay-1'
bad "an unknown mode" 'mode|enforc' <<<$'version: 1\nmode: enfroce'
bad "forward" 'not available' <<<$'version: 1\nforward: [eth0]'
bad "a controller without keys" 'needs trust' \
	<<<$'version: 1\nsource: {controller: {url: "https://x:1", ca: /etc/x.pem}}'
bad "a number out of range" 'range' <<<$'version: 1\nqueues: {first: 70000}'
# Two mistakes, one pass.
printf 'version: 1\nnodee: x\nmode: y\n' >"$WORK/bad.yaml"
status_of bailiwickd --config "$WORK/bad.yaml" --check
same "all mistakes at once" "$(grep -c 'bad.yaml:[0-9]' <<<"$SAID")" 2
same "the kernel was not touched" "$(host_nft pay-1 list ruleset)" ""

views
run_uncapable() {
	run pay-1 bailiwickd.service timeout 5 \
		setpriv --bounding-set=-net_admin --inh-caps=-net_admin \
		bailiwickd --config "$WORK/pay-1/agent.yaml" --foreground
}
status_of run_uncapable
got=$?
same "without CAP_NET_ADMIN it does not start" $((got != 0 && got != 124)) 1
like "and says what it lacks" "$SAID" '(CAP_NET_ADMIN|[Oo]peration not permitted)'
same "nothing half done" "$(host_nft pay-1 list ruleset)" ""
finish_tests
