/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The controller's own small certificate authority: one P-256 root in the data directory (ca.key,
 * ca.pem), leaves that are X.509-SVIDs (SPIFFE X509-SVID, section 4) and nothing else. What a
 * request asks for beside its key is ignored: the name comes from the token or from the old
 * certificate. The key of the root is read once; a leaf that cannot be signed changes nothing.
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "controller-client/svid.h"

#include <openssl/types.h>
#include <stddef.h>
#include <stdint.h>

#define CA_KEY_FILE  "ca.key"
#define CA_CERT_FILE "ca.pem"

/* Clocks of hosts are behind by minutes; a certificate must be good when it arrives. */
#define CA_BACKDATE_S     300
#define CA_ROOT_LIFE_S    (10LL * 365 * 86400)
#define CA_NAMES_MAX      64
#define CA_SVID_TTL_S     86400
#define CA_OPERATOR_TTL_S (30LL * 86400)
#define CA_TLS_TTL_S      (90LL * 86400)
#define CA_TRUST_NAME_MAX 256
#define CA_CERT_FILE_MAX  (256U << 10)

struct ca; /* opaque */

/* Writes ca.key and ca.pem below dir_fd. */
int ca_create(int dir_fd, const char *trust_domain, struct wall now, struct err *err);
int ca_open(const char *dir, struct ca **ret, struct err *err);
void ca_free(struct ca *ca);
void ca_freep(struct ca **ca);

const char *ca_trust_domain(const struct ca *ca);
X509 *ca_root(const struct ca *ca);                  /* borrowed */
struct stack_st_X509 *ca_roots(const struct ca *ca); /* borrowed: the root alone */

struct ca_leaf {
	EVP_PKEY *key;            /* public half */
	const char *path;         /* of the SPIFFE ID: "/bailiwick/node/pay-1" */
	const char *common_name;  /* for those who list certificates */
	const char *const *names; /* further SANs: DNS names and addresses */
	size_t name_count;
	int64_t life_s; /* ends with the root at the latest */
};
/* Caller frees with X509_free. */
int ca_issue(struct ca *ca, const struct ca_leaf *leaf, struct wall now, X509 **ret,
	     struct err *err);

/* PKCS#7 certs-only in DER (RFC 5652 degenerate SignedData, as EST has it). Caller frees. */
int ca_pkcs7(struct stack_st_X509 *certs, uint8_t **ret, size_t *ret_len, struct err *err);

/* SHA-256 of a certificate's SubjectPublicKeyInfo in hex: what `enroll --pin` compares. */
int ca_pin(X509 *cert, char ret[SHA256_HEX_LEN]);

/* DNS names and addresses in a certificate; each calls back. */
int ca_names(X509 *cert, int (*each)(void *user, const char *name), void *user);
