/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An archive of documents, as somebody carries it in: refused whole, or names and bytes in bounds.
 */
#include "tests/fuzz/fuzz.h"

#include "cli/archive.h"
#include "controller-client/static_path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void check(const struct archive_documents *d)
{
	uint64_t total = 0;
	json_t *request = NULL;

	for (size_t i = 0; i < d->count; i++) {
		struct static_name name;

		must(static_path_parse(d->items[i].name, &name) == 0);
		total += d->items[i].len;
		for (size_t k = 0; k < i; k++)
			must(strcmp(d->items[i].name, d->items[k].name) != 0);
	}
	must(total == d->total && total <= ARCHIVE_TOTAL_MAX);
	if (archive_request(d, "pay-1", &request, NULL) == 0)
		json_decref(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("archive", MFD_CLOEXEC);
	struct archive_documents d = {0};
	char path[64];

	must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (archive_documents_read(path, &d, NULL) == 0) {
		must(d.count > 0);
		check(&d);
	} else {
		must(d.count == 0);
	}
	archive_documents_done(&d);
	(void)close(fd);
	return 0;
}
