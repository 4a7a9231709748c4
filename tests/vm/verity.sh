# SPDX-License-Identifier: GPL-3.0-or-later
# UC-18 where kernel and file system have fs-verity: the digest that the kernel vouches for is told
# beside the SHA-256, and an identity may be claimed by it: by the same bytes without it, it is not.
. "$(dirname "$0")/../netns/lib-attest.sh"

BIN=/var/tmp/$ID # of the disk: other file systems have none
mkdir "$BIN"
# program NAME [TEXT]: one of its own, by its bytes
program() {
	cp "$WORK/tools/traffic" "$BIN/$1"
	printf '%s' "${2:-}" >>"$BIN/$1"
}
digest() { sha256sum "$1" | cut -d' ' -f1; }
program sealed 1
program plain 1
program other 2
status_of verity measure "$BIN/sealed"
same "a file without it has no digest" $? $REFUSED
status_of verity enable "$BIN/sealed"
[ $? != $REFUSED ] || skip_all "the file system of $BIN has no fs-verity"
must verity enable "$BIN/other"
SEALED=$(verity measure "$BIN/sealed")
like "a file with it has one" "$SEALED" '^[0-9a-f]{64}$'
check "and cannot be written" sh -c "! echo x >>'$BIN/sealed'"
same "its bytes are those of the plain one" "$(digest "$BIN/sealed")" "$(digest "$BIN/plain")"

policy_head() {
	printf 'trust_domain: acme.example\nidentities:\n'
	identity settlement prod/payments/settlement settlement.service '' \
		"reference: [$(digest "$BIN/sealed")]"
	printf '  - {name: %s, path: %s, workload: [{%s}]}\n' \
		backup prod/payments/backup "unit: backup.service, fsverity: $SEALED" \
		cache prod/payments/cache 'unit: cache.service'
	identity api prod/payments/api api.service 'tcp/8443, tcp/9000'
	printf 'rules:\n'
}
# calls PROGRAM UNIT PORT [ADDRESS]
calls() {
	run pay-1 "$2.service" "$BIN/$1" tcp-client "${4:-$API}" "$3" \
		--timeout $((PATIENCE * WAIT_FACTOR))
}
attest_host pay-1 observe
attest_usual <<END
$(measured settlement-calls-api settlement api tcp/8443)
$(attested backup-calls-api backup api tcp/9000)
END
serve api api-1 api.service 8443
serve api-2 api-1 api.service 9000
same "status says that there is fs-verity" \
	"$(bw_json api-1 '.. | .fs_verity? // empty' status)" true
like "and doctor" "$(bw api-1 doctor | tr -s ' \n' ' ')" 'ok fs-verity'

# --- told beside the other digest

expect "an approved executable passes" $DONE calls sealed settlement 8443
recorded "with both of its digests" api-1 ".decision == \"allowed\" and
	.evidence.fsverity == \"$SEALED\" and .evidence.exe_sha256 == \"$(digest "$BIN/sealed")\" and
	.assurance == \"measured\""
expect "as does the same without fs-verity" $DONE calls plain settlement 8443 "$API_6"
recorded "with the one that it has" api-1 ".decision == \"allowed\" and
	.to.address == \"$API_6\" and .evidence.fsverity == null and .evidence.exe_sha256 != null"
expect "another one is refused, fs-verity or not" $REFUSED calls other settlement 8443
recorded "for what it is" api-1 ".decision == \"denied\" and .reason == \"not_measured\""

# --- claimed by it

# claimed PROGRAM: by a process that stays; the process group is looked at while it runs
claimed() {
	start holder pay-1 backup.service "$BIN/$1" tcp-server 127.0.0.1 7777
	wait_line holder '^listening' || exit 1
}
released() {
	stop holder
	unit_remove pay-1 backup.service
}
claimed sealed
check "who runs it is whom it makes" wait_for 20 calls sealed backup 9000
recorded "by name" api-1 '.decision == "allowed" and .from.identity == "prod/payments/backup"'
released
for program in plain other; do
	claimed $program
	pause 2
	expect "who runs '$program' is not" $REFUSED calls $program backup 9000
	released
done

# --- given while it runs

claimed plain
pause 2
expect "without it: nobody's" $REFUSED calls plain backup 9000
must verity enable "$BIN/plain"
check "it is noticed on an executable that was measured before" wait_for 30 calls plain backup 9000
released
rm -r "$BIN"
finish_tests
