# SPDX-License-Identifier: GPL-3.0-or-later
# UC-50: an identity is retired. While a rule names it, nothing compiles without it; without those
# rules the policy is taken, what ran by them is cut, and nothing else notices.
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
$(rule backup-calls-api backup api tcp/8443)
END
serve api api-1 api.service 8443
talk old pay-1 backup.service "$API" 8443
talk beside pay-1 settlement.service "$API" 8443

sed -i '/name: backup,/d' "$WORK/policy/policy.yaml"
expect "a rule that names it refuses the policy" 3 apply pay-1
like "and says which" "$SAID" 'policy.yaml:[0-9]+:[0-9]+: no identity or network is called "backup"'
runs_on "meanwhile all is as it was" old
sed -i '/name: backup-calls-api,/d' "$WORK/policy/policy.yaml"
place prod/payments/backup pay-1 # a mapping that still has it places nobody
views
views_live
apply_all
is_cut "without it its flow is cut" old
must bw pay-1 mode enforce --reason test
refused "its process is nobody, and where all is enforced nobody calls" pay-1 backup.service "$API" 8443
runs_on "the others go on" beside
same "nobody is called that any more" \
	"$(bw_json pay-1 '[.identities[] | select(.name == "backup")] | length' identities)" 0
finish_tests
