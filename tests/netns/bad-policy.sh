# SPDX-License-Identifier: GPL-3.0-or-later
# UC-25: bad policy is refused with file, line and column, exit 3, and the last good one keeps
# running.
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
serve api api-1 api.service 8443
talk live pay-1 settlement.service "$API" 8443
good=$(bw_json pay-1 '"\(.policy_revision) \(.policy_digest)"' status)
cp "$WORK/policy/policy.yaml" "$WORK/good.yaml"

# bad NAME PATTERN: what is on stdin is refused by check (offline) and by apply
bad() {
	cat >"$WORK/policy/policy.yaml"
	status_of bailiwick check "$WORK/policy"
	same "check refuses: $1" $? 3
	like "check names the place: $1" "$SAID" "policy.yaml:[0-9]+(:[0-9]+)?: .*$2"
	status_of apply pay-1
	same "apply refuses: $1" $? 3
}
bad "no YAML" '' <<<'identities: ['
bad "an unknown key" 'identites' <<<$'trust_domain: acme.example\nidentites: []'
bad "a near name" 'did you mean' \
	< <(sed 's/from: \[settlement\]/from: [settlemnt]/' "$WORK/good.yaml")
bad "the same name twice" '' \
	< <(cat "$WORK/good.yaml"; rule settlement-calls-api backup api tcp/8443)
bad "a duplicate key" '' <<<$'trust_domain: a.example\ntrust_domain: b.example'
bad "two documents" '' < <(cat "$WORK/good.yaml"; printf -- '---\nx: 1\n')
bad "a rule without owner" 'owner' < <(sed 's/, owner: tests//' "$WORK/good.yaml")
bad "a rule to a network that asks for attestation" 'mapped' < <(cat "$WORK/good.yaml"
	attested to-net settlement outside tcp/443
	printf 'networks:\n  - {name: outside, cidrs: ["192.0.2.0/24"]}\n')
bad "measured, and open when nobody can vouch" 'on_unavailable' < <(cat "$WORK/good.yaml"
	measured to-api settlement api tcp/9000 'on_unavailable: allow')
bad "a line of 1 MB" '' < <(printf 'trust_domain: '; head -c 1000000 /dev/zero | tr '\0' a; echo)
bad "a bare address" '' < <(sed 's/from: \[settlement\]/from: ["10.0.0.1"]/' "$WORK/good.yaml")
bad "a port that is none" '' < <(sed 's,tcp/8443\],tcp/84430],' "$WORK/good.yaml")
bad "an anchor and an alias" '' <<<$'trust_domain: &a acme.example\nidentities: [*a]'
: >"$WORK/policy/policy.yaml"
status_of apply pay-1
same "an empty policy file is refused" $? 3
rm "$WORK/policy/policy.yaml"
status_of apply pay-1
same "an empty directory is an error" $(($? != 0)) 1
status_of bw pay-1 apply "$WORK/nothing-here" --reason test
same "a missing directory is an error" $(($? != 0)) 1
like "and named" "$SAID" 'nothing-here'
status_of bw pay-1 apply
same "a wrong command line is exit 2" $? 2
same "the last good policy is in force" \
	"$(bw_json pay-1 '"\(.policy_revision) \(.policy_digest)"' status)" "$good"
runs_on "nobody noticed" live
refused "denied stays denied" pay-1 backup.service "$API" 8443
finish_tests
