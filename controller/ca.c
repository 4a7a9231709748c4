/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/ca.h"

#include "base/addr.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/key.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SERIAL_LEN    16
#define SPIFFE_SCHEME "spiffe://"
#define EXT_TEXT_MAX  (SPIFFE_ID_MAX + 16)

struct ca {
	struct private_key key;
	STACK_OF(X509) * roots;
	char trust_domain[CA_TRUST_NAME_MAX];
};

static void x509_freep(X509 **cert)
{
	X509_free(*cert);
	*cert = NULL;
}

static int out_of_memory(struct err *err)
{
	return err_set(err, ENOMEM, "out of memory");
}

/* ---- building certificates ---- */

/* 128 random bits: no counter to keep, nothing to guess; the top bit is clear (DER: positive). */
static bool set_serial(X509 *cert)
{
	unsigned char bytes[SERIAL_LEN];
	BIGNUM *n;
	bool ok;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] = (unsigned char)((bytes[0] & 0x7f) | 0x40);
	n = BN_bin2bn(bytes, sizeof(bytes), NULL);
	ok = n != NULL && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL;
	BN_free(n);
	return ok;
}

static bool set_times(X509 *cert, int64_t begin, int64_t end)
{
	return ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)begin) != NULL &&
	       ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)end) != NULL;
}

static bool set_name(X509 *cert, const char *organization, const char *common_name)
{
	X509_NAME *name = X509_get_subject_name(cert);
	/* X.520 bounds both at 64 characters. */
	char o[65], cn[65];

	(void)snprintf(o, sizeof(o), "%.64s", organization);
	(void)snprintf(cn, sizeof(cn), "%.64s", common_name);
	return X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8,
					  (const unsigned char *)o, -1, -1, 0) == 1 &&
	       X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
					  (const unsigned char *)cn, -1, -1, 0) == 1;
}

static bool add_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *e;
	X509V3_CTX ctx;
	bool ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = e != NULL && X509_add_ext(cert, e, -1) == 1;
	X509_EXTENSION_free(e);
	return ok;
}

static bool push_name(GENERAL_NAMES *names, GENERAL_NAME *name)
{
	if (name != NULL && sk_GENERAL_NAME_push(names, name) > 0)
		return true;
	GENERAL_NAME_free(name);
	return false;
}

static GENERAL_NAME *general_name(int type, const void *bytes, size_t len)
{
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_STRING *text =
		type == GEN_IPADD ? ASN1_OCTET_STRING_new() : (ASN1_STRING *)ASN1_IA5STRING_new();

	if (name == NULL || text == NULL || ASN1_STRING_set(text, bytes, (int)len) != 1) {
		GENERAL_NAME_free(name);
		ASN1_STRING_free(text);
		return NULL;
	}
	GENERAL_NAME_set0_value(name, type, text);
	return name;
}

static GENERAL_NAME *host_name(const char *text)
{
	struct addr a;

	if (addr_parse(text, &a) == 0)
		return general_name(GEN_IPADD, a.bytes, addr_len(&a));
	return general_name(GEN_DNS, text, strlen(text));
}

/* Built by hand, not from a text in OpenSSL's little language: names come from outside. */
static bool add_san(X509 *cert, const char *id, const char *const *names, size_t count)
{
	GENERAL_NAMES *all = GENERAL_NAMES_new();
	bool ok = all != NULL && push_name(all, general_name(GEN_URI, id, strlen(id)));

	for (size_t i = 0; ok && i < count; i++)
		ok = push_name(all, host_name(names[i]));
	ok = ok && X509_add1_ext_i2d(cert, NID_subject_alt_name, all, 0, X509V3_ADD_DEFAULT) == 1;
	GENERAL_NAMES_free(all);
	return ok;
}

/* ---- the root ---- */

static int build_root(const struct private_key *key, const char *trust_domain, struct wall now,
		      X509 **ret, struct err *err)
{
	CLEANUP(x509_freep) X509 *cert = X509_new();
	char id[EXT_TEXT_MAX];

	(void)snprintf(id, sizeof(id), SPIFFE_SCHEME "%s", trust_domain);
	if (cert == NULL || X509_set_version(cert, X509_VERSION_3) != 1 || !set_serial(cert) ||
	    !set_times(cert, now.s - CA_BACKDATE_S, now.s + CA_ROOT_LIFE_S) ||
	    !set_name(cert, trust_domain, "Bailiwick CA") ||
	    X509_set_issuer_name(cert, X509_get_subject_name(cert)) != 1 ||
	    X509_set_pubkey(cert, key->pkey) != 1 ||
	    !add_ext(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
	    !add_ext(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") ||
	    !add_ext(cert, cert, NID_subject_key_identifier, "hash") ||
	    !add_san(cert, id, NULL, 0) || X509_sign(cert, key->pkey, EVP_sha256()) == 0)
		return err_set(err, EIO, "the root certificate cannot be made");
	*ret = TAKE_PTR(cert);
	return 0;
}

static int write_pem(int dir_fd, const char *name, X509 *cert, mode_t mode, struct err *err)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long len;
	int r;

	if (bio == NULL || PEM_write_bio_X509(bio, cert) != 1) {
		BIO_free(bio);
		return out_of_memory(err);
	}
	len = BIO_get_mem_data(bio, &text);
	r = file_write_durable(dir_fd, name, text, (size_t)len, mode, err);
	BIO_free(bio);
	return r;
}

int ca_create(int dir_fd, const char *trust_domain, struct wall now, struct err *err)
{
	CLEANUP(private_key_done) struct private_key key = {0};
	CLEANUP(x509_freep) X509 *cert = NULL;
	CLEANUP(freep) char *pem = NULL;
	int r;

	if (!trust_domain_ok(trust_domain))
		return err_set(err, EINVAL,
			       "'%.80s' is no trust domain; acme.example would be right",
			       trust_domain);
	r = private_key_generate(KEY_P256, &key, err);
	if (r < 0)
		return r;
	r = build_root(&key, trust_domain, now, &cert, err);
	if (r < 0)
		return r;
	pem = private_key_pem(&key);
	if (pem == NULL)
		return out_of_memory(err);
	/* The key first: a certificate without its key would stand in the way of the next try. */
	r = file_write_durable(dir_fd, CA_KEY_FILE, pem, strlen(pem), 0600, err);
	OPENSSL_cleanse(pem, strlen(pem));
	return r < 0 ? r : write_pem(dir_fd, CA_CERT_FILE, cert, 0644, err);
}

static int each_uri(X509 *cert, char *ret, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	int r = -ENOENT;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && r < 0; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		const unsigned char *text;
		int len;

		if (name->type != GEN_URI)
			continue;
		text = ASN1_STRING_get0_data(name->d.uniformResourceIdentifier);
		len = ASN1_STRING_length(name->d.uniformResourceIdentifier);
		if (len < 0 || (size_t)len >= size || memchr(text, '\0', (size_t)len) != NULL)
			continue;
		memcpy(ret, text, (size_t)len);
		ret[len] = '\0';
		r = 0;
	}
	GENERAL_NAMES_free(names);
	return r;
}

static int read_trust_domain(X509 *root, char ret[CA_TRUST_NAME_MAX], struct err *err)
{
	char id[SPIFFE_ID_MAX];

	if (each_uri(root, id, sizeof(id)) < 0 || !str_starts(id, SPIFFE_SCHEME) ||
	    strlen(id) - strlen(SPIFFE_SCHEME) >= CA_TRUST_NAME_MAX ||
	    !trust_domain_ok(id + strlen(SPIFFE_SCHEME)))
		return err_set(err, EBADMSG,
			       CA_CERT_FILE ": no SPIFFE trust domain in it; one made by "
					    "'bailiwick-controller init' would be right");
	memcpy(ret, id + strlen(SPIFFE_SCHEME), strlen(id) - strlen(SPIFFE_SCHEME) + 1);
	return 0;
}

int ca_open(const char *dir, struct ca **ret, struct err *err)
{
	CLEANUP(ca_freep) struct ca *ca = mem_calloc(1, sizeof(*ca));
	CLEANUP(freep) char *key = mem_printf("%s/" CA_KEY_FILE, dir);
	CLEANUP(freep) char *cert = mem_printf("%s/" CA_CERT_FILE, dir);
	int r;

	if (ca == NULL || key == NULL || cert == NULL)
		return out_of_memory(err);
	r = private_key_load(key, &ca->key, err);
	if (r < 0)
		return r;
	r = svid_chain_load(cert, &ca->roots, err);
	if (r < 0)
		return r;
	if (sk_X509_num(ca->roots) != 1)
		return err_set(err, EBADMSG, "%s: %d certificates; the root alone would be right",
			       cert, sk_X509_num(ca->roots));
	if (X509_check_private_key(ca_root(ca), ca->key.pkey) != 1)
		return err_set(err, EBADMSG,
			       "%s does not belong to %s; both from one backup would "
			       "be right",
			       key, cert);
	r = read_trust_domain(ca_root(ca), ca->trust_domain, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(ca);
	return 0;
}

void ca_free(struct ca *ca)
{
	if (ca == NULL)
		return;
	private_key_done(&ca->key);
	svid_chain_free(ca->roots);
	free(ca);
}

void ca_freep(struct ca **ca)
{
	ca_free(*ca);
	*ca = NULL;
}

const char *ca_trust_domain(const struct ca *ca)
{
	return ca->trust_domain;
}

X509 *ca_root(const struct ca *ca)
{
	return sk_X509_value(ca->roots, 0);
}

struct stack_st_X509 *ca_roots(const struct ca *ca)
{
	return ca->roots;
}

/* ---- leaves ---- */

static int64_t seconds_left(X509 *root, struct wall now)
{
	ASN1_TIME *t = ASN1_TIME_set(NULL, (time_t)now.s);
	int days = 0, seconds = 0;

	if (t == NULL || ASN1_TIME_diff(&days, &seconds, t, X509_get0_notAfter(root)) != 1)
		days = seconds = 0;
	ASN1_TIME_free(t);
	return (int64_t)days * 86400 + seconds;
}

int ca_issue(struct ca *ca, const struct ca_leaf *leaf, struct wall now, X509 **ret,
	     struct err *err)
{
	CLEANUP(x509_freep) X509 *cert = X509_new();
	X509 *root = ca_root(ca);
	char id[EXT_TEXT_MAX];
	int64_t left = seconds_left(root, now), life = leaf->life_s < left ? leaf->life_s : left;
	int len = snprintf(id, sizeof(id), SPIFFE_SCHEME "%s%s", ca->trust_domain, leaf->path);

	/* Without the slash the path would be part of the trust domain's name. */
	if (leaf->path[0] != '/' || len < 0 || (size_t)len >= SPIFFE_ID_MAX ||
	    !spiffe_id_ok(id, NULL))
		return err_set(err, EINVAL, "'%.80s' cannot be a SPIFFE ID", id);
	if (life <= 0)
		return err_set(err, EKEYEXPIRED, "the root in " CA_CERT_FILE " has expired");
	if (cert == NULL || X509_set_version(cert, X509_VERSION_3) != 1 || !set_serial(cert) ||
	    !set_times(cert, now.s - CA_BACKDATE_S, now.s + life) ||
	    !set_name(cert, ca->trust_domain, leaf->common_name) ||
	    X509_set_issuer_name(cert, X509_get_subject_name(root)) != 1 ||
	    X509_set_pubkey(cert, leaf->key) != 1 ||
	    !add_ext(cert, root, NID_basic_constraints, "critical,CA:FALSE") ||
	    !add_ext(cert, root, NID_key_usage, "critical,digitalSignature") ||
	    !add_ext(cert, root, NID_ext_key_usage, "serverAuth,clientAuth") ||
	    !add_ext(cert, root, NID_subject_key_identifier, "hash") ||
	    !add_ext(cert, root, NID_authority_key_identifier, "keyid") ||
	    !add_san(cert, id, leaf->names, leaf->name_count) ||
	    X509_sign(cert, ca->key.pkey, EVP_sha256()) == 0)
		return err_set(err, EIO, "a certificate for %.80s cannot be made",
			       leaf->common_name);
	*ret = TAKE_PTR(cert);
	return 0;
}

int ca_pkcs7(struct stack_st_X509 *certs, uint8_t **ret, size_t *ret_len, struct err *err)
{
	PKCS7 *p7 = PKCS7_new();
	unsigned char *der = NULL;
	bool ok = p7 != NULL && PKCS7_set_type(p7, NID_pkcs7_signed) == 1 &&
		  PKCS7_content_new(p7, NID_pkcs7_data) == 1 && PKCS7_set_detached(p7, 1) == 1;
	int len = -1;

	for (int i = 0; ok && i < sk_X509_num(certs); i++)
		ok = PKCS7_add_certificate(p7, sk_X509_value(certs, i)) == 1;
	if (ok)
		len = i2d_PKCS7(p7, &der);
	PKCS7_free(p7);
	if (len <= 0) {
		OPENSSL_free(der);
		return out_of_memory(err);
	}
	*ret = mem_calloc(1, (size_t)len);
	if (*ret != NULL)
		memcpy(*ret, der, (size_t)len);
	OPENSSL_free(der);
	*ret_len = (size_t)len;
	return *ret == NULL ? out_of_memory(err) : 0;
}

int ca_pin(X509 *cert, char ret[SHA256_HEX_LEN])
{
	uint8_t digest[SHA256_LEN];
	unsigned char *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der), r = -EINVAL;

	if (len > 0)
		r = sha256(der, (size_t)len, digest);
	OPENSSL_free(der);
	if (r < 0)
		return r;
	hex_format(digest, sizeof(digest), ret);
	return 0;
}

static int name_text(const GENERAL_NAME *name, char *text, size_t size)
{
	const unsigned char *bytes = ASN1_STRING_get0_data(name->d.ia5);
	int len = ASN1_STRING_length(name->d.ia5);
	struct addr a = {0};

	if (name->type == GEN_DNS) {
		if (len <= 0 || (size_t)len >= size || memchr(bytes, '\0', (size_t)len) != NULL)
			return -EINVAL;
		memcpy(text, bytes, (size_t)len);
		text[len] = '\0';
		return 0;
	}
	if (name->type != GEN_IPADD || (len != 4 && len != 16) || size < ADDR_TEXT_MAX)
		return -EINVAL;
	a.family = len == 4 ? AF_INET : AF_INET6;
	memcpy(a.bytes, bytes, (size_t)len);
	(void)addr_format(text, &a);
	return 0;
}

int ca_names(X509 *cert, int (*each)(void *user, const char *name), void *user)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	char text[CA_TRUST_NAME_MAX];
	int r = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && r == 0; i++) {
		if (name_text(sk_GENERAL_NAME_value(names, i), text, sizeof(text)) == 0)
			r = each(user, text);
	}
	GENERAL_NAMES_free(names);
	return r;
}
