/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Enrolment over EST (RFC 7030) by libcurl, blocking; used by `bailiwick enroll`. The controller is
 * known by the pin of its CA alone: sha256:HEX of the SubjectPublicKeyInfo of a CA in the presented
 * chain, to which the chain must verify, and the host's name must be in the certificate (a node's
 * certificate is of the same CA and has none). Redirects are not followed.
 *
 * The token is used last: whatever else can fail has succeeded by then.
 */
#pragma once

#include "base/err.h"
#include "controller-client/key.h"
#include "controller-client/svid.h"

#include <stddef.h>

#define PIN_PREFIX "sha256:"

struct enrol_request {
	const char *url;                      /* https://host:port */
	const char *token;                    /* id.secret */
	const char *pin;                      /* sha256:HEX */
	const char *policy_pins[KEYRING_MAX]; /* keyids of policy keys to take; may be none */
	size_t policy_pin_count;
	const char *node; /* who this is to be; NULL: whoever the token says */
};

struct enrol_result {
	struct svid svid;
	struct private_key key;
	char *cert_pem;   /* leaf and intermediates */
	char *bundle_pem; /* roots */
	char *ca_pem;     /* what the courier checks the controller's TLS with */
	struct public_key policy_keys[KEYRING_MAX], controller_keys[KEYRING_MAX];
	size_t policy_key_count, controller_key_count;
	/* policy_threshold is the controller's word, and at most the number of keys taken. */
	uint32_t policy_threshold, controller_threshold;
};
void enrol_result_done(struct enrol_result *r);
/*
 * Errors carry the problem+json detail: a used token says by whom and when. -EALREADY used, -ETIME
 * expired, -EPERM banned or somebody else's token, -EKEYREJECTED pin, certificate or token, -EIO no
 * answer, -EBADMSG an answer that makes no sense, -EINVAL.
 */
int enrol(const struct enrol_request *rq, struct enrol_result *ret, struct err *err);
/* "sha256:HEX" or HEX, lower case -> HEX inside the text; NULL when it is neither. */
const char *pin_hex(const char *text);

/* {"version":1,"trust_domain","policy":{"keys":[PEM],"threshold"},"controller":{...}}: keys whose
 * keyid is pinned, and all of the controller's. Pure. */
int enrol_trust_decode(const char *text, size_t len, const struct enrol_request *rq,
		       struct enrol_result *r, char trust_domain[256], struct err *err);
