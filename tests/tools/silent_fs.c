/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A file system with one file, DIR/program, that is FILE with zeros behind it, and that stops
 * answering whoever reads when a line comes on the standard input: what a workload can do to those
 * who look at its executable. silent_fs DIR FILE
 */
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REQUEST_BYTES (FUSE_MIN_READ_BUFFER + 131072)
#define ZEROS         (4U << 20) /* behind what is read to run it */
#define FILE_NODE     2
#define FOR_EVER      1000000

struct silent {
	int fuse_fd, file_fd;
	uint64_t size;
	bool mute;
};

static void answer(const struct silent *s, uint64_t unique, int error, const void *data, size_t len)
{
	struct fuse_out_header out = {
		.len = (uint32_t)(sizeof(out) + len), .error = error, .unique = unique};
	struct iovec parts[] = {{&out, sizeof(out)}, {(void *)(uintptr_t)data, len}};

	if (writev(s->fuse_fd, parts, 2) < 0 && errno != ENOENT)
		perror("silent_fs");
}

static struct fuse_attr attr_of(const struct silent *s, uint64_t node)
{
	bool file = node == FILE_NODE;

	return (struct fuse_attr){
		.ino = node,
		.size = file ? s->size : 0,
		.mode = file ? S_IFREG | 0755 : S_IFDIR | 0755,
		.nlink = 1,
	};
}

static void look_up(const struct silent *s, const struct fuse_in_header *in)
{
	struct fuse_entry_out out = {.nodeid = FILE_NODE,
				     .entry_valid = FOR_EVER,
				     .attr_valid = FOR_EVER,
				     .attr = attr_of(s, FILE_NODE)};

	if (strcmp((const char *)(in + 1), "program") == 0)
		answer(s, in->unique, 0, &out, sizeof(out));
	else
		answer(s, in->unique, -ENOENT, NULL, 0);
}

static void read_file(const struct silent *s, const struct fuse_in_header *in)
{
	const struct fuse_read_in *r = (const struct fuse_read_in *)(in + 1);
	uint32_t len = r->size < 131072 ? r->size : 131072;
	CLEANUP(freep) char *bytes = calloc(1, 131072);

	if (s->mute || !bytes)
		return;
	if (r->offset >= s->size)
		len = 0;
	else if (len > s->size - r->offset)
		len = (uint32_t)(s->size - r->offset);
	/* Behind its end are the zeros. */
	if (pread(s->file_fd, bytes, len, (off_t)r->offset) < 0)
		return;
	answer(s, in->unique, 0, bytes, len);
}

static void serve(const struct silent *s, const struct fuse_in_header *in)
{
	struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION,
				     .minor = FUSE_KERNEL_MINOR_VERSION,
				     .max_write = 4096};
	struct fuse_attr_out attr = {.attr_valid = FOR_EVER};
	struct fuse_open_out opened = {.open_flags = FOPEN_KEEP_CACHE};

	switch (in->opcode) {
	case FUSE_INIT:
		answer(s, in->unique, 0, &init, sizeof(init));
		return;
	case FUSE_LOOKUP:
		look_up(s, in);
		return;
	case FUSE_GETATTR:
		attr.attr = attr_of(s, in->nodeid);
		answer(s, in->unique, 0, &attr, sizeof(attr));
		return;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		answer(s, in->unique, 0, &opened, sizeof(opened));
		return;
	case FUSE_READ:
		read_file(s, in);
		return;
	case FUSE_RELEASE:
	case FUSE_FLUSH:
		answer(s, in->unique, 0, NULL, 0);
		return;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return;
	}
	answer(s, in->unique, -ENOSYS, NULL, 0);
}

static int run(struct silent *s)
{
	CLEANUP(freep) char *request = calloc(1, REQUEST_BYTES);
	struct pollfd fds[] = {{.fd = s->fuse_fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
	char line[64];

	while (request && poll(fds, 2, -1) >= 0) {
		if (fds[1].revents) {
			if (read(0, line, sizeof(line)) > 0)
				s->mute = true;
			else
				fds[1].fd = -1;
			(void)puts("silent");
			(void)fflush(stdout);
		}
		if (!(fds[0].revents & (POLLIN | POLLERR)))
			continue;
		if (read(s->fuse_fd, request, REQUEST_BYTES) < 0 && errno == ENODEV)
			return 0;
		serve(s, (const struct fuse_in_header *)request);
	}
	return 1;
}

int main(int argc, char **argv)
{
	struct silent s = {.fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC)};
	char options[128];
	struct stat st;

	if (argc != 3 || s.fuse_fd < 0)
		return 77;
	s.file_fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (s.file_fd < 0 || fstat(s.file_fd, &st) < 0)
		return 1;
	s.size = (uint64_t)st.st_size + ZEROS;
	(void)snprintf(options, sizeof(options),
		       "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", s.fuse_fd);
	if (mount("silent", argv[1], "fuse", MS_NODEV, options) < 0)
		return 77;
	(void)puts("mounted");
	(void)fflush(stdout);
	return run(&s);
}
