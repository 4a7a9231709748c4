/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/svid_fixture.h"

#include "controller-client/svid.h"
#include "tests/unit/test.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

#define LIFE_S     86400
#define BACKDATE_S 300

EVP_PKEY *fixture_key(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");

	CHECK(key != NULL);
	return key;
}

EVP_PKEY *fixture_rsa(unsigned bits)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
	BIGNUM *n = BN_new(), *e = BN_new();
	EVP_PKEY *key = NULL;
	OSSL_PARAM *params;

	CHECK(BN_rand(n, (int)bits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD) == 1);
	CHECK(BN_set_word(e, RSA_F4) == 1);
	CHECK(OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_N, n) == 1);
	CHECK(OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_E, e) == 1);
	params = OSSL_PARAM_BLD_to_param(b);
	CHECK(EVP_PKEY_fromdata_init(ctx) == 1);
	CHECK(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) == 1);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(b);
	BN_free(n);
	BN_free(e);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	if (value == NULL)
		return;
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	CHECK(e != NULL);
	CHECK(X509_add_ext(cert, e, -1) == 1);
	X509_EXTENSION_free(e);
}

static void add_uri(X509 *cert, const struct cert_spec *spec)
{
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_IA5STRING *text = ASN1_IA5STRING_new();

	CHECK(ASN1_STRING_set(text, spec->uri, (int)spec->uri_len) == 1);
	GENERAL_NAME_set0_value(name, GEN_URI, text);
	CHECK(sk_GENERAL_NAME_push(names, name) > 0);
	CHECK(X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1);
	GENERAL_NAMES_free(names);
}

static void set_times(X509 *cert, const struct cert_spec *spec)
{
	int64_t from = spec->from, to = spec->to;

	if (from == 0 && to == 0) {
		from = -BACKDATE_S;
		to = LIFE_S;
	}
	CHECK(ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)(FIXTURE_NOW.s + from)) != NULL);
	CHECK(ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)(FIXTURE_NOW.s + to)) != NULL);
}

X509 *fixture_cert(const struct cert_spec *spec, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
	static long serial = 0x1000;
	X509 *cert = X509_new();

	CHECK(cert != NULL);
	CHECK(X509_set_version(cert, X509_VERSION_3) == 1);
	CHECK(ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial) == 1);
	if (spec->cn != NULL)
		CHECK(X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
						 (const unsigned char *)spec->cn, -1, -1, 0) == 1);
	CHECK(X509_set_issuer_name(cert, X509_get_subject_name(issuer ? issuer : cert)) == 1);
	set_times(cert, spec);
	CHECK(X509_set_pubkey(cert, key) == 1);
	add_extension(cert, issuer ? issuer : cert, NID_basic_constraints, spec->basic);
	add_extension(cert, issuer ? issuer : cert, NID_key_usage, spec->usage);
	add_extension(cert, issuer ? issuer : cert, NID_ext_key_usage, spec->eku);
	if (spec->uri != NULL)
		add_uri(cert, spec);
	else
		add_extension(cert, issuer ? issuer : cert, NID_subject_alt_name, spec->san);
	CHECK(X509_sign(cert, issuer ? issuer_key : key, EVP_sha256()) > 0);
	return cert;
}

STACK_OF(X509) * fixture_stack(X509 *first, X509 *second)
{
	STACK_OF(X509) *stack = sk_X509_new_null();
	X509 *certs[] = {first, second};

	CHECK(stack != NULL);
	for (size_t i = 0; i < 2; i++) {
		if (certs[i] == NULL)
			continue;
		CHECK(X509_up_ref(certs[i]) == 1);
		CHECK(sk_X509_push(stack, certs[i]) > 0);
	}
	return stack;
}

void fixture_pki_make(struct fixture_pki *p, const struct cert_spec *node)
{
	static const struct cert_spec ca_spec = CA_SPEC;

	p->ca_key = fixture_key();
	p->node_key = fixture_key();
	p->ca = fixture_cert(&ca_spec, p->ca_key, NULL, NULL);
	p->node = fixture_cert(node, p->node_key, p->ca, p->ca_key);
	p->roots = fixture_stack(p->ca, NULL);
	p->chain = fixture_stack(p->node, NULL);
}

void fixture_pki_done(struct fixture_pki *p)
{
	svid_chain_free(p->roots);
	svid_chain_free(p->chain);
	X509_free(p->ca);
	X509_free(p->node);
	EVP_PKEY_free(p->ca_key);
	EVP_PKEY_free(p->node_key);
}

void fixture_private(EVP_PKEY *key, struct private_key *ret)
{
	struct private_key k = {.pkey = key};
	struct err err = {{0}};

	CHECK_OK(public_key_from(key, &k.public, &err), &err);
	CHECK(EVP_PKEY_up_ref(key) == 1);
	*ret = k;
}
