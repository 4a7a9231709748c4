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
	return a <= ASSURANCE_MAPPED || p->build->features->attested;
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
	/* An address is all there is of a network: a rule with one cannot demand more. */
	bool network = some_network(s) != NO_PARTY;
	const struct identity *id;

	if (critical == NO_PARTY)
		return;
	id = &p->identities[critical];
	policy_warn(p, &rule->assurance_pos,
		    "rule \"%s\" rests on addresses alone (mapped), and \"%s\" has tier=%s" ADVISE
		    "%s",
		    rule->name, id->name, label_value(id->labels, id->label_count, "tier"),
		    network ? "keep the network narrow" : "demand attested");
}

/* What a rule above mapped needs: somebody who can vouch, and something to compare with. */
static void check_vouched(struct policy *p, const struct rule *rule, const struct sides *s)
{
	const char *demanded = assurance_name(rule->assurance);
	uint32_t network = some_network(s);

	if (network != NO_PARTY)
		refuse_network_attested(p, rule, network);
	else if (!p->build->features->attested)
		policy_error(p, &rule->assurance_pos,
			     "rule \"%s\" demands %s; this node cannot attest yet" ADVISE
			     "write assurance: mapped",
			     rule->name, demanded);
	else if (s->from->claimed != NO_PARTY)
		policy_error(p, &rule->assurance_pos,
			     "rule \"%s\" demands %s, and \"%s\" is told by a cgroup that its user "
			     "may enter with any process" ADVISE
			     "run it in a unit or slice of the system, or write assurance: mapped",
			     rule->name, demanded, p->identities[s->from->claimed].name);
	if (rule->assurance == ASSURANCE_MEASURED && s->from->unmeasurable != NO_PARTY &&
	    network == NO_PARTY)
		policy_error(p, &rule->assurance_pos,
			     "rule \"%s\" demands measured, and \"%s\" has no reference values to "
			     "compare with" ADVISE
			     "write reference: [SHA-256 of its executable] at that identity",
			     rule->name, p->identities[s->from->unmeasurable].name);
	if (rule->assurance == ASSURANCE_MEASURED && rule->on_unavailable == ON_UNAVAILABLE_ALLOW)
		policy_error(p, &rule->assurance_pos,
			     "rule \"%s\" demands measured and has on_unavailable: allow" ADVISE
			     "write on_unavailable: deny",
			     rule->name);
}

static void check_callee(struct policy *p, const struct rule *rule, const struct sides *s)
{
	if (!rule->callee_attested || rule->damaged)
		return;
	if (s->to->first_network != NO_PARTY)
		policy_error(p, &rule->callee_pos,
			     "rule \"%s\" asks who listens, but in network \"%s\" nobody can "
			     "answer" ADVISE "remove callee: attested",
			     rule->name, p->networks[s->to->first_network].name);
	else if (!p->build->features->attested)
		policy_error(p, &rule->callee_pos,
			     "rule \"%s\" asks who listens; this node cannot ask yet" ADVISE
			     "write callee: mapped, or remove it",
			     rule->name);
}

/* No socket stands behind an echo, so nobody can vouch for it (R6). */
static void check_echo(struct policy *p, const struct rule *rule)
{
	bool asks = rule->assurance > ASSURANCE_MAPPED || rule->callee_attested;

	for (size_t i = 0; i < rule->service_count; i++) {
		char text[SERVICE_TEXT_MAX];

		if (!asks || rule->on_unavailable == ON_UNAVAILABLE_ALLOW ||
		    !service_is_echo(&rule->services[i]))
			continue;
		policy_warn(p, &rule->services_pos,
			    "rule \"%s\" demands attested, and nobody can vouch for %s: it stays "
			    "closed" ADVISE
			    "write a rule of its own for it, with assurance: mapped",
			    rule->name, service_format(text, &rule->services[i]));
		return;
	}
}

static void check_assurance(struct policy *p, struct rule *rule, const struct sides *s)
{
	if (rule->assurance == ASSURANCE_DEFAULT)
		rule->assurance = p->assurance;
	check_callee(p, rule, s);
	if (rule->damaged)
		return;
	if (rule->assurance > ASSURANCE_MAPPED)
		check_vouched(p, rule, s);
	check_echo(p, rule);
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

/* ---- grants ---- */

/* A grant names two identities, so that what it opens can be named, and closed, again. */
static void check_grantable(struct policy *p, const struct rule *rule, const struct sides *s)
{
	uint32_t network = some_network(s);

	if (!rule->grantable || rule->damaged)
		return;
	if (rule->observe)
		policy_error(p, &rule->grantable_pos,
			     "rule \"%s\" is grantable and has mode: observe, which lets everybody "
			     "pass without a grant" ADVISE "remove one of them",
			     rule->name);
	if (network != NO_PARTY)
		policy_error(p, &rule->grantable_pos,
			     "rule \"%s\" is grantable, and a grant names two identities; network "
			     "\"%s\" is none" ADVISE "write a rule of its own for the network",
			     rule->name, p->networks[network].name);
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
	check_grantable(p, rule, &s);
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
			    "demand attested where that is too little",
			    count, count == 1 ? "rule is" : "rules are");
}

int policy_check_rules(struct policy *p)
{
	if (p->assurance > ASSURANCE_ATTESTED && !p->build->features->attested)
		policy_error(p, &p->build->assurance_pos,
			     "assurance: measured is not available on this node yet" ADVISE
			     "write assurance: mapped");
	check_floors_available(p);
	for (size_t i = 0; i < p->rule_count; i++)
		check_rule(p, &p->rules[i]);
	return 0;
}
