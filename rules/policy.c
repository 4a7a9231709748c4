/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/policy.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/policy_build.h"
#include "rules/policy_schema.h"
#include "rules/yaml_typed.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLICY_FILES_MAX 10000
#define FINDING_TEXT_MAX 2048

/* ---- life and death ---- */

struct policy *policy_new(void)
{
	struct policy *p = mem_calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->build = mem_calloc(1, sizeof(*p->build));
	if (p->build == NULL) {
		free(p);
		return NULL;
	}
	return p;
}

static void labels_free(struct label *labels, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(labels[i].key);
		free(labels[i].value);
	}
	free(labels);
}

static void strings_free(char **strings, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(strings[i]);
	free(strings);
}

static void identity_done(struct identity *id)
{
	free(id->name);
	free(id->path);
	labels_free(id->labels, id->label_count);
	for (size_t i = 0; i < id->workload_count; i++) {
		for (size_t j = 0; j < id->workload[i].selector_count; j++)
			free(id->workload[i].selectors[j].value);
		free(id->workload[i].selectors);
	}
	free(id->workload);
	free(id->serves);
	strings_free(id->placement_nodes, id->placement_node_count);
	labels_free(id->placement_labels, id->placement_label_count);
	strings_free(id->reference, id->reference_count);
}

static void subjects_free(struct subject *subjects, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(subjects[i].text);
	free(subjects);
}

static void rule_done(struct rule *r)
{
	free(r->name);
	subjects_free(r->from, r->from_count);
	subjects_free(r->to, r->to_count);
	free(r->services);
	free(r->purpose);
	free(r->owner);
	free(r->ticket);
	free(r->review);
}

static void network_done(struct network *n)
{
	free(n->name);
	free(n->prefixes);
	labels_free(n->labels, n->label_count);
}

static void node_bound_done(struct node_bound *n)
{
	free(n->pattern);
	free(n->addresses);
	labels_free(n->labels, n->label_count);
	strings_free(n->spki, n->spki_count);
}

static void separation_done(struct separation *s)
{
	free(s->label);
	for (size_t i = 0; i < s->except_count; i++) {
		free(s->except[i].rule);
		free(s->except[i].reason);
		free(s->except[i].owner);
	}
	free(s->except);
}

static void lists_free(struct policy *p)
{
	for (size_t i = 0; i < p->list_count; i++) {
		free(p->lists[i].parties);
		free(p->lists[i].from_rules);
		free(p->lists[i].to_rules);
	}
	free(p->lists);
	free(p->index.start);
	free(p->index.at);
}

void policy_free(struct policy *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->identity_count; i++)
		identity_done(&p->identities[i]);
	for (size_t i = 0; i < p->rule_count; i++)
		rule_done(&p->rules[i]);
	for (size_t i = 0; i < p->network_count; i++)
		network_done(&p->networks[i]);
	for (size_t i = 0; i < p->node_count; i++)
		node_bound_done(&p->nodes[i]);
	for (size_t i = 0; i < p->separation_count; i++)
		separation_done(&p->separations[i]);
	for (size_t i = 0; i < p->finding_count; i++) {
		free(p->findings[i].message);
		free(p->findings[i].advice);
	}
	lists_free(p);
	free(p->identities);
	free(p->rules);
	free(p->networks);
	free(p->nodes);
	free(p->separations);
	free(p->findings);
	strings_free(p->files, p->file_count);
	free(p->trust_domain);
	map_free(p->parties_by_name);
	map_free(p->identities_by_path);
	map_free(p->rules_by_name);
	policy_build_free(p->build);
	free(p);
}

void policy_freep(struct policy **p)
{
	policy_free(*p);
	*p = NULL;
}

void policy_build_free(struct policy_build *b)
{
	if (b == NULL)
		return;
	for (size_t i = 0; i < b->device_count; i++)
		free(b->devices[i].name);
	free(b->devices);
	free(b->summaries);
	free(b->names);
	free(b);
}

void policy_build_freep(struct policy_build **b)
{
	policy_build_free(*b);
	*b = NULL;
}

/* ---- findings ---- */

bool policy_wants_error(const struct policy *p)
{
	return p->build->errors_kept < POLICY_ERRORS_MAX;
}

bool policy_wants_warning(const struct policy *p)
{
	return p->build->warnings_kept < POLICY_ERRORS_MAX;
}

static int finding_keep(struct policy *p, enum finding_level level, const struct pos *pos,
			const char *message, const char *advice)
{
	struct finding *f;
	int r;

	r = vec_grow(&p->findings, &p->build->finding_cap, p->finding_count + 1,
		     sizeof(*p->findings), (size_t)2 * POLICY_ERRORS_MAX);
	if (r < 0)
		return r;
	f = &p->findings[p->finding_count++];
	*f = (struct finding){.level = level, .pos = *pos, .message = mem_strdup(message)};
	if (advice != NULL)
		f->advice = mem_strdup(advice);
	return f->message == NULL || (advice != NULL && f->advice == NULL) ? -ENOMEM : 0;
}

static void finding_add(struct policy *p, enum finding_level level, const struct pos *pos,
			const char *message, const char *advice)
{
	bool error = level == FINDING_ERROR;
	size_t *total = error ? &p->error_count : &p->warning_count;
	size_t *kept = error ? &p->build->errors_kept : &p->build->warnings_kept;

	(*total)++;
	if (*kept >= POLICY_ERRORS_MAX || p->build->r < 0)
		return;
	(*kept)++;
	p->build->r = finding_keep(p, level, pos, message, advice);
}

__attribute__((format(printf, 4, 0))) static void finding_printf(struct policy *p,
								 enum finding_level level,
								 const struct pos *pos,
								 const char *fmt, va_list ap)
{
	char text[FINDING_TEXT_MAX];
	char *advice;

	(void)vsnprintf(text, sizeof(text), fmt, ap);
	advice = strchr(text, ADVISE[0]);
	if (advice != NULL)
		*advice++ = '\0';
	finding_add(p, level, pos, text, advice);
}

void policy_error(struct policy *p, const struct pos *pos, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	finding_printf(p, FINDING_ERROR, pos, fmt, ap);
	va_end(ap);
}

void policy_warn(struct policy *p, const struct pos *pos, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	finding_printf(p, FINDING_WARNING, pos, fmt, ap);
	va_end(ap);
}

bool policy_may_work(struct policy *p)
{
	struct pos nowhere = {0};

	if (p->build->work < POLICY_WORK_MAX) {
		p->build->work++;
		return true;
	}
	if (!p->build->work_told)
		policy_warn(p, &nowhere,
			    "too much to compare everything with everything; claims of one "
			    "process, shared ports and lowered assurance may go unreported");
	p->build->work_told = true;
	return false;
}

const char *pos_format(char buf[POS_TEXT_MAX], const struct policy *p, const struct pos *pos)
{
	const char *file = pos->file < p->file_count ? p->files[pos->file] : "policy";

	if (pos->line == 0)
		(void)snprintf(buf, POS_TEXT_MAX, "%.290s", file);
	else
		(void)snprintf(buf, POS_TEXT_MAX, "%.290s:%u:%u", file, pos->line, pos->column);
	return buf;
}

int policy_first_error(const struct policy *p, const char *before, struct err *err)
{
	char pos[POS_TEXT_MAX];

	for (size_t i = 0; i < p->finding_count; i++) {
		const struct finding *f = &p->findings[i];

		if (f->level == FINDING_ERROR)
			return err_set(err, EINVAL, "%s%zu errors; first: %s: %s", before,
				       p->error_count, pos_format(pos, p, &f->pos), f->message);
	}
	return err_set(err, EINVAL, "%s%zu errors", before, p->error_count);
}

const char *policy_place(char buf[PLACE_TEXT_MAX], const struct policy *p, const struct pos *there,
			 const struct pos *here)
{
	if (there->file == here->file)
		(void)snprintf(buf, PLACE_TEXT_MAX, "line %u", there->line);
	else
		(void)snprintf(buf, PLACE_TEXT_MAX, "%.290s:%u", p->files[there->file],
			       there->line);
	return buf;
}

/* ---- adding a text ---- */

static void report_yaml(void *user, uint32_t line, uint32_t column, const char *message,
			const char *advice)
{
	struct policy *p = user;
	struct pos pos = {.file = (uint32_t)(p->file_count - 1), .line = line, .column = column};

	finding_add(p, FINDING_ERROR, &pos, message, advice);
}

static int file_add(struct policy *p, const char *file_name)
{
	int r = vec_grow(&p->files, &p->build->file_cap, p->file_count + 1, sizeof(*p->files),
			 POLICY_FILES_MAX);

	if (r < 0)
		return r;
	p->files[p->file_count] = mem_strdup(file_name);
	if (p->files[p->file_count] == NULL)
		return -ENOMEM;
	p->file_count++;
	return 0;
}

static int text_load(struct policy *p, const char *text, size_t len)
{
	struct yaml_report report = {.error = report_yaml, .user = p};
	CLEANUP(yaml_tree_done) struct yaml_tree tree = {0};
	struct pos start = {.file = (uint32_t)(p->file_count - 1), .line = 1, .column = 1};
	void *raw = NULL;
	int r;

	r = yaml_typed_load(text, len, &policy_schema, &report, &tree, &raw);
	if (r == 0 && raw != NULL)
		r = policy_load(p, raw, tree.root);
	else if (r == 0)
		p->build->names_incomplete = true;
	if (r == 0 && tree.complete && tree.root == NULL)
		policy_error(p, &start,
			     "the file holds no policy" ADVISE
			     "begin with trust_domain: and the name of your trust domain");
	yaml_typed_free(&policy_schema, raw);
	return r;
}

int policy_add_text(struct policy *p, const char *file_name, const char *text, size_t len)
{
	int r;

	if (len > POLICY_TEXT_MAX)
		return -E2BIG;
	r = file_add(p, file_name);
	if (r == 0)
		r = text_load(p, text, len);
	return r < 0 ? r : p->build->r;
}

/* ---- the end ---- */

static int finding_cmp(const void *a, const void *b)
{
	const struct finding *x = a, *y = b;

	if (x->pos.file != y->pos.file)
		return x->pos.file < y->pos.file ? -1 : 1;
	if (x->pos.line != y->pos.line)
		return x->pos.line < y->pos.line ? -1 : 1;
	if (x->pos.column != y->pos.column)
		return x->pos.column < y->pos.column ? -1 : 1;
	return strcmp(x->message, y->message);
}

static void set_defaults(struct policy *p)
{
	if (p->deny_out == DENY_DEFAULT)
		p->deny_out = DENY_REJECT;
	if (p->deny_in == DENY_DEFAULT)
		p->deny_in = DENY_DROP;
	if (p->assurance == ASSURANCE_DEFAULT)
		p->assurance = ASSURANCE_ATTESTED;
}

static int check_all(struct policy *p)
{
	struct pos nowhere = {0};
	int r;

	if (p->file_count == 0)
		policy_error(p, &nowhere, "no policy was given" ADVISE "name a file or directory");
	set_defaults(p);
	r = policy_check_identities(p);
	if (r == 0)
		r = policy_resolve(p);
	/* Too much to resolve is said in a finding; without lists there is no more to check. */
	if (r == -E2BIG && p->error_count > 0)
		return p->build->r;
	if (r == 0)
		r = policy_check_rules(p);
	if (r == 0)
		r = policy_check_overlaps(p);
	if (r == 0)
		r = policy_check_separations(p);
	if (r == 0 && p->error_count == 0)
		policy_summarize_mapped(p);
	return r < 0 ? r : p->build->r;
}

int policy_finish(struct policy *p, const struct policy_features *features, struct wall now)
{
	int r;

	p->build->features = features;
	p->build->now = now;
	r = check_all(p);
	policy_build_freep(&p->build);
	if (r < 0)
		return r;
	if (p->finding_count > 1)
		qsort(p->findings, p->finding_count, sizeof(*p->findings), finding_cmp);
	return p->error_count > 0 ? -EINVAL : 0;
}
