# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# One row: of many live flows one is revoked. Two hosts with an agent each, real programs.
#   B=... FLOWS=10000 bash bench/revoke.sh
TEST=bench/revoke
ID_PREFIX=bwbench
. "$(dirname "$0")/../tests/netns/lib.sh"
exec 3>&2 # only the row goes to stdout

FLOWS=${FLOWS:-10000}
usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
$(rule backup-calls-api backup api tcp/8443)
END
at pay-1 sysctl -qw net.ipv4.ip_local_port_range='2000 60000'
serve api api-1 api.service 8443 :: --for 120000
start_fed many pay-1 settlement.service traffic hold "$API" 8443 "$FLOWS" --timeout 8000
wait_line many '^held' 60 || exit 1
start one pay-1 backup.service traffic tcp-client "$API" 8443 --count 0 --every 1 --progress \
	--timeout 1500
wait_line one '^message 20' || exit 1

must bw pay-1 revoke rule backup-calls-api --reason bench
# The command has answered: the kernel has the change. Nothing may pass from here on.
passed=$(lines_of one)
finish one 6
[ $? != 124 ] || passed=0
after=$(($(grep -c '^message' "$WORK/one.out") - $(head -n "$passed" "$WORK/one.out" | grep -c '^message')))
feed many round
wait_line many '^round 1' 20 || exit 1
alive=$(last_line many | sed -n 's/.* alive \([0-9]*\) .*/\1/p')
feed many quit
finish many 20

met=false
[ "$after" = 0 ] && [ "$alive" = "$FLOWS" ] && met=true
jq -cn --argjson after "$after" --argjson lost $((FLOWS - alive)) --argjson flows "$FLOWS" \
	--argjson met $met '{id: "revoke-flow", what: "revocation of 1 of \($flows + 1) live flows",
	unit: "messages", min: $after, median: $after, max: $after, goal: "its next packet",
	met: $met, note: "of it after the command returned; \($lost) other flows lost"}'
