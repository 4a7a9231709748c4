/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/why_attest.h"

#include "agent/attested.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/verdict_text.h"

#include <string.h>

/* Words behind attest_refused: those of the peer protocol, then those of agent/acceptance.c. */
static const struct status_text {
	const char *status;
	const char *meaning; /* "NODE's agent does not vouch for it: ..." */
	const char *advice;  /* %s: the node; in each once */
} statuses[] = {
	{"no_socket", "no process there has this connection",
	 "find out what sends from %s's address without being a process of it: another host that "
	 "took the address, a container with a network of its own, a gateway that rewrites "
	 "addresses"},
	{"wrong_state", "the socket there is not opening a connection",
	 "look for forged packets: no program on %s opens this connection now"},
	{"isn_mismatch", "the socket there sent another packet than this one",
	 "look for forged packets, or for a gateway between %s and here that rewrites them"},
	{"no_identity", "the process there matches no identity",
	 "give it one, an identity whose workload matches the process; see bailiwick inventory on "
	 "%s"},
	{"not_my_address", "it does not have that address",
	 "correct the mapping, or give %s its address back"},
	{"egress_denied", "its own policy does not let the process call here",
	 "ask bailiwick why on %s: the two hosts may have different policies or mappings"},
	{"busy", "it has too much to do", "try again, and look at the load of %s"},
	{"revision_skew", "it has another policy than this node",
	 "see by bailiwick status, here and on %s, which of the two is behind"},
	{"holder_mismatch", "a process outside of the socket's process group holds the socket",
	 "look on %s for a process that was given the socket, or was moved between units"},
	{"ambiguous", "two identities claim the process there",
	 "make their selectors disjoint; bailiwick identities on %s names both"},
	{"internal", "it failed to find out", "see the log of bailiwickd on %s"},
	{"wrong_node", "what answered has another node's certificate",
	 "find out what answers at the address of %s's agent"},
	{"wrong_key", "its key is not the one that policy pins",
	 "find out who has a certificate of %s; if its key was renewed, sign a policy with the new "
	 "spki"},
	{"no_match", "it knows no connecting socket of exactly this flow",
	 "look for forged packets; update bailiwickd on %s if it stays"},
	{"bad_identity", "what it names is no SPIFFE ID", "update bailiwickd on %s"},
	{"other_domain", "it names an identity of another trust domain", "see trust_domain: on %s"},
	{"not_placed", "the mapping does not place that identity there",
	 "place it on %s, within placement and nodes of the policy, or stop it there"},
};

static const struct status_text *find_status(const char *status)
{
	for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
		if (str_eq(statuses[i].status, status))
			return &statuses[i];
	}
	return NULL;
}

bool why_is_question(enum reason reason)
{
	return reason == REASON_ATTEST_TIMEOUT || reason == REASON_ATTEST_REFUSED ||
	       reason == REASON_ATTEST_UNAVAILABLE || reason == REASON_ALLOWED_UNAVAILABLE ||
	       reason == REASON_NOT_MEASURED || reason == REASON_PEER_BUSY ||
	       reason == REASON_UNKNOWN_PEER;
}

/* Questions without an answer have no check; what failed is getting one. */
static const char *check_word(enum acceptance_check check, const struct record *r)
{
	if (check < ACCEPT_CHECKS)
		return acceptance_name(check);
	return r->reason == REASON_ATTEST_TIMEOUT ? "answer" : "connection";
}

json_t *why_failed(const struct record *r, const char *here)
{
	const struct record_evidence *e = &r->evidence;
	enum acceptance_check check;
	const char *detail;

	if (!e->asked || !e->check)
		return json_null();
	check = attested_check(e->check, &detail);
	return json_pack("{s:s,s:s,s:o}", "check", check_word(check, r), "node",
			 attested_is_far(check) ? e->asked : here, "detail",
			 json_host_string(detail));
}

void why_question_because(const struct record *r, struct buf *b)
{
	const char *node = r->evidence.asked;
	const struct status_text *s = find_status(r->status);

	if (r->reason == REASON_ATTEST_REFUSED && node)
		buf_printf(b, "%s's agent does not vouch for it%s%s", node, s ? ": " : "",
			   s ? s->meaning : "");
	else if (r->reason == REASON_ATTEST_TIMEOUT && node)
		buf_printf(b, "%s's agent did not answer in time", node);
	else if (r->reason == REASON_ATTEST_UNAVAILABLE && node)
		buf_printf(b, "%s's agent cannot be asked", node);
	else if (r->reason == REASON_PEER_BUSY && node)
		buf_printf(b, "%s's agent was too busy to answer", node);
	else
		buf_puts(b, reason_meaning((enum reason)r->reason));
}

/* The one %s of an advice. */
static void put_node(struct buf *b, const char *advice, const char *node)
{
	const char *at = strstr(advice, "%s");

	buf_add(b, advice, (size_t)(at - advice));
	buf_puts(b, node);
	buf_puts(b, at + 2);
}

void why_question_advice(const struct record *r, struct buf *b)
{
	const char *node = r->evidence.asked;
	const struct status_text *s = find_status(r->status);

	if (!node)
		return;
	if (r->reason == REASON_ATTEST_REFUSED && s)
		put_node(b, s->advice, node);
	else if (r->reason == REASON_ATTEST_TIMEOUT)
		buf_printf(b, "see that bailiwickd on %s is well and the path to its port is quick",
			   node);
	else if (r->reason == REASON_ATTEST_UNAVAILABLE)
		buf_printf(b,
			   "start bailiwickd on %s and open the path to its port, or let the rule "
			   "say on_unavailable: allow",
			   node);
	else if (r->reason == REASON_PEER_BUSY)
		buf_printf(b, "try again; look at the load of %s", node);
}

void why_question_next(const struct record *r, struct buf *b)
{
	if (r->evidence.asked && why_is_question((enum reason)r->reason) &&
	    r->reason != REASON_NOT_MEASURED)
		buf_printf(b, "bailiwick attest ping %s", r->evidence.asked);
}
