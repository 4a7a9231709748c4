# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# Hosts as network namespaces, units as real cgroups, an agent on each host: for tests/netns/*.sh,
# examples/demo.sh and bench. Source it first. Everything it makes carries the process number of
# the script (bwtPID) and is removed when the script ends, also when it is interrupted.
#
#   host_add pay-1 11                      namespace with eth0 10.77.0.11/24 and fd77::11/64
#   place prod/payments/api api-1 tcp/8443 an identity is there; views writes every view.json
#   policy <file; apply_all                one policy for all hosts
#   agent_start pay-1                      bailiwickd in its own cgroup; ready when it returns
#   run pay-1 settlement.service curl ...  a program in a unit of a host (-u UID before the host)
#   start NAME pay-1 settlement.service .. the same in the background, output in $WORK/NAME.out
#   bw pay-1 status                        the command, as that host's operator
#
# Results: pass NAME, fail NAME WHY, same, like, client_*; end every script with `finish_tests`.

# Other libraries source it, each for itself.
[ -z "${LIB_SOURCED:-}" ] || return 0
LIB_SOURCED=1

set -u

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
B=${B:-$ROOT/build/gcc}
ID=${ID_PREFIX:-bwt}$$
TEST=${TEST:-netns/$(basename "$0" .sh)}
FAILED=0
PASSED=0
HOSTS=()
declare -A PID ADDR4 ADDR6 PLACED ACK
SEQUENCE=0
REVISION=0
# Whole number: every patience of these scripts is multiplied by it (emulated machines).
WAIT_FACTOR=${WAIT_FACTOR:-1}
# Between two looks. Where waiting is free and looking is not (tests/vm) it is longer.
WAIT_STEP=${WAIT_STEP:-0.02}
# Milliseconds between two messages of a conversation that goes on; likewise.
TALK_STEP=${TALK_STEP:-20}
# Environment of the programs of an agent or a fleet: `later SECONDS` fills it.
LATER=()
# Milliseconds that a client waits for what must come: a SYN, its retransmissions after one second and
# after three, and a machine that stands still. Like every deadline here but those that a test names as
# its claim, it is for what will never come: what comes is not waited for any longer.
PATIENCE=5000
PATH=$B:$PATH
# The agent's system call filter keeps the leak checker from looking into it.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}

skip_all() {
	echo "$1"
	exit 77
}

[ "$(id -u)" = 0 ] || skip_all "needs root: namespaces, cgroups, nftables"
# The mount of cgroup2 is wherever it is: hybrid systems have it below /sys/fs/cgroup/unified.
CGROUP_MOUNT=$(awk '$0 ~ / - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
[ -n "$CGROUP_MOUNT" ] || skip_all "cgroup2 is not mounted"
CG=$CGROUP_MOUNT/$ID
WORK=$(mktemp -d "/tmp/$ID.XXXXXX") || exit 1
NET=$ID-net
# Where every user may run them: the tree may be below /root.
chmod 755 "$WORK" && mkdir "$WORK/tools"
for tool in "$B"/tests/tools/*; do
	[ -f "$tool" ] && [ -x "$tool" ] && cp "$tool" "$WORK/tools/"
done
PATH=$WORK/tools:$PATH

# ------------------------------------------------------------------------------------ results

# What a test says goes through fd 3, so that functions may be used inside $(...).
exec 3>&1

pass() {
	PASSED=$((PASSED + 1))
	echo "ok $TEST: $1" >&3
}

fail() {
	FAILED=$((FAILED + 1))
	echo "not ok $TEST: $1: $2" >&3
}

# same NAME GOT WANT
same() {
	if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "got '$2', want '$3'"; fi
}

# like NAME GOT PATTERN (extended regular expression)
like() {
	if [[ $2 =~ $3 ]]; then pass "$1"; else fail "$1" "got '${2:0:400}', want a match of '$3'"; fi
}

# check NAME COMMAND...: the command succeeds; its output is the reason if not.
check() {
	local name=$1 said status
	shift
	said=$("$@" 2>&1)
	status=$?
	if [ $status = 0 ]; then
		pass "$name"
	else
		fail "$name" "'$*' ended with $status: ${said:0:400}"
	fi
}

# status_of COMMAND...: exit status; what it says goes to SAID.
SAID=
status_of() {
	SAID=$("$@" 2>&1)
}

# expect NAME STATUS COMMAND...
expect() {
	local name=$1 want=$2 got
	shift 2
	status_of "$@"
	got=$?
	if [ "$got" = "$want" ]; then
		pass "$name"
	else
		fail "$name" "'$*' ended with $got, want $want: ${SAID:0:400}"
	fi
}

# A step that everything after depends on.
must() {
	local said status
	said=$("$@" 2>&1)
	status=$?
	[ $status = 0 ] && return 0
	fail "set-up" "'$*' ended with $status: ${said:0:600}"
	exit 1
}

# A sanitized agent ends at its first mistake, and enforcement goes on without it: look.
sane() {
	local host
	for host in "${HOSTS[@]}"; do
		grep -m 1 -sE 'runtime error:|Sanitizer' "$WORK/$host/agent.log" || continue
		fail "agent of $host" "the sanitizer stopped it"
	done
}

finish_tests() {
	sane >&2
	[ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]
	exit
}

# ------------------------------------------------------------------------------------ waiting

# Seconds, fractions allowed. Not `read -t`: a trap that exits inside of it can abort bash 5.2, and
# then nothing is removed.
pause() {
	sleep "$1"
}

now_ms() {
	local t=${EPOCHREALTIME/./}
	echo "${t%???}"
}

# wait_for SECONDS COMMAND...: polls until it succeeds; fails when it does not succeed after the
# deadline either, which a slow machine puts off by WAIT_FACTOR. A machine that stood still over the
# deadline has one look left.
wait_for() {
	local end=$(($(now_ms) + $1 * 1000 * WAIT_FACTOR)) began
	shift
	while began=$(now_ms); ! "$@" >/dev/null 2>&1; do
		[ "$began" -lt "$end" ] || return 1
		pause "$WAIT_STEP"
	done
}

# wait_line NAME PATTERN [SECONDS]: a background program has said it.
wait_line() {
	wait_for "${3:-20}" grep -qE "$2" "$WORK/$1.out" && return
	echo "$1 has not said '$2'; it said:" >&2
	tail -n 5 "$WORK/$1.out" >&2
	return 1
}

lines_of() {
	wc -l <"$WORK/$1.out"
}

# more_lines NAME COUNT: more than that many
more_lines() {
	[ "$(lines_of "$1")" -gt "$2" ]
}

# goes_on NAME [SECONDS]: a background program that prints progress prints three more lines
goes_on() {
	wait_for "${2:-9}" more_lines "$1" $(($(lines_of "$1") + 2))
}

ended() {
	! kill -0 "${PID[$1]}" 2>/dev/null
}

# ------------------------------------------------------------------------------------ clean-up

remove_cgroups() {
	find "$CG" -depth -type d -exec rmdir {} + 2>/dev/null
	[ ! -d "$CG" ]
}

# Packets that this machine's processors have dropped before any table saw them, of all namespaces.
backlog_drops() {
	local dropped sum=0
	while read -r _ dropped _; do
		sum=$((sum + 16#$dropped))
	done </proc/net/softnet_stat
	echo $sum
}
BACKLOG_DROPS=$(backlog_drops)

show_logs() {
	local host
	echo "--- load $(cut -d' ' -f1-3 /proc/loadavg), $(($(backlog_drops) - BACKLOG_DROPS)) packets" \
		"dropped in the machine's own backlog" >&2
	for host in "${HOSTS[@]}"; do
		[ -s "$WORK/$host/agent.log" ] || continue
		echo "--- $host/agent.log" >&2
		tail -n 12 "$WORK/$host/agent.log" >&2
	done
}

# Everything started here runs below $CG, and nothing else does. Says what is left, if anything.
remove_all() {
	local host dir
	exec 4>&2 2>/dev/null # the shell reports each job that is killed
	if [ -d "$CG" ]; then
		echo 1 >"$CG/cgroup.kill"
		wait_for 15 remove_cgroups || echo "cgroup $CG is left behind" >&4
	fi
	for host in "${HOSTS[@]}" net; do
		ip netns del "$ID-$host"
	done
	# Not by a pattern: what nobody serves any more is not found by one.
	for dir in "$WORK"/*/; do
		umount "$dir"tmpfs
	done
	wait
	HOSTS=()
	exec 2>&4 4>&-
}

cleanup() {
	local status=$?
	trap '' INT TERM EXIT
	[ "$FAILED" = 0 ] && [ $status = 0 ] || [ $status = 77 ] || show_logs
	remove_all
	if [ -n "${KEEP:-}" ]; then
		echo "kept: $WORK" >&2
	else
		rm -rf "$WORK"
	fi
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --------------------------------------------------------------------------------------- hosts

# ip_of NAMESPACE ...: not `ip -n`, which wants to change mounts and cannot in every chroot
ip_of() {
	nsenter --net="/run/netns/$1" ip "${@:2}"
}

net_up() {
	ip netns add "$NET" || exit 1
	ip_of "$NET" link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
	ip_of "$NET" link set br0 up
	ip_of "$NET" link set lo up
}

# host_add NAME NUMBER
host_add() {
	local ns=$ID-$1
	[ -e "/run/netns/$NET" ] || net_up
	mkdir -p "$CG/$1/system.slice" "$WORK/$1"
	ip netns add "$ns" || exit 1
	HOSTS+=("$1")
	ADDR4[$1]=10.77.0.$2
	ADDR6[$1]=fd77::$2
	ip link add eth0 netns "$ns" type veth peer name "$1" netns "$NET" || exit 1
	ip_of "$NET" link set "$1" master br0 up
	ip_of "$ns" link set lo up
	ip_of "$ns" address add "10.77.0.$2/24" dev eth0
	ip_of "$ns" address add "fd77::$2/64" dev eth0 nodad
	ip_of "$ns" link set eth0 up
}

ns() {
	echo "/run/netns/$ID-$1"
}

# unit_dir HOST UNIT: its cgroup, made if missing. A UNIT with a slash is a path below the host.
unit_dir() {
	local dir
	case $2 in
	*/*) dir=$CG/$1/$2 ;;
	*) dir=$CG/$1/system.slice/$2 ;;
	esac
	[ -d "$dir" ] || mkdir -p "$dir"
	echo "$dir"
}

# unit_remove HOST UNIT: as systemd does when a service has stopped
unit_remove() {
	local dir
	dir=$(unit_dir "$1" "$2")
	echo 1 >"$dir/cgroup.kill"
	wait_for 15 rmdir "$dir"
}

# at HOST COMMAND...: as that host's root, outside every unit of the test
at() {
	local host=$1
	shift
	nsenter --net="$(ns "$host")" "$@"
}

# run [-u UID] HOST UNIT COMMAND...
run() {
	local user=()
	[ "$1" = -u ] && user=(--uid "$2") && shift 2
	local host=$1 dir
	dir=$(unit_dir "$1" "$2")
	shift 2
	traffic --netns "$(ns "$host")" --cgroup "$dir" ${user[@]+"${user[@]}"} exec -- "$@"
}

# start NAME [-u UID] HOST UNIT COMMAND...: in the background
start() {
	local name=$1
	shift
	# exec: $! is then the program itself.
	: >"$WORK/$name.out"
	run_exec "$@" >"$WORK/$name.out" 2>&1 </dev/null 8<&- 3>&- &
	PID[$name]=$!
}

run_exec() {
	local user=()
	[ "$1" = -u ] && user=(--uid "$2") && shift 2
	local host=$1 dir
	dir=$(unit_dir "$1" "$2")
	shift 2
	exec traffic --netns "$(ns "$host")" --cgroup "$dir" ${user[@]+"${user[@]}"} exec -- "$@"
}

# start_fed NAME ...: as start, and `feed NAME LINE` writes to its input
start_fed() {
	local name=$1
	shift
	: >"$WORK/$name.out"
	mkfifo "$WORK/$name.in"
	run_exec "$@" <>"$WORK/$name.in" >"$WORK/$name.out" 2>&1 8<&- 3>&- &
	PID[$name]=$!
}

feed() {
	echo "$2" >"$WORK/$1.in"
}

# stop NAME [SIGNAL]: and waits for its end; its exit status
stop() {
	kill "-${2:-TERM}" "${PID[$1]}" 2>/dev/null
	wait "${PID[$1]}" 2>/dev/null
}

# finish NAME [SECONDS]: exit status of a background program that ends by itself; 124 if it does not
finish() {
	if ! wait_for "${2:-30}" ended "$1"; then
		stop "$1" KILL
		return 124
	fi
	wait "${PID[$1]}" 2>/dev/null
}

said() {
	cat "$WORK/$1.out"
}

last_line() {
	tail -n 1 "$WORK/$1.out"
}

# serve NAME HOST UNIT PORT [ADDRESS]: a TCP echo server that listens when this returns
serve() {
	local name=$1 host=$2 unit=$3 port=$4 address=${5:-::}
	shift 4
	[ $# = 0 ] || shift
	start "$name" "$host" "$unit" traffic tcp-server "$address" "$port" "$@"
	wait_line "$name" '^listening' || exit 1
}

serve_udp() {
	local name=$1 host=$2 unit=$3 port=$4 address=${5:-::}
	shift 4
	[ $# = 0 ] || shift
	start "$name" "$host" "$unit" datagrams udp-server "$address" "$port" "$@"
	wait_line "$name" '^listening' || exit 1
}

# ------------------------------------------------------------------- clients, as assertions

# Exit codes of the traffic tools, see tests/tools/tool.h.
DONE=0 REFUSED=3 NO_ANSWER=4 UNREACHABLE=5 RESET=6 CLOSED=7 LOST=8

# connects NAME HOST UNIT ADDRESS PORT
connects() {
	expect "$1" $DONE run "$2" "$3" traffic tcp-client "$4" "$5" \
		--timeout $((PATIENCE * WAIT_FACTOR))
}

refused() {
	expect "$1" $REFUSED run "$2" "$3" traffic tcp-client "$4" "$5" \
		--timeout $((PATIENCE * WAIT_FACTOR))
}

no_answer() {
	expect "$1" $NO_ANSWER run "$2" "$3" traffic tcp-client "$4" "$5" --timeout 700
}

# silent NAME HOST UNIT ADDRESS PORT: never answered, through two retransmissions at least
silent() {
	expect "$1" $NO_ANSWER run "$2" "$3" traffic tcp-client "$4" "$5" --timeout 3500
}

# reaches HOST UNIT ADDRESS PORT: for wait_for
reaches() {
	run "$1" "$2" traffic tcp-client "$3" "$4" --timeout 400
}

# reaches_not HOST UNIT ADDRESS PORT: refused, or not answered in the time that `connects` gives; who is
# only late, or must send its SYN again, is reached. For wait_for
reaches_not() {
	run "$1" "$2" traffic tcp-client "$3" "$4" --timeout $((PATIENCE * WAIT_FACTOR))
	case $? in
	"$REFUSED" | "$NO_ANSWER" | "$UNREACHABLE") return 0 ;;
	esac
	return 1
}

# udp_answers NAME HOST UNIT ADDRESS PORT
udp_answers() {
	expect "$1" $DONE run "$2" "$3" datagrams udp-client "$4" "$5" \
		--timeout $((PATIENCE * WAIT_FACTOR))
}

# denied NAME HOST UNIT ADDRESS PORT: refused or never answered, as the two ends answer
denied() {
	local got
	status_of run "$2" "$3" traffic tcp-client "$4" "$5" --timeout 700
	got=$?
	case $got in
	3 | 4 | 5) pass "$1" ;;
	*) fail "$1" "ended with $got, want a refusal or silence: $SAID" ;;
	esac
}

# talk NAME HOST UNIT ADDRESS PORT [OPTION...]: a conversation that goes on until it is cut
talk() {
	local name=$1 host=$2 unit=$3 address=$4 port=$5
	shift 5
	start "$name" "$host" "$unit" traffic tcp-client "$address" "$port" \
		--count 0 --every "$TALK_STEP" --progress --timeout $((PATIENCE * WAIT_FACTOR)) "$@"
	wait_line "$name" '^message 2' ||
		fail "set-up" "no conversation '$name': $(last_line "$name")"
}

# Local port of a conversation
port_of() {
	sed -n 's/^connected .* //p' "$WORK/$1.out"
}

# acknowledged HOST PORT: what that host's servers sent to this port has arrived there. For wait_for.
acknowledged() {
	local sockets
	sockets=$(at "$1" ss -Htni "dport = :$2")
	[ -n "$sockets" ] && [[ $sockets != *unacked:* ]]
}

# Refused at once or never answered: a datagram has no handshake that must fail.
udp_denied() {
	local got
	status_of run "$2" "$3" datagrams udp-client "$4" "$5" --timeout 500
	got=$?
	case $got in
	3 | 4 | 5) pass "$1" ;;
	*) fail "$1" "ended with $got, want a refusal or silence: $SAID" ;;
	esac
}

# is_cut NAME PROGRAM [SECONDS]: a running conversation ends: reset, closed or stalled
is_cut() {
	local got
	finish "$2" "${3:-20}"
	got=$?
	case $got in
	"$RESET" | "$CLOSED" | "$LOST" | "$REFUSED") pass "$1" ;;
	*) fail "$1" "'$2' ended with $got: $(last_line "$2")" ;;
	esac
}

# runs_on NAME PROGRAM
runs_on() {
	if goes_on "$2"; then
		pass "$1"
	else
		fail "$1" "'$2' stands still: $(last_line "$2")"
	fi
}

# forge_between HOST FROM PORT TO PORT: TCP segments of each kind on that tuple, both ways
forge_between() {
	local kind
	for kind in syn synack rst fin ack data; do
		must at "$1" forge $kind --from "$2" --sport "$3" --to "$4" --dport "$5" --data x --count 3
		must at "$1" forge $kind --from "$4" --sport "$5" --to "$2" --dport "$3" --data x --count 3
	done
}

# ------------------------------------------------------------------------------- policy, views

# place IDENTITY HOST [SERVICE...], unplace IDENTITY HOST; then `views`
place() {
	local key=$1@$2
	shift 2
	PLACED[$key]="$*"
}

unplace() {
	unset "PLACED[$1@$2]"
}

json_list() {
	local out= word
	for word in "$@"; do
		out+="${out:+, }\"$word\""
	done
	echo "[$out]"
}

# What views say of a node: no agent that could vouch; lib-attest.sh has another one.
view_node() {
	printf '{"node": "%s", "addresses": %s}' "$1" "$(json_list "${ADDR4[$1]}" "${ADDR6[$1]}")"
}

view_json() {
	local host=$1 key identity node services placed= peers= nodes= other
	for key in "${!PLACED[@]}"; do
		identity=${key%@*}
		node=${key#*@}
		if [ "$node" = "$host" ]; then
			placed+="${placed:+, }{\"identity\": \"$identity\"}"
			continue
		fi
		services=
		# shellcheck disable=SC2086
		[ -z "${PLACED[$key]}" ] || services=", \"services\": $(json_list ${PLACED[$key]})"
		peers+="${peers:+, }{\"identity\": \"$identity\", \"node\": \"$node\", \"addresses\": "
		peers+="$(json_list "${ADDR4[$node]}" "${ADDR6[$node]}")$services}"
	done
	for other in "${HOSTS[@]}"; do
		[ "$other" = "$host" ] || nodes+="${nodes:+, }$(view_node "$other")"
	done
	printf '{"version": 1, "node": "%s", "sequence": %d, "placed": [%s], "peers": [%s],' \
		"$host" "$SEQUENCE" "$placed" "$peers"
	printf ' "nodes": [%s], "devices": []}\n' "$nodes"
}

# view_put HOST <json: replaced as a whole, never half written
view_put() {
	mkdir -p "$WORK/$1/site"
	cat >"$WORK/$1/view.new"
	mv "$WORK/$1/view.new" "$WORK/$1/site/view.json"
}

# views [HOST...]: new views for these hosts, all by default
views() {
	local host
	SEQUENCE=$((SEQUENCE + 1))
	[ $# -gt 0 ] || set -- "${HOSTS[@]}"
	for host in "$@"; do
		view_json "$host" | view_put "$host"
	done
}

view_arrived() {
	[ "$(bw_json "$1" .view_sequence status)" = "$SEQUENCE" ]
}

# views_live [HOST...]: waits until their agents enforce the newest view
views_live() {
	local host
	[ $# -gt 0 ] || set -- "${HOSTS[@]}"
	for host in "$@"; do
		wait_for 30 view_arrived "$host" || {
			fail "set-up" "$host has not taken view $SEQUENCE"
			exit 1
		}
	done
}

# policy <yaml: the candidate for every host, at $WORK/policy
policy() {
	mkdir -p "$WORK/policy"
	cat >"$WORK/policy/policy.yaml"
}

# apply HOST [OPTION...]: of $WORK/policy
apply() {
	local host=$1
	shift
	bw "$host" apply "$WORK/policy" --reason test "$@"
}

apply_all() {
	local host
	for host in "${HOSTS[@]}"; do
		[ -z "${PID[agent-$host]:-}" ] || must apply "$host" "$@"
	done
}

# identity NAME PATH UNIT [SERVES [MORE]]: one line of YAML
identity() {
	printf '  - {name: %s, path: %s, workload: [{unit: %s}], serves: [%s]%s}\n' \
		"$1" "$2" "$3" "${4:-}" "${5:+, $5}"
}

# rule NAME FROM TO SERVICES [MORE]
rule() {
	printf '  - {name: %s, from: [%s], to: [%s], services: [%s], assurance: mapped, ' \
		"$1" "$2" "$3" "$4"
	printf 'purpose: test, owner: tests%s}\n' "${5:+, $5}"
}

# The same, demanding that the caller's agent vouches: attested, measured
attested() {
	rule "$@" | sed 's/assurance: mapped/assurance: attested/'
}

measured() {
	rule "$@" | sed 's/assurance: mapped/assurance: measured/'
}

# The people of most tests: settlement may call the API, backup is known and may nothing, cache
# lives beside settlement.
policy_head() {
	printf 'trust_domain: acme.example\nidentities:\n'
	identity settlement prod/payments/settlement settlement.service ''
	identity backup prod/payments/backup backup.service ''
	identity api prod/payments/api api.service 'tcp/8443, udp/8443, tcp/9000, udp/9000'
	identity cache prod/payments/cache cache.service 'tcp/6379, udp/6379'
	printf 'rules:\n'
}

place_usual() {
	place prod/payments/settlement pay-1
	place prod/payments/backup pay-1
	place prod/payments/cache pay-1
	place prod/payments/api api-1
}

# usual [MODE] <rules: pay-1 (settlement, backup, cache) and api-1 (api), agents ready, rules applied
usual() {
	local host
	[ -n "${ADDR4[pay-1]:-}" ] || host_add pay-1 11
	[ -n "${ADDR4[api-1]:-}" ] || host_add api-1 21
	place_usual
	views
	{ policy_head; cat; } | policy
	for host in pay-1 api-1; do
		[ -e "$WORK/$host/agent.yaml" ] || agent_config "$host" "${1:-selective}"
		agent_start "$host"
	done
	apply_all
	API=${ADDR4[api-1]} API_6=${ADDR6[api-1]} PAY=${ADDR4[pay-1]} PAY_6=${ADDR6[pay-1]}
}

# told_ms NAME: when a background program said its last word, in milliseconds since 1970. Not when
# somebody looked, who may come late.
told_ms() {
	local at
	at=$(stat -c %.3Y "$WORK/$1.out")
	echo "${at/[.,]/}"
}

# -------------------------------------------------------------------------------------- agents

# agent_config HOST [MODE [LINE...]]: lines are added to agent.yaml as they are
agent_config() {
	local host=$1 mode=${2:-selective} line
	shift
	[ $# = 0 ] || shift
	mkdir -p "$WORK/$host/site" "$WORK/$host/state" "$WORK/$host/run"
	cat >"$WORK/$host/agent.yaml" <<-END
		version: 1
		node: $host
		trust_domain: acme.example
		source: {directory: $WORK/$host/site}
		state_dir: $WORK/$host/state
		run_dir: $WORK/$host/run
		cgroup_root: $CG/$host
		mode: $mode
		log: {level: info, decisions: $WORK/$host/decisions.log}
	END
	for line in "$@"; do
		echo "$line" >>"$WORK/$host/agent.yaml"
	done
}

agent_run() {
	local dir
	dir=$(unit_dir "$1" bailiwickd.service)
	traffic --netns "$(ns "$1")" --cgroup "$dir" exec -- \
		bailiwickd --config "$WORK/$1/agent.yaml" --foreground
}

agent_ready() {
	local state
	state=$(bw_json "$1" .state status) && [ -n "$state" ] && [ "$state" != starting ]
}

# agent_start HOST [MODE]: returns when it is ready
agent_start() {
	local host=$1
	[ -e "$WORK/$host/agent.yaml" ] || agent_config "$@"
	[ -x "$B/bailiwickd" ] || skip_all "bailiwickd is not built"
	local dir
	dir=$(unit_dir "$host" bailiwickd.service)
	traffic --netns "$(ns "$host")" --cgroup "$dir" exec -- env ${LATER[@]+"${LATER[@]}"} \
		bailiwickd --config "$WORK/$host/agent.yaml" --foreground \
		>>"$WORK/$host/agent.log" 2>&1 </dev/null 8<&- 3>&- &
	PID[agent-$host]=$!
	wait_for "${AGENT_START_MAX:-30}" agent_ready "$host" && return
	fail "set-up" "the agent of $host is not ready: $(tail -n 2 "$WORK/$host/agent.log")"
	exit 1
}

# agent_stop HOST [SIGNAL]
agent_stop() {
	stop "agent-$1" "${2:-TERM}"
}

agents_start() {
	local host
	for host in "$@"; do
		agent_start "$host"
	done
}

# bw HOST VERB...
bw() {
	local host=$1
	shift
	at "$host" bailiwick -C "$WORK/$host/run" "$@"
}

# bw_json HOST FILTER VERB...
bw_json() {
	local host=$1 filter=$2
	shift 2
	bw "$host" "$@" -o json | jq -r "$filter"
}

host_nft() {
	at "$1" nft "${@:2}"
}

decisions() {
	cat "$WORK/$1/decisions.log" 2>/dev/null
}

# decided HOST FILTER: a decision record that jq's filter accepts is there
decided() {
	decisions "$1" | jq -e -s "any(.[]; $2)"
}

# recorded NAME HOST FILTER: a decision record that jq's filter accepts comes; what was recorded less
# than ten seconds ago is counted first
recorded() {
	wait_for 15 decided "$2" "$3" && pass "$1" && return
	fail "$1" "$2 has no record with $3; the last: $(decisions "$2" | tail -n 3)"
}

not_recorded() {
	if decided "$2" "$3" >/dev/null; then
		fail "$1" "$2 has a record with $3"
	else
		pass "$1"
	fi
}

# ------------------------------------------------------------------------------- another time

# preload_build NAME: $WORK/NAME.so of tests/netns/NAME.c. Where there is no compiler (tests/vm) it
# was built with the programs.
preload_build() {
	local cc built=$B/tests/netns/$1.so
	if [ -e "$built" ]; then
		cp "$built" "$WORK/$1.so"
		return
	fi
	cc=$(command -v "${CC:-cc}" gcc | sed -n 1p)
	[ -n "$cc" ] || skip_all "needs a C compiler"
	must "$cc" -shared -fPIC -O1 -o "$WORK/$1.so" "$ROOT/tests/netns/$1.c" -ldl
}

# later SECONDS: what is started from now on lives so much later; what runs already with a shift
# follows at once.
later() {
	[ -e "$WORK/later" ] || later_build
	printf '%019d' "$1" | dd of="$WORK/later" conv=notrunc status=none
	LATER=(LD_PRELOAD="$WORK/week_later.so" WEEK_LATER="$WORK/later"
		ASAN_OPTIONS="$ASAN_OPTIONS:verify_asan_link_order=0")
}

later_build() {
	preload_build week_later
	printf '%019d' 0 >"$WORK/later"
	chmod 644 "$WORK/later"
}

# wall: what the programs of a script take for the time, in seconds
wall() {
	env ${LATER[@]+"${LATER[@]}"} date +%s
}

# ------------------------------------------------------------------------------ an older kernel

# unowned_tables: agents started from now on live with a kernel that has no persistent owners; where
# the kernel is such a one, nothing needs to be pretended.
unowned_tables() {
	local oldest
	oldest=$(printf '6.9\n%s\n' "$(uname -r)" | sort -V | head -n 1)
	[ "$oldest" = 6.9 ] || return 0
	preload_build old_kernel
	export ASAN_OPTIONS=${ASAN_OPTIONS:-}:verify_asan_link_order=0
	mkdir "$WORK/bin"
	printf '#!/bin/sh\nexec env LD_PRELOAD=%s %s "$@"\n' "$WORK/old_kernel.so" \
		"$B/bailiwickd" >"$WORK/bin/bailiwickd"
	chmod +x "$WORK/bin/bailiwickd"
	PATH=$WORK/bin:$PATH
}
