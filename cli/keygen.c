/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * `keygen FILE`: a key pair that signs policy. The private half never overwrites anything: a key
 * that is lost is a fleet that must be told of another.
 */
#include "cli/cli.h"

#include "base/mem.h"
#include "base/text.h"
#include "controller-client/key.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PRIVATE_MODE 0600
#define PUBLIC_MODE  0644
#define SUFFIX       ".pub"

static int sync_parent(const char *path)
{
	CLEANUP(freep) char *dir = mem_strdup(path);
	CLEANUP(closep) int fd = -1;
	char *slash = dir != NULL ? strrchr(dir, '/') : NULL;

	if (dir == NULL)
		return -ENOMEM;
	if (slash != NULL)
		slash[slash == dir ? 1 : 0] = '\0';
	fd = open(slash != NULL ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 && fsync(fd) == 0 ? 0 : -errno;
}

/* Made new, on disk when it returns; what could not be written whole is taken away again. */
static int create(const char *path, const char *text, mode_t mode, struct err *err)
{
	CLEANUP(closep)
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	size_t len = strlen(text), done = 0;
	int r = 0;

	if (fd < 0 && errno == EEXIST)
		return err_set(err, EEXIST,
			       "%s is there already and is never overwritten; another name would "
			       "be right",
			       path);
	if (fd < 0)
		return err_set(err, errno, "%s: %s", path, strerror(errno));
	while (r == 0 && done < len) {
		ssize_t n = write(fd, text + done, len - done);

		if (n < 0 && errno != EINTR)
			r = -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	if (r == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
		r = -errno;
	if (r == 0)
		r = sync_parent(path);
	if (r == 0)
		return 0;
	(void)unlink(path);
	return err_set(err, -r, "%s: %s", path, strerror(-r));
}

static int refuse_existing(const char *path, struct err *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return 0;
	return err_set(err, EEXIST,
		       "%s is there already and is never overwritten; another name would be "
		       "right",
		       path);
}

static int write_pair(const char *path, const char *public_path, const struct private_key *key,
		      struct err *err)
{
	CLEANUP(freep) char *private_pem = private_key_pem(key);
	CLEANUP(freep) char *public_pem = public_key_pem(&key->public);
	int r;

	if (private_pem == NULL)
		return err_set(err, ENOMEM, "out of memory");
	r = refuse_existing(public_path, err);
	if (r == 0 && public_pem == NULL)
		r = err_set(err, ENOMEM, "out of memory");
	if (r == 0)
		r = create(path, private_pem, PRIVATE_MODE, err);
	if (r == 0) {
		r = create(public_path, public_pem, PUBLIC_MODE, err);
		if (r < 0)
			(void)unlink(path); /* ours: create() has just made it */
	}
	OPENSSL_cleanse(private_pem, strlen(private_pem));
	return r;
}

static void render_keygen(const json_t *result, const struct screen *s, struct buf *b)
{
	const struct pairs p = {.b = b, .indent = 12};

	(void)s;
	pairs_put(&p, "private", "%s", field_text_or(result, "file", "?"));
	pairs_put(&p, "", "keep it away from the controller; whoever has it writes policy");
	pairs_put(&p, "public", "%s", field_text_or(result, "public", "?"));
	pairs_put(&p, "", "belongs under trust: policy: keys: in each agent.yaml");
	pairs_put(&p, "keyid", "%s", field_text_or(result, "keyid", "?"));
	pairs_put(&p, "type", "%s", field_text_or(result, "type", "?"));
}

enum { OPTION_TYPE };
static const struct option_spec options[] = {
	[OPTION_TYPE] = {.name = "type",
			 .value = "ed25519|p256",
			 .help = "ed25519 unless something needs NIST curves"},
};

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	const char *path = a->words[0], *type = a->values[OPTION_TYPE];
	CLEANUP(freep) char *public_path = mem_printf("%s" SUFFIX, path);
	struct private_key key = {0};
	struct err err = {0};
	json_t *result;
	int r;

	if (type != NULL && !str_eq(type, "ed25519") && !str_eq(type, "p256"))
		return cli_usage(c, v, "--type %s: no such key; ed25519 or p256 would be right",
				 type);
	if (public_path == NULL)
		return cli_fail(c, v, CLI_FAILED, "out of memory");
	r = refuse_existing(path, &err);
	if (r == 0)
		r = private_key_generate(str_eq(type, "p256") ? KEY_P256 : KEY_ED25519, &key, &err);
	if (r == 0)
		r = write_pair(path, public_path, &key, &err);
	if (r < 0) {
		private_key_done(&key);
		return cli_fail(c, v, CLI_FAILED, "%s", err.text);
	}
	result = json_pack("{s:i, s:s, s:s, s:s, s:s}", "version", 1, "file", path, "public",
			   public_path, "keyid", key.public.id, "type",
			   key_kind_name(key.public.kind));
	private_key_done(&key);
	r = result != NULL ? cli_print(c, v, result, false, CLI_OK)
			   : cli_fail(c, v, CLI_FAILED, "%s: not valid UTF-8", path);
	json_decref(result);
	return r;
}

const struct verb verb_keygen = {
	.name = "keygen",
	.words = "FILE [--type ed25519|p256]",
	.summary = "a key pair that signs policy: FILE and FILE" SUFFIX,
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_min = 1,
	.words_max = 1,
	.run = run,
	.render = render_keygen,
};
