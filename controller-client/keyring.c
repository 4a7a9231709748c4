/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/buf.h"
#include "base/mem.h"
#include "controller-client/key.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void keyring_done(struct keyring *r)
{
	for (size_t i = 0; i < r->count; i++)
		public_key_done(&r->keys[i]);
	*r = (struct keyring){0};
}

int keyring_add(struct keyring *r, struct public_key *take, struct err *err)
{
	struct public_key key = *take;

	*take = (struct public_key){0};
	for (size_t i = 0; i < r->count; i++) {
		if (strcmp(r->keys[i].id, key.id) != 0)
			continue;
		err_set(err, EEXIST, "key %s is there already; each key once would be right",
			key.id);
		public_key_done(&key);
		return -EEXIST;
	}
	if (r->count >= KEYRING_MAX) {
		public_key_done(&key);
		return err_set(err, E2BIG, "more than %d keys for one role", KEYRING_MAX);
	}
	r->keys[r->count++] = key;
	return 0;
}

static int id_cmp(const void *a, const void *b)
{
	return memcmp(a, b, SHA256_HEX_LEN);
}

int keyring_digest(const struct keyring *r, char ret[SHA256_HEX_LEN])
{
	char ids[KEYRING_MAX][SHA256_HEX_LEN];
	uint8_t digest[SHA256_LEN];
	int result;

	for (size_t i = 0; i < r->count; i++)
		memcpy(ids[i], r->keys[i].id, SHA256_HEX_LEN);
	qsort(ids, r->count, SHA256_HEX_LEN, id_cmp);
	result = sha256(ids, r->count * SHA256_HEX_LEN, digest);
	if (result < 0)
		return result;
	hex_format(digest, sizeof(digest), ret);
	return 0;
}
