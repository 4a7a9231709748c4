# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# A courier alone: fake_agent holds its socket, nginx is the server. For tests/netns/courier-*.sh;
# beside everything of lib.sh:
#
#   courier_net                 hosts pay-1 and web, a CA, a certificate for web
#   web_start [CONFIG]          nginx on web, serving $WWW; CONFIG goes into its server block
#   agent_up                    fake_agent on pay-1; courier_up starts the courier
#   tell LINE; told PATTERN     orders to fake_agent, what it has said
#   head_file TEXT              what /v1/heads/pay-1.dsse.json says from now on

# shellcheck source=tests/netns/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ -x "$B/bailiwick-courier" ] || skip_all "bailiwick-courier is not built"
command -v nginx >/dev/null || skip_all "nginx is not installed"

WEB=10.77.0.31
WWW=$WORK/www
URL=https://$WEB:8443

# ca_make NAME: a CA of its own in $WORK/NAME.pem
ca_make() {
	must openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
		-subj "/CN=$1" -keyout "$WORK/$1.key" -out "$WORK/$1.pem"
}

# cert_make CA NAME SAN
cert_make() {
	must openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" \
		-keyout "$WORK/$2.key" -out "$WORK/$2.csr"
	must openssl x509 -req -in "$WORK/$2.csr" -CA "$WORK/$1.pem" -CAkey "$WORK/$1.key" \
		-days 2 -extfile <(echo "subjectAltName=$3") -out "$WORK/$2.pem"
}

courier_net() {
	host_add pay-1 11
	host_add web 31
	ca_make ca
	cert_make ca web "IP:$WEB,IP:fd77::31"
	mkdir -p "$WWW/v1/heads" "$WWW/v1/manifests" "$WWW/v1/blobs/sha256" "$WORK/pay-1/run" \
		"$WORK/cache"
	chmod 711 "$WORK/pay-1"
	chmod 777 "$WORK/cache"
}

# web_start [CONFIG]
web_start() {
	local dir=$WORK/web
	mkdir -p "$dir/tmp"
	cat >"$dir/nginx.conf" <<-CONF
		worker_processes 1;
		daemon off;
		master_process off;
		user root;
		pid $dir/nginx.pid;
		error_log $dir/error.log;
		events { worker_connections 64; }
		http {
			log_format t '\$request_method \$request_uri \$status \$http_if_none_match \$http_range';
			access_log $dir/access.log t;
			client_body_temp_path $dir/tmp; proxy_temp_path $dir/tmp; fastcgi_temp_path $dir/tmp;
			uwsgi_temp_path $dir/tmp; scgi_temp_path $dir/tmp;
			server {
				listen $WEB:8443 ssl http2;
				listen [fd77::31]:8443 ssl http2;
				ssl_certificate ${CERT:-$WORK/web.pem};
				ssl_certificate_key ${CERT_KEY:-$WORK/web.key};
				root $WWW;
				${1:-}
			}
		}
	CONF
	[ -e "$dir/access.log" ] || : >"$dir/access.log"
	start web web nginx.service nginx -c "$dir/nginx.conf" -p "$dir"
	wait_for 20 at web curl -sk -o /dev/null "$URL/" && return
	fail "set-up" "nginx does not answer: $(tail -n 2 "$dir/error.log")"
	exit 1
}

# agent_up [OPTION...]
agent_up() {
	rm -f "$WORK/agent.in"
	start_fed agent pay-1 agent.service fake_agent --socket "$WORK/pay-1/run/courier.sock" \
		--url "$URL" --node pay-1 --ca "$WORK/ca.pem" "$@"
	wait_line agent '^listening' || exit 1
}

# courier_up [OPTION...]: as a user that owns nothing
courier_up() {
	start courier pay-1 courier.service env ${COURIER_ENV:-} bailiwick-courier \
		--run-dir "$WORK/pay-1/run" --cache "$WORK/cache" --user 64901 "$@"
}

tell() {
	feed agent "$1"
}

# told PATTERN [SECONDS]: fake_agent has heard it from the courier
told() {
	wait_line agent "$1" "${2:-20}"
}

count_told() {
	grep -cE "$1" "$WORK/agent.out"
}

more_told() {
	[ "$(count_told "$1")" -gt "$2" ]
}

head_file() {
	echo "$1" >"$WORK/head.new"
	mv "$WORK/head.new" "$WWW/v1/heads/pay-1.dsse.json"
}

digest() {
	sha256sum "$1" | cut -d' ' -f1
}

# blob BYTES: fills HEX, and SIZE
blob() {
	head -c "$1" /dev/urandom >"$WORK/blob"
	HEX=$(digest "$WORK/blob")
	SIZE=$1
	mv "$WORK/blob" "$WWW/v1/blobs/sha256/$HEX"
}

# asked PATTERN: how many requests
asked() {
	grep -cE "$1" "$WORK/web/access.log"
}

rss_kb() {
	awk '/^VmHWM/ { print $2 }' "/proc/${PID[$1]}/status"
}
