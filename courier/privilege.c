/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "courier/privilege.h"

#include "base/confine.h"
#include "base/mem.h"
#include "base/text.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static int find_user(const char *user, uid_t *ret_uid, gid_t *ret_gid, struct err *err)
{
	const struct passwd *pw = getpwnam(user);
	uint32_t uid = 0;

	if (!pw && text_u32(user, 0, UINT32_MAX - 1, &uid) < 0)
		return err_set(err, ENOENT,
			       "no user %s on this host; bailiwick-courier (systemd-sysusers makes "
			       "it) or --user NAME would be right",
			       user);
	*ret_uid = pw ? pw->pw_uid : (uid_t)uid;
	*ret_gid = pw ? pw->pw_gid : (gid_t)uid;
	return 0;
}

static int become(const char *user, struct err *err)
{
	uid_t uid = 0;
	gid_t gid = 0;
	int r = find_user(user, &uid, &gid, err);

	if (r < 0)
		return r;
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return err_set(err, errno, "cannot become %s: %s", user, strerror(errno));
	return 0;
}

int privilege_drop(const char *user, struct err *err)
{
	const struct rlimit none = {0};
	int r = geteuid() == 0 ? become(user ? user : COURIER_USER_DEFAULT, err) : 0;

	if (r < 0)
		return r;
	/* A core would hold the key and what this node reports. */
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	capng_get_caps_process();
	if (capng_have_capabilities(CAPNG_SELECT_CAPS) == CAPNG_NONE)
		return 0;
	capng_clear(CAPNG_SELECT_CAPS);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return err_set(err, EPERM, "capabilities cannot be given up");
	return 0;
}

/* It serves nobody, becomes nobody else and signals nobody. */
static const int refused[] = {
	SCMP_SYS(pidfd_open), SCMP_SYS(kill),      SCMP_SYS(setuid),    SCMP_SYS(setgid),
	SCMP_SYS(setresuid),  SCMP_SYS(setresgid), SCMP_SYS(setgroups), SCMP_SYS(capset),
	SCMP_SYS(listen),     SCMP_SYS(accept),    SCMP_SYS(accept4),
};

int privilege_confine(struct err *err)
{
	return confine(refused, ARRAY_LEN(refused), err);
}
