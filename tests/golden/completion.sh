# SPDX-License-Identifier: GPL-3.0-or-later
# Completion offers each verb, and behind each verb the options that its --help has, and no others.
PATH=$B:$PATH
export BAILIWICK_RUN_DIR=/nonexistent
# -o is offered by its letter.
options() {
	grep -oE '(^|[^[:alnum:]-])--[a-z][a-z-]+' | sed 's/^[^-]*//' | grep -vx -e --output | sort -u
}
# offered FUNCTION WORD...: what may stand behind these words
offered() {
	local function=$1
	shift
	COMP_WORDS=("$@" '') COMP_CWORD=$#
	COMPREPLY=()
	"$function"
	printf '%s\n' "${COMPREPLY[@]}"
}
# verb FUNCTION PROGRAM VERB: directly behind it, and behind each word that its usage line names
verb() {
	local word usage
	usage=$("$2" "$3" --help | sed '/^$/q' | tr -s '[]|/ ' '\n')
	offered "$@"
	for word in $(offered "$@" | grep -xE '[a-z]+' | grep -xF "$usage"); do
		offered "$@" "$word"
		offered "$@" "$word" x
	done
}
wrong=0
differ() {
	[ "$2" = "$3" ] && return
	diff <(echo "$2") <(echo "$3") | sed "s/^/$1: /"
	wrong=1
}
for program in bailiwick bailiwick-controller; do
	# shellcheck disable=SC1090
	. "cli/completion/$program"
	function=_${program//-/_}
	verbs=$("$program" --help | sed -n 's/^  \([a-z-]*\) .*/\1/p' | sort)
	differ "$program" "$verbs" "$(offered "$function" "$program" | grep -xE '[a-z]+' | sort)"
	for v in $verbs; do
		differ "$program $v" "$("$program" "$v" --help | options)" \
			"$(verb "$function" "$program" "$v" | options)"
	done
done
exit $wrong
