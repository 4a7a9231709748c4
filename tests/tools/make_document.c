/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signed documents for tests, good ones and bad ones: whatever comes on standard input is signed
 * as the type that is asked for, whether it makes sense or not.
 *
 *   make_document TYPE KEY... <json >envelope    TYPE: head, manifest, or a payload type
 */
#include "base/mem.h"
#include "controller-client/dsse.h"
#include "controller-client/key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX (64U << 20)

static const char *type_of(const char *word)
{
	if (strcmp(word, "head") == 0)
		return DSSE_TYPE_HEAD;
	return strcmp(word, "manifest") == 0 ? DSSE_TYPE_MANIFEST : word;
}

static int sign_more(const char *path, const char *type, const void *body, size_t len, char **text,
		     size_t *text_len, struct err *err)
{
	struct dsse_signature signature = {0};
	struct private_key key = {0};
	CLEANUP(buf_done) struct buf pae;
	char *more = NULL;
	int r = private_key_load(path, &key, err);

	buf_init(&pae, INPUT_MAX * 2);
	if (r >= 0 && !*text) {
		r = dsse_sign(type, body, len, &key, text, text_len, err);
	} else if (r >= 0) {
		dsse_pae(&pae, type, body, len);
		(void)snprintf(signature.keyid, sizeof(signature.keyid), "%s", key.public.id);
		r = private_key_sign(&key, pae.data, pae.len, signature.bytes, &signature.len, err);
		if (r >= 0)
			r = dsse_add(*text, *text_len, &signature, &more, text_len, err);
		if (r >= 0) {
			free(*text);
			*text = more;
		}
	}
	private_key_done(&key);
	return r;
}

int main(int argc, char **argv)
{
	CLEANUP(freep) char *body = mem_calloc(INPUT_MAX, 1), *text = NULL;
	struct err err = {{0}};
	size_t len, text_len = 0;

	if (argc < 3 || !body) {
		(void)fputs("usage: make_document TYPE KEY... <json >envelope\n", stderr);
		return 2;
	}
	len = fread(body, 1, INPUT_MAX, stdin);
	for (int i = 2; i < argc; i++) {
		if (sign_more(argv[i], type_of(argv[1]), body, len, &text, &text_len, &err) < 0) {
			(void)fprintf(stderr, "%s: %s\n", argv[i], err.text);
			return 1;
		}
	}
	(void)fwrite(text, 1, text_len, stdout);
	return fflush(stdout) == 0 ? 0 : 1;
}
