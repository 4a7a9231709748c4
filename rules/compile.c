/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/compile.h"

#include "base/mem.h"
#include "base/text.h"
#include "rules/compile_parts.h"
#include "rules/marks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BLOCK_SIZE 4096
#define NAME_MAX_LEN    (16U << 20)

/* --- texts ----------------------------------------------------------------------------------- */

/* Names live together in blocks: one allocation for many, and one free. */
struct text_block {
	struct text_block *next;
	size_t used, size;
	char bytes[];
};

char *generation_text(struct generation *g, const char *text)
{
	size_t len = strlen(text) + 1;
	struct text_block *b = g->texts;

	if (!b || b->size - b->used < len) {
		size_t size = len > TEXT_BLOCK_SIZE ? len : TEXT_BLOCK_SIZE;

		b = mem_calloc(1, sizeof(*b) + size);
		if (!b)
			return NULL;
		b->size = size;
		b->next = g->texts;
		g->texts = b;
	}
	memcpy(b->bytes + b->used, text, len);
	b->used += len;
	return b->bytes + b->used - len;
}

void generation_texts_free(struct generation *g)
{
	while (g->texts) {
		struct text_block *next = g->texts->next;

		free(g->texts);
		g->texts = next;
	}
}

/* --- life ------------------------------------------------------------------------------------ */

void generation_free(struct generation *g)
{
	if (!g)
		return;
	generation_texts_free(g);
	free(g->parties);
	free(g->conduits);
	free(g->leases);
	free(g->links);
	free(g->contained);
	free(g->rule_names);
	free(g->locals);
	free(g->receivers);
	free(g->owners);
	free(g->refused);
	ruleset_free(g->classify);
	free(g);
}

void generation_freep(struct generation **g)
{
	generation_free(*g);
	*g = NULL;
}

void overlay_grant_done(struct overlay_grant *g)
{
	free(g->rule);
	free(g->from);
	free(g->to);
	free(g->who);
	free(g->reason);
}

void overlay_done(struct overlay *o)
{
	for (size_t i = 0; i < o->revoked_count; i++) {
		free(o->revoked[i].name);
		free(o->revoked[i].reason);
	}
	for (size_t i = 0; i < o->quarantined_count; i++) {
		free(o->quarantined[i].identity);
		free(o->quarantined[i].keep);
		free(o->quarantined[i].reason);
	}
	for (size_t i = 0; i < o->grant_count; i++)
		overlay_grant_done(&o->grants[i]);
	free(o->revoked);
	free(o->quarantined);
	free(o->grants);
	*o = (struct overlay){0};
}

static int conduit_cmp(const void *a, const void *b)
{
	uint32_t x = ((const struct conduit *)a)->number, y = ((const struct conduit *)b)->number;

	return x < y ? -1 : x > y;
}

const struct conduit *generation_find(const struct generation *g, uint32_t number)
{
	struct conduit wanted = {.number = number & MARK_NUMBER_MASK};

	if (g->conduit_count == 0)
		return NULL;
	return bsearch(&wanted, g->conduits, g->conduit_count, sizeof(wanted), conduit_cmp);
}

const char *conduit_comment(char buf[CONDUIT_COMMENT_MAX], const struct generation *g,
			    const struct conduit *c)
{
	char service[SERVICE_TEXT_MAX];
	/* Two names and a service; names are cut so that the service is always there. */
	const int name_max = (CONDUIT_COMMENT_MAX - SERVICE_TEXT_MAX - 4) / 2;

	(void)snprintf(buf, CONDUIT_COMMENT_MAX, "%.*s > %.*s %s", name_max,
		       g->parties[c->from].name, name_max, g->parties[c->to].name,
		       service_format(service, &c->service));
	return buf;
}

int compile_no_memory(struct compile *c)
{
	return err_set(c->err, ENOMEM, "out of memory while compiling the policy");
}

/* --- the end --------------------------------------------------------------------------------- */

static int lease_cmp(const void *a, const void *b)
{
	uint32_t x = ((const struct lease *)a)->number, y = ((const struct lease *)b)->number;

	return x < y ? -1 : x > y;
}

static int receiver_cmp(const void *a, const void *b)
{
	const struct receiver *x = a, *y = b;

	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return x->mark < y->mark ? -1 : x->mark > y->mark;
}

static int link_cmp(const void *a, const void *b)
{
	const struct vouch_link *x = a, *y = b;

	if (x->asked != y->asked)
		return x->asked < y->asked ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

static int owner_cmp(const void *a, const void *b)
{
	const struct essential_owner *x = a, *y = b;

	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return strcmp(x->unit, y->unit);
}

/* A single conduit is revoked by its number, which is known only now. */
static void revoke_conduits(struct compile *c)
{
	const struct overlay *o = c->in->overlay;
	struct generation *g = c->g;
	size_t kept = 0;

	for (size_t i = 0; o && i < o->revoked_count; i++) {
		const struct overlay_revoked *r = &o->revoked[i];
		struct conduit wanted = {0}, *found;

		if (r->kind != REVOKED_CONDUIT || g->conduit_count == 0 ||
		    (r->until.s != 0 && c->in->now.s >= r->until.s) ||
		    text_u32(r->name, MARK_CONDUIT_MIN, MARK_CONDUIT_MAX, &wanted.number) < 0)
			continue;
		found = bsearch(&wanted, g->conduits, g->conduit_count, sizeof(wanted),
				conduit_cmp);
		if (found && !(found->flags & CONDUIT_ESSENTIAL))
			compile_close(g, found);
	}
	for (size_t i = 0; i < g->lease_count; i++) {
		uint32_t mark = g->leases[i].number;
		const struct conduit *conduit = generation_find(g, mark);

		if (conduit && conduit_verdict(conduit, mark) != LIVE_NONE)
			g->leases[kept++] = g->leases[i];
	}
	g->lease_count = kept;
}

/* Two conduits under one number would be one to the kernel. */
static int check_numbers(struct compile *c)
{
	const struct generation *g = c->g;
	char comment[CONDUIT_COMMENT_MAX];

	for (size_t i = 1; i < g->conduit_count; i++)
		if (g->conduits[i - 1].number == g->conduits[i].number)
			return err_set(c->err, EEXIST, "conduit %u (%s) was made twice",
				       g->conduits[i].number,
				       conduit_comment(comment, g, &g->conduits[i]));
	return 0;
}

/* Growth by doubling leaves room that a generation, which no longer grows, does not need. */
static void trim(void *items, size_t *cap, size_t count, size_t size)
{
	void *block;

	if (*cap == count || count == 0)
		return;
	memcpy(&block, items, sizeof(block));
	/* Shrinking cannot run out of memory, so the test hook of base/mem is passed by. */
	block = realloc(block, count * size);
	if (!block)
		return;
	memcpy(items, &block, sizeof(block));
	*cap = count;
}

static int finish(struct compile *c)
{
	struct generation *g = c->g;
	int r;

	sort_items(g->conduits, g->conduit_count, sizeof(*g->conduits), conduit_cmp);
	sort_items(g->leases, g->lease_count, sizeof(*g->leases), lease_cmp);
	sort_items(g->receivers, g->receiver_count, sizeof(*g->receivers), receiver_cmp);
	sort_items(g->links, g->link_count, sizeof(*g->links), link_cmp);
	sort_items(g->owners, g->owner_count, sizeof(*g->owners), owner_cmp);
	r = check_numbers(c);
	if (r < 0)
		return r;
	revoke_conduits(c);
	trim(&g->parties, &g->party_cap, g->party_count, sizeof(*g->parties));
	trim(&g->conduits, &g->conduit_cap, g->conduit_count, sizeof(*g->conduits));
	trim(&g->leases, &g->lease_cap, g->lease_count, sizeof(*g->leases));
	trim(&g->links, &g->link_cap, g->link_count, sizeof(*g->links));
	trim(&g->receivers, &g->receiver_cap, g->receiver_count, sizeof(*g->receivers));
	return ruleset_sort(g->classify, c->err);
}

/* --- the whole ------------------------------------------------------------------------------- */

static int run_pass(struct compile *c, struct pass *p, enum pass_kind kind, uint32_t local,
		    int (*claim)(struct pass *p, struct place *place))
{
	int r;

	pass_begin(p, kind, local);
	r = claim(p, &c->real);
	if (r == 0 && c->has_ghost)
		r = claim(p, &c->ghost);
	if (r == 0)
		r = pass_cut(p);
	return r < 0 ? r : pass_emit(p);
}

static int run_passes(struct compile *c)
{
	CLEANUP(pass_done) struct pass p = {.c = c};
	int r;

	r = compile_essentials(c, &p);
	for (uint32_t i = 0; i < c->g->local_count && r == 0; i++) {
		r = run_pass(c, &p, PASS_OUT, i, pass_claim_out);
		if (r == 0)
			r = run_pass(c, &p, PASS_LOOPBACK, i, pass_claim_loopback);
		if (r == 0)
			r = run_pass(c, &p, PASS_IN, i, pass_claim_in);
	}
	return r < 0 ? r : run_pass(c, &p, PASS_IN_ECHO, NO_INDEX, pass_claim_in_echo);
}

static int copy_names(struct compile *c)
{
	const struct policy *p = c->in->policy;
	const char *node = c->in->view ? c->in->view->node : "";
	struct generation *g = c->g;

	c->node_here = generation_text(g, node);
	g->rule_names = mem_calloc(p->rule_count, sizeof(*g->rule_names));
	if (!c->node_here || !g->rule_names)
		return compile_no_memory(c);
	for (size_t i = 0; i < p->rule_count; i++) {
		g->rule_names[i] = generation_text(g, p->rules[i].name);
		if (!g->rule_names[i])
			return compile_no_memory(c);
	}
	g->rule_count = p->rule_count;
	return 0;
}

int compile_generation(const struct compile_input *in, struct numbers *conduits,
		       struct numbers *identities, struct generation **ret, struct err *err)
{
	CLEANUP(generation_freep) struct generation *g = mem_calloc(1, sizeof(*g));
	struct compile c = {
		.in = in, .numbers = conduits, .identities = identities, .g = g, .err = err};
	int r;

	if (!g)
		return compile_no_memory(&c);
	buf_init(&c.name, NAME_MAX_LEN);
	g->classify = ruleset_new();
	r = g->classify ? copy_names(&c) : compile_no_memory(&c);
	if (r == 0)
		r = compile_places(&c);
	if (r == 0)
		r = run_passes(&c);
	if (r == 0)
		r = finish(&c);
	compile_places_done(&c);
	buf_done(&c.name);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(g);
	return 0;
}
