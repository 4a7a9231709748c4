# SPDX-License-Identifier: GPL-3.0-or-later
# Shared by the house checks: results, and the list of files. Sourced, with the top folder current.

passed=0
failed=0
skipped=0

ok() {
	echo "ok $1"
	passed=$((passed + 1))
}

not_ok() {
	echo "not ok $1: $2"
	failed=$((failed + 1))
}

skip() {
	echo "skip $1: $2"
	skipped=$((skipped + 1))
}

finish() {
	echo "# $passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ]
	exit
}

# files GLOB...: files of the project, without what was built.
files() {
	local args=() glob
	for glob in "$@"; do
		args+=(-o -name "$glob")
	done
	find . \( -path ./.git -o -path ./build \) -prune -o -type f \( "${args[@]:1}" \) -print |
		sed 's|^\./||' | LC_ALL=C sort
}

filter=${1:-}
selected() {
	[ -z "$filter" ] || [[ $1 == *"$filter"* ]]
}
