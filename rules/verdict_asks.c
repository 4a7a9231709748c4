/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/verdict_asks.h"

#include "base/text.h"

static const char *name_of(const struct policy *p, int identity, const char *otherwise)
{
	return identity < 0 ? otherwise : p->identities[identity].name;
}

static void put_agent(const char *node, const char *otherwise, struct buf *b)
{
	if (node)
		buf_printf(b, "%s's agent", node);
	else
		buf_printf(b, "the agent of the %s's node", otherwise);
}

static void put_caller(const struct policy *p, const struct rule *rule, int from, const char *node,
		       struct buf *b)
{
	put_agent(node, "caller", b);
	buf_printf(b, " must vouch for %s", name_of(p, from, "the caller"));
	if (rule->assurance != ASSURANCE_MEASURED)
		return;
	buf_puts(b, " and for its executable");
	if (from >= 0)
		buf_printf(b, " (%zu reference value%s)", p->identities[from].reference_count,
			   p->identities[from].reference_count == 1 ? "" : "s");
}

void verdict_asks(const struct policy *p, const struct rule *rule, int from, int to,
		  const char *from_node, const char *to_node, struct buf *b)
{
	bool caller = rule->assurance >= ASSURANCE_ATTESTED;

	if ((!caller && !rule->callee_attested) ||
	    (from_node && to_node && str_eq(from_node, to_node)))
		return;
	buf_puts(b, "for each connection ");
	if (caller)
		put_caller(p, rule, from, from_node, b);
	if (rule->callee_attested) {
		buf_puts(b, caller ? ", and " : "");
		put_agent(to_node, "called", b);
		buf_printf(b, " that %s listens there", name_of(p, to, "the called one"));
	}
	buf_puts(b, rule->on_unavailable == ON_UNAVAILABLE_ALLOW
			    ? "; where nobody can say, it passes (allowed_unavailable)"
			    : "; where nobody can say, it is denied (attest_unavailable)");
}
