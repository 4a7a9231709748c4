#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# A static web server feeds the courier: a head that changes is passed on, one that does not is not
# (ETag), manifests and blobs are fetched once, and the courier is nobody in particular.
. "$(dirname "$0")/lib-courier.sh"

courier_net
head_file one
echo manifest >"$WWW/v1/manifests/7"
blob 300000
web_start
agent_up
courier_up
check "the courier says hello" told '^hello'
check "and asks for a proof" told '^csr'
check "the head came, without a certificate" \
	told "^head .* $(digest "$WWW/v1/heads/pay-1.dsse.json")"
check "the controller is in contact" told '^contact ok'
same "it tried the long poll first" "$(asked '^GET /v1/head 404')" 1

tell "manifest 7 1000"
check "a manifest is fetched" told "^manifest 7 9 $(digest "$WWW/v1/manifests/7")"
tell "blob $HEX $SIZE"
check "a blob is fetched" told "^blob $HEX $SIZE ok"
tell "blob $HEX $SIZE"
check "and a second time" wait_for 15 more_told "^blob $HEX" 1
same "from the cache" "$(asked "^GET /v1/blobs/sha256/$HEX")" 1
tell "manifest 8 1000"
check "what is not there is told" told '^failed manifest 8 404'

# Its own user, no capability, no privilege to gain; nothing to be executed.
status=$(cat "/proc/${PID[courier]}/status")
like "it runs as the user" "$status" $'Uid:\t64901\t64901\t64901'
like "no capability" "$status" $'CapPrm:\t0000000000000000.*CapEff:\t0000000000000000'
like "no new privileges" "$status" $'NoNewPrivs:\t1'
like "a system call filter" "$status" $'Seccomp:\t2'

# The next poll is half a minute away: a new start is quicker, and knows the head that is in force.
stop courier
head_file two
courier_up
check "a changed head is passed on" told "^head .* $(digest "$WWW/v1/heads/pay-1.dsse.json")"
heads=$(count_told '^head')
wait_for 50 [ "$(asked '/v1/heads/pay-1.dsse.json 304 ')" -ge 0 ]
check "it is asked for by its ETag" \
	wait_for 50 bash -c "grep -q '/v1/heads/pay-1.dsse.json 304 ' '$WORK/web/access.log'"
same "and not passed on again" "$(count_told '^head')" "$heads"
same "no hot loop" "$(($(asked '/v1/heads/') <= 5))" 1

# A damaged file of the cache is not what its name says.
cached=$(find "$WORK/cache" -type f | head -n 1)
echo nonsense >"$cached"
tell "blob $HEX $SIZE"
check "a damaged cache is fetched anew" wait_for 10 more_told "^blob $HEX $SIZE ok" 2
# IPv6 and a proxy that is not to be used.
stop courier
stop agent
URL=https://[fd77::31]:8443 agent_up
COURIER_ENV="https_proxy=http://10.77.0.99:1 no_proxy=fd77::31" courier_up
check "over IPv6, beside a proxy" told '^head'
finish_tests
