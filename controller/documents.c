/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What nodes fetch: heads, manifests, blobs. */
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/static_path.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int core_head(struct core *c, const char *node, const char **ret, size_t *ret_len,
	      uint64_t *ret_sequence, struct err *err)
{
	struct node_record *n;
	uint32_t at;
	int r;

	r = core_ready(c, err);
	if (r == 0)
		r = check_node_name(node, err);
	if (r < 0)
		return r;
	if (!c->policy)
		return err_set(err, ENOENT, "no policy is published yet");
	n = core_node(c, node, &at);
	if (!n)
		return err_set(err, ENOMEM, "out of memory, or too many nodes");
	r = core_node_admitted(n, node, err);
	if (r == 0)
		r = head_make_current(c, at, err);
	if (r < 0)
		return r;
	*ret = n->head.envelope;
	*ret_len = n->head.envelope_len;
	*ret_sequence = n->head.sequence;
	return 0;
}

uint64_t core_head_sequence(struct core *c, const char *node)
{
	uint32_t at = c->lost ? VIEWS_NONE : views_find_node(c->views, node);

	return at != VIEWS_NONE ? head_sequence(c, at) : 0;
}

bool core_head_urgent(const struct core *c, const char *node)
{
	uint32_t at = c->lost ? VIEWS_NONE : views_find_node(c->views, node);
	const struct node_record *n = at < c->node_count ? c->nodes[at] : NULL;

	return n && n->head.pending && n->head.next_urgent;
}

struct taken {
	char *bytes;
	size_t len;
};

static int take_bytes(void *user, const struct store_row *row)
{
	struct taken *t = user;
	const char *bytes = store_row_bytes(row, 0, &t->len);

	free(t->bytes);
	t->bytes = mem_calloc(t->len + 1, 1);
	if (!t->bytes)
		return -ENOMEM;
	memcpy(t->bytes, bytes, t->len);
	return 0;
}

static int hand_over(struct taken *t, int r, char **ret, size_t *ret_len)
{
	if (r <= 0) {
		free(t->bytes);
		return r;
	}
	*ret = t->bytes;
	*ret_len = t->len;
	return 0;
}

int core_manifest(struct core *c, uint64_t revision, char **ret, size_t *ret_len, struct err *err)
{
	struct taken t = {0};
	int r;

	r = core_ready(c, err);
	if (r < 0)
		return r;
	if (revision == 0 || revision > INT64_MAX)
		return err_set(err, ENOENT, "no such manifest");
	r = store_ask(c->store, STORE_MANIFEST_GET, take_bytes, &t, err,
		      store_int((int64_t)revision));
	if (r == 0)
		r = err_set(err, ENOENT, "no manifest of revision %" PRIu64, revision);
	return hand_over(&t, r, ret, ret_len);
}

static int has_row(void *user, const struct store_row *row)
{
	(void)row;
	*(bool *)user = true;
	return 0;
}

int core_blob(struct core *c, const char *node, const char *sha256, char **ret, size_t *ret_len,
	      struct err *err)
{
	bool published = false;
	struct taken t = {0};
	uint32_t at;
	int r;

	r = core_ready(c, err);
	if (r < 0)
		return r;
	if (!sha256_hex_ok(sha256))
		return err_set(err, EINVAL,
			       "not a digest; 64 lower-case hexadecimal digits would be right");
	r = store_ask(c->store, STORE_BLOB_PUBLISHED, has_row, &published, err, store_text(sha256));
	if (r < 0)
		return r;
	if (published) {
		r = store_ask(c->store, STORE_BLOB_GET, take_bytes, &t, err, store_text(sha256));
		if (r == 0)
			r = err_set(err, ENOENT, "no such blob");
		return hand_over(&t, r, ret, ret_len);
	}
	at = node ? views_find_node(c->views, node) : VIEWS_NONE;
	if (at == VIEWS_NONE || !core_node_at(c, at))
		return err_set(err, ENOENT, "no such blob for this node");
	return head_view(c, at, sha256, ret, ret_len, err);
}
