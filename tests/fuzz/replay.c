/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fuzz_x NAME CORPUS_DIR: feeds every file of the corpus to the target, and of each file every
 * truncation (thinned out for long ones) and some mutations from a fixed seed. Each file runs in
 * a child process, so that a crash names its input. Prints the lines of tests/run.
 */
#include "tests/fuzz/fuzz.h"

#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define INPUT_MAX         (4U << 20)
#define TRUNCATIONS_MAX   512
#define MUTATIONS         256
#define MUTATED_BYTES_MAX 8
/* Large inputs are there for limits, not for mutation. */
#define MUTATED_SIZE_MAX 16384
#define SECONDS_MAX      120

static uint64_t xorshift(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* From a block of exactly that size, so that a sanitizer sees the first byte too many. */
static void feed(const char *bytes, size_t len)
{
	uint8_t *exact = malloc(len > 0 ? len : 1);

	if (exact == NULL)
		abort();
	memcpy(exact, bytes, len);
	(void)LLVMFuzzerTestOneInput(exact, len);
	free(exact);
}

static void feed_truncations(const char *bytes, size_t len)
{
	size_t step = len / TRUNCATIONS_MAX + 1;

	for (size_t n = 0; n < len; n += step)
		feed(bytes, n);
}

static void feed_mutations(char *bytes, size_t len)
{
	uint64_t state = 0x9e3779b97f4a7c15ULL ^ len;

	for (int i = 0; i < MUTATIONS; i++) {
		size_t count = 1 + xorshift(&state) % MUTATED_BYTES_MAX;
		char saved[MUTATED_BYTES_MAX];
		size_t at[MUTATED_BYTES_MAX];

		for (size_t k = 0; k < count; k++) {
			at[k] = xorshift(&state) % len;
			saved[k] = bytes[at[k]];
			bytes[at[k]] = (char)xorshift(&state);
		}
		feed(bytes, len);
		while (count-- > 0)
			bytes[at[count]] = saved[count];
	}
}

static void replay_file(const char *path)
{
	CLEANUP(freep) char *bytes = NULL;
	struct err err = {0};
	size_t len = 0;

	(void)alarm(SECONDS_MAX);
	if (file_read(AT_FDCWD, path, INPUT_MAX, &bytes, &len, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		exit(2);
	}
	feed(bytes, len);
	if (len == 0 || len > MUTATED_SIZE_MAX)
		return;
	feed_truncations(bytes, len);
	feed_mutations(bytes, len);
}

static int replay_in_child(const char *path)
{
	pid_t pid;
	int status;

	(void)fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		/* Targets may print; standard output belongs to the protocol. */
		(void)dup2(STDERR_FILENO, STDOUT_FILENO);
		replay_file(path);
		exit(0);
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return status;
}

int main(int argc, char **argv)
{
	unsigned inputs = 0, failed = 0;
	struct dirent *entry;
	char path[PATH_MAX];
	DIR *dir;

	if (argc != 3 || (dir = opendir(argv[2])) == NULL) {
		(void)fprintf(stderr, "usage: %s NAME CORPUS_DIR\n", argv[0]);
		return 2;
	}
	while ((entry = readdir(dir)) != NULL) {
		int status;

		if (entry->d_name[0] == '.')
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", argv[2], entry->d_name) >=
		    (int)sizeof(path))
			continue;
		inputs++;
		status = replay_in_child(path);
		if (status == 0)
			continue;
		failed++;
		printf("not ok fuzz/%s/%s: status 0x%x\n", argv[1], entry->d_name,
		       (unsigned)status);
	}
	(void)closedir(dir);
	if (inputs == 0)
		printf("not ok fuzz/%s: no corpus in %s\n", argv[1], argv[2]);
	else if (failed == 0)
		printf("ok fuzz/%s (%u inputs)\n", argv[1], inputs);
	return inputs == 0 || failed > 0 ? 1 : 0;
}
