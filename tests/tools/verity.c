/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fs-verity of a file (Linux, Documentation/filesystems/fsverity.rst), with SHA-256, blocks of a
 * page and no salt:
 *
 *   verity enable FILE     from now on nobody can write it
 *   verity measure FILE    its digest, in hexadecimal
 *
 * Ends with EXIT_REFUSED where kernel or file system has no fs-verity, or the file does not have
 * it.
 */
#include "base/hash.h"
#include "tests/tools/tool.h"

#include <linux/fsverity.h>
#include <sys/ioctl.h>

static int refused(const char *what)
{
	int code = errno;

	fprintf(stderr, "%s: %s\n", what, strerror(code));
	return code == EOPNOTSUPP || code == ENOTTY || code == ENODATA ? EXIT_REFUSED : EXIT_BROKEN;
}

static int enable(int fd)
{
	struct fsverity_enable_arg arg = {
		.version = 1,
		.hash_algorithm = FS_VERITY_HASH_ALG_SHA256,
		.block_size = (uint32_t)sysconf(_SC_PAGESIZE),
	};

	return ioctl(fd, FS_IOC_ENABLE_VERITY, &arg) < 0 ? refused("enable") : EXIT_AS_ASKED;
}

static int measure(int fd)
{
	union {
		struct fsverity_digest digest;
		uint8_t bytes[sizeof(struct fsverity_digest) + SHA256_LEN];
	} d = {.digest = {.digest_size = SHA256_LEN}};
	char hex[SHA256_HEX_LEN];

	if (ioctl(fd, FS_IOC_MEASURE_VERITY, &d.digest) < 0)
		return refused("measure");
	if (d.digest.digest_size != SHA256_LEN)
		tool_die(EXIT_BROKEN, "a digest of %u bytes", d.digest.digest_size);
	hex_format(d.bytes + sizeof(struct fsverity_digest), SHA256_LEN, hex);
	printf("%s\n", hex);
	return EXIT_AS_ASKED;
}

int main(int argc, char **argv)
{
	int fd;

	if (argc != 3)
		tool_die(EXIT_USAGE, "verity enable|measure FILE");
	fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		tool_die(EXIT_BROKEN, "%s: %s", argv[2], strerror(errno));
	if (str_eq(argv[1], "enable"))
		return enable(fd);
	if (str_eq(argv[1], "measure"))
		return measure(fd);
	tool_die(EXIT_USAGE, "verity: '%s' is no mode", argv[1]);
}
