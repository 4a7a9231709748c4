/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Words behind attest_refused: are those of the peer protocol where the far node refused, and where
 * it said OK but may not be believed: wrong_node, wrong_key, no_match, no_identity,
 * bad_identity, other_domain, not_placed.
 */
#include "agent/acceptance.h"

#include "base/hash.h"
#include "base/text.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[ACCEPT_CHECKS] = {
	[ACCEPT_NODE] = "node",           [ACCEPT_KEY] = "key",
	[ACCEPT_STATUS] = "status",       [ACCEPT_TUPLE] = "tuple",
	[ACCEPT_DOMAIN] = "domain",       [ACCEPT_POLICY] = "policy",
	[ACCEPT_PLACEMENT] = "placement", [ACCEPT_MEASURED] = "measured",
};

const char *acceptance_name(enum acceptance_check c)
{
	return c < ACCEPT_CHECKS ? names[c] : "unknown";
}

struct judging {
	const struct acceptance_input *in;
	struct acceptance *ret;
	const struct conduit *vouched;
	bool anybody; /* a network's rule lets in whoever is there, so nobody need be named */
};

/* --- results --------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static bool pass(struct judging *j, enum acceptance_check c,
						       const char *fmt, ...)
{
	va_list ap;

	j->ret->checks[c].result = CHECK_PASSED;
	if (!j->in->explain)
		return true;
	va_start(ap, fmt);
	(void)vsnprintf(j->ret->checks[c].detail, sizeof(j->ret->checks[c].detail), fmt, ap);
	va_end(ap);
	return true;
}

static bool not_asked(struct judging *j, enum acceptance_check c)
{
	j->ret->checks[c].result = CHECK_NOT_ASKED;
	return true;
}

__attribute__((format(printf, 5, 6))) static bool fail(struct judging *j, enum acceptance_check c,
						       enum reason reason, const char *status,
						       const char *fmt, ...)
{
	struct acceptance *a = j->ret;
	va_list ap;
	int n;

	a->failed = c;
	a->reason = reason;
	(void)snprintf(a->status, sizeof(a->status), "%s", status);
	n = snprintf(a->detail, sizeof(a->detail), "%s: ", names[c]);
	va_start(ap, fmt);
	(void)vsnprintf(a->detail + n, sizeof(a->detail) - (size_t)n, fmt, ap);
	va_end(ap);
	a->checks[c].result = CHECK_FAILED;
	(void)snprintf(a->checks[c].detail, sizeof(a->checks[c].detail), "%.*s",
		       (int)sizeof(a->checks[c].detail) - 1, a->detail + n);
	return false;
}

/* --- checks, in the order in which they are made --------------------------------------------- */

static bool check_node(struct judging *j)
{
	const struct svid *s = j->in->svid;

	if (!s || s->role != SVID_NODE || !str_eq(s->name, j->in->node) ||
	    !str_eq(s->trust_domain, j->in->policy->trust_domain))
		return fail(j, ACCEPT_NODE, REASON_ATTEST_REFUSED, "wrong_node",
			    "%.100s answered, %s was asked",
			    s ? s->id : "nobody with a certificate", j->in->node);
	return pass(j, ACCEPT_NODE, "%.100s", s->id);
}

/* A node that several patterns pin may have any of their keys. */
static bool check_key(struct judging *j)
{
	const struct policy *p = j->in->policy;
	bool pinned = false;

	for (size_t i = 0; i < p->node_count; i++) {
		const struct node_bound *b = &p->nodes[i];

		if (!b->spki_count || !text_glob(b->pattern, j->in->node))
			continue;
		pinned = true;
		for (size_t k = 0; k < b->spki_count; k++) {
			if (str_eq(b->spki[k], j->in->svid->key_id))
				return pass(j, ACCEPT_KEY, "pinned by nodes: %s", b->pattern);
		}
	}
	if (pinned)
		return fail(j, ACCEPT_KEY, REASON_ATTEST_REFUSED, "wrong_key",
			    "%s has key %.16s..., which policy does not pin for it", j->in->node,
			    j->in->svid->key_id);
	return not_asked(j, ACCEPT_KEY);
}

/*
 * A rule from a network, beside the one that asks, is one for every process there. Whoever is told
 * to be nobody in particular needs no more than his address; so does who is lied about.
 */
static bool is_for_anybody(const struct judging *j)
{
	const struct conduit *asked = j->in->asked;

	return asked && !(j->in->query->flags & PEER_LISTENER) && asked->vouched != LIVE_NONE;
}

static bool check_status(struct judging *j)
{
	uint16_t status = j->in->answer->status;

	if (status == PEER_NO_IDENTITY && is_for_anybody(j)) {
		j->anybody = true;
		j->vouched = j->in->asked;
		return pass(j, ACCEPT_STATUS, "%s, and a network's rule is for every process",
			    peer_status_name(status));
	}
	if (status != PEER_OK)
		return fail(j, ACCEPT_STATUS, REASON_ATTEST_REFUSED, peer_status_name(status),
			    "%s says %s (%u)", j->in->node, peer_status_name(status), status);
	return pass(j, ACCEPT_STATUS, "%s", peer_status_name(status));
}

/* A listener, a flow that runs, and a datagram have no handshake to be in. */
static uint32_t wanted_match(const struct peer_query *q)
{
	if (q->l4proto != IPPROTO_TCP || (q->flags & (PEER_LISTENER | PEER_ESTABLISHED)))
		return PEER_MATCH_TUPLE;
	return PEER_MATCH_TUPLE | PEER_MATCH_SYN_SENT;
}

static bool check_tuple(struct judging *j)
{
	uint32_t match = j->in->answer->match, wanted = wanted_match(j->in->query);

	if ((match & wanted) != wanted)
		return fail(j, ACCEPT_TUPLE, REASON_ATTEST_REFUSED, "no_match",
			    "%s has no socket %s of exactly this flow", j->in->node,
			    match & PEER_MATCH_TUPLE ? "that is connecting" : "at all");
	return pass(j, ACCEPT_TUPLE, "%s",
		    wanted & PEER_MATCH_SYN_SENT ? "exact, SYN_SENT" : "exact");
}

/* Takes the path out of the SPIFFE ID. */
static bool check_domain(struct judging *j)
{
	static const char scheme[] = "spiffe://";
	const char *id = j->in->answer->spiffe_id, *domain = id + sizeof(scheme) - 1, *path;
	const char *ours = j->in->policy->trust_domain;

	if (!id[0])
		return fail(j, ACCEPT_DOMAIN, REASON_ATTEST_REFUSED, "no_identity",
			    "%s names no identity", j->in->node);
	/* The text is for logs and screens from here on: nothing odd may be in it. */
	if (!spiffe_id_ok(id, NULL))
		return fail(j, ACCEPT_DOMAIN, REASON_ATTEST_REFUSED, "bad_identity",
			    "%s names what is no SPIFFE ID", j->in->node);
	path = strchr(domain, '/');
	if (!path || strlen(path + 1) >= sizeof(j->ret->identity))
		return fail(j, ACCEPT_DOMAIN, REASON_ATTEST_REFUSED, "bad_identity",
			    "%s names an identity with no path, or one longer than policy has",
			    j->in->node);
	if ((size_t)(path - domain) != strlen(ours) || memcmp(domain, ours, strlen(ours)) != 0)
		return fail(j, ACCEPT_DOMAIN, REASON_ATTEST_REFUSED, "other_domain",
			    "%.100s; trust domain %s would be right", id, ours);
	(void)snprintf(j->ret->identity, sizeof(j->ret->identity), "%s", path + 1);
	return pass(j, ACCEPT_DOMAIN, "%s", ours);
}

static bool node_has_label(const struct policy *p, const char *node, const struct label *label)
{
	for (size_t i = 0; i < p->node_count; i++) {
		const struct node_bound *b = &p->nodes[i];
		const char *value = label_value(b->labels, b->label_count, label->key);

		if (value && str_eq(value, label->value) && text_glob(b->pattern, node))
			return true;
	}
	return false;
}

static bool address_in_bounds(const struct policy *p, const char *node, const struct addr *a)
{
	for (size_t i = 0; i < p->node_count; i++) {
		const struct node_bound *b = &p->nodes[i];

		if (!text_glob(b->pattern, node))
			continue;
		if (!b->address_count)
			return true;
		for (size_t k = 0; k < b->address_count; k++) {
			if (prefix_contains(&b->addresses[k], a))
				return true;
		}
	}
	return p->node_count == 0;
}

/* As the compiler demands it (compile_place.c): a view may narrow what policy allows, not widen. */
static bool in_bounds(const struct policy *p, const char *path, const char *node,
		      const struct addr *a)
{
	int index = policy_find_identity(p, path);
	const struct identity *id = index < 0 ? NULL : &p->identities[index];
	bool may;

	if (!id || !str_eq(id->path, path) || !address_in_bounds(p, node, a))
		return false;
	may = id->placement_node_count == 0;
	for (size_t i = 0; i < id->placement_node_count && !may; i++)
		may = text_glob(id->placement_nodes[i], node);
	for (size_t i = 0; i < id->placement_label_count && may; i++)
		may = node_has_label(p, node, &id->placement_labels[i]);
	return may;
}

static const struct addr *far_address(const struct acceptance_input *in)
{
	return in->query->flags & PEER_LISTENER ? &in->query->dst : &in->query->src;
}

static bool check_placement(struct judging *j)
{
	const struct acceptance_input *in = j->in;
	const char *path = j->ret->identity;
	char text[ADDR_TEXT_MAX];

	if (j->anybody)
		return not_asked(j, ACCEPT_PLACEMENT);
	if (!view_index_owns(in->view, in->node, far_address(in)))
		return fail(j, ACCEPT_PLACEMENT, REASON_UNKNOWN_PEER, "",
			    "%s is not an address of %s in the mapping",
			    addr_format(text, far_address(in)), in->node);
	switch (view_index_placed(in->view, path, in->node, far_address(in))) {
	case VIEW_PLACED:
		break;
	case VIEW_ELSEWHERE:
		return fail(j, ACCEPT_PLACEMENT, REASON_ATTEST_REFUSED, "not_placed",
			    "%.100s runs at other addresses of %s than %s", path, in->node,
			    addr_format(text, far_address(in)));
	case VIEW_NOT_PLACED:
		return fail(j, ACCEPT_PLACEMENT, REASON_ATTEST_REFUSED, "not_placed",
			    "the mapping does not place %.100s on %s", path, in->node);
	}
	/* A conduit from it is proof that the compiler found it within the bounds. */
	if (!j->vouched && !in_bounds(in->policy, path, in->node, far_address(in)))
		return fail(j, ACCEPT_PLACEMENT, REASON_ATTEST_REFUSED, "not_placed",
			    "policy has no %.100s that may run on %s", path, in->node);
	return pass(j, ACCEPT_PLACEMENT, "%.60s on %s", path, in->node);
}

/*
 * At ingress who is vouched for goes on as the conduit of the identity; a conduit that leaves this
 * host says itself who must listen at its end.
 */
static void find_conduit(struct judging *j)
{
	const struct acceptance_input *in = j->in;

	/* Asked for people about a flow that no conduit is for. */
	if (!in->asked)
		return;
	j->vouched = generation_vouched(in->gen, in->asked, j->ret->identity);
	j->anybody = j->vouched == in->asked && is_for_anybody(j);
}

static bool check_policy(struct judging *j)
{
	const struct acceptance_input *in = j->in;
	const char *path = j->ret->identity;
	char comment[CONDUIT_COMMENT_MAX];

	if (!j->vouched && (in->query->flags & PEER_LISTENER))
		return fail(j, ACCEPT_POLICY, REASON_NO_RULE, "",
			    "%.100s listens there, which the rule does not name", path);
	if (!j->vouched)
		return fail(j, ACCEPT_POLICY, REASON_NO_RULE, "", "no rule lets %.100s do this",
			    path);
	if (j->vouched->vouched == LIVE_NONE)
		return fail(j, ACCEPT_POLICY, REASON_NO_RULE, "",
			    "%s is closed now: its window, its lease, or revoked",
			    conduit_comment(comment, in->gen, j->vouched));
	return pass(j, ACCEPT_POLICY, "%s",
		    in->explain ? conduit_comment(comment, in->gen, j->vouched) : "");
}

static bool is_reference(const struct identity *id, const uint8_t digest[PEER_DIGEST_LEN])
{
	char hex[SHA256_HEX_LEN];

	hex_format(digest, PEER_DIGEST_LEN, hex);
	for (size_t i = 0; i < id->reference_count; i++) {
		if (str_eq(id->reference[i], hex))
			return true;
	}
	return false;
}

static bool check_evidence(struct judging *j, const struct identity *id)
{
	const struct peer_answer *a = j->in->answer;

	if (!(a->match & PEER_MATCH_HOLDER))
		return fail(j, ACCEPT_MEASURED, REASON_NOT_MEASURED, "",
			    "%s does not say which process holds the socket", j->in->node);
	/* A warning is what a package upgrade looks like; the far host's own setting makes more. */
	if (a->evidence != PEER_EVIDENCE_AFFIRMING && a->evidence != PEER_EVIDENCE_WARNING)
		return fail(j, ACCEPT_MEASURED, REASON_NOT_MEASURED, "",
			    "%s appraises the executable as %s (%u)", j->in->node,
			    a->evidence == PEER_EVIDENCE_CONTRAINDICATED ? "contraindicated"
									 : "unknown",
			    a->evidence);
	if (!a->has_sha256)
		return fail(j, ACCEPT_MEASURED, REASON_NOT_MEASURED, "",
			    "%s gives no digest of the executable", j->in->node);
	if (!is_reference(id, a->sha256)) {
		char hex[SHA256_HEX_LEN];

		hex_format(a->sha256, PEER_DIGEST_LEN, hex);
		return fail(j, ACCEPT_MEASURED, REASON_NOT_MEASURED, "",
			    "executable %.16s... is no reference value of %.100s", hex, id->path);
	}
	return pass(j, ACCEPT_MEASURED, "%s",
		    a->evidence == PEER_EVIDENCE_WARNING
			    ? "reference value; replaced on disk since it started"
			    : "reference value");
}

static bool check_measured(struct judging *j)
{
	const struct policy *p = j->in->policy;
	int index;

	/* It is the caller that a rule wants measured. */
	if (j->anybody || (j->in->query->flags & PEER_LISTENER) ||
	    j->vouched->assurance != ASSURANCE_MEASURED)
		return not_asked(j, ACCEPT_MEASURED);
	index = policy_find_identity(p, j->ret->identity);
	if (index < 0 || !str_eq(p->identities[index].path, j->ret->identity))
		return fail(j, ACCEPT_MEASURED, REASON_NOT_MEASURED, "",
			    "policy has no reference values of %.100s", j->ret->identity);
	return check_evidence(j, &p->identities[index]);
}

void acceptance_judge(const struct acceptance_input *in, struct acceptance *ret)
{
	struct judging j = {.in = in, .ret = ret};

	memset(ret, 0, sizeof(*ret));
	if (!check_node(&j) || !check_key(&j) || !check_status(&j))
		return;
	if (!j.anybody && (!check_tuple(&j) || !check_domain(&j)))
		return;
	if (!j.anybody)
		find_conduit(&j);
	if (!check_placement(&j) || !check_policy(&j) || !check_measured(&j))
		return;
	ret->accepted = true;
	ret->number = j.vouched->number;
	ret->reason = REASON_PERMITTED;
}
