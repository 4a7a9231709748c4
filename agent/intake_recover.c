/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * known.json is lost or damaged. It is what keeps old documents out, so an agent that began with
 * nothing would take each of them again; one that did not start would leave the host with whatever
 * the kernel happens to hold. The documents on disk say the same once more, under signatures: the
 * newest head, and manifests, of which the newest is among those that are kept. What does not
 * verify under the keys of now proves nothing, as after a change of keys. All of it is said aloud.
 */
#include "agent/intake.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct proof {
	const struct accept_context *context;
	struct known known;
	size_t documents, useless; /* that are there; of these, that prove nothing */
	int r;
};

static void note(struct proof *p, int r)
{
	p->documents++;
	if (r < 0)
		p->useless++;
	if (r == -ENOMEM)
		p->r = r;
}

/* No head under the keys of now: when it was to end still makes the node stale. */
static void prove_end(struct proof *p, const char *text, size_t len)
{
	CLEANUP(freep) uint8_t *payload = NULL;
	struct head head = {0};
	size_t payload_len = 0;

	if (dsse_open_unverified(text, len, DSSE_TYPE_HEAD, &payload, &payload_len, NULL) < 0 ||
	    head_decode(payload, payload_len, &head, NULL) < 0)
		return;
	if (str_eq(head.node, p->context->node))
		p->known.head_expires = head.expires;
	head_done(&head);
}

static void prove_head(struct proof *p, struct document_store *s)
{
	struct accept_context always = *p->context;
	CLEANUP(freep) char *text = NULL;
	struct head head = {0};
	enum refusal why;
	size_t len = 0;
	int r = document_store_head_read(s, &text, &len, NULL);

	if (r == -ENOENT)
		return;
	/* It may have ended since. */
	always.now.s = 0;
	if (r >= 0)
		r = accept_head(&p->known, &always, text, len, &head, &why, NULL);
	note(p, r);
	if (r < 0 && text)
		prove_end(p, text, len);
	head_done(&head);
}

static int open_manifest(const struct accept_context *c, struct document_store *s,
			 const char *sha256, struct manifest *ret)
{
	CLEANUP(freep) uint8_t *payload = NULL;
	CLEANUP(freep) char *text = NULL;
	size_t len = 0, payload_len = 0;
	int r = document_store_manifest_read(s, sha256, &text, &len, NULL);

	if (r >= 0)
		r = dsse_verify(text, len, DSSE_TYPE_MANIFEST, "manifest", c->policy, &payload,
				&payload_len, NULL);
	return r < 0 ? r : manifest_decode(payload, payload_len, ret, NULL);
}

static void prove_manifest(void *user, struct document_store *s, const char *sha256)
{
	struct proof *p = user;
	const char *domain = p->context->trust_domain;
	struct manifest m = {0};
	int r = open_manifest(p->context, s, sha256, &m);

	if (r >= 0 && domain && !str_eq(domain, m.trust_domain))
		r = -EXDEV;
	note(p, r);
	if (r >= 0 && m.revision > p->known.highest_revision) {
		p->known.highest_revision = m.revision;
		p->known.rollback_floor = m.rollback_floor;
	}
	manifest_done(&m);
}

void intake_damaged(struct intake *in, const char *file, const char *text)
{
	log_error("%s", text);
	intake_note(in, file, "damaged", text, in->context.now);
}

int intake_recover(struct intake *in, const char *cause)
{
	struct proof p = {.context = &in->context};
	char text[ERR_TEXT_MAX];

	memset(&in->known, 0, sizeof(in->known));
	p.r = known_match_keys(&p.known, &in->context);
	if (p.r < 0)
		return p.r;
	p.r = 0;
	prove_head(&p, in->store);
	document_store_manifests(in->store, prove_manifest, &p);
	if (p.r < 0)
		return p.r;
	in->known = p.known;
	/* A new host: nothing was known, and nothing is lost. */
	if (!cause && !p.documents)
		return 0;
	(void)snprintf(
		text, sizeof(text),
		"what was known of documents is lost (%.256s); %zu of %zu stored documents prove "
		"head sequence %" PRIu64 " and policy revision %" PRIu64 ", older ones are refused",
		cause ? cause : "known.json: not there", p.documents - p.useless, p.documents,
		p.known.head_sequence, p.known.highest_revision);
	intake_damaged(in, "known.json", text);
	intake_keep(in);
	return 0;
}
