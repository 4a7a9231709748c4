# SPDX-License-Identifier: GPL-3.0-or-later
# A cgroup is given to a user when there are cgroups in it already: from then on he may move his
# processes between them, and an identity that names one of them, and no user, is nobody's.
. "$(dirname "$0")/lib.sh"

host_add pay-1 11
host_add api-1 21
SETTLEMENT='  - {name: settlement, path: prod/payments/settlement, workload: [{cgroup: /handed/inner}], serves: []}'
world() {
	policy_head | sed "s|^  - {name: settlement,.*|$SETTLEMENT|"
	rule settlement-calls-api settlement api tcp/8443
	rule cache-calls-api cache api tcp/8443
}
run pay-1 handed/inner true
run pay-1 handed/other true
usual enforce <<END
$(rule cache-calls-api cache api tcp/8443)
END
world | policy
apply_all
serve api api-1 api.service 8443
connects "root's cgroup, and what is in it" pay-1 handed/inner "$API" 8443
denied "its neighbour is nobody" pay-1 handed/other "$API" 8443
talk live pay-1 handed/inner "$API" 8443

chown 1000 "$CG/pay-1/handed"
reaches_no_more() { reaches_not pay-1 handed/inner "$API" 8443; }
check "given to a user: what is in it is nobody's" wait_for 15 reaches_no_more
is_cut "and what ran on it ends" live 15
connects "others go on" pay-1 cache.service "$API" 8443

# Files in it have owners, too, and say nothing.
chown 1000 "$CG/pay-1/system.slice/cache.service/cgroup.procs"
connects "a file that was given away is not the cgroup" pay-1 cache.service "$API" 8443
finish_tests
