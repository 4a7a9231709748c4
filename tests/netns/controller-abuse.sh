# SPDX-License-Identifier: GPL-3.0-or-later
# UC-83: what a hostile or broken client may try: slow bytes, huge bodies, bombs, garbage for TLS,
# wrong and expired certificates, replayed and guessed tokens, tricks in paths, SQL in names, a
# database that is locked, gone or on a full disk. Clear problem documents, nothing lost, and the
# server stays up.
. "$(dirname "$0")/lib-controller.sh"
command -v sqlite3 >/dev/null || skip_all "needs sqlite3"
# What is freed counts as memory here: a sanitizer keeps it for a while.
export ASAN_OPTIONS=$ASAN_OPTIONS:quarantine_size_mb=1

host_add ctl $CTL_NUMBER
mkdir -p "$WORK/ctl/tmpfs"
mount -t tmpfs -o size=64m,mode=0700 tmpfs "$WORK/ctl/tmpfs" || skip_all "needs to mount a tmpfs"
DATA=$WORK/ctl/tmpfs/data
controller_start --admin "unix:$WORK/admin.sock" --svid-ttl 1h
node_enrolled pay-1
fleet_policy <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
publish
pid=${PID[controller]}
metric() {
	at ctl curl -s --unix-socket "$WORK/admin.sock" http://x/metrics |
		sed -n "s/^bailiwick_controller_$1 //p"
}

# --- garbage for TLS, connections that say nothing
head -c 100000 /dev/urandom >"$WORK/garbage"
for i in 1 2 3 4 5; do
	at ctl timeout 5 socat -u "OPEN:$WORK/garbage" "TCP:10.77.0.$CTL_NUMBER:$CTL_PORT" 2>/dev/null
done
still_serves "garbage instead of TLS"
: >"$WORK/silence"
at ctl bash -c "for i in \$(seq 200); do
		exec {fd}<>/dev/tcp/10.77.0.$CTL_NUMBER/$CTL_PORT || exit
	done; echo open >>'$WORK/silence'; sleep 40" &
SILENT=$!
wait_for 10 test -s "$WORK/silence"
still_serves "200 connections that say nothing"
hanging() { [ "$(metric connections)" -le 20 ]; }
check "they are closed before long" wait_for 40 hanging
kill $SILENT 2>/dev/null
wait $SILENT 2>/dev/null

# --- a request, a byte every second: the whole of it has seconds, not each byte
drip() {
	{
		for i in $(seq 60); do
			printf 'X'
			sleep 1
		done
	} | at ctl timeout 60 openssl s_client -quiet -connect "10.77.0.$CTL_NUMBER:$CTL_PORT" \
		-CAfile "$DATA/ca.pem" >/dev/null 2>&1
}
began=$(now_ms)
drip &
DRIP=$!
still_serves "a byte every second"
late=$(metric late_closed_total)
slow_one_closed() { [ "$(metric late_closed_total)" -gt "$late" ]; }
check "the slow one is closed" wait_for 45 slow_one_closed
kill $DRIP 2>/dev/null
wait $DRIP 2>/dev/null

# --- bodies
as pay-1
head -c 300000 /dev/zero >"$WORK/large"
problem 413 too_large "a status that is too large" --data-binary "@$WORK/large" "$URL/v1/status"
problem 413 too_large "without a length too" -H 'Transfer-Encoding: chunked' \
	--data-binary "@$WORK/large" "$URL/v1/status"
head -c 50000000 /dev/zero >"$WORK/huge"
before=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")
curl_raw -H 'Transfer-Encoding: chunked' --data-binary "@$WORK/huge" "$URL/v1/status" >/dev/null
curl_raw -H 'Expect:' --data-binary "@$WORK/huge" "$URL/v1/status" >/dev/null
after=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")
same "50 MB of nothing are not kept" $((after - before < 8192)) 1
gzip -c "$WORK/huge" >"$WORK/bomb.gz"
problem 413 too_large "a gzip that grows a thousandfold" --data-binary "@$WORK/bomb.gz" "$URL/v1/logs"
head -c 1000 "$WORK/bomb.gz" >"$WORK/half.gz"
problem 400 bad_request "half a gzip" --data-binary "@$WORK/half.gz" "$URL/v1/logs"
problem 400 bad_request "JSON that is none" --data-binary '{"version": 1' "$URL/v1/status"
printf '[%.0s' $(seq 5000) >"$WORK/deep"
problem 400 bad_request "JSON that is deep" --data-binary "@$WORK/deep" "$URL/v1/status"
printf '{"version": 1, "node": "pay-1\xff"}' >"$WORK/latin"
problem 400 bad_request "what is not UTF-8" --data-binary "@$WORK/latin" "$URL/v1/status"
got=$(curl_raw -H "X-Long: $(head -c 20000 /dev/zero | tr '\0' a)" "$URL/v1/trust")
like "20 kB of headers" "$got" '^(431|413|400|000)$'
still_serves "after all these bodies"

# --- paths and methods
as pay-1
for path in '/v1/../v1/trust' '/v1/./trust' '/v1//trust' '//v1/trust' '/v1/trust/' '/v1/%74rust' \
	'/v1/blobs/sha256/..%2f..%2fetc%2fpasswd' '/v1/blobs/sha256/../../../etc/passwd' \
	'/.well-known/est/../../v1/trust' '/v1/manifests/1%00' '/v1/operator/nodes/a%2fb/ban' \
	'/etc/passwd' "/v1/operator/nodes/x';DROP%20TABLE%20nodes;--/ban"; do
	problem 404 not_found "path $path" --path-as-is "$URL$path"
done
problem 405 method "an unknown method" -X BREW "$URL/v1/trust"
like "is told which is right" "$HEADERS" 'Allow: GET, HEAD'
problem 405 method "PUT" -X PUT --data-binary x "$URL/v1/status"
problem 405 method "OPTIONS" -X OPTIONS "$URL/v1/head"

# --- certificates
leaf() { # NAME ID DAYS CA-NAME
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" \
		-keyout "$WORK/$1.key" -out "$WORK/$1.req" 2>/dev/null
	cat >"$WORK/$1.ext" <<-EXT
		basicConstraints = critical, CA:FALSE
		keyUsage = critical, digitalSignature
		extendedKeyUsage = serverAuth, clientAuth
		subjectAltName = URI:$2
	EXT
	openssl x509 -req -in "$WORK/$1.req" -CA "$4.pem" -CAkey "$4.key" -CAcreateserial \
		-days "$3" -extfile "$WORK/$1.ext" -out "$WORK/$1.pem" 2>/dev/null
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
	-keyout "$WORK/evil.key" -out "$WORK/evil.pem" -subj "/O=acme.example/CN=Bailiwick CA" 2>/dev/null
leaf forged spiffe://acme.example/bailiwick/operator/local 1 "$WORK/evil"
as forged
problem 401 bad_certificate "signed by a CA with the same name" "$URL/v1/operator/status"
cp "$DATA/ca.pem" "$WORK/own.pem"
cp "$DATA/ca.key" "$WORK/own.key"
leaf elsewhere spiffe://evil.example/bailiwick/operator/local 1 "$WORK/own"
as elsewhere
problem 401 bad_certificate "of another trust domain" "$URL/v1/operator/status"
leaf odd spiffe://acme.example/bailiwick/operator/local/x 1 "$WORK/own"
as odd
problem 403 forbidden "with a path that is nobody's" "$URL/v1/operator/status"
leaf old spiffe://acme.example/bailiwick/operator/local -1 "$WORK/own"
if openssl x509 -in "$WORK/old.pem" -noout -checkend 0 >/dev/null 2>&1; then
	pass "an expired certificate: this openssl makes none"
else
	as old
	problem 401 expired_certificate "an expired certificate" "$URL/v1/operator/status"
fi
still_serves "after all these certificates"

# --- tokens
node_keys pay-3
token pay-3
mapfile -t args < <(enroll_args pay-3 "$TOKEN")
as_nobody
ask 200 "a token, once" "${args[@]}"
problem 409 used "not twice" "${args[@]}"
mapfile -t args < <(enroll_args pay-3 "tok_aaaaa1.aaaaaaaaaaaaaaaaaaaaaaaaaa")
slowed_down "guessing is slowed down" "${args[@]}"
like "and told for how long" "$HEADERS" 'Retry-After: [1-9]'
as pay-1
ask 200 "which those who are enrolled do not notice" "$URL/v1/head"

# --- SQL in names
as_operator
order() { # WANTED CODE NAME PATH JSON
	problem "$1" "$2" "$3" -H 'Content-Type: application/json' --data-binary "$5" \
		"$URL/v1/operator/$4"
}
order 400 bad_request "SQL for a node" tokens '{"node": "x'\''; DROP TABLE tokens; --"}'
order 404 not_found "SQL for an identity" place \
	'{"identity": "x'\'' OR 1=1; --", "node": "pay-1"}'
order 404 not_found "SQL for a rule" revoke \
	'{"kind": "rule", "name": "\"; DELETE FROM actions; --", "reason": "test"}'
order 400 bad_request "an unknown member" tokens '{"node": "pay-4", "usses": 2}'
order 400 bad_request "a number that is none" tokens '{"node": "pay-4", "uses": "many"}'
order 400 bad_request "twice the same member" tokens '{"node": "a", "node": "b"}'
must ctl quarantine prod/payments/settlement --reason "it's \"SQL\"; DROP TABLE audit; --"
like "what is quoted is a text" "$(ctl_json '.actions[0].reason' status)" "it's .SQL.; DROP TABLE"
must ctl release prod/payments/settlement --reason over
same "all tables are there" "$(sqlite3 "$DATA/controller.db" 'PRAGMA integrity_check')" ok

# --- the database locked
sqlite3 "$DATA/controller.db" >"$WORK/lock.out" 2>&1 <<-SQL &
	BEGIN IMMEDIATE;
	SELECT 'locked';
	.shell while [ ! -e "$WORK/unlock" ]; do sleep 0.1; done
	ROLLBACK;
SQL
LOCK=$!
wait_for 5 grep -q locked "$WORK/lock.out"
as_operator
problem 503 busy "a locked database" -H 'Content-Type: application/json' \
	--data-binary '{"node": "pay-5"}' "$URL/v1/operator/tokens"
like "is tried again" "$HEADERS" 'Retry-After: [1-9]'
as pay-1
ask 200 "heads are served meanwhile" "$URL/v1/head"
touch "$WORK/unlock"
wait $LOCK
as_operator
ask 200 "and then it works" -H 'Content-Type: application/json' --data-binary '{"node": "pay-5"}' \
	"$URL/v1/operator/tokens"

# --- the disk full
dd if=/dev/zero of="$WORK/ctl/tmpfs/fill" bs=64k >/dev/null 2>&1
full=0
for i in $(seq 200); do
	got=$(curl_raw -H 'Content-Type: application/json' --data-binary '{"node": "pay-6"}' \
		"$URL/v1/operator/tokens")
	[ "$got" = 200 ] || break
done
like "a full disk is told" "$got $(jq -r .code "$WORK/body")" '^(507 full|503 store|503 read_only)$'
as pay-1
ask 200 "heads are served meanwhile" "$URL/v1/head"
rm "$WORK/ctl/tmpfs/fill"
token_made() { ctl token create --node pay-7; }
check "and with room again it works" wait_for 10 token_made

# --- the database gone
mkdir "$WORK/aside"
for file in "$DATA"/controller.db*; do
	mv "$file" "$WORK/aside/"
done
as_operator
curl_raw -H 'Content-Type: application/json' --data-binary '{"node": "pay-8"}' \
	"$URL/v1/operator/tokens" >/dev/null
as pay-1
got=$(curl_raw "$URL/v1/trust")
same "without its files it still answers" "$got" 200
ended controller && fail "and stays up" "it has ended" || pass "and stays up"
same "in one process from the beginning" "${PID[controller]}" "$pid"
finish_tests
