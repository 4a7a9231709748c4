/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Proof that the holder of a node's SVID key asks for a certificate (facts section 6.5, step-ca's
 * x5c pattern): a DSSE envelope, type DSSE_TYPE_PROOF, signed by the SVID's key:
 *   {"version":1,"purpose":"courier|renew","csr_sha256":HEX,"controller":URL-host,"time":RFC3339,
 *    "certificates":[BASE64 DER leaf, intermediates...]}
 * It names the CSR, so it cannot be used for another key; the time bounds its replay, which would
 * only yield the same certificate again.
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "controller-client/key.h"
#include "controller-client/svid.h"

#include <stddef.h>
#include <stdint.h>

struct stack_st_X509; /* STACK_OF(X509) */

#define PROOF_MAX    (64U << 10)
#define PROOF_SKEW_S 300
/* How long ago the certificate may have expired: renew only. */
#define PROOF_EXPIRED_S    (30LL * 86400)
#define PROOF_AUDIENCE_MAX 256

enum proof_purpose { PROOF_COURIER, PROOF_RENEW };

/*
 * The host of https://HOST[:PORT][/...], in lower case, [] of IPv6 addresses taken off: what a
 * proof is made out to. -EINVAL when the URL is not https or has no plain host.
 */
int proof_audience(const char *url, char ret[PROOF_AUDIENCE_MAX]);

int proof_make(enum proof_purpose purpose, const uint8_t *csr, size_t csr_len,
	       struct stack_st_X509 *chain, const struct private_key *key, const char *audience,
	       struct wall now, char **ret, size_t *ret_len, struct err *err);
/*
 * Verifies signature, CSR, audience, time and chain. *ret is what the certificate says, which is
 * always a node's; *ret_expired: it is past its end (renew within PROOF_EXPIRED_S only). -EBADMSG
 * malformed, -EKEYREJECTED signature or chain, -EPERM made for another CSR, purpose or audience or
 * by no node, -ETIME too old, from the future, or the certificate is not valid now, -E2BIG,
 * -ENOMEM.
 */
int proof_check(const char *text, size_t len, enum proof_purpose purpose, const uint8_t *csr,
		size_t csr_len, struct stack_st_X509 *roots, const char *trust_domain,
		const char *audience, struct wall now, struct svid *ret, bool *ret_expired,
		struct err *err);
