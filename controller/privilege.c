/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/privilege.h"

#include "base/confine.h"
#include "base/mem.h"

#include <errno.h>
#include <seccomp.h>
#include <string.h>
#include <sys/prctl.h>

static const int refused[] = {
	SCMP_SYS(setuid),
	SCMP_SYS(setgid),
	SCMP_SYS(setresuid),
	SCMP_SYS(setresgid),
};

int privilege_drop(struct err *err)
{
	/* Private keys are in this process: no core dumps of it, no peeking by the same user. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_set(err, errno, "dumpable: %s", strerror(errno));
	return confine(refused, ARRAY_LEN(refused), err);
}
