# SPDX-License-Identifier: GPL-3.0-or-later
#
# make demo: a controller and three hosts (network namespaces), an agent and its courier on each, real
# programs in real cgroups, one signed policy. Every line is produced by the command it shows; what
# goes otherwise is marked UNEXPECTED and the exit status is 1. Nothing stays behind, also when
# interrupted.

TEST=demo
# shellcheck source=tests/netns/lib-fleet.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tests/netns/lib-fleet.sh"

EXAMPLES=$ROOT/examples/payments
API=10.77.0.21
SCENES=0

# -------------------------------------------------------------------------------- what is said

scene() {
	SCENES=$((SCENES + 1))
	printf '\n%d. %s\n' "$SCENES" "$1"
}

note() {
	printf '          %s\n' "$@"
}

# Counted in a file: what is shown may come through a pipe, and so from a subshell.
unexpected() {
	echo unexpected >>"$WORK/unexpected"
}

# did PROMPT COMMAND WHERE GOT WANTED: WANTED is a regular expression
did() {
	local mark=
	if ! [[ $4 =~ $5 ]]; then
		mark="   UNEXPECTED"
		unexpected
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
		unexpected
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
	# A program with an approved digest: a single executable, as a unit starts it.
	cp "$WORK/tools/traffic" "$WORK/bin/ledger"
	cp "$WORK/tools/traffic" "$WORK/evil-ledger"
	echo evil >>"$WORK/evil-ledger"
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

hosts_up() {
	local host
	host_add pay-1 11
	host_add pay-2 12
	host_add api-1 21
	for host in "${HOSTS[@]}"; do
		mkdir -p "$WORK/$host/etc/trust" "$WORK/$host/state" "$WORK/$host/run"
		sed -e "s,@NODE@,$host,; s,@DIR@,$WORK/$host,g; s,@CGROUPS@,$CG/$host,; s,@URL@,$URL," \
			"$EXAMPLES/agent.yaml.in" >"$WORK/$host/agent.yaml"
	done
	mkdir -p "$WORK/policy"
	# The digest of the approved program is that of this machine's build.
	sed "/name: ledger/,/reference:/s/[0-9a-f]\{64\}/$(sha256sum "$WORK/bin/ledger" | cut -d' ' -f1)/" \
		"$EXAMPLES/payments.yaml" >"$WORK/policy/payments.yaml"
	AGENTS=("${HOSTS[@]}")
	controller_start
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

all_up_to_date() {
	local host
	for host in "${AGENTS[@]}"; do
		up_to_date "$host" || return 1
	done
}

# on_all MS-SINCE: when every host has its newest head
on_all() {
	wait_for 10 all_up_to_date || {
		echo "   UNEXPECTED: a host has not taken its newest head"
		unexpected
	}
	echo "on ${#AGENTS[@]} hosts after $(($(now_ms) - $1)) ms"
}

place_all() {
	local identity
	for identity in payments/settlement payments/backup plant/maintenance; do
		must ctl place "prod/$identity" --node pay-1
	done
	for identity in prod/ci/build prod/ci/deploy prod/assistant/retrieval \
		prod/assistant/execution prod/orders/ledger staging/orders/worker; do
		must ctl place "$identity" --node pay-2
	done
	for identity in payments/api delivery/target support/tickets orders/db plant/historian; do
		must ctl place "prod/$identity" --node api-1
	done
}

header() {
	local yaml=$EXAMPLES/payments.yaml identities rules
	identities=$(sed -n '/^identities:/,/^rules:/p' "$yaml" | grep -c '^  - ')
	rules=$(sed -n '/^rules:/,/^separations:/p' "$yaml" | grep -c '^  - ')
	cat <<-END
		Bailiwick demo: a controller and three hosts (network namespaces), an agent on each, one signed
		policy, real processes.
		  ctl 10.77.0.31   pay-1 10.77.0.11   pay-2 10.77.0.12   api-1 $API   kernel $(uname -r | cut -d. -f1,2)
		  policy: examples/payments/ ($identities identities, $rules rules)        nothing leaves this machine
		  connect NAME:PORT is one TCP connection to that service; all services are on api-1.
		  Rules are \`attested\`: the caller's host vouches for each connection, or it is refused.
	END
}

# -------------------------------------------------------------------------------------- scenes

scene_enrol() {
	local host said began
	scene "Three hosts join with a token; their policy comes signed"
	for host in "${AGENTS[@]}"; do
		token "$host"
		said=$(enroll "$host" -o json 2>&1)
		did "$host#" 'bailiwick enroll --token --pin' 'key made on the host' \
			"$(jq -r .spiffe_id <<<"$said" 2>/dev/null | sed 's,^spiffe://[^/]*/,,')" \
			"^bailiwick/node/$host\$"
		fleet_agent_start "$host"
		courier_start "$host"
	done
	rm -rf "$WORK/stolen" && mkdir "$WORK/stolen"
	said=$(enroll api-1 2>&1)
	did 'thief$' 'bailiwick enroll, the same token' 'once more' \
		"$(grep -oE "used up by node '[^']*'" <<<"$said" | head -n 1)" '^used'
	for host in "${AGENTS[@]}"; do
		wait_for 10 connected "$host" || {
			echo "   UNEXPECTED: $host does not reach the controller"
			unexpected
		}
	done
	prompt 'ctl#' 'bailiwick sign payments.yaml --key policy.key --out signed'
	prompt 'ctl#' 'bailiwick-controller publish signed; then one `place` for each identity'
	began=$(now_ms)
	publish
	place_all
	note "in force $(on_all "$began"); each host knows only what its own rules name"
	for host in "${AGENTS[@]}"; do
		must bw "$host" mode selective --reason demonstration
	done
}

scene_identity() {
	scene "Who is calling decides, not where from"
	call pay-1 settlement.service '^200 OK$'
	call pay-1 backup.service '^refused after [0-9.]+ ms$'
	note "Same host, same address, same user, same program. Only the identity differs." \
		"pay-1's own kernel refused: no packet reached api-1."
	prompt 'pay-1#' 'bailiwick why --last'
	last_is_backup() { bw pay-1 why --last | grep -q backup; }
	wait_for 3 last_is_backup
	show 'backup.*settlement-calls-api' < <(bw pay-1 why --last | grep -E '^(denied|nearest) ' |
		tr -s ' ')
}

# why HOST PATTERN: lines of `why --last` as one each, not as wide as a screen may be
why() {
	bw "$1" why --last | awk '/^ / { sub(/^ +/, " "); line = line $0; next }
		{ if (NR > 1) print line; line = $0 } END { print line }' |
		tr -s ' ' | grep -E "$2"
}

# The caller's own host refuses nothing: only what it vouches for counts.
scene_wrong_process() {
	scene "The right host and address, the wrong process; its own host only observes"
	prompt 'pay-1#' 'bailiwick mode observe --reason "a mistake"'
	must bw pay-1 mode observe --reason "a mistake"
	call pay-1 backup.service '^refused after [0-9.]+ ms$'
	prompt 'api-1#' 'bailiwick why --last'
	last_is_backup() { bw api-1 why --last | grep -q backup; }
	wait_for 3 last_is_backup
	show 'backup.*settlement-calls-api' < <(why api-1 '^(denied|failed|nearest) ')
	note "api-1 held the SYN and asked pay-1, whose agent named the process that sent it."
	call pay-1 settlement.service '^200 OK$'
	prompt 'pay-1#' 'bailiwick mode selective --reason "mended"'
	must bw pay-1 mode selective --reason "mended"
}

# Not before the record of that very connection is there.
vouched_for() {
	bw api-1 why settlement payments-api tcp/8443 -o json | jq -e '.evidence.held_us > 0'
}

scene_time_line() {
	local said before
	scene "One held SYN, in microseconds"
	said=$(run pay-1 settlement.service traffic tcp-client $API 8443 --timeout 2000)
	did 'pay-1$' 'connect payments-api:8443' 'in settlement.service' \
		"$(sed -n 's/ us from.*/ us/p' <<<"$said")" '^connected in [0-9]+ us$'
	wait_for 3 vouched_for
	prompt 'api-1#' "bailiwick why settlement payments-api tcp/8443 -o json | jq -r '.evidence | ...'"
	show 'held.*answers.*let go' < <(bw api-1 why settlement payments-api tcp/8443 -o json |
		jq -r '.evidence |
			"        0 us  held in the kernel, and \(.node) is asked whose it is",
			"\("        \(.rtt_us)"[-9:]) us  \(.node) answers: \(.status), \(.spiffe_id)",
			"\("        \(.held_us)"[-9:]) us  let go: that connection, and no other"')
}

scene_stolen() {
	scene "The address is stolen, the identity is not"
	host_add stranger 66
	prompt 'net#' 'ip link set pay-1 down            (pay-1 is unplugged)'
	ip_of "$NET" link set pay-1 down
	prompt 'thief#' 'ip address add 10.77.0.11/24 dev eth0'
	ip_of "$ID-stranger" address flush dev eth0 scope global
	ip_of "$ID-stranger" address add 10.77.0.11/24 dev eth0
	must openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=pay-1 \
		-addext 'subjectAltName = URI:spiffe://acme.example/bailiwick/node/pay-1' \
		-addext 'keyUsage = critical, digitalSignature' -addext 'basicConstraints = CA:FALSE' \
		-keyout "$WORK/thief.key" -out "$WORK/thief.pem"
	start liar stranger liar.service hostile_peer answer :: 7113 --cert "$WORK/thief.pem" \
		--key "$WORK/thief.key" --node pay-1 \
		--identity spiffe://acme.example/prod/payments/settlement
	wait_line liar '^listening'
	prompt 'thief#' 'answers on port 7113 "it is settlement", with a certificate of his own making'
	reach thief stranger settlement.service payments-api:8443 '^no answer$'
	note "api-1 held the SYN and asked; what answered at that address could not prove to be pay-1."
	prompt 'api-1#' 'bailiwick why --last'
	stolen() { bw api-1 why --last | grep -qE 'attest_(unavailable|timeout)'; }
	wait_for 3 stolen
	show 'attest_(unavailable|timeout)' < <(why api-1 '^(denied|because|failed) ' |
		sed 's/;.*//; s,certificate of spiffe://[^ ]*: ,,')
	{ stop liar KILL; } 2>/dev/null
	ip netns del "$ID-stranger"
	HOSTS=(pay-1 pay-2 api-1 ctl)
	ip_of "$NET" link set pay-1 up
	ip_of "$ID-api-1" neigh flush all
	wait_for 20 reaches pay-1 settlement.service $API 8443
	call pay-1 settlement.service '^200 OK$'
}

scene_move() {
	local messages how began
	scene "Settlement moves to pay-2 while a transfer runs"
	start_fed others pay-2 deploy.service traffic hold $API 22 11
	wait_line others '^held 11 of 11'
	start transfer pay-1 settlement.service env CURL_HOME="$WORK" bash "$WORK/bin/transfer.sh"
	wait_line transfer '^200 0 '
	goes_on transfer
	began=$(now_ms)
	prompt 'ctl#' 'bailiwick-controller place prod/payments/settlement --node pay-2'
	must ctl place prod/payments/settlement --node pay-2
	prompt 'ctl#' 'bailiwick-controller place prod/payments/settlement --node pay-1 --remove'
	must ctl place prod/payments/settlement --node pay-1 --remove
	note "in force $(on_all "$began")"
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
	show 'staging-worker.*orders-db' < <(bw pay-2 why staging-worker orders-db tcp/5432 |
		grep -E '^(denied|because) ' | cut -d';' -f1)
	note "And no rule may join the two by mistake: scene 12."
}

# UC-18: what runs is not what was approved.
scene_replaced() {
	local began
	scene "An executable is replaced under a running unit"
	start ledger pay-2 ledger.service "$WORK/bin/ledger" tcp-client $API 5432 --count 0 --every 20 \
		--progress --timeout 4000
	wait_line ledger '^message 2' || unexpected
	did 'pay-2$' 'ledger orders-db:5432' 'in ledger.service' 'connected' '^connected$'
	prompt 'pay-2#' 'install evil-ledger bin/ledger     (its digest is no reference of policy)'
	began=$(now_ms)
	must install "$WORK/evil-ledger" "$WORK/bin/ledger"
	finish ledger 15
	did 'pay-2$' 'the session to orders-db:5432' 'in ledger.service' \
		"$(last_line ledger | cut -d' ' -f1) after $(in_words $((($(now_ms) - began) * 1000)))" \
		'^(reset|closed|stalled) '
	prompt 'pay-2#' "bailiwick status -o json | jq -r '.evidence[] | \"\(.identity): \(.problem)\"'"
	show 'prod/orders/ledger' < <(bw_json pay-2 '.evidence[] | "\(.identity): \(.problem)"' status)
	reach ai pay-2 execution.service orders-db:5432 '^connected$'
}

scene_quarantine() {
	local began
	scene "An incident: settlement is quarantined on every host, and released"
	start_fed session pay-2 settlement.service env CURL_HOME="$WORK" bash "$WORK/bin/transfer.sh"
	wait_line session '^200 0 '
	prompt 'ctl#' 'bailiwick-controller quarantine prod/payments/settlement --reason "incident 7"'
	ctl quarantine prod/payments/settlement --reason "incident 7" --wait 2s >"$WORK/cut" 2>&1
	show '10.77.0.21:8443' < <(head -n 5 "$WORK/cut" | cut -c1-97)
	finish session 8
	call pay-2 settlement.service '^refused'
	reach ci pay-2 deploy.service production:22 '^connected$'
	prompt 'ctl#' 'bailiwick-controller release prod/payments/settlement --reason "closed"'
	began=$(now_ms)
	must ctl release prod/payments/settlement --reason "closed"
	note "in force $(on_all "$began")"
	call pay-2 settlement.service '^200 OK$'
}

scene_mistake() {
	local before
	scene "A mistake in the policy changes nothing, and nobody else can write one"
	prompt 'ctl#' 'bailiwick check broken.yaml'
	show 'settlment.*did you mean.*settlement.*environment' \
		< <(cd "$EXAMPLES" && bailiwick check broken.yaml 2>&1)
	before=$(bw_json api-1 .policy_revision status)
	prompt 'ctl#' 'bailiwick sign broken.yaml --key policy.key --out broken'
	bailiwick sign "$EXAMPLES/broken.yaml" --key "$DATA/policy.key" \
		--out "$WORK/broken" >/dev/null 2>&1
	show 'status 3,' <<<"exit status $?, nothing is signed"
	prompt 'ctl#' 'bailiwick sign payments.yaml --key controller.key ...; bailiwick-controller publish'
	bailiwick sign "$WORK/policy" --key "$DATA/controller.key" --revision 2 --out "$WORK/forged" \
		>/dev/null 2>&1
	show 'trusted keys' < <(ctl publish "$WORK/forged" 2>&1 | cut -d';' -f1)
	show "revision $before before, $before now" \
		<<<"revision $before before, $(bw_json api-1 .policy_revision status) now"
	reach ci pay-2 deploy.service production:22 '^connected$'
}

scene_window() {
	local began
	scene "Maintenance is granted for some seconds; agent and controller die meanwhile"
	reach mnt pay-1 maintenance.service historian:4840 '^refused'
	prompt 'ctl#' 'bailiwick-controller grant maintenance-window --from prod/plant/maintenance \'
	prompt '' '    --to prod/plant/historian --for 6s --reason CHG-4711'
	began=$(date +%s%3N)
	must ctl grant maintenance-window --from prod/plant/maintenance --to prod/plant/historian \
		--for 6s --reason CHG-4711
	wait_for 5 reaches pay-1 maintenance.service "$API" 4840
	reach mnt pay-1 maintenance.service historian:4840 '^connected$'
	start session2 pay-1 maintenance.service traffic tcp-client $API 4840 --count 0 --every 50
	wait_line session2 '^connected'
	prompt 'pay-1#' 'kill -9 $(cat run/bailiwickd.pid)'
	kill -9 "$(cat "$WORK/pay-1/run/bailiwickd.pid")"
	prompt 'ctl#' 'kill -9 $(pidof bailiwick-controller)'
	# The shell would report the deaths in its own words.
	{
		stop controller KILL
		wait "${PID[agent-pay-1]}"
	} 2>/dev/null
	finish session2 15
	did 'mnt$' 'the session to historian:4840' 'in maintenance.service' \
		"$(last_line session2 | cut -d' ' -f1) $(($(date +%s%3N) - began)) ms after the grant" \
		'^(reset|closed|stalled) '
	reach mnt pay-1 maintenance.service historian:4840 '^refused'
	prompt 'pay-1#' "nft list map inet bailiwick live | tr , '\\n' | sed -n 's/counter //; /historian/p'"
	show historian < <(at pay-1 nft list map inet bailiwick live | tr , '\n' |
		sed -n 's/counter //; /maintenance >.*historian/p' | sed 's/^[[:space:]]*//')
	note "Nobody was alive to end it: the kernel did."
}

scene_gone() {
	scene "The controller is gone: everything stays as it is"
	wait_for 10 disconnected pay-2
	prompt 'pay-2#' 'bailiwick status | grep -A 1 mapping'
	show 'not reached' < <(bw pay-2 status | grep -A 1 mapping)
	call pay-2 settlement.service '^200 OK$'
	reach ci pay-2 deploy.service production:22 '^connected$'
	reach ci pay-2 build.service production:22 '^refused'
	note "So it stays for months: heads expire after a day, which is shown, and cuts nothing."
}

scene_thief() {
	local tree=$WORK/stolen/v1 truth sum
	scene "A thief has the controller, its certificate and its key"
	must mkdir -p "$WORK/stolen"
	must cp -r "$WORK/export/v1" "$WORK/stolen/"
	truth=$(payload <"$tree/heads/pay-2.dsse.json")
	jq -c '.sequence += 10 | .peers += [{identity: "prod/orders/db", node: "pay-1",
		addresses: ["10.77.0.11"]}]' "$tree/blobs/sha256/$(jq -r .view.sha256 <<<"$truth")" \
		>"$WORK/stolen/view"
	sum=$(sha256sum <"$WORK/stolen/view" | cut -d' ' -f1)
	cp "$WORK/stolen/view" "$tree/blobs/sha256/$sum"
	jq -c --arg sum "$sum" --argjson size "$(stat -c %s "$WORK/stolen/view")" \
		'.sequence += 10 | .view = {sha256: $sum, size: $size, sequence: (.view.sequence + 10)}' \
		<<<"$truth" | envelope "$TYPE_HEAD" "$DATA/controller.key" >"$WORK/stolen/head"
	cp "$WORK/stolen/head" "$tree/heads/pay-2.dsse.json"
	nginx_start thief ctl "$WORK/stolen"
	prompt 'thief$' 'says to pay-2, properly signed: "orders-db is on pay-1 too", where he listens'
	serve trap pay-1 trap.service 5432
	courier_stop pay-2
	courier_start pay-2
	widened() { bw_json pay-2 '.errors | tostring' status | grep -q prod/orders/db; }
	wait_for 20 widened
	prompt 'pay-2#' 'bailiwick status | grep -A 1 orders/db'
	show 'orders/db.*pay-1' < <(bw pay-2 status | grep -A 1 orders/db | tr -s ' ')
	did 'pay-2$' 'connect 10.77.0.11:5432' 'in execution.service' \
		"$(run pay-2 execution.service traffic tcp-client 10.77.0.11 5432 --timeout 2000 | cut -d' ' -f1)" \
		'^refused'
	reach ai pay-2 execution.service orders-db:5432 '^connected$'
	note "Policy, signed by a key that is not on the controller, says where each may be at most."
}

farewell() {
	local agents=0 hosts=${#HOSTS[@]} cgroups tables=0 host count=0
	for host in pay-1 pay-2 api-1; do
		[ -z "${PID[agent-$host]:-}" ] || agents=$((agents + 1))
		at "$host" nft list table inet bailiwick >/dev/null 2>&1 && tables=$((tables + 1))
	done
	cgroups=$(find "$CG" -mindepth 1 -type d | wc -l)
	[ ! -e "$WORK/unexpected" ] || count=$(wc -l <"$WORK/unexpected")
	[ "$count" = 0 ] || {
		KEEP=1
		echo
		echo "$count UNEXPECTED. Logs of the agents: $WORK/*/agent.log"
	}
	remove_all
	echo
	[ "$count" != 0 ] || echo "All $SCENES scenes went as the policy says."
	printf 'Removed: 1 controller, %d agents, %d hosts, %d cgroups, %d tables.\n' \
		"$agents" "$hosts" "$cgroups" "$tables"
	if [ -d "$CG" ] || ip netns list | grep -q "^$ID-"; then
		echo "UNEXPECTED: something is left: $CG, $(ip netns list | grep "^$ID-" | tr '\n' ' ')"
		exit 1
	fi
	[ "$count" = 0 ] || exit 1
	echo "Next: README \"The first hour\", or \`make check\` for the proof of each line above."
}

write_programs
hosts_up
header
scene_enrol
services_up
scene_identity
scene_wrong_process
scene_time_line
scene_stolen
scene_move
scene_tasks
scene_staging
scene_replaced
scene_quarantine
scene_mistake
must ctl publish --to "$WORK/export"
scene_window
scene_gone
scene_thief
farewell
