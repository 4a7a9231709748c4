/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A server on loopback that answers each request with 200 and "ok"; for tests of who it may be. */
#pragma once

#include "base/hash.h"
#include "tests/unit/svid_fixture.h"

#include <sys/types.h>

struct tls_fixture {
	pid_t pid;
	char url[64];
	char pin[SHA256_HEX_LEN]; /* of its CA */
	char *ca_pem;
};
/* A certificate as the spec says, good from now on, of a CA made for it. */
void tls_fixture_start(struct tls_fixture *f, const struct cert_spec *spec);
void tls_fixture_stop(struct tls_fixture *f);
