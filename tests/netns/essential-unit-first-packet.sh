# SPDX-License-Identifier: GPL-3.0-or-later
# UC-78: an essential that names a unit (`by:`) holds from the first packet of that unit on, also
# where no policy says anything of its slice and the unit has never been seen before.
. "$(dirname "$0")/lib.sh"

host_add pay-1 11
host_add api-1 21
API=${ADDR4[api-1]}
place_usual
views
agent_config pay-1 enforce "essentials:" \
	"  also:" \
	"    - {direction: out, to: \"$API\", service: tcp/9100, why: mirror, by: [mirror.service]}"
agent_config api-1 observe
# Paths elsewhere only: system.slice is nobody's, no policy asks what its units are.
sed 's/unit: \([a-z]*\)\.service/cgroup: \/jobs.slice\/\1/' < <(policy_head) >"$WORK/head"
{
	cat "$WORK/head"
	rule calls settlement api tcp/8443
} | policy
agents_start pay-1 api-1
apply_all
serve mirror api-1 mirror.service 9100
serve api api-1 api.service 8443

# No pause between the birth of the unit and its SYN, and one packet only.
for i in 1 2 3 4 5; do
	connects "unit named by an essential, new, time $i" pay-1 mirror.service "$API" 9100
	rmdir "$(unit_dir pay-1 mirror.service)" 2>/dev/null
done
denied "another new unit may not" pay-1 stranger.service "$API" 9100
connects "and policy is as it was" pay-1 jobs.slice/settlement "$API" 8443
finish_tests
