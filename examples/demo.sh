# SPDX-License-Identifier: GPL-3.0-or-later
#
# make demo: three hosts (network namespaces), an agent on each, real programs in real cgroups, one
# policy. Every line is produced by the command it shows; what goes otherwise is marked UNEXPECTED and
# the exit status is 1. Nothing stays behind, also when interrupted.

TEST=demo
# shellcheck source=tests/netns/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tests/netns/lib.sh"

EXAMPLES=$ROOT/examples/payments
API=10.77.0.21
UNEXPECTED=0
SCENES=0

# -------------------------------------------------------------------------------- what is said

scene() {
	SCENES=$((SCENES + 1))
	printf '\n%d. %s\n' "$SCENES" "$1"
}

note() {
	printf '          %s\n' "$@"
}

# did PROMPT COMMAND WHERE GOT WANTED: WANTED is a regular expression
did() {
	local mark=
	if ! [[ $4 =~ $5 ]]; then
		mark="   UNEXPECTED"
		UNEXPECTED=$((UNEXPECTED + 1))
	fi
	printf '   %-6s %-31s %-25s %s%s\n' "$1" "$2" "$3" "$4" "$mark"
}

# show WANTED < output of a command: indented; it must match
show() {
	local text
	text=$(cat)
	[ -n "$text" ] && printf '%s\n' "$text" | sed 's/^/   /'
	if ! [[ $text =~ $1 ]]; then
		echo "   UNEXPECTED: should match '$1'"
		UNEXPECTED=$((UNEXPECTED + 1))
	fi
}

prompt() {
	printf '   %-6s %s\n' "$1" "$2"
}

# in_words US: "0.6 ms", "3.00 s"
in_words() {
	awk -v us="$1" 'BEGIN { if (us < 1e6) printf "%.1f ms", us / 1e3; else printf "%.2f s", us / 1e6 }'
}

# --------------------------------------------------------------------------------- what is run

# unit HOST UNIT COMMAND-LINE: run by a shell in that unit, exactly as shown
unit() {
	run "$1" "$2" env CURL_HOME="$WORK" PATH="$WORK/bin:$PATH" bash -c "$3" 2>/dev/null
}

# call HOST UNIT WANTED: curl of the payments API
call() {
	local command="curl http://$API:8443/" said code seconds exit got
	said=$(unit "$1" "$2" "$command")
	read -r code exit seconds <<<"$said"
	case $exit in
	0) got="$code OK" ;;
	7) got="refused after $(in_words "$(awk -v s="$seconds" 'BEGIN { print s * 1e6 }')")" ;;
	28) got="no answer" ;;
	*) got="curl ends with ${exit:-nothing} after ${seconds:-?} s" ;;
	esac
	did "$1\$" "$command" "in $2" "$got" "$3"
}

# reach PROMPT HOST UNIT NAME:PORT WANTED
reach() {
	local command="connect $4"
	did "$1\$" "$command" "in $3" "$(unit "$2" "$3" "$command")" "$5"
}

write_programs() {
	mkdir -p "$WORK/bin" "$WORK/www"
	chmod 755 "$WORK" "$WORK/www" "$WORK/bin"
	echo ok >"$WORK/www/index.html"
	# So that the command can be shown as it is run.
	cat >"$WORK/.curlrc" <<-'END'
		silent
		output = /dev/null
		max-time = 5
		write-out = "%{http_code} %{exitcode} %{time_total}\n"
	END
	cat >"$WORK/bin/connect" <<-END
		#!/bin/bash
		said=\$(traffic tcp-client $API "\${1##*:}" --timeout 2000)
		case \$? in
		0) echo connected ;;
		3) us=\$(sed -n 's/^refused after \([0-9]*\) us.*/\1/p' <<<"\$said")
			awk -v us="\$us" 'BEGIN { printf "refused after %.1f ms\n", us / 1000 }' ;;
		4) echo "no answer" ;;
		*) echo "\$said" ;;
		esac
	END
	# One TCP connection, a request each 20 ms, until it fails.
	cat >"$WORK/bin/transfer.sh" <<-END
		#!/bin/bash
		exec stdbuf -oL curl --rate 50/s --fail-early "http://$API:8443/?[1-2000]"
	END
	chmod 755 "$WORK/bin/connect" "$WORK/bin/transfer.sh"
	cat >"$WORK/nginx.conf" <<-END
		daemon off; worker_processes 1; pid $WORK/nginx.pid; error_log $WORK/nginx.log;
		events { worker_connections 256; }
		http {
			access_log off; client_body_temp_path $WORK/t1; proxy_temp_path $WORK/t2;
			fastcgi_temp_path $WORK/t3; uwsgi_temp_path $WORK/t4; scgi_temp_path $WORK/t5;
			keepalive_requests 100000;
			server { listen 8443; listen [::]:8443; root $WORK/www; }
		}
	END
}

# views_install SUFFIX: the mapping of examples/payments/view-HOST[-moved].json
views_install() {
	local host
	for host in "${HOSTS[@]}"; do
		view_put "$host" <"$EXAMPLES/view-$host$1.json"
	done
}

hosts_up() {
	local host
	host_add pay-1 11
	host_add pay-2 12
	host_add api-1 21
	for host in "${HOSTS[@]}"; do
		mkdir -p "$WORK/$host/site" "$WORK/$host/state" "$WORK/$host/run"
		sed -e "s,@NODE@,$host,; s,@DIR@,$WORK/$host,; s,@CGROUPS@,$CG/$host," \
			"$EXAMPLES/agent.yaml.in" >"$WORK/$host/agent.yaml"
	done
	views_install ''
	SEQUENCE=1
}

services_up() {
	start nginx api-1 payments-api.service nginx -c "$WORK/nginx.conf"
	serve production api-1 production.service 22
	serve tickets api-1 tickets.service 443
	serve orders-db api-1 orders-db.service 5432
	serve historian api-1 historian.service 4840
	nginx_listens() { at api-1 ss -Hltn 'sport = 8443' | grep -q .; }
	wait_for 5 nginx_listens || echo "nginx does not start: $(tail -n 1 "$WORK/nginx.log")"
}

policy_install() {
	local host
	mkdir -p "$WORK/policy"
	cp "$EXAMPLES/payments.yaml" "$WORK/policy/"
	for host in "${HOSTS[@]}"; do
		must apply "$host"
	done
}

header() {
	local yaml=$EXAMPLES/payments.yaml identities rules queue=native
	identities=$(sed -n '/^identities:/,/^rules:/p' "$yaml" | grep -c '^  - ')
	rules=$(sed -n '/^rules:/,/^separations:/p' "$yaml" | grep -c '^  - ')
	[ "$(bw_json pay-1 .features.queue_native status)" = true ] || queue="through nft_compat"
	cat <<-END
		Bailiwick demo: three hosts (network namespaces), an agent on each, one policy, real processes.
		  pay-1 10.77.0.11   pay-2 10.77.0.12   api-1 $API     kernel $(uname -r | cut -d. -f1,2), NFQUEUE $queue
		  policy: examples/payments/ ($identities identities, $rules rules)        nothing leaves this machine
		  connect NAME:PORT is one TCP connection to that service; all services are on api-1.
		  Far ends are only \`mapped\` here: known by the address that the mapping gives them.
	END
}

# -------------------------------------------------------------------------------------- scenes

scene_identity() {
	scene "Who is calling decides, not where from"
	call pay-1 settlement.service '^200 OK$'
	call pay-1 backup.service '^refused after [0-9.]+ ms$'
	note "Same host, same address, same user, same program. Only the identity differs." \
		"pay-1's own kernel refused: no packet reached api-1."
	prompt 'pay-1#' 'bailiwick why --last'
	last_is_backup() { bw pay-1 why --last | grep -q backup; }
	wait_for 3 last_is_backup
	bw pay-1 why --last | grep -E '^(denied|nearest) ' | tr -s ' ' | show 'backup.*settlement-calls-api'
}

scene_move() {
	local messages began how
	scene "Settlement moves to pay-2 while a transfer runs"
	start_fed others pay-2 deploy.service traffic hold $API 22 11
	wait_line others '^held 11 of 11'
	start transfer pay-1 settlement.service env CURL_HOME="$WORK" bash "$WORK/bin/transfer.sh"
	wait_line transfer '^200 0 '
	goes_on transfer
	began=$(now_ms)
	views_install -moved
	SEQUENCE=2
	views_live
	prompt 'ctl#' "new mapping on 3 hosts: in force after $(($(now_ms) - began)) ms"
	finish transfer 8
	messages=$(grep -c '^200 0 ' "$WORK/transfer.out")
	case $(awk '$2 != 0 { print $2; exit }' "$WORK/transfer.out") in
	56) how="connection reset" ;;
	7) how="cut" ;;
	28 | 52) how="connection cut" ;;
	*) how="$(last_line transfer)" ;;
	esac
	did 'pay-1$' transfer.sh "in settlement.service" "$messages messages, then $how" \
		'^[1-9][0-9]* messages, then (connection )?(reset|cut)'
	call pay-2 settlement.service '^200 OK$'
	call pay-1 settlement.service '^refused'
	feed others round
	wait_line others '^round'
	did 'pay-2$' '11 other flows' 'in deploy.service' \
		"$(last_line others | sed 's/^round 1 alive 11 dead 0.*/all 11 go on/')" '^all 11 go on$'
	feed others quit
	scene_classic
}

# What the usual firewall does with the same change.
scene_classic() {
	host_add old-1 91
	host_add old-2 92
	must host_nft old-1 -f - <<-END
		table ip classic {
			set allowed { type ipv4_addr; elements = { ${ADDR4[old-2]} }; }
			chain out {
				type filter hook output priority 0; policy drop;
				ct state established,related accept
				ip daddr @allowed tcp dport 8443 accept
			}
		}
	END
	serve old-api old-2 api.service 8443
	talk classic old-1 settlement.service "${ADDR4[old-2]}" 8443
	must host_nft old-1 delete element ip classic allowed "{ ${ADDR4[old-2]} }"
	local how="cut"
	goes_on classic && how="the old flow runs on"
	did 'old-1$' 'the same, classic ruleset' 'established accept' "$how" 'runs on'
	stop classic
}

scene_tasks() {
	scene "Two CI jobs, one user, two tasks"
	reach ci pay-2 deploy.service production:22 '^connected$'
	reach ci pay-2 build.service production:22 '^refused'
	scene "An AI agent may read; only its execution identity may act"
	reach ai pay-2 retrieval.service tickets:443 '^connected$'
	reach ai pay-2 retrieval.service orders-db:5432 '^refused'
	reach ai pay-2 execution.service orders-db:5432 '^connected$'
	note "One user, one program; the unit is the task. pay-2's own kernel refused."
}

scene_staging() {
	scene "Staging's leaked token does not open the production database"
	reach stg pay-2 staging-worker.service orders-db:5432 '^refused'
	prompt 'pay-2#' 'bailiwick why staging-worker orders-db tcp/5432'
	bw pay-2 why staging-worker orders-db tcp/5432 | grep -E '^(denied|because) ' |
		cut -d';' -f1 | show 'staging-worker.*orders-db'
	note "And no rule may join the two by mistake: the last scene."
}

scene_quarantine() {
	scene "An incident: settlement is quarantined, and released"
	start_fed session pay-2 settlement.service env CURL_HOME="$WORK" bash "$WORK/bin/transfer.sh"
	wait_line session '^200 0 '
	prompt 'pay-2#' 'bailiwick quarantine identity prod/payments/settlement --reason "incident 7"'
	bw pay-2 quarantine identity prod/payments/settlement --reason "incident 7" | head -n 4 | show 8443
	finish session 8
	call pay-2 settlement.service '^refused'
	reach ci pay-2 deploy.service production:22 '^connected$'
	prompt 'pay-2#' 'bailiwick release identity prod/payments/settlement --reason "closed"'
	bw pay-2 release identity prod/payments/settlement --reason "closed" >/dev/null
	call pay-2 settlement.service '^200 OK$'
}

scene_window() {
	local seconds=6 ends ends_ms began late
	scene "The maintenance window closes while our agent is dead"
	ends=$(date -u -d "+$seconds seconds" +%Y-%m-%dT%H:%M:%SZ)
	ends_ms=$(($(date -d "$ends" +%s) * 1000))
	sed -i "s/expires: 2099-12-31T23:59:59Z/expires: $ends/" "$WORK/policy/payments.yaml"
	must apply pay-1
	must apply api-1
	prompt 'pay-1#' "bailiwick apply policy    (rule maintenance-window: expires $ends)"
	reach mnt pay-1 maintenance.service historian:4840 '^connected$'
	start session2 pay-1 maintenance.service traffic tcp-client $API 4840 --count 0 --every 50
	prompt 'pay-1#' 'kill -9 $(cat run/bailiwickd.pid)'
	kill -9 "$(cat "$WORK/pay-1/run/bailiwickd.pid")"
	# The shell would report the death in its own words.
	{ wait "${PID[agent-pay-1]}"; } 2>/dev/null
	finish session2 15
	late=$(($(date +%s%3N) - ends_ms))
	did 'mnt$' 'the session to historian:4840' 'in maintenance.service' \
		"$(last_line session2 | cut -d' ' -f1) $late ms after the end" '^(reset|closed|stalled) '
	reach mnt pay-1 maintenance.service historian:4840 '^refused'
	prompt 'pay-1#' "nft list map inet bailiwick live | tr , '\\n' | sed -n 's/counter //; /maintenance/p'"
	at pay-1 nft list map inet bailiwick live | tr , '\n' | sed -n 's/counter //; /maintenance/p' |
		sed 's/^[[:space:]]*//' | show historian
	note "Nobody was alive to end it: the kernel did."
}

scene_mistake() {
	scene "A mistake in the policy changes nothing"
	prompt '#' 'bailiwick check broken.yaml'
	(cd "$EXAMPLES" && bailiwick check broken.yaml 2>&1) |
		show 'settlment.*did you mean.*settlement.*environment'
	local before
	before=$(bw_json api-1 .policy_revision status)
	prompt 'api-1#' 'bailiwick apply broken.yaml'
	bw api-1 apply "$EXAMPLES/broken.yaml" >/dev/null 2>&1
	echo "exit status $?; revision $before before, $(bw_json api-1 .policy_revision status) now" |
		show "status 3; revision $before before, $before now"
	reach ci pay-2 deploy.service production:22 '^connected$'
}

farewell() {
	local agents=0 hosts=${#HOSTS[@]} cgroups tables=0 host
	for host in pay-1 pay-2 api-1; do
		[ -z "${PID[agent-$host]:-}" ] || agents=$((agents + 1))
		at "$host" nft list table inet bailiwick >/dev/null 2>&1 && tables=$((tables + 1))
	done
	cgroups=$(find "$CG" -mindepth 1 -type d | wc -l)
	[ "$UNEXPECTED" = 0 ] || {
		KEEP=1
		echo
		echo "$UNEXPECTED UNEXPECTED. Logs of the agents: $WORK/*/agent.log"
	}
	remove_all
	echo
	[ "$UNEXPECTED" != 0 ] || echo "All $SCENES scenes went as the policy says."
	printf 'Removed: %d agents, %d hosts, %d cgroups, %d tables.\n' \
		"$agents" "$hosts" "$cgroups" "$tables"
	if [ -d "$CG" ] || ip netns list | grep -q "^$ID-"; then
		echo "UNEXPECTED: something is left: $CG, $(ip netns list | grep "^$ID-" | tr '\n' ' ')"
		exit 1
	fi
	[ "$UNEXPECTED" = 0 ] || exit 1
	echo "Next: README \"Your first policy\" (10 minutes), or \`make check\` for the proof of each line above."
}

write_programs
hosts_up
agents_start pay-1 pay-2 api-1
policy_install
services_up
header
scene_identity
scene_move
scene_tasks
scene_staging
scene_quarantine
scene_window
scene_mistake
farewell
