# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# A controller alone, asked by curl and openssl, for tests/netns/controller-*.sh; beside everything
# of lib.sh and lib-fleet.sh.
#
#   node_keys NAME                 key and CSR at $WORK/NAME.key and NAME.csr
#   node_enrolled NAME             and its certificate at NAME.pem, by a token
#   ask WANTED NAME CURL-ARGS...   fails unless the status is WANTED; body in BODY, headers in HEADERS
#   as NODE, as_nobody, as_operator   who asks from now on

# shellcheck source=tests/netns/lib-fleet.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib-fleet.sh"

WHO=()
as() {
	WHO=(--cert "$WORK/$1.pem" --key "$WORK/$1.key")
}
as_nobody() {
	WHO=()
}
as_operator() {
	WHO=(--cert "$DATA/operator.pem" --key "$DATA/operator.key")
}

# curl_raw CURL-ARGS...: prints the status; body to $WORK/body, headers to $WORK/headers
curl_raw() {
	: >"$WORK/body"
	at ctl curl -sS --max-time 90 --cacert "$DATA/ca.pem" ${WHO[@]+"${WHO[@]}"} -o "$WORK/body" \
		-D "$WORK/headers" -w '%{http_code}' "$@" 2>"$WORK/curl.err"
}

# ask WANTED NAME CURL-ARGS...
ask() {
	local want=$1 name=$2 got
	shift 2
	got=$(curl_raw "$@")
	BODY=$(head -c 4000 "$WORK/body" | tr -d '\0')
	HEADERS=$(tr -d '\r' <"$WORK/headers")
	if [ "$got" = "$want" ]; then
		pass "$name"
	else
		fail "$name" "status $got, want $want: $(head -c 300 "$WORK/body") $(cat "$WORK/curl.err")"
	fi
}

# problem WANTED CODE NAME CURL-ARGS...: as ask, and a problem document with that code
problem() {
	local want=$1 code=$2 name=$3
	shift 3
	ask "$want" "$name" "$@"
	is_problem "$want" "$code" "$name"
}

# is_problem WANTED CODE NAME: the last answer was a problem document with that code
is_problem() {
	local want=$1 code=$2 name=$3
	same "$name: as problem+json" \
		"$(jq -r '[.status, .code, (.title | length > 0), (.detail | length > 0)] | tostring' \
			"$WORK/body" 2>&1) $(grep -ci '^content-type: application/problem+json' <<<"$HEADERS")" \
		"[$want,\"$code\",true,true] 1"
}

# slowed_down NAME CURL-ARGS...: who guesses like that is told to wait. One try comes back each six
# seconds, so of many that follow one another any one may be heard again.
slowed_down() {
	local name=$1 tries=0 heard=0 began
	shift
	began=$(now_ms)
	while [ "$(curl_raw "$@")" != 429 ] || [ $tries -lt 12 ]; do
		tries=$((tries + 1))
		grep -q too_many_tries "$WORK/body" || heard=$((heard + 1))
		[ $tries -lt 100 ] || break
	done
	HEADERS=$(tr -d '\r' <"$WORK/headers")
	is_problem 429 too_many_tries "$name"
	same "$name: after so many ($heard of $tries were heard)" \
		$((heard <= 11 + ($(now_ms) - began) / 6000)) 1
}

node_keys() {
	openssl ecparam -name prime256v1 -genkey -noout -out "$WORK/$1.key" 2>/dev/null
	openssl req -new -key "$WORK/$1.key" -subj "/CN=somebody else" -outform DER \
		-out "$WORK/$1.csr" 2>/dev/null
	base64 "$WORK/$1.csr" >"$WORK/$1.b64"
}

# cert_of NAME: what the last answer has brought, to NAME.pem
cert_of() {
	base64 -d "$WORK/body" | openssl pkcs7 -inform DER -print_certs -out "$WORK/$1.pem"
}

# enroll_args NAME TOKEN
enroll_args() {
	printf '%s\n' -u "${2%%.*}:${2#*.}" -H 'Content-Type: application/pkcs10' \
		--data-binary "@$WORK/$1.b64" "$URL/.well-known/est/simpleenroll"
}

node_enrolled() {
	local args
	node_keys "$1"
	token "$1"
	mapfile -t args < <(enroll_args "$1" "$TOKEN")
	as_nobody
	[ "$(curl_raw "${args[@]}")" = 200 ] && cert_of "$1" && return
	fail "set-up" "$1 is not enrolled: $(cat "$WORK/body" "$WORK/curl.err")"
	exit 1
}

# still_serves NAME: whatever was done to it
still_serves() {
	as_operator
	ask 200 "$1" "$URL/v1/operator/nodes"
	ended controller && fail "$1" "the controller has ended: $(tail -n 3 "$WORK/controller.out")"
}
