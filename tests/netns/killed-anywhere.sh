# SPDX-License-Identifier: GPL-3.0-or-later
# UC-62: SIGKILL at any point of a load, a probation, a confirmation or a roll-back. What both
# policies allow runs on, what both deny stays denied, dead or alive, and the next agent starts, knows
# the policy in force and takes new ones.
. "$(dirname "$0")/lib.sh"

ROUNDS=${ROUNDS:-12}
RANDOM=${SEED:-7}
usual <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000')
END
serve api api-1 api.service 8443
talk live pay-1 settlement.service "$API" 8443
run pay-1 backup.service true

# 1,200 conduits more or less: a load in several transactions.
variant() {
	local i
	policy_head | sed '$d'
	for i in 1 2 3 4 5; do
		identity "wide-$i" "prod/wide/$i" "wide-$i.service" "$(ports "$i")"
	done
	echo rules:
	rule settlement-calls-api settlement api 'tcp/8443, udp/9000'
	[ "$1" = small ] && return
	for i in 1 2 3 4 5; do
		rule "many-$i" settlement "wide-$i" "$(ports "$i")"
	done
}
ports() {
	seq -f 'tcp/%g' -s ', ' $(($1 * 1000)) $(($1 * 1000 + 239))
}
for i in 1 2 3 4 5; do
	place "prod/wide/$i" api-1
done
views pay-1
views_live pay-1
change() {
	variant "$1" | policy
	case $2 in
	0) apply pay-1 ;;
	1) apply pay-1 --confirm-within 60s ;;
	2) apply pay-1 --confirm-within 60s && bw pay-1 confirm ;;
	3) apply pay-1 --confirm-within 60s && bw pay-1 rollback ;;
	4) views pay-1 && bw pay-1 revoke rule many-1 --reason test ;;
	5) bw pay-1 mode enforce --reason test && bw pay-1 mode selective --reason test ;;
	esac
}
dead=0 alive=0 started=0
enforced() {
	run pay-1 settlement.service traffic tcp-client "$API" 8443 --timeout $PATIENCE >/dev/null 2>&1 &&
		! run pay-1 backup.service traffic tcp-client "$API" 8443 --timeout 300 >/dev/null 2>&1
}
for round in $(seq "$ROUNDS"); do
	sizes=(large small)
	what=$((RANDOM % 6)) wait=$((RANDOM % 400))
	change "${sizes[round % 2]}" $what >/dev/null 2>&1 &
	changer=$!
	pause "$(printf '0.%03d' $wait)"
	agent_stop pay-1 KILL
	wait $changer
	if enforced && goes_on live; then
		dead=$((dead + 1))
	else
		echo "round $round: change $what, killed after $wait ms: dead" >&2
	fi
	agent_start pay-1
	started=$((started + 1))
	if enforced && goes_on live; then
		alive=$((alive + 1))
	else
		echo "round $round: change $what, killed after $wait ms: alive again" >&2
	fi
	bw pay-1 rollback >/dev/null 2>&1
	status_of bw pay-1 status
	[ $? = 0 ] || echo "round $round: change $what, $wait ms: status: $SAID" >&2
done
same "dead, what ran runs and what was denied is denied" $dead "$ROUNDS"
same "so it is with the next agent" $alive "$ROUNDS"
variant small | policy
check "which takes a policy" apply pay-1
connects "and enforces it" pay-1 settlement.service "$API" 8443
same "kernel and policy agree" "$(bw_json pay-1 .drift status)" null
stop live
finish_tests
