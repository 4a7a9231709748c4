# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# An enrolled host whose state directory suffers: for tests/netns/state-*.sh. Source lib-fleet.sh
# first. pay-1 has one conversation (live), settlement may call the API, backup is quarantined by
# this host, cache by the controller.
#
#   damage_up               the fleet
#   hit FILE WAY [NAME]     pay-1's agent is killed, the file damaged, the agent started again
#   courier_pause STOP      no controller, until courier_pause CONT
#   current                 pay-1 has everything that the controller has for it: for wait_for

STATE=$WORK/pay-1/state
DOCUMENTS=$STATE/documents

damage_up() {
	fleet_usual <<-END
		$(rule settlement-calls-api settlement api tcp/8443)
		$(rule backup-calls-api backup api tcp/8443)
		$(rule cache-calls-api cache api tcp/8443)
	END
	talk live pay-1 settlement.service "$API" 8443
	must bw pay-1 quarantine identity prod/payments/backup --reason test
	must ctl quarantine prod/payments/cache --reason test
	check "the controller's quarantine is in force" wait_for 10 closed
	mapped pay-1
}
closed() { reaches_not pay-1 cache.service "$API" 8443; }

courier_pause() { kill "-$1" "${PID[courier-pay-1]}"; }
empty() { : >"$1"; }
halve() { truncate -s $(($(stat -c %s "$1") / 2)) "$1"; }
garble() { printf 'x{\377\0' >"$1"; }
unreadable() { chmod 000 "$1" && chown 64901 "$1"; }
open_to_all() { chmod 666 "$1"; }
directory() { rm "$1" && mkdir "$1" && : >"$1/x"; }
gone() { rm "$1"; }

# start_again: whether the agent is there again
start_again() {
	local dir
	dir=$(unit_dir pay-1 bailiwickd.service)
	traffic --netns "$(ns pay-1)" --cgroup "$dir" exec -- bailiwickd \
		--config "$WORK/pay-1/agent.yaml" --foreground --courier-user $COURIER_UID \
		>>"$WORK/pay-1/agent.log" 2>&1 </dev/null 8<&- 3>&- &
	PID[agent-pay-1]=$!
	wait_for "${AGENT_START_MAX:-10}" up_or_down && ! ended agent-pay-1
}
up_or_down() { ended agent-pay-1 || agent_ready pay-1; }

# Nothing of this needs the agent for long: refusals are told at once.
enforced() { # WHAT
	runs_on "$1: what runs goes on" live
	connects "$1: what may, passes" pay-1 settlement.service "$API" 8443
	refused "$1: what this host closed stays closed" pay-1 backup.service "$API" 8443
	refused "$1: what the controller closed stays closed" pay-1 cache.service "$API" 8443
	refused "$1: what nobody permits is refused" pay-1 settlement.service "$API" 9000
}
# told NAME: status, doctor and log name the file
told() {
	local name=${1##*/}
	[ ${#name} = 64 ] && name=${name:0:12}
	bw pay-1 status -o json | jq -e --arg n "$name" \
		'[.problems[], .documents.errors[].text, .drift // empty, .attestation.certificate.error // empty] | any(contains($n))' &&
		bw pay-1 doctor -o json | jq -e --arg n "$name" '.checks | any(.detail | contains($n))' &&
		tail -n "+$LOG" "$WORK/pay-1/agent.log" | grep -qF "$name"
}
# hit FILE WAY [NAME]: loud about NAME unless the file can be read all the same
hit() {
	local file=$1 way=$2 name=${3:-$1} what="$1, $2"
	agent_stop pay-1 KILL
	rm -rf "$WORK/good" && cp -a "$STATE" "$WORK/good"
	LOG=$(($(wc -l <"$WORK/pay-1/agent.log") + 1))
	"$way" "$STATE/$file"
	if start_again; then
		enforced "$what"
		case $way in
		unreadable | open_to_all) ;;
		*) check "$what: it is told" told "$name" ;;
		esac
		return
	fi
	fail "$what: the agent starts" "$(tail -n 1 "$WORK/pay-1/agent.log")"
	rm -rf "$STATE" && cp -a "$WORK/good" "$STATE"
	agent_stop pay-1 KILL
	start_again || exit 1
}
current() {
	up_to_date pay-1 && enforces pay-1 && [ "$(bw_json pay-1 .controller.connected status)" = true ] &&
		[ "$(bw_json pay-1 '.documents.head_sequence == .documents.head_newest' status)" = true ]
}

