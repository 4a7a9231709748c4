# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# A fleet: a controller in a namespace of its own (ctl), hosts that enrol with tokens, an agent and a
# courier on each. For tests/netns/fleet-*.sh and bench; beside everything of lib.sh:
#
#   fleet_policy <rules                    the policy, with the usual people and the nodes' bounds
#   fleet_up pay-1 pay-2 api-1             controller with that policy, enrolled hosts that enforce it
#   publish                                another policy, signed and given to the controller
#   ctl place prod/payments/api --node api-1     a verb of bailiwick-controller
#   fleet_live api-1 pay-1                 these agents enforce what was published last
#
# Everything runs in cgroups and namespaces of this script and ends with it.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

for program in bailiwick-controller bailiwick-courier; do
	[ -x "$B/$program" ] || skip_all "$program is not built"
done

COURIER_UID=64901
CTL_NUMBER=31
CTL_PORT=8443
DATA=$WORK/ctl/data
URL=https://10.77.0.$CTL_NUMBER:$CTL_PORT
MODE=selective
TOKEN='' PIN='' POLICY_PIN=''

# ---------------------------------------------------------------------------------- controller

# controller_start [OPTION...]: `dev`, which makes keys, CA and database when they are missing
controller_start() {
	[ -n "${ADDR4[ctl]:-}" ] || host_add ctl $CTL_NUMBER
	start controller ctl bailiwick-controller.service env ${LATER[@]+"${LATER[@]}"} \
		bailiwick-controller dev --data "$DATA" --trust-domain acme.example \
		--listen "${ADDR4[ctl]}:$CTL_PORT" "$@"
	wait_for 30 controller_answers && return
	fail "set-up" "the controller does not answer: $(tail -n 2 "$WORK/controller.out")"
	exit 1
}

controller_answers() {
	ctl status
}

# controller_stop [SIGNAL]
controller_stop() {
	stop controller "${1:-TERM}"
}

# ctl VERB...: as the operator, on the controller's host
ctl() {
	at ctl env ${LATER[@]+"${LATER[@]}"} bailiwick-controller "$@" --data "$DATA"
}

# ctl_json FILTER VERB...
ctl_json() {
	local filter=$1
	shift
	ctl "$@" -o json | jq -r "$filter"
}

# ctl_node HOST FILTER: what the controller knows of a node
ctl_node() {
	ctl_json ".nodes[] | select(.node == \"$1\") | $2" status
}

# up_to_date HOST: it has taken the newest head that the controller has for it
up_to_date() {
	[ "$(ctl_node "$1" '.head > 0 and .head == .head_reported')" = true ]
}

# ------------------------------------------------------------------------------------ enrolment

# token NODE [OPTION...]: fills TOKEN, PIN and POLICY_PIN
token() {
	local node=$1 said
	shift
	said=$(ctl token create --node "$node" "$@" -o json) || {
		fail "set-up" "no token for $node: $said"
		exit 1
	}
	TOKEN=$(jq -r .token <<<"$said")
	PIN=$(jq -r .pin <<<"$said")
	POLICY_PIN=sha256:$(jq -r '.policy_pins[0]' <<<"$said")
}

# enroll HOST [OPTION...]: with TOKEN and the pins
enroll() {
	local host=$1
	shift
	at "$host" env ${LATER[@]+"${LATER[@]}"} bailiwick enroll --config "$WORK/$host/agent.yaml" \
		--url "$URL" --token "$TOKEN" --pin "$PIN" --policy-pin "$POLICY_PIN" "$@"
}

# fleet_config HOST [MODE [LINE...]]: as agent_config, with the controller as source. The trust keys
# are where enrolment puts them.
fleet_config() {
	local host=$1 etc=$WORK/$1/etc
	mkdir -p "$etc/trust"
	agent_config "$@"
	sed -i '/^source:/d' "$WORK/$host/agent.yaml"
	cat >>"$WORK/$host/agent.yaml" <<-YAML
		source: {controller: {url: "$URL", ca: $etc/controller-ca.pem}}
		trust:
		  policy: {keys: [$etc/trust/policy.pub], threshold: 1}
		  controller: {keys: [$etc/trust/controller.pub], threshold: 1}
		svid: {cert: $WORK/$host/state/svid.pem, key: $WORK/$host/state/svid.key, bundle: $WORK/$host/state/bundle.pem}
	YAML
}

# ----------------------------------------------------------------------------- agents, couriers

fleet_agent_start() {
	local host=$1 dir
	dir=$(unit_dir "$host" bailiwickd.service)
	traffic --netns "$(ns "$host")" --cgroup "$dir" exec -- env ${LATER[@]+"${LATER[@]}"} \
		bailiwickd --config "$WORK/$host/agent.yaml" --foreground \
		--courier-user $COURIER_UID \
		>>"$WORK/$host/agent.log" 2>&1 </dev/null 8<&- 3>&- &
	PID[agent-$host]=$!
	wait_for "${AGENT_START_MAX:-30}" agent_ready "$host" && return
	fail "set-up" "the agent of $host is not ready: $(tail -n 2 "$WORK/$host/agent.log")"
	exit 1
}

courier_start() {
	local host=$1 dir
	dir=$(unit_dir "$host" bailiwick-courier.service)
	traffic --netns "$(ns "$host")" --cgroup "$dir" exec -- env ${LATER[@]+"${LATER[@]}"} \
		bailiwick-courier --run-dir "$WORK/$host/run" --user $COURIER_UID \
		>>"$WORK/$host/courier.log" 2>&1 </dev/null 8<&- 3>&- &
	PID[courier-$host]=$!
}

# courier_stop HOST [SIGNAL]
courier_stop() {
	stop "courier-$1" "${2:-TERM}"
}

# enrolled HOST: a host with agent and courier; fresh agents observe
enrolled() {
	local host=$1
	[ -n "${ADDR4[$host]:-}" ] || host_add "$host" "$(number_of "$host")"
	[ -e "$WORK/$host/agent.yaml" ] || fleet_config "$host" observe
	token "$host"
	must enroll "$host"
	fleet_agent_start "$host"
	courier_start "$host"
	wait_for 30 connected "$host" && return
	fail "set-up" "$host does not reach the controller: $(tail -n 2 "$WORK/$host/courier.log")"
	exit 1
}

connected() {
	[ "$(bw_json "$1" .controller.connected status)" = true ]
}

disconnected() {
	[ "$(bw_json "$1" .controller.connected status)" = false ]
}

# number_of HOST: the last number of its addresses
number_of() {
	case $1 in
	pay-*) echo $((10 + ${1#pay-})) ;;
	api-*) echo $((20 + ${1#api-})) ;;
	*) echo $((40 + ${1##*-})) ;;
	esac
}

# fleet_up HOST...: with the policy of fleet_policy, in mode $MODE
fleet_up() {
	local host
	controller_start
	publish
	for host in "$@"; do
		enrolled "$host"
	done
	fleet_live "$@"
	for host in "$@"; do
		[ "$MODE" = observe ] || must bw "$host" mode "$MODE" --reason test
	done
	API=10.77.0.21 API_6=fd77::21 PAY=10.77.0.11 PAY_6=fd77::11
}

# --------------------------------------------------------------------------------------- policy

fleet_nodes() {
	cat <<-'YAML'
		nodes:
		  - {pattern: "pay-*", addresses: ["10.77.0.8/29", "fd77::10/124"]}
		  - {pattern: "api-*", addresses: ["10.77.0.20/30", "fd77::20/124"]}
		  - {pattern: "other-*", addresses: ["10.77.0.40/29", "fd77::40/124"]}
	YAML
}

# fleet_policy <rules
fleet_policy() {
	{
		policy_head
		cat
		fleet_nodes
	} | policy
}

# sign_policy [OPTION...]: $WORK/policy as revision $REVISION, to $WORK/signed
sign_policy() {
	rm -rf "$WORK/signed"
	bailiwick sign "$WORK/policy" --key "$DATA/policy.key" --revision "$REVISION" \
		--out "$WORK/signed" "$@"
}

# publish: the next revision
publish() {
	REVISION=$((REVISION + 1))
	must sign_policy "$@"
	must ctl publish "$WORK/signed"
}

# enforces HOST: the revision published last, past its probation
enforces() {
	[ "$(bw_json "$1" '[.policy_revision, .state] | join(" ")' status)" = "$REVISION ready" ]
}

# fleet_live HOST...
fleet_live() {
	local host
	for host in "$@"; do
		wait_for "${FLEET_LIVE_MAX:-60}" enforces "$host" && continue
		fail "set-up" "$host does not enforce revision $REVISION: $(bw "$host" status 2>&1 | head -n 3)"
		exit 1
	done
}

# took WITHIN_MS COMMAND...: milliseconds until the command succeeds; -1 if it does not
took() {
	local began
	began=$(now_ms)
	if wait_for 15 "$@"; then
		echo $(($(now_ms) - began))
	else
		echo -1
	fi
}

# The usual people where they usually are
fleet_place() {
	must ctl place prod/payments/settlement --node pay-1
	must ctl place prod/payments/backup --node pay-1
	must ctl place prod/payments/cache --node pay-1
	must ctl place prod/payments/api --node api-1
}

# fleet_usual <rules: pay-1 and api-1 as in `usual`, everything through the controller
fleet_usual() {
	fleet_policy
	fleet_up pay-1 api-1
	fleet_place
	mapped pay-1 api-1
	serve api api-1 api.service 8443
}

# mapped HOST...: they have the newest mapping
mapped() {
	local host
	for host in "$@"; do
		wait_for 30 up_to_date "$host" && continue
		fail "set-up" "$host is not up to date: $(ctl status | grep "^$host")"
		exit 1
	done
}

# ------------------------------------------------------------------------ signatures by hand

TYPE_MANIFEST=application/vnd.bailiwick.manifest.v1+json
TYPE_HEAD=application/vnd.bailiwick.head.v1+json

# envelope TYPE KEYFILE <payload: DSSE made with openssl alone, so that no mistake is made twice
envelope() {
	local dir
	dir=$(mktemp -d "$WORK/dsse.XXXXXX")
	cat >"$dir/payload"
	{
		printf 'DSSEv1 %d %s %d ' ${#1} "$1" "$(stat -c %s "$dir/payload")"
		cat "$dir/payload"
	} >"$dir/pae"
	if openssl pkey -in "$2" -noout -text | grep -qi ed25519; then
		openssl pkeyutl -sign -inkey "$2" -rawin -in "$dir/pae" -out "$dir/sig"
	else
		openssl dgst -sha256 -sign "$2" -out "$dir/sig" "$dir/pae"
	fi
	jq -cn --arg type "$1" --arg payload "$(base64 -w0 "$dir/payload")" \
		--arg sig "$(base64 -w0 "$dir/sig")" \
		'{payload: $payload, payloadType: $type, signatures: [{keyid: "", sig: $sig}]}'
	rm -rf "$dir"
}

# payload <envelope
payload() {
	jq -r .payload | base64 -d
}

# ------------------------------------------------------------------------------ a static server

# nginx_start NAME HOST ROOT: HTTPS with the controller's own key and certificate, documents only
nginx_start() {
	local dir=$WORK/$1
	mkdir -p "$dir"
	cat >"$dir/nginx.conf" <<-CONF
		daemon off; worker_processes 1; pid $dir/pid; error_log $dir/error.log; user root;
		events { worker_connections 256; }
		http {
			access_log $dir/access.log;
			client_body_temp_path $dir/t1; proxy_temp_path $dir/t2; fastcgi_temp_path $dir/t3;
			uwsgi_temp_path $dir/t4; scgi_temp_path $dir/t5;
			server {
				listen ${ADDR4[$2]}:$CTL_PORT ssl;
				ssl_certificate $DATA/tls.pem;
				ssl_certificate_key $DATA/tls.key;
				default_type application/json;
				root $3;
			}
		}
	CONF
	start "$1" "$2" nginx.service nginx -c "$dir/nginx.conf"
	nginx_listens() { at "$1" ss -Hltn "sport = $CTL_PORT" | grep -q .; }
	wait_for 15 nginx_listens "$2" && return
	fail "set-up" "nginx does not start: $(tail -n 1 "$dir/error.log") $(tail -n 1 "$WORK/$1.out")"
	exit 1
}
