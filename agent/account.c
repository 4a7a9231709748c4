/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/account.h"

#include "base/mem.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>

#define NAME_BUFFER_BYTES 65536

static int number_of(const char *name, uint32_t *ret)
{
	uint64_t value = 0;

	if (*name == '\0')
		return -ENOENT;
	for (; *name >= '0' && *name <= '9' && value < UINT32_MAX; name++)
		value = value * 10 + (uint64_t)(*name - '0');
	/* 2^32 - 1 is "no user" to the kernel. */
	if (*name != '\0' || value >= UINT32_MAX)
		return -ENOENT;
	*ret = (uint32_t)value;
	return 0;
}

static int find_user(void *user, const char *name, uint32_t *ret_uid)
{
	CLEANUP(freep) char *buffer = mem_calloc(1, NAME_BUFFER_BYTES);
	struct passwd entry, *found = NULL;

	(void)user;
	if (buffer == NULL || getpwnam_r(name, &entry, buffer, NAME_BUFFER_BYTES, &found) != 0 ||
	    found == NULL)
		return number_of(name, ret_uid);
	*ret_uid = entry.pw_uid;
	return 0;
}

static int find_group(void *user, const char *name, uint32_t *ret_gid)
{
	CLEANUP(freep) char *buffer = mem_calloc(1, NAME_BUFFER_BYTES);
	struct group entry, *found = NULL;

	(void)user;
	if (buffer == NULL || getgrnam_r(name, &entry, buffer, NAME_BUFFER_BYTES, &found) != 0 ||
	    found == NULL)
		return number_of(name, ret_gid);
	*ret_gid = entry.gr_gid;
	return 0;
}

const struct claim_names account_names = {.user = find_user, .group = find_group};
