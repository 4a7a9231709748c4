# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# Hosts whose agents vouch for each other: the hosts of lib.sh (plain directories as source, no
# controller), each with an X.509-SVID made by openssl, an attestation port, and views that name it.
# For tests/netns/attest-*.sh, examples/demo.sh and bench; beside everything of lib.sh:
#
#   attest_host pay-1 [MODE [LINE...]]     host, certificate, agent.yaml; lines are added to that
#   attest_usual [MODE] <rules             pay-1 and api-1 with the usual people, agents, rules;
#                                          further hosts that attest_host made before get all of it
#   attested NAME FROM TO SERVICES [MORE]  a rule; `rule` of lib.sh is the one that says mapped
#   measured NAME FROM TO SERVICES [MORE]
#   NO_AGENT[pay-1]=1; ENDPOINT[pay-1]="10.77.0.12 7113"; views       what views say of its agent
#   svid pay-1 [-until SECONDS] [-id SPIFFE-ID] [-ca NAME]            another certificate
#   HOSTILE[pay-1]=1                       before attest_usual: certificate, but no agent and no table
#   hostile NAME pay-1 KIND [OPTION...]    what answers in the agent's place (tests/tools)
#   held_by api-1                          how many packets it holds
#   in_time, unless_late COMMAND...        again where a question had no answer in time
#
# For a fleet with a controller (lib-fleet.sh) nothing of this is needed: enrolment gives the
# certificates, and views name the endpoints that the agents report.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ATTEST_PORT=7113
declare -A NO_AGENT ENDPOINT HOSTILE

# ------------------------------------------------------------------------------- certificates

# ca [NAME]: a root of its own at $WORK/NAME
ca() {
	local dir=$WORK/${1:-ca}
	[ ! -e "$dir/root.pem" ] || return 0
	mkdir -p "$dir" && : >"$dir/index"
	cat >"$dir/openssl.conf" <<-CONF
		[ca]
		default_ca = here
		[here]
		database = $dir/index
		new_certs_dir = $dir
		certificate = $dir/root.pem
		private_key = $dir/root.key
		default_md = sha256
		rand_serial = yes
		unique_subject = no
		email_in_dn = no
		policy = anything
		[anything]
		organizationName = optional
		commonName = optional
		[req]
		distinguished_name = nobody
		[nobody]
		[root]
		basicConstraints = critical, CA:TRUE, pathlen:0
		keyUsage = critical, keyCertSign, cRLSign
		subjectKeyIdentifier = hash
		subjectAltName = URI:spiffe://acme.example
	CONF
	must openssl req -x509 -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
		-config "$dir/openssl.conf" -extensions root -subj "/O=acme.example/CN=${1:-ca}" \
		-keyout "$dir/root.key" -out "$dir/root.pem"
}

# svid HOST [-until SECONDS] [-from SECONDS] [-id SPIFFE-ID] [-ca NAME] [-extra LINE] [-to DIR]:
# key, certificate and bundle in $WORK/HOST/svid, each replaced as a whole
svid() {
	local host=$1 until=86400 from=-300 id='' ca=ca extra='' dir
	shift
	dir=$WORK/$host/svid
	while [ $# -gt 1 ]; do
		case $1 in
		-until) until=$2 ;;
		-from) from=$2 ;;
		-id) id=$2 ;;
		-ca) ca=$2 ;;
		-extra) extra=$2 ;;
		-to) dir=$2 ;;
		*) fail "set-up" "svid: $1 is no option" && exit 1 ;;
		esac
		shift 2
	done
	ca "$ca"
	mkdir -p "$dir"
	svid_issue "$ca" "$dir" "${id:-spiffe://acme.example/bailiwick/node/$host}" "$from" "$until" \
		"$extra"
}

svid_time() {
	date -u -d "@$(($(date +%s) + $1))" +%Y%m%d%H%M%SZ
}

svid_issue() {
	local ca=$WORK/$1 dir=$2 id=$3 from=$4 until=$5 extra=$6
	cat >"$dir/ext" <<-CONF
		[leaf]
		basicConstraints = critical, CA:FALSE
		keyUsage = critical, digitalSignature
		extendedKeyUsage = serverAuth, clientAuth
		subjectAltName = URI:$id
		$extra
	CONF
	must openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-config "$ca/openssl.conf" -subj "/O=acme.example/CN=node" \
		-keyout "$dir/key.new" -out "$dir/csr"
	must openssl ca -batch -notext -config "$ca/openssl.conf" -extfile "$dir/ext" -extensions leaf \
		-startdate "$(svid_time "$from")" -enddate "$(svid_time "$until")" \
		-in "$dir/csr" -out "$dir/cert.new"
	cp "$ca/root.pem" "$dir/bundle.new"
	chmod 600 "$dir/key.new"
	mv "$dir/key.new" "$dir/key.pem"
	mv "$dir/cert.new" "$dir/cert.pem"
	mv "$dir/bundle.new" "$dir/bundle.pem"
	rm -f "$dir/csr" "$dir/ext"
}

# -------------------------------------------------------------------------------------- hosts

host_number() {
	case $1 in
	pay-*) echo $((10 + ${1#pay-})) ;;
	api-*) echo $((20 + ${1#api-})) ;;
	*) echo $((40 + ${1##*-})) ;;
	esac
}

# attest_config HOST [MODE [LINE...]]
attest_config() {
	local host=$1 dir=$WORK/$1/svid
	agent_config "$@"
	cat >>"$WORK/$host/agent.yaml" <<-YAML
		svid: {cert: $dir/cert.pem, key: $dir/key.pem, bundle: $dir/bundle.pem}
		attest: {listen: ["${ADDR4[$host]}", "${ADDR6[$host]}"], port: $ATTEST_PORT}
	YAML
}

# attest_host HOST [MODE [LINE...]]
attest_host() {
	[ -n "${ADDR4[$1]:-}" ] || host_add "$1" "$(host_number "$1")"
	svid "$1"
	attest_config "$@"
}

# What views say of a node; lib.sh has one without an agent.
view_node() {
	local endpoint=${ENDPOINT[$1]:-${ADDR4[$1]} $ATTEST_PORT} attest=
	[ -n "${NO_AGENT[$1]:-}" ] ||
		attest=", \"attest\": {\"address\": \"${endpoint% *}\", \"port\": ${endpoint#* }}"
	printf '{"node": "%s", "addresses": %s%s}' "$1" \
		"$(json_list "${ADDR4[$1]}" "${ADDR6[$1]}")" "$attest"
}

# bare_host HOST: with a certificate, without an agent
bare_host() {
	[ -n "${ADDR4[$1]:-}" ] || host_add "$1" "$(host_number "$1")"
	svid "$1"
}

# hostile NAME HOST KIND [OPTION...]: listens where the agent of that host would
hostile() {
	local name=$1 host=$2 kind=$3 dir=$WORK/$2/svid
	shift 3
	start "$name" "$host" bailiwickd.service hostile_peer "$kind" :: $ATTEST_PORT \
		--cert "$dir/cert.pem" --key "$dir/key.pem" --node "$host" "$@"
	wait_line "$name" '^listening' || exit 1
}

# asks HOST TARGET KIND [OPTION...]: as that host's agent would ask another one
asks() {
	local dir=$WORK/$1/svid
	run "$1" bailiwickd.service ask_peer "$3" "$2" $ATTEST_PORT --cert "$dir/cert.pem" \
		--key "$dir/key.pem" --node "$1" "${@:4}"
}

# attest_usual [MODE] <rules
attest_usual() {
	local host
	for host in pay-1 api-1; do
		[ -z "${HOSTILE[$host]:-}" ] || { bare_host $host && continue; }
		[ -e "$WORK/$host/agent.yaml" ] || attest_host $host "${1:-selective}"
	done
	place_usual
	views
	{ policy_head; cat; } | policy
	for host in "${HOSTS[@]}"; do
		[ ! -e "$WORK/$host/agent.yaml" ] || agent_start "$host"
	done
	apply_all
	API=${ADDR4[api-1]} API_6=${ADDR6[api-1]} PAY=${ADDR4[pay-1]} PAY_6=${ADDR6[pay-1]}
}

# ------------------------------------------------------------------------------ what happens

# held_by HOST: packets that wait for an answer at this moment
held_by() {
	bw_json "$1" .queue.held status
}

holds() {
	[ "$(held_by "$1")" -gt 0 ]
}

# attest_count HOST NAME: asked, vouched, refused, timed_out, unavailable, busy, joined, per_source
attest_count() {
	bw_json "$1" ".attestation.$2" status
}

# peer_state HOST NODE: what status says of the stream to that node's agent
peer_state() {
	bw_json "$1" ".peers[]? | select(.node == \"$2\") | .state" status
}

peer_connected() {
	[ "$(peer_state "$1" "$2")" = connected ]
}

# late: questions that had no answer in time so far, at all hosts whose agent runs
late() {
	local host state sum=0
	for host in "${HOSTS[@]}"; do
		state=$(sed 's/.*) //; s/ .*//' "/proc/${PID[agent-$host]:-none}/stat" 2>/dev/null)
		[[ $state == [RSD] ]] || continue
		sum=$((sum + $(attest_count "$host" timed_out 2>/dev/null || echo 0)))
	done
	echo $sum
}

# in_time COMMAND...: what is measured here holds where answers come in time. Where an agent says that
# one did not, the machine stood still, and it is measured again.
in_time() {
	local try before
	for try in 1 2 3 4 5; do
		before=$(late)
		"$@"
		[ "$(late)" != "$before" ] || return 0
	done
}

# unless_late COMMAND...: a datagram whose question had no answer in time is lost (an agent has counted
# that), and then, only then, it is sent again.
unless_late() {
	local try before got
	for try in 1 2 3 4 5; do
		before=$(late)
		"$@"
		got=$?
		[ $got = $NO_ANSWER ] && [ "$(late)" != "$before" ] || return $got
	done
	return $got
}

# As lib.sh has it, but the first datagram of a flow may wait for an answer, and that be late.
udp_answers() {
	expect "$1" $DONE unless_late run "$2" "$3" datagrams udp-client "$4" "$5" \
		--timeout $((2000 * WAIT_FACTOR))
}

# server_connections SERVER: how many connections a server of `serve` has had
server_connections() {
	grep -c '^accepted' "$WORK/$1.out"
}
