/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/privilege.h"

#include "base/mem.h"

#include <cap-ng.h>
#include <errno.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>

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
	bool may_chown;

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

/*
 * What an agent that was taken over would need next. Refused calls return EPERM, so that a library
 * that merely tries keeps working; executing a program ends the process.
 */
static const int refused[] = {
	SCMP_SYS(mount),
	SCMP_SYS(umount2),
	SCMP_SYS(pivot_root),
	SCMP_SYS(chroot),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(delete_module),
	SCMP_SYS(kexec_load),
	SCMP_SYS(reboot),
	SCMP_SYS(swapon),
	SCMP_SYS(swapoff),
	SCMP_SYS(setns),
	SCMP_SYS(unshare),
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(process_madvise),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(kcmp),
	SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(keyctl),
	SCMP_SYS(add_key),
	SCMP_SYS(request_key),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(settimeofday),
	SCMP_SYS(clock_settime),
	SCMP_SYS(adjtimex),
	SCMP_SYS(sethostname),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(personality),
	SCMP_SYS(acct),
	SCMP_SYS(quotactl),
};

static int add_rules(scmp_filter_ctx ctx)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(refused) && r >= 0; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
	if (r >= 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, SCMP_SYS(execve), 0);
	if (r >= 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, SCMP_SYS(execveat), 0);
	return r;
}

int privilege_confine(struct err *err)
{
	scmp_filter_ctx ctx;
	int r;

	if (!holds_only_needed()) {
		(void)capng_update(CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_CHOWN);
		if (capng_apply(CAPNG_SELECT_CAPS) < 0)
			return err_set(err, EPERM, "capabilities cannot be given up");
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, errno, "no_new_privs: %s", strerror(errno));
	ctx = seccomp_init(SCMP_ACT_ALLOW);
	if (!ctx)
		return err_set(err, ENOMEM, "out of memory");
	r = add_rules(ctx);
	if (r >= 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r < 0 ? err_set(err, -r, "system call filter: %s", strerror(-r)) : 0;
}
