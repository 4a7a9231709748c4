# SPDX-License-Identifier: GPL-3.0-or-later
# Files of a policy that came by `apply` are damaged on disk, or edited there: while the kernel has its
# table the agent starts with the policy that was applied, not with the one before it, which permitted
# more, and says what it found. Without copies an edited file is no policy that anybody applied.
. "$(dirname "$0")/lib.sh"

usual selective <<END
$(rule settlement-calls-api settlement api 'tcp/8443, tcp/9000')
END
{
	policy_head
	rule settlement-calls-api settlement api tcp/8443
} | policy
apply_all
serve api api-1 api.service 8443
serve other api-1 api.service 9000
talk live pay-1 settlement.service "$API" 8443
STATE=$WORK/pay-1/state
FILE=$(cd "$STATE/policy/2" && ls ./*.yaml)
FILE=policy/2/${FILE#./}

now_in_force() { bw_json pay-1 .policy_revision status; }
told() { bw_json pay-1 '.problems[]' status | grep -qF "$1"; }
hit() { # WHAT COMMAND...
	local what=$1
	shift
	agent_stop pay-1 KILL
	"$@"
	agent_start pay-1
	same "$what: the policy that was applied is in force" "$(now_in_force)" 2
	check "$what: status says so" told policy/2/
	runs_on "$what: what runs goes on" live
	connects "$what: what it permits, passes" pay-1 settlement.service "$API" 8443
	refused "$what: what the one before permitted, does not" pay-1 settlement.service "$API" 9000
	same "$what: all of it is on disk again" "$(cd "$STATE/policy/2" && sha256sum ./*.yaml meta)" "$WHOLE"
}
WHOLE=$(cd "$STATE/policy/2" && sha256sum ./*.yaml meta)
edit() { sed -i 's#tcp/8443#tcp/8443, tcp/9000#' "$STATE/$FILE"; }
garble() { printf 'x{\377\0' >"$1"; }
halve() { truncate -s $(($(stat -c %s "$1") / 2)) "$1"; }
directory() { rm "$1" && mkdir "$1" && : >"$1/x"; }
file() { rm -r "$1" && : >"$1"; }

hit "edited" edit
hit "garbled" garble "$STATE/$FILE"
hit "meta is cut short" halve "$STATE/policy/2/meta"
hit "gone" rm "$STATE/$FILE"
hit "a directory in its place" directory "$STATE/policy/2/meta"
hit "all of it gone" rm -r "$STATE/policy/2"
hit "a file in its place" file "$STATE/policy/2"
hit "all policies gone" rm -r "$STATE/policy"

# A policy that the disk did not take whole is none, and its number is given again.
{
	policy_head
	rule settlement-calls-api settlement api 'tcp/8443, tcp/8444'
} | policy
must apply pay-1
same "the next one is kept as usual" "$(now_in_force)" 3

# As after a reboot onto a disk that somebody wrote to: nothing says what it was, but its digest.
agent_stop pay-1 KILL
rm -r "$WORK/pay-1/run/spare"
FILE=policy/3/${FILE##*/}
edit
agent_start pay-1
same "edited, without copies: nobody's policy is not in force" "$(now_in_force)" 2
check "edited, without copies: status says so" told "not what was applied"
finish_tests
