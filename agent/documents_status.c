/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What `status`, metrics and reports say of documents. */
#include "agent/documents_parts.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"

#include <string.h>

#define OUTSIDE_TOLD_MAX 50

static json_t *wall_text(struct wall t)
{
	char text[RFC3339_TEXT_MAX];

	return t.s ? json_string(rfc3339_format(text, t)) : json_null();
}

/* Entries of the view beyond what signed policy bounds: left out, and a sign of a bad controller.
 */
static void add_outside(const struct documents *d, json_t *list)
{
	const struct generation *gen = agent_edition(d->agent)->gen;

	for (size_t i = 0; gen && i < gen->refused_count && i < OUTSIDE_TOLD_MAX; i++)
		(void)json_array_append_new(
			list, json_pack("{s:s,s:s,s:o,s:o}", "code", "outside_bounds", "document",
					"view", "text", json_host_string(gen->refused[i]), "when",
					wall_text(d->agent->view_when)));
}

static void add_revoked(const struct documents *d, json_t *list)
{
	const char *node;
	json_t *count;
	size_t n = 0;

	json_object_foreach(d->revoked, node, count) {
		if (!json_integer_value(count) || n++ >= OUTSIDE_TOLD_MAX)
			continue;
		(void)json_array_append_new(
			list,
			json_pack("{s:s,s:s,s:o,s:o}", "code", "revoked_node", "document", "view",
				  "text",
				  json_sprintf("node '%s' is revoked by the manifest: %d entries "
					       "are left out",
					       node, (int)json_integer_value(count)),
				  "when", wall_text(d->agent->view_when)));
	}
}

json_t *documents_errors(const struct documents *d)
{
	json_t *list = json_array();

	for (size_t i = 0; d && i < d->in.trouble_count; i++) {
		const struct trouble *t = &d->in.troubles[i];

		(void)json_array_append_new(list, json_pack("{s:s,s:s,s:o,s:o}", "code", t->code,
							    "document", t->document, "text",
							    json_host_string(t->text), "when",
							    wall_text(t->when)));
	}
	if (d) {
		add_outside(d, list);
		add_revoked(d, list);
	}
	return list;
}

/* What the newest head still waits for, in words. */
static const char *waits_for(const struct documents *d)
{
	const struct intake *in = &d->in;

	if (d->probation.on)
		return d->probation.gate[0] ? d->probation.gate : "the gates of probation to hold";
	if (intake_in_splay(in, mono_now()))
		return "its turn to fetch: not all nodes ask at once";
	if (in->policy == PART_WANTED)
		return in->manifest_want.here ? "policy blobs" : "the manifest";
	if (in->policy == PART_READY)
		return "another change of policy to end";
	if (in->view == PART_WANTED)
		return "the view";
	return NULL;
}

static json_t *documents_json(const struct documents *d)
{
	const struct known *k = &d->in.known;
	const char *waits = waits_for(d);
	json_int_t refused = 0;
	json_t *o = json_pack("{s:I,s:I,s:o,s:b,s:I,s:o}", "head_sequence", (json_int_t)d->sequence,
			      "head_newest", (json_int_t)k->head_sequence, "expires",
			      wall_text(k->head_expires), "stale", documents_stale(d),
			      "highest_revision", (json_int_t)k->highest_revision, "policy_expires",
			      wall_text(d->policy_expires));

	(void)json_object_set_new(o, "source",
				  d->source ? json_string(d->source->name) : json_null());
	for (size_t i = 0; i < d->in.refused_count; i++)
		refused += (json_int_t)d->in.refused[i].count;
	(void)json_object_set_new(o, "refused", json_integer(refused));
	(void)json_object_set_new(o, "waits_for", waits ? json_host_string(waits) : json_null());
	(void)json_object_set_new(o, "errors", documents_errors(d));
	return o;
}

void documents_status(const struct documents *d, const struct config *c, json_t *status)
{
	json_t *controller = json_pack("{s:b,s:o}", "connected", d && d->connected, "last_contact",
				       d ? wall_text(d->last_contact) : json_null());

	(void)json_object_set_new(controller, "name",
				  c->controller_url ? json_string(c->controller_host)
						    : json_null());
	(void)json_object_set_new(controller, "error",
				  d && d->contact_error ? json_host_string(d->contact_error)
							: json_null());
	(void)json_object_set_new(status, "controller", controller);
	if (d)
		(void)json_object_set_new(status, "documents", documents_json(d));
}

void documents_refusals(const struct documents *d,
			void (*fn)(void *user, const char *code, uint64_t count), void *user)
{
	for (size_t i = 0; d && i < d->in.refused_count; i++)
		fn(user, d->in.refused[i].code, d->in.refused[i].count);
}

int64_t documents_head_age(const struct documents *d)
{
	int64_t age;

	if (!d || !d->in.has_head)
		return -1;
	age = documents_now(d).s - d->in.head.issued.s;
	return age > 0 ? age : 0;
}
