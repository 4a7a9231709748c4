/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Verified documents into the kernel. The view acts at once, in both slots; a policy goes through
 * commit-confirm. A view and a policy that came with one head go in one transaction where they can,
 * so that an identity that is renamed or moved by both never stands outside of both.
 */
#include "agent/documents_parts.h"

#include "agent/change_words.h"
#include "agent/loading.h"
#include "agent/store.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1000000000LL

/* --- view --------------------------------------------------------------------------------- */

static void view_done(void *user, int r, const struct err *err, const struct cut_list *cut)
{
	struct documents *d = user;

	if (r < 0 && r != -ECANCELED)
		log_error("the new view is not in the kernel yet: %s", err->text);
	documents_cut(d, cut);
}

static bool view_start(struct documents *d)
{
	struct intake *in = &d->in;
	struct err err = {{0}};
	int r;

	revoked_strip(d, in->view_decoded);
	r = loading_view_use(d->agent, TAKE_PTR(in->view_decoded), in->view_text, in->view_len,
			     &err);
	if (r < 0) {
		intake_trouble(in, "view", "not_loaded", err.text, documents_now(d));
		intake_view_again(in, mono_now());
		return false;
	}
	(void)snprintf(d->view_digest, sizeof(d->view_digest), "%s", in->view_want.sha256);
	freep(&in->view_text);
	in->view = PART_TAKEN;
	log_info("view sequence %" PRIu64, d->agent->view->sequence);
	return true;
}

static void view_reconcile(struct documents *d)
{
	struct err err = {{0}};

	if (agent_reconcile(d->agent, DIRTY_POLICY, view_done, d, &err) < 0)
		log_error("%s", err.text);
}

/* --- policy ------------------------------------------------------------------------------- */

void documents_expires_read(struct documents *d)
{
	const struct edition *e = &d->agent->confirmed;

	d->policy_expires.s = 0;
	if (e->of_manifest)
		(void)document_store_expires(d->agent->document_store, e->digest,
					     &d->policy_expires, NULL);
}

/* At most this many bytes of a text from outside, not cut inside of a character. */
static void copy_text(char *to, size_t size, const char *from)
{
	size_t len = strnlen(from, size - 1);

	while (len > 0 && !text_utf8_ok(from, len))
		len--;
	memcpy(to, from, len);
	to[len] = '\0';
}

static int write_parts(struct documents *d, struct err *err)
{
	struct document_store *s = d->agent->document_store;
	const struct intake *in = &d->in;
	int r = 0;

	for (size_t i = 0; i < in->texts.file_count && r >= 0; i++)
		r = document_store_blob_write(s, in->manifest.policy[i].sha256,
					      in->texts.files[i].text, in->texts.files[i].len, err);
	if (r >= 0)
		r = document_store_manifest_write(s, in->head.stable.sha256, in->manifest_text,
						  in->manifest_len, err);
	return r;
}

/* What goes into the kernel is what the next start will read: it is read back from disk. */
static int policy_read_back(struct documents *d, struct store_policy *ret, struct err *err)
{
	struct document_store *s = d->agent->document_store;
	const char *digest = d->in.head.stable.sha256;
	int r = document_store_policy(s, digest, ret, NULL);

	if (r >= 0)
		return 0;
	r = write_parts(d, err);
	return r < 0 ? r : document_store_policy(s, digest, ret, err);
}

static int policy_check(const struct documents *d, const struct policy *p, struct err *err)
{
	if (!p->node_count)
		return err_set(err, EINVAL,
			       "a signed policy without nodes: would let a controller place "
			       "identities anywhere; list the nodes and their addresses");
	if (!str_eq(p->trust_domain, d->in.manifest.trust_domain))
		return err_set(err, EINVAL, "the policy is of trust domain %s, its manifest of %s",
			       p->trust_domain, d->in.manifest.trust_domain);
	return 0;
}

static int record_staged(struct documents *d, struct edition *e, struct err *err)
{
	struct generation_record *rec = generation_record_add(&d->records, e->digest);

	rec->revision = e->revision;
	rec->when = e->when;
	rec->outcome = GENERATION_STAGED;
	rec->why[0] = '\0';
	copy_text(rec->who, sizeof(rec->who), e->who);
	copy_text(rec->reason, sizeof(rec->reason), e->reason);
	return document_store_records_write(d->agent->document_store, &d->records, err);
}

static const char *carrier(const struct documents *d)
{
	if (d->offline)
		return offline_who(d);
	return !d->source || str_eq(d->source->name, "courier") ? "controller" : d->source->name;
}

static int edition_make(struct documents *d, struct edition *ret, struct err *err)
{
	const char *reason = offline_reason(d);
	struct store_policy texts = {0};
	int r = policy_read_back(d, &texts, err);

	if (r < 0)
		return r;
	r = loading_policy(d->agent, &texts, &ret->policy, NULL, NULL, err);
	store_policy_done(&texts);
	if (r >= 0)
		r = policy_check(d, ret->policy, err);
	if (r < 0) {
		edition_done(ret);
		/* What the policy says is wrong will be wrong the next time, too. */
		return r == -ENOMEM ? r : -EINVAL;
	}
	ret->of_manifest = true;
	ret->revision = d->in.manifest.revision;
	ret->when = wall_now();
	(void)snprintf(ret->digest, sizeof(ret->digest), "%s", d->in.head.stable.sha256);
	copy_text(ret->who, sizeof(ret->who), carrier(d));
	if (!reason)
		reason = d->in.manifest.comment ? d->in.manifest.comment : "";
	copy_text(ret->reason, sizeof(ret->reason), reason);
	return 0;
}

/* before NULL: there was none. For history, and for whoever brought an archive. */
static void tell_change(struct documents *d, const struct edition *e, const struct edition *before,
			const char *outcome)
{
	static const struct edition none;
	CLEANUP(json_decrefp) json_t *words = NULL;
	char when[RFC3339_TEXT_MAX];
	struct err err = {{0}};
	json_t *entry;

	if (e->gen)
		words = change_words(before ? before : &none, e->policy, e->gen);
	offline_words(d, words);
	entry = json_pack("{s:I,s:s,s:s,s:s,s:s,s:s,s:I,s:I}", "revision", (json_int_t)e->revision,
			  "digest", e->digest, "when", rfc3339_format(when, e->when), "who", e->who,
			  "reason", e->reason, "outcome", outcome, "gained",
			  (json_int_t)json_array_size(json_object_get(words, "adds")), "lost",
			  (json_int_t)json_array_size(json_object_get(words, "removes")));
	if (!entry || store_history_add(d->agent->store, entry, &err) < 0)
		log_warn("history: %s", entry ? err.text : "out of memory");
	json_decref(entry);
}

static void prune(struct documents *d)
{
	const char *keep[DOCUMENT_STORE_KEEP_MAX];
	const struct agent *a = d->agent;
	size_t n = 0, confirmed = 0;

	if (a->confirmed.of_manifest)
		keep[n++] = a->confirmed.digest;
	if (a->candidate.policy && a->candidate.of_manifest)
		keep[n++] = a->candidate.digest;
	if (d->in.manifest_want.sha256[0])
		keep[n++] = d->in.manifest_want.sha256;
	for (size_t i = d->records.count; i-- > 0 && confirmed < STORE_GENERATIONS_KEPT;) {
		if (d->records.list[i].outcome != GENERATION_CONFIRMED)
			continue;
		keep[n++] = d->records.list[i].digest;
		confirmed++;
	}
	document_store_prune(a->document_store, keep, n);
}

/* The head may have moved on while the kernel was loaded. */
static bool still_wanted(const struct documents *d)
{
	return str_eq(d->in.manifest_want.sha256, d->activating_digest);
}

static void activation_failed(struct documents *d, int r, const struct err *err)
{
	if (d->ending)
		return;
	if (r == -ECANCELED) {
		documents_rolled_back(d, d->activating_digest, d->activating_revision, err->text,
				      true);
		return;
	}
	if (!still_wanted(d))
		return;
	intake_trouble(&d->in, "policy", "not_loaded", err->text, documents_now(d));
	d->policy_retry.ns = mono_now().ns + DOCUMENTS_RETRY_S * NS_PER_S;
}

static void activated(void *user, int r, const struct err *err, const struct cut_list *cut)
{
	struct documents *d = user;
	struct agent *a = d->agent;

	d->activating = false;
	documents_cut(d, cut);
	if (r < 0) {
		activation_failed(d, r, err);
		return;
	}
	intake_trouble_end(&d->in, "policy");
	if (still_wanted(d)) {
		d->in.policy = PART_TAKEN;
		intake_texts_drop(&d->in);
	}
	if (a->candidate.policy && str_eq(a->candidate.digest, d->activating_digest)) {
		tell_change(d, &a->candidate, &a->confirmed, "probation");
		probation_begin(d);
	} else {
		tell_change(d, &a->confirmed, NULL, "applied");
		documents_confirmed(d, a->confirmed.digest);
	}
	prune(d);
	documents_advance(d);
}

static int policy_load(struct documents *d, struct edition *e, struct err *err)
{
	struct agent *a = d->agent;
	/*
	 * Nothing is denied, and nothing was in force: there is nothing to fall back to. Nor where
	 * it cannot be read any more.
	 */
	bool first = !a->confirmed.revision && (a->mode == MODE_OBSERVE || a->held);

	d->activating = true;
	d->activating_revision = e->revision;
	(void)snprintf(d->activating_digest, sizeof(d->activating_digest), "%s", e->digest);
	return first ? agent_policy_replace(a, e, activated, d, err)
		     : agent_candidate_start(a, e, DOCUMENTS_PROBATION_S, activated, d, err);
}

static bool policy_start(struct documents *d)
{
	struct edition e = {0};
	struct err err = {{0}};
	int r = edition_make(d, &e, &err);

	if (r == -EINVAL) {
		intake_policy_refuse(&d->in, "invalid_policy", err.text, documents_now(d));
		return false;
	}
	if (r >= 0)
		r = revoked_take(d, e.digest, &err);
	if (r >= 0)
		r = record_staged(d, &e, &err);
	if (r >= 0)
		r = policy_load(d, &e, &err);
	if (r >= 0)
		return true;
	d->activating = false;
	edition_done(&e);
	intake_trouble(&d->in, "policy", "not_loaded", err.text, documents_now(d));
	d->policy_retry.ns = mono_now().ns + DOCUMENTS_RETRY_S * NS_PER_S;
	return false;
}

/* --- both --------------------------------------------------------------------------------- */

/*
 * A newer policy than the one on probation, whose gates do not hold: it need not wait for the
 * fall-back of what it may well repair.
 */
static void supersede(struct documents *d)
{
	struct probation *p = &d->probation;
	struct err err = {{0}};

	if (d->in.policy != PART_READY || !p->on || p->confirming || p->good || !p->gate[0])
		return;
	if (agent_candidate_rollback(d->agent, p->gate, NULL, NULL, &err) < 0)
		log_error("%s", err.text);
	else
		probation_tick(d);
}

static bool policy_may_start(struct documents *d)
{
	if (d->in.policy != PART_READY || d->activating || mono_now().ns < d->policy_retry.ns)
		return false;
	supersede(d);
	return agent_refuse_while_changing(d->agent, NULL) >= 0;
}

/* How long the view has waited for the policy beside it. */
static bool pair_waited(struct documents *d)
{
	const struct intake *in = &d->in;
	struct mono now = mono_now();

	if (in->policy != PART_WANTED && in->policy != PART_READY)
		return true;
	if (!str_eq(d->pair_digest, in->manifest_want.sha256)) {
		(void)snprintf(d->pair_digest, sizeof(d->pair_digest), "%s",
			       in->manifest_want.sha256);
		d->pair_since = now.ns > in->splay_until.ns ? now : in->splay_until;
	}
	return now.ns - d->pair_since.ns >= DOCUMENTS_PAIR_S * NS_PER_S;
}

void documents_activate(struct documents *d)
{
	bool policy, waited, view;

	if (!intake_pending(&d->in))
		return;
	policy = policy_may_start(d);
	waited = pair_waited(d);
	view = d->in.view == PART_READY && (policy || waited) && view_start(d);
	/* A view that is still to come with this policy is waited for as long as the other way. */
	if (policy && d->in.view == PART_WANTED && !waited)
		policy = false;
	if (policy)
		policy = policy_start(d);
	if (view && !policy)
		view_reconcile(d);
}
