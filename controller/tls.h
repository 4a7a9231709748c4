/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The server's TLS certificate and the client's, through GnuTLS, which libmicrohttpd is built on.
 * A client's certificate is asked for and not judged here: its DER goes to svid_verify(), so that
 * there is one set of rules for SVIDs. The certificate can be replaced while connections live.
 *
 * GnuTLS asks for the certificate without saying which server it asks for, so there is one per
 * process.
 */
#pragma once

#include "base/err.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <openssl/types.h>

struct stack_st_X509; /* STACK_OF(X509) */

#define TLS_FILE_MAX  (256U << 10)
#define TLS_CHAIN_MAX 8
/*
 * TLS 1.3, and 1.2 with forward secrecy for old proxies. No session tickets: 18,000 agents keep one
 * connection each, and a ticket key is one more secret.
 */
#define TLS_PRIORITIES                                                                             \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-SHA1:-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1:"   \
	"%SERVER_PRECEDENCE"

/* PEM files: chain, leaf first, and its key. The pair in use is replaced only when both are good.
 */
int tls_load(const char *cert, const char *key, struct err *err);
void tls_unload(void);
/* MHD_OPTION_HTTPS_CERT_CALLBACK */
int tls_retrieve(gnutls_session_t session, const gnutls_datum_t *requested, int requested_count,
		 const gnutls_pk_algorithm_t *algorithms, int algorithm_count,
		 gnutls_pcert_st **ret_certs, unsigned int *ret_count, gnutls_privkey_t *ret_key);

/*
 * The chain that the client presented and whose key it holds: *ret_leaf is the caller's, *ret_rest
 * (may be NULL) too. -ENOENT when it presented none.
 */
int tls_peer(gnutls_session_t session, X509 **ret_leaf, struct stack_st_X509 **ret_rest,
	     struct err *err);
