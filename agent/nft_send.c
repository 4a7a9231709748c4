/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/nft_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "rules/ruleset_text.h"

#define FAULT_TEXT_MAX 256
#define TRIES_MAX      4

/*
 * The first try packs elements that follow each other into one message. When the kernel refuses it,
 * each element gets a message of its own, so that every answer names its element; those that are
 * missing already are left out of the next try.
 */
struct attempt {
	const struct nft_send *s;
	uint8_t *skip; /* per element: already gone */
	size_t skipped;
	bool other; /* something else than a missing element was refused */
};

static bool write_elements(struct nft *n, struct batch *b, const struct attempt *a, bool precise)
{
	struct nft_elements list = {
		.b = b, .table = n->table, .destroy = n->features.destroy, .precise = precise};
	bool any = false;

	for (size_t i = 0; i < a->s->count && b->r == 0; i++) {
		struct nft_element e = {0};

		if ((a->skip != NULL && a->skip[i]) || !a->s->element(a->s->user, i, &e))
			continue;
		e.index = i;
		any = nft_put_element(&list, &e) || any;
	}
	return any;
}

static void write_all(struct nft *n, struct batch *b, const struct attempt *a, bool precise)
{
	batch_begin(b);
	if (a->s->head != NULL)
		a->s->head(a->s->user, b);
	(void)write_elements(n, b, a, precise);
	if (a->s->tail != NULL)
		a->s->tail(a->s->user, b);
	batch_end(b);
}

static void note_error(void *user, const struct batch_item *item, int error)
{
	struct attempt *a = user;

	if (item->kind == BATCH_ELEMENTS && item->may_be_missing && error == ENOENT) {
		a->skip[item->index] = 1;
		a->skipped++;
	} else {
		a->other = true;
	}
}

static void describe_element(const struct nft_element *e, struct nft_fault *f)
{
	char name[SET_NAME_MAX];

	f->has_element = true;
	f->action = e->add ? PLAN_ADD : PLAN_DEL;
	f->ref = e->ref;
	f->key_len = (uint8_t)set_key_len(e->ref.kind);
	memcpy(f->key, e->record, f->key_len);
	if (set_spec(e->ref.kind)->fields[0] == FIELD_MARK)
		memcpy(&f->number, e->record, sizeof(f->number));
	(void)snprintf(f->object, sizeof(f->object), "element of %s", set_name(name, e->ref));
}

static void describe(const struct nft_send *s, const struct batch_item *item, struct nft_fault *f)
{
	struct nft_element e = {0};
	char name[SET_NAME_MAX];

	*f = (struct nft_fault){0};
	(void)snprintf(f->object, sizeof(f->object), "the transaction");
	if (item == NULL)
		return;
	if (item->kind == BATCH_ELEMENTS && s->element != NULL && item->index < s->count &&
	    s->element(s->user, item->index, &e))
		describe_element(&e, f);
	else if (item->kind == BATCH_CHAIN && s->table != NULL)
		(void)snprintf(f->object, sizeof(f->object), "chain %s",
			       s->table->chains[item->index].name);
	else if (item->kind == BATCH_RULE && s->table != NULL)
		(void)snprintf(f->object, sizeof(f->object), "rule %zu of chain %s",
			       item->count + 1, s->table->chains[item->index].name);
	else if (item->kind == BATCH_SET && s->table != NULL && item->index < s->table->set_count)
		(void)snprintf(f->object, sizeof(f->object), "set %s",
			       set_name(name, s->table->sets[item->index]));
}

static int report(const struct nft_send *s, const struct batch_fault *bf, int r,
		  struct nft_fault *fault, struct err *err)
{
	struct nft_fault f;
	struct buf text;

	describe(s, bf->item, &f);
	buf_init(&text, FAULT_TEXT_MAX);
	if (f.has_element) {
		buf_puts(&text, " ");
		record_key_text(f.ref.kind, f.key, NULL, &text);
	}
	r = err_set(err, -r, "the kernel refused %s%s: %s%s%s", f.object,
		    text.r == 0 && text.data != NULL ? text.data : "", strerror(-r),
		    bf->text[0] ? "; " : "", bf->text);
	buf_done(&text);
	if (fault != NULL)
		*fault = f;
	return r;
}

int nft_send(struct nft *n, struct batch *b, const struct nft_send *s, struct nft_fault *fault,
	     struct err *err)
{
	CLEANUP(freep) uint8_t *skip = NULL;
	struct attempt a = {.s = s};
	struct batch_errors errors = {note_error, &a};
	struct batch_fault bf = {0};
	int r;

	write_all(n, b, &a, false);
	if (b->r == 0 && batch_is_empty(b))
		return 0;
	r = batch_send(n->writer, b, NULL, &bf);
	if (r == 0 || bf.item == NULL || bf.item->kind != BATCH_ELEMENTS)
		return r < 0 ? report(s, &bf, r, fault, err) : 0;
	skip = mem_calloc(s->count, 1);
	if (skip == NULL)
		return err_set(err, ENOMEM, "out of memory");
	a.skip = skip;
	for (int i = 0; i < TRIES_MAX; i++) {
		size_t before = a.skipped;

		a.other = false;
		write_all(n, b, &a, true);
		if (b->r == 0 && batch_is_empty(b))
			return 0;
		r = batch_send(n->writer, b, &errors, &bf);
		if (r == 0)
			return 0;
		if (a.other || a.skipped == before)
			break;
	}
	return report(s, &bf, r, fault, err);
}
