# SPDX-License-Identifier: GPL-3.0-or-later
# UC-55: templates to begin with. Each is sound as it stands; what it warns of and what it opens, under
# which conditions, is as recorded.
golden=tests/golden/templates.txt
said() {
	local file
	for file in examples/templates/*.yaml; do
		echo "== ${file##*/}"
		"$B/bailiwick" check "$file" | sed 's,^examples/templates/,,'
		"$B/bailiwick" check "$file" --explain -o json | jq -r '.conduits[] |
			"\(.from.name) > \(.to.name) \(.service)  \(.rule)  \(.conditions)"'
	done
}
[ -z "${GOLDEN_UPDATE:-}" ] || said >$golden
diff $golden <(said)
