/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/verdict_text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

struct reason_text {
	const char *meaning, *advice;
};

static const struct reason_text reason_texts[REASON_COUNT] = {
	[REASON_PERMITTED] = {"a rule permits it", ""},
	[REASON_ESSENTIAL] = {"an essential of agent.yaml permits it", ""},
	[REASON_NO_RULE] = {"no rule allows it", "add a rule, or widen the nearest one"},
	[REASON_NO_IDENTITY] = {"the local process has no identity",
				"give it one: an identity whose workload matches the process"},
	[REASON_NOT_PLACED] =
		{"the identity is not placed on this node",
		 "place it here (bailiwick-controller place, or view.json), within placement and "
		 "nodes of the policy"},
	[REASON_LEASE_ENDED] = {"the rule's permission has ended", "renew the rule's expires"},
	[REASON_OUTSIDE_WINDOW] = {"the rule's window is closed now",
				   "wait for the window, or change it"},
	[REASON_REVOKED] = {"it was revoked",
			    "bailiwick status says until when and by whom: bailiwick release "
			    "there, or bailiwick-controller release"},
	[REASON_QUARANTINED] = {"one end is in quarantine",
				"bailiwick status says by whom: bailiwick release identity PATH "
				"there, or bailiwick-controller release PATH"},
	[REASON_ATTEST_TIMEOUT] = {"the caller's agent did not answer in time",
				   "look at that agent and at the path to its port"},
	[REASON_ATTEST_REFUSED] = {"the caller's agent does not vouch for it",
				   "the status says why; run the process under its identity"},
	[REASON_ATTEST_UNAVAILABLE] = {"nobody can vouch for the caller",
				       "start the caller's agent, or let the rule say mapped"},
	[REASON_ALLOWED_UNAVAILABLE] = {"nobody could vouch, and the rule lets that pass",
					"start the caller's agent"},
	[REASON_NOT_MEASURED] = {"the executable is not one of the approved ones",
				 "approve its digest under reference, or roll it back"},
	[REASON_QUEUE_FULL] = {"too many questions were waiting",
			       "look for a flood of new connections; the next try may pass"},
	[REASON_PEER_BUSY] = {"the caller's agent was too busy to answer", "try again"},
	[REASON_UNKNOWN_PEER] = {"the far end is placed nowhere that this node knows of",
				 "let a rule name it and place it (bailiwick-controller place, or "
				 "peers of view.json): a node knows only whom its rules name"},
	[REASON_UNKNOWN_CGROUP] = {"the process group is too new to be known",
				   "try again: it is looked at within milliseconds"},
	[REASON_UNCLAIMED] = {"the local process matches no identity",
			      "give it one: an identity whose workload matches the process"},
	[REASON_NO_SOCKET] = {"no socket belongs to the packet",
			      "kernel traffic is named under essentials: kernel"},
	[REASON_WRONG_STATE] = {"the packet opens nothing and belongs to no known flow",
				"the program opens a new connection"},
	[REASON_AMBIGUOUS] = {"two identities claim the process group",
			      "make their workload selectors disjoint"},
	[REASON_RECEIVER_CHANGED] = {"another process than the permitted one receives there now",
				     "stop what listens there, or give it the identity"},
	[REASON_RESYNC] = {"the flow was classified again after a change", ""},
	[REASON_EXPECTED] = {"a connection helper expects the flow and no rule allows it",
			     "add a rule for the data connection"},
	[REASON_UNTRACKED] = {"the packet was kept out of connection tracking",
			      "find the notrack rule: bailiwick doctor"},
	[REASON_FOREIGN_MARK] = {"something else has written the connection's mark",
				 "find the writer: bailiwick doctor"},
	[REASON_NOT_OWNER] = {"the table belongs to somebody else",
			      "find who made a table of that name: bailiwick doctor"},
	[REASON_STALE_VIEW] = {"the mapping is too old for this rule", "bring the view up to date"},
	[REASON_MALFORMED] = {"the packet could not be understood", ""},
};

/* The same reason as an end of expires:, because the kernel sees but a lease that is not there. */
static bool lacks_grant(const struct verdict *v)
{
	return v->reason == REASON_LEASE_ENDED && str_starts(v->fails_on, "grantable:");
}

const char *verdict_meaning(const struct verdict *v)
{
	return lacks_grant(v) ? "the rule opens by grants only, and none is in force"
			      : reason_meaning(v->reason);
}

const char *reason_meaning(enum reason r)
{
	return reason_texts[r].meaning;
}

const char *reason_advice(enum reason r)
{
	return reason_texts[r].advice;
}

int reason_parse(const char *text, enum reason *ret)
{
	size_t len = strcspn(text, ":");

	for (int i = 0; i < REASON_COUNT; i++) {
		const char *name = reason_name((enum reason)i);

		if (strlen(name) == len && memcmp(name, text, len) == 0) {
			*ret = (enum reason)i;
			return 0;
		}
	}
	return -ENOENT;
}

void verdict_because(const struct verdict *v, enum node_mode mode, struct buf *b)
{
	buf_printf(b, "%s (%s); mode %s", verdict_meaning(v), reason_name(v->reason),
		   mode_name(mode));
	switch (v->decision) {
	case DECISION_ALLOWED:
		break;
	case DECISION_WOULD_DENY:
		buf_puts(b, "; recorded and let pass, because of mode observe");
		break;
	case DECISION_DENIED:
		buf_puts(b, v->answer == DENY_REJECT
				    ? "; answer reject, so the caller fails at once"
				    : "; answer drop, so the caller waits and times out");
		break;
	}
}

void workload_entry_text(const struct workload_entry *w, struct buf *b)
{
	for (size_t i = 0; i < w->selector_count; i++)
		buf_printf(b, "%s%s %s", i > 0 ? ", " : "", selector_name(w->selectors[i].kind),
			   w->selectors[i].value);
}

const char *line_format(char buf[POS_TEXT_MAX], const struct policy *p, const struct pos *pos)
{
	const char *file = pos->file < p->file_count ? p->files[pos->file] : "?";

	(void)snprintf(buf, POS_TEXT_MAX, "%s:%u", file, pos->line);
	return buf;
}

/* First unit, slice, ... of some other identity that the rule names: where to run the process. */
static void put_instead(const struct policy *p, const struct rule *rule, struct buf *b)
{
	for (size_t i = 0; i < rule->from_party_count; i++) {
		const struct identity *id;

		if (rule->from_parties[i].kind != PARTY_IDENTITY)
			continue;
		id = &p->identities[rule->from_parties[i].index];
		if (id->workload_count == 0 || id->workload[0].selector_count == 0)
			continue;
		buf_puts(b, ", or run the process as ");
		workload_entry_text(&id->workload[0], b);
		return;
	}
}

/* The line to type, with the names that are known. */
static void put_grant(const struct policy *p, const struct verdict *v, struct buf *b)
{
	const struct rule *rule = &p->rules[v->nearest];
	char max[DURATION_TEXT_MAX];

	buf_printf(b, "have it granted, for at most %s: bailiwick-controller grant %s",
		   duration_format(max, rule->grant_max_s), rule->name);
	if (v->from_identity >= 0 && v->to_identity >= 0)
		buf_printf(b, " --from %s --to %s", p->identities[v->from_identity].path,
			   p->identities[v->to_identity].path);
	buf_puts(b, " --for DURATION --reason TEXT; without a controller bailiwick grant, on both "
		    "hosts");
}

void verdict_to_allow(const struct policy *p, const struct verdict *v, struct buf *b)
{
	const struct rule *rule;
	char at[POS_TEXT_MAX];

	if (v->decision == DECISION_ALLOWED)
		return;
	if (lacks_grant(v) && v->nearest >= 0) {
		put_grant(p, v, b);
		return;
	}
	if (v->reason != REASON_NO_RULE || v->nearest < 0) {
		buf_puts(b, reason_advice(v->reason));
		return;
	}
	rule = &p->rules[v->nearest];
	(void)line_format(at, p, &rule->pos);
	if (str_starts(v->fails_on, "from:") && v->from_identity < 0) {
		buf_printf(b, "name the caller's address as a network and add that to from: of %s",
			   at);
	} else if (str_starts(v->fails_on, "from:")) {
		buf_printf(b, "add %s to from: of %s", p->identities[v->from_identity].name, at);
		put_instead(p, rule, b);
	} else if (str_starts(v->fails_on, "to:") && v->to_identity >= 0) {
		buf_printf(b, "add %s to to: of %s", p->identities[v->to_identity].name, at);
	} else if (str_starts(v->fails_on, "to:")) {
		buf_printf(b, "name that address as a network and add that to to: of %s", at);
	} else if (str_starts(v->fails_on, "services:")) {
		buf_printf(b, "add the service to services: of %s", at);
	} else {
		buf_printf(b, "see %s: %s", at, v->fails_on);
	}
}
