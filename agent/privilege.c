/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/privilege.h"

#include "base/confine.h"
#include "base/mem.h"

#include <cap-ng.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static const struct {
	unsigned cap;
	const char *name; /* as capabilities(7) and systemd write it */
} needed[] = {
	{CAP_NET_ADMIN, "CAP_NET_ADMIN"},
	{CAP_SYS_PTRACE, "CAP_SYS_PTRACE"},
	{CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"},
};

/* So it is in bailiwickd.service, whose filter does not even let capset(2) through. */
static bool holds_only_needed(void)
{
	capng_get_caps_process();
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++) {
		bool wanted = false;

		for (size_t i = 0; i < ARRAY_LEN(needed); i++)
			wanted |= needed[i].cap == cap;
		if (wanted != capng_have_capability(CAPNG_PERMITTED, cap))
			return false;
	}
	return true;
}

int privilege_keep(struct err *err)
{
	const struct rlimit none = {0};
	bool may_chown;

	/* A core would hold the node's key. */
	(void)setrlimit(RLIMIT_CORE, &none);
	capng_get_caps_process();
	for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
		if (!capng_have_capability(CAPNG_EFFECTIVE, needed[i].cap))
			return err_set(err, EPERM,
				       "%s is missing; run as root, or from bailiwickd.service",
				       needed[i].name);
	}
	if (holds_only_needed())
		return 0;
	may_chown = capng_have_capability(CAPNG_PERMITTED, CAP_CHOWN);
	capng_clear(CAPNG_SELECT_BOTH);
	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		(void)capng_update(CAPNG_ADD,
				   CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET,
				   needed[i].cap);
	/*
	 * CHOWN gives the control socket to the group at start; it goes with privilege_confine().
	 * In bailiwickd.service the group is the process's own and the capability is not there.
	 */
	if (may_chown)
		(void)capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_CHOWN);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return err_set(err, EPERM, "capabilities cannot be given up");
	return 0;
}

int privilege_confine(struct err *err)
{
	if (!holds_only_needed()) {
		(void)capng_update(CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_CHOWN);
		if (capng_apply(CAPNG_SELECT_CAPS) < 0)
			return err_set(err, EPERM, "capabilities cannot be given up");
	}
	return confine(NULL, 0, err);
}
