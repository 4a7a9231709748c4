/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/exe_file.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fsverity.h>
#include <linux/stat.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES      131072
#define FRESH_NS        20000000LL /* two ticks of the slowest kernels */
#define FRESH_COARSE_NS 2000000000LL
#define DELETED         " (deleted)"

/*
 * Without asking the file system again where the kernel knows: a process may run a file of a file
 * system that it serves itself, and let us wait.
 */
static int key_of(int fd, struct exe_key *ret, bool *ret_nameless)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS | STATX_MNT_ID,
		  &st) < 0)
		return -errno;
	if (!S_ISREG(st.stx_mode))
		return -EINVAL;
	memset(ret, 0, sizeof(*ret));
	*ret = (struct exe_key){
		.dev_major = st.stx_dev_major,
		.dev_minor = st.stx_dev_minor,
		.ino = st.stx_ino,
		.size = st.stx_size,
		.mount = st.stx_mnt_id,
		.mtime_s = st.stx_mtime.tv_sec,
		.ctime_s = st.stx_ctime.tv_sec,
		.mtime_ns = st.stx_mtime.tv_nsec,
		.ctime_ns = st.stx_ctime.tv_nsec,
		.verity = (st.stx_attributes & STATX_ATTR_VERITY) != 0,
	};
	*ret_nameless = st.stx_nlink == 0;
	return 0;
}

bool exe_key_eq(const struct exe_key *a, const struct exe_key *b)
{
	return a->dev_major == b->dev_major && a->dev_minor == b->dev_minor && a->ino == b->ino &&
	       a->size == b->size && a->mount == b->mount && a->mtime_s == b->mtime_s &&
	       a->mtime_ns == b->mtime_ns && a->ctime_s == b->ctime_s &&
	       a->ctime_ns == b->ctime_ns && a->verity == b->verity;
}

/* Another name may keep the inode alive: then only the link says that this one is gone. */
static bool link_is_deleted(int proc_fd)
{
	char target[PATH_MAX + sizeof(DELETED)];
	ssize_t n = readlinkat(proc_fd, "exe", target, sizeof(target) - 1);

	if (n < 0)
		return true;
	target[n] = '\0';
	return str_ends(target, DELETED);
}

int exe_open(int proc_fd, struct exe_key *ret_key, bool *ret_deleted)
{
	CLEANUP(closep) int fd = openat(proc_fd, "exe", O_PATH | O_CLOEXEC);
	bool nameless;
	struct exe_key key;
	int r;

	if (fd < 0)
		return -errno;
	r = key_of(fd, &key, &nameless);
	if (r < 0)
		return r;
	*ret_key = key;
	*ret_deleted = nameless || link_is_deleted(proc_fd);
	return take_fd(&fd);
}

/* --- its file system ------------------------------------------------------------------------- */

#define MOUNTS_BYTES_MAX (8U << 20)

enum { MOUNT_ID, MOUNT_PARENT, MOUNT_DEVICE, MOUNT_FIELDS };

/* A line of mountinfo (proc(5)): its type, when it is of this mount or, else, this device. */
static const char *type_of_line(char *line, const struct exe_key *key, bool by_mount)
{
	char *type = strstr(line, " - "), *fields[MOUNT_FIELDS], *rest = line;
	uint64_t id, major, minor;
	char *colon;

	for (unsigned i = 0; i < MOUNT_FIELDS; i++) {
		fields[i] = strsep(&rest, " ");
		if (!rest)
			return NULL;
	}
	colon = strchr(fields[MOUNT_DEVICE], ':');
	if (!type || !colon)
		return NULL;
	*colon = '\0';
	if (text_u64(fields[MOUNT_ID], 0, UINT64_MAX, &id) < 0 ||
	    text_u64(fields[MOUNT_DEVICE], 0, UINT32_MAX, &major) < 0 ||
	    text_u64(colon + 1, 0, UINT32_MAX, &minor) < 0)
		return NULL;
	if (by_mount ? id != key->mount : major != key->dev_major || minor != key->dev_minor)
		return NULL;
	type += strlen(" - ");
	type[strcspn(type, " ")] = '\0';
	return type;
}

/* 1: yes, 0: it is not said there, -EOPNOTSUPP: no. */
static int is_readable_in(const char *path, const struct exe_key *key, bool by_mount)
{
	CLEANUP(freep) char *text = NULL;
	size_t len;
	char *line, *rest;
	int r = file_read(AT_FDCWD, path, MOUNTS_BYTES_MAX, &text, &len, NULL);

	if (r < 0)
		return r == -ENOMEM ? r : 0;
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		const char *type = type_of_line(line, key, by_mount);

		if (type)
			return strncmp(type, "fuse", strlen("fuse")) == 0 ? -EOPNOTSUPP : 1;
	}
	return 0;
}

int exe_may_be_read(pid_t pid, const struct exe_key *key)
{
	char path[64];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%ld/mountinfo", (long)pid);
	r = is_readable_in(path, key, true);
	/* One that has another root since it began does not see the mount any more. */
	if (r == 0)
		r = is_readable_in("/proc/self/mountinfo", key, false);
	if (r == 0)
		return -EOPNOTSUPP;
	return r < 0 ? r : 0;
}

static bool measure_verity(int fd, uint8_t ret[PEER_DIGEST_LEN])
{
	union {
		struct fsverity_digest digest;
		uint8_t bytes[sizeof(struct fsverity_digest) + EVP_MAX_MD_SIZE];
	} d = {.digest = {.digest_size = EVP_MAX_MD_SIZE}};

	if (ioctl(fd, FS_IOC_MEASURE_VERITY, &d.digest) < 0 ||
	    d.digest.digest_algorithm != FS_VERITY_HASH_ALG_SHA256 ||
	    d.digest.digest_size != PEER_DIGEST_LEN)
		return false;
	memcpy(ret, d.bytes + sizeof(struct fsverity_digest), PEER_DIGEST_LEN);
	return true;
}

static int hash_all(int fd, uint64_t size, EVP_MD_CTX *ctx, bool (*ending)(const void *user),
		    const void *user)
{
	CLEANUP(freep) uint8_t *buffer = mem_calloc(1, READ_BYTES);
	uint64_t seen = 0;

	if (!buffer)
		return -ENOMEM;
	for (;;) {
		ssize_t n = read(fd, buffer, READ_BYTES);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return seen == size ? 0 : -ESTALE;
		seen += (uint64_t)n;
		if (seen > size)
			return -ESTALE;
		if (EVP_DigestUpdate(ctx, buffer, (size_t)n) != 1)
			return -ENOMEM;
		if (ending(user))
			return -ECANCELED;
	}
}

static int hash_file(int fd, uint64_t size, bool (*ending)(const void *user), const void *user,
		     uint8_t ret[PEER_DIGEST_LEN])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int r = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;

	if (r == 0)
		r = hash_all(fd, size, ctx, ending, user);
	if (r == 0 && EVP_DigestFinal_ex(ctx, ret, NULL) != 1)
		r = -ENOMEM;
	EVP_MD_CTX_free(ctx);
	return r;
}

/*
 * The times of a file move by a tick of the kernel's clock, on old file systems by a second. What
 * is written within the same one leaves the key as it was: its content is not remembered yet.
 */
static bool is_fresh(const struct exe_key *key)
{
	int64_t span = key->ctime_ns != 0 ? FRESH_NS : FRESH_COARSE_NS, age;
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec - key->ctime_s > 2 || key->ctime_s - now.tv_sec > 2)
		return false;
	age = (now.tv_sec - key->ctime_s) * 1000000000LL + now.tv_nsec - key->ctime_ns;
	return age < span && age > -span;
}

int exe_measure(int path_fd, const struct exe_key *key, bool (*ending)(const void *user),
		const void *user, struct digest *ret)
{
	CLEANUP(closep) int fd = -1;
	struct digest d = {0};
	struct exe_key now;
	bool nameless;
	char path[64];
	int r;

	if (key->size > EVIDENCE_FILE_MAX)
		return -EFBIG;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = hash_file(fd, key->size, ending, user, d.sha256);
	if (r < 0)
		return r;
	r = key_of(fd, &now, &nameless);
	if (r < 0)
		return r;
	/* The mount is that of the descriptor, and the same. What was written meanwhile shows. */
	if (!exe_key_eq(&now, key))
		return -ESTALE;
	if (is_fresh(key))
		return -EAGAIN;
	d.has_sha256 = true;
	d.has_fsverity = now.verity && measure_verity(fd, d.fsverity);
	d.when = mono_now();
	*ret = d;
	return 0;
}

/* --- in a process of its own ----------------------------------------------------------------- */

struct answer {
	int r;
	struct digest digest;
};

static bool never_ending(const void *user)
{
	(void)user;
	return false;
}

/* Stuck, it must not keep anything of the agent's: state_dir is locked by a descriptor. */
static void close_others(int a, int b)
{
	unsigned low = (unsigned)(a < b ? a : b), high = (unsigned)(a < b ? b : a);

	if (low > 0)
		(void)close_range(0, low - 1, 0);
	if (high > low + 1)
		(void)close_range(low + 1, high - 1, 0);
	(void)close_range(high + 1, ~0U, 0);
}

static void measure_and_exit(int path_fd, const struct exe_key *key, int out)
{
	struct answer a = {0};

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	close_others(path_fd, out);
	a.r = exe_measure(path_fd, key, never_ending, NULL, &a.digest);
	_exit(write(out, &a, sizeof(a)) == (ssize_t)sizeof(a) ? 0 : 1);
}

/* Small enough to be one write into a pipe, so it is there as a whole or not at all. */
static int wait_for_answer(int in, int64_t ms, struct digest *ret)
{
	struct pollfd p = {.fd = in, .events = POLLIN};
	struct answer a;

	if (poll(&p, 1, (int)ms) <= 0)
		return -ETIMEDOUT;
	if (read(in, &a, sizeof(a)) != (ssize_t)sizeof(a))
		return -EIO;
	*ret = a.digest;
	return a.r;
}

int exe_measure_apart(int path_fd, const struct exe_key *key, int64_t ms, struct digest *ret)
{
	int pipe_fds[2], r;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		measure_and_exit(path_fd, key, pipe_fds[1]);
	r = pid < 0 ? -errno : 0;
	(void)close(pipe_fds[1]);
	if (r == 0)
		r = wait_for_answer(pipe_fds[0], ms, ret);
	(void)close(pipe_fds[0]);
	if (pid > 0) {
		(void)kill(pid, SIGKILL);
		/* One that waits for a file system without end is not waited for. */
		(void)waitpid(pid, NULL, r == -ETIMEDOUT ? WNOHANG : 0);
	}
	return r;
}
