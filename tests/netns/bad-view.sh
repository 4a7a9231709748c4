# SPDX-License-Identifier: GPL-3.0-or-later
# A bad view is refused and named; the last good one stays in force and is not undone by a
# restart.
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
serve api api-1 api.service 8443
talk live pay-1 settlement.service "$API" 8443
good=$SEQUENCE
view_json pay-1 >"$WORK/good.json"
complained() { # PATTERN
	bw pay-1 status -o json | jq -e ".view_errors | tostring | test(\"$1\")"
}
bad() { # NAME PATTERN <view
	view_put pay-1
	check "refused and named: $1" wait_for 15 complained "$2"
	same "the sequence stays: $1" "$(bw_json pay-1 .view_sequence status)" "$good"
}
next() { jq -c ".sequence = $((good + 1)) | $1" "$WORK/good.json"; }
bad "no JSON" view.json <<<'{"version": 1,'
bad "an unknown key" extra < <(next '.extra = 1')
bad "a duplicate key" view.json < <(next . | sed 's/"version":1/"version":1,"version":1/')
bad "another node's" pay-1 < <(next '.node = "pay-9"')
bad "a falling sequence" sequence < <(jq -c '.sequence = 0' "$WORK/good.json")
bad "an address that is none" address < <(next '.nodes[0].addresses = ["10.0.0.256"]')
bad "trailing data" view.json < <(next .; echo '{}')
bad "nothing" view.json </dev/null
bad "one line of 1 MB" view.json \
	< <(printf '{"version": 1, "node": "'; head -c 1000000 /dev/zero | tr '\0' a)
chmod 666 "$WORK/pay-1/site/view.json"
chmod 777 "$WORK/pay-1/site"
next . >"$WORK/pay-1/site/view.json"
check "a directory that others may write to is not trusted" \
	wait_for 15 complained 'write|owned|mode|trust'
chmod 755 "$WORK/pay-1/site"
rm "$WORK/pay-1/site/view.json"
pause 0.3
runs_on "nobody noticed" live
connects "the last good view is in force" pay-1 settlement.service "$API" 8443
agent_stop pay-1
agent_start pay-1
connects "after a restart too" pay-1 settlement.service "$API" 8443
SEQUENCE=$((good + 5))
views pay-1
views_live pay-1
pass "a good view is taken again"
finish_tests
