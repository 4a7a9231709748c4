/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Certificates made at test time, right ones and wrong ones. */
#pragma once

#include "base/clock.h"
#include "controller-client/key.h"

#include <openssl/types.h>
#include <stdbool.h>

struct stack_st_X509;

/* All times of the fixtures are around this one. */
#define FIXTURE_NOW ((struct wall){1800000000})
#define FIXTURE_TD  "acme.example"

struct cert_spec {
	const char *cn;     /* NULL: empty subject */
	const char *san;    /* OpenSSL syntax: "URI:spiffe://..."; NULL: none */
	const char *usage;  /* "critical,digitalSignature"; NULL: none */
	const char *eku;    /* "serverAuth,clientAuth"; NULL: none */
	const char *basic;  /* "critical,CA:FALSE"; NULL: none */
	int64_t from, to;   /* seconds from FIXTURE_NOW; both 0: -300 to 86400 */
	const uint8_t *uri; /* a URI name of exactly these bytes, in place of san */
	size_t uri_len;
};

/* The right one: a node's. */
#define NODE_SPEC                                                                                  \
	{                                                                                          \
		.cn = "pay-1", .san = "URI:spiffe://acme.example/bailiwick/node/pay-1",            \
		.usage = "critical,digitalSignature", .eku = "serverAuth,clientAuth",              \
		.basic = "critical,CA:FALSE",                                                      \
	}
#define CA_SPEC                                                                                    \
	{                                                                                          \
		.cn = "CA", .san = "URI:spiffe://acme.example",                                    \
		.usage = "critical,keyCertSign,cRLSign", .basic = "critical,CA:TRUE",              \
	}

EVP_PKEY *fixture_key(void);          /* P-256 */
EVP_PKEY *fixture_rsa(unsigned bits); /* the public half only: making one takes seconds */
/* issuer NULL: signs itself. */
X509 *fixture_cert(const struct cert_spec *spec, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key);
struct stack_st_X509 *fixture_stack(X509 *first, X509 *second); /* references; NULL: none */

/* A CA and a node of it. */
struct fixture_pki {
	EVP_PKEY *ca_key, *node_key;
	X509 *ca, *node;
	struct stack_st_X509 *roots, *chain;
};
void fixture_pki_make(struct fixture_pki *p, const struct cert_spec *node);
void fixture_pki_done(struct fixture_pki *p);
/* The node's key as documents are signed with. Owns a reference. */
void fixture_private(EVP_PKEY *key, struct private_key *ret);
