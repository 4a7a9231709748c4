# SPDX-License-Identifier: GPL-3.0-or-later
# UC-64: everything agents need as a tree of files: `publish --to DIR`, any web server (nginx here),
# three agents that follow it while the controller is gone.
. "$(dirname "$0")/lib-fleet.sh"

command -v nginx >/dev/null || skip_all "nginx is not installed"
fleet_policy <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
fleet_up pay-1 pay-2 api-1
fleet_place
mapped pay-1 pay-2 api-1
serve api api-1 api.service 8443
talk live pay-1 settlement.service "$API" 8443
must ctl publish --to "$WORK/www"
for path in v1/manifests/1 v1/heads/pay-1.dsse.json v1/heads/pay-2.dsse.json \
	v1/heads/api-1.dsse.json; do
	check "exported: $path" test -s "$WORK/www/$path"
done
check "each blob has its digest for a name" bash -c "cd '$WORK/www/v1/blobs/sha256' &&
	sha256sum * | awk '\$1 != \$2 { exit 1 }'"
same "no key is exported" "$(grep -rl 'PRIVATE KEY' "$WORK/www" | wc -l)" 0

# The next revision: published, exported to another tree, and served by nginx alone.
fleet_policy <<END
$(rule settlement-calls-api settlement api tcp/8443)
$(rule backup-calls-api backup api tcp/8443)
END
for host in pay-1 pay-2 api-1; do
	courier_stop $host
done
publish
must ctl place prod/payments/backup --node pay-2
must ctl publish --to "$WORK/www2"
controller_stop
nginx_start static ctl "$WORK/www2"
for host in pay-1 pay-2 api-1; do
	courier_start $host
done
FLEET_LIVE_MAX=90 fleet_live pay-1 pay-2 api-1
pass "three agents took the revision from nginx"
connects "and enforce it" pay-1 backup.service "$API" 8443
connects "with the mapping that was exported" pay-2 backup.service "$API" 8443
denied "and deny" pay-2 cache.service "$API" 8443
runs_on "nobody noticed the change of servers" live
polls() { grep -c ' /v1/head' "$WORK/static/access.log"; }
before=$(polls)
pause 3
same "no hot loop: what answers at once is not asked again at once" \
	$(($(polls) - before <= 6)) 1
stop static
runs_on "without any server" live
finish_tests
