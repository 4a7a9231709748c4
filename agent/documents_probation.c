/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Commit-confirm of a policy that came as a document: nobody is there to say that all is well, so
 * gates say it. While they hold for DOCUMENTS_HOLD_S the policy is confirmed; if they never do, the
 * kernel falls back by itself, agent or not. That may be somebody else's fault - the controller was
 * restarted, someone else flushed the table - and a policy that a whole fleet has must not stay
 * away from a host for it: such a revision is tried a second time, later, and then no more. What
 * broke conversations, or what somebody took back, is not tried again.
 */
#include "agent/documents_parts.h"

#include "agent/telemetry.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_S 1000000000LL

/* --- denials ------------------------------------------------------------------------------ */

/*
 * Packets that the kernel denied or would have: its own counters see each one, decision records
 * only one of a kind in ten seconds.
 */
static uint64_t denials_counted(struct agent *a)
{
	struct nft_counter c[NFT_NAMED_COUNT] = {0};

	if (nft_named_counters(a->nft, c, NULL) < 0)
		return 0;
	return c[NFT_REFUSED].packets + c[NFT_DENIED].packets + c[NFT_WOULD_DENY].packets;
}

/*
 * How many of them the policy on probation has brought is seen of a few only, in their records; but
 * without a single one the others are somebody's noise, who would like to keep the policy away.
 */
static uint64_t denials_caused(const struct agent *a)
{
	return a->telemetry ? telemetry_counters(a->telemetry)->by_candidate : 0;
}

static void denials_tick(struct documents *d)
{
	struct denials *s = &d->denials;

	if (s->filled && ++s->seconds < DENIALS_STEP_S)
		return;
	s->seconds = 0;
	if (s->filled == DENIALS_STEPS)
		memmove(&s->counts[0], &s->counts[1], sizeof(s->counts) - sizeof(s->counts[0]));
	else
		s->filled++;
	s->counts[s->filled - 1] = denials_counted(d->agent);
}

/* In the last minute; of a shorter time, as many as it would be in one. */
static uint64_t denials_a_minute(const struct documents *d, uint64_t now)
{
	const struct denials *s = &d->denials;
	uint64_t seconds = s->filled ? (s->filled - 1) * DENIALS_STEP_S + s->seconds : 0;

	/* A table that was made anew counts from the beginning. */
	if (!seconds || now < s->counts[0])
		return 0;
	return (now - s->counts[0]) * 60 / seconds;
}

void probation_begin(struct documents *d)
{
	const struct edition *e = &d->agent->candidate;
	struct probation *p = &d->probation;
	uint64_t denials = denials_counted(d->agent);

	*p = (struct probation){
		.on = true,
		.revision = e->revision,
		.serial = e->serial,
		.since = mono_now(),
		.had_contact = d->connected,
		.denials_before = denials_a_minute(d, denials),
		.denials_at = denials,
		.caused_at = denials_caused(d->agent),
	};
	(void)snprintf(p->digest, sizeof(p->digest), "%s", e->digest);
	d->second_try.on = false;
	d->agent->fell_back[0] = '\0';
}

/* --- how it ended ------------------------------------------------------------------------- */

void documents_confirmed(struct documents *d, const char *digest)
{
	struct generation_record *e = generation_record_find(&d->records, digest);

	if (e && e->outcome != GENERATION_CONFIRMED) {
		e->outcome = GENERATION_CONFIRMED;
		e->failures = 0;
		documents_records_keep(d);
	}
	documents_expires_read(d);
}

void documents_rolled_back(struct documents *d, const char *digest, uint64_t revision,
			   const char *why, bool pin)
{
	struct generation_record *e = generation_record_add(&d->records, digest);
	size_t len = strnlen(why, sizeof(e->why) - 1);

	while (len > 0 && !text_utf8_ok(why, len))
		len--;
	e->revision = revision;
	e->outcome = GENERATION_ROLLED_BACK;
	memcpy(e->why, why, len);
	e->why[len] = '\0';
	if (pin)
		e->failures = GENERATION_FAILURES_MAX;
	else if (e->failures < GENERATION_FAILURES_MAX)
		e->failures++;
	documents_records_keep(d);
	if (str_eq(d->in.manifest_want.sha256, digest))
		probation_refuse(d, e, d->probation.had_contact);
}

void probation_refuse(struct documents *d, const struct generation_record *e, bool contact)
{
	struct second_try *s = &d->second_try;
	char text[ERR_TEXT_MAX];

	if (generation_pinned(e)) {
		s->on = false;
		intake_policy_refuse(&d->in, "rolled_back", e->why, documents_now(d));
		return;
	}
	if (!s->on || !str_eq(s->digest, e->digest)) {
		*s = (struct second_try){.on = true, .contact = contact};
		s->at.ns = mono_now().ns + DOCUMENTS_SECOND_TRY_S * NS_PER_S;
		(void)snprintf(s->digest, sizeof(s->digest), "%s", e->digest);
	}
	(void)snprintf(text, sizeof(text), "%s; it is tried once more after %d minutes%s", e->why,
		       DOCUMENTS_SECOND_TRY_S / 60,
		       s->contact ? ", when the controller answers" : "");
	intake_policy_refuse(&d->in, "rolled_back", text, documents_now(d));
}

/*
 * Not as soon as the controller answers: where it was the policy that had cut it off, it does so at
 * once after the fall-back.
 */
void probation_second_try(struct documents *d, struct mono now)
{
	struct second_try *s = &d->second_try;

	if (!s->on || now.ns < s->at.ns || (s->contact && !d->connected))
		return;
	s->on = false;
	if (d->in.policy != PART_REFUSED || !str_eq(d->in.manifest_want.sha256, s->digest))
		return;
	log_info("policy revision %" PRIu64 " is tried a second time", d->in.head.stable.revision);
	intake_policy_again(&d->in);
}

static void confirmed(void *user, int r, const struct err *err, const struct cut_list *cut)
{
	struct documents *d = user;

	documents_cut(d, cut);
	if (r < 0 && r != -ECANCELED)
		log_warn("confirmed; the old policy is still to be cleared away: %s", err->text);
}

/* It is no candidate any more: by us, by an operator, or by the kernel's clock. */
static void ended(struct documents *d)
{
	const struct agent *a = d->agent;
	struct probation p = d->probation;
	const char *why = CANDIDATE_NOT_IN_TIME;
	bool late;

	d->probation.on = false;
	documents_report(d);
	if (a->confirmed.of_manifest && str_eq(a->confirmed.digest, p.digest)) {
		documents_confirmed(d, p.digest);
		return;
	}
	/* The kernel's clock says only that the time was over. */
	late = !a->fell_back[0] || str_eq(a->fell_back, CANDIDATE_NOT_IN_TIME);
	if (p.gate[0] && late)
		why = p.gate;
	else if (!late)
		why = a->fell_back;
	/* A newer one took its place while a gate did not hold: as good as late. */
	documents_rolled_back(d, p.digest, p.revision, why,
			      p.denied || (!late && !str_eq(a->fell_back, p.gate)));
}

/* --- gates -------------------------------------------------------------------------------- */

static bool gate_contact(const struct documents *d, const struct probation *p)
{
	return !p->had_contact || (d->connected && d->last_contact_mono.ns > p->since.ns);
}

/* Denials since it began, when they are more than it may have; else 0. */
static uint64_t spike(const struct documents *d, const struct probation *p)
{
	uint64_t now = denials_counted(d->agent), since;
	uint64_t seconds = (uint64_t)((mono_now().ns - p->since.ns) / NS_PER_S) + 1;
	uint64_t floor = DOCUMENTS_DENIALS_FLOOR * (seconds > 60 ? seconds : 60) / 60;
	uint64_t allowed = p->denials_before * DOCUMENTS_DENIALS_TIMES * seconds / 60;

	if (denials_caused(d->agent) == p->caused_at)
		return 0;
	since = now > p->denials_at ? now - p->denials_at : 0;
	return since > (allowed > floor ? allowed : floor) ? since : 0;
}

/* Which gate does not hold; "" when all do. True: it does not wait for the end of probation. */
static bool look(struct documents *d, struct probation *p)
{
	struct agent *a = d->agent;
	uint64_t denials = spike(d, p);
	struct err err = {{0}};
	bool ok = false;

	p->gate[0] = '\0';
	if (denials)
		/* Somebody is being refused right now. */
		(void)snprintf(p->gate, sizeof(p->gate),
			       "%" PRIu64 " packets denied since it is in force, %" PRIu64
			       " in the minute before",
			       denials, p->denials_before);
	else if (a->drift)
		(void)snprintf(p->gate, sizeof(p->gate), "kernel differs from policy: %.200s",
			       a->drift);
	else if (nft_check_chains(a->nft, &a->shape, &ok, &err) < 0 || !ok)
		(void)snprintf(p->gate, sizeof(p->gate), "the chains are not ours any more");
	else if (!gate_contact(d, p))
		(void)snprintf(p->gate, sizeof(p->gate),
			       "the controller has not answered since it is in force");
	return denials > 0;
}

static void confirm(struct documents *d, struct probation *p)
{
	struct agent *a = d->agent;
	struct edition e = a->candidate;
	struct err err = {{0}};

	p->confirming = true;
	if (agent_candidate_confirm(a, confirmed, d, &err) < 0) {
		p->confirming = false;
		p->good = false;
		(void)snprintf(p->gate, sizeof(p->gate), "%.255s", err.text);
		return;
	}
	agent_history(a, e.revision, p->digest, "bailiwickd", "every gate held", "confirmed");
	ended(d);
}

void probation_tick(struct documents *d)
{
	struct agent *a = d->agent;
	struct probation *p = &d->probation;
	struct err err = {{0}};
	struct mono now = mono_now();
	bool at_once;

	denials_tick(d);
	if (!p->on) {
		probation_second_try(d, now);
		return;
	}
	if (!a->candidate.policy || a->candidate.serial != p->serial) {
		ended(d);
		return;
	}
	at_once = look(d, p);
	p->denied |= at_once;
	if (p->gate[0]) {
		p->good = false;
		if (at_once && agent_candidate_rollback(a, p->gate, NULL, NULL, &err) < 0)
			log_error("%s", err.text);
		if (!a->candidate.policy)
			ended(d);
		return;
	}
	if (!p->good) {
		p->good = true;
		p->good_since = now;
	}
	if (now.ns - p->good_since.ns >= DOCUMENTS_HOLD_S * NS_PER_S)
		confirm(d, p);
}
