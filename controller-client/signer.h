/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whatever can sign a document: a private key in a PEM file, one that never leaves a token
 * (PKCS#11), or a program that talks to a key service. What a signer says is checked against its
 * public key before anybody sees it: a token that answers with another key, or a program that
 * answers nonsense, is an error and not a document.
 *
 * Blocking: tokens may ask for a touch, programs may ask a person.
 */
#pragma once

#include "base/err.h"
#include "controller-client/dsse.h"
#include "controller-client/key.h"

#include <stddef.h>
#include <stdint.h>

#define SIGNER_PIN_MAX      256 /* with the NUL */
#define SIGNER_PIN_VARIABLE "BAILIWICK_PIN"
/* A person may have to find his token first; a program that hangs for ever is ended. */
#define SIGNER_PROGRAM_S 600

struct signer_config {
	/* A file; `pkcs11:...` (RFC 7512); `exec:/absolute/program`. */
	const char *key;
	/* PEM file of the public key: needed with exec:, with others it must be the same key. */
	const char *public_key;
	/*
	 * Asks a person for the PIN of a token: 0, or -errno with err set. Only where neither the
	 * URI (pin-value, pin-source) nor the environment (BAILIWICK_PIN) has it. May be NULL.
	 */
	int (*ask_pin)(void *user, const char *token, char pin[SIGNER_PIN_MAX], struct err *err);
	void *user;
};

struct signer;

int signer_open(const struct signer_config *c, struct signer **ret, struct err *err);
void signer_free(struct signer *s);
void signer_freep(struct signer **s);
const struct public_key *signer_public(const struct signer *s);

/* The signature over message, verified. Ed25519 is 64 bytes, P-256 DER. */
int signer_sign(struct signer *s, const void *message, size_t len, struct dsse_signature *ret,
		struct err *err);
