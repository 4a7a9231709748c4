/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/head.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/document.h"
#include "controller-client/view_decode.h"
#include "rules/policy_grammar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WHAT         "head"
#define PATH_MAX_LEN 2048

void head_done(struct head *h)
{
	free(h->trust_domain);
	free(h->node);
	overlay_done(&h->overlay);
	*h = (struct head){0};
}

/* ---- pointers ---- */

static void take_pointer(struct json_object *o, const char *key, json_t *value, bool candidate,
			 struct head_pointer *ret)
{
	struct json_object p;

	if (o->r < 0)
		return;
	json_object_begin(&p, value, WHAT, key, o->err);
	ret->revision = document_take_number(&p, "revision", 1, DOCUMENT_NUMBER_MAX);
	document_take_sha256(&p, "sha256", ret->sha256);
	/* Whom the candidate is for; this release takes none, so it is kept out of the way. */
	if (candidate)
		(void)json_take_object(&p, "rollout");
	document_finish_inner(&p, o);
}

static void take_candidate(struct json_object *o, struct head *h)
{
	json_t *value = json_take_value(o, "candidate");

	if (!json_is_null(value))
		take_pointer(o, "candidate", value, true, &h->candidate);
}

static void take_view(struct json_object *o, struct head *h)
{
	json_t *value = json_take_object(o, "view");
	struct json_object view;

	if (o->r < 0)
		return;
	json_object_begin(&view, value, WHAT, "view", o->err);
	document_take_sha256(&view, "sha256", h->view_sha256);
	h->view_size = document_take_number(&view, "size", 1, VIEW_DOCUMENT_MAX);
	h->view_sequence = document_take_number(&view, "sequence", 0, DOCUMENT_NUMBER_MAX);
	document_finish_inner(&view, o);
}

/* ---- what acts at once ---- */

static const char *checked(struct json_object *o, const char *key, const char *text,
			   const char *fault)
{
	if (text != NULL && fault != NULL)
		(void)json_fail(o, key, "%s", fault);
	return o->r == 0 ? text : NULL;
}

static char *take_name(struct json_object *o, const char *key)
{
	const char *name = json_take_string(o, key, HEAD_TEXT_MAX);

	return document_copy(o, checked(o, key, name, name != NULL ? name_fault(name) : NULL));
}

static char *take_path(struct json_object *o, const char *key)
{
	const char *path = json_take_string(o, key, PATH_MAX_LEN);

	return document_copy(o, checked(o, key, path, path != NULL ? path_fault(path, "") : NULL));
}

static char *take_label(struct json_object *o, const char *key)
{
	const char *text = json_take_string(o, key, HEAD_TEXT_MAX);
	struct err fault = {0};

	if (text != NULL && !expression_check(text, &fault))
		(void)json_fail(o, key, "%s", fault.text);
	return document_copy(o, text);
}

static struct wall take_until(struct json_object *o)
{
	struct wall never = {0};

	/* null: until released. Absent would be a member that was forgotten. */
	return json_is_null(json_take_value(o, "until")) ? never : document_take_time(o, "until");
}

static void fill_quarantine(struct json_object *o, void *user, size_t i)
{
	struct overlay *overlay = user;
	struct overlay_quarantine *q = &overlay->quarantined[i];

	overlay->quarantined_count = i + 1;
	q->identity = take_path(o, "identity");
	if (json_object_get(o->object, "keep") != NULL)
		q->keep = take_name(o, "keep");
	q->reason = document_take_text(o, "reason", HEAD_TEXT_MAX);
	q->from_head = true;
}

static void fill_revoked(struct json_object *o, void *user, size_t i)
{
	struct overlay *overlay = user;
	struct overlay_revoked *v = &overlay->revoked[i];
	bool rule = json_object_get(o->object, "rule") != NULL;
	bool identity = json_object_get(o->object, "identity") != NULL;
	bool label = json_object_get(o->object, "label") != NULL;

	overlay->revoked_count = i + 1;
	if (rule + identity + label != 1) {
		(void)json_fail(o, NULL, "exactly one of rule, identity and label would be right");
		return;
	}
	v->kind = rule ? REVOKED_RULE : identity ? REVOKED_IDENTITY : REVOKED_LABEL;
	if (rule)
		v->name = take_name(o, "rule");
	else if (identity)
		v->name = take_path(o, "identity");
	else
		v->name = take_label(o, "label");
	v->reason = document_take_text(o, "reason", HEAD_TEXT_MAX);
	v->until = take_until(o);
	v->from_head = true;
}

static void fill_grant(struct json_object *o, void *user, size_t i)
{
	struct overlay *overlay = user;
	struct overlay_grant *g = &overlay->grants[i];

	overlay->grant_count = i + 1;
	g->rule = take_name(o, "rule");
	g->from = take_path(o, "from");
	g->to = take_path(o, "to");
	g->until = document_take_time(o, "until");
	g->who = document_take_text(o, "approver", HEAD_TEXT_MAX);
	g->from_head = true;
}

static void take_overlay(struct json_object *o, struct overlay *overlay)
{
	json_t *quarantine = json_take_array(o, "quarantine", HEAD_ENTRIES_MAX);
	json_t *revoked = json_take_array(o, "revoked", HEAD_ENTRIES_MAX);
	json_t *grants = json_take_array(o, "grants", HEAD_ENTRIES_MAX);

	overlay->quarantined = document_array(o, quarantine, sizeof(*overlay->quarantined));
	overlay->revoked = document_array(o, revoked, sizeof(*overlay->revoked));
	overlay->grants = document_array(o, grants, sizeof(*overlay->grants));
	document_each(o, "quarantine", quarantine, fill_quarantine, overlay);
	document_each(o, "revoked", revoked, fill_revoked, overlay);
	document_each(o, "grants", grants, fill_grant, overlay);
}

/* ---- the document ---- */

static bool take_bool(struct json_object *o, const char *key)
{
	const json_t *value = json_take_value(o, key);

	if (value != NULL && !json_is_boolean(value))
		(void)json_fail(o, key, "neither true nor false");
	return json_is_true(value);
}

static int decode(json_t *root, struct head *h, struct err *err)
{
	struct json_object o;

	json_object_begin(&o, root, WHAT, "", err);
	document_take_version(&o, json_may_array(&o, "requires", MANIFEST_REQUIRES_MAX));
	h->trust_domain = document_take_trust_domain(&o);
	h->node = document_take_node(&o);
	h->sequence = document_take_number(&o, "sequence", 1, DOCUMENT_NUMBER_MAX);
	document_take_validity(&o, &h->issued, &h->expires);
	h->urgent = take_bool(&o, "urgent");
	take_pointer(&o, "stable", json_take_object(&o, "stable"), false, &h->stable);
	take_candidate(&o, h);
	take_view(&o, h);
	take_overlay(&o, &h->overlay);
	(void)json_may_object(&o, "ext");
	return json_finish(&o);
}

int head_decode(const uint8_t *text, size_t len, struct head *ret, struct err *err)
{
	CLEANUP(json_decrefp) json_t *root = NULL;
	struct head h = {0};
	int r;

	if (len > HEAD_MAX)
		return err_set(err, E2BIG, "%s: larger than %u KiB", WHAT, HEAD_MAX >> 10);
	r = json_parse_strict((const char *)text, len, WHAT, &root, err);
	if (r < 0)
		return r;
	r = decode(root, &h, err);
	if (r < 0) {
		head_done(&h);
		return r;
	}
	*ret = h;
	return 0;
}
