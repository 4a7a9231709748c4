/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * X.509-SVIDs (SPIFFE X509-SVID, Stable): the checks that OpenSSL does not make by itself. Exactly
 * one URI SAN, a strict SPIFFE ID with a path, not a CA, keyUsage present and critical with
 * digitalSignature and without keyCertSign and cRLSign; where EKU is present both serverAuth and
 * clientAuth. The chain is checked against the roots of its own trust domain only.
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "controller-client/key.h"
#include "rules/view.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>

struct stack_st_X509; /* STACK_OF(X509) */

#define SPIFFE_ID_MAX       2049 /* with the NUL */
#define SVID_CHAIN_FILE_MAX (32U << 10)
#define SVID_CHAIN_MAX      4 /* intermediates */

enum svid_role { SVID_OTHER, SVID_NODE, SVID_COURIER, SVID_OPERATOR, SVID_CONTROLLER };

struct svid {
	char id[SPIFFE_ID_MAX];
	char trust_domain[256];
	enum svid_role role;      /* by the path: /bailiwick/node/NODE and so on */
	char name[NODE_NAME_MAX]; /* the node or operator; "" for others */
	struct wall not_before, not_after;
	char serial[64]; /* hex */
	char key_id[SHA256_HEX_LEN];
};

/* spiffe:// syntax, strict: lower-case scheme and trust domain, no empty or dot segment. */
bool spiffe_id_ok(const char *id, struct err *err);
bool trust_domain_ok(const char *name); /* that of rules/policy_grammar.h */

/* What one certificate says; form only, no chain. -EBADMSG, -ENOMEM. */
int svid_read(X509 *cert, struct svid *ret, struct err *err);
/*
 * Leaf (and intermediates, may be NULL) against roots at a time. Also checks that the leaf's trust
 * domain is `trust_domain`. -EBADMSG form, -EXDEV another trust domain, -ETIME expired or not yet
 * valid, -EKEYREJECTED no chain to the roots, -ENOMEM.
 */
int svid_verify(X509 *leaf, struct stack_st_X509 *intermediates, struct stack_st_X509 *roots,
		const char *trust_domain, struct wall now, struct svid *ret, struct err *err);

/*
 * Whether a server that shows this certificate may be the controller. Everybody of a fleet has one
 * of the same CA, with a name of theirs in the subject that TLS libraries compare with the host's
 * where no other name is given: one that says "node", "courier" or "operator" is never the
 * controller's.
 */
bool svid_may_be_controller(X509 *leaf);
/* The same behind OpenSSL's own look at each certificate: for SSL_CTX_set_verify(). */
int svid_check_controller(int ok, X509_STORE_CTX *ctx);

/* PEM with one or more certificates; caller frees with svid_chain_free(). */
int svid_chain_parse(const char *pem, size_t len, const char *what, struct stack_st_X509 **ret,
		     struct err *err);
int svid_chain_load(const char *path, struct stack_st_X509 **ret, struct err *err);
void svid_chain_free(struct stack_st_X509 *chain);
void svid_chain_freep(struct stack_st_X509 **chain);
/* PKCS#7 certs-only in DER (EST) -> leaf first; and PEM of a chain. */
int svid_chain_from_pkcs7(const uint8_t *der, size_t len, struct stack_st_X509 **ret,
			  struct err *err);
int svid_chain_pem(struct stack_st_X509 *chain, char **ret, struct err *err);
