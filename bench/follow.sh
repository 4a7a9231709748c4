# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# One row: from a placement at the controller to its enforcement on a node. A controller and one
# agent with its courier, each in a namespace of its own.
#   B=... COUNT=100 bash bench/follow.sh
TEST=bench/follow
ID_PREFIX=bwbench
. "$(dirname "$0")/../tests/netns/lib-fleet.sh"
exec 3>&2 # only the row goes to stdout

fleet_policy <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
fleet_up pay-1 >&2
must ctl place prod/payments/settlement --node pay-1
mapped pay-1
# A second place of the API: one more conduit for settlement, and one less.
at ctl "$B/bench/follow" "$(ns pay-1)" "${COUNT:-100}" \
	bailiwick-controller place prod/payments/api --node api-2 --address 10.77.0.22 \
	--data "$DATA" -- \
	bailiwick-controller place prod/payments/api --node api-2 --remove --data "$DATA"
