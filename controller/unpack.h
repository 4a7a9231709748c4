/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Gzip from outside (RFC 1952), one member, with a hard maximum of what may come out. */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* Caller frees; NUL after it. -EBADMSG, -E2BIG (more than max comes out), -ENOMEM. */
int gzip_unpack(const void *bytes, size_t len, size_t max, char **ret, size_t *ret_len,
		struct err *err);
