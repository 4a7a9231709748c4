/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Keys that sign documents: Ed25519 and ECDSA P-256 (SHA-256, DER signatures), nothing else. The
 * algorithm is the key's, never the envelope's. A key is known by its keyid: SHA-256 of the DER
 * SubjectPublicKeyInfo, in lower-case hex.
 */
#pragma once

#include "base/err.h"
#include "base/hash.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_FILE_MAX      (64U << 10)
#define KEY_SIGNATURE_MAX 128 /* Ed25519: 64; P-256 DER: at most 72 */

enum key_kind { KEY_ED25519, KEY_P256 };
const char *key_kind_name(enum key_kind kind); /* "ed25519", "p256" */

struct public_key {
	EVP_PKEY *pkey; /* owned */
	enum key_kind kind;
	char id[SHA256_HEX_LEN];
};
/* PEM SubjectPublicKeyInfo, exactly one block. `what` names it in errors (a file name). */
int public_key_parse(const char *pem, size_t len, const char *what, struct public_key *ret,
		     struct err *err);
int public_key_load(const char *path, struct public_key *ret, struct err *err);
/* From an EVP_PKEY (a certificate's): takes a reference. -ENOTSUP for other kinds. */
int public_key_from(EVP_PKEY *pkey, struct public_key *ret, struct err *err);
void public_key_done(struct public_key *k);
/* PEM text; caller frees. NULL when out of memory. */
char *public_key_pem(const struct public_key *k);
bool public_key_verify(const struct public_key *k, const void *message, size_t len,
		       const uint8_t *signature, size_t signature_len);

struct private_key {
	EVP_PKEY *pkey; /* owned */
	struct public_key public;
};
int private_key_generate(enum key_kind kind, struct private_key *ret, struct err *err);
/* PEM PKCS#8, unencrypted. A file that others may read is refused with what would be right. */
int private_key_load(const char *path, struct private_key *ret, struct err *err);
int private_key_parse(const char *pem, size_t len, const char *what, struct private_key *ret,
		      struct err *err);
/* PKCS#8 PEM, caller frees with freep after wiping; NULL when out of memory. */
char *private_key_pem(const struct private_key *k);
void private_key_done(struct private_key *k);
/* signature has room for KEY_SIGNATURE_MAX. */
int private_key_sign(const struct private_key *k, const void *message, size_t len,
		     uint8_t *signature, size_t *ret_len, struct err *err);

/* Keys of one role and how many of them must have signed. Owns the keys. */
#define KEYRING_MAX 16
struct keyring {
	struct public_key keys[KEYRING_MAX];
	size_t count;
	uint32_t threshold;
};
void keyring_done(struct keyring *r);
/* -EEXIST when the same key is there already (a threshold counts keys, not files). */
int keyring_add(struct keyring *r, struct public_key *take, struct err *err);
/*
 * SHA-256 hex over the sorted keyids: changes when the keys change, which drops the stored sequence
 * or revision of that role (FORMATS, "Signed documents").
 */
int keyring_digest(const struct keyring *r, char ret[SHA256_HEX_LEN]);
