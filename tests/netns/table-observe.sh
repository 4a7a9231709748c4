# SPDX-License-Identifier: GPL-3.0-or-later
# Observing denies nothing and leaves no mark (R14); identities can be observed by themselves.
. "$(dirname "$0")/table.bash"

tables_up
load left observe
load right observe
serve server right s.service 8443
serve other right t.service 7000
serve_udp dgrams right t.service 7002

for address in "$R4" "$R6"; do
	connects "permitted, $address" left a.service "$address" 8443
	connects "no rule at either end, $address" left b.service "$address" 7000
	udp_answers "datagrams without a rule, $address" left b.service "$address" 7002
	expect "echo without a rule, $address" $DONE run left b.service datagrams ping "$address"
	refused "closed ports answer, $address" left b.service "$address" 7999
done
mkdir -p "$(cg left new.service)"
connects "an unknown cgroup" left new.service "$R4" 7000
like "would-be denials are counted" "$(counter left would_deny)" '^[1-9]'
same "none were denied" "$(counter left denied)$(counter left refused)" 00

host_nft left add table inet foreign
host_nft left add chain inet foreign raw '{ type filter hook output priority -300; }'
host_nft left add rule inet foreign raw tcp dport 7000 notrack
host_nft right add table inet foreign
host_nft right add chain inet foreign raw '{ type filter hook prerouting priority -300; }'
host_nft right add rule inet foreign raw tcp dport 7000 notrack
connects "untracked packets" left b.service "$R4" 7000
like "who else meddles is found" "$(table left scan)" 'foreign raw: switches connection tracking off'

must table left switch observe_on off
must table right switch observe_on off
denied "untracked packets are denied when it ends" left a.service "$R4" 7000
host_nft left delete table inet foreign
host_nft right delete table inet foreign

refused "denied when it ends" left b.service "$R4" 8443
must table left add - <<<"observe_who $B_"
no_answer "an observed identity leaves, the other end still denies" left b.service "$R4" 7000
must table right add - <<<"observe_who $T_"
connects "both ends observed" left b.service "$R4" 7000
refused "a neighbour that is not observed" left a.service "$R4" 7000

# mode --for: the kernel itself goes back to observing.
TABLE_OPTIONS=(--trial)
load left
must table left switch trial_on 4000
refused "enforced during a trial" left b.service "$R4" 7000
wait_for 15 run left b.service traffic tcp-client "$R4" 7000 --timeout 700
connects "observed when the trial ends" left b.service "$R4" 7000

# Loopback flows that were open while everything was observed are judged at both ends.
TABLE_OPTIONS=()
load right observe
serve local right n.service 7100
for address in 127.0.0.1 ::1; do
	talk to_identity right n.service "$address" 7000
	talk to_nobody right n.service "$address" 7100
	talk of_identity right s.service "$address" 7100
	must table right switch observe_on off
	is_cut "nobody to an identity, $address" to_identity
	is_cut "an identity to nobody, $address" of_identity
	runs_on "nobody to nobody, $address" to_nobody
	stop to_nobody
	must table right switch observe_on on
done

# An observed identity gets its answers even where nobody else may talk.
TABLE_OPTIONS=(--deny-unclaimed)
load left
must table left add - <<<"observe_who $B_"
load right observe
expect "echo reply of an observed identity" $DONE run left b.service datagrams ping "$R4"
expect "and its IPv6" $DONE run left b.service datagrams ping "$R6"
load right
must table right add - <<<"observe_who $T_"
connects "towards an observed identity" left b.service "$R4" 7000
talk observed left b.service "$R6" 7000
same "its flow has no mark" "$(at right conntrack -L -f ipv6 -p tcp --dport 7000 2>/dev/null |
	grep ESTABLISHED | grep -vc 'mark=0 ')" 0
must table right del - <<<"observe_who $T_"
is_cut "and ends with the observation" observed
refused "a closed port of its own host" left b.service 127.0.0.1 7999
finish_tests
