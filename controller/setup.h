/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The data directory: keys and certificates that are made once, and those that are renewed. What is
 * there is never replaced by accident: a file that exists is kept, one that is missing is made, and
 * certificates that name hosts or operators are renewed at half of their life.
 *
 *   ca.key ca.pem             the certificate authority of nodes, couriers, operators and this
 * server tls.key tls.pem           what clients see: the server's chain, root included operator.key
 * operator.pem whoever can read them is the operator "local" policy.key policy.pub     dev only: in
 * real use the policy key is elsewhere, offline controller.key, controller.db, ...   the core's
 * (core.h) endpoint listen lock      of the running server
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "controller/ca.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SETUP_TLS_CERT      "tls.pem"
#define SETUP_TLS_KEY       "tls.key"
#define SETUP_OPERATOR_CERT "operator.pem"
#define SETUP_OPERATOR_KEY  "operator.key"
#define SETUP_POLICY_KEY    "policy.key"
#define SETUP_POLICY_PUB    "policy.pub"
#define SETUP_ENDPOINT      "endpoint" /* URL */
#define SETUP_LISTEN        "listen"   /* ADDRESS:PORT, for verbs on this machine */
#define SETUP_LOCK          "lock"
#define SETUP_OPERATOR      "local"
#define SETUP_KEYS_MAX      16

struct core;

struct setup {
	const char *data_dir;
	const char *trust_domain; /* NULL: that of ca.pem, else SETUP_TRUST_DOMAIN with dev */
	const char *names[CA_NAMES_MAX];
	size_t name_count;
	const char *policy_keys[SETUP_KEYS_MAX]; /* PEM files */
	size_t policy_key_count;
	uint32_t threshold; /* 0: as it is */
	bool dev;
};
#define SETUP_TRUST_DOMAIN "acme.example"

/* One process at a time for a data directory; until the descriptor is closed. -EBUSY. */
int setup_lock(const char *data_dir, int *ret_fd, struct err *err);

/* Makes what is missing. -EBUSY under a running server, -ENODATA: of which trust domain? */
int setup_make(const struct setup *s, struct err *err);

struct renewed {
	bool tls, operator; /* is another one now */
};
/*
 * Renews tls.pem (unless `tls` is false) and operator.pem where half of their life is over; the
 * latter also when it was revoked: whoever can read the data directory has the CA, too.
 */
int setup_renew(const char *data_dir, struct ca *ca, struct core *core, bool tls, struct wall now,
		struct renewed *ret, struct err *err);
