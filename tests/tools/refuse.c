/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * refuse CALL[,CALL...] COMMAND [ARGUMENT...]: COMMAND, to which the kernel refuses these system
 * calls with EPERM, as SystemCallFilter= of a unit does.
 */
#include "tests/tools/tool.h"

#include <seccomp.h>

int main(int argc, char **argv)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	char *rest = NULL;

	if (argc < 3)
		tool_die(EXIT_USAGE, "refuse CALL[,CALL...] COMMAND [ARGUMENT...]");
	if (!filter)
		tool_die(EXIT_BROKEN, "no filter");
	for (char *call = strtok_r(argv[1], ",", &rest); call; call = strtok_r(NULL, ",", &rest)) {
		int number = seccomp_syscall_resolve_name(call);

		if (number == __NR_SCMP_ERROR ||
		    seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0) < 0)
			tool_die(EXIT_USAGE, "'%s' is no system call", call);
	}
	if (seccomp_load(filter) < 0)
		tool_die(EXIT_BROKEN, "the filter is refused");
	seccomp_release(filter);
	(void)execvp(argv[2], argv + 2);
	tool_die(EXIT_BROKEN, "%s: %s", argv[2], strerror(errno));
}
