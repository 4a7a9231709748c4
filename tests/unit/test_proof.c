/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/proof.h"

#include "base/mem.h"
#include "controller-client/csr.h"
#include "controller-client/dsse.h"
#include "tests/unit/svid_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define AUDIENCE "ctl.acme.example"
#define DAY_S    86400

static const struct cert_spec node_spec = NODE_SPEC;

/* A node, a request, and a proof for it. */
struct scene {
	struct fixture_pki pki;
	struct private_key node, courier;
	uint8_t *csr;
	size_t csr_len;
	char *proof;
	size_t len;
};

static void scene_make(struct scene *s, const struct cert_spec *spec, enum proof_purpose purpose,
		       struct wall when)
{
	struct err err = {{0}};

	*s = (struct scene){0};
	fixture_pki_make(&s->pki, spec);
	fixture_private(s->pki.node_key, &s->node);
	CHECK_OK(private_key_generate(KEY_P256, &s->courier, &err), &err);
	CHECK_OK(csr_make(&s->courier, "pay-1", &s->csr, &s->csr_len, &err), &err);
	CHECK_OK(proof_make(purpose, s->csr, s->csr_len, s->pki.chain, &s->node, AUDIENCE, when,
			    &s->proof, &s->len, &err),
		 &err);
}

static void scene_done(struct scene *s)
{
	fixture_pki_done(&s->pki);
	private_key_done(&s->node);
	private_key_done(&s->courier);
	free(s->csr);
	free(s->proof);
}

static int check_at(const struct scene *s, enum proof_purpose purpose, const char *audience,
		    struct wall now, bool *ret_expired, struct err *err)
{
	struct svid svid = {.role = SVID_OTHER};
	int r = proof_check(s->proof, s->len, purpose, s->csr, s->csr_len, s->pki.roots, FIXTURE_TD,
			    audience, now, &svid, ret_expired, err);

	CHECK_STR(svid.name, r < 0 ? "" : "pay-1");
	return r;
}

static int check(const struct scene *s, struct err *err)
{
	bool expired;

	return check_at(s, PROOF_COURIER, AUDIENCE, FIXTURE_NOW, &expired, err);
}

TEST(a_node_proves_that_it_asks)
{
	struct scene s;
	bool expired = true;
	struct err err = {{0}};

	scene_make(&s, &node_spec, PROOF_COURIER, FIXTURE_NOW);
	CHECK_OK(check_at(&s, PROOF_COURIER, AUDIENCE, FIXTURE_NOW, &expired, &err), &err);
	CHECK(!expired);
	scene_done(&s);
}

TEST(attack_proof_for_another_request)
{
	struct scene s;
	struct private_key thief;
	struct err err = {{0}};

	scene_make(&s, &node_spec, PROOF_COURIER, FIXTURE_NOW);
	CHECK_OK(private_key_generate(KEY_P256, &thief, &err), &err);
	free(s.csr);
	CHECK_OK(csr_make(&thief, "pay-1", &s.csr, &s.csr_len, &err), &err);
	CHECK_INT(check(&s, &err), -EPERM);
	CHECK_CONTAINS(err.text, "another certificate request");
	private_key_done(&thief);
	scene_done(&s);
}

TEST(attack_proof_for_another_purpose)
{
	struct scene s;
	bool expired;
	struct err err = {{0}};

	scene_make(&s, &node_spec, PROOF_COURIER, FIXTURE_NOW);
	CHECK_INT(check_at(&s, PROOF_RENEW, AUDIENCE, FIXTURE_NOW, &expired, &err), -EPERM);
	CHECK_CONTAINS(err.text, "purpose courier; renew");
	scene_done(&s);
}

TEST(attack_proof_passed_on_to_another_controller)
{
	struct scene s;
	bool expired;
	struct err err = {{0}};

	scene_make(&s, &node_spec, PROOF_COURIER, FIXTURE_NOW);
	CHECK_INT(check_at(&s, PROOF_COURIER, "other.example", FIXTURE_NOW, &expired, &err),
		  -EPERM);
	CHECK_CONTAINS(err.text, "made out to " AUDIENCE);
	scene_done(&s);
}

TEST(attack_proof_replayed_later)
{
	struct scene s;
	struct wall later = {FIXTURE_NOW.s + PROOF_SKEW_S},
		    earlier = {FIXTURE_NOW.s - PROOF_SKEW_S};
	bool expired;
	struct err err = {{0}};

	scene_make(&s, &node_spec, PROOF_COURIER, FIXTURE_NOW);
	CHECK_OK(check_at(&s, PROOF_COURIER, AUDIENCE, later, &expired, &err), &err);
	CHECK_OK(check_at(&s, PROOF_COURIER, AUDIENCE, earlier, &expired, &err), &err);
	later.s++;
	earlier.s--;
	CHECK_INT(check_at(&s, PROOF_COURIER, AUDIENCE, later, &expired, &err), -ETIME);
	CHECK_CONTAINS(err.text, "ago");
	CHECK_INT(check_at(&s, PROOF_COURIER, AUDIENCE, earlier, &expired, &err), -ETIME);
	scene_done(&s);
}

TEST(attack_proof_with_a_certificate_of_somebody_else)
{
	struct scene s;
	struct private_key thief;
	struct err err = {{0}};

	/* The thief signs, and shows the node's certificate. */
	scene_make(&s, &node_spec, PROOF_COURIER, FIXTURE_NOW);
	CHECK_OK(private_key_generate(KEY_P256, &thief, &err), &err);
	free(s.proof);
	CHECK_OK(proof_make(PROOF_COURIER, s.csr, s.csr_len, s.pki.chain, &thief, AUDIENCE,
			    FIXTURE_NOW, &s.proof, &s.len, &err),
		 &err);
	CHECK_INT(check(&s, &err), -EKEYREJECTED);
	private_key_done(&thief);
	scene_done(&s);
}

TEST(attack_proof_under_another_ca)
{
	struct scene s;
	struct fixture_pki other;
	struct err err = {{0}};

	scene_make(&s, &node_spec, PROOF_COURIER, FIXTURE_NOW);
	fixture_pki_make(&other, &node_spec);
	svid_chain_free(s.pki.roots);
	s.pki.roots = fixture_stack(other.ca, NULL);
	CHECK_INT(check(&s, &err), -EKEYREJECTED);
	fixture_pki_done(&other);
	scene_done(&s);
}

TEST(attack_proof_by_somebody_who_is_no_node)
{
	static const char *const names[] = {
		"URI:spiffe://acme.example/bailiwick/courier/pay-1",
		"URI:spiffe://acme.example/bailiwick/operator/ann",
		"URI:spiffe://acme.example/prod/payments/api",
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct cert_spec spec = node_spec;
		struct scene s;
		struct err err = {{0}};

		spec.san = names[i];
		scene_make(&s, &spec, PROOF_COURIER, FIXTURE_NOW);
		CHECK_INT(check(&s, &err), -EPERM);
		CHECK_CONTAINS(err.text, "no node");
		scene_done(&s);
	}
}

TEST(an_expired_certificate_proves_a_renewal_for_thirty_days)
{
	struct cert_spec spec = node_spec;
	struct scene s;
	bool expired = false;
	struct err err = {{0}};

	spec.from = -40 * DAY_S;
	spec.to = -29 * DAY_S;
	scene_make(&s, &spec, PROOF_RENEW, FIXTURE_NOW);
	/* Roots that were valid then are asked about then. */
	X509_free(s.pki.ca);
	svid_chain_free(s.pki.roots);
	s.pki.ca = NULL;
	{
		struct cert_spec old_ca = CA_SPEC;

		old_ca.from = -400 * DAY_S;
		old_ca.to = 400 * DAY_S;
		s.pki.ca = fixture_cert(&old_ca, s.pki.ca_key, NULL, NULL);
	}
	s.pki.roots = fixture_stack(s.pki.ca, NULL);
	CHECK_OK(check_at(&s, PROOF_RENEW, AUDIENCE, FIXTURE_NOW, &expired, &err), &err);
	CHECK(expired);
	scene_done(&s);
	spec.to = -31 * DAY_S;
	scene_make(&s, &spec, PROOF_RENEW, FIXTURE_NOW);
	CHECK_INT(check_at(&s, PROOF_RENEW, AUDIENCE, FIXTURE_NOW, &expired, &err), -ETIME);
	CHECK_CONTAINS(err.text, "more than 30 days");
	scene_done(&s);
}

TEST(attack_expired_certificate_for_a_courier)
{
	struct cert_spec spec = node_spec;
	struct scene s;
	struct err err = {{0}};

	spec.from = -7200;
	spec.to = -1;
	scene_make(&s, &spec, PROOF_COURIER, FIXTURE_NOW);
	CHECK_INT(check(&s, &err), -ETIME);
	CHECK_CONTAINS(err.text, "has expired");
	scene_done(&s);
}

TEST(attack_document_in_place_of_a_proof)
{
	struct scene s;
	struct err err = {{0}};

	scene_make(&s, &node_spec, PROOF_COURIER, FIXTURE_NOW);
	free(s.proof);
	CHECK_OK(dsse_sign(DSSE_TYPE_HEAD, "{}", 2, &s.node, &s.proof, &s.len, &err), &err);
	CHECK(check(&s, &err) < 0);
	free(s.proof);
	CHECK_OK(dsse_sign(DSSE_TYPE_PROOF, "{}", 2, &s.node, &s.proof, &s.len, &err), &err);
	CHECK_INT(check(&s, &err), -EBADMSG);
	scene_done(&s);
}

TEST(proofs_that_are_cut_or_too_long_are_refused)
{
	struct scene s;
	CLEANUP(freep) char *large = mem_calloc(PROOF_MAX + 1, 1);
	struct err err = {{0}};
	size_t whole;

	scene_make(&s, &node_spec, PROOF_COURIER, FIXTURE_NOW);
	whole = s.len;
	/* Without its last line end it is still whole. */
	for (s.len = 0; s.len + 1 < whole; s.len += 7)
		CHECK(check(&s, &err) < 0);
	free(s.proof);
	s.proof = TAKE_PTR(large);
	s.len = PROOF_MAX + 1;
	CHECK_INT(check(&s, &err), -E2BIG);
	scene_done(&s);
}

TEST(audience_is_the_host_of_the_url)
{
	static const struct {
		const char *url, *host;
	} cases[] = {
		{"https://ctl.acme.example:8443", "ctl.acme.example"},
		{"https://CTL.acme.example/x", "ctl.acme.example"},
		{"https://10.0.0.1", "10.0.0.1"},
		{"https://[fd77::31]:8443", "fd77::31"},
		{"http://ctl.acme.example", NULL},
		{"https://", NULL},
		{"https://:8443", NULL},
		{"https://[fd77::31", NULL},
		{"https://user@ctl.acme.example", NULL},
		{"https://ctl acme", NULL},
		{"https://ctl?x", NULL},
	};
	char host[PROOF_AUDIENCE_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int r = proof_audience(cases[i].url, host);

		CHECK_INT(r, cases[i].host != NULL ? 0 : -EINVAL);
		if (r == 0)
			CHECK_STR(host, cases[i].host);
	}
}

/* --- requests ----------------------------------------------------------------------------- */

static bool accepts_csr(const void *bytes, size_t len)
{
	struct public_key key = {0};
	int r = csr_check(bytes, len, &key, NULL);

	public_key_done(&key);
	return r >= 0;
}

TEST(a_request_hands_out_its_key)
{
	struct private_key key;
	struct public_key asked = {0};
	CLEANUP(freep) uint8_t *csr = NULL;
	struct err err = {{0}};
	size_t len;

	CHECK_OK(private_key_generate(KEY_P256, &key, &err), &err);
	CHECK_OK(csr_make(&key, "pay-1", &csr, &len, &err), &err);
	CHECK_OK(csr_check(csr, len, &asked, &err), &err);
	CHECK_STR(asked.id, key.public.id);
	CHECK_TRUNCATIONS(csr, len, accepts_csr);
	/* The last byte is of the signature. */
	csr[len - 1] ^= 1;
	CHECK(!accepts_csr(csr, len));
	public_key_done(&asked);
	private_key_done(&key);
}

TEST(a_request_for_another_kind_of_key_is_refused)
{
	struct private_key key;
	struct public_key asked = {0};
	CLEANUP(freep) uint8_t *csr = NULL;
	struct err err = {{0}};
	size_t len;

	CHECK_OK(private_key_generate(KEY_ED25519, &key, &err), &err);
	CHECK_OK(csr_make(&key, "pay-1", &csr, &len, &err), &err);
	CHECK_INT(csr_check(csr, len, &asked, &err), -ENOTSUP);
	private_key_done(&key);
}

TEST(a_request_that_is_too_long_is_refused)
{
	CLEANUP(freep) uint8_t *large = mem_calloc(CSR_MAX + 1, 1);
	struct public_key asked = {0};

	CHECK_INT(csr_check(large, CSR_MAX + 1, &asked, NULL), -E2BIG);
}
