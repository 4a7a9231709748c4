# SPDX-License-Identifier: GPL-3.0-or-later
# The back end without persist, destroy and renewal, as kernel 6.1 has it: same results.
. "$(dirname "$0")/table.bash"

tables_up
TABLE_OPTIONS=(--old-kernel)
{
	cat "$WORK/left.el"
	echo "out4_a $A $R4 tcp 7001 = 408"
	echo "live 408 = leased"
	echo "leased_a 408 = 6"
	echo "listeners_a tcp 4242 = $A"
} >"$WORK/lease.el"
cp "$WORK/lease.el" "$WORK/left.el"
load right
serve server right s.service 8443
serve nobody right n.service 7001
load left
like "unowned: it would vanish with its owner" "$(table left probe)" 'owned 0'
same "and is whole" "$(table left check)" "chains as they should be"
connects "enforced" left a.service "$R4" 8443
connects "leased" left a.service "$R4" 7001
must table left renew 408 12000
pause 6.5
connects "renewed by deleting and adding" left a.service "$R4" 7001
must table left renew 408 1
refused "a lease that has ended" left a.service "$R4" 7001
must table left renew 408 60000
connects "is taken up again" left a.service "$R4" 7001

# Elements that have expired meanwhile are no obstacle to a change that deletes them.
must table left listeners "$WORK/left.el"
pause 5.2
same "a listener that nobody renews is forgotten" \
	"$(host_nft left list map inet bailiwick listeners_a | grep -c 4242)" 0
must table left listeners "$WORK/left.el"
same "and comes back" "$(host_nft left list map inet bailiwick listeners_a | grep -c 4242)" 1
pause 5.2
grep -v 4242 "$WORK/left.el" | sed 's/^live 401 = accept/live 401 = watched/' >"$WORK/new.el"
must table left change "$WORK/left.el" "$WORK/new.el"
like "the rest of the transaction was done" \
	"$(host_nft left list map inet bailiwick live)" '0x00000191 .*: goto watched'
must table left change "$WORK/new.el" "$WORK/left.el"
check "deleting what is gone" table left del - <<<"live 4711 = accept"
expect "another verdict for a live mark" 9 table left add - <<<"live 401 = leased"
like "the element is named" "$SAID" 'element of live 0x00000191'
must table left switch candidate_on 300
must table left switch candidate_on 300
pause 0.5
must table left switch candidate_on off
connects "switches work" left a.service "$R4" 8443
finish_tests
