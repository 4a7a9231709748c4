/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rules and separations of one loaded file into the model; see rules/policy_load.c. */
#include "rules/policy_build.h"

#include "base/mem.h"
#include "base/text.h"
#include "rules/policy_grammar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SEPARATIONS_MAX 10000
#define TIME_ADVICE     "write it in UTC, like 2027-06-30T00:00:00Z"

static int load_subjects(struct policy *p, char **texts, size_t count,
			 const struct yaml_tree_node *list, struct subject **ret, size_t *ret_count)
{
	const struct yaml_tree_node *n = yaml_tree_first(list);

	*ret = mem_calloc(count, sizeof(**ret));
	if (*ret == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		(*ret)[i].text = TAKE_PTR(texts[i]);
		(*ret)[i].pos = policy_pos(p, n);
		n = n != NULL ? yaml_tree_next(n) : NULL;
	}
	*ret_count = count;
	return 0;
}

static void load_time_of_day(struct policy *p, const char *text, const struct yaml_tree_node *n,
			     const char *key, uint16_t *ret_minutes)
{
	struct pos pos = policy_pos(p, yaml_tree_get(n, key));
	char quoted[YAML_QUOTE_MAX];

	if (text[0] != '\0' && time_of_day_parse(text, ret_minutes) < 0)
		policy_error(p, &pos, "%s is not a time of day" ADVISE "write it like \"18:00\"",
			     yaml_quote(quoted, text));
}

static void load_zone(struct policy *p, const char *zone, const struct yaml_tree_node *n,
		      struct window *w)
{
	struct pos pos = policy_pos(p, yaml_tree_get(n, "zone"));
	char quoted[YAML_QUOTE_MAX];

	if (zone_name_ok(zone))
		memcpy(w->zone, zone, strlen(zone) + 1);
	else if (zone[0] != '\0')
		policy_error(p, &pos,
			     "%s is not a time zone" ADVISE "write it like Europe/Berlin, or UTC",
			     yaml_quote(quoted, zone));
}

static void load_window(struct policy *p, const struct raw_window *raw,
			const struct yaml_tree_node *n, struct rule *rule)
{
	const struct yaml_tree_node *day;

	if (raw == NULL || n == NULL)
		return;
	rule->has_window = true;
	rule->window_pos = policy_pos(p, yaml_tree_get(n, "zone"));
	day = yaml_tree_first(yaml_tree_get(n, "days"));
	for (uint32_t i = 0; i < raw->days_count; i++) {
		unsigned bit = 1U << (unsigned)raw->days[i];
		struct pos pos = policy_pos(p, day);

		if (rule->window.days & bit)
			policy_error(p, &pos, "a day is named twice" ADVISE "keep one");
		rule->window.days = (uint8_t)(rule->window.days | bit);
		day = day != NULL ? yaml_tree_next(day) : NULL;
	}
	load_time_of_day(p, raw->from, n, "from", &rule->window.from_min);
	load_time_of_day(p, raw->to, n, "to", &rule->window.to_min);
	load_zone(p, raw->zone, n, &rule->window);
}

static void load_expires(struct policy *p, const char *text, const struct yaml_tree_node *n,
			 struct rule *rule)
{
	struct pos pos = policy_pos(p, yaml_tree_get(n, "expires"));
	char quoted[YAML_QUOTE_MAX];

	if (text == NULL)
		return;
	rule->has_expires = true;
	if (rfc3339_parse(text, &rule->expires) < 0)
		policy_error(p, &pos, "%s is not a time" ADVISE TIME_ADVICE,
			     yaml_quote(quoted, text));
}

static void load_grantable(struct policy *p, const struct raw_grantable *raw,
			   const struct yaml_tree_node *n, struct rule *rule)
{
	const struct yaml_tree_node *max;
	char quoted[YAML_QUOTE_MAX];
	struct pos pos;

	if (raw == NULL || n == NULL)
		return;
	max = yaml_tree_get(n, "max");
	pos = policy_pos(p, max);
	rule->grantable = true;
	rule->grantable_pos = policy_pos(p, n);
	if (max == NULL || raw->max[0] == '\0')
		return; /* said already */
	if (text_duration(raw->max, &rule->grant_max_s) < 0)
		policy_error(p, &pos, "%s is not a duration" ADVISE "write it like 30m, 8h or 2d",
			     yaml_quote(quoted, raw->max));
	else if (rule->grant_max_s > RULE_GRANT_MAX_S)
		policy_error(p, &pos,
			     "a grant of %s is longer than 30d" ADVISE
			     "write at most 30d, or a plain rule with expires:",
			     yaml_quote(quoted, raw->max));
}

static void check_review(struct policy *p, const char *text, const struct yaml_tree_node *n)
{
	struct pos pos = policy_pos(p, yaml_tree_get(n, "review"));
	char quoted[YAML_QUOTE_MAX];
	struct wall t;

	if (text != NULL && date_parse(text, &t) < 0)
		policy_error(p, &pos, "%s is not a date" ADVISE "write it like 2027-06-30",
			     yaml_quote(quoted, text));
}

static void load_scalars(struct policy *p, struct raw_rule *raw, const struct yaml_tree_node *n,
			 struct rule *rule)
{
	const struct yaml_tree_node *assurance = yaml_tree_get(n, "assurance");

	rule->pos = policy_pos(p, n);
	rule->services_pos = policy_pos(p, yaml_tree_get(n, "services"));
	rule->assurance_pos = assurance != NULL ? policy_pos(p, assurance) : rule->pos;
	rule->damaged = n->damaged;
	rule->name = TAKE_PTR(raw->name);
	rule->purpose = TAKE_PTR(raw->purpose);
	rule->owner = TAKE_PTR(raw->owner);
	rule->ticket = TAKE_PTR(raw->ticket);
	rule->review = TAKE_PTR(raw->review);
	rule->assurance = raw->assurance;
	rule->observe = raw->mode == MODE_OBSERVE;
	rule->on_unavailable = raw->on_unavailable;
	rule->callee_attested = raw->callee == CALLEE_ATTESTED;
	rule->callee_pos = policy_pos(p, yaml_tree_get(n, "callee"));
	rule->on_clock_loss = raw->on_clock_loss;
	rule->on_stale = raw->on_stale;
	policy_check_name(p, rule->name, n);
	load_expires(p, raw->expires, n, rule);
	load_window(p, raw->window, yaml_tree_get(n, "window"), rule);
	load_grantable(p, raw->grantable, yaml_tree_get(n, "grantable"), rule);
	check_review(p, rule->review, n);
	policy_refuse_later(p, n, "max_flows");
}

int policy_load_rule(struct policy *p, struct raw_rule *raw, const struct yaml_tree_node *n)
{
	size_t errors = p->error_count;
	struct rule *rule;
	int r;

	r = vec_grow(&p->rules, &p->build->rule_cap, p->rule_count + 1, sizeof(*rule),
		     POLICY_RULES_MAX);
	if (r < 0)
		return r;
	rule = &p->rules[p->rule_count++];
	load_scalars(p, raw, n, rule);
	r = load_subjects(p, raw->from, raw->from_count, yaml_tree_get(n, "from"), &rule->from,
			  &rule->from_count);
	if (r == 0)
		r = load_subjects(p, raw->to, raw->to_count, yaml_tree_get(n, "to"), &rule->to,
				  &rule->to_count);
	if (r == 0)
		r = policy_load_services(p, raw->services, raw->services_count,
					 yaml_tree_get(n, "services"), &rule->services,
					 &rule->service_count);
	rule->damaged |= p->error_count > errors;
	return r;
}

static void load_exception(struct policy *p, struct raw_exception *raw,
			   const struct yaml_tree_node *n, struct separation_exception *e)
{
	struct pos pos = policy_pos(p, yaml_tree_get(n, "expires"));
	char quoted[YAML_QUOTE_MAX];

	e->pos = policy_pos(p, n);
	e->rule = TAKE_PTR(raw->rule);
	e->reason = TAKE_PTR(raw->reason);
	e->owner = TAKE_PTR(raw->owner);
	/* What has no readable end must not be reported as ended, too. */
	e->expires.s = INT64_MAX;
	if (raw->expires[0] != '\0' && rfc3339_parse(raw->expires, &e->expires) < 0)
		policy_error(p, &pos, "%s is not a time" ADVISE TIME_ADVICE,
			     yaml_quote(quoted, raw->expires));
}

static void check_separated_label(struct policy *p, const struct separation *s,
				  const struct yaml_tree_node *n)
{
	struct pos pos = policy_pos(p, yaml_tree_get(n, "label"));
	const char *fault, *meant;
	char quoted[YAML_QUOTE_MAX];

	if (s->label[0] == '\0')
		return;
	fault = label_key_fault(s->label, strlen(s->label));
	meant = label_key_meant(s->label);
	if (fault != NULL)
		policy_error(p, &pos, "label %s %s" ADVISE "write a key, like environment",
			     yaml_quote(quoted, s->label), fault);
	else if (meant != NULL)
		policy_error(p, &pos, "unknown label key \"%s\"" ADVISE "did you mean \"%s\"?",
			     s->label, meant);
}

int policy_load_separation(struct policy *p, struct raw_separation *raw,
			   const struct yaml_tree_node *n)
{
	const struct yaml_tree_node *e = yaml_tree_first(yaml_tree_get(n, "except"));
	struct separation *s;
	int r;

	r = vec_grow(&p->separations, &p->build->separation_cap, p->separation_count + 1,
		     sizeof(*s), SEPARATIONS_MAX);
	if (r < 0)
		return r;
	s = &p->separations[p->separation_count++];
	s->pos = policy_pos(p, n);
	s->label = TAKE_PTR(raw->label);
	check_separated_label(p, s, n);
	s->except = mem_calloc(raw->except_count, sizeof(*s->except));
	if (s->except == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < raw->except_count && e != NULL; i++, e = yaml_tree_next(e))
		load_exception(p, &raw->except[i], e, &s->except[s->except_count++]);
	return 0;
}
