/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The node's SVID: key and certificate from files (svid: in agent.yaml), watched for change; a pair
 * that does not match or does not verify is not used and the old one stays. Proves to the
 * controller for whom the courier asks, and renews itself at half life with a fresh key.
 */
#pragma once

#include "agent/agent.h"
#include "controller-client/svid.h"

struct node_key;
struct stack_st_X509;

/* Files may be missing: then there is no SVID, and `status` says so. No controller is needed. */
int node_key_new(struct agent *a, struct node_key **ret, struct err *err);
void node_key_free(struct node_key *k);
void node_key_tick(struct node_key *k); /* once a second: files changed, renewal due */
/* When to renew: half of its life, +-10 % by the node's name. obtained: 0 = unknown. Pure. */
struct wall node_key_renew_at(const struct svid *s, struct wall obtained, const char *node);
/* NULL when there is none. */
const struct svid *node_key_svid(const struct node_key *k);
/*
 * For TLS. Borrowed until the generation is another one: with each new certificate or bundle. False
 * when there is no certificate; one that has expired is given.
 */
struct node_key_pair {
	EVP_PKEY *key;
	struct stack_st_X509 *chain; /* leaf first */
	struct stack_st_X509 *roots;
	const struct svid *svid;
	uint64_t generation;
};
bool node_key_pair(const struct node_key *k, struct node_key_pair *ret);
/* A proof for the courier's own key; caller frees. */
int node_key_prove(struct node_key *k, const uint8_t *csr, size_t len, char **ret, size_t *ret_len,
		   struct err *err);
/* Field `svid` of status: {spiffe_id, expires, renew_at, error}; new reference. */
json_t *node_key_status(const struct node_key *k);
/* The answer to a renewal, or why there is none. */
void node_key_renewed(struct node_key *k, const uint8_t *pkcs7, size_t len);
void node_key_refused(struct node_key *k, int http_status, const char *text);
