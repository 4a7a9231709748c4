/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Each rule by itself, once its parties are known: assurance, services, dates. */
#include "rules/policy_build.h"

#include "base/mem.h"
#include "base/text.h"
#include "rules/policy_grammar.h"

#include <errno.h>
#include <string.h>

#define SERVERS_TRIED_MAX 64

struct sides {
	const struct list_summary *from, *to;
};

static struct sides sides_of(const struct policy *p, const struct rule *rule)
{
	return (struct sides){.from = &p->build->summaries[rule->from_list],
			      .to = &p->build->summaries[rule->to_list]};
}

static uint32_t some_network(const struct sides *s)
{
	return s->from->first_network != NO_PARTY ? s->from->first_network : s->to->first_network;
}

/* ---- assurance ---- */

static void refuse_network_attested(struct policy *p, const struct rule *rule, uint32_t network)
{
	policy_error(
		p, &rule->assurance_pos,
		"rule \"%s\" demands %s, but network \"%s\" is only addresses, which cannot be "
		"more than mapped" ADVISE "write assurance: mapped",
		rule->name, assurance_name(rule->assurance), p->networks[network].name);
}

static bool available(const struct policy *p, enum assurance a)
{
	return a <= ASSURANCE_MAPPED || (a == ASSURANCE_ATTESTED && p->build->features->attested);
}

/* The floors that identities set. */
static void check_floors_available(struct policy *p)
{
	for (size_t i = 0; i < p->identity_count; i++) {
		const struct identity *id = &p->identities[i];

		if (!available(p, id->min_assurance))
			policy_error(p, &id->min_assurance_pos,
				     "min_assurance: %s is not available on this node yet" ADVISE
				     "write min_assurance: mapped, or remove it",
				     assurance_name(id->min_assurance));
	}
}

static void check_floor(struct policy *p, const struct rule *rule, const struct list_summary *s)
{
	const struct identity *id;

	if (s->highest_floor == NO_PARTY)
		return;
	id = &p->identities[s->highest_floor];
	if (id->min_assurance > rule->assurance)
		policy_warn(p, &rule->assurance_pos,
			    "rule \"%s\" (%s) opens nothing for \"%s\", whose "
			    "min_assurance is %s" ADVISE "raise the rule's assurance",
			    rule->name, assurance_name(rule->assurance), id->name,
			    assurance_name(id->min_assurance));
}

/* UC-8: where the risk is high an address alone is little. */
static void warn_critical(struct policy *p, const struct rule *rule, const struct sides *s)
{
	uint32_t critical = s->to->critical != NO_PARTY ? s->to->critical : s->from->critical;
	const struct identity *id;

	if (critical == NO_PARTY)
		return;
	id = &p->identities[critical];
	policy_warn(p, &rule->assurance_pos,
		    "rule \"%s\" rests on addresses alone (mapped), and \"%s\" has tier=%s" ADVISE
		    "demand attested as soon as its nodes can",
		    rule->name, id->name, label_value(id->labels, id->label_count, "tier"));
}

static void check_assurance(struct policy *p, struct rule *rule, const struct sides *s)
{
	bool own = rule->assurance != ASSURANCE_DEFAULT;
	uint32_t network = some_network(s);

	if (!own)
		rule->assurance = p->assurance;
	if (rule->damaged)
		return;
	if (rule->assurance == ASSURANCE_MEASURED && rule->on_unavailable == ON_UNAVAILABLE_ALLOW)
		policy_error(p, &rule->assurance_pos,
			     "rule \"%s\" demands measured and has on_unavailable: allow" ADVISE
			     "write on_unavailable: deny",
			     rule->name);
	/* A default of measured is refused once, where it is written. */
	if (rule->assurance == ASSURANCE_MEASURED && own)
		policy_error(p, &rule->assurance_pos,
			     "assurance: measured is not available on this node yet" ADVISE
			     "write assurance: mapped");
	else if (rule->assurance == ASSURANCE_ATTESTED && network != NO_PARTY)
		refuse_network_attested(p, rule, network);
	else if (rule->assurance == ASSURANCE_ATTESTED && !p->build->features->attested)
		policy_error(p, &rule->assurance_pos,
			     "rule \"%s\" demands attested; this node cannot attest yet" ADVISE
			     "write assurance: mapped",
			     rule->name);
	check_floor(p, rule, s->from);
	check_floor(p, rule, s->to);
	if (rule->assurance == ASSURANCE_MAPPED)
		warn_critical(p, rule, s);
}

/* ---- services ---- */

static void check_ranges(struct policy *p, const struct rule *rule, const struct sides *s)
{
	char text[SERVICE_TEXT_MAX];

	if (s->from->first_identity == NO_PARTY || s->to->first_identity == NO_PARTY)
		return;
	for (size_t i = 0; i < rule->service_count; i++) {
		unsigned ports = (unsigned)rule->services[i].last - rule->services[i].first + 1;

		/* `any` is no range: it has sets of its own, without a port in their keys. */
		if (ports > SERVICE_RANGE_MAX && !service_is_any(&rule->services[i]))
			policy_error(p, &rule->services_pos,
				     "rule \"%s\": %s is %u ports, between identities at most %d "
				     "are allowed" ADVISE "name the ports that are served",
				     rule->name, service_format(text, &rule->services[i]), ports,
				     SERVICE_RANGE_MAX);
	}
}

/* An identity that says nothing about what it serves may serve anything. */
static bool serves(const struct identity *id, const struct service *s)
{
	for (size_t i = 0; i < id->serves_count; i++) {
		if (service_overlaps(&id->serves[i], s))
			return true;
	}
	return id->serves_count == 0;
}

static bool somebody_serves(const struct policy *p, const struct rule *rule,
			    const struct service *s)
{
	for (size_t i = 0; i < rule->to_party_count; i++) {
		const struct party_ref *to = &rule->to_parties[i];

		if (i >= SERVERS_TRIED_MAX || to->kind == PARTY_NETWORK ||
		    serves(&p->identities[to->index], s))
			return true;
	}
	return rule->to_party_count == 0;
}

static void check_served(struct policy *p, const struct rule *rule)
{
	char text[SERVICE_TEXT_MAX];

	for (size_t i = 0; i < rule->service_count; i++) {
		const struct service *s = &rule->services[i];

		/* Echo is answered by the node's kernel. */
		if (service_is_echo(s) || somebody_serves(p, rule, s))
			continue;
		policy_warn(p, &rule->services_pos,
			    "rule \"%s\": nobody under to: serves %s" ADVISE
			    "add it to serves: of the destination, or correct it here",
			    rule->name, service_format(text, s));
	}
}

/* ---- dates ---- */

static void check_dates(struct policy *p, const struct rule *rule)
{
	const struct policy_features *f = p->build->features;
	struct wall now = p->build->now, review;
	char quoted[YAML_QUOTE_MAX];

	if (rule->has_expires && !rule->damaged && rule->expires.s <= now.s)
		policy_warn(p, &rule->pos,
			    "rule \"%s\" has expired and opens nothing" ADVISE
			    "remove it, or give it a later expires:",
			    rule->name);
	if (rule->review != NULL && date_parse(rule->review, &review) == 0 && review.s <= now.s)
		policy_warn(p, &rule->pos,
			    "rule \"%s\" is due for review since %s" ADVISE
			    "review it and set the next date",
			    rule->name, rule->review);
	if (rule->has_window && rule->window.zone[0] != '\0' && f->zone_known != NULL &&
	    !f->zone_known(f->user, rule->window.zone))
		policy_error(p, &rule->window_pos,
			     "no time zone is called %s" ADVISE
			     "write a name of the tz database, like Europe/Berlin",
			     yaml_quote(quoted, rule->window.zone));
}

/* ---- all ---- */

static void check_rule(struct policy *p, struct rule *rule)
{
	struct sides s = sides_of(p, rule);

	check_assurance(p, rule, &s);
	if (s.from->first_identity == NO_PARTY && s.to->first_identity == NO_PARTY &&
	    s.from->first_network != NO_PARTY && s.to->first_network != NO_PARTY)
		policy_error(p, &rule->pos,
			     "rule \"%s\" has only networks at both ends, where nobody "
			     "enforces it" ADVISE "name an identity at one end",
			     rule->name);
	check_ranges(p, rule, &s);
	check_served(p, rule);
	check_dates(p, rule);
}

/* One line for all: at ingress an address is the node, so any of its processes may call (R19). */
void policy_summarize_mapped(struct policy *p)
{
	const struct rule *first = NULL;
	size_t count = 0;

	for (size_t i = 0; i < p->rule_count; i++) {
		struct sides s = sides_of(p, &p->rules[i]);

		if (p->rules[i].assurance != ASSURANCE_MAPPED ||
		    s.from->first_identity == NO_PARTY || s.to->first_identity == NO_PARTY)
			continue;
		if (first == NULL)
			first = &p->rules[i];
		count++;
	}
	if (first != NULL)
		policy_warn(p, &first->assurance_pos,
			    "%zu %s mapped: the called host admits every process of the caller's "
			    "node, and only the caller's own agent tells its processes apart" ADVISE
			    "demand attested where that is too little, as soon as nodes can",
			    count, count == 1 ? "rule is" : "rules are");
}

int policy_check_rules(struct policy *p)
{
	if (p->assurance == ASSURANCE_MEASURED)
		policy_error(p, &p->build->assurance_pos,
			     "assurance: measured is not available on this node yet" ADVISE
			     "write assurance: mapped");
	check_floors_available(p);
	for (size_t i = 0; i < p->rule_count; i++)
		check_rule(p, &p->rules[i]);
	return 0;
}
