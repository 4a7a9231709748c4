/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a server that was taken over would need next is given up once it listens: it may not execute
 * programs, gain privileges, trace others, mount, or load code into the kernel. Refused calls
 * return EPERM, so that a library that merely tries keeps working; executing a program ends the
 * process.
 */
#pragma once

#include "base/err.h"

int privilege_drop(struct err *err);
