/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Least privilege (DESIGN section 5): three capabilities from the first moment, a system call
 * filter once everything is open. The unit file does the same from outside; this holds without
 * systemd too.
 */
#pragma once

#include "base/err.h"

/*
 * Keeps CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH and, where the kernel watches cgroups by
 * fanotify, nothing more: inotify is used instead. -EPERM names a capability that is missing. No
 * core dumps.
 */
int privilege_keep(struct err *err);

/* Seccomp: calls that an agent never makes end it; no new programs, no new namespaces, no modules.
 */
int privilege_confine(struct err *err);
