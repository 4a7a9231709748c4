# SPDX-License-Identifier: GPL-3.0-or-later
# UC-19 while the whole fleet is written to files: whoever orders a quarantine, and whoever asks for
# a head, does not wait for it. No clock decides here, but what the export itself has seen: a node's
# head is written behind all views, so an order that came after the export and is in that head was
# heard before the export's end.
. "$(dirname "$0")/lib-controller.sh"
NODES=${EXPORT_NODES:-6000}

host_add ctl $CTL_NUMBER
controller_start
node_enrolled pay-1
{
	cat <<-END
		trust_domain: acme.example
		defaults: {assurance: mapped}
		identities:
		  - {name: web, path: prod/web, workload: [{unit: w.service}], placement: {nodes: ["*"]}}
		  - {name: api, path: prod/api, workload: [{unit: a.service}], serves: [tcp/80], placement: {nodes: ["*"]}}
		rules:
		  - {name: web-api, from: [web], to: [api], services: [tcp/80], purpose: p, owner: o}
		nodes:
		  - {pattern: "*", addresses: ["10.0.0.0/8"]}
	END
} >"$WORK/policy.yaml"
must ctl publish "$WORK/policy.yaml"
must ctl place prod/api --node pay-1 --address 10.1.0.1
mkdir -p "$DATA/placements"
awk -v n="$NODES" 'BEGIN { print "placements:"; for (i = 0; i < n; i++)
	printf "  - {identity: prod/web, node: m%d, addresses: [10.2.%d.%d]}\n", i, i / 250, i % 250 + 1 }' \
	>"$WORK/many.yaml"
mv "$WORK/many.yaml" "$DATA/placements/many.yaml"
placed() { [ "$(ctl_json .summary.nodes status)" -gt "$NODES" ]; }
check "$NODES nodes are known" wait_for 60 placed

# talk NAME: a connection of the operator's, ready for `ask_on NAME PATH JSON`
talk() {
	mkfifo "$WORK/$1.in"
	at ctl openssl s_client -quiet -connect "10.77.0.$CTL_NUMBER:$CTL_PORT" -CAfile "$DATA/ca.pem" \
		-cert "$DATA/operator.pem" -key "$DATA/operator.key" <>"$WORK/$1.in" >"$WORK/$1.out" 2>/dev/null &
	echo $! >>"$WORK/talking"
	printf 'GET /v1/operator/operators HTTP/1.1\r\nHost: x\r\n\r\n' >"$WORK/$1.in"
	wait_for 30 answers "$1" '200 '
}
answers() {
	[ "$(grep -ao 'HTTP/1.1 [0-9]*' "$WORK/$1.out" | cut -d' ' -f2 | tr '\n' ' ')" = "$2" ]
}
ask_on() {
	printf 'POST /v1/operator/%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
		"$2" ${#3} "$3" >"$WORK/$1.in"
}
for one in export quarantine second; do
	check "a connection for $one" talk $one
done
begun() { find "$WORK/ctl/$1/v1" -type f 2>/dev/null | grep -q .; }
ask_on export export "{\"directory\": \"$WORK/ctl/static\"}"
check "an export begins" wait_for 60 begun static
ask_on quarantine quarantine '{"identity": "prod/api", "reason": "while an export runs"}'
ask_on second export "{\"directory\": \"$WORK/ctl/other\"}"
check "the quarantine is answered" wait_for 60 answers quarantine '200 200 '
check "another export is not begun beside it" wait_for 60 answers second '200 503 '
check "the export is" wait_for 120 answers export '200 200 '
same "the export has the quarantine that came after it" \
	"$(jq -r .payload "$WORK/ctl/static/v1/heads/pay-1.dsse.json" | base64 -d |
		jq -c '[.quarantine[].identity]')" '["prod/api"]'
same "and all heads" "$(find "$WORK/ctl/static/v1/heads" -type f | wc -l)" $((NODES + 1))
mapfile -t talking <"$WORK/talking"
kill "${talking[@]}"
check "the next one finds it unchanged" ctl publish --to "$WORK/ctl/static"

# --- who asked for it goes away, and so does the server
rm -r "$WORK/ctl/static"
start gone ctl operator.service bailiwick-controller publish --to "$WORK/ctl/static" --data "$DATA"
wait_for 30 begun static
stop gone KILL
still_serves "whoever asked for it goes away"
start third ctl operator.service bailiwick-controller publish --to "$WORK/ctl/third" --data "$DATA"
wait_for 30 begun third
controller_stop
same "the server ends in the middle of one" "$?" 0
finish third >/dev/null
controller_start
still_serves "and comes back"
finish_tests
