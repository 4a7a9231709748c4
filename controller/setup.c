/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/setup.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/key.h"
#include "controller/core.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOST_TEXT_MAX 256
#define PATH_TEXT_MAX 256

static int out_of_memory(struct err *err)
{
	return err_set(err, ENOMEM, "out of memory");
}

static bool is_there(int dir_fd, const char *name)
{
	return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int open_dir(const char *path, struct err *err)
{
	CLEANUP(closep) int fd = -1;
	struct stat st;

	fd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "%s: %s", path, strerror(errno));
	if (st.st_uid != geteuid() || (st.st_mode & 077) != 0)
		return err_set(
			err, EACCES,
			"%s holds private keys: a directory of mode 0700 that belongs to the "
			"user who runs this would be right",
			path);
	return take_fd(&fd);
}

int setup_lock(const char *data_dir, int *ret_fd, struct err *err)
{
	CLEANUP(freep) char *path = mem_printf("%s/" SETUP_LOCK, data_dir);
	CLEANUP(closep) int fd = -1;

	if (path == NULL)
		return out_of_memory(err);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 && errno == ENOENT)
		return err_set(err, ENOENT,
			       "no directory %s; 'bailiwick-controller init --data %s' makes it, "
			       "for first steps 'dev'",
			       data_dir, data_dir);
	if (fd < 0)
		return err_set(err, errno, "%s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, EBUSY, "another controller serves %s already", data_dir);
	*ret_fd = take_fd(&fd);
	return 0;
}

/* ---- leaves in files ---- */

struct leaf_file {
	const char *cert, *key, *path, *common_name;
	int64_t life_s;
};
static const struct leaf_file tls_file = {
	.cert = SETUP_TLS_CERT,
	.key = SETUP_TLS_KEY,
	.path = "/bailiwick/controller",
	.common_name = "controller",
	.life_s = CA_TLS_TTL_S,
};
static const struct leaf_file operator_file = {
	.cert = SETUP_OPERATOR_CERT,
	.key = SETUP_OPERATOR_KEY,
	.path = "/bailiwick/operator/" SETUP_OPERATOR,
	.common_name = SETUP_OPERATOR,
	.life_s = CA_OPERATOR_TTL_S,
};

struct names {
	char *list[CA_NAMES_MAX];
	size_t count;
};

static void names_done(struct names *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->list[i]);
}

/* 1: it is new. */
static int names_add(struct names *n, const char *name)
{
	for (size_t i = 0; i < n->count; i++) {
		if (str_eq(n->list[i], name))
			return 0;
	}
	if (n->count == CA_NAMES_MAX)
		return -E2BIG;
	n->list[n->count] = mem_strdup(name);
	if (n->list[n->count] == NULL)
		return -ENOMEM;
	n->count++;
	return 1;
}

static int names_each(void *user, const char *name)
{
	int r = names_add(user, name);

	return r < 0 ? r : 0;
}

static void wipe_freep(char **text)
{
	if (*text != NULL)
		OPENSSL_cleanse(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

static int chain_text(X509 *leaf, struct ca *ca, char **ret, struct err *err)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	int r;

	/* The root goes along: agents know this controller by the pin of its root alone. */
	if (chain == NULL || sk_X509_push(chain, leaf) <= 0 ||
	    sk_X509_push(chain, ca_root(ca)) <= 0) {
		sk_X509_free(chain);
		return out_of_memory(err);
	}
	r = svid_chain_pem(chain, ret, err);
	sk_X509_free(chain);
	return r;
}

/*
 * A fresh key each time, and the key's file first: who reads the two at the wrong moment is told
 * that they do not belong together, and reads again.
 */
static int write_leaf(int dir_fd, struct ca *ca, const struct leaf_file *file,
		      const struct names *names, struct wall now, struct err *err)
{
	CLEANUP(private_key_done) struct private_key key = {0};
	CLEANUP(wipe_freep) char *key_text = NULL;
	CLEANUP(freep) char *text = NULL;
	const char *list[CA_NAMES_MAX];
	struct ca_leaf leaf = {.path = file->path,
			       .common_name = file->common_name,
			       .names = list,
			       .name_count = names == NULL ? 0 : names->count,
			       .life_s = file->life_s};
	X509 *cert;
	int r = private_key_generate(KEY_P256, &key, err);

	for (size_t i = 0; i < leaf.name_count; i++)
		list[i] = names->list[i];
	leaf.key = key.pkey;
	if (r >= 0)
		r = ca_issue(ca, &leaf, now, &cert, err);
	if (r < 0)
		return r;
	r = chain_text(cert, ca, &text, err);
	X509_free(cert);
	if (r < 0)
		return r;
	key_text = private_key_pem(&key);
	if (key_text == NULL || text == NULL)
		return out_of_memory(err);
	r = file_write_durable(dir_fd, file->key, key_text, strlen(key_text), 0600, err);
	if (r < 0)
		return r;
	return file_write_durable(dir_fd, file->cert, text, strlen(text), 0644, err);
}

static int read_leaf(const char *dir, const struct leaf_file *file, struct stack_st_X509 **ret,
		     struct err *err)
{
	CLEANUP(freep) char *path = mem_printf("%s/%s", dir, file->cert);

	return path == NULL ? out_of_memory(err) : svid_chain_load(path, ret, err);
}

/* ---- making ---- */

static int default_names(struct names *n)
{
	static const char *const always[] = {"localhost", "127.0.0.1", "::1"};
	char host[HOST_TEXT_MAX] = "";
	int r = 0;

	if (gethostname(host, sizeof(host) - 1) == 0 && host[0] != '\0')
		r = names_add(n, host);
	for (size_t i = 0; r >= 0 && i < ARRAY_LEN(always); i++)
		r = names_add(n, always[i]);
	return r;
}

/* Names given are added to those that are there; the first ones given stand first. */
static int make_tls(const struct setup *s, int dir_fd, struct ca *ca, struct err *err)
{
	CLEANUP(names_done) struct names names = {.count = 0};
	CLEANUP(names_done) struct names have = {.count = 0};
	bool there = is_there(dir_fd, SETUP_TLS_CERT) && is_there(dir_fd, SETUP_TLS_KEY);
	int r = 0;

	if (there) {
		struct stack_st_X509 *chain = NULL;

		r = read_leaf(s->data_dir, &tls_file, &chain, err);
		if (r < 0)
			return r;
		r = ca_names(sk_X509_value(chain, 0), names_each, &have);
		svid_chain_free(chain);
	}
	for (size_t i = 0; r >= 0 && i < s->name_count; i++)
		r = names_add(&names, s->names[i]);
	for (size_t i = 0; r >= 0 && i < have.count; i++)
		r = names_add(&names, have.list[i]);
	if (r >= 0 && !there)
		r = default_names(&names);
	if (r < 0)
		return err_set(err, -r, "more than %d names, or out of memory", CA_NAMES_MAX);
	if (there && names.count == have.count)
		return 0;
	return write_leaf(dir_fd, ca, &tls_file, &names, wall_now(), err);
}

static int make_policy_key(int dir_fd, struct err *err)
{
	CLEANUP(private_key_done) struct private_key key = {0};
	CLEANUP(wipe_freep) char *text = NULL;
	CLEANUP(freep) char *public = NULL;
	int r = private_key_generate(KEY_ED25519, &key, err);

	if (r < 0)
		return r;
	text = private_key_pem(&key);
	public = public_key_pem(&key.public);
	if (text == NULL || public == NULL)
		return out_of_memory(err);
	r = file_write_durable(dir_fd, SETUP_POLICY_KEY, text, strlen(text), 0600, err);
	if (r < 0)
		return r;
	return file_write_durable(dir_fd, SETUP_POLICY_PUB, public, strlen(public), 0644, err);
}

static int64_t threshold_now(struct core *core)
{
	json_t *trust = core_trust(core);
	json_t *policy = json_object_get(trust, "policy");
	int64_t threshold = json_integer_value(json_object_get(policy, "threshold"));

	json_decref(trust);
	return threshold > 0 ? threshold : 1;
}

static bool is_known(struct core *core, const struct public_key *key)
{
	CLEANUP(freep) char *pem = public_key_pem(key);
	json_t *trust = core_trust(core), *one;
	bool known = false;
	size_t i;

	json_array_foreach(json_object_get(json_object_get(trust, "policy"), "keys"), i, one) {
		known |= pem != NULL && str_eq(json_string_value(one), pem);
	}
	json_decref(trust);
	return known;
}

/* A key that is there already is not written again: each write is a line in the audit log. */
static int add_policy_key(struct core *core, const char *path, uint32_t threshold, struct err *err)
{
	CLEANUP(public_key_done) struct public_key key = {0};
	CLEANUP(freep) char *pem = NULL;
	int64_t now = threshold_now(core);
	size_t len;
	int r = file_read(AT_FDCWD, path, KEY_FILE_MAX, &pem, &len, err);

	if (r >= 0)
		r = public_key_parse(pem, len, path, &key, err);
	if (r < 0)
		return r;
	if (threshold == 0)
		threshold = (uint32_t)now;
	if (is_known(core, &key) && threshold == (uint32_t)now)
		return 0;
	return core_policy_key_add(core, pem, len, threshold, "init", err);
}

static int add_policy_keys(const struct setup *s, struct err *err)
{
	CLEANUP(freep) char *dev = mem_printf("%s/" SETUP_POLICY_PUB, s->data_dir);
	struct core_config config = {.data_dir = s->data_dir};
	struct core *core;
	int r;

	if (dev == NULL)
		return out_of_memory(err);
	if (!s->dev && s->policy_key_count == 0)
		return 0;
	r = core_open(&config, &core, err);
	if (r < 0)
		return r;
	if (s->dev)
		r = add_policy_key(core, dev, s->threshold, err);
	for (size_t i = 0; r >= 0 && i < s->policy_key_count; i++)
		r = add_policy_key(core, s->policy_keys[i], s->threshold, err);
	core_free(core);
	return r;
}

/* Dated back, it could pass for one from before a revocation (operators.c). */
static int record_operator(const char *data_dir, struct core *core, struct err *err)
{
	struct stack_st_X509 *chain = NULL;
	struct svid svid;
	int r = read_leaf(data_dir, &operator_file, &chain, err);

	if (r < 0)
		return r;
	r = svid_read(sk_X509_value(chain, 0), &svid, err);
	if (r >= 0)
		r = core_operator_issued(core, &svid, "controller", err);
	svid_chain_free(chain);
	return r;
}

static int make_operator(const struct setup *s, int dir_fd, struct ca *ca, struct err *err)
{
	struct core_config config = {.data_dir = s->data_dir};
	struct core *core;
	int r;

	if (is_there(dir_fd, SETUP_OPERATOR_CERT))
		return 0;
	r = write_leaf(dir_fd, ca, &operator_file, NULL, wall_now(), err);
	if (r >= 0)
		r = core_open(&config, &core, err);
	if (r < 0)
		return r;
	r = record_operator(s->data_dir, core, err);
	core_free(core);
	return r;
}

static int make_ca(const struct setup *s, int dir_fd, struct ca **ret, struct err *err)
{
	const char *trust_domain = s->trust_domain;
	int r;

	if (trust_domain == NULL && s->dev)
		trust_domain = SETUP_TRUST_DOMAIN;
	if (!is_there(dir_fd, CA_CERT_FILE)) {
		if (is_there(dir_fd, CA_KEY_FILE))
			return err_set(
				err, EEXIST,
				"%s has " CA_KEY_FILE " without " CA_CERT_FILE
				"; both from one backup, or an empty directory, would be right",
				s->data_dir);
		if (trust_domain == NULL)
			return err_set(err, ENODATA,
				       "--trust-domain is missing; --trust-domain acme.example "
				       "would be right");
		r = ca_create(dir_fd, trust_domain, wall_now(), err);
		if (r < 0)
			return r;
	}
	r = ca_open(s->data_dir, ret, err);
	if (r < 0)
		return r;
	if (s->trust_domain == NULL || str_eq(s->trust_domain, ca_trust_domain(*ret)))
		return 0;
	return err_set(err, EINVAL,
		       "%s is of trust domain %s, not %s; another directory would be "
		       "right",
		       s->data_dir, ca_trust_domain(*ret), s->trust_domain);
}

int setup_make(const struct setup *s, struct err *err)
{
	CLEANUP(ca_freep) struct ca *ca = NULL;
	CLEANUP(closep) int dir_fd = -1;
	CLEANUP(closep) int lock_fd = -1;
	int r = dir_make(s->data_dir, 0700, err);

	if (r < 0)
		return r;
	dir_fd = open_dir(s->data_dir, err);
	if (dir_fd < 0)
		return dir_fd;
	/* Opening the core and closing it says that all heads are saved: not under a server. */
	r = setup_lock(s->data_dir, &lock_fd, err);
	if (r < 0)
		return r;
	r = make_ca(s, dir_fd, &ca, err);
	if (r >= 0)
		r = core_init(s->data_dir, ca_trust_domain(ca), err);
	if (r >= 0)
		r = make_tls(s, dir_fd, ca, err);
	if (r >= 0)
		r = make_operator(s, dir_fd, ca, err);
	if (r >= 0 && s->dev && !is_there(dir_fd, SETUP_POLICY_KEY))
		r = make_policy_key(dir_fd, err);
	return r < 0 ? r : add_policy_keys(s, err);
}

/* ---- renewing ---- */

/* What was revoked is no use to who stands before this machine: that is the way back in. */
static int is_due(struct core *core, X509 *cert, struct wall now, bool *ret, struct err *err)
{
	struct svid svid;
	int r = svid_read(cert, &svid, err);

	if (r < 0)
		return r;
	*ret = now.s > svid.not_before.s + (svid.not_after.s - svid.not_before.s) / 2 ||
	       (svid.role == SVID_OPERATOR && core_operator_revoked(core, &svid));
	return 0;
}

static int renew_one(const char *dir, int dir_fd, struct ca *ca, struct core *core,
		     const struct leaf_file *file, struct wall now, bool *ret_renewed,
		     struct err *err)
{
	CLEANUP(names_done) struct names names = {.count = 0};
	struct stack_st_X509 *chain = NULL;
	bool due = false;
	int r = read_leaf(dir, file, &chain, err);

	*ret_renewed = false;
	if (r < 0)
		return r;
	r = is_due(core, sk_X509_value(chain, 0), now, &due, err);
	if (r >= 0 && due) {
		r = ca_names(sk_X509_value(chain, 0), names_each, &names);
		if (r < 0)
			(void)out_of_memory(err);
	}
	svid_chain_free(chain);
	if (r < 0 || !due)
		return r;
	r = write_leaf(dir_fd, ca, file, &names, now, err);
	*ret_renewed = r >= 0;
	return r;
}

int setup_renew(const char *data_dir, struct ca *ca, struct core *core, bool tls, struct wall now,
		struct renewed *ret, struct err *err)
{
	CLEANUP(closep) int dir_fd = open_dir(data_dir, err);
	int r = dir_fd < 0 ? dir_fd : 0;

	*ret = (struct renewed){false, false};
	if (r >= 0 && tls)
		r = renew_one(data_dir, dir_fd, ca, core, &tls_file, now, &ret->tls, err);
	if (r >= 0 && is_there(dir_fd, SETUP_OPERATOR_CERT))
		r = renew_one(data_dir, dir_fd, ca, core, &operator_file, now, &ret->operator, err);
	return r >= 0 && ret->operator? record_operator(data_dir, core, err) : r;
}
