/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/property/property.h"

#include <time.h>

static void text_list(struct buf *b, const char *key, const char *const *items, size_t count)
{
	if (count == 0)
		return;
	buf_printf(b, ", %s: [", key);
	for (size_t i = 0; i < count; i++)
		buf_printf(b, "%s\"%s\"", i == 0 ? "" : ", ", items[i]);
	buf_puts(b, "]");
}

static const char *answer_text(enum deny_answer a)
{
	return a == DENY_DROP ? "drop" : "reject";
}

static void identity_text(struct buf *b, size_t i, const struct model_identity *id)
{
	buf_printf(b, "  - {name: i%zu, path: prod/i%zu, workload: [{unit: i%zu.service}]", i, i,
		   i);
	buf_printf(b, ", labels: [vendor=%s]", id->vendor ? "x" : "y");
	text_list(b, "serves", id->serves, id->serves_count);
	if (id->placement != NULL)
		buf_printf(b, ", placement: {nodes: [\"%s\"]}", id->placement);
	if (id->observe)
		buf_puts(b, ", mode: observe");
	if (id->floor != ASSURANCE_DEFAULT)
		buf_printf(b, ", min_assurance: %s", assurance_name(id->floor));
	buf_printf(b, ", reference: [\"%064zx\"]", i + 1);
	if (id->deny_out != DENY_DEFAULT)
		buf_printf(b, ", deny_out: %s", answer_text(id->deny_out));
	if (id->deny_in != DENY_DEFAULT)
		buf_printf(b, ", deny_in: %s", answer_text(id->deny_in));
	buf_puts(b, "}\n");
}

static void subjects_text(struct buf *b, const char *key, const int parties[2])
{
	buf_printf(b, ", %s: [", key);
	for (int i = 0; i < 2 && parties[i] >= 0; i++) {
		buf_puts(b, i == 0 ? "" : ", ");
		if (parties[i] < IDENTITIES_MAX)
			buf_printf(b, "i%d", parties[i]);
		else
			buf_printf(b, "w%d", parties[i] - IDENTITIES_MAX);
	}
	buf_puts(b, "]");
}

/* Open or closed now, with three hours on either side. */
static void window_text(struct buf *b, int window, struct wall now)
{
	time_t s = (time_t)now.s;
	struct tm tm;
	int from, to;

	if (window == 0 || gmtime_r(&s, &tm) == NULL)
		return;
	from = window > 0 ? (tm.tm_hour + 21) % 24 : (tm.tm_hour + 4) % 24;
	to = window > 0 ? (tm.tm_hour + 4) % 24 : (tm.tm_hour + 21) % 24;
	buf_printf(b,
		   ", window: {days: [mon, tue, wed, thu, fri, sat, sun], from: \"%02d:00\", "
		   "to: \"%02d:00\", zone: UTC}",
		   from, to);
}

static void rule_text(struct buf *b, const struct model_rule *rule, struct wall now)
{
	char text[RFC3339_TEXT_MAX];
	struct wall end = {now.s + 3600 * (int64_t)rule->expires};

	buf_printf(b, "  - {name: r%03u, purpose: p, owner: o", rule->id);
	subjects_text(b, "from", rule->from);
	subjects_text(b, "to", rule->to);
	text_list(b, "services", rule->services, rule->service_count);
	if (rule->expires != 0)
		buf_printf(b, ", expires: %s", rfc3339_format(text, end));
	window_text(b, rule->window, now);
	if (rule->observe)
		buf_puts(b, ", mode: observe");
	if (rule->open_on_clock_loss)
		buf_puts(b, ", on_clock_loss: open");
	if (rule->grantable)
		buf_puts(b, ", grantable: {max: 8h}");
	if (rule->ends_stale)
		buf_puts(b, ", on_stale: end");
	if (rule->assurance != ASSURANCE_MAPPED)
		buf_printf(b, ", assurance: %s", assurance_name(rule->assurance));
	if (rule->callee)
		buf_puts(b, ", callee: attested");
	if (rule->open_unavailable)
		buf_puts(b, ", on_unavailable: allow");
	buf_puts(b, "}\n");
}

static void nodes_text(struct buf *b, unsigned nodes)
{
	static const char *const texts[] = {
		"",
		"nodes:\n  - {pattern: \"h-*\"}\n  - {pattern: \"n-*\"}\n",
		"nodes:\n  - {pattern: \"h-*\"}\n"
		"  - {pattern: \"n-*\", addresses: [\"10.77.0.8/30\", \"fd77::/64\", "
		"\"10.78.0.9\"]}\n",
		"nodes:\n  - {pattern: \"h-0\", addresses: [\"10.77.0.0/24\", \"fd77::/64\"]}\n"
		"  - {pattern: \"n-1\"}\n"
		"  - {pattern: \"*-3\", addresses: [\"10.78.0.0/16\", \"fd78::/64\"]}\n",
	};

	buf_puts(b, texts[nodes % NODE_TEXTS]);
}

void model_text(const struct model *m, struct wall now, struct buf *b)
{
	buf_puts(b, "trust_domain: acme.example\n");
	buf_printf(b, "defaults: {assurance: mapped, deny_out: %s, deny_in: %s}\n",
		   m->drop_out ? "drop" : "reject", m->reject_in ? "reject" : "drop");
	buf_puts(b, "identities:\n");
	for (size_t i = 0; i < m->identity_count; i++)
		identity_text(b, i, &m->identities[i]);
	buf_puts(b, "networks:\n");
	for (size_t i = 0; i < m->network_count; i++) {
		buf_printf(b, "  - {name: w%zu, labels: [vendor=z]", i);
		text_list(b, "cidrs", m->networks[i], m->networks[i][1] == NULL ? 1 : 2);
		buf_puts(b, "}\n");
	}
	nodes_text(b, m->nodes);
	if (m->rule_count > 0)
		buf_puts(b, "rules:\n");
	for (size_t i = 0; i < m->rule_count; i++)
		rule_text(b, &m->rules[i], now);
}
