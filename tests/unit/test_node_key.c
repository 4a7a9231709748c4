/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/node_key.h"

#include "base/file.h"
#include "base/mem.h"
#include "controller-client/csr.h"
#include "controller-client/svid.h"
#include "tests/unit/svid_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOKS 4 /* ticks until the files are looked at again */

/* A host with a certificate on disk that is valid now. */
struct scene {
	struct fixture_pki pki;
	struct agent agent;
	char *key, *cert, *bundle, *key_new, *dir;
};

static const char *real_names[] = {"svid.key", "svid.pem", "bundle.pem", "svid.key.new"};

static char *path_of(const char *name)
{
	char *path = mem_printf("%s/%s", test_dir(), name);

	CHECK(path != NULL);
	return path;
}

/* The fixtures' time is not now: the certificate is made for the real one. */
static void now_spec(struct cert_spec *spec, int64_t from, int64_t to)
{
	spec->from = wall_now().s - FIXTURE_NOW.s + from;
	spec->to = wall_now().s - FIXTURE_NOW.s + to;
}

static void write_key(const char *path, EVP_PKEY *pkey)
{
	struct private_key key;
	CLEANUP(freep) char *pem = NULL;
	struct err err = {{0}};

	fixture_private(pkey, &key);
	pem = private_key_pem(&key);
	CHECK(pem != NULL);
	CHECK_OK(file_write_durable(AT_FDCWD, path, pem, strlen(pem), 0600, &err), &err);
	private_key_done(&key);
}

static void write_chain(const char *path, struct stack_st_X509 *chain)
{
	CLEANUP(freep) char *pem = NULL;
	struct err err = {{0}};

	CHECK_OK(svid_chain_pem(chain, &pem, &err), &err);
	CHECK_OK(file_write_durable(AT_FDCWD, path, pem, strlen(pem), 0644, &err), &err);
}

static void make_pki(struct fixture_pki *p, const char *san, int64_t from, int64_t to)
{
	struct cert_spec ca = CA_SPEC, node = NODE_SPEC;

	now_spec(&ca, -400LL * 86400, 400LL * 86400);
	now_spec(&node, from, to);
	if (san != NULL)
		node.san = san;
	p->ca_key = fixture_key();
	p->node_key = fixture_key();
	p->ca = fixture_cert(&ca, p->ca_key, NULL, NULL);
	p->node = fixture_cert(&node, p->node_key, p->ca, p->ca_key);
	p->roots = fixture_stack(p->ca, NULL);
	p->chain = fixture_stack(p->node, NULL);
}

static void scene_make(struct scene *s, const char *san, int64_t from, int64_t to)
{
	*s = (struct scene){0};
	make_pki(&s->pki, san, from, to);
	s->key = path_of(real_names[0]);
	s->cert = path_of(real_names[1]);
	s->bundle = path_of(real_names[2]);
	s->key_new = path_of(real_names[3]);
	s->agent.config.svid_key = s->key;
	s->agent.config.svid_cert = s->cert;
	s->agent.config.svid_bundle = s->bundle;
	s->agent.config.state_dir = s->agent.config.run_dir = s->dir = mem_strdup(test_dir());
	s->agent.config.controller_url = mem_strdup("https://ctl.acme.example:8443");
	(void)snprintf(s->agent.config.node, sizeof(s->agent.config.node), "pay-1");
	write_key(s->key, s->pki.node_key);
	write_chain(s->cert, s->pki.chain);
	write_chain(s->bundle, s->pki.roots);
}

static void scene_done(struct scene *s)
{
	fixture_pki_done(&s->pki);
	free(s->key);
	free(s->cert);
	free(s->bundle);
	free(s->key_new);
	free(s->dir);
	free(s->agent.config.controller_url);
}

static struct node_key *open_key(struct scene *s)
{
	struct node_key *k = NULL;
	struct err err = {{0}};

	CHECK_OK(node_key_new(&s->agent, &k, &err), &err);
	return k;
}

static void look(struct node_key *k)
{
	for (int i = 0; i < LOOKS; i++)
		node_key_tick(k);
}

/* The error of status; "" when there is none. */
static void check_error(const struct node_key *k, const char *part)
{
	json_t *status = node_key_status(k);
	const char *error = json_string_value(json_object_get(status, "error"));

	if (part == NULL)
		CHECK(error == NULL);
	else
		CHECK_CONTAINS(error != NULL ? error : "", part);
	json_decref(status);
}

TEST(a_pair_that_fits_is_used)
{
	struct scene s;
	struct node_key *k;

	scene_make(&s, NULL, -300, 86400);
	k = open_key(&s);
	CHECK(node_key_svid(k) != NULL);
	CHECK_STR(node_key_svid(k)->id, "spiffe://acme.example/bailiwick/node/pay-1");
	check_error(k, NULL);
	node_key_free(k);
	scene_done(&s);
}

TEST(no_files_are_no_failure)
{
	struct agent a = {0};
	struct node_key *k = NULL;
	struct err err = {{0}};
	char *dir = mem_strdup(test_dir());

	a.config.state_dir = a.config.run_dir = dir;
	CHECK_OK(node_key_new(&a, &k, &err), &err);
	CHECK(node_key_svid(k) == NULL);
	check_error(k, "names no certificate");
	look(k);
	node_key_free(k);
	free(dir);
}

TEST(a_certificate_of_another_node_is_not_used)
{
	static const char *const names[] = {
		"URI:spiffe://acme.example/bailiwick/node/api-1",
		"URI:spiffe://acme.example/bailiwick/courier/pay-1",
		"URI:spiffe://acme.example/prod/payments/api",
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct scene s;
		struct node_key *k;

		scene_make(&s, names[i], -300, 86400);
		k = open_key(&s);
		CHECK(node_key_svid(k) == NULL);
		check_error(k, "is not this node");
		node_key_free(k);
		scene_done(&s);
	}
}

TEST(a_pair_under_another_bundle_is_not_used)
{
	struct scene s;
	struct fixture_pki other;
	struct node_key *k;

	scene_make(&s, NULL, -300, 86400);
	make_pki(&other, NULL, -300, 86400);
	write_chain(s.bundle, other.roots);
	k = open_key(&s);
	CHECK(node_key_svid(k) == NULL);
	node_key_free(k);
	fixture_pki_done(&other);
	scene_done(&s);
}

/* Somebody writes key, certificate and bundle one after the other, as helpers do. */
/* Who takes an authority out of the bundle may do so because a thief has its key. */
TEST(another_bundle_is_no_damage_that_a_copy_mends)
{
	CLEANUP(freep) char *copies = path_of("spare");
	CLEANUP(freep) char *before = NULL, *after = NULL;
	struct fixture_pki other;
	size_t len = 0;
	struct scene s;
	struct node_key *k;

	CHECK_INT(mkdir(copies, 0700), 0);
	scene_make(&s, NULL, -3600, 3600);
	node_key_free(open_key(&s));
	make_pki(&other, NULL, -3600, 3600);
	write_chain(s.bundle, other.roots);
	CHECK_INT(file_read(AT_FDCWD, s.bundle, 65536, &before, &len, NULL), 0);
	k = open_key(&s);
	CHECK(node_key_svid(k) == NULL);
	CHECK_INT(file_read(AT_FDCWD, s.bundle, 65536, &after, &len, NULL), 0);
	CHECK_STR(after, before);
	CHECK(s.agent.damage == NULL);
	node_key_free(k);
	/* One that is none is. */
	CHECK_INT(file_write_durable(AT_FDCWD, s.bundle, "x", 1, 0644, NULL), 0);
	k = open_key(&s);
	CHECK(node_key_svid(k) != NULL);
	CHECK_UINT(json_array_size(s.agent.damage), 1);
	node_key_free(k);
	json_decref(s.agent.damage);
	fixture_pki_done(&other);
	scene_done(&s);
}

TEST(half_written_pairs_leave_the_old_one_in_use)
{
	struct scene s;
	struct cert_spec spec = NODE_SPEC;
	EVP_PKEY *key = fixture_key();
	struct stack_st_X509 *chain;
	struct node_key *k;
	X509 *cert;
	char first[64];

	scene_make(&s, NULL, -300, 86400);
	k = open_key(&s);
	(void)snprintf(first, sizeof(first), "%s", node_key_svid(k)->serial);
	now_spec(&spec, -10, 86400);
	cert = fixture_cert(&spec, key, s.pki.ca, s.pki.ca_key);
	chain = fixture_stack(cert, NULL);
	write_chain(s.cert, chain);
	look(k);
	CHECK_STR(node_key_svid(k)->serial, first);
	check_error(k, "is not the key of");
	write_key(s.key, key);
	look(k);
	CHECK(strcmp(node_key_svid(k)->serial, first) != 0);
	check_error(k, NULL);
	CHECK_INT(unlink(s.key), 0);
	look(k);
	CHECK(node_key_svid(k) != NULL);
	node_key_free(k);
	svid_chain_free(chain);
	X509_free(cert);
	EVP_PKEY_free(key);
	scene_done(&s);
}

/* A crash between the new certificate and its key. */
TEST(a_renewal_that_was_interrupted_is_finished)
{
	struct scene s;
	EVP_PKEY *old = fixture_key();
	struct node_key *k;

	scene_make(&s, NULL, -300, 86400);
	write_key(s.key_new, s.pki.node_key);
	write_key(s.key, old);
	k = open_key(&s);
	CHECK(node_key_svid(k) != NULL);
	CHECK_INT(access(s.key_new, F_OK), -1);
	node_key_free(k);
	EVP_PKEY_free(old);
	scene_done(&s);
}

/* A crash before the new certificate: the new key is of no use. */
TEST(a_renewal_that_did_not_come_to_its_end_is_forgotten)
{
	struct scene s;
	EVP_PKEY *unused = fixture_key();
	struct node_key *k;

	scene_make(&s, NULL, -300, 86400);
	write_key(s.key_new, unused);
	k = open_key(&s);
	CHECK(node_key_svid(k) != NULL);
	CHECK_INT(access(s.key_new, F_OK), -1);
	node_key_free(k);
	EVP_PKEY_free(unused);
	scene_done(&s);
}

static int prove(struct node_key *k, struct err *err)
{
	struct private_key key;
	CLEANUP(freep) uint8_t *csr = NULL;
	CLEANUP(freep) char *proof = NULL;
	size_t len, proof_len;
	int r;

	CHECK_OK(private_key_generate(KEY_P256, &key, err), err);
	CHECK_OK(csr_make(&key, "pay-1", &csr, &len, err), err);
	r = node_key_prove(k, csr, len, &proof, &proof_len, err);
	if (r >= 0)
		CHECK_INT(node_key_prove(k, csr, len - 1, &proof, &proof_len, err), -EBADMSG);
	private_key_done(&key);
	return r;
}

TEST(a_valid_certificate_proves_and_an_expired_one_does_not)
{
	struct scene s;
	struct node_key *k;
	struct err err = {{0}};

	scene_make(&s, NULL, -300, 86400);
	k = open_key(&s);
	CHECK_OK(prove(k, &err), &err);
	node_key_free(k);
	scene_done(&s);
	scene_make(&s, NULL, -7200, -10);
	k = open_key(&s);
	/* It is still whose it is: a renewal begins with it. */
	CHECK(node_key_svid(k) != NULL);
	CHECK_INT(prove(k, &err), -ETIME);
	node_key_free(k);
	scene_done(&s);
}

TEST(an_answer_nobody_asked_for_changes_nothing)
{
	struct scene s;
	struct node_key *k;

	scene_make(&s, NULL, -300, 86400);
	k = open_key(&s);
	node_key_renewed(k, (const uint8_t *)"\x30\x80", 2);
	node_key_refused(k, 403, "no");
	check_error(k, NULL);
	node_key_free(k);
	scene_done(&s);
}

TEST(renewal_is_due_at_half_life_and_spread_over_the_fleet)
{
	struct svid s = {.not_before = {1000000}, .not_after = {1000000 + 86400}};
	int64_t low = INT64_MAX, high = 0;

	for (int i = 0; i < 500; i++) {
		char node[16];
		int64_t at;

		(void)snprintf(node, sizeof(node), "pay-%d", i);
		at = node_key_renew_at(&s, (struct wall){0}, node).s - 1000000;
		low = at < low ? at : low;
		high = at > high ? at : high;
		CHECK_INT(node_key_renew_at(&s, (struct wall){0}, node).s - 1000000, at);
	}
	CHECK(low >= 43200 - 4320 && low < 43200 - 3000);
	CHECK(high <= 43200 + 4320 && high > 43200 + 3000);
}

/* A life of 60 s, dated back 300 s: by its dates it would always be due. */
TEST(a_short_life_counts_from_when_it_was_obtained)
{
	struct svid s = {.not_before = {1000000 - 300}, .not_after = {1000000 + 60}};
	int64_t at = node_key_renew_at(&s, (struct wall){1000000}, "pay-1").s;

	CHECK(at >= 1000000 + 27 && at <= 1000000 + 33);
}
