/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/pem.h"

#include "base/base64.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEGIN      "-----BEGIN "
#define DASHES     "-----"
#define LABEL_MAX  64
#define MARK_MAX   (LABEL_MAX + 20)
#define PEM_COLUMN 64
#define PEM_MAX    (1U << 20)

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* What kind of block the text begins with, for the error. */
static int wrong_block(const char *pem, size_t len, const char *label, const char *what,
		       struct err *err)
{
	char found[LABEL_MAX] = "", quoted[LOG_QUOTE_MAX];
	size_t from = strlen(BEGIN), n = 0;

	if (len < from || memcmp(pem, BEGIN, from) != 0)
		return err_set(err, EBADMSG, "%s: not PEM; a block '%s%s%s' would be right", what,
			       BEGIN, label, DASHES);
	while (from + n < len && n + 1 < sizeof(found) && pem[from + n] != '-' &&
	       !strchr("\r\n", pem[from + n]))
		n++;
	memcpy(found, pem + from, n);
	return err_set(err, EBADMSG, "%s: holds '%s'; exactly one block '%s' would be right", what,
		       log_quote(quoted, found), label);
}

int pem_decode(const char *pem, size_t len, const char *label, const char *what, uint8_t **ret,
	       size_t *ret_len, struct err *err)
{
	char begin[MARK_MAX], end[MARK_MAX];
	size_t begin_len, end_len;
	int r;

	(void)snprintf(begin, sizeof(begin), BEGIN "%s" DASHES, label);
	(void)snprintf(end, sizeof(end), "-----END %s" DASHES, label);
	begin_len = strlen(begin);
	end_len = strlen(end);
	for (; len > 0 && is_space(pem[0]); pem++)
		len--;
	while (len > 0 && is_space(pem[len - 1]))
		len--;
	if (len < begin_len + end_len || memcmp(pem, begin, begin_len) != 0 ||
	    memcmp(pem + len - end_len, end, end_len) != 0)
		return wrong_block(pem, len, label, what, err);
	pem += begin_len;
	len -= begin_len + end_len;
	/* Another block's dashes would read as digits of the URL-safe alphabet. */
	if (memchr(pem, '-', len) != NULL || memchr(pem, '_', len) != NULL)
		return err_set(err, EBADMSG, "%s: more than one block; exactly one would be right",
			       what);
	r = base64_decode_wrapped(pem, len, PEM_MAX, ret, ret_len);
	if (r == -ENOMEM)
		return err_set(err, ENOMEM, "%s: out of memory", what);
	return r < 0 ? err_set(err, EBADMSG, "%s: the PEM block is not base64", what) : 0;
}

char *pem_encode(const char *label, const uint8_t *der, size_t len)
{
	CLEANUP(buf_done) struct buf b;
	char *base64 = base64_encode(der, len), *text;
	size_t base64_len;

	buf_init(&b, PEM_MAX);
	if (base64 == NULL)
		return NULL;
	base64_len = strlen(base64);
	buf_printf(&b, BEGIN "%s" DASHES "\n", label);
	for (size_t i = 0; i < base64_len; i += PEM_COLUMN) {
		size_t left = base64_len - i;

		buf_add(&b, base64 + i, left < PEM_COLUMN ? left : PEM_COLUMN);
		buf_putc(&b, '\n');
	}
	buf_printf(&b, "-----END %s" DASHES "\n", label);
	/* It may be a private key. */
	OPENSSL_cleanse(base64, base64_len);
	free(base64);
	text = buf_take(&b);
	return text;
}
