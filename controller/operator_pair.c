/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/operator_pair.h"

#include "base/base64.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/csr.h"
#include "controller-client/key.h"
#include "controller/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int out_of_memory(struct err *err)
{
	return err_set(err, ENOMEM, "out of memory");
}

static int free_of(const char *dir, const char *const *names, struct err *err)
{
	for (; *names != NULL; names++) {
		CLEANUP(freep) char *path = mem_printf("%s/%s", dir, *names);

		if (path == NULL)
			return out_of_memory(err);
		if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			return err_set(err, EEXIST,
				       "%s is there already; another directory (--to) would be "
				       "right",
				       path);
	}
	return 0;
}

static int put(const char *dir, const char *name, const char *text, mode_t mode, struct err *err)
{
	CLEANUP(freep) char *path = mem_printf("%s/%s", dir, name);

	if (path == NULL || text == NULL)
		return out_of_memory(err);
	return file_write_durable(AT_FDCWD, path, text, strlen(text), mode, err);
}

/* ---- a key of one's own ---- */

int operator_pair_make(const char *dir, const char *name, char **ret_request, struct err *err)
{
	static const char *const files[] = {SETUP_OPERATOR_KEY, SETUP_OPERATOR_CERT,
					    OPERATOR_PAIR_REQUEST, CA_CERT_FILE, NULL};
	CLEANUP(private_key_done) struct private_key key = {0};
	CLEANUP(freep) uint8_t *der = NULL;
	CLEANUP(freep) char *request = NULL;
	char *text;
	size_t len;
	int r = free_of(dir, files, err);

	if (r >= 0)
		r = dir_make(dir, 0700, err);
	if (r >= 0)
		r = private_key_generate(KEY_P256, &key, err);
	if (r >= 0)
		r = csr_make(&key, name, &der, &len, err);
	if (r < 0)
		return r;
	request = base64_encode(der, len);
	text = request == NULL ? NULL : private_key_pem(&key);
	r = put(dir, SETUP_OPERATOR_KEY, text, 0600, err);
	if (text != NULL)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
	if (r >= 0)
		*ret_request = TAKE_PTR(request);
	return r;
}

int operator_pair_write_request(const char *dir, const char *request, struct err *err)
{
	CLEANUP(freep) uint8_t *der = NULL;
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;
	size_t len;
	int r = base64_decode(request, strlen(request), CSR_MAX, &der, &len);

	if (r < 0 || bio == NULL ||
	    PEM_write_bio(bio, PEM_STRING_X509_REQ, "", der, (long)len) <= 0 ||
	    BIO_write(bio, "", 1) != 1)
		r = out_of_memory(err);
	else if (BIO_get_mem_data(bio, &text) > 0)
		r = put(dir, OPERATOR_PAIR_REQUEST, text, 0644, err);
	BIO_free(bio);
	return r;
}

void operator_pair_undo(const char *dir)
{
	CLEANUP(freep) char *path = mem_printf("%s/" SETUP_OPERATOR_KEY, dir);

	if (path == NULL)
		return;
	(void)unlink(path);
	(void)rmdir(dir); /* where nothing else is in it */
}

/* ---- a request from elsewhere ---- */

/* What is no PEM is left as it came: it may be DER. */
static int from_pem(const char *text, size_t len, uint8_t **ret, size_t *ret_len)
{
	BIO *bio = BIO_new_mem_buf(text, (int)len);
	unsigned char *der = NULL;
	char *name = NULL, *header = NULL;
	long der_len = 0;
	int r = -EBADMSG;

	if (bio != NULL && PEM_read_bio(bio, &name, &header, &der, &der_len) == 1 &&
	    (str_eq(name, PEM_STRING_X509_REQ) || str_eq(name, PEM_STRING_X509_REQ_OLD))) {
		*ret = mem_calloc(1, (size_t)der_len + 1);
		*ret_len = (size_t)der_len;
		r = *ret == NULL ? -ENOMEM : 0;
		if (r == 0)
			memcpy(*ret, der, (size_t)der_len);
	}
	OPENSSL_free(name);
	OPENSSL_free(header);
	OPENSSL_free(der);
	BIO_free(bio);
	ERR_clear_error();
	return r;
}

int operator_pair_read_request(const char *path, char **ret_request, struct err *err)
{
	CLEANUP(public_key_done) struct public_key key = {0};
	CLEANUP(freep) uint8_t *der = NULL;
	CLEANUP(freep) char *text = NULL;
	size_t len, der_len;
	int r = file_read(AT_FDCWD, path, 2 * CSR_MAX, &text, &len, err);

	if (r < 0)
		return r;
	r = from_pem(text, len, &der, &der_len);
	if (r == -ENOMEM)
		return out_of_memory(err);
	r = r < 0 ? csr_check((const uint8_t *)text, len, &key, err)
		  : csr_check(der, der_len, &key, err);
	if (r < 0)
		return err_prefix(err, r, "%s", path);
	*ret_request = der != NULL ? base64_encode(der, der_len) : base64_encode(text, len);
	return *ret_request == NULL ? out_of_memory(err) : 0;
}

int operator_pair_room(const char *dir, struct err *err)
{
	static const char *const files[] = {SETUP_OPERATOR_CERT, CA_CERT_FILE, NULL};

	return free_of(dir, files, err);
}

int operator_pair_put(const char *dir, const char *cert, const char *ca, struct err *err)
{
	int r = dir_make(dir, 0700, err);

	if (r >= 0)
		r = put(dir, CA_CERT_FILE, ca, 0644, err);
	return r < 0 ? r : put(dir, SETUP_OPERATOR_CERT, cert, 0644, err);
}
