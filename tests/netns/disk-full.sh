# SPDX-License-Identifier: GPL-3.0-or-later
# A full disk: what is in the kernel keeps running, a change is refused or reported, never half
# done.
. "$(dirname "$0")/lib.sh"

host_add pay-1 11
mkdir -p "$WORK/pay-1/tmpfs"
must mount -t tmpfs -o size=256k,mode=700 bwtest "$WORK/pay-1/tmpfs"
agent_config pay-1 selective
sed -i "s,^state_dir:.*,state_dir: $WORK/pay-1/tmpfs/state," "$WORK/pay-1/agent.yaml"
usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
serve api api-1 api.service 8443
talk live pay-1 settlement.service "$API" 8443
revision=$(bw_json pay-1 .policy_revision status)
head -c 1M /dev/zero >"$WORK/pay-1/tmpfs/fill" 2>/dev/null
{
	policy_head
	rule settlement-calls-api settlement api tcp/8443
	rule backup-calls-api backup api tcp/8443
} | policy
status_of apply pay-1
same "a policy that cannot be kept is refused" $(($? != 0)) 1
like "with the reason" "$SAID" '([Nn]o space|disk|write)'
same "the old one is in force" "$(bw_json pay-1 .policy_revision status)" "$revision"
refused "and enforced" pay-1 backup.service "$API" 8443
runs_on "flows go on" live
status_of bw pay-1 revoke rule settlement-calls-api --reason test
is_cut "a revocation cuts all the same" live
status_of bw pay-1 status
like "status says that the disk is full" "$SAID" '([Nn]o space|disk|write)'
rm "$WORK/pay-1/tmpfs/fill"
must apply pay-1
connects "with space again a policy is taken" pay-1 backup.service "$API" 8443
stop live
finish_tests
