# SPDX-License-Identifier: GPL-3.0-or-later
# The control socket: whoever may only read cannot keep root from revoking, by many connections or by
# large requests; strangers do not get in; two agents never share a directory.
. "$(dirname "$0")/lib.sh"

GROUP=7642 GUEST=65534
unshare --mount true 2>/dev/null || skip_all "mounts cannot be made private here: a plain chroot"
host_add pay-1 11
agent_config pay-1
{ grep -v '^bailiwick:' /etc/group; echo "bailiwick:x:$GROUP:"; } >"$WORK/group"
# The agent alone sees a group bailiwick.
with_group() {
	unshare --mount sh -c 'mount --bind "$1" /etc/group && shift && exec "$@"' sh "$WORK/group" "$@"
}
export -f with_group
export WORK
views pay-1
start agent-pay-1 pay-1 bailiwickd.service bash -c 'with_group bailiwickd --config "$0"' \
	"$WORK/pay-1/agent.yaml"
must wait_for 10 agent_ready pay-1
socket=$WORK/pay-1/run/control.sock
chmod 755 "$WORK"
as_guest() { setpriv --reuid=$GUEST --regid=$GROUP --clear-groups "$@"; }
ask_as_guest() { echo "{\"verb\": \"$1\", \"args\": {}}" | as_guest socat -t 5 - "UNIX-CONNECT:$socket"; }
same "the socket is the group's" "$(stat -c '%a %g' "$socket")" "660 $GROUP"
like "who is in the group may read" "$(ask_as_guest status)" '"ok":true'
like "and change nothing" "$(ask_as_guest rollback)" 'only root may'
same "a stranger does not get in" \
	"$(echo | setpriv --reuid=$GUEST --regid=$GUEST --clear-groups \
		socat -t 2 - "UNIX-CONNECT:$socket" 2>&1 | grep -c 'Permission denied')" 1

# More connections than there are, silent.
for _ in $(seq 80); do
	(exec setpriv --reuid=$GUEST --regid=$GROUP --clear-groups \
		socat -u "UNIX-CONNECT:$socket" - >/dev/null 2>&1 8<&- 3>&-) &
	echo $! >>"$WORK/guests"
done
pause 1
expect "root is answered beside 80 silent guests" 0 timeout 20 bailiwick -C "$WORK/pay-1/run" version -o json
status_of timeout 20 bailiwick -C "$WORK/pay-1/run" status
same "and told the state" $(($? == 0 || $? == 5)) 1
xargs kill <"$WORK/guests" 2>/dev/null
guest_answered() { ask_as_guest status | grep -q '"ok":true'; }
check "a guest is answered when they are gone" wait_for 15 guest_answered

# A request that never ends costs no memory.
agent_kb() { awk '/VmRSS/ { print $2 }' "/proc/$(cat "$WORK/pay-1/run/bailiwickd.pid")/status"; }
before=$(agent_kb)
head -c 48M /dev/zero | tr '\0' 'x' | as_guest timeout 5 socat -u - "UNIX-CONNECT:$socket" 2>/dev/null
same "an endless request is not kept ($before kB before, $(agent_kb) kB after)" \
	$(($(agent_kb) < before + 8192)) 1

# A second agent, in another namespace, with the same directories.
host_add pay-2 12
status_of run pay-2 bailiwickd.service timeout 5 bailiwickd --config "$WORK/pay-1/agent.yaml"
got=$?
same "a second agent does not start on the same directories" $((got != 0 && got != 124)) 1
like "and says why" "$SAID" 'another agent uses it'
same "it has not touched the kernel" "$(host_nft pay-2 list ruleset)" ""
check "the first one still answers" bailiwick -C "$WORK/pay-1/run" doctor
finish_tests
