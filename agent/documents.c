/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/documents.h"

#include "agent/documents_parts.h"
#include "agent/held.h"
#include "agent/overlay.h"
#include "agent/status_report.h"
#include "agent/store.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- keys --------------------------------------------------------------------------------- */

static int read_keys(const struct config_trust *trust, struct keyring *ret, struct err *err)
{
	ret->threshold = trust->threshold;
	for (size_t i = 0; i < trust->key_count; i++) {
		struct public_key key = {0};
		int r = path_trusted(trust->keys[i], 0, err);

		if (r >= 0)
			r = public_key_load(trust->keys[i], &key, err);
		if (r >= 0)
			r = keyring_add(ret, &key, err);
		if (r < 0) {
			public_key_done(&key);
			return err_prefix(err, r, "trust");
		}
	}
	return 0;
}

/*
 * Which generations there were is no protection: without it a policy that fell back is tried once
 * more, on probation. What is in force is added in documents_load().
 */
static int read_records(struct documents *d, struct err *err)
{
	char text[ERR_TEXT_MAX];
	int r = document_store_records_read(d->agent->document_store, &d->records, err);

	if (r >= 0 || r == -ENOMEM)
		return r < 0 ? r : 0;
	memset(&d->records, 0, sizeof(d->records));
	(void)snprintf(text, sizeof(text),
		       "which policies fell back is not known any more (%.400s); begun anew",
		       err->text);
	intake_damaged(&d->in, "generations.json", text);
	documents_records_keep(d);
	return 0;
}

static int read_all(struct documents *d, struct err *err)
{
	struct agent *a = d->agent;
	struct accept_context context = {
		.policy = &d->policy_keys,
		.controller = &d->controller_keys,
		.trust_domain = a->config.trust_domain,
		.node = a->config.node,
		.now = documents_now(d),
	};
	int r;

	r = read_keys(&a->config.trust_policy, &d->policy_keys, err);
	if (r >= 0)
		r = read_keys(&a->config.trust_controller, &d->controller_keys, err);
	if (r >= 0)
		r = intake_init(&d->in, &context, a->document_store, err);
	return r < 0 ? r : read_records(d, err);
}

int documents_new(struct agent *a, struct documents **ret, struct err *err)
{
	struct documents *d;
	int r;

	if (!config_is_signed(&a->config)) {
		*ret = NULL;
		return 0;
	}
	d = mem_calloc(1, sizeof(*d));
	if (!d)
		return err_set(err, ENOMEM, "out of memory");
	d->agent = a;
	r = read_all(d, err);
	if (r < 0) {
		documents_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

void documents_free(struct documents *d)
{
	if (!d)
		return;
	directory_source_free(d->directory);
	intake_done(&d->in);
	keyring_done(&d->policy_keys);
	keyring_done(&d->controller_keys);
	free(d->contact_error);
	json_decref(d->revoked);
	free(d);
}

/* --- what is in force --------------------------------------------------------------------- */

struct wall documents_now(const struct documents *d)
{
	return agent_now(d->agent);
}

void documents_force(const struct documents *d, struct intake_force *ret)
{
	const struct agent *a = d->agent;

	*ret = (struct intake_force){
		.manifest = a->confirmed.of_manifest ? a->confirmed.digest : NULL,
		.candidate = a->candidate.policy && a->candidate.of_manifest ? a->candidate.digest
									     : NULL,
		.manifest_revision = a->confirmed.revision,
		.candidate_revision = a->candidate.revision,
		.view = d->view_digest[0] ? d->view_digest : NULL,
	};
}

void documents_records_keep(struct documents *d)
{
	struct err err = {{0}};

	if (document_store_records_write(d->agent->document_store, &d->records, &err) < 0)
		log_warn("what became of this policy is not kept: %s", err.text);
}

/* --- start -------------------------------------------------------------------------------- */

static void overlay_drop_grants(struct overlay *o)
{
	struct overlay grants = {.grants = o->grants, .grant_count = o->grant_count};

	o->grants = NULL;
	o->grant_count = 0;
	overlay_done(&grants);
}

/*
 * Who changes the controller's keys may do so because a thief has the old ones: what those closed
 * stays closed until a head under the new keys says otherwise, what they granted goes.
 */
static int load_head(struct documents *d, struct err *err)
{
	struct overlay overlay = {0};
	struct intake_force force;
	char text[ERR_TEXT_MAX];
	bool trusted = false;
	int r;

	documents_force(d, &force);
	r = intake_head_stored(&d->in, &force, documents_now(d), mono_now(), &overlay, &trusted,
			       err);
	if (r == -ENOMEM)
		return r;
	if (r == -ENOENT && !d->in.known.head_sequence)
		return 0;
	if (r < 0) {
		/* What it closed stays closed until the next one says what is. */
		(void)snprintf(text, sizeof(text), "the newest head cannot be read (%.300s)",
			       err->text);
		intake_damaged(&d->in, "head.dsse.json", text);
		d->agent->held |= HELD_HEAD;
		return 0;
	}
	if (!trusted)
		overlay_drop_grants(&overlay);
	r = overlay_set_head(d->agent, &overlay, NULL, NULL, err);
	overlay_done(&overlay);
	return r < 0 ? r : 0;
}

/* A policy that was on its way when the last run ended. */
static void load_record(struct documents *d, struct generation_record *e)
{
	const struct agent *a = d->agent;

	if (e->outcome != GENERATION_STAGED)
		return;
	if (a->confirmed.of_manifest && str_eq(e->digest, a->confirmed.digest)) {
		e->outcome = GENERATION_CONFIRMED;
		e->failures = 0;
	} else if (a->candidate.policy && a->candidate.of_manifest &&
		   str_eq(e->digest, a->candidate.digest)) {
		return;
	} else if (++e->interrupted >= DOCUMENTS_INTERRUPTED_MAX) {
		e->outcome = GENERATION_ROLLED_BACK;
		e->failures = GENERATION_FAILURES_MAX;
		(void)snprintf(e->why, sizeof(e->why),
			       "not confirmed before the agent ended, %u times", e->interrupted);
	}
	documents_records_keep(d);
}

/* Of the policy in force, when the file was lost: else its manifest could be cleared away. */
static void load_confirmed(struct documents *d)
{
	const struct edition *e = &d->agent->confirmed;
	struct generation_record *r;

	if (!e->of_manifest || generation_record_find(&d->records, e->digest))
		return;
	r = generation_record_add(&d->records, e->digest);
	r->revision = e->revision;
	r->when = e->when;
	r->outcome = GENERATION_CONFIRMED;
	(void)snprintf(r->who, sizeof(r->who), "%s", e->who);
	(void)snprintf(r->reason, sizeof(r->reason), "%s", e->reason);
	documents_records_keep(d);
}

static void load_view_digest(struct documents *d)
{
	CLEANUP(freep) char *text = NULL;
	size_t len = 0;

	if (store_view_read(d->agent->store, &text, &len, NULL) < 0 ||
	    document_digest(text, len, d->view_digest) < 0)
		d->view_digest[0] = '\0';
}

static void refuse_rolled_back(struct documents *d)
{
	struct generation_record *e = generation_record_find(&d->records, d->in.head.stable.sha256);

	if (d->in.policy != PART_WANTED || !e || e->outcome != GENERATION_ROLLED_BACK)
		return;
	probation_refuse(d, e, d->agent->config.controller_url != NULL);
}

int documents_load(struct documents *d, struct err *err)
{
	struct agent *a = d->agent;
	int r;

	load_view_digest(d);
	for (size_t i = 0; i < d->records.count; i++)
		load_record(d, &d->records.list[i]);
	load_confirmed(d);
	r = load_head(d, err);
	if (r < 0)
		return r;
	refuse_rolled_back(d);
	documents_expires_read(d);
	revoked_load(d);
	if (a->candidate.policy && a->candidate.of_manifest)
		probation_begin(d);
	if (intake_settled(&d->in))
		d->sequence = d->in.head.sequence;
	return 0;
}

int documents_start(struct documents *d, struct err *err)
{
	int r;

	if (!d->agent->config.directory)
		return 0;
	r = directory_source_new(d, &d->directory, err);
	if (r >= 0)
		documents_set_source(d, directory_source_of(d->directory));
	return r;
}

/* --- from the carrier --------------------------------------------------------------------- */

void documents_set_source(struct documents *d, const struct document_source *source)
{
	d->source = source;
	intake_set_source(&d->in, source, mono_now());
	documents_advance(d);
}

void documents_cut(struct documents *d, const struct cut_list *cut)
{
	if (!cut || !cut->count)
		return;
	offline_cut(d, cut);
	if (d->agent->report)
		status_report_cut(d->agent->report, cut);
}

static void head_acted(void *user, int r, const struct err *err, const struct cut_list *cut)
{
	struct documents *d = user;

	if (r < 0 && r != -ECANCELED)
		log_error("what the head closes is not in the kernel yet: %s", err->text);
	documents_cut(d, cut);
}

/* Quarantines, revocations and grants wait for nothing: no download, no probation. */
static void head_act(struct documents *d, struct overlay *overlay)
{
	struct err err = {{0}};

	if (overlay_set_head(d->agent, overlay, head_acted, d, &err) < 0)
		log_error("what the head closes is not in force: %s", err.text);
	overlay_done(overlay);
}

/* The head names the policy in force again: the one on probation is not wanted any more. */
static void probation_unwanted(struct documents *d)
{
	const struct agent *a = d->agent;
	struct err err = {{0}};

	if (!d->probation.on || d->probation.confirming || d->in.policy != PART_TAKEN ||
	    !a->confirmed.of_manifest || !str_eq(d->in.head.stable.sha256, a->confirmed.digest))
		return;
	if (agent_candidate_rollback(d->agent, "the controller took it back", NULL, NULL, &err) < 0)
		log_error("%s", err.text);
}

int documents_head_from(struct documents *d, const void *text, size_t len, struct err *err)
{
	struct overlay overlay = {0};
	struct wall end = documents_stale_end(d);
	struct intake_force force;
	int r;

	documents_force(d, &force);
	r = intake_head(&d->in, text, len, &force, documents_now(d), mono_now(), &overlay, err);
	if (r <= 0)
		return r;
	log_debug("head sequence %" PRIu64, d->in.head.sequence);
	held_head_came(d->agent);
	/* The reconciliation that follows gives leases of on_stale: end their new end, too. */
	if (documents_stale_end(d).s != end.s)
		agent_touch(d->agent, DIRTY_POLICY);
	head_act(d, &overlay);
	refuse_rolled_back(d);
	probation_unwanted(d);
	return 1;
}

void documents_head(struct documents *d, const void *text, size_t len)
{
	struct err err = {{0}};

	(void)documents_head_from(d, text, len, &err);
	documents_advance(d);
}

void documents_manifest(struct documents *d, uint64_t revision, const void *text, size_t len)
{
	intake_manifest(&d->in, revision, text, len, documents_now(d), mono_now());
	documents_advance(d);
}

void documents_blob(struct documents *d, const char *sha256, const void *bytes, size_t len)
{
	intake_blob(&d->in, sha256, bytes, len, documents_now(d), mono_now());
	documents_advance(d);
}

void documents_failed(struct documents *d, const char *what, const char *name, const char *text)
{
	intake_failed(&d->in, what, name, text, documents_now(d), mono_now());
}

void documents_contact(struct documents *d, bool ok, const char *text)
{
	if (ok) {
		d->last_contact = wall_now();
		d->last_contact_mono = mono_now();
		freep(&d->contact_error);
	} else if (text && !str_eq(d->contact_error, text)) {
		freep(&d->contact_error);
		d->contact_error = mem_strdup(text);
	}
	if (ok != d->connected)
		log_info("controller %s%s%s", ok ? "connected" : "not reached",
			 !ok && text ? ": " : "", !ok && text ? text : "");
	d->connected = ok;
}

/* --- progress ----------------------------------------------------------------------------- */

/* Told once both halves are in force or refused for good: then nothing of this head is left. */
static void settle(struct documents *d)
{
	if (d->activating || !intake_settled(&d->in) || d->sequence == d->in.head.sequence)
		return;
	d->sequence = d->in.head.sequence;
	documents_report(d);
	if (d->source && d->source->taken)
		d->source->taken(d->source->user, d->sequence);
}

void documents_report(const struct documents *d)
{
	if (d->agent->report)
		status_report_touch(d->agent->report);
}

/* Refusals are news for whoever sent the document. */
static void report_troubles(struct documents *d)
{
	if (d->in.trouble_changes == d->troubles_told)
		return;
	d->troubles_told = d->in.trouble_changes;
	documents_report(d);
}

/* A carrier may answer before its function returns, and come here again. */
void documents_advance(struct documents *d)
{
	if (d->advancing)
		return;
	d->advancing = true;
	intake_step(&d->in, documents_now(d), mono_now());
	documents_activate(d);
	d->advancing = false;
	settle(d);
	offline_settle(d, false);
	report_troubles(d);
}

static void check_stale(struct documents *d)
{
	bool stale = documents_stale(d);
	char until[RFC3339_TEXT_MAX];

	if (stale == d->stale)
		return;
	d->stale = stale;
	documents_report(d);
	if (stale)
		log_warn("stale: the newest head was good until %s; enforcement stays as it is",
			 rfc3339_format(until, d->in.known.head_expires));
	else
		log_info("no longer stale: head sequence %" PRIu64, d->in.known.head_sequence);
}

void documents_tick(struct documents *d)
{
	if (!d)
		return;
	probation_tick(d);
	directory_source_tick(d->directory);
	documents_advance(d);
	check_stale(d);
}

/* --- questions ---------------------------------------------------------------------------- */

struct wall documents_stale_end(const struct documents *d)
{
	struct wall end = {0};

	if (d && d->in.known.head_expires.s)
		end.s = d->in.known.head_expires.s + DOCUMENTS_STALE_END_S;
	return end;
}

bool documents_stale(const struct documents *d)
{
	int64_t now;

	if (!d)
		return false;
	now = documents_now(d).s;
	return (d->in.known.head_expires.s && now >= d->in.known.head_expires.s) ||
	       (d->policy_expires.s && now >= d->policy_expires.s);
}

bool documents_connected(const struct documents *d)
{
	return d && d->connected;
}

const struct known *documents_known(const struct documents *d)
{
	return &d->in.known;
}

uint64_t documents_head_sequence(const struct documents *d)
{
	return d->sequence;
}
