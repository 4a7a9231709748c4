#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# UC-60: `bailiwick enroll` on a fresh host writes what the agent needs and an agent.yaml that starts
# it; one that is there is never changed. Nothing is taken on a controller's word that must not be.
. "$(dirname "$0")/lib-fleet.sh"

controller_start
host_add pay-1 11
etc=$WORK/pay-1/etc
mkdir -p "$etc" "$WORK/pay-1/state" "$WORK/pay-1/run"
# Nothing of a test belongs into /var/lib.
printf 'version: 1\nstate_dir: %s\n' "$WORK/pay-1/state" >"$etc/agent.yaml"
enrol() { # OPTION...
	at pay-1 bailiwick enroll --config "$etc/agent.yaml" --url "$URL" --token "$TOKEN" --pin "$PIN" "$@"
}
files() {
	find "$etc" "$WORK/pay-1/state" -type f ! -name agent.yaml | wc -l
}
# enrols_not NAME PATTERN OPTION...: nothing is written, the token is still good
enrols_not() {
	local name=$1 pattern=$2
	shift 2
	expect "$name: refused" 1 enrol "$@"
	like "$name: says so" "$SAID" "$pattern"
	same "$name: nothing was written" "$(files)" 0
}

token pay-1
enrols_not "a policy pin that the controller does not have" 'no such policy key' \
	--policy-pin "sha256:$(printf %064d 1)"

right=$PIN
PIN=sha256:$(openssl rand -hex 32)
enrols_not "a wrong pin" "pin $PIN.*$right|$right"
PIN=$right
url=$URL
URL=https://[fd77::31]:1
enrols_not "nobody there" 'Connection refused|Failed to connect|connect'
URL=http://10.77.0.31:8443
enrols_not "not https" 'https://HOST'
URL=$url
expect "without a token: the usage" 2 at pay-1 bailiwick enroll --url "$URL" --pin "$PIN"
expect "a pin that is none: the usage" 2 enrol --policy-pin xyz

echo 'node: pay-2' >>"$etc/agent.yaml"
expect "a token of another node than agent.yaml names" 1 enrol --policy-pin "$POLICY_PIN"
like "it says whose it is" "$SAID" 'for node pay-1, and this is node pay-2'
same "no key was written" "$(find "$WORK/pay-1/state" -name 'svid*' | wc -l)" 0

sed -i 's/pay-2/pay-1/' "$etc/agent.yaml"
before=$(sha256sum <"$etc/agent.yaml")
status_of enrol --policy-pin "$POLICY_PIN"
like "that token is used up now" "$SAID" 'pay-1.*token create --node pay-1'
token pay-1
said=$(enrol --policy-pin "$POLICY_PIN") || fail "enrolment" "$said"
like "says who it is" "$said" 'spiffe://acme.example/bailiwick/node/pay-1'
like "and what agent.yaml lacks" "$said" 'source:.*controller:.*trust:.*policy:.*svid:'
same "agent.yaml was not changed" "$(sha256sum <"$etc/agent.yaml")" "$before"
same "the key is nobody else's" "$(stat -c %a "$WORK/pay-1/state/svid.key")" 600
same "the policy key is the pinned one" "sha256:$(openssl pkey -pubin -in "$etc/trust/policy.pub" \
	-outform DER | sha256sum | cut -d' ' -f1)" "$POLICY_PIN"
check "the bundle is what verifies it" openssl verify -CAfile "$WORK/pay-1/state/bundle.pem" \
	"$WORK/pay-1/state/svid.pem"

# What is printed is what is missing.
sed -n '/^source:/,$p' <<<"$said" >>"$etc/agent.yaml"
cat >>"$etc/agent.yaml" <<END
run_dir: $WORK/pay-1/run
cgroup_root: $CG/pay-1
END
expect "with those lines the agent has all it needs" 0 at pay-1 bailiwickd --config "$etc/agent.yaml" --check
cp "$etc/agent.yaml" "$WORK/pay-1/agent.yaml"
fleet_agent_start pay-1
courier_start pay-1
check "and reaches the controller" wait_for 15 connected pay-1
same "its certificate is told" "$(bw_json pay-1 .svid.spiffe_id status)" spiffe://acme.example/bailiwick/node/pay-1

# A new certificate beside a running agent.
serial=$(openssl x509 -in "$WORK/pay-1/state/svid.pem" -noout -serial)
expires=$(bw_json pay-1 .svid.expires status)
token pay-1
pause 1.1
must enrol --policy-pin "$POLICY_PIN"
same "it is another one" "$([ "$(openssl x509 -in "$WORK/pay-1/state/svid.pem" -noout -serial)" != "$serial" ] && echo yes)" yes
check "the running agent takes it" wait_for 15 bash -c \
	"[ \$(bailiwick -C $WORK/pay-1/run status -o json | jq -r .svid.expires) != $expires ]"

# The courier's user gets nothing from the control socket, whatever group it is in.
status_of traffic --netns "$(ns pay-1)" --uid $COURIER_UID exec -- bailiwick -C "$WORK/pay-1/run" status
same "the courier's user may not ask the agent" $(($? != 0)) 1

# A fresh host: agent.yaml is written, and it starts an agent (paths below /etc are a test's own).
host_add api-1 21
token api-1
fresh=$WORK/api-1/etc
mkdir -p "$fresh"
expect "without a policy pin no policy key is taken" 0 at api-1 env HOME=/ unshare -m bash -c \
	"mkdir -p '$WORK/api-1/varlib' && mount --bind '$WORK/api-1/varlib' /var/lib &&
	 bailiwick enroll --config '$fresh/agent.yaml' --url '$URL' --token '$TOKEN' --pin '$PIN' -o json"
same "so it says" "$(jq -c .policy_keys <<<"$SAID")" '[]'
same "agent.yaml was written" "$(jq -r .config_written <<<"$SAID")" true
same "for this node" "$(grep -c '^node: "api-1"' "$fresh/agent.yaml")" 1
same "in observe" "$(grep -c '^mode: observe' "$fresh/agent.yaml")" 1
same "the policy key's place is empty" "$(find "$fresh/trust" -name 'policy*' | wc -l)" 0
same "key and certificate are where the agent looks" "$(find "$WORK/api-1/varlib/bailiwick" -name 'svid.*' | wc -l)" 2
expect "the agent knows the configuration" 0 at api-1 bailiwickd --config "$fresh/agent.yaml" --check
finish_tests
