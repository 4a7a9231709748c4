/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/tls.h"

#include "base/file.h"
#include "base/mem.h"
#include "controller-client/svid.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/x509.h>
#include <openssl/crypto.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define PEER_CERT_MAX (16U << 10)

struct pair {
	struct pair *older; /* a handshake may still read it; there is one a month */
	gnutls_pcert_st certs[TLS_CHAIN_MAX];
	unsigned count;
	gnutls_privkey_t key;
};
static struct pair *current;

static void pair_free(struct pair *p)
{
	if (p == NULL)
		return;
	for (unsigned i = 0; i < p->count; i++)
		gnutls_pcert_deinit(&p->certs[i]);
	if (p->key != NULL)
		gnutls_privkey_deinit(p->key);
	free(p);
}

static void pair_freep(struct pair **p)
{
	pair_free(*p);
	*p = NULL;
}

static int failed(struct err *err, const char *path, int code)
{
	return err_set(err, code == GNUTLS_E_MEMORY_ERROR ? ENOMEM : EBADMSG, "%s: %s", path,
		       gnutls_strerror(code));
}

static int read_certs(struct pair *p, const char *path, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	gnutls_datum_t pem;
	size_t len;
	int r = file_read(AT_FDCWD, path, TLS_FILE_MAX, &text, &len, err);

	if (r < 0)
		return r;
	pem = (gnutls_datum_t){.data = (unsigned char *)text, .size = (unsigned)len};
	p->count = TLS_CHAIN_MAX;
	r = gnutls_pcert_list_import_x509_raw(p->certs, &p->count, &pem, GNUTLS_X509_FMT_PEM, 0);
	if (r >= 0)
		return 0;
	p->count = 0;
	return failed(err, path, r);
}

static int read_key(struct pair *p, const char *path, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	gnutls_datum_t pem;
	size_t len;
	int r = file_read(AT_FDCWD, path, TLS_FILE_MAX, &text, &len, err);

	if (r < 0)
		return r;
	pem = (gnutls_datum_t){.data = (unsigned char *)text, .size = (unsigned)len};
	r = gnutls_privkey_init(&p->key);
	if (r >= 0)
		r = gnutls_privkey_import_x509_raw(p->key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
	OPENSSL_cleanse(text, len);
	return r < 0 ? failed(err, path, r) : 0;
}

/* A key of another certificate would only show as handshakes that fail. */
static int check_belongs(const struct pair *p, const char *cert, const char *key, struct err *err)
{
	unsigned char of_cert[GNUTLS_OPENPGP_V4_FINGERPRINT_SIZE + 64], of_key[sizeof(of_cert)];
	size_t cert_len = sizeof(of_cert), key_len = sizeof(of_key);
	gnutls_pubkey_t public;
	int r = gnutls_pubkey_init(&public);

	if (r < 0)
		return failed(err, key, r);
	r = gnutls_pubkey_import_privkey(public, p->key, 0, 0);
	if (r >= 0)
		r = gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, of_key, &key_len);
	if (r >= 0)
		r = gnutls_pubkey_get_key_id(p->certs[0].pubkey, GNUTLS_KEYID_USE_SHA256, of_cert,
					     &cert_len);
	gnutls_pubkey_deinit(public);
	if (r < 0)
		return failed(err, key, r);
	if (cert_len != key_len || memcmp(of_cert, of_key, key_len) != 0)
		return err_set(err, EBADMSG, "%s is not the key of %s", key, cert);
	return 0;
}

int tls_load(const char *cert, const char *key, struct err *err)
{
	CLEANUP(pair_freep) struct pair *p = mem_calloc(1, sizeof(*p));
	int r;

	if (p == NULL)
		return err_set(err, ENOMEM, "out of memory");
	r = read_certs(p, cert, err);
	if (r >= 0)
		r = read_key(p, key, err);
	if (r >= 0)
		r = check_belongs(p, cert, key, err);
	if (r < 0)
		return r;
	p->older = current;
	current = TAKE_PTR(p);
	return 0;
}

void tls_unload(void)
{
	while (current != NULL) {
		struct pair *older = current->older;

		pair_free(current);
		current = older;
	}
}

int tls_retrieve(gnutls_session_t session, const gnutls_datum_t *requested, int requested_count,
		 const gnutls_pk_algorithm_t *algorithms, int algorithm_count,
		 gnutls_pcert_st **ret_certs, unsigned int *ret_count, gnutls_privkey_t *ret_key)
{
	(void)session;
	(void)requested;
	(void)requested_count;
	(void)algorithms;
	(void)algorithm_count;
	if (current == NULL)
		return -1;
	*ret_certs = current->certs;
	*ret_count = current->count;
	*ret_key = current->key;
	return 0;
}

static X509 *cert_of(const gnutls_datum_t *der)
{
	const unsigned char *p = der->data;
	X509 *cert;

	if (der->size > PEER_CERT_MAX)
		return NULL;
	cert = d2i_X509(NULL, &p, der->size);
	if (cert != NULL && p != der->data + der->size) {
		X509_free(cert);
		return NULL;
	}
	return cert;
}

int tls_peer(gnutls_session_t session, X509 **ret_leaf, struct stack_st_X509 **ret_rest,
	     struct err *err)
{
	unsigned count = 0;
	const gnutls_datum_t *list = gnutls_certificate_get_peers(session, &count);
	STACK_OF(X509) * rest;
	X509 *leaf;

	if (list == NULL || count == 0)
		return err_set(err, ENOENT, "no client certificate was presented");
	if (count > SVID_CHAIN_MAX + 1)
		return err_set(err, EBADMSG,
			       "%u certificates were presented; at most %d would be "
			       "right",
			       count, SVID_CHAIN_MAX + 1);
	leaf = cert_of(&list[0]);
	rest = sk_X509_new_null();
	for (unsigned i = 1; leaf != NULL && rest != NULL && i < count; i++) {
		X509 *cert = cert_of(&list[i]);

		if (cert == NULL || sk_X509_push(rest, cert) <= 0) {
			X509_free(cert);
			X509_free(leaf);
			leaf = NULL;
		}
	}
	if (leaf == NULL || rest == NULL) {
		svid_chain_free(rest);
		X509_free(leaf);
		return err_set(err, EBADMSG, "the client certificate cannot be read");
	}
	*ret_leaf = leaf;
	*ret_rest = rest;
	return 0;
}
