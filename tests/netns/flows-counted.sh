# SPDX-License-Identifier: GPL-3.0-or-later
# Thousands of new connections a second are counted, roughly, though the agent does not listen to
# each: an event that somebody listens for costs every connection in the kernel.
. "$(dirname "$0")/lib.sh"

host_add evil 66
usual <<<"$(rule settlement-calls-api settlement api tcp/8443)"
serve api api-1 api.service 8443
allowed() {
	bw_json api-1 .allowed_per_minute status
}

connects "before" pay-1 settlement.service "$API" 8443
# sent_all NAME FIRST-PORT RATE COUNT LOW HIGH: as many new flows, each from a port of its own; the
# agent has counted between LOW and HIGH percent of them
sent_all() {
	local sent before
	before=$(allowed)
	run evil e.service forge syn --to "$API" --dport 8443 --from "$PAY" --sport "$2" \
		--ports 60000 --rate "$3" --count "$4" >"$WORK/forge.out" 2>&1
	sent=$(grep -oE 'sent [0-9]+' "$WORK/forge.out" | grep -oE '[0-9]+')
	# All have been read when it counts no more.
	counting() {
		local last=$got
		got=$(($(allowed) - before))
		[ $got = "$last" ]
	}
	got=-1
	WAIT_STEP=0.3 wait_for 10 counting
	if [ "${sent:-0}" -gt 0 ] && [ $got -ge $((sent * $5 / 100)) ] &&
		[ $got -le $((sent * $6 / 100)) ]; then
		pass "$1"
	else
		fail "$1" "sent ${sent:-nothing}, counted $got"
	fi
}
sent_all "400 a second are counted one by one" 2000 400 800 97 103
sent_all "8,000 a second are counted by samples" 4000 8000 24000 60 150
pause 0.5
sent_all "and one by one again afterwards" 40000 400 800 90 110
finish_tests
