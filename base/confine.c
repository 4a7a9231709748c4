/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/confine.h"

#include "base/mem.h"

#include <errno.h>
#include <seccomp.h>
#include <string.h>
#include <sys/prctl.h>

/* Mounts, modules, namespaces, other processes, keys, clocks: of no use to any daemon of ours. */
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

static const int fatal[] = {SCMP_SYS(execve), SCMP_SYS(execveat)};

static int add(scmp_filter_ctx ctx, uint32_t action, const int *calls, size_t count)
{
	int r = 0;

	for (size_t i = 0; i < count && r >= 0; i++)
		r = seccomp_rule_add(ctx, action, calls[i], 0);
	return r;
}

int confine(const int *more, size_t count, struct err *err)
{
	scmp_filter_ctx ctx;
	int r;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, errno, "no_new_privs: %s", strerror(errno));
	ctx = seccomp_init(SCMP_ACT_ALLOW);
	if (!ctx)
		return err_set(err, ENOMEM, "out of memory");
	r = add(ctx, SCMP_ACT_ERRNO(EPERM), refused, ARRAY_LEN(refused));
	if (r >= 0)
		r = add(ctx, SCMP_ACT_ERRNO(EPERM), more, count);
	if (r >= 0)
		r = add(ctx, SCMP_ACT_KILL_PROCESS, fatal, ARRAY_LEN(fatal));
	if (r >= 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r < 0 ? err_set(err, -r, "system call filter: %s", strerror(-r)) : 0;
}
