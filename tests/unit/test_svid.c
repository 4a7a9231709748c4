/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/svid.h"

#include "base/mem.h"
#include "tests/unit/svid_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>
#include <openssl/x509.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODE_ID "spiffe://acme.example/bailiwick/node/pay-1"

static const struct cert_spec node_spec = NODE_SPEC;

/* --- names -------------------------------------------------------------------------------- */

TEST(spiffe_ids_are_strict)
{
	static const struct {
		const char *id;
		bool ok;
	} cases[] = {
		{"spiffe://acme.example", true},
		{"spiffe://acme.example/prod/payments/api", true},
		{"spiffe://10.0.0.1/a", true},
		{"spiffe://a_b-c.d/A.b_c-D", true},
		{"spiffe://acme.example/...", true},
		{"", false},
		{"spiffe:", false},
		{"spiffe://", false},
		{"spiffe:///a", false},
		{"Spiffe://acme.example/a", false},
		{"spiffe://Acme.example/a", false},
		{"https://acme.example/a", false},
		{"spiffe://acme.example/", false},
		{"spiffe://acme.example/a/", false},
		{"spiffe://acme.example//a", false},
		{"spiffe://acme.example/a/../b", false},
		{"spiffe://acme.example/.", false},
		{"spiffe://acme.example/a%20b", false},
		{"spiffe://acme.example/a b", false},
		{"spiffe://acme.example/\xc3\xa9", false},
		{"spiffe://acme.example/a?b", false},
		{"spiffe://acme.example/a#b", false},
		{"spiffe://user@acme.example/a", false},
		{"spiffe://acme.example:443/a", false},
		{"spiffe://acme%2eexample/a", false},
	};
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (spiffe_id_ok(cases[i].id, &err) != cases[i].ok)
			test_fail(__FILE__, __LINE__, "'%s'", cases[i].id);
	}
}

TEST(spiffe_ids_have_at_most_2048_bytes)
{
	char id[2060];
	struct err err = {{0}};

	memset(id, 'a', sizeof(id));
	memcpy(id, "spiffe://td/", 12);
	id[2048] = '\0';
	CHECK(spiffe_id_ok(id, &err));
	id[2048] = 'a';
	id[2049] = '\0';
	CHECK(!spiffe_id_ok(id, &err));
	CHECK_CONTAINS(err.text, "longer than 2048 bytes");
}

TEST(trust_domains_have_1_to_255_bytes)
{
	char name[258];

	memset(name, 'a', sizeof(name));
	name[255] = '\0';
	CHECK(trust_domain_ok(name));
	name[255] = 'a';
	name[256] = '\0';
	CHECK(!trust_domain_ok(name));
	CHECK(!trust_domain_ok(""));
	CHECK(!trust_domain_ok("Acme"));
}

/* --- one certificate ---------------------------------------------------------------------- */

/* What svid_verify() says of a certificate like the right one but for one thing. */
static int verify_spec(const struct cert_spec *spec, struct svid *ret, struct err *err)
{
	struct fixture_pki p;
	int r;

	fixture_pki_make(&p, spec);
	r = svid_verify(p.node, NULL, p.roots, FIXTURE_TD, FIXTURE_NOW, ret, err);
	fixture_pki_done(&p);
	return r;
}

TEST(a_right_certificate_says_who_it_is)
{
	struct svid s;
	struct err err = {{0}};

	CHECK_OK(verify_spec(&node_spec, &s, &err), &err);
	CHECK_STR(s.id, NODE_ID);
	CHECK_STR(s.trust_domain, "acme.example");
	CHECK_STR(s.name, "pay-1");
	CHECK_INT(s.role, SVID_NODE);
	CHECK_INT(s.not_before.s, FIXTURE_NOW.s - 300);
	CHECK_INT(s.not_after.s, FIXTURE_NOW.s + 86400);
	CHECK_UINT(strlen(s.key_id), 64);
	CHECK(strlen(s.serial) > 0);
}

TEST(roles_are_read_from_the_path)
{
	static const struct {
		const char *san;
		int role;
		const char *name;
	} cases[] = {
		{"URI:spiffe://acme.example/bailiwick/courier/pay-1", SVID_COURIER, "pay-1"},
		{"URI:spiffe://acme.example/bailiwick/operator/ann", SVID_OPERATOR, "ann"},
		{"URI:spiffe://acme.example/bailiwick/controller", SVID_CONTROLLER, ""},
		{"URI:spiffe://acme.example/bailiwick/controller/x", SVID_OTHER, ""},
		{"URI:spiffe://acme.example/bailiwick/node/pay-1/x", SVID_OTHER, ""},
		{"URI:spiffe://acme.example/bailiwick/node", SVID_OTHER, ""},
		{"URI:spiffe://acme.example/prod/bailiwick/node/pay-1", SVID_OTHER, ""},
		{"URI:spiffe://acme.example/prod/api,DNS:api.example,IP:10.0.0.1", SVID_OTHER, ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cert_spec spec = node_spec;
		struct svid s;
		struct err err = {{0}};

		spec.san = cases[i].san;
		CHECK_OK(verify_spec(&spec, &s, &err), &err);
		CHECK_INT(s.role, cases[i].role);
		CHECK_STR(s.name, cases[i].name);
	}
}

/* A certificate that is right but for one text. */
static int verify_with(size_t field, const char *value, struct svid *ret, struct err *err)
{
	struct cert_spec spec = node_spec;

	memcpy((char *)&spec + field, &value, sizeof(value));
	return verify_spec(&spec, ret, err);
}

/* Each rule of X509-SVID that OpenSSL does not hold by itself. */
TEST(each_wrong_certificate_is_refused)
{
#define FIELD(name) offsetof(struct cert_spec, name)
	static const struct {
		size_t field;
		const char *value, *says;
		int code;
	} cases[] = {
		{FIELD(san), "URI:" NODE_ID ",URI:spiffe://acme.example/b", "more than one URI",
		 -EBADMSG},
		{FIELD(san), "DNS:pay-1", "no URI name", -EBADMSG},
		{FIELD(san), NULL, "no alternative names", -EBADMSG},
		{FIELD(san), "URI:spiffe://Acme.example/bailiwick/node/pay-1", "trust domain",
		 -EBADMSG},
		{FIELD(san), "URI:spiffe://acme.example", "no path", -EBADMSG},
		{FIELD(san), "URI:https://acme.example/a", "spiffe://", -EBADMSG},
		{FIELD(san), "URI:spiffe://other.example/bailiwick/node/pay-1",
		 "trust domain other.example", -EXDEV},
		{FIELD(basic), "critical,CA:TRUE", "a CA certificate", -EBADMSG},
		{FIELD(usage), NULL, "no keyUsage", -EBADMSG},
		{FIELD(usage), "digitalSignature", "not critical", -EBADMSG},
		{FIELD(usage), "critical,keyAgreement", "without digitalSignature", -EBADMSG},
		{FIELD(usage), "critical,digitalSignature,keyCertSign", "keyCertSign", -EBADMSG},
		{FIELD(usage), "critical,digitalSignature,cRLSign", "cRLSign", -EBADMSG},
		{FIELD(eku), "serverAuth", "without both", -EBADMSG},
		{FIELD(eku), "clientAuth", "without both", -EBADMSG},
		{FIELD(eku), "codeSigning", "without both", -EBADMSG},
		{FIELD(cn), NULL, "empty subject", -EBADMSG},
	};
#undef FIELD

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct svid s = {.role = SVID_OTHER};
		struct err err = {{0}};
		int r = verify_with(cases[i].field, cases[i].value, &s, &err);

		if (r != cases[i].code || strstr(err.text, cases[i].says) == NULL)
			test_fail(__FILE__, __LINE__, "case %zu: %d, '%s'", i, r, err.text);
		CHECK_STR(s.id, "");
	}
}

TEST(a_name_that_ends_early_for_c_is_refused)
{
	static const uint8_t nul[] = NODE_ID "\0.evil";
	struct cert_spec spec = node_spec;
	struct svid s;
	struct err err = {{0}};

	spec.uri = nul;
	spec.uri_len = sizeof(nul) - 1;
	CHECK_INT(verify_spec(&spec, &s, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "NUL");
}

TEST(a_certificate_counts_from_its_beginning_to_its_end)
{
	struct cert_spec spec = node_spec;
	struct svid s;
	struct err err = {{0}};

	spec.from = -7200;
	spec.to = 0;
	CHECK_INT(verify_spec(&spec, &s, &err), -ETIME);
	CHECK_CONTAINS(err.text, "expired");
	spec.to = 1;
	CHECK_OK(verify_spec(&spec, &s, &err), &err);
	spec.from = 0;
	CHECK_OK(verify_spec(&spec, &s, &err), &err);
	spec.from = 1;
	spec.to = 7200;
	CHECK_INT(verify_spec(&spec, &s, &err), -ETIME);
	CHECK_CONTAINS(err.text, "not yet valid");
}

TEST(an_empty_subject_is_fine_where_the_names_are_critical)
{
	struct cert_spec spec = node_spec;
	struct svid s;
	struct err err = {{0}};

	spec.cn = NULL;
	spec.san = "critical,URI:" NODE_ID;
	CHECK_OK(verify_spec(&spec, &s, &err), &err);
}

TEST(a_name_of_2048_bytes_is_taken_and_one_of_2049_is_not)
{
	struct cert_spec spec = node_spec;
	uint8_t id[2049];
	struct svid s;
	struct err err = {{0}};

	memset(id, 'a', sizeof(id));
	memcpy(id, "spiffe://acme.example/", 22);
	spec.uri = id;
	spec.uri_len = 2048;
	CHECK_OK(verify_spec(&spec, &s, &err), &err);
	CHECK_UINT(strlen(s.id), 2048);
	CHECK_INT(s.role, SVID_OTHER);
	spec.uri_len = 2049;
	CHECK_INT(verify_spec(&spec, &s, &err), -EBADMSG);
}

static int verify_key(EVP_PKEY *key, struct err *err)
{
	static const struct cert_spec ca_spec = CA_SPEC;
	EVP_PKEY *ca_key = fixture_key();
	X509 *ca = fixture_cert(&ca_spec, ca_key, NULL, NULL);
	X509 *leaf = fixture_cert(&node_spec, key, ca, ca_key);
	STACK_OF(X509) *roots = fixture_stack(ca, NULL);
	struct svid s;
	int r = svid_verify(leaf, NULL, roots, FIXTURE_TD, FIXTURE_NOW, &s, err);

	svid_chain_free(roots);
	X509_free(ca);
	X509_free(leaf);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(key);
	return r;
}

TEST(keys_of_known_kinds_and_sizes_only)
{
	struct err err = {{0}};

	CHECK_OK(verify_key(EVP_EC_gen("P-384"), &err), &err);
	CHECK_OK(verify_key(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), &err), &err);
	CHECK_OK(verify_key(fixture_rsa(2048), &err), &err);
	CHECK_INT(verify_key(fixture_rsa(1024), &err), -EBADMSG);
	CHECK_INT(verify_key(fixture_rsa(4104), &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "kind of key");
	CHECK_INT(verify_key(EVP_EC_gen("secp256k1"), &err), -EBADMSG);
}

/* --- chains ------------------------------------------------------------------------------- */

TEST(another_ca_of_the_same_name_is_refused)
{
	struct fixture_pki a, b;
	struct svid s;
	struct err err = {{0}};

	fixture_pki_make(&a, &node_spec);
	fixture_pki_make(&b, &node_spec);
	CHECK_INT(svid_verify(a.node, NULL, b.roots, FIXTURE_TD, FIXTURE_NOW, &s, &err),
		  -EKEYREJECTED);
	/* What the sender brings along is not trusted for that. */
	CHECK_INT(svid_verify(a.node, a.roots, b.roots, FIXTURE_TD, FIXTURE_NOW, &s, &err),
		  -EKEYREJECTED);
	fixture_pki_done(&a);
	fixture_pki_done(&b);
}

TEST(nothing_is_trusted_without_roots)
{
	struct fixture_pki p;
	STACK_OF(X509) *none = fixture_stack(NULL, NULL);
	struct svid s;
	struct err err = {{0}};

	fixture_pki_make(&p, &node_spec);
	CHECK_INT(svid_verify(p.node, NULL, none, FIXTURE_TD, FIXTURE_NOW, &s, &err),
		  -EKEYREJECTED);
	svid_chain_free(none);
	fixture_pki_done(&p);
}

/* A node whose certificate is used to sign another one. */
TEST(a_holder_does_not_sign)
{
	struct fixture_pki p;
	EVP_PKEY *key = fixture_key();
	struct cert_spec spec = node_spec;
	STACK_OF(X509) * rest;
	X509 *leaf;
	struct svid s;
	struct err err = {{0}};

	fixture_pki_make(&p, &node_spec);
	spec.san = "URI:spiffe://acme.example/bailiwick/node/api-1";
	leaf = fixture_cert(&spec, key, p.node, p.node_key);
	rest = fixture_stack(p.node, NULL);
	CHECK_INT(svid_verify(leaf, rest, p.roots, FIXTURE_TD, FIXTURE_NOW, &s, &err),
		  -EKEYREJECTED);
	svid_chain_free(rest);
	X509_free(leaf);
	EVP_PKEY_free(key);
	fixture_pki_done(&p);
}

#define CHAIN_MAX 8

/* A leaf below so many intermediates. */
static int verify_depth(size_t intermediates, const char *san, struct err *err)
{
	static const struct cert_spec ca_spec = CA_SPEC;
	EVP_PKEY *keys[CHAIN_MAX];
	X509 *certs[CHAIN_MAX], *leaf;
	EVP_PKEY *leaf_key = fixture_key();
	STACK_OF(X509) *rest = sk_X509_new_null(), *roots;
	struct svid s;
	int r;

	for (size_t i = 0; i <= intermediates; i++) {
		struct cert_spec spec = ca_spec;
		char cn[16];

		(void)snprintf(cn, sizeof(cn), "CA %zu", i);
		spec.cn = cn;
		if (i > 0)
			spec.san = san;
		keys[i] = fixture_key();
		certs[i] = fixture_cert(&spec, keys[i], i > 0 ? certs[i - 1] : NULL,
					i > 0 ? keys[i - 1] : NULL);
		if (i > 0) {
			CHECK(X509_up_ref(certs[i]) == 1);
			CHECK(sk_X509_push(rest, certs[i]) > 0);
		}
	}
	leaf = fixture_cert(&node_spec, leaf_key, certs[intermediates], keys[intermediates]);
	roots = fixture_stack(certs[0], NULL);
	r = svid_verify(leaf, rest, roots, FIXTURE_TD, FIXTURE_NOW, &s, err);
	for (size_t i = 0; i <= intermediates; i++) {
		X509_free(certs[i]);
		EVP_PKEY_free(keys[i]);
	}
	X509_free(leaf);
	EVP_PKEY_free(leaf_key);
	svid_chain_free(rest);
	svid_chain_free(roots);
	return r;
}

TEST(chains_have_at_most_four_intermediates)
{
	struct err err = {{0}};

	CHECK_OK(verify_depth(1, NULL, &err), &err);
	CHECK_OK(verify_depth(4, NULL, &err), &err);
	CHECK_INT(verify_depth(5, NULL, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "at most 4");
}

TEST(a_signer_has_no_name_but_its_trust_domain)
{
	struct err err = {{0}};

	CHECK_OK(verify_depth(1, "URI:spiffe://acme.example", &err), &err);
	CHECK_INT(verify_depth(1, "URI:spiffe://acme.example/bailiwick/node/pay-1", &err),
		  -EBADMSG);
	CHECK_INT(verify_depth(1, "URI:spiffe://other.example", &err), -EBADMSG);
}

/* --- files -------------------------------------------------------------------------------- */

TEST(a_chain_is_written_and_read_again)
{
	struct fixture_pki p;
	STACK_OF(X509) * both, *again = NULL;
	CLEANUP(freep) char *pem = NULL;
	struct err err = {{0}};

	fixture_pki_make(&p, &node_spec);
	both = fixture_stack(p.node, p.ca);
	CHECK_OK(svid_chain_pem(both, &pem, &err), &err);
	CHECK_OK(svid_chain_parse(pem, strlen(pem), "x.pem", &again, &err), &err);
	CHECK_INT(sk_X509_num(again), 2);
	CHECK_INT(X509_cmp(sk_X509_value(again, 0), p.node), 0);
	svid_chain_free(both);
	svid_chain_free(again);
	fixture_pki_done(&p);
}

TEST(files_without_certificates_or_with_keys_are_refused)
{
	static const char key[] = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
	static const char rubbish[] = "-----BEGIN CERTIFICATE-----\nMAA=\n"
				      "-----END CERTIFICATE-----\n";
	STACK_OF(X509) *chain = NULL;
	CLEANUP(freep) char *large = mem_calloc(SVID_CHAIN_FILE_MAX + 1, 1);
	struct err err = {{0}};

	CHECK_INT(svid_chain_parse("", 0, "x.pem", &chain, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "x.pem: no certificate");
	CHECK_INT(svid_chain_parse(key, sizeof(key) - 1, "x.pem", &chain, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "other than CERTIFICATE");
	CHECK_INT(svid_chain_parse(rubbish, sizeof(rubbish) - 1, "x.pem", &chain, &err), -EBADMSG);
	CHECK_INT(svid_chain_parse(large, SVID_CHAIN_FILE_MAX + 1, "x.pem", &chain, &err), -EFBIG);
	CHECK(chain == NULL);
}

static uint8_t *pkcs7_of(X509 *a, X509 *b, X509 *c, size_t *ret_len)
{
	PKCS7 *p7 = PKCS7_new();
	unsigned char *der = NULL;
	int len;

	CHECK(PKCS7_set_type(p7, NID_pkcs7_signed) == 1);
	CHECK(PKCS7_content_new(p7, NID_pkcs7_data) == 1);
	CHECK(PKCS7_add_certificate(p7, a) == 1);
	if (b != NULL)
		CHECK(PKCS7_add_certificate(p7, b) == 1);
	if (c != NULL)
		CHECK(PKCS7_add_certificate(p7, c) == 1);
	len = i2d_PKCS7(p7, &der);
	CHECK(len > 0);
	PKCS7_free(p7);
	*ret_len = (size_t)len;
	return der;
}

static bool accepts_pkcs7(const void *bytes, size_t len)
{
	STACK_OF(X509) *chain = NULL;
	int r = svid_chain_from_pkcs7(bytes, len, &chain, NULL);

	svid_chain_free(chain);
	return r >= 0;
}

TEST(a_pkcs7_set_becomes_a_chain_with_the_holder_first)
{
	static const struct cert_spec ca_spec = CA_SPEC;
	struct cert_spec middle_spec = ca_spec;
	EVP_PKEY *ca_key = fixture_key(), *middle_key = fixture_key(), *key = fixture_key();
	X509 *ca, *middle, *leaf;
	STACK_OF(X509) *chain = NULL;
	struct err err = {{0}};
	uint8_t *der;
	size_t len;

	middle_spec.cn = "middle";
	ca = fixture_cert(&ca_spec, ca_key, NULL, NULL);
	middle = fixture_cert(&middle_spec, middle_key, ca, ca_key);
	leaf = fixture_cert(&node_spec, key, middle, middle_key);
	der = pkcs7_of(ca, leaf, middle, &len);
	CHECK_OK(svid_chain_from_pkcs7(der, len, &chain, &err), &err);
	CHECK_INT(sk_X509_num(chain), 3);
	CHECK_INT(X509_cmp(sk_X509_value(chain, 0), leaf), 0);
	CHECK_INT(X509_cmp(sk_X509_value(chain, 1), middle), 0);
	CHECK_INT(X509_cmp(sk_X509_value(chain, 2), ca), 0);
	CHECK_TRUNCATIONS(der, len, accepts_pkcs7);
	svid_chain_free(chain);
	OPENSSL_free(der);
	/* Only CAs: the answer of cacerts. Two holders: nobody can tell whose it is. */
	der = pkcs7_of(ca, NULL, NULL, &len);
	CHECK(accepts_pkcs7(der, len));
	OPENSSL_free(der);
	der = pkcs7_of(leaf, leaf, NULL, &len);
	CHECK(!accepts_pkcs7(der, len));
	OPENSSL_free(der);
	X509_free(ca);
	X509_free(middle);
	X509_free(leaf);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(middle_key);
	EVP_PKEY_free(key);
}
