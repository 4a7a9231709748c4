# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# The subjects of bench/attested.sh: pairs of hosts between which connections are opened, each pair
# two network namespaces joined by a veth, made by the same lines, with a server on the one and
# clients on the other. What differs is only what stands between:
#
#   none, again   nothing, twice: how much two alike differ here is how far to trust the rest
#   conntrack     connection tracking on both hosts, no rule
#   queue         the same, and the called host asks a program that accepts every SYN
#   mapped, attested, callee      two agents: a rule of each kind on a port of its own
#   opensnitch    its daemon on the calling host (it filters what goes out)
#   haproxy-full, haproxy-resumed, stunnel    a proxy on each host, mutual TLS between them
#
# A subject that cannot be had is not silently missing: WHY[subject] says why.

# WATCH: programs of lib.sh's PID whose time on a CPU is noted
declare -A CALLER CALLED TO PORT WHY CPU WATCH
SERVER_PORT=8000
QUEUE=7200
SNITCH_QUEUE=7201

# Direct, instead of lib.sh's bridge: a pair has nobody else.
host_add() {
	fail "set-up" "hosts of this benchmark come in pairs: $1"
	exit 1
}

# pair_add CALLER CALLED NUMBER
pair_add() {
	local end name
	for name in "$1" "$2"; do
		mkdir -p "$CG/$name/system.slice" "$WORK/$name"
		ip netns add "$ID-$name" || exit 1
		HOSTS+=("$name")
	done
	ip link add eth0 netns "$ID-$1" type veth peer name eth0 netns "$ID-$2" || exit 1
	for end in 1 2; do
		name=${!end}
		ADDR4[$name]=10.77.$3.$end
		ADDR6[$name]=fd77:$3::$end
		ip_of "$ID-$name" link set lo up
		ip_of "$ID-$name" address add "10.77.$3.$end/24" dev eth0
		ip_of "$ID-$name" address add "fd77:$3::$end/64" dev eth0 nodad
		ip_of "$ID-$name" link set eth0 up
		at "$name" sysctl -qw net.ipv4.ip_local_port_range='2000 60000'
	done
	CPU[$1]=$CPU_CALLER
	CPU[$2]=$CPU_CALLED
}

# subject NAME CALLER CALLED PORT [ADDRESS]
subject() {
	CALLER[$1]=$2
	CALLED[$1]=$3
	PORT[$1]=$4
	TO[$1]=${5:-${ADDR4[$3]}}
}

# Every process of a host runs on that host's CPUs.
pin() {
	local pid
	find "$CG/$1" -name cgroup.procs -exec cat {} + | while read -r pid; do
		taskset -acp "${CPU[$1]}" "$pid" >/dev/null 2>&1
	done
}

# pin_hosts CPUS CPUS: of the calling hosts, of the called ones
pin_hosts() {
	local host
	for host in "${CALLER[@]}"; do
		CPU[$host]=$1
		pin "$host"
	done
	for host in "${CALLED[@]}"; do
		CPU[$host]=$2
		pin "$host"
	done
}

# server HOST UNIT [PORT]
server() {
	local port=${3:-$SERVER_PORT}
	start "server-$1-$port" "$1" "$2" "$B/bench/connects" serve "$port" 8
	wait_line "server-$1-$port" '^listening' || exit 1
}

host_rules() {
	at "$1" nft -f - || exit 1
}

# Conntrack is switched on by a rule's mere existence; no packet comes to a chain without hook.
tracked() {
	host_rules "$1" <<-'END'
		table inet base { chain unused { ct state new accept; }; }
	END
}

# ---------------------------------------------------------------------------------- baselines

baselines_add() {
	pair_add none-a none-b 101
	pair_add again-a again-b 102
	pair_add conntrack-a conntrack-b 103
	pair_add queue-a queue-b 104
	local name
	for name in none again conntrack queue; do
		server "$name-b" api.service
		subject "$name" "$name-a" "$name-b" "$SERVER_PORT"
	done
	tracked conntrack-a
	tracked conntrack-b
	tracked queue-a
	WATCH[queue]=accept-all
	start accept-all queue-b filter.service "$B/bench/accept_all" "$QUEUE"
	wait_line accept-all '^listening' || exit 1
}

# ---------------------------------------------------------------------------------- opensnitch

# Its directory is compiled in, so a private mount puts ours there.
snitch_files() {
	mkdir -p "$WORK/snitch/rules"
	cat >"$WORK/snitch/default-config.json" <<-END
		{"Server": {"Address": "unix://$WORK/snitch/ui.sock", "LogFile": "$WORK/snitch/log"},
		 "DefaultAction": "allow", "DefaultDuration": "once", "InterceptUnknown": false,
		 "ProcMonitorMethod": "proc", "LogLevel": 2, "Firewall": "iptables",
		 "Stats": {"MaxEvents": 150, "MaxStats": 25, "Workers": 6}}
	END
	cp /etc/opensnitchd/system-fw.json "$WORK/snitch/"
	cat >"$WORK/snitch/rules/clients.json" <<-END
		{"created": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z",
		 "name": "clients", "enabled": true, "precedence": true, "action": "allow",
		 "duration": "always", "operator": {"type": "simple", "operand": "process.path",
		 "sensitive": false, "data": "$B/bench/connects", "list": []}}
	END
}

# How many packets its queue has had.
snitch_asked() {
	at snitch-a awk -v q=$SNITCH_QUEUE '$1 == q { print $8 }' /proc/net/netfilter/nfnetlink_queue
}

snitch_asks() {
	local before
	before=$(snitch_asked)
	[ -n "$before" ] && client opensnitch first 900 >/dev/null && [ "$(snitch_asked)" -gt "$before" ]
}

snitch_add() {
	pair_add snitch-a snitch-b 105
	server snitch-b api.service
	subject opensnitch snitch-a snitch-b "$SERVER_PORT"
	command -v opensnitchd >/dev/null && command -v iptables >/dev/null || {
		WHY[opensnitch]="Debian packages opensnitch and iptables are not installed"
		return
	}
	snitch_files
	start snitch snitch-a snitch.service unshare -m sh -c \
		'mount --bind "$1" /etc/opensnitchd && exec opensnitchd -rules-path "$1/rules" \
		-process-monitor-method proc -queue-num "$2"' sh "$WORK/snitch" $SNITCH_QUEUE
	wait_for 8 snitch_asks && return
	WHY[opensnitch]="it started, and asked nothing: $(tail -n 1 "$WORK/snitch/log" 2>/dev/null |
		tr -cd '[:print:]'; tail -n 2 "$WORK/snitch.out" | tr -cd '[:print:]')"
}

# ----------------------------------------------------------------------------------- sidecars

# haproxy wants key and certificate in one file.
sidecar_files() {
	local host
	for host in none-a none-b; do
		svid "$host"
		cat "$WORK/$host/svid/cert.pem" "$WORK/$host/svid/key.pem" >"$WORK/$host/both.pem"
	done
}

haproxy_config() {
	local host=$1
	local tls="ssl crt $WORK/$host/both.pem ca-file $WORK/$host/svid/bundle.pem verify required"
	local far=${ADDR4[none-b]}
	cat <<-END
		global
		  nbthread 1
		  maxconn 4000
		  ssl-default-bind-options ssl-min-ver TLSv1.3
		  ssl-default-server-options ssl-min-ver TLSv1.3
		defaults
		  mode tcp
		  timeout connect 5s
		  timeout client 30s
		  timeout server 30s
	END
	if [ "$host" = none-a ]; then
		printf 'listen full\n  bind 127.0.0.1:9001\n'
		printf '  server far %s:9101 %s no-ssl-reuse no-tls-tickets\n' "$far" "$tls"
		printf 'listen resumed\n  bind 127.0.0.1:9002\n  server far %s:9102 %s\n' "$far" "$tls"
	else
		printf 'listen full\n  bind %s:9101 %s no-tls-tickets\n' "$far" "$tls"
		printf '  server near 127.0.0.1:%s\n' $SERVER_PORT
		printf 'listen resumed\n  bind %s:9102 %s\n  server near 127.0.0.1:%s\n' "$far" \
			"$tls" $SERVER_PORT
	fi
}

stunnel_config() {
	local host=$1 dir=$WORK/$1/svid
	printf 'foreground = yes\npid =\ndebug = err\nsyslog = no\n[service]\n'
	printf 'cert = %s\nkey = %s\nCAfile = %s\n' "$dir/cert.pem" "$dir/key.pem" "$dir/bundle.pem"
	printf 'verifyChain = yes\nsslVersionMin = TLSv1.3\n'
	if [ "$host" = none-a ]; then
		printf 'client = yes\naccept = 127.0.0.1:9003\nconnect = %s:9103\n' "${ADDR4[none-b]}"
	else
		printf 'accept = %s:9103\nconnect = 127.0.0.1:%s\n' "${ADDR4[none-b]}" $SERVER_PORT
	fi
}

# proxies KIND PROGRAM SUBJECT...: the same program on both hosts; Debian's name is the package's
proxies() {
	local kind=$1 program=$2 host
	shift 2
	for host in none-a none-b; do
		command -v "$program" >/dev/null || {
			for name in "$@"; do
				WHY[$name]="Debian package $program is not installed"
			done
			return
		}
		"${kind}_config" "$host" >"$WORK/$host/$kind.conf"
		if [ "$kind" = haproxy ]; then
			start "$kind-$host" "$host" proxy.service "$program" -f "$WORK/$host/$kind.conf"
		else
			start "$kind-$host" "$host" proxy.service "$program" "$WORK/$host/$kind.conf"
		fi
	done
	for name in "$@"; do
		wait_for 5 client "$name" first 900 && continue
		WHY[$name]="no connection through it: $(tail -n 1 "$WORK/$kind-none-a.out" |
			tr -cd '[:print:]')"
	done
}

sidecars_add() {
	sidecar_files
	subject haproxy-full none-a none-b 9001 127.0.0.1
	subject haproxy-resumed none-a none-b 9002 127.0.0.1
	subject stunnel none-a none-b 9003 127.0.0.1
	proxies haproxy haproxy haproxy-full haproxy-resumed
	proxies stunnel stunnel4 stunnel
}

# ----------------------------------------------------------------------------------- our own

MAPPED_PORT=8441
ATTESTED_PORT=8442
CALLEE_PORT=8443

ours_policy() {
	local service
	printf 'trust_domain: acme.example\nidentities:\n'
	identity settlement prod/payments/settlement settlement.service ''
	identity api prod/payments/api api.service \
		"tcp/$MAPPED_PORT, tcp/$ATTESTED_PORT, tcp/$CALLEE_PORT"
	printf 'rules:\n'
	rule calls-mapped settlement api tcp/$MAPPED_PORT
	attested calls-attested settlement api tcp/$ATTESTED_PORT
	attested calls-callee settlement api tcp/$CALLEE_PORT 'callee: attested'
}

# Alone among the hosts when its views are written: the other pairs are no part of its fleet.
ours_add() {
	local host name
	pair_add pay-1 api-1 100
	attest_host pay-1 enforce
	attest_host api-1 enforce
	place prod/payments/settlement pay-1
	place prod/payments/api api-1
	views
	ours_policy | policy
	agents_start pay-1 api-1
	apply_all
	for name in mapped attested callee; do
		local port=${name^^}_PORT
		server api-1 api.service "${!port}"
		subject "$name" pay-1 api-1 "${!port}"
		WATCH[$name]="agent-api-1 agent-pay-1"
		client "$name" first 5000 >/dev/null || WHY[$name]="no connection is let through"
	done
}

# client SUBJECT VERB ARGUMENTS...: of bench/connects, in the unit that may call
client() {
	local name=$1 verb=$2
	shift 2
	run "${CALLER[$name]}" settlement.service taskset -c "${CPU[${CALLER[$name]}]}" \
		"$B/bench/connects" "$verb" "${TO[$name]}" "${PORT[$name]}" "$@"
}
