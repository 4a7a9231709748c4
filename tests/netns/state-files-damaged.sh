# SPDX-License-Identifier: GPL-3.0-or-later
# Each file in the state directory of an enrolled host is damaged in each way that disks have: empty,
# cut short, garbage, unreadable, a directory in its place, gone. The agent starts by itself, without
# the controller; what runs goes on, what may passes, what policy, operators or the controller closed
# stays closed; it says what was damaged; and with the controller everything is current again. Each
# file is damaged in two ways, the second in turn; WAYS=all takes every way (TIMEOUT=1200).
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-fleet.sh"
. "$(dirname "$0")/lib-damage.sh"

damage_up

# Everything that is there, but what is only for people to look at, and what is written in between.
files() {
	(cd "$STATE" && find . -type f ! -path './spare/*' ! -name '*.damaged' ! -name '.*' -printf '%P\n' | sort)
}
# Everything that this host will ever have of its own.
mapfile -t FILES < <(files)
like "the files of documents are among them" "${FILES[*]}" 'known.json.*view.json'
TURNS=(gone empty halve unreadable open_to_all directory)
turn=0
for file in ${FILES[@]+"${FILES[@]}"}; do
	[[ ${ONLY:-$file} == "$file" ]] || continue
	courier_pause STOP
	ways=(garble "${TURNS[turn++ % ${#TURNS[@]}]}")
	[ "${WAYS:-}" != all ] || ways=(garble "${TURNS[@]}")
	for way in "${ways[@]}"; do
		[ -e "$STATE/$file" ] && hit "$file" $way
	done
	courier_pause CONT
	check "$file: with the controller everything is current" wait_for 20 current
done

# Whole directories, and everything.
courier_pause STOP
gone_all() { find "$1" -mindepth 1 -delete; }
file_there() { rm -rf "$1" && : >"$1"; }
for way in gone_all file_there; do
	hit documents $way
done
hit . gone_all view.json
courier_pause CONT
check "after all of it: with the controller everything is current" wait_for 20 current
sequence=$(bw_json pay-1 .documents.head_sequence status)
must ctl release prod/payments/cache --reason test
newer() { [ "$(bw_json pay-1 .documents.head_sequence status)" -gt "$sequence" ]; }
check "and follows it" wait_for 10 newer
opened() { reaches pay-1 cache.service "$API" 8443; }
check "what the controller releases is open" wait_for 10 opened
must bw pay-1 release identity prod/payments/backup --reason test
connects "what this host releases, too" pay-1 backup.service "$API" 8443
finish_tests
