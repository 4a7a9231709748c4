/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * `exec:/absolute/program`: the message on its standard input, the signature's bytes on its
 * standard output, no shell and no arguments. For key services that have a command of their own.
 *
 * The message is a sealed memory file, not a pipe: programs that must know its size or open
 * /dev/stdin again work, none can deadlock by not reading, and no SIGPIPE comes back.
 */
#include "controller-client/signer_kind.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PREFIX_LEN 5 /* "exec:" */

extern char **environ;

static int message_file(const void *message, size_t len)
{
	CLEANUP(closep) int fd = memfd_create("message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t done = 0;

	if (fd < 0)
		return -errno;
	while (done < len) {
		ssize_t n = write(fd, (const char *)message + done, len - done);

		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0 ||
	    lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	return take_fd(&fd);
}

/* Signals as a program expects them, whatever this process ignores. */
static int spawn(const char *path, int in, int out, pid_t *ret)
{
	char *argv[] = {(char *)(uintptr_t)path, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	if (posix_spawn_file_actions_init(&files) != 0)
		return -ENOMEM;
	if (posix_spawnattr_init(&attr) != 0) {
		(void)posix_spawn_file_actions_destroy(&files);
		return -ENOMEM;
	}
	r = posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawnattr_setsigmask(&attr, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(&attr, &all);
	if (r == 0)
		r = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (r == 0)
		r = posix_spawn(ret, path, &files, &attr, argv, environ);
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&files);
	return -r;
}

/* Bytes until the end of output; one byte above `size` shows that there is more. */
static int read_answer(int fd, uint8_t *bytes, size_t size, size_t *ret_len)
{
	const struct mono begin = mono_now();
	size_t len = 0;

	while (len <= size) {
		int64_t left = SIGNER_PROGRAM_S * 1000LL - mono_ms_since(begin, mono_now());
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)left) < 0 && errno != EINTR)
			return -errno;
		if (p.revents == 0)
			continue;
		n = read(fd, bytes + len, size + 1 - len);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0) {
			*ret_len = len;
			return 0;
		}
		len += n > 0 ? (size_t)n : 0;
	}
	return -EMSGSIZE;
}

static int ended(const char *path, pid_t pid, struct err *err)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return err_set(err, errno, "%s: %s", path, strerror(errno));
	}
	if (WIFSIGNALED(status))
		return err_set(err, EIO, "%s was ended by signal %d; nothing was signed", path,
			       WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		return err_set(err, EIO, "%s ended with status %d; nothing was signed", path,
			       WEXITSTATUS(status));
	return 0;
}

static int answer_fault(const char *path, int r, struct err *err)
{
	if (r == -ETIMEDOUT)
		return err_set(err, ETIMEDOUT, "%s gave no signature within %d s and was ended",
			       path, SIGNER_PROGRAM_S);
	if (r == -EMSGSIZE)
		return err_set(err, EMSGSIZE,
			       "%s answers with more than %d bytes; the bare signature, not "
			       "base64 or text, would be right",
			       path, KEY_SIGNATURE_MAX);
	return err_set(err, -r, "%s: %s", path, strerror(-r));
}

static int sign_program(struct signer *s, const void *message, size_t len, uint8_t *signature,
			size_t size, size_t *ret_len, struct err *err)
{
	const char *path = s->state;
	uint8_t answer[KEY_SIGNATURE_MAX + 1];
	CLEANUP(closep) int in = message_file(message, len);
	CLEANUP(closep) int out = -1;
	CLEANUP(closep) int child_out = -1;
	size_t answer_len = 0;
	int pipes[2] = {-1, -1}, r, end;
	pid_t pid = -1;

	if (in < 0 || pipe2(pipes, O_CLOEXEC) < 0)
		return err_set(err, in < 0 ? -in : errno, "%s: %s", path,
			       strerror(in < 0 ? -in : errno));
	out = pipes[0];
	child_out = pipes[1];
	r = spawn(path, in, child_out, &pid);
	closep(&child_out); /* the child's alone, or the end of its output would not be seen */
	if (r < 0)
		return err_set(err, -r, "%s: %s", path, strerror(-r));
	r = read_answer(out, answer, size, &answer_len);
	if (r < 0)
		(void)kill(pid, SIGKILL);
	end = ended(path, pid, r < 0 ? NULL : err);
	if (r < 0)
		return answer_fault(path, r, err);
	if (end < 0)
		return end;
	if (answer_len == 0)
		return err_set(err, EBADMSG, "%s wrote no signature", path);
	memcpy(signature, answer, answer_len);
	*ret_len = answer_len;
	return 0;
}

static void close_program(struct signer *s)
{
	freep(&s->state);
}

int signer_open_program(const struct signer_config *c, struct signer *s, struct err *err)
{
	char quoted[LOG_QUOTE_MAX];
	const char *path = c->key + PREFIX_LEN;

	if (*path != '/')
		return err_set(err, EINVAL,
			       "%s: not the absolute path of a program; exec:/usr/local/bin/sign "
			       "would be right",
			       log_quote(quoted, c->key));
	if (access(path, X_OK) < 0)
		return err_set(err, errno, "%s: %s", path, strerror(errno));
	s->state = mem_strdup(path);
	s->sign = sign_program;
	s->close = close_program;
	return s->state != NULL ? 0 : err_set(err, ENOMEM, "out of memory");
}
