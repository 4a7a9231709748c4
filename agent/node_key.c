/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/node_key.h"

#include "agent/courier_link.h"
#include "agent/spare.h"
#include "agent/status_report.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/csr.h"
#include "controller-client/proof.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHAT           "svid"
#define LOOK_S         3      /* files are looked at so often */
#define ANSWER_MS      180000 /* a renewal without an answer is given up */
#define RETRY_FIRST_S  60
#define RETRY_LAST_S   300
#define JITTER_PERCENT 10
#define NEW_SUFFIX     ".new"
#define COPY_MAX       (1U << 20)
#define KEY_MODE       0600
#define CERT_MODE      0644

/* What tells one file from the one that took its place. */
struct stamp {
	ino_t ino;
	off_t size;
	struct timespec changed;
};

/* A key and its certificate that belong together, checked against the bundle. */
struct pair {
	struct private_key key;
	STACK_OF(X509) * chain; /* leaf first */
	STACK_OF(X509) * roots;
	struct svid svid;
};

struct renewal {
	bool on; /* asked for, not answered */
	struct private_key key;
	struct mono since;
};

struct node_key {
	struct agent *agent;
	const char *key_path, *cert_path, *bundle_path; /* of the configuration */
	struct stamp stamps[3];
	bool looked;
	struct pair pair;
	bool loaded;
	uint64_t generation;  /* of the pair: another one with each change */
	struct wall obtained; /* 0: it was there when the agent started */
	struct renewal renewal;
	struct mono retry_at;
	unsigned failures;
	char *error; /* why there is none, or no newer one */
	unsigned seconds;
};

/* --- a pair ------------------------------------------------------------------------------- */

static void pair_done(struct pair *p)
{
	private_key_done(&p->key);
	svid_chain_free(p->chain);
	svid_chain_free(p->roots);
	*p = (struct pair){0};
}

/* Leaf against roots at its own time: an expired certificate is still whose it is. */
static int pair_verify(const struct agent *a, const struct pair *p, struct wall now,
		       struct svid *ret, struct err *err)
{
	X509 *leaf = sk_X509_value(p->chain, 0);
	CLEANUP(svid_chain_freep) STACK_OF(X509) *rest = X509_chain_up_ref(p->chain);
	struct svid s = {.role = SVID_OTHER};
	int r;

	if (!rest)
		return err_set(err, ENOMEM, "out of memory");
	r = svid_read(leaf, &s, err);
	if (r < 0)
		return r;
	X509_free(sk_X509_shift(rest));
	if (now.s >= s.not_after.s)
		now.s = s.not_after.s - 1;
	r = svid_verify(leaf, rest, p->roots,
			a->config.trust_domain ? a->config.trust_domain : s.trust_domain, now, &s,
			err);
	if (r < 0)
		return r;
	if (s.role != SVID_NODE || !str_eq(s.name, a->config.node))
		return err_set(err, EPERM,
			       "%s is not this node; spiffe://%s/bailiwick/node/%s "
			       "would be right",
			       s.id, s.trust_domain, a->config.node);
	*ret = s;
	return 0;
}

static bool key_fits(const struct private_key *key, STACK_OF(X509) * chain)
{
	return EVP_PKEY_eq(X509_get0_pubkey(sk_X509_value(chain, 0)), key->pkey) == 1;
}

static int pair_load_from(const struct node_key *k, const char *key_path, const char *cert_path,
			  const char *bundle_path, struct pair *ret, struct err *err)
{
	struct pair p = {0};
	int r = private_key_load(key_path, &p.key, err);

	if (r >= 0)
		r = svid_chain_load(cert_path, &p.chain, err);
	if (r >= 0)
		r = svid_chain_load(bundle_path, &p.roots, err);
	if (r >= 0 && !key_fits(&p.key, p.chain))
		r = err_set(err, ESTALE, "%s is not the key of %s", key_path, cert_path);
	if (r >= 0)
		r = pair_verify(k->agent, &p, wall_now(), &p.svid, err);
	if (r < 0) {
		pair_done(&p);
		return r;
	}
	*ret = p;
	return 0;
}

static int pair_load(const struct node_key *k, const char *key_path, const char *cert_path,
		     struct pair *ret, struct err *err)
{
	return pair_load_from(k, key_path, cert_path, k->bundle_path, ret, err);
}

/* --- copies -------------------------------------------------------------------------------- */

#define FILES  3
#define BUNDLE 2 /* the last one */

/* What was damaged in state_dir is taken from where spare.h keeps the rest. */
static const struct {
	const char *name;
	mode_t mode;
} copies[FILES] = {
	{"key", KEY_MODE},
	{"cert", CERT_MODE},
	{"bundle", CERT_MODE},
};

static void file_paths(const struct node_key *k, const char *ret[FILES])
{
	ret[0] = k->key_path;
	ret[1] = k->cert_path;
	ret[2] = k->bundle_path;
}

/*
 * Elsewhere they are an existing PKI's or a SPIFFE helper's, who may have taken them away on
 * purpose, and whose directory is not ours to write.
 */
static bool are_in_state_dir(const struct node_key *k)
{
	const char *dir = k->agent->config.state_dir, *paths[FILES];
	size_t len = strlen(dir);

	file_paths(k, paths);
	for (size_t i = 0; i < FILES; i++)
		if (!paths[i] || strncmp(paths[i], dir, len) != 0 || paths[i][len] != '/')
			return false;
	return true;
}

static void free_paths(char *paths[FILES])
{
	for (size_t i = 0; i < FILES; i++)
		free(paths[i]);
}

static int copy_paths(const struct node_key *k, char *ret[FILES])
{
	bool whole = true;

	for (size_t i = 0; i < FILES; i++) {
		ret[i] = mem_printf("%s/" SPARE_DIR "/" SPARE_SVID "%s", k->agent->config.run_dir,
				    copies[i].name);
		whole = whole && ret[i];
	}
	if (whole)
		return 0;
	free_paths(ret);
	return -ENOMEM;
}

static int copy_file(const char *from, const char *to, mode_t mode, struct err *err)
{
	size_t len = 0;
	char *text = NULL;
	int r = file_read_itself(AT_FDCWD, from, COPY_MAX, &text, &len, err);

	if (r < 0)
		return r;
	r = file_write_durable(AT_FDCWD, to, text, len, mode, err);
	OPENSSL_cleanse(text, len);
	free(text);
	return r;
}

/* Of files that are in use. None is better than an older one. */
static void copies_keep(const struct node_key *k)
{
	const char *from[FILES];
	char *to[FILES];

	if (!are_in_state_dir(k))
		return;
	file_paths(k, from);
	if (copy_paths(k, to) < 0)
		return;
	for (size_t i = 0; i < FILES; i++) {
		if (copy_file(from[i], to[i], copies[i].mode, NULL) < 0)
			(void)unlink(to[i]);
	}
	free_paths(to);
}

static bool same_file(const char *a, const char *b)
{
	size_t a_len = 0, b_len = 0;
	char *a_text = NULL, *b_text = NULL;
	bool same = file_read(AT_FDCWD, a, COPY_MAX, &a_text, &a_len, NULL) >= 0 &&
		    file_read(AT_FDCWD, b, COPY_MAX, &b_text, &b_len, NULL) >= 0 &&
		    a_len == b_len && CRYPTO_memcmp(a_text, b_text, a_len) == 0;

	if (a_text)
		OPENSSL_cleanse(a_text, a_len);
	if (b_text)
		OPENSSL_cleanse(b_text, b_len);
	free(a_text);
	free(b_text);
	return same;
}

static void copy_back(const struct node_key *k, const char *file, const char *copy, mode_t mode,
		      const char *cause)
{
	char text[ERR_TEXT_MAX];
	struct err err = {{0}};
	int r = copy_file(copy, file, mode, &err);

	if (r == -EISDIR) {
		spare_aside(AT_FDCWD, file);
		r = copy_file(copy, file, mode, &err);
	}
	(void)snprintf(text, sizeof(text),
		       "%.150s was damaged or lost (%.150s); its copy in run_dir %s%.100s", file,
		       cause,
		       r < 0 ? "is used, and would be lost with a reboot: " : "takes its place",
		       r < 0 ? err.text : "");
	agent_damaged(k->agent, text);
}

static bool is_chain(const char *path)
{
	CLEANUP(svid_chain_freep) STACK_OF(X509) *chain = NULL;
	int r = svid_chain_load(path, &chain, NULL);

	return r >= 0 || r == -ENOMEM;
}

/*
 * At a start: files that are no pair, and copies that are one. A bundle that can be read is none
 * that was damaged: who trusts an authority no longer must not have it brought back.
 */
static bool copies_use(struct node_key *k, struct pair *ret)
{
	const char *files[FILES];
	char *from[FILES];
	size_t count = FILES;
	struct err cause = {{0}};
	bool used = false;

	if (!are_in_state_dir(k))
		return false;
	if (pair_load(k, k->key_path, k->cert_path, ret, &cause) >= 0) {
		pair_done(ret);
		return false;
	}
	file_paths(k, files);
	if (copy_paths(k, from) < 0)
		return false;
	if (is_chain(files[BUNDLE]))
		count = BUNDLE;
	used = pair_load_from(k, from[0], from[1], count == FILES ? from[BUNDLE] : files[BUNDLE],
			      ret, NULL) >= 0;
	for (size_t i = 0; used && i < count; i++) {
		/* A key that others may read says so itself. */
		if (!same_file(files[i], from[i]) || strstr(cause.text, files[i]))
			copy_back(k, files[i], from[i], copies[i].mode, cause.text);
	}
	free_paths(from);
	return used;
}

/* --- files -------------------------------------------------------------------------------- */

static void stamp_read(const char *path, struct stamp *ret)
{
	struct stat st;

	*ret = (struct stamp){0};
	if (stat(path, &st) == 0)
		*ret = (struct stamp){.ino = st.st_ino, .size = st.st_size, .changed = st.st_mtim};
}

static bool has_files(const struct node_key *k)
{
	return k->key_path && k->cert_path && k->bundle_path;
}

static bool files_changed(struct node_key *k)
{
	const char *const paths[] = {k->key_path, k->cert_path, k->bundle_path};
	bool changed = !k->looked;

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct stamp now;

		stamp_read(paths[i], &now);
		changed |= now.ino != k->stamps[i].ino || now.size != k->stamps[i].size ||
			   now.changed.tv_sec != k->stamps[i].changed.tv_sec ||
			   now.changed.tv_nsec != k->stamps[i].changed.tv_nsec;
		k->stamps[i] = now;
	}
	k->looked = true;
	return changed;
}

/*
 * Two files cannot be replaced in one step. The new key lies beside the old one as KEY.new before
 * the certificate is replaced; a crash in between leaves a certificate that fits KEY.new, which is
 * then moved into place. A KEY.new that fits nothing is of a renewal that did not come to its end.
 */
static void finish_replacement(struct node_key *k)
{
	CLEANUP(freep) char *new_key = mem_printf("%s%s", k->key_path, NEW_SUFFIX);
	struct pair p = {0};
	struct err err = {{0}};

	if (!new_key || access(new_key, F_OK) < 0)
		return;
	if (pair_load(k, k->key_path, k->cert_path, &p, &err) >= 0) {
		(void)unlink(new_key);
	} else if (pair_load(k, new_key, k->cert_path, &p, &err) >= 0) {
		log_info(WHAT ": the renewal that was interrupted is finished");
		if (rename(new_key, k->key_path) < 0)
			log_warn(WHAT ": %s: %s", new_key, strerror(errno));
	}
	pair_done(&p);
}

static int write_pair(const struct node_key *k, const struct private_key *key, const char *cert_pem,
		      struct err *err)
{
	CLEANUP(freep) char *new_key = mem_printf("%s%s", k->key_path, NEW_SUFFIX);
	char *pem = private_key_pem(key);
	int r;

	if (!new_key || !pem) {
		free(pem);
		return err_set(err, ENOMEM, "out of memory");
	}
	r = file_write_durable(AT_FDCWD, new_key, pem, strlen(pem), KEY_MODE, err);
	if (r >= 0)
		r = file_write_durable(AT_FDCWD, k->cert_path, cert_pem, strlen(cert_pem),
				       CERT_MODE, err);
	if (r >= 0)
		r = file_write_durable(AT_FDCWD, k->key_path, pem, strlen(pem), KEY_MODE, err);
	if (r >= 0)
		(void)unlink(new_key);
	OPENSSL_cleanse(pem, strlen(pem));
	free(pem);
	return r;
}

static void set_error(struct node_key *k, const char *text)
{
	free(k->error);
	k->error = text ? mem_strdup(text) : NULL;
}

static void reset_renewal(struct node_key *k)
{
	private_key_done(&k->renewal.key);
	k->renewal = (struct renewal){0};
}

static void take_pair(struct node_key *k, struct pair *take, struct wall obtained)
{
	pair_done(&k->pair);
	k->pair = *take;
	k->loaded = true;
	k->generation++;
	k->obtained = obtained;
	k->failures = 0;
	k->retry_at.ns = 0;
	reset_renewal(k);
	set_error(k, NULL);
	if (k->agent->report)
		status_report_touch(k->agent->report);
}

static bool same_roots(STACK_OF(X509) * a, STACK_OF(X509) * b)
{
	if (sk_X509_num(a) != sk_X509_num(b))
		return false;
	for (int i = 0; i < sk_X509_num(a); i++) {
		if (X509_cmp(sk_X509_value(a, i), sk_X509_value(b, i)) != 0)
			return false;
	}
	return true;
}

/* The certificate in use; whom it makes us trust may be others now. */
static void take_roots(struct node_key *k, struct pair *p)
{
	STACK_OF(X509) *before = k->pair.roots;

	if (same_roots(before, p->roots))
		return;
	k->pair.roots = p->roots;
	p->roots = before;
	k->generation++;
	copies_keep(k);
	log_info(WHAT ": another bundle, %d authorities", sk_X509_num(k->pair.roots));
}

/* Files that do not fit together yet are being written; the pair in use stays. */
static void load(struct node_key *k)
{
	struct pair p = {0};
	struct err err = {{0}};
	char text[RFC3339_TEXT_MAX];
	struct wall obtained = {0};
	int r = pair_load(k, k->key_path, k->cert_path, &p, &err);

	if (k->loaded || k->error)
		obtained = wall_now();
	if (r >= 0 && k->loaded && str_eq(p.svid.serial, k->pair.svid.serial) &&
	    str_eq(p.svid.key_id, k->pair.svid.key_id)) {
		take_roots(k, &p);
		pair_done(&p);
		return;
	}
	if (r >= 0) {
		log_info(WHAT ": %s until %s", p.svid.id, rfc3339_format(text, p.svid.not_after));
		take_pair(k, &p, obtained);
		copies_keep(k);
		/* After an eviction the courier waits for minutes before it asks again. */
		if (k->agent->link)
			courier_link_again(k->agent->link);
		return;
	}
	if (!k->error || !str_eq(k->error, err.text))
		log_warn(WHAT ": %s%s", err.text,
			 k->loaded ? "; the one in use stays"
				   : "; this node cannot prove who it is (bailiwick enroll)");
	set_error(k, err.text);
}

/* --- renewal ------------------------------------------------------------------------------ */

/* -1000 to 1000, always the same for a node: a fleet does not renew at one moment. */
static int64_t jitter_of(const char *node)
{
	uint8_t digest[SHA256_LEN];

	(void)sha256(node, strlen(node), digest);
	return ((int64_t)digest[0] << 8 | digest[1]) % 2001 - 1000;
}

struct wall node_key_renew_at(const struct svid *s, struct wall obtained, const char *node)
{
	int64_t start = s->not_before.s, half;

	/* Issuers date back: of a certificate that lives for seconds nothing else would be left. */
	if (obtained.s > start)
		start = obtained.s;
	half = (s->not_after.s - start) / 2;
	return (struct wall){.s = start + half +
				  half * jitter_of(node) * JITTER_PERCENT / 100 / 1000};
}

static void failed(struct node_key *k, const char *text)
{
	int64_t wait = RETRY_FIRST_S, left = k->pair.svid.not_after.s - wall_now().s;

	for (unsigned i = 0; i < k->failures && wait < RETRY_LAST_S; i++)
		wait *= 2;
	if (wait > RETRY_LAST_S)
		wait = RETRY_LAST_S;
	/* Of what is left a good part is for trying. */
	if (left > 0 && wait > left / 4)
		wait = left / 4 > 1 ? left / 4 : 1;
	k->failures++;
	k->retry_at.ns = mono_now().ns + wait * 1000000000;
	reset_renewal(k);
	if (!k->error || !str_eq(k->error, text))
		log_warn(WHAT ": not renewed: %s", text);
	set_error(k, text);
}

static bool too_old(const struct node_key *k, struct wall now)
{
	return now.s - k->pair.svid.not_after.s > PROOF_EXPIRED_S;
}

static int prove(struct node_key *k, enum proof_purpose purpose, const uint8_t *csr, size_t len,
		 char **ret, size_t *ret_len, struct err *err)
{
	char audience[PROOF_AUDIENCE_MAX];
	const char *url = k->agent->config.controller_url;

	if (!url || proof_audience(url, audience) < 0)
		return err_set(err, EINVAL, "source.controller.url: not https://HOST[:PORT]");
	return proof_make(purpose, csr, len, k->pair.chain, &k->pair.key, audience, wall_now(), ret,
			  ret_len, err);
}

static void ask(struct node_key *k)
{
	CLEANUP(freep) uint8_t *csr = NULL;
	CLEANUP(freep) char *proof = NULL;
	struct private_key key = {0};
	size_t csr_len = 0, proof_len = 0;
	struct err err = {{0}};
	int r = private_key_generate(KEY_P256, &key, &err);

	if (r >= 0)
		r = csr_make(&key, k->agent->config.node, &csr, &csr_len, &err);
	if (r >= 0)
		r = prove(k, PROOF_RENEW, csr, csr_len, &proof, &proof_len, &err);
	if (r < 0) {
		private_key_done(&key);
		failed(k, err.text);
		return;
	}
	if (!courier_link_renew(k->agent->link, csr, csr_len, proof)) {
		private_key_done(&key);
		return;
	}
	k->renewal = (struct renewal){.on = true, .key = key, .since = mono_now()};
}

static void renew_tick(struct node_key *k)
{
	struct wall now = wall_now();
	struct mono mono = mono_now();

	if (!k->loaded || !k->agent->link)
		return;
	if (k->renewal.on) {
		if (mono_ms_since(k->renewal.since, mono) > ANSWER_MS)
			failed(k, "no answer from the controller");
		return;
	}
	if (now.s < node_key_renew_at(&k->pair.svid, k->obtained, k->agent->config.node).s ||
	    mono.ns < k->retry_at.ns || !courier_link_connected(k->agent->link))
		return;
	if (too_old(k, now))
		failed(k, "expired more than 30 days ago; enrol again with a token");
	else
		ask(k);
}

static int check_answer(const struct node_key *k, STACK_OF(X509) * *take_chain, struct pair *ret,
			struct err *err)
{
	struct pair p = {.chain = TAKE_PTR(*take_chain)};
	int r = 0;

	if (!key_fits(&k->renewal.key, p.chain))
		r = err_set(err, EBADMSG, "a certificate of another key");
	/* The bundle that is trusted already: an answer cannot bring its own roots. */
	if (r >= 0)
		r = svid_chain_load(k->bundle_path, &p.roots, err);
	if (r >= 0)
		r = pair_verify(k->agent, &p, wall_now(), &p.svid, err);
	if (r >= 0 && !str_eq(p.svid.id, k->pair.svid.id))
		r = err_set(err, EPERM, "a certificate of %s", p.svid.id);
	if (r >= 0 && p.svid.not_after.s <= wall_now().s)
		r = err_set(err, ETIME, "a certificate that has expired");
	if (r < 0) {
		pair_done(&p);
		return r;
	}
	*ret = p;
	return 0;
}

static int take_answer(struct node_key *k, const uint8_t *pkcs7, size_t len, struct err *err)
{
	STACK_OF(X509) *chain = NULL;
	CLEANUP(freep) char *pem = NULL;
	struct pair p = {0};
	int r = svid_chain_from_pkcs7(pkcs7, len, &chain, err);

	if (r >= 0)
		r = check_answer(k, &chain, &p, err);
	if (r >= 0)
		r = svid_chain_pem(p.chain, &pem, err);
	if (r >= 0)
		r = write_pair(k, &k->renewal.key, pem, err);
	if (r < 0) {
		pair_done(&p);
		return r;
	}
	p.key = k->renewal.key;
	k->renewal.key = (struct private_key){0};
	take_pair(k, &p, wall_now());
	copies_keep(k);
	/* What was written is what is in use. */
	(void)files_changed(k);
	return 0;
}

void node_key_renewed(struct node_key *k, const uint8_t *pkcs7, size_t len)
{
	char text[RFC3339_TEXT_MAX];
	struct err err = {{0}};
	bool over;

	if (!k->renewal.on)
		return;
	over = wall_now().s >= k->pair.svid.not_after.s;
	if (take_answer(k, pkcs7, len, &err) < 0) {
		failed(k, err.text);
		return;
	}
	/* Nothing was proved for the courier meanwhile, and it asks ever more seldom. */
	if (over && k->agent->link)
		courier_link_again(k->agent->link);
	log_info(WHAT ": renewed, until %s", rfc3339_format(text, k->pair.svid.not_after));
}

void node_key_refused(struct node_key *k, int http_status, const char *text)
{
	if (!k->renewal.on)
		return;
	/* Banned or evicted: asking again soon would change nothing. */
	if (http_status == 403)
		k->failures += 4;
	failed(k, text);
}

/* --- for others --------------------------------------------------------------------------- */

const struct svid *node_key_svid(const struct node_key *k)
{
	return k->loaded ? &k->pair.svid : NULL;
}

bool node_key_pair(const struct node_key *k, struct node_key_pair *ret)
{
	/* Who does not know what was in force does not answer for it either. */
	if (!k->loaded || k->agent->held)
		return false;
	*ret = (struct node_key_pair){.key = k->pair.key.pkey,
				      .chain = k->pair.chain,
				      .roots = k->pair.roots,
				      .svid = &k->pair.svid,
				      .generation = k->generation};
	return true;
}

int node_key_prove(struct node_key *k, const uint8_t *csr, size_t len, char **ret, size_t *ret_len,
		   struct err *err)
{
	struct public_key key = {0};
	int r;

	if (!k->loaded)
		return err_set(err, ENOENT, "this node has no certificate; bailiwick enroll");
	if (wall_now().s >= k->pair.svid.not_after.s)
		return err_set(err, ETIME, "this node's certificate has expired");
	/* Only for a key whose holder has shown that it holds it. */
	r = csr_check(csr, len, &key, err);
	public_key_done(&key);
	return r < 0 ? r : prove(k, PROOF_COURIER, csr, len, ret, ret_len, err);
}

json_t *node_key_status(const struct node_key *k)
{
	char expires[RFC3339_TEXT_MAX], renew[RFC3339_TEXT_MAX];
	struct wall at;

	if (!k->loaded)
		return json_pack("{s:n,s:n,s:n,s:s?}", "spiffe_id", "expires", "renew_at", "error",
				 k->error);
	at = node_key_renew_at(&k->pair.svid, k->obtained, k->agent->config.node);
	return json_pack("{s:s,s:s,s:s,s:s?}", "spiffe_id", k->pair.svid.id, "expires",
			 rfc3339_format(expires, k->pair.svid.not_after), "renew_at",
			 rfc3339_format(renew, at), "error", k->error);
}

void node_key_tick(struct node_key *k)
{
	if (k->seconds++ % LOOK_S == 0 && has_files(k) && files_changed(k))
		load(k);
	renew_tick(k);
}

int node_key_new(struct agent *a, struct node_key **ret, struct err *err)
{
	struct node_key *k = mem_calloc(1, sizeof(*k));
	struct pair p = {0};
	bool restored;

	if (!k)
		return err_set(err, ENOMEM, "out of memory");
	k->agent = a;
	k->key_path = a->config.svid_key;
	k->cert_path = a->config.svid_cert;
	k->bundle_path = a->config.svid_bundle;
	if (has_files(k)) {
		finish_replacement(k);
		restored = copies_use(k, &p);
		(void)files_changed(k);
		if (restored)
			take_pair(k, &p, (struct wall){0});
		else
			load(k);
	} else {
		set_error(k, "agent.yaml names no certificate (svid:); bailiwick enroll");
	}
	*ret = k;
	return 0;
}

void node_key_free(struct node_key *k)
{
	if (!k)
		return;
	pair_done(&k->pair);
	reset_renewal(k);
	free(k->error);
	free(k);
}
