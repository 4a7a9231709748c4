#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The courier behind an HTTP proxy: what it is told goes through it; what goes wrong at the proxy is
# told as the proxy's, and the name and password of its URL are told to nobody else.
. "$(dirname "$0")/lib-courier.sh"

SECRET=s3cr3t-w0rd
PROXY=10.77.0.41
courier_net
host_add proxy 41
head_file one
web_start
agent_up

# proxy_up [OPTION...]
proxy_up() {
	start proxy proxy proxy.service connect_proxy --listen $PROXY --port 3128 "$@"
	wait_line proxy '^listening' || exit 1
}
heard() {
	wait_line proxy "$1" 30
}
# again [OPTION...]: a courier that has just been started, and a proxy that has
again() {
	stop courier
	cat "$WORK/courier.out" "$WORK/agent.out" >>"$WORK/all.log"
	[ -z "${PID[proxy]:-}" ] || stop proxy
	stop agent
	agent_up
	[ "$1" = none ] || proxy_up "$@"
	courier_up
}

# --- through it
proxy_up
COURIER_ENV="https_proxy=http://$PROXY:3128" courier_up
check "the head comes" told "^head .* $(digest "$WWW/v1/heads/pay-1.dsse.json")"
check "through the proxy" heard "^connect $WEB:8443"
check "which the courier says at its start" wait_line courier "proxy at $PROXY:3128"

# --- it dies in the middle of a poll
start silent web silent.service socat -u TCP-LISTEN:9001,bind=127.0.0.1,fork,reuseaddr /dev/null
stop courier
stop web
web_start 'location = /v1/head { proxy_pass http://127.0.0.1:9001; proxy_read_timeout 300s; }'
stop agent
agent_up
COURIER_ENV="https_proxy=http://$PROXY:3128" courier_up
parked() { [ "$(grep -c '^tunnel' "$WORK/proxy.out")" -gt "$1" ]; }
tunnels=$(grep -c '^tunnel' "$WORK/proxy.out")
check "a poll waits at the server" wait_for 30 parked $((tunnels - 1))
stop proxy KILL
check "the proxy dies and is named" told "^contact no .*proxy at $PROXY:3128"
check "in the log, too" wait_line courier "controller: .*proxy at $PROXY:3128"
proxy_up
check "it is back and used" heard '^tunnel'
stop web
web_start

# --- nobody listens there
export COURIER_ENV="https_proxy=http://$PROXY:3128"
again none
check "no proxy there: it is named" told "^contact no .*proxy at $PROXY:3128"

# --- name and password
COURIER_ENV="https_proxy=http://$PROXY:3128"
again --basic "$(printf 'courier:%s' $SECRET | base64)"
check "a proxy that asks for a name" told '^contact no .*proxy at .*name and .*password'
COURIER_ENV="https_proxy=http://courier:wrong-$SECRET@$PROXY:3128"
again --basic "$(printf 'courier:%s' $SECRET | base64)"
check "a wrong password is told as that" told '^contact no .*proxy at .*refuses'
COURIER_ENV="https_proxy=http://courier:$SECRET@$PROXY:3128"
again --basic "$(printf 'courier:%s' $SECRET | base64)"
check "the right one goes through" told '^head'
check "by a tunnel" heard '^tunnel'

# --- answers that are none
again --basic x --answer 'HTTP/1.1 502 Bad Gateway\n\n'
check "502 is the proxy's" told '^contact no .*proxy at .*502'
again --answer 'what is this\n\n'
check "nonsense is the proxy's" told '^contact no .*proxy at '
again --answer ''
check "silence is the proxy's" told '^contact no .*proxy at '

# --- exceptions
for list in "$WEB" "10.77.0.0/24" "example.org,$WEB" "*"; do
	COURIER_ENV="https_proxy=http://courier:$SECRET@$PROXY:3128 no_proxy=$list"
	again --answer 'HTTP/1.1 502 Bad Gateway\n\n'
	check "not for no_proxy=$list" told '^head'
	same "nobody asked the proxy ($list)" "$(grep -c '^connect' "$WORK/proxy.out")" 0
done

# --- an address that is none
COURIER_ENV="https_proxy=gopher://courier:$SECRET@$PROXY:3128"
again none
check "an odd scheme is told" told '^contact no .*https_proxy'
COURIER_ENV="https_proxy=http://courier:$SECRET@$PROXY:port"
again none
check "what is no URL is told" told '^contact no .*https_proxy'

stop courier
same "the secret is in no log and no message" \
	"$(grep -lra "$SECRET\|$(printf 'courier:%s' $SECRET | base64)" "$WORK/all.log" "$WORK"/*.out "$WORK"/web/*.log "$WORK/cache" 2>/dev/null)" ""
finish_tests
