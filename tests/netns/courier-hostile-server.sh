#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# What a server, or somebody in its place, can do to the courier: delay. Redirects are not followed,
# another CA is not trusted, bodies end where they must, a dead server is asked less and less.
. "$(dirname "$0")/lib-courier.sh"

courier_net
head_file one
ca_make other
cert_make other impostor "IP:$WEB"

# Somebody else's certificate.
CERT=$WORK/impostor.pem CERT_KEY=$WORK/impostor.key web_start
agent_up
courier_up
check "another CA's certificate is refused" told '^contact no .*(certificate|SSL)'
same "nothing was asked" "$(asked heads)" 0
same "and no head came" "$(count_told '^head')" 0
stop web

# A CA that this host trusts otherwise is none that the agent has named.
mkdir -p "$WORK/certs"
cp "$WORK/other.pem" "$WORK/certs/$(openssl x509 -in "$WORK/other.pem" -noout -hash).0"
cp "$WORK/other.pem" "$WORK/certs/ca-certificates.crt"
stop courier
CERT=$WORK/impostor.pem CERT_KEY=$WORK/impostor.key web_start
check "curl itself would believe it" unshare -m bash -c \
	"mount --bind '$WORK/certs' /etc/ssl/certs && nsenter --net='$(ns pay-1)' curl -sS -o /dev/null $URL/"
before=$(count_told '^contact no .*(certificate|SSL)')
start courier pay-1 courier.service unshare -m bash -c "mount --bind '$WORK/certs' /etc/ssl/certs &&
	exec bailiwick-courier --run-dir '$WORK/pay-1/run' --user 64901"
check "a CA of the host's own does not count" \
	wait_for 20 more_told '^contact no .*(certificate|SSL)' "$before"
same "nothing was asked of it" "$(asked heads)" 0
stop courier
stop web
courier_up

# A name that the certificate does not have.
cert_make ca elsewhere "DNS:elsewhere.example"
CERT=$WORK/elsewhere.pem CERT_KEY=$WORK/elsewhere.key web_start
check "another name's certificate is refused" \
	wait_for 20 more_told '^contact no .*(alternative certificate|subject name|does not match)' 0
same "no head came of it" "$(count_told '^head')" 0
stop web

# Redirects.
mkdir -p "$WWW/elsewhere"
cp "$WWW/v1/heads/pay-1.dsse.json" "$WWW/elsewhere/head"
web_start 'location /v1/ { return 302 /elsewhere/head; } location /.well-known/ { return 307 /elsewhere/head; }'
check "a redirect is refused" wait_for 20 more_told '^contact no .*redirect' 0
same "and not followed" "$(asked ' /elsewhere')" 0
stop web

# No server at all, then one that works.
wait_for 40 more_told '^contact no' 2
web_start
check "it goes on when the server is back" told '^head' 60

# Bodies: too long by their header, too long without one, other bytes than their name says.
truncate -s 3M "$WWW/v1/manifests/9"
tell "manifest 9 1000"
check "a manifest that is too long is refused" told '^failed manifest 9 '
blob 5000
tell "blob $HEX 4000"
check "a blob longer than it may be is refused" told "^failed blob $HEX "
blob 200000
echo x | dd of="$WWW/v1/blobs/sha256/$HEX" bs=1 seek=100 conv=notrunc 2>/dev/null
tell "blob $HEX $SIZE"
wait_for 10 [ "$(asked "$HEX 200")" -ge 0 ]
pause 2
same "other bytes are not delivered" "$(count_told "^blob $HEX")" 0
check "and the agent hears that they were others" \
	told "^failed blob $HEX 200 .*not the bytes that its name says" 30

# A head without end.
stop courier
truncate -s 200M "$WWW/v1/heads/pay-1.dsse.json"
heads=$(count_told '^head')
courier_up
check "a head without end is refused" wait_for 30 more_told '^contact no .*longer' 0
same "and not passed on" "$(count_told '^head')" "$heads"
same "it took little memory" "$(($(rss_kb courier) < 60000))" 1

# Told to wait, it waits.
stop web
stop courier
web_start 'location /v1/ { add_header Retry-After 8 always; return 503; }'
courier_up
told '^contact no HTTP 503' 20
before=$(asked ' /v1/head 503')
pause 3
same "Retry-After is honoured" "$(asked ' /v1/head 503')" "$before"
check "and it comes back afterwards" \
	wait_for 20 bash -c "[ \$(grep -c ' /v1/head 503' '$WORK/web/access.log') -gt $before ]"

# Refused: another certificate is asked for, and no hot loop comes of it.
stop web
web_start 'location / { return 403; }'
before=$(asked ' 403')
pause 8
same "403 is no hot loop" "$(($(asked ' 403') - before <= 8))" 1
stop web

# One path says that this is no controller, the other that it is one: asked less and less, too.
web_start 'location = /v1/head { return 404; }
	location / { default_type application/problem+json; return 404 "{}"; }'
before=$(asked ' 404')
check "it asks at both paths" wait_for 60 bash -c "grep -q ' /v1/heads/.* 404' '$WORK/web/access.log'"
pause 8
same "nor is a server that contradicts itself" "$(($(asked ' 404') - before <= 20))" 1
same "the courier is still there" "$(kill -0 "${PID[courier]}" && echo yes)" yes
finish_tests
