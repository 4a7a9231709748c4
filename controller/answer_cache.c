/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/mem.h"
#include "base/text.h"
#include "controller/exchange.h"

#include <stdio.h>
#include <stdlib.h>

#define SHARED_MAX       16
#define SHARED_TAG_MAX   80
#define SHARED_BYTES_MAX (128U << 20)

struct shared {
	char tag[SHARED_TAG_MAX];
	struct MHD_Response *response; /* NULL: free */
	size_t len;
	uint64_t used; /* when, in uses of the table */
};

struct shared_answers {
	struct shared entries[SHARED_MAX];
	uint64_t uses;
	size_t bytes;
};

struct shared_answers *shared_answers_new(void)
{
	return mem_calloc(1, sizeof(struct shared_answers));
}

static void drop(struct shared_answers *s, struct shared *e)
{
	if (e->response == NULL)
		return;
	MHD_destroy_response(e->response);
	s->bytes -= e->len;
	*e = (struct shared){0};
}

void shared_answers_free(struct shared_answers *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < SHARED_MAX; i++)
		drop(s, &s->entries[i]);
	free(s);
}

struct MHD_Response *shared_answers_find(struct shared_answers *s, const char *tag)
{
	for (size_t i = 0; i < SHARED_MAX; i++) {
		struct shared *e = &s->entries[i];

		if (e->response == NULL || !str_eq(e->tag, tag))
			continue;
		e->used = ++s->uses;
		return e->response;
	}
	return NULL;
}

static struct shared *oldest(struct shared_answers *s)
{
	struct shared *found = &s->entries[0];

	for (size_t i = 1; i < SHARED_MAX; i++) {
		if (s->entries[i].used < found->used)
			found = &s->entries[i];
	}
	return found;
}

static struct shared *oldest_kept(struct shared_answers *s)
{
	struct shared *found = NULL;

	for (size_t i = 0; i < SHARED_MAX; i++) {
		struct shared *e = &s->entries[i];

		if (e->response != NULL && (found == NULL || e->used < found->used))
			found = e;
	}
	return found;
}

void shared_answers_put(struct shared_answers *s, const char *tag, size_t len,
			struct MHD_Response *take)
{
	struct shared *e;

	while (s->bytes + len > SHARED_BYTES_MAX && (e = oldest_kept(s)) != NULL)
		drop(s, e);
	e = oldest(s);
	drop(s, e);
	(void)snprintf(e->tag, sizeof(e->tag), "%s", tag);
	e->response = take;
	e->len = len;
	e->used = ++s->uses;
	s->bytes += len;
}
