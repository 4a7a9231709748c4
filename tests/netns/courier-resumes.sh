#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# A download that broke off goes on where it stopped; a slow server is waited for; what the agent
# wants is fetched however often the server dies; uploads wait for a server that is busy.
. "$(dirname "$0")/lib-courier.sh"

courier_net
head_file one
blob 4000000
slow='location /v1/blobs/ { limit_rate 400k; }'
web_start "$slow"
agent_up
courier_up
told '^head' || exit 1
tell "blob $HEX $SIZE"
wait_for 10 bash -c "ss -tn >/dev/null; sleep 3"
stop web KILL
# What came so far is known to the courier only: it asks for the rest.
web_start
check "the blob came whole" told "^blob $HEX $SIZE ok" 60
like "by a range" "$(grep "$HEX" "$WORK/web/access.log")" ' 206 .*bytes=[1-9]'

# A server without ranges: from the beginning, and right.
blob 3000000
stop web
web_start "$slow max_ranges 0;"
tell "blob $HEX $SIZE"
pause 2
stop web KILL
web_start "max_ranges 0;"
check "without ranges it begins again" told "^blob $HEX $SIZE ok" 60

# Slow, but moving: 30 s for one blob.
blob 1500000
stop web
web_start 'location /v1/blobs/ { limit_rate 100k; }'
tell "blob $HEX $SIZE"
check "a slow server is waited for" told "^blob $HEX $SIZE ok" 90

# Status: a static server refuses it for good, a busy one is asked again.
tell 'status {"version":1}'
check "a static server takes no status" told '^failed status 1 40[45]'
stop web
web_start 'location /v1/status { add_header Retry-After 1 always; return 503; }'
tell 'status {"version":2}'
check "a busy server is asked again" \
	wait_for 20 bash -c "[ \$(grep -c 'POST /v1/status 503' '$WORK/web/access.log') -ge 2 ]"
stop web
web_start 'location /v1/status { return 204; } location /v1/logs { return 204; }'
check "until it takes it" told '^posted status 2' 60
tell 'log [{"a":1}]'
check "records are posted" told '^posted log 3'
stop web
web_start 'location /v1/logs { return 413; }'
tell 'log [{"a":2}]'
check "too many records are told" told '^failed log 4 413' 20

# The agent goes and comes back.
tell hang-up
told '^gone'
check "the courier comes back to the agent" wait_for 20 more_told '^hello' 1
check "and brings the head again" wait_for 20 more_told '^head' 1
finish_tests
