# SPDX-License-Identifier: GPL-3.0-or-later
# The nftables back end: what libnftnl loads is what the text says, ownership, adoption, growth,
# levels, faults, and who else touches the table.
. "$(dirname "$0")/table.bash"

tables_up
elements() {
	cat <<-END
		out4_a $A 10.0.0.9 tcp 8443 = 100
		out6_a $A fd00::9 udp 53 = 101
		out_net4_a $A 10.0.0.0/8 tcp 80-90 = 102
		out_net6_b $A fd00::/16 udp 1000-2000 = 103
		out_any4_a $A 10.0.0.9 tcp = 104
		out_echo4_a $A 10.0.0.9 8 = 105
		out_echo_net6_a $A fd00::/16 128 = 106
		in_echo6_a fd00::9 128 = 107
		in_echo_net4_b 10.0.0.0/8 8 = 108
		essential_out4 0.0.0.0/0 udp 53 = 109
		essential_in6 ::/0 tcp 22 = 110
		essential_kernel udp 51820 = 111
		essential_proto 50 = 112
		who_u_a 1001 = $A
		live 100 = accept
		live 101 = leased
		live 102 = accept/leased_watched
		live 103 = none/accept
		live 104 = watched/none
		tw_ends_a 100 tcp 8443
		observe_who $A
		deny_out_drop $A
	END
}
elements >"$WORK/some.el"

listing() {
	host_nft left list table inet bailiwick | sed 's/ comment "[^"]*"//g
		/^\tflags/,/^$/d'
}

must table left load "$WORK/some.el"
must host_nft left flush set inet bailiwick tw_ends_a # its element has a timeout
listing >"$WORK/library.list"
table left dump >"$WORK/dump"
must table left delete
grep -v '^tw_ends' "$WORK/some.el" >"$WORK/text.el"
table left text "$WORK/text.el" >"$WORK/text.nft"
must host_nft left -f "$WORK/text.nft"
listing >"$WORK/text.list"
same "nft lists what libnftnl loaded as it lists the text" \
	"$(diff "$WORK/library.list" "$WORK/text.list")" ""
host_nft left list table inet bailiwick >"$WORK/again.nft"
must host_nft left delete table inet bailiwick
check "nft reads its own listing back" host_nft left -f "$WORK/again.nft"
must host_nft left delete table inet bailiwick
like "read back: intervals" "$(cat "$WORK/dump")" \
	'out_net4_a 0x40000001 . 10.0.0.0-10.255.255.255 . tcp . 80-90'
same "read back: verdicts" "$(awk '$1 == "live" { print $2, $3 }' "$WORK/dump" | sort | tr '\n' ' ')" \
	"0x00000064 1 0x00000065 2 0x00000066 28 0x00000067 17 0x00000068 40 0x0fffff00 1 0x0ffffffe 6 "

# Ownership: as long as the owner lives nobody else changes it; then it stays and is adopted. Before
# kernel 6.9 there are no owners that persist: the table is watched and repaired (foreign-flush*.sh).
must table left load "$WORK/some.el"
if [[ $(table left probe) == *"owned 1"* ]]; then
	start owner left a.service table_load --levels 8 heartbeat 3000
	wait_for 15 host_nft left list set inet bailiwick agent_alive
	pause 0.3
	host_nft left flush ruleset
	like "flush ruleset leaves it alone" "$(host_nft left list tables)" 'inet bailiwick'
	expect "another process cannot own it" 9 table left dump
	like "and is told so" "$SAID" 'belongs to another process'
	stop owner KILL
	wait_for 15 table left dump
	same "the table of a killed owner is adopted whole" \
		"$(table left dump | grep -c '^live ')" 7
fi

# Somebody else's hands.
start watcher left a.service table_load --levels 8 watch 5000
wait_line watcher watching
host_nft left add table inet other
wait_line watcher 'event other nft'
pass "a change elsewhere is told"
stop watcher KILL
pause 0.2
same "chains as loaded" "$(table left check)" "chains as they should be"
must host_nft left insert rule inet bailiwick in accept
same "a foreign rule is found" "$(table left check)" "chains differ"
must table left enforce
same "and repaired" "$(table left check)" "chains as they should be"
must host_nft left flush chain inet bailiwick deny_rule
same "a missing rule is found" "$(table left check)" "chains differ"

# Levels and sizes change in one transaction, base chains stay.
handle() {
	host_nft left -a list chain inet bailiwick out | awk '/chain out/ { print $NF }'
}
must table left load "$WORK/some.el"
old=$(handle)
cp "$WORK/some.el" "$WORK/more.el"
echo "who_c6_a 4242 = $A" >>"$WORK/more.el"
must table_load --netns "$(ns left)" --levels 40 --live-size 131072 change "$WORK/some.el" "$WORK/more.el"
like "another level and another size" "$(table left dump)" 'levels 0x28 live_size 131072'
same "the base chain is the same" "$(handle)" "$old"
same "every verdict is there" "$(table left dump | grep -c '^live ')" 7
must table_load --netns "$(ns left)" --levels 8 --live-size 131072 change "$WORK/more.el" "$WORK/some.el"
like "a level goes again" "$(table left dump)" 'levels 0x8 live_size'

# What the kernel refuses is named, and nothing of that transaction stays.
expect "another verdict for a live mark" 9 table left add - <<<"live 100 = leased"
like "the element is named" "$SAID" 'element of live 0x00000064'
check "deleting what is gone" table left del - <<<"live 4711 = accept"
check "adding what is there" table left add - <<<"live 100 = accept"

# Somebody's table of our name, without our chains, is replaced.
must table left delete
must host_nft left add table inet bailiwick
must host_nft left add chain inet bailiwick something
must table left load "$WORK/some.el"
same "a foreign table is replaced" "$(table left check)" "chains as they should be"
must host_nft left add table ip other
must host_nft left add chain ip other marker '{ type filter hook output priority -150; }'
must host_nft left add rule ip other marker ct mark set 1
like "a writer of the conntrack mark is found" "$(table left scan)" 'other marker: writes the conntrack mark'
like "a chain that runs before ours is found" "$(table left scan)" 'other marker: runs before our chains'
finish_tests
