/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/ca.h"

#include "base/mem.h"
#include "base/text.h"
#include "controller-client/key.h"
#include "controller-client/svid.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static struct ca *fresh(const char *dir)
{
	int fd = open(dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	struct err err = {{0}};
	struct ca *ca;

	CHECK(fd >= 0);
	CHECK_OK(ca_create(fd, "acme.example", wall_now(), &err), &err);
	closep(&fd);
	CHECK_OK(ca_open(dir, &ca, &err), &err);
	return ca;
}

static X509 *issue(struct ca *ca, const struct private_key *key, const char *path,
		   const char *const *names, size_t count, int64_t life)
{
	struct ca_leaf leaf = {.key = key->pkey,
			       .path = path,
			       .common_name = "pay-1",
			       .names = names,
			       .name_count = count,
			       .life_s = life};
	struct err err = {{0}};
	X509 *cert;

	CHECK_OK(ca_issue(ca, &leaf, wall_now(), &cert, &err), &err);
	return cert;
}

TEST(a_node_certificate_is_an_svid_under_its_root)
{
	struct ca *ca = fresh(test_dir());
	struct private_key key = {0};
	struct err err = {{0}};
	struct svid svid;
	X509 *cert;

	CHECK_OK(private_key_generate(KEY_P256, &key, &err), &err);
	cert = issue(ca, &key, "/bailiwick/node/pay-1", NULL, 0, 86400);
	CHECK_OK(svid_verify(cert, NULL, ca_roots(ca), "acme.example", wall_now(), &svid, &err),
		 &err);
	CHECK_STR(svid.id, "spiffe://acme.example/bailiwick/node/pay-1");
	CHECK_INT(svid.role, SVID_NODE);
	CHECK_STR(svid.name, "pay-1");
	CHECK_STR(svid.key_id, key.public.id);
	/* Good on a host whose clock is behind. */
	CHECK(svid.not_before.s <= wall_now().s - 290);
	CHECK_INT(svid.not_after.s - svid.not_before.s, 86400 + CA_BACKDATE_S);
	CHECK_UINT(strlen(svid.serial), 32);
	X509_free(cert);
	private_key_done(&key);
	ca_free(ca);
}

TEST(serial_numbers_differ)
{
	struct ca *ca = fresh(test_dir());
	struct private_key key = {0};
	struct svid a, b;
	X509 *first, *second;

	CHECK_OK(private_key_generate(KEY_P256, &key, NULL), NULL);
	first = issue(ca, &key, "/bailiwick/node/pay-1", NULL, 0, 60);
	second = issue(ca, &key, "/bailiwick/node/pay-1", NULL, 0, 60);
	CHECK_OK(svid_read(first, &a, NULL), NULL);
	CHECK_OK(svid_read(second, &b, NULL), NULL);
	CHECK(!str_eq(a.serial, b.serial));
	X509_free(first);
	X509_free(second);
	private_key_done(&key);
	ca_free(ca);
}

struct listed {
	char text[256];
};

static int list(void *user, const char *name)
{
	struct listed *l = user;

	CHECK(strlen(l->text) + strlen(name) + 2 < sizeof(l->text));
	(void)snprintf(l->text + strlen(l->text), sizeof(l->text) - strlen(l->text), "%s ", name);
	return 0;
}

TEST(names_and_addresses_of_the_server_are_in_its_certificate)
{
	static const char *const names[] = {"ctl.acme.example", "10.0.0.1", "fd00::1"};
	struct ca *ca = fresh(test_dir());
	struct private_key key = {0};
	struct listed listed = {{0}};
	struct svid svid;
	X509 *cert;

	CHECK_OK(private_key_generate(KEY_P256, &key, NULL), NULL);
	cert = issue(ca, &key, "/bailiwick/controller", names, ARRAY_LEN(names), 60);
	CHECK_OK(svid_read(cert, &svid, NULL), NULL);
	CHECK_INT(svid.role, SVID_CONTROLLER);
	CHECK_INT(X509_check_host(cert, "ctl.acme.example", 0, 0, NULL), 1);
	CHECK_INT(X509_check_ip_asc(cert, "fd00::1", 0), 1);
	CHECK_INT(ca_names(cert, list, &listed), 0);
	CHECK_STR(listed.text, "ctl.acme.example 10.0.0.1 fd00::1 ");
	X509_free(cert);
	private_key_done(&key);
	ca_free(ca);
}

TEST(a_name_that_is_no_spiffe_id_is_not_issued)
{
	static const char *const wrong[] = {
		"/bailiwick/node/../operator/root",   "/bailiwick/node/a b", "/bailiwick/node/",
		"/bailiwick/node/a,URI:spiffe://x/y", "bailiwick/node/a",
	};
	struct ca *ca = fresh(test_dir());
	struct private_key key = {0};
	struct err err = {{0}};

	CHECK_OK(private_key_generate(KEY_P256, &key, NULL), NULL);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct ca_leaf leaf = {
			.key = key.pkey, .path = wrong[i], .common_name = "x", .life_s = 60};
		X509 *cert;

		CHECK_INT(ca_issue(ca, &leaf, wall_now(), &cert, &err), -EINVAL);
	}
	private_key_done(&key);
	ca_free(ca);
}

TEST(no_certificate_outlives_its_root)
{
	struct ca *ca = fresh(test_dir());
	struct private_key key = {0};
	struct svid svid;
	struct err err = {{0}};
	struct ca_leaf leaf = {.path = "/bailiwick/node/a", .common_name = "a", .life_s = 86400};
	struct wall late = {.s = wall_now().s + CA_ROOT_LIFE_S - 600};
	X509 *cert;

	CHECK_OK(private_key_generate(KEY_P256, &key, NULL), NULL);
	leaf.key = key.pkey;
	CHECK_OK(ca_issue(ca, &leaf, late, &cert, &err), &err);
	CHECK_OK(svid_read(cert, &svid, NULL), NULL);
	CHECK(svid.not_after.s <= late.s + 601);
	X509_free(cert);
	late.s += 1200;
	CHECK(ca_issue(ca, &leaf, late, &cert, &err) < 0);
	CHECK_CONTAINS(err.text, "expired");
	private_key_done(&key);
	ca_free(ca);
}

TEST(certificates_travel_as_pkcs7)
{
	struct ca *ca = fresh(test_dir());
	CLEANUP(freep) uint8_t *der = NULL;
	struct stack_st_X509 *back;
	struct err err = {{0}};
	size_t len;

	CHECK_OK(ca_pkcs7(ca_roots(ca), &der, &len, &err), &err);
	CHECK_OK(svid_chain_from_pkcs7(der, len, &back, &err), &err);
	CHECK_INT(sk_X509_num(back), 1);
	CHECK_INT(X509_cmp(sk_X509_value(back, 0), ca_root(ca)), 0);
	svid_chain_free(back);
	ca_free(ca);
}

TEST(the_pin_is_that_of_the_key)
{
	struct ca *ca = fresh(test_dir());
	struct public_key key = {0};
	char pin[SHA256_HEX_LEN];

	CHECK_INT(ca_pin(ca_root(ca), pin), 0);
	CHECK_OK(public_key_from(X509_get0_pubkey(ca_root(ca)), &key, NULL), NULL);
	CHECK_STR(pin, key.id);
	public_key_done(&key);
	ca_free(ca);
}

TEST(a_root_is_not_a_holder_and_its_key_is_private)
{
	struct ca *ca = fresh(test_dir());
	char path[4096];
	struct svid svid;
	struct err err;
	struct stat st;

	CHECK(svid_read(ca_root(ca), &svid, &err) < 0);
	CHECK_STR(ca_trust_domain(ca), "acme.example");
	(void)snprintf(path, sizeof(path), "%s/" CA_KEY_FILE, test_dir());
	CHECK_INT(stat(path, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0600);
	ca_free(ca);
}

TEST(a_key_of_another_root_is_noticed)
{
	char path[4096], other[4096];
	struct err err = {{0}};
	struct ca *ca = fresh(test_dir());

	ca_free(ca);
	(void)snprintf(path, sizeof(path), "%s/" CA_CERT_FILE, test_dir());
	(void)snprintf(other, sizeof(other), "%s/old.pem", test_dir());
	CHECK_INT(rename(path, other), 0);
	ca_free(fresh(test_dir()));
	CHECK_INT(rename(other, path), 0);
	CHECK_INT(ca_open(test_dir(), &ca, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "does not belong");
}
