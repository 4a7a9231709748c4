/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The system call filter that every daemon puts on itself once everything is open: what a process
 * that was taken over would need next. Refused calls return EPERM, so that a library that merely
 * tries keeps working; executing a program ends the process. Cannot be taken back; children inherit
 * it. seccomp(2), libseccomp.
 */
#pragma once

#include "base/err.h"

#include <stddef.h>

/*
 * No new privileges, then the filter. `more` are calls (SCMP_SYS(...)) that this program has no use
 * for either; may be empty. On failure the process is not confined and should end.
 */
int confine(const int *more, size_t count, struct err *err);
