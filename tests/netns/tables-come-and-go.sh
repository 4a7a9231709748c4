# SPDX-License-Identifier: GPL-3.0-or-later
# UC-85: neighbours that create and destroy tables while packets wait for an answer disturb
# nothing for good: the kernel throws held packets away when any base chain goes
# (nf_queue_nf_hook_drop), so a first SYN may be lost; its retransmission is judged by the sets.
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
serve api api-1 api.service 8443
talk live pay-1 settlement.service "$API" 8443
cat >"$WORK/churn" <<-'END'
	while :; do
		nft -f - <<-N
			table ip churn {
				chain c { type filter hook output priority -5; counter; }
			}
			delete table ip churn
		N
		echo round
	done
END
start churn pay-1 churn.service bash "$WORK/churn"
wait_line churn round
right=0
for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
	unit_remove pay-1 settlement2.service
	status_of run pay-1 settlement2.service traffic tcp-client "$API" 8443 --timeout 3500
	case $? in
	0) right=$((right + 1)) ;;
	*) echo "round $right: $SAID" >&2 ;;
	esac
	refused_once=$(run pay-1 backup.service traffic tcp-client "$API" 8443 --timeout 3500)
	[[ $refused_once == refused* ]] || { fail "backup during churn" "$refused_once"; break; }
done
# settlement2 is nobody: a process without a name passes in selective mode, at its node's reach.
same "questions are answered during the churn" "$right" 12
runs_on "a live flow goes on" live
same "churn really happened" $(($(lines_of churn) > 3)) 1
stop churn KILL
finish_tests
