# SPDX-License-Identifier: GPL-3.0-or-later
# UC-84: every way to name an end of `why`: names, paths, NAME@NODE, addresses, process groups.
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
serve api api-1 api.service 8443
serve cache pay-1 cache.service 6379
serve plain pay-1 plain.service 7000

# asks NAME FILTER WANT SRC DST SERVICE: what jq's filter says of the answer
asks() {
	same "$1" "$(bw pay-1 why "$4" "$5" "$6" -o json | jq -r "$2")" "$3"
}
decision='"\(.decision) \(.reason)"'
asks "a path" "$decision" "allowed permitted" prod/payments/settlement prod/payments/api tcp/8443
asks "the conduit is named" '.conduit > 0 and .rule == "settlement-calls-api"' true \
	settlement api tcp/8443
asks "NAME@NODE" "$decision" "allowed permitted" settlement@pay-1 api@api-1 tcp/8443
asks "a node where it is not" "$decision" "denied not_placed" settlement@pay-9 api tcp/8443
asks "an address" "$decision" "allowed permitted" settlement "$API" tcp/8443
asks "shows who is there" .to.name api settlement "$API:8443" tcp/8443
asks "an IPv6 address with port" "$decision" "allowed permitted" settlement "[$API_6]:8443" tcp/8443
asks "another service: the rule that came nearest" .nearest.fails_on \
	"services: asked for tcp/22" settlement api tcp/22
asks "this host's own address: who listens there" '"\(.to.name) \(.decision)"' "cache denied" \
	settlement 127.0.0.1 tcp/6379
asks "a listener without identity" '"\(.to.name) \(.to.type)"' "plain.service unclaimed" \
	settlement "$PAY" tcp/7000
asks "two process groups" "$decision" "denied no_identity" "cgroup:$(unit_dir pay-1 cron.service)" \
	"cgroup:$(unit_dir pay-1 cache.service)" tcp/6379
asks "a process group without identity calls out" "$decision" "allowed unclaimed" \
	"cgroup:$(unit_dir pay-1 cron.service)" api tcp/8443
asks "nobody at an address" .known_by[1] "203.0.113.7: an address alone" settlement 203.0.113.7 udp/53

unplace prod/payments/backup pay-1
unplace prod/payments/cache pay-1
views pay-1
views_live pay-1
asks "two whom this node does not know: policy alone answers" \
	'.because | test("by policy alone")' true backup cache tcp/6379
asks "one that it knows" '.because | test("by policy alone")' false settlement cache tcp/6379

wrong() { # NAME TEXT SRC DST
	status_of bw pay-1 why "$3" "$4" tcp/8443
	same "$1 is an error" $? 1
	like "$1: $2" "$SAID" "$2"
}
wrong "a name with a letter missing" "did you mean 'settlement'" setlement api
wrong "a process that is not there" "no such process" pid:4194303 api
wrong "no process number" "no process number" pid:-1 api
wrong "a cgroup that is not there" "no such cgroup" cgroup:/nowhere api
wrong "an address with a bad port" "no identity is called" settlement "$API:99999"
expect "no denial yet, no last one" 1 bw pay-1 why --last
like "which it says" "$SAID" "nothing was denied"

# Scrapers that say nothing fill the house; the agent answers all the same.
check "seventeenth scraper is turned away, the others are answered" at pay-1 python3 - \
	"$WORK/pay-1/run/metrics.sock" <<'END'
import socket, sys
def open_one():
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.settimeout(5)
    return s
full = [open_one() for _ in range(16)]
assert open_one().recv(1) == b""
full[0].sendall(b"GET /metrics HTTP/1.0\r\n")
full[0].sendall(b"\r\n")
assert full[0].recv(15) == b"HTTP/1.0 200 OK"
END
expect "and so does the agent" 0 bw pay-1 status
finish_tests
