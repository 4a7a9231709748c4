/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/json.h"
#include "base/mem.h"
#include "controller-client/document.h"
#include "controller-client/head.h"

#include <errno.h>
#include <stdlib.h>

#define WHAT "head"

static json_t *pointer_json(const struct head_pointer *p, bool candidate)
{
	json_t *object = json_object();
	int r = 0;

	document_set(object, "revision", json_integer((json_int_t)p->revision), &r);
	document_set(object, "sha256", json_host_string(p->sha256), &r);
	if (candidate)
		document_set(object, "rollout", json_object(), &r);
	if (r == 0)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *view_json(const struct head *h)
{
	json_t *object = json_object();
	int r = 0;

	document_set(object, "sha256", json_host_string(h->view_sha256), &r);
	document_set(object, "size", json_integer((json_int_t)h->view_size), &r);
	document_set(object, "sequence", json_integer((json_int_t)h->view_sequence), &r);
	if (r == 0)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *text_json(const char *text)
{
	return json_host_string(text != NULL ? text : "");
}

/* ---- lists ---- */

static void quarantine_set(json_t *entry, const struct overlay *o, size_t i, int *r)
{
	const struct overlay_quarantine *q = &o->quarantined[i];

	document_set(entry, "identity", text_json(q->identity), r);
	if (q->keep != NULL)
		document_set(entry, "keep", text_json(q->keep), r);
	document_set(entry, "reason", text_json(q->reason), r);
}

static void revoked_set(json_t *entry, const struct overlay *o, size_t i, int *r)
{
	static const char *const keys[] = {
		[REVOKED_RULE] = "rule",
		[REVOKED_IDENTITY] = "identity",
		[REVOKED_LABEL] = "label",
	};
	const struct overlay_revoked *v = &o->revoked[i];

	if (v->kind == REVOKED_CONDUIT) {
		*r = -EINVAL;
		return;
	}
	document_set(entry, keys[v->kind], text_json(v->name), r);
	document_set(entry, "reason", text_json(v->reason), r);
	document_set(entry, "until", v->until.s > 0 ? document_time(v->until) : json_null(), r);
}

static void grant_set(json_t *entry, const struct overlay *o, size_t i, int *r)
{
	const struct overlay_grant *g = &o->grants[i];

	document_set(entry, "rule", text_json(g->rule), r);
	document_set(entry, "from", text_json(g->from), r);
	document_set(entry, "to", text_json(g->to), r);
	document_set(entry, "until", document_time(g->until), r);
	document_set(entry, "approver", text_json(g->who), r);
}

static json_t *list_json(const struct overlay *o, size_t count,
			 void (*set)(json_t *entry, const struct overlay *o, size_t i, int *r),
			 int *ret_r)
{
	json_t *list = json_array();
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++) {
		json_t *entry = json_object();

		set(entry, o, i, &r);
		if (json_array_append_new(list, entry) < 0)
			r = -ENOMEM;
	}
	if (r == 0)
		return list;
	*ret_r = r;
	json_decref(list);
	return NULL;
}

/* ---- the document ---- */

static int fill(json_t *root, const struct head *h)
{
	const struct overlay *o = &h->overlay;
	int r = 0, lists = 0;

	document_set(root, "version", json_integer(1), &r);
	document_set(root, "trust_domain", text_json(h->trust_domain), &r);
	document_set(root, "node", text_json(h->node), &r);
	document_set(root, "sequence", json_integer((json_int_t)h->sequence), &r);
	document_set(root, "issued", document_time(h->issued), &r);
	document_set(root, "expires", document_time(h->expires), &r);
	document_set(root, "urgent", json_boolean(h->urgent), &r);
	document_set(root, "stable", pointer_json(&h->stable, false), &r);
	document_set(root, "candidate",
		     h->candidate.revision > 0 ? pointer_json(&h->candidate, true) : json_null(),
		     &r);
	document_set(root, "view", view_json(h), &r);
	document_set(root, "quarantine", list_json(o, o->quarantined_count, quarantine_set, &lists),
		     &r);
	document_set(root, "revoked", list_json(o, o->revoked_count, revoked_set, &lists), &r);
	document_set(root, "grants", list_json(o, o->grant_count, grant_set, &lists), &r);
	return lists < 0 ? lists : r;
}

static int encode(const struct head *h, char **ret, size_t *ret_len, struct err *err)
{
	json_t *root = json_object();
	int r = fill(root, h);

	if (r == 0)
		return document_dump(root, WHAT, HEAD_MAX, ret, ret_len, err);
	json_decref(root);
	if (r == -EINVAL)
		return err_set(err, EINVAL,
			       "%s: a conduit number means nothing on other hosts; a "
			       "rule, identity or label would be right",
			       WHAT);
	return err_set(err, ENOMEM, "%s: out of memory", WHAT);
}

int head_encode(const struct head *h, char **ret, size_t *ret_len, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	struct head back = {0};
	size_t len = 0;
	int r = encode(h, &text, &len, err);

	if (r < 0)
		return r;
	/* What the node would refuse is not signed: the decoder is the judge. */
	r = head_decode((const uint8_t *)text, len, &back, err);
	head_done(&back);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(text);
	*ret_len = len;
	return 0;
}
