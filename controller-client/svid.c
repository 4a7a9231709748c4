/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/svid.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SCHEME             "spiffe://"
#define TRUST_DOMAIN_MAX   255
#define RSA_BITS_MIN       2048
#define RSA_BITS_MAX       4096 /* a larger key makes every check cost milliseconds */
#define SERIAL_BYTES_MAX   20   /* RFC 5280, 4.1.2.2 */
#define CERTIFICATES_MAX   64   /* in a file: roots of a trust domain and their successors */
#define SECURITY_LEVEL_MIN 2    /* 112 bits: no SHA-1, no RSA below 2048 */
#define SPKI_DER_MAX       (16U << 10)

/* --- names -------------------------------------------------------------------------------- */

static bool is_lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_domain_char(char c)
{
	return is_lower_or_digit(c) || c == '.' || c == '-' || c == '_';
}

static bool is_segment_char(char c)
{
	return is_domain_char(c) || (c >= 'A' && c <= 'Z');
}

/* NULL, or what is wrong with the segment [s, s + len). */
static const char *segment_fault(const char *s, size_t len)
{
	if (len == 0)
		return "has an empty path segment";
	if ((len == 1 && s[0] == '.') || (len == 2 && s[0] == '.' && s[1] == '.'))
		return "has a path segment '.' or '..'";
	for (size_t i = 0; i < len; i++) {
		if (!is_segment_char(s[i]))
			return "has a character that no path may have; letters, digits, '.', '_' "
			       "and '-' would be right";
	}
	return NULL;
}

/* What is wrong with a SPIFFE ID, or NULL; *ret_path: where the path begins ("" = none). */
static const char *id_fault(const char *id, const char **ret_path)
{
	size_t scheme = sizeof(SCHEME) - 1, domain = 0;
	const char *at, *fault = NULL;

	if (strlen(id) >= SPIFFE_ID_MAX)
		return "is longer than 2048 bytes";
	if (strncmp(id, SCHEME, scheme) != 0)
		return "does not begin with spiffe:// in lower case";
	while (is_domain_char(id[scheme + domain]))
		domain++;
	at = id + scheme + domain;
	if (domain < 1 || domain > TRUST_DOMAIN_MAX || (*at != '\0' && *at != '/'))
		return "has no right trust domain; 1 to 255 of a-z, 0-9, '.', '_', '-' would be "
		       "right";
	*ret_path = at;
	while (fault == NULL && *at == '/') {
		size_t len = strcspn(at + 1, "/");

		fault = segment_fault(at + 1, len);
		at += 1 + len;
	}
	return fault;
}

bool spiffe_id_ok(const char *id, struct err *err)
{
	char quoted[LOG_QUOTE_MAX];
	const char *path = "", *fault = id_fault(id, &path);

	if (fault != NULL)
		(void)err_set(err, EBADMSG, "%s %s", log_quote(quoted, id), fault);
	return fault == NULL;
}

static const struct {
	const char *prefix;
	enum svid_role role;
	bool named;
} roles[] = {
	{"/bailiwick/node/", SVID_NODE, true},
	{"/bailiwick/courier/", SVID_COURIER, true},
	{"/bailiwick/operator/", SVID_OPERATOR, true},
	{"/bailiwick/controller", SVID_CONTROLLER, false},
};

/* /bailiwick/node/NODE and nothing below: anything else of a right form is SVID_OTHER. */
static void read_role(struct svid *s, const char *path)
{
	s->role = SVID_OTHER;
	s->name[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
		size_t len = strlen(roles[i].prefix);
		const char *rest = path + len;

		if (strncmp(path, roles[i].prefix, len) != 0)
			continue;
		if (!roles[i].named ? *rest != '\0'
				    : strchr(rest, '/') != NULL || strlen(rest) >= NODE_NAME_MAX)
			continue;
		s->role = roles[i].role;
		(void)snprintf(s->name, sizeof(s->name), "%s", rest);
	}
}

static int take_id(struct svid *s, const char *id, struct err *err)
{
	const char *path = "";
	char quoted[LOG_QUOTE_MAX];

	if (!spiffe_id_ok(id, err))
		return -EBADMSG;
	(void)id_fault(id, &path);
	/* An ID without a path names the trust domain itself: a signer's, never a holder's. */
	if (*path == '\0')
		return err_set(err, EBADMSG, "%s has no path: not the name of a holder",
			       log_quote(quoted, id));
	(void)snprintf(s->id, sizeof(s->id), "%s", id);
	(void)snprintf(s->trust_domain, sizeof(s->trust_domain), "%.*s",
		       (int)(path - id - (ptrdiff_t)sizeof(SCHEME) + 1), id + sizeof(SCHEME) - 1);
	read_role(s, path);
	return 0;
}

/* --- one certificate ---------------------------------------------------------------------- */

/* The one URI among the names. 0, or -EBADMSG. */
static int one_uri(const GENERAL_NAMES *names, char ret[SPIFFE_ID_MAX], struct err *err)
{
	const ASN1_IA5STRING *found = NULL;
	int len;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);

		if (n->type != GEN_URI)
			continue;
		if (found != NULL)
			return err_set(err, EBADMSG,
				       "more than one URI name; exactly one would be "
				       "right");
		found = n->d.uniformResourceIdentifier;
	}
	if (found == NULL)
		return err_set(err, EBADMSG, "no URI name; exactly one would be right");
	len = ASN1_STRING_length(found);
	if (len < 1 || len >= SPIFFE_ID_MAX)
		return err_set(err, EBADMSG, "URI name of %d bytes; 1 to 2048 would be right", len);
	/* A name that ends early for C and goes on for others is nobody's name. */
	if (memchr(ASN1_STRING_get0_data(found), '\0', (size_t)len) != NULL)
		return err_set(err, EBADMSG, "NUL within the URI name");
	memcpy(ret, ASN1_STRING_get0_data(found), (size_t)len);
	ret[len] = '\0';
	return 0;
}

static int read_name(const X509 *cert, struct svid *s, struct err *err)
{
	int critical = -1, r;
	char id[SPIFFE_ID_MAX];
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, &critical, NULL);

	if (names == NULL)
		return err_set(err, EBADMSG,
			       critical == -1 ? "no alternative names; a SPIFFE ID would be right"
					      : "alternative names that cannot be read, or twice");
	r = one_uri(names, id, err);
	GENERAL_NAMES_free(names);
	if (r < 0)
		return r;
	/* RFC 5280, 4.2.1.6: without a subject these names are all there is. */
	if (critical == 0 && X509_NAME_entry_count(X509_get_subject_name(cert)) == 0)
		return err_set(err, EBADMSG,
			       "empty subject, but the alternative names are not critical");
	return take_id(s, id, err);
}

static int check_key_usage(X509 *cert, struct err *err)
{
	int at = X509_get_ext_by_NID(cert, NID_key_usage, -1);
	uint32_t bits;

	if (at < 0)
		return err_set(err, EBADMSG, "no keyUsage; a critical one would be right");
	if (X509_EXTENSION_get_critical(X509_get_ext(cert, at)) != 1)
		return err_set(err, EBADMSG, "keyUsage is not critical");
	bits = X509_get_key_usage(cert);
	if (!(bits & KU_DIGITAL_SIGNATURE))
		return err_set(err, EBADMSG, "keyUsage without digitalSignature");
	if (bits & (KU_KEY_CERT_SIGN | KU_CRL_SIGN))
		return err_set(err, EBADMSG,
			       "keyUsage with keyCertSign or cRLSign: a signer, not a holder");
	return 0;
}

static int check_purpose(X509 *cert, struct err *err)
{
	const uint32_t both = XKU_SSL_SERVER | XKU_SSL_CLIENT;
	uint32_t flags = X509_get_extension_flags(cert);

	if (flags & (EXFLAG_INVALID | EXFLAG_INVALID_POLICY))
		return err_set(err, EBADMSG, "extensions that cannot be read");
	if (flags & EXFLAG_CA)
		return err_set(err, EBADMSG, "a CA certificate; one of a holder would be right");
	if ((flags & EXFLAG_XKUSAGE) && (X509_get_extended_key_usage(cert) & both) != both)
		return err_set(err, EBADMSG,
			       "extended keyUsage without both serverAuth and clientAuth");
	return check_key_usage(cert, err);
}

static bool key_ok(X509 *cert)
{
	EVP_PKEY *key = X509_get0_pubkey(cert);
	char group[64] = "";
	int bits = key ? EVP_PKEY_get_bits(key) : 0;

	if (key == NULL)
		return false;
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_ED25519:
		return true;
	case EVP_PKEY_RSA:
	case EVP_PKEY_RSA_PSS:
		return bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX;
	case EVP_PKEY_EC:
		/* Named curves only: parameters of the sender's own can cost any amount of time. */
		(void)EVP_PKEY_get_group_name(key, group, sizeof(group), NULL);
		return str_eq(group, SN_X9_62_prime256v1) || str_eq(group, SN_secp384r1) ||
		       str_eq(group, SN_secp521r1);
	default:
		return false;
	}
}

static int check_key(X509 *cert, struct err *err)
{
	if (key_ok(cert))
		return 0;
	return err_set(err, EBADMSG,
		       "a kind of key that is not taken; P-256, P-384, P-521, Ed25519 or RSA of "
		       "2048 to 4096 bits would be right");
}

static int read_time(const ASN1_TIME *t, struct wall *ret, struct err *err)
{
	struct tm tm = {0};

	if (t == NULL || ASN1_TIME_to_tm(t, &tm) != 1)
		return err_set(err, EBADMSG, "times that cannot be read");
	ret->s = timegm(&tm);
	return 0;
}

static int read_serial(const X509 *cert, struct svid *s, struct err *err)
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
	int len = ASN1_STRING_length(serial);

	/* The content octets: sign is the type's business. */
	if (len < 1 || len > SERIAL_BYTES_MAX || ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER)
		return err_set(err, EBADMSG, "serial number of %d bytes; 1 to %d would be right",
			       len, SERIAL_BYTES_MAX);
	hex_format(ASN1_STRING_get0_data(serial), (size_t)len, s->serial);
	return 0;
}

static int read_key_id(X509 *cert, struct svid *s, struct err *err)
{
	uint8_t *der = NULL, digest[SHA256_LEN];
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der), r;

	if (len <= 0 || len > (int)SPKI_DER_MAX) {
		OPENSSL_free(der);
		return err_set(err, EBADMSG, "a public key that cannot be written");
	}
	r = sha256(der, (size_t)len, digest);
	OPENSSL_free(der);
	hex_format(digest, sizeof(digest), s->key_id);
	return r < 0 ? err_set(err, ENOMEM, "out of memory") : 0;
}

static int read_all(X509 *cert, struct svid *s, struct err *err)
{
	int r = 0;

	if (X509_get_version(cert) != X509_VERSION_3)
		r = err_set(err, EBADMSG, "not a version 3 certificate");
	if (r >= 0)
		r = check_key(cert, err);
	if (r >= 0)
		r = check_purpose(cert, err);
	if (r >= 0)
		r = read_name(cert, s, err);
	if (r >= 0)
		r = read_time(X509_get0_notBefore(cert), &s->not_before, err);
	if (r >= 0)
		r = read_time(X509_get0_notAfter(cert), &s->not_after, err);
	if (r >= 0)
		r = read_serial(cert, s, err);
	return r < 0 ? r : read_key_id(cert, s, err);
}

int svid_read(X509 *cert, struct svid *ret, struct err *err)
{
	struct svid s = {.role = SVID_OTHER};
	int r = read_all(cert, &s, err);

	ERR_clear_error();
	if (r < 0)
		return err_prefix(err, r, "certificate");
	*ret = s;
	return 0;
}

/* --- chain -------------------------------------------------------------------------------- */

/*
 * A signer that bears a SPIFFE ID bears that of its trust domain, without a path: else a holder's
 * certificate that somebody gave CA rights would sign for its whole domain.
 */
static int check_signer(X509 *cert, const char *trust_domain, struct err *err)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	char expected[SPIFFE_ID_MAX];
	bool ok = true;

	(void)snprintf(expected, sizeof(expected), SCHEME "%s", trust_domain);
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
		const ASN1_STRING *uri = n->type == GEN_URI ? n->d.uniformResourceIdentifier : NULL;

		if (uri != NULL &&
		    (ASN1_STRING_length(uri) != (int)strlen(expected) ||
		     memcmp(ASN1_STRING_get0_data(uri), expected, strlen(expected)) != 0))
			ok = false;
	}
	GENERAL_NAMES_free(names);
	return ok ? 0
		  : err_set(err, EBADMSG, "a signer with a name other than %s in the chain",
			    expected);
}

static int check_intermediates(STACK_OF(X509) * chain, struct err *err)
{
	int count = sk_X509_num(chain), r = 0;

	/* sk_X509_num(NULL) is -1. Refused before any signature is computed. */
	if (count > SVID_CHAIN_MAX)
		return err_set(err, EBADMSG, "%d intermediates; at most %d would be right", count,
			       SVID_CHAIN_MAX);
	for (int i = 0; i < count && r >= 0; i++)
		r = check_key(sk_X509_value(chain, i), err);
	return r;
}

static int check_signers(STACK_OF(X509) * chain, const char *trust_domain, struct err *err)
{
	int r = 0;

	for (int i = 1; i < sk_X509_num(chain) && r >= 0; i++)
		r = check_signer(sk_X509_value(chain, i), trust_domain, err);
	return r;
}

static int verify_in(X509_STORE_CTX *ctx, const char *trust_domain, struct wall now,
		     struct err *err)
{
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
	int code;

	X509_VERIFY_PARAM_set_time(param, (time_t)now.s);
	X509_VERIFY_PARAM_set_depth(param, SVID_CHAIN_MAX);
	X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL_MIN);
	if (X509_verify_cert(ctx) == 1)
		return check_signers(X509_STORE_CTX_get0_chain(ctx), trust_domain, err);
	code = X509_STORE_CTX_get_error(ctx);
	if (code == X509_V_ERR_OUT_OF_MEM)
		return err_set(err, ENOMEM, "out of memory");
	if (code == X509_V_ERR_CERT_HAS_EXPIRED || code == X509_V_ERR_CERT_NOT_YET_VALID)
		return err_set(err, ETIME, "%s", X509_verify_cert_error_string(code));
	return err_set(err, EKEYREJECTED, "%s", X509_verify_cert_error_string(code));
}

static int verify_chain(X509 *leaf, STACK_OF(X509) * intermediates, STACK_OF(X509) * roots,
			const char *trust_domain, struct wall now, struct err *err)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	int r = -ENOMEM;

	/* The store is empty: nothing but `roots` is trusted, whatever the host's own CAs are. */
	if (store != NULL && ctx != NULL &&
	    X509_STORE_CTX_init(ctx, store, leaf, intermediates) == 1) {
		X509_STORE_CTX_set0_trusted_stack(ctx, roots);
		r = verify_in(ctx, trust_domain, now, err);
	} else {
		(void)err_set(err, ENOMEM, "out of memory");
	}
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	ERR_clear_error();
	return r;
}

int svid_verify(X509 *leaf, STACK_OF(X509) * intermediates, STACK_OF(X509) * roots,
		const char *trust_domain, struct wall now, struct svid *ret, struct err *err)
{
	struct svid s;
	int r = svid_read(leaf, &s, err);

	if (r < 0)
		return r;
	/* Whose roots count is decided before the path is looked for: domains are not merged. */
	if (!str_eq(s.trust_domain, trust_domain))
		return err_set(err, EXDEV, "certificate: trust domain %s; %s would be right",
			       s.trust_domain, trust_domain);
	r = check_intermediates(intermediates, err);
	if (r >= 0)
		r = verify_chain(leaf, intermediates, roots, trust_domain, now, err);
	if (r < 0)
		return err_prefix(err, r, "certificate of %s", s.id);
	*ret = s;
	return 0;
}

bool svid_may_be_controller(X509 *leaf)
{
	struct svid s = {.role = SVID_OTHER};

	/* One of another PKI need not have such a name at all. */
	if (read_name(leaf, &s, NULL) < 0)
		return true;
	return s.role != SVID_NODE && s.role != SVID_COURIER && s.role != SVID_OPERATOR;
}

int svid_check_controller(int ok, X509_STORE_CTX *ctx)
{
	if (ok != 1 || X509_STORE_CTX_get_error_depth(ctx) > 0 ||
	    svid_may_be_controller(X509_STORE_CTX_get_current_cert(ctx)))
		return ok;
	X509_STORE_CTX_set_error(ctx, X509_V_ERR_INVALID_PURPOSE);
	return 0;
}

/* --- files and messages ------------------------------------------------------------------- */

void svid_chain_free(STACK_OF(X509) * chain)
{
	sk_X509_pop_free(chain, X509_free);
}

void svid_chain_freep(STACK_OF(X509) * *chain)
{
	svid_chain_free(*chain);
	*chain = NULL;
}

/* Takes the certificate. */
static int chain_push(STACK_OF(X509) * chain, X509 *take, struct err *err)
{
	if (take != NULL && sk_X509_num(chain) < CERTIFICATES_MAX && sk_X509_push(chain, take) > 0)
		return 0;
	X509_free(take);
	return err_set(err, EBADMSG, "a certificate that cannot be read, or more than %d of them",
		       CERTIFICATES_MAX);
}

/* 1: one more, 0: no more, negative: wrong. */
static int read_block(BIO *in, STACK_OF(X509) * chain, struct err *err)
{
	char *name = NULL, *header = NULL;
	const unsigned char *at;
	unsigned char *data = NULL;
	X509 *cert = NULL;
	long len = 0;
	int r;

	if (PEM_read_bio(in, &name, &header, &data, &len) != 1)
		return 0;
	at = data;
	if (str_eq(name, PEM_STRING_X509))
		cert = d2i_X509(NULL, &at, len);
	if (cert != NULL && at != data + len) {
		X509_free(cert);
		cert = NULL;
	}
	/* A private key that lies in a certificate's file is a mistake somebody should hear of. */
	if (!str_eq(name, PEM_STRING_X509))
		r = err_set(err, EBADMSG, "a PEM block other than CERTIFICATE");
	else
		r = chain_push(chain, cert, err);
	OPENSSL_free(name);
	OPENSSL_free(header);
	OPENSSL_clear_free(data, len > 0 ? (size_t)len : 0);
	return r < 0 ? r : 1;
}

int svid_chain_parse(const char *pem, size_t len, const char *what, STACK_OF(X509) * *ret,
		     struct err *err)
{
	CLEANUP(svid_chain_freep) STACK_OF(X509) *chain = sk_X509_new_null();
	BIO *in = NULL;
	int r = 1;

	if (len > SVID_CHAIN_FILE_MAX)
		r = err_set(err, EFBIG, "%s: longer than %u bytes", what, SVID_CHAIN_FILE_MAX);
	else if ((in = BIO_new_mem_buf(pem, (int)len)) == NULL || chain == NULL)
		r = err_set(err, ENOMEM, "out of memory");
	while (r == 1)
		r = read_block(in, chain, err);
	BIO_free(in);
	ERR_clear_error();
	if (r < 0)
		return err_prefix(err, r, "%s", what);
	if (sk_X509_num(chain) == 0)
		return err_set(err, EBADMSG,
			       "%s: no certificate; PEM, -----BEGIN CERTIFICATE-----, would be "
			       "right",
			       what);
	*ret = TAKE_PTR(chain);
	return 0;
}

int svid_chain_load(const char *path, STACK_OF(X509) * *ret, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	size_t len;
	int r = file_read(AT_FDCWD, path, SVID_CHAIN_FILE_MAX, &text, &len, err);

	return r < 0 ? r : svid_chain_parse(text, len, path, ret, err);
}

static bool is_holder(X509 *cert)
{
	return !(X509_get_extension_flags(cert) & EXFLAG_CA);
}

/* Copies what belongs behind `last`, nearest signer first; then what belongs nowhere. */
static int order_rest(STACK_OF(X509) * from, STACK_OF(X509) * to)
{
	while (sk_X509_num(from) > 0) {
		X509 *last = sk_X509_num(to) ? sk_X509_value(to, sk_X509_num(to) - 1) : NULL;
		int at = 0;

		for (int i = 0; last != NULL && i < sk_X509_num(from); i++) {
			if (X509_check_issued(sk_X509_value(from, i), last) == X509_V_OK) {
				at = i;
				break;
			}
		}
		if (sk_X509_push(to, sk_X509_value(from, at)) <= 0)
			return -ENOMEM;
		(void)sk_X509_delete(from, at);
	}
	return 0;
}

/* A set has no order; a chain has. `from` is emptied into `to`, the holder's certificate first. */
static int order_chain(STACK_OF(X509) * from, STACK_OF(X509) * to, struct err *err)
{
	int holder = -1;

	for (int i = 0; i < sk_X509_num(from); i++) {
		if (!is_holder(sk_X509_value(from, i)))
			continue;
		if (holder >= 0)
			return err_set(err, EBADMSG,
				       "two certificates of holders; one would be right");
		holder = i;
	}
	if (holder >= 0) {
		if (sk_X509_push(to, sk_X509_value(from, holder)) <= 0)
			return err_set(err, ENOMEM, "out of memory");
		(void)sk_X509_delete(from, holder);
	}
	return order_rest(from, to) < 0 ? err_set(err, ENOMEM, "out of memory") : 0;
}

static int copy_certificates(const STACK_OF(X509) * certs, STACK_OF(X509) * to, struct err *err)
{
	int r = 0;

	if (sk_X509_num(certs) < 1)
		return err_set(err, EBADMSG, "no certificate in it");
	for (int i = 0; i < sk_X509_num(certs) && r >= 0; i++) {
		X509 *cert = sk_X509_value(certs, i);

		if (X509_up_ref(cert) != 1)
			return err_set(err, ENOMEM, "out of memory");
		r = chain_push(to, cert, err);
	}
	return r;
}

int svid_chain_from_pkcs7(const uint8_t *der, size_t len, STACK_OF(X509) * *ret, struct err *err)
{
	CLEANUP(svid_chain_freep) STACK_OF(X509) *set = sk_X509_new_null();
	CLEANUP(svid_chain_freep) STACK_OF(X509) *chain = sk_X509_new_null();
	const uint8_t *at = der;
	PKCS7 *p7 = NULL;
	int r;

	if (len > SVID_CHAIN_FILE_MAX)
		return err_set(err, EFBIG, "PKCS#7: longer than %u bytes", SVID_CHAIN_FILE_MAX);
	if (set == NULL || chain == NULL)
		return err_set(err, ENOMEM, "out of memory");
	p7 = d2i_PKCS7(NULL, &at, (long)len);
	if (p7 == NULL || at != der + len || !PKCS7_type_is_signed(p7) || p7->d.sign == NULL)
		r = err_set(err, EBADMSG, "not a certificates-only message");
	else
		r = copy_certificates(p7->d.sign->cert, set, err);
	PKCS7_free(p7);
	if (r >= 0)
		r = order_chain(set, chain, err);
	ERR_clear_error();
	if (r < 0)
		return err_prefix(err, r, "PKCS#7");
	*ret = TAKE_PTR(chain);
	return 0;
}

int svid_chain_pem(STACK_OF(X509) * chain, char **ret, struct err *err)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *bytes = NULL, *text = NULL;
	bool ok = out != NULL;
	long len;

	for (int i = 0; i < sk_X509_num(chain) && ok; i++)
		ok = PEM_write_bio_X509(out, sk_X509_value(chain, i)) == 1;
	if (ok && (len = BIO_get_mem_data(out, &bytes)) > 0)
		text = mem_strndup(bytes, (size_t)len);
	BIO_free(out);
	if (text == NULL)
		return err_set(err, ENOMEM, "out of memory");
	*ret = text;
	return 0;
}
