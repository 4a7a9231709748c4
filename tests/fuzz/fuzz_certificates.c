/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What enrolment reads from the network, by the first byte: 'p' PEM chains, '7' PKCS#7, 'r'
 * requests, 'o' proofs, 't' a controller's trust, 'i' SPIFFE IDs, 'u' URLs. Certificates that come
 * out of it are read; what is taken must hold what svid.h promises.
 */
#include "tests/fuzz/fuzz.h"

#include "base/mem.h"
#include "controller-client/csr.h"
#include "controller-client/enrol.h"
#include "controller-client/proof.h"
#include "controller-client/svid.h"

#include <openssl/x509.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const struct wall now = {1800000000};

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void look_at(STACK_OF(X509) * chain)
{
	CLEANUP(freep) char *pem = NULL;

	must(sk_X509_num(chain) > 0);
	for (int i = 0; i < sk_X509_num(chain); i++) {
		struct svid s = {.role = SVID_OTHER};

		if (svid_read(sk_X509_value(chain, i), &s, NULL) < 0)
			continue;
		must(spiffe_id_ok(s.id, NULL) && trust_domain_ok(s.trust_domain));
		must(strncmp(s.id + strlen("spiffe://"), s.trust_domain, strlen(s.trust_domain)) ==
		     0);
		must(strlen(s.key_id) == SHA256_HEX_LEN - 1 && strlen(s.serial) >= 2);
		must(s.role != SVID_NODE || strchr(s.name, '/') == NULL);
	}
	/* By itself nothing is trusted. */
	must(svid_verify(sk_X509_value(chain, 0), chain, NULL, "acme.example", now,
			 &(struct svid){0}, NULL) < 0);
	must(svid_chain_pem(chain, &pem, NULL) == 0);
}

static void proof(const char *text, size_t len)
{
	CLEANUP(svid_chain_freep) STACK_OF(X509) *none = sk_X509_new_null();
	struct svid s = {.role = SVID_OTHER};
	bool expired;

	must(proof_check(text, len, PROOF_RENEW, (const uint8_t *)"", 0, none, "acme.example",
			 "ctl", now, &s, &expired, NULL) < 0);
	must(s.id[0] == '\0');
}

static void trust(const char *text, size_t len)
{
	struct enrol_request rq = {0};
	struct enrol_result r = {0};
	char trust_domain[256] = "";

	if (enrol_trust_decode(text, len, &rq, &r, trust_domain, NULL) >= 0)
		must(trust_domain_ok(trust_domain) && r.policy_key_count == 0 &&
		     r.controller_key_count >= r.controller_threshold);
	enrol_result_done(&r);
}

static void url(const char *text)
{
	char host[PROOF_AUDIENCE_MAX];

	if (proof_audience(text, host) >= 0)
		must(host[0] != '\0' && strpbrk(host, "/@?#[] \"\r\n") == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(svid_chain_freep) STACK_OF(X509) *chain = NULL;
	CLEANUP(freep) char *text = size > 0 ? mem_dup(data + 1, size - 1) : NULL;
	struct public_key key = {0};

	if (text == NULL)
		return 0;
	switch (data[0]) {
	case 'p':
		if (svid_chain_parse(text, size - 1, "x", &chain, NULL) >= 0)
			look_at(chain);
		break;
	case '7':
		if (svid_chain_from_pkcs7((const uint8_t *)text, size - 1, &chain, NULL) >= 0)
			look_at(chain);
		break;
	case 'r':
		if (csr_check((const uint8_t *)text, size - 1, &key, NULL) >= 0)
			must(key.kind == KEY_P256);
		public_key_done(&key);
		break;
	case 'o':
		proof(text, size - 1);
		break;
	case 't':
		trust(text, size - 1);
		break;
	case 'i':
		(void)spiffe_id_ok(text, NULL);
		break;
	case 'u':
		url(text);
		break;
	}
	return 0;
}
