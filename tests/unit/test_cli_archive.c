/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Archives of signed documents: what is read, what refuses all of it, what one node is sent. */
#include "cli/archive.h"

#include "base/mem.h"
#include "base/text.h"
#include "controller-client/dsse.h"
#include "controller-client/head.h"
#include "controller-client/manifest.h"
#include "tests/unit/test.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HEX_C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define HEX_D "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

struct file {
	const char *name, *text;
	unsigned type;
	const char *link;
};

static const char *tar_path(void)
{
	static char path[300];

	(void)snprintf(path, sizeof(path), "%s/documents.tar", test_dir());
	return path;
}

static void write_entry(struct archive *a, const struct file *f)
{
	struct archive_entry *e = archive_entry_new();
	size_t len = f->text != NULL ? strlen(f->text) : 0;

	archive_entry_set_pathname(e, f->name);
	archive_entry_set_filetype(e, f->type != 0 ? f->type : AE_IFREG);
	archive_entry_set_perm(e, 0644);
	if (f->type == AE_IFLNK)
		archive_entry_set_symlink(e, f->link);
	else if (f->link != NULL)
		archive_entry_set_hardlink(e, f->link);
	archive_entry_set_size(e, f->link == NULL ? (la_int64_t)len : 0);
	CHECK_INT(archive_write_header(a, e), ARCHIVE_OK);
	if (len > 0 && f->link == NULL)
		CHECK_INT(archive_write_data(a, f->text, len), (int64_t)len);
	archive_entry_free(e);
}

static void write_archive(const struct file *files, size_t count, bool gzip, bool zip)
{
	struct archive *a = archive_write_new();

	CHECK_INT(zip ? archive_write_set_format_zip(a)
		      : archive_write_set_format_pax_restricted(a),
		  ARCHIVE_OK);
	if (gzip)
		CHECK_INT(archive_write_add_filter_gzip(a), ARCHIVE_OK);
	CHECK_INT(archive_write_open_filename(a, tar_path()), ARCHIVE_OK);
	for (size_t i = 0; i < count; i++)
		write_entry(a, &files[i]);
	CHECK_INT(archive_write_free(a), ARCHIVE_OK);
}

static const struct file good[] = {
	{.name = "./v1/", .type = AE_IFDIR},
	{.name = "./v1/heads/pay-1.dsse.json", .text = "head"},
	{.name = "v1/manifests/12", .text = "manifest"},
	{.name = "blobs/sha256/" HEX_A, .text = "blob"},
};

static void check_good(const struct archive_documents *d)
{
	CHECK_UINT(d->count, 3);
	CHECK_STR(d->items[0].name, "v1/heads/pay-1.dsse.json");
	CHECK_MEM(d->items[0].bytes, "head", 4);
	CHECK_STR(d->items[1].name, "v1/manifests/12");
	CHECK_STR(d->items[2].name, "v1/blobs/sha256/" HEX_A);
	CHECK_UINT(d->items[2].len, 4);
	CHECK_UINT(d->total, 16);
}

TEST(a_tar_is_read_gzipped_or_not)
{
	for (int gzip = 0; gzip < 2; gzip++) {
		CLEANUP(archive_documents_done) struct archive_documents d = {0};
		struct err err = {0};

		write_archive(good, ARRAY_LEN(good), gzip, false);
		CHECK_OK(archive_documents_read(tar_path(), &d, &err), &err);
		check_good(&d);
	}
}

static void refused(const char *part)
{
	struct archive_documents d = {.count = 7};
	struct err err = {0};

	CHECK_INT(archive_documents_read(tar_path(), &d, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, part);
	CHECK_UINT(d.count, 7);
}

TEST(whatever_no_document_can_be_refuses_the_archive)
{
	static const struct {
		struct file file;
		const char *part;
	} cases[] = {
		{{.name = "v1/manifests/13", .type = AE_IFLNK, .link = "/etc/passwd"}, "a link"},
		{{.name = "v1/manifests/13", .link = "v1/manifests/12"}, "a link"},
		{{.name = "v1/manifests/13", .type = AE_IFIFO}, "special file"},
		{{.name = "v1/manifests/13", .type = AE_IFCHR}, "special file"},
		{{.name = "README", .text = "x"}, "'README' is no document's name"},
		{{.name = "../v1/manifests/13", .text = "x"}, "no document's name"},
		{{.name = "v1/manifests/../../x", .text = "x"}, "no document's name"},
		{{.name = "v1/blobs/sha256/AAAA", .text = "x"}, "no document's name"},
		{{.name = "v1/heads/a b.dsse.json", .text = "x"}, "no document's name"},
		{{.name = "v1/head", .text = "x"}, "no document's name"},
		{{.name = "v1/manifests/\x1b[31m", .text = "x"}, "\\x1b"},
		{{.name = "manifests/12", .text = "manifest"}, "v1/manifests/12 is in it twice"},
		{{.name = "/v1/heads/pay-1.dsse.json", .text = "x"}, "is in it twice"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct file files[ARRAY_LEN(good) + 1];

		memcpy(files, good, sizeof(good));
		files[ARRAY_LEN(good)] = cases[i].file;
		write_archive(files, ARRAY_LEN(files), false, false);
		refused(cases[i].part);
	}
}

TEST(other_formats_and_damaged_ones_are_refused)
{
	struct stat st;
	int fd;

	write_archive(good + 1, 3, false, true);
	refused("not a tar");
	write_archive(good, 1, false, false);
	refused("no documents in it");
	write_archive(good, ARRAY_LEN(good), true, false);
	CHECK_INT(stat(tar_path(), &st), 0);
	for (off_t len = 0; len < st.st_size - 8; len += 13) {
		write_archive(good, ARRAY_LEN(good), true, false);
		CHECK_INT(truncate(tar_path(), len), 0);
		refused("");
	}
	/* A header that promises more than there is. */
	write_archive(good, 2, false, false);
	fd = open(tar_path(), O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_INT(ftruncate(fd, 1024 + 2), 0);
	(void)close(fd);
	refused("not a tar");
}

TEST(an_archive_that_is_no_file_is_refused)
{
	struct archive_documents d;
	struct err err = {0};
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/fifo", test_dir());
	CHECK_INT(mkfifo(path, 0600), 0);
	CHECK_INT(archive_documents_read(path, &d, &err), -EINVAL);
	CHECK_CONTAINS(err.text, "neither a file nor a directory");
	CHECK_INT(archive_documents_read("/nonexistent/x", &d, &err), -ENOENT);
}

static void put(const char *dir, const char *name, const char *text)
{
	CLEANUP(freep) char *path = mem_printf("%s/%s", dir, name);
	FILE *f = fopen(path, "w");

	CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static const char *made_dir(const char *base, const char *version)
{
	static const char *const folders[] = {"", "/heads", "/manifests", "/blobs",
					      "/blobs/sha256"};
	static char path[400];

	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		(void)snprintf(path, sizeof(path), "%s%s%s", base, version, folders[i]);
		(void)mkdir(path, 0700);
	}
	(void)snprintf(path, sizeof(path), "%s%s", base, version);
	put(path, "heads/pay-1.dsse.json", "head");
	put(path, "manifests/12", "manifest");
	put(path, "blobs/sha256/" HEX_A, "blob");
	return path;
}

TEST(a_directory_of_the_same_layout_is_read)
{
	CLEANUP(archive_documents_done) struct archive_documents d = {0};
	CLEANUP(freep) char *link = NULL;
	struct archive_documents none;
	struct err err = {0};
	const char *dir = made_dir(test_dir(), "/v1");

	CHECK_OK(archive_documents_read(test_dir(), &d, &err), &err);
	check_good(&d);
	link = mem_printf("%s/manifests/13", dir);
	CHECK_INT(symlink("12", link), 0);
	CHECK_INT(archive_documents_read(test_dir(), &none, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "a link");
	CHECK_INT(unlink(link), 0);
	put(dir, "manifests/latest", "x");
	CHECK_INT(archive_documents_read(test_dir(), &none, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "'manifests/latest' is no document's name");
}

/* ---- what is sent ---- */

static char *envelope(const char *type, const char *payload)
{
	static const struct dsse_signature signature = {.keyid = HEX_A, .bytes = {1}, .len = 1};
	struct err err = {0};
	char *text;
	size_t len;

	CHECK_OK(dsse_make(type, payload, strlen(payload), &signature, 1, &text, &len, &err), &err);
	return text;
}

static size_t documents_of(const char *node, bool break_manifest)
{
	CLEANUP(freep)
	char *head =
		envelope(DSSE_TYPE_HEAD,
			 "{\"version\":1,\"trust_domain\":\"acme.example\",\"node\":\"pay-1\","
			 "\"sequence\":7,\"issued\":\"2026-11-21T00:00:00Z\","
			 "\"expires\":\"2026-11-22T00:00:00Z\",\"urgent\":false,"
			 "\"stable\":{\"revision\":12,\"sha256\":\"" HEX_D "\"},\"candidate\":null,"
			 "\"view\":{\"sha256\":\"" HEX_B "\",\"size\":4,\"sequence\":1},"
			 "\"quarantine\":[],\"revoked\":[],\"grants\":[]}");
	CLEANUP(freep)
	char *manifest =
		envelope(DSSE_TYPE_MANIFEST,
			 "{\"version\":1,\"trust_domain\":\"acme.example\",\"revision\":12,"
			 "\"rollback_floor\":0,\"issued\":\"2026-11-21T00:00:00Z\","
			 "\"expires\":\"2026-11-22T00:00:00Z\",\"requires\":[],"
			 "\"policy\":[{\"name\":\"a.json\",\"sha256\":\"" HEX_A "\",\"size\":4}],"
			 "\"revoked_nodes\":[]}");
	const struct file files[] = {
		{.name = "v1/heads/pay-1.dsse.json", .text = head},
		{.name = "v1/heads/pay-2.dsse.json", .text = "another's"},
		{.name = "v1/manifests/11", .text = "older"},
		{.name = "v1/manifests/12", .text = break_manifest ? "?" : manifest},
		{.name = "v1/blobs/sha256/" HEX_A, .text = "blob"},
		{.name = "v1/blobs/sha256/" HEX_B, .text = "view"},
		{.name = "v1/blobs/sha256/" HEX_C, .text = "another's view"},
	};
	CLEANUP(archive_documents_done) struct archive_documents d = {0};
	struct err err = {0};
	json_t *request;
	size_t count;

	write_archive(files, ARRAY_LEN(files), false, false);
	CHECK_OK(archive_documents_read(tar_path(), &d, &err), &err);
	CHECK_OK(archive_request(&d, node, &request, &err), &err);
	count = json_array_size(json_object_get(request, "documents"));
	if (count == 4)
		CHECK_STR(
			json_string_value(json_object_get(
				json_array_get(json_object_get(request, "documents"), 2), "data")),
			"YmxvYg==");
	json_decref(request);
	return count;
}

TEST(a_node_is_sent_its_own_documents_and_no_others)
{
	CHECK_UINT(documents_of("pay-1", false), 4);
}

TEST(what_cannot_be_followed_is_sent_whole_for_the_agent_to_judge)
{
	CHECK_UINT(documents_of(NULL, false), 7);
	CHECK_UINT(documents_of("api-1", false), 7);
	CHECK_UINT(documents_of("pay-1", true), 7);
}

TEST(too_much_for_one_request_is_said)
{
	struct archive_document docs[] = {
		{.name = (char[]){"v1/manifests/1"}, .len = (30U << 20)},
		{.name = (char[]){"v1/manifests/2"}, .len = (30U << 20)},
	};
	const struct archive_documents d = {.items = docs, .count = 2};
	CLEANUP(freep) uint8_t *bytes = mem_calloc(30, 1U << 20);
	struct err err = {0};
	json_t *request;

	docs[0].bytes = docs[1].bytes = bytes;
	CHECK_INT(archive_request(&d, NULL, &request, &err), -E2BIG);
	CHECK_CONTAINS(err.text, "more than 46 MiB");
}

OOM_TEST(an_archive_without_memory)
{
	CLEANUP(archive_documents_done) struct archive_documents d = {0};
	static bool written;
	struct err err = {0};
	json_t *request = NULL;
	int r;

	if (!written) {
		mem_fail_after(0);
		write_archive(good, ARRAY_LEN(good), false, false);
		mem_fail_after(1);
		written = true;
	}
	r = archive_documents_read(tar_path(), &d, &err);
	if (r == 0)
		r = archive_request(&d, "pay-1", &request, &err);
	json_decref(request);
	return r;
}
