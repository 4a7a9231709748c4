/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Heads: one per node, signed with the controller's key when somebody asks for it.
 *
 * sequence = max(last + 1, milliseconds since 1970): strictly rising, also when a head that was
 * handed out was not saved before a kill, or an old copy of the database is put back. A view's
 * sequence is that of the head in which it changed first, and rises with it. What a node reports to
 * know beyond that (the clock went back) raises ours.
 *
 * A head lives 24 hours and is signed again, as it is, from half of that on (spread over a tenth of
 * it, by node), when the node polls.
 */
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/dsse.h"
#include "controller-client/view_decode.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CONTENT_MAX   (4U << 20)
#define AHEAD_MAX_MS  (2LL * 86400 * 1000) /* numbers a report may claim beyond the clock */
#define RESIGN_AFTER  (HEAD_LIFE_S / 2)
#define RESIGN_SPREAD (HEAD_LIFE_S / 10)

struct written {
	struct buf body; /* the view from "placed" on */
	char content[SHA256_HEX_LEN];
};

static int digest(const void *bytes, size_t len, char ret[SHA256_HEX_LEN])
{
	uint8_t sha[SHA256_LEN];

	if (sha256(bytes, len, sha) < 0)
		return -ENOMEM;
	hex_format(sha, sizeof(sha), ret);
	return 0;
}

static const char *name_of(const struct core *c, uint32_t node)
{
	return views_node_at(c->views, node)->name;
}

static int no_view(const struct core *c, uint32_t node, int r, struct err *err)
{
	if (r == -E2BIG)
		return err_set(err, E2BIG,
			       "the view of '%s' has more than %d entries or %u MiB; rules that "
			       "name fewer parties would be right",
			       name_of(c, node), VIEW_ENTRIES_MAX, VIEW_DOCUMENT_MAX >> 20);
	return err_set(err, -r, "view of '%s': %s", name_of(c, node), strerror(-r));
}

static int write_view(struct core *c, uint32_t node, struct written *w, struct err *err)
{
	int r;

	buf_init(&w->body, VIEW_DOCUMENT_MAX);
	r = views_write(c->views, node, &w->body);
	if (r == 0)
		r = digest(w->body.data, w->body.len, w->content);
	return r < 0 ? no_view(c, node, r, err) : 0;
}

/* --- what a head says, but for its number and times --------------------------------------------
 */

static void put_text(struct buf *b, const char *text)
{
	buf_printf(b, "%zu:%s", text ? strlen(text) : 0, text ? text : "");
}

static void put_overlay(struct buf *b, const struct overlay *o)
{
	for (size_t i = 0; i < o->quarantined_count; i++) {
		buf_putc(b, 'q');
		put_text(b, o->quarantined[i].identity);
		put_text(b, o->quarantined[i].keep);
		put_text(b, o->quarantined[i].reason);
	}
	for (size_t i = 0; i < o->revoked_count; i++) {
		buf_printf(b, "r%d %" PRId64 " ", (int)o->revoked[i].kind, o->revoked[i].until.s);
		put_text(b, o->revoked[i].name);
		put_text(b, o->revoked[i].reason);
	}
	for (size_t i = 0; i < o->grant_count; i++) {
		buf_printf(b, "g%" PRId64 " ", o->grants[i].until.s);
		put_text(b, o->grants[i].rule);
		put_text(b, o->grants[i].from);
		put_text(b, o->grants[i].to);
		put_text(b, o->grants[i].who);
	}
}

static int content_of(const struct core *c, const char *view_content, const struct overlay *o,
		      char ret[SHA256_HEX_LEN])
{
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, CONTENT_MAX);
	buf_printf(&b, "%" PRIu64 " %s %s ", c->manifest.revision, c->manifest_sha256,
		   view_content);
	put_overlay(&b, o);
	return b.r < 0 ? b.r : digest(b.data, b.len, ret);
}

/* --- numbers --------------------------------------------------------------------------------- */

static uint64_t next_number(const struct core *c, uint64_t last)
{
	int64_t now = core_now_ms(c);

	return now > 0 && (uint64_t)now > last ? (uint64_t)now : last + 1;
}

static void promise(const struct core *c, struct head_state *h)
{
	if (h->pending)
		return;
	h->pending = true;
	h->next_sequence = next_number(c, h->sequence);
}

static bool due(const struct core *c, uint32_t node, const struct head_state *h)
{
	int64_t spread = (int64_t)(node * 2654435761U % RESIGN_SPREAD);

	return h->issued.s > 0 && core_now(c).s >= h->issued.s + RESIGN_AFTER + spread;
}

/*
 * Whether the node's next head differs from the one it has. Writes the view where it may have
 * changed, and keeps what it wrote for the signature that follows.
 */
static int evaluate(struct core *c, uint32_t node, struct written *w, struct err *err)
{
	struct node_record *n = core_node_at(c, node);
	struct head_state *h = &n->head;
	char content[SHA256_HEX_LEN];
	struct overlay o = {0};
	int r;

	r = write_view(c, node, w, err);
	if (r == 0)
		r = head_overlay(c, node, &o);
	if (r < 0)
		return r;
	r = content_of(c, w->content, &o, content);
	overlay_done(&o);
	if (r < 0)
		return err_set(err, -r, "head of '%s': %s", name_of(c, node), strerror(-r));
	h->unsure = false;
	if (h->renew || !str_eq(content, h->content))
		promise(c, h);
	return 0;
}

static void evaluate_only(struct core *c, uint32_t node)
{
	struct written w = {0};
	struct err err = {{0}};
	struct head_state *h = &core_node_at(c, node)->head;

	if (evaluate(c, node, &w, &err) < 0)
		log_error("controller: %s; the node keeps what it has", err.text);
	if (!h->pending)
		h->next_urgent = false;
	buf_done(&w.body);
}

uint64_t head_sequence(struct core *c, uint32_t node)
{
	struct node_record *n = core_node_at(c, node);

	if (!c->policy || !n)
		return 0;
	if (!n->head.pending && n->head.unsure)
		evaluate_only(c, node);
	if (!n->head.pending && due(c, node, &n->head))
		promise(c, &n->head);
	return n->head.pending ? n->head.next_sequence : n->head.sequence;
}

/* Without looking whether its view has changed: for lists of the whole fleet. */
uint64_t head_sequence_known(const struct core *c, uint32_t node)
{
	const struct node_record *n = node < c->node_count ? c->nodes[node] : NULL;

	if (!c->policy || !n)
		return 0;
	if (n->head.pending)
		return n->head.next_sequence;
	return n->head.envelope ? n->head.sequence : 0; /* a floor is no head */
}

void head_catch_up(struct core *c, uint32_t node, uint64_t head, uint64_t view)
{
	struct head_state *h = &core_node_at(c, node)->head;
	int64_t limit = core_now_ms(c) + AHEAD_MAX_MS;
	uint64_t highest = head > view ? head : view;

	if ((head <= h->sequence && view <= h->view_sequence) || h->pending)
		return;
	/* A node may confuse itself, but not run its numbers out. */
	if (limit < 0 || highest > (uint64_t)limit)
		return;
	log_warn("controller: '%s' knows head %" PRIu64 " and view %" PRIu64 ", which are newer "
		 "than ours; an old copy of the database? It gets new ones",
		 name_of(c, node), head, view);
	h->renew = true;
	h->unsure = true;
	h->sequence = highest > h->sequence ? highest : h->sequence;
	promise(c, h);
}

/* --- signing --------------------------------------------------------------------------------- */

struct drafted {
	struct head head;
	char content[SHA256_HEX_LEN];
	char view_content[SHA256_HEX_LEN];
	char *view; /* bytes, when they were written */
	size_t view_len;
};

static void drafted_done(struct drafted *d)
{
	head_done(&d->head);
	free(d->view);
}

/* The view with its number in front; a number of its own only when it has changed. */
static int draft_view(const struct core *c, uint32_t node, const struct head_state *h,
		      const struct written *w, struct drafted *d)
{
	bool same = !h->renew && str_eq(w->content, h->view_content);
	struct buf b;

	d->head.view_sequence = same ? h->view_sequence : d->head.sequence;
	memcpy(d->view_content, w->content, sizeof(d->view_content));
	buf_init(&b, VIEW_DOCUMENT_MAX);
	views_write_front(&b, name_of(c, node), d->head.view_sequence);
	buf_add(&b, w->body.data, w->body.len);
	if (b.r < 0) {
		buf_done(&b);
		return b.r;
	}
	d->view_len = b.len;
	d->view = buf_take(&b);
	d->head.view_size = d->view_len;
	return digest(d->view, d->view_len, d->head.view_sha256);
}

static int draft(struct core *c, uint32_t node, const struct written *w, struct drafted *d)
{
	const struct head_state *h = &core_node_at(c, node)->head;
	int r;

	d->head.trust_domain = mem_strdup(c->trust_domain);
	d->head.node = mem_strdup(name_of(c, node));
	if (!d->head.trust_domain || !d->head.node)
		return -ENOMEM;
	d->head.sequence = h->pending ? h->next_sequence : next_number(c, h->sequence);
	d->head.issued = core_now(c);
	d->head.expires.s = d->head.issued.s + HEAD_LIFE_S;
	d->head.urgent = h->next_urgent;
	d->head.stable.revision = c->manifest.revision;
	memcpy(d->head.stable.sha256, c->manifest_sha256, sizeof(d->head.stable.sha256));
	r = draft_view(c, node, h, w, d);
	if (r == 0)
		r = head_overlay(c, node, &d->head.overlay);
	return r < 0 ? r : content_of(c, w->content, &d->head.overlay, d->content);
}

static void take_signed(struct core *c, uint32_t node, struct drafted *d, char *envelope,
			size_t len)
{
	struct head_state *h = &core_node_at(c, node)->head;

	h->sequence = d->head.sequence;
	h->issued = d->head.issued;
	h->expires = d->head.expires;
	h->urgent = d->head.urgent;
	memcpy(h->content, d->content, sizeof(h->content));
	h->view_sequence = d->head.view_sequence;
	h->view_size = d->head.view_size;
	memcpy(h->view_content, d->view_content, sizeof(h->view_content));
	memcpy(h->view_sha256, d->head.view_sha256, sizeof(h->view_sha256));
	free(h->envelope);
	h->envelope = envelope;
	h->envelope_len = len;
	h->pending = h->unsure = h->renew = h->next_urgent = false;
	if (!h->unsaved)
		c->unsaved++;
	h->unsaved = true;
	heads_cache_put(c->cache, node, h->view_sha256, TAKE_PTR(d->view), d->view_len);
}

static int sign(struct core *c, uint32_t node, const struct written *w, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	CLEANUP(drafted_done) struct drafted d = {0};
	char *envelope = NULL;
	size_t len, envelope_len = 0;
	int r;

	r = draft(c, node, w, &d);
	if (r < 0)
		return err_set(err, -r, "head of '%s': %s", name_of(c, node), strerror(-r));
	r = head_encode(&d.head, &text, &len, err);
	if (r == 0)
		r = dsse_sign(DSSE_TYPE_HEAD, text, len, &c->key, &envelope, &envelope_len, err);
	if (r < 0)
		return err_prefix(err, r, "head of '%s'", name_of(c, node));
	take_signed(c, node, &d, envelope, envelope_len);
	return 0;
}

int head_make_current(struct core *c, uint32_t node, struct err *err)
{
	struct node_record *n = core_node_at(c, node);
	struct written w = {0};
	struct err unsaved = {{0}};
	int r;

	if (!n)
		return err_set(err, ENOMEM, "out of memory");
	if (!c->policy)
		return err_set(err, ENOENT, "no policy is published yet");
	if (n->head.envelope && !n->head.pending && !n->head.unsure && !due(c, node, &n->head))
		return 0;
	r = evaluate(c, node, &w, err);
	if (r == 0 && (!n->head.envelope || n->head.pending || due(c, node, &n->head)))
		r = sign(c, node, &w, err);
	buf_done(&w.body);
	/* A node keeps its good head while the next cannot be made. */
	if (r < 0 && n->head.envelope) {
		log_error("controller: %s; the node keeps head %" PRIu64, err ? err->text : "",
			  n->head.sequence);
		r = 0;
	}
	if (r == 0 && c->unsaved >= HEADS_UNSAVED_MAX && !c->save_failed)
		c->save_failed = heads_save(c, &unsaved) < 0;
	return r;
}

int head_view(struct core *c, uint32_t node, const char *sha256, char **ret, size_t *ret_len,
	      struct err *err)
{
	const struct head_state *h = &core_node_at(c, node)->head;
	struct written w = {0};
	struct drafted d = {0};
	const char *cached;
	int r;

	cached = heads_cache_get(c->cache, node, sha256, ret_len);
	if (cached) {
		*ret = mem_strndup(cached, *ret_len);
		return *ret ? 0 : err_set(err, ENOMEM, "out of memory");
	}
	if (!c->policy || !str_eq(h->view_sha256, sha256))
		return err_set(err, ENOENT, "no such blob for this node");
	r = write_view(c, node, &w, err);
	d.head.sequence = h->view_sequence;
	if (r == 0)
		r = draft_view(c, node, h, &w, &d);
	buf_done(&w.body);
	/* Changed since: the next head says to what. */
	if (r == 0 && !str_eq(d.head.view_sha256, sha256))
		r = -ENOENT;
	if (r == 0) {
		*ret = TAKE_PTR(d.view);
		*ret_len = d.view_len;
	}
	drafted_done(&d);
	return r < 0 ? err_set(err, -r, "no such blob for this node") : 0;
}

/* --- changes --------------------------------------------------------------------------------- */

static void wake(struct core *c, uint32_t node)
{
	if (c->config.wake)
		c->config.wake(c->config.user, name_of(c, node));
}

size_t heads_changed(struct core *c, bool urgent)
{
	size_t count, changed = 0;
	const uint32_t *touched = views_touched(c->views, &count);

	for (size_t i = 0; i < count; i++) {
		struct node_record *n = core_node_at(c, touched[i]);

		if (!n) {
			c->lost = true;
			continue;
		}
		n->head.unsure = true;
		n->head.next_urgent |= urgent || count <= URGENT_NODES_MAX;
		if (!c->policy)
			continue;
		if (count <= HEADS_EVALUATE_MAX && n->head.view_size <= HEADS_EVALUATE_BYTES)
			evaluate_only(c, touched[i]);
		else
			promise(c, &n->head);
		if (n->head.pending) {
			changed++;
			wake(c, touched[i]);
		}
	}
	views_untouch(c->views);
	return changed;
}

void heads_all_changed(struct core *c)
{
	uint32_t count = views_node_count(c->views);

	views_untouch(c->views);
	for (uint32_t i = 0; i < count; i++) {
		struct node_record *n = core_node_at(c, i);

		if (!n) {
			c->lost = true;
			continue;
		}
		n->head.unsure = true;
		n->head.next_urgent |= count <= URGENT_NODES_MAX;
		promise(c, &n->head);
		wake(c, i);
	}
}

/* --- the store ------------------------------------------------------------------------------- */

static int save_one(struct core *c, uint32_t node, struct err *err)
{
	const struct head_state *h = &c->nodes[node]->head;
	int r = store_order(c->store, STORE_HEAD_PUT, err, store_text(name_of(c, node)),
			    store_int((int64_t)h->sequence), store_int(h->issued.s),
			    store_int(h->expires.s), store_int(h->urgent), store_text(h->content),
			    store_int((int64_t)h->view_sequence), store_text(h->view_content),
			    store_text(h->view_sha256), store_int((int64_t)h->view_size),
			    store_blob(h->envelope, h->envelope_len));

	/* Not made yet: whoever opens the store next has to look. */
	if (r >= 0 && (h->pending || h->unsure))
		r = store_order(c->store, STORE_HEAD_STALE, err, store_text(name_of(c, node)));
	return r;
}

int heads_save(struct core *c, struct err *err)
{
	int r;

	if (c->unsaved == 0)
		return 0;
	r = store_begin(c->store, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < c->node_count && r >= 0; i++)
		if (c->nodes[i] && c->nodes[i]->head.unsaved)
			r = save_one(c, (uint32_t)i, err);
	r = core_write_end(c, r, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < c->node_count; i++)
		if (c->nodes[i])
			c->nodes[i]->head.unsaved = false;
	c->unsaved = 0;
	return 0;
}

int heads_save_all(struct core *c, struct err *err)
{
	for (size_t i = 0; i < c->node_count; i++) {
		struct head_state *h = c->nodes[i] ? &c->nodes[i]->head : NULL;

		if (h && h->envelope && !h->unsaved && (h->pending || h->unsure)) {
			h->unsaved = true;
			c->unsaved++;
		}
	}
	return heads_save(c, err);
}
