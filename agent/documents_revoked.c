/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Nodes that the newest accepted manifest revokes. Our controller leaves them out of every view;
 * one that does not - it was broken into, or its views are older than the manifest - does not bring
 * them back: policy keys say so, not the controller's. It holds from the moment the manifest is
 * loaded, and a fall-back of its policy does not end it.
 */
#include "agent/documents_parts.h"

#include "agent/attest.h"
#include "agent/loading.h"
#include "agent/peers.h"
#include "agent/store.h"
#include "base/log.h"
#include "base/mem.h"
#include "controller-client/view_decode.h"

#include <errno.h>

static bool is_revoked(void *user, const char *node)
{
	json_t *count = json_object_get(user, node);

	if (!count)
		return false;
	(void)json_integer_set(count, json_integer_value(count) + 1);
	return true;
}

static size_t strip(struct documents *d, struct view *v)
{
	size_t n = d->revoked ? view_remove_nodes(v, is_revoked, d->revoked) : 0;

	if (n)
		log_warn("view sequence %llu: %zu entries at revoked nodes are left out",
			 (unsigned long long)v->sequence, n);
	return n;
}

void revoked_strip(struct documents *d, struct view *v)
{
	const char *node;
	json_t *count;

	json_object_foreach(d->revoked, node, count)
		(void)json_integer_set(count, 0);
	(void)strip(d, v);
}

static json_t *nodes_json(const struct manifest *m, const json_t *before)
{
	json_t *nodes = json_object();

	for (size_t i = 0; i < m->revoked_node_count; i++) {
		const json_t *was = json_object_get(before, m->revoked_nodes[i]);

		if (json_object_set_new(nodes, m->revoked_nodes[i],
					json_integer(json_integer_value(was))) == 0)
			continue;
		json_decref(nodes);
		return NULL;
	}
	return nodes;
}

/* Something was left out that is not to be left out any more. */
static bool comes_back(const struct documents *d, const json_t *nodes)
{
	const char *node;
	json_t *count;

	json_object_foreach(d->revoked, node, count) {
		if (json_integer_value(count) && !json_object_get(nodes, node))
			return true;
	}
	return false;
}

/* The view as it came, which is what was kept. */
static int view_again(struct documents *d, struct err *err)
{
	struct agent *a = d->agent;
	CLEANUP(view_freep) struct view *v = NULL;
	CLEANUP(freep) char *text = NULL;
	size_t len = 0;
	int r = store_view_read(a->store, &text, &len, err);

	if (r >= 0)
		r = view_decode(text, len, a->config.node, a->view->sequence, &v, err);
	if (r < 0)
		return r;
	revoked_strip(d, v);
	return loading_view_use(a, TAKE_PTR(v), text, len, err);
}

int revoked_take(struct documents *d, const char *manifest, struct err *err)
{
	struct manifest m = {0};
	json_t *nodes;
	bool back, gone;
	int r = document_store_manifest(d->agent->document_store, manifest, &m, err);

	if (r < 0)
		return r;
	nodes = nodes_json(&m, d->revoked);
	manifest_done(&m);
	if (!nodes)
		return err_set(err, ENOMEM, "out of memory");
	back = comes_back(d, nodes);
	json_decref(d->revoked);
	d->revoked = nodes;
	if (back && view_again(d, err) < 0)
		log_warn("what a revoked node had comes back with the next view: %s", err->text);
	gone = strip(d, d->agent->view) > 0;
	if (back || gone) {
		attest_view_changed(d->agent->attest);
		if (d->agent->peers)
			peers_view_changed(d->agent->peers);
		agent_touch(d->agent, DIRTY_POLICY);
		if (d->agent->peers)
			peers_view_changed(d->agent->peers);
		documents_report(d);
	}
	return 0;
}

/*
 * Of what is in force, or of what the head names, whose policy may have fallen back. One that was
 * never begun has no record, and an older one took nothing back.
 */
void revoked_load(struct documents *d)
{
	const struct agent *a = d->agent;
	const struct edition *e =
		a->candidate.policy && a->candidate.of_manifest ? &a->candidate : &a->confirmed;
	const struct generation_record *named =
		d->in.has_head ? generation_record_find(&d->records, d->in.head.stable.sha256)
			       : NULL;
	struct err err = {{0}};

	if (named && (!e->of_manifest || named->revision >= e->revision) &&
	    revoked_take(d, named->digest, &err) >= 0)
		return;
	if (e->of_manifest && revoked_take(d, e->digest, &err) < 0)
		log_warn("revoked nodes are not known: %s", err.text);
}
