/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Dense entries plus an index of positions: 20 bytes an entry and about 8 of index. Numbers are
 * given out of one gap of free numbers; the gap moves upwards, so that a freed number rests as
 * long as possible before it is given again.
 */
#include "rules/numbers.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_MIN    64
#define INDEX_EMPTY  UINT32_MAX
#define LINE_MAX_LEN (2 * NUMBER_KEY_LEN + 1 + 10) /* key, space, decimal digits of a number */

struct number_entry {
	struct number_key key;
	uint32_t number;
};

struct numbers {
	struct number_entry *entries;
	size_t count, cap;
	uint32_t *index;   /* position in entries, INDEX_EMPTY where free */
	size_t index_size; /* power of two */
	uint32_t first, last;
	uint64_t gap_next, gap_end; /* numbers from gap_next to below gap_end are free */
	/* positions of the first by_number_count entries, in order of their numbers */
	uint32_t *by_number;
	size_t by_number_count;
	/* of a sweep: entries that were there when it began, by number, and which of them to keep
	 */
	uint32_t *order;
	uint8_t *keep;
	size_t sweep_count;
};

struct numbers *numbers_new(uint32_t first, uint32_t last)
{
	struct numbers *n = mem_calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->first = first;
	n->last = last;
	n->gap_next = first;
	n->gap_end = (uint64_t)last + 1;
	return n;
}

void numbers_free(struct numbers *n)
{
	if (!n)
		return;
	free(n->entries);
	free(n->index);
	free(n->by_number);
	free(n->order);
	free(n->keep);
	free(n);
}

void numbers_freep(struct numbers **n)
{
	numbers_free(*n);
	*n = NULL;
}

void number_key_of(const char *text, struct number_key *ret_key)
{
	uint8_t digest[SHA256_LEN] = {0};

	/* A failure leaves zeros, which is no key: numbers_get() then says -ENOMEM. */
	(void)sha256(text, strlen(text), digest);
	memcpy(ret_key->bytes, digest, sizeof(ret_key->bytes));
}

static bool key_is_valid(const struct number_key *key)
{
	static const struct number_key none = {{0}};

	return memcmp(key, &none, sizeof(none)) != 0;
}

/* Slot of the key, or the free slot where it would go. The index is never full. */
static size_t index_slot(const struct numbers *n, const struct number_key *key)
{
	size_t mask = n->index_size - 1;
	size_t slot = (size_t)hash_bytes(key->bytes, sizeof(key->bytes)) & mask;

	while (n->index[slot] != INDEX_EMPTY &&
	       memcmp(&n->entries[n->index[slot]].key, key, sizeof(*key)) != 0)
		slot = (slot + 1) & mask;
	return slot;
}

static void index_fill(struct numbers *n)
{
	memset(n->index, 0xff, n->index_size * sizeof(*n->index));
	for (size_t i = 0; i < n->count; i++)
		n->index[index_slot(n, &n->entries[i].key)] = (uint32_t)i;
}

/* Room for one more entry at a load of at most three quarters. */
static int make_room(struct numbers *n)
{
	size_t size = n->index_size > 0 ? n->index_size : INDEX_MIN;
	uint32_t *index;

	if (n->count >= NUMBERS_MAX)
		return -ENOSPC;
	if (n->count == n->cap) {
		/* Grows by half, not by doubling: a registry of 100,000 entries should stay small.
		 */
		size_t cap = n->cap + n->cap / 2 + INDEX_MIN;
		struct number_entry *entries = mem_realloc(n->entries, cap * sizeof(*entries));

		if (!entries)
			return -ENOMEM;
		n->entries = entries;
		n->cap = cap;
	}
	while (n->count + 1 > size / 4 * 3)
		size *= 2;
	if (size == n->index_size)
		return 0;
	index = mem_calloc(size, sizeof(*index));
	if (!index)
		return -ENOMEM;
	free(n->index);
	n->index = index;
	n->index_size = size;
	index_fill(n);
	return 0;
}

static void append(struct numbers *n, const struct number_key *key, uint32_t number)
{
	n->entries[n->count] = (struct number_entry){.key = *key, .number = number};
	n->index[index_slot(n, key)] = (uint32_t)n->count;
	n->count++;
}

static int number_cmp(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Numbers in use, sorted; the caller frees. */
static uint32_t *used_numbers(const struct numbers *n)
{
	uint32_t *used = mem_calloc(n->count, sizeof(*used));

	if (!used)
		return NULL;
	for (size_t i = 0; i < n->count; i++)
		used[i] = n->entries[i].number;
	qsort(used, n->count, sizeof(*used), number_cmp);
	return used;
}

/* Looks for the next gap at or after `from`: the first free number there, up to the next used one.
 */
static bool gap_after(struct numbers *n, const uint32_t *used, uint64_t from)
{
	uint64_t next = from;

	for (size_t i = 0; i < n->count; i++) {
		if (used[i] < next)
			continue;
		if (used[i] > next) {
			n->gap_next = next;
			n->gap_end = used[i];
			return true;
		}
		next++;
	}
	n->gap_next = next;
	n->gap_end = (uint64_t)n->last + 1;
	return n->gap_next < n->gap_end;
}

static int find_gap(struct numbers *n)
{
	CLEANUP(freep) uint32_t *used = used_numbers(n);

	if (!used)
		return -ENOMEM;
	if (gap_after(n, used, n->gap_next) || gap_after(n, used, n->first))
		return 0;
	n->gap_next = n->gap_end;
	return -ENOSPC;
}

int numbers_find(const struct numbers *n, const struct number_key *key, uint32_t *ret_number)
{
	uint32_t position;

	if (n->index_size == 0)
		return -ENOENT;
	position = n->index[index_slot(n, key)];
	if (position == INDEX_EMPTY)
		return -ENOENT;
	*ret_number = n->entries[position].number;
	return 0;
}

int numbers_get(struct numbers *n, const struct number_key *key, uint32_t *ret_number)
{
	int r;

	if (!key_is_valid(key))
		return -ENOMEM;
	if (numbers_find(n, key, ret_number) == 0)
		return 0;
	r = make_room(n);
	if (r < 0)
		return r;
	if (n->gap_next >= n->gap_end) {
		r = find_gap(n);
		if (r < 0)
			return r;
	}
	*ret_number = (uint32_t)n->gap_next++;
	append(n, key, *ret_number);
	return 0;
}

static int position_cmp(const void *a, const void *b, void *entries)
{
	const struct number_entry *e = entries;

	return number_cmp(&e[*(const uint32_t *)a].number, &e[*(const uint32_t *)b].number);
}

/* So many entries may follow the sorted part before it is made anew. */
#define TAIL_MAX 1024

/* Without memory the sorted part stays as it is: slower, never wrong. */
static void sort_by_number(struct numbers *n)
{
	uint32_t *order;

	if (n->count - n->by_number_count <= TAIL_MAX)
		return;
	order = mem_realloc(n->by_number, n->count * sizeof(*order));
	if (!order)
		return;
	n->by_number = order;
	for (size_t i = 0; i < n->count; i++)
		order[i] = (uint32_t)i;
	qsort_r(order, n->count, sizeof(*order), position_cmp, n->entries);
	n->by_number_count = n->count;
}

/* Entry with this number, or NULL. */
static const struct number_entry *entry_of(struct numbers *n, uint32_t number)
{
	size_t low = 0, high;

	sort_by_number(n);
	high = n->by_number_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct number_entry *e = &n->entries[n->by_number[middle]];

		if (e->number == number)
			return e;
		if (e->number < number)
			low = middle + 1;
		else
			high = middle;
	}
	for (size_t i = n->by_number_count; i < n->count; i++) {
		if (n->entries[i].number == number)
			return &n->entries[i];
	}
	return NULL;
}

int numbers_key(struct numbers *n, uint32_t number, struct number_key *ret_key)
{
	const struct number_entry *e = entry_of(n, number);

	if (!e)
		return -ENOENT;
	*ret_key = e->key;
	return 0;
}

static bool number_is_used(struct numbers *n, uint32_t number)
{
	/* Numbers of the gap are free by definition. */
	if (number >= n->gap_next && number < n->gap_end)
		return false;
	return entry_of(n, number) != NULL;
}

/* Enters the pair without asking whether another key has the number. */
static int enter(struct numbers *n, const struct number_key *key, uint32_t number)
{
	int r = make_room(n);

	if (r < 0)
		return r;
	append(n, key, number);
	if (number >= n->gap_next && number < n->gap_end)
		n->gap_next = (uint64_t)number + 1;
	return 0;
}

int numbers_put(struct numbers *n, const struct number_key *key, uint32_t number)
{
	uint32_t known = 0;

	if (number < n->first || number > n->last || !key_is_valid(key))
		return -ERANGE;
	if (numbers_find(n, key, &known) == 0)
		return known == number ? 0 : -EEXIST;
	if (number_is_used(n, number))
		return -EEXIST;
	return enter(n, key, number);
}

size_t numbers_count(const struct numbers *n)
{
	return n->count;
}

struct numbers_mark numbers_mark(const struct numbers *n)
{
	return (struct numbers_mark){
		.count = n->count, .gap_next = n->gap_next, .gap_end = n->gap_end};
}

void numbers_forget_since(struct numbers *n, const struct numbers_mark *mark)
{
	if (n->count == mark->count)
		return;
	n->count = mark->count;
	n->gap_next = mark->gap_next;
	n->gap_end = mark->gap_end;
	n->by_number_count = 0;
	index_fill(n);
}

/* --- sweep ----------------------------------------------------------------------------------- */

static void sweep_forget(struct numbers *n)
{
	free(n->order);
	free(n->keep);
	n->order = NULL;
	n->keep = NULL;
	n->sweep_count = 0;
}

void numbers_sweep_begin(struct numbers *n)
{
	sweep_forget(n);
	n->order = mem_calloc(n->count, sizeof(*n->order));
	n->keep = mem_calloc(n->count, sizeof(*n->keep));
	/* Without memory nothing is forgotten this time: wasteful, never wrong. */
	if (!n->order || !n->keep) {
		sweep_forget(n);
		return;
	}
	for (size_t i = 0; i < n->count; i++)
		n->order[i] = (uint32_t)i;
	qsort_r(n->order, n->count, sizeof(*n->order), position_cmp, n->entries);
	n->sweep_count = n->count;
}

void numbers_keep(struct numbers *n, uint32_t number)
{
	size_t low = 0, high = n->sweep_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		uint32_t found = n->entries[n->order[middle]].number;

		if (found == number) {
			n->keep[n->order[middle]] = 1;
			return;
		}
		if (found < number)
			low = middle + 1;
		else
			high = middle;
	}
}

size_t numbers_sweep_end(struct numbers *n)
{
	size_t kept = 0, freed;

	for (size_t i = 0; i < n->count; i++) {
		/* Entries made since the sweep began are in use. */
		if (i < n->sweep_count && !n->keep[i])
			continue;
		n->entries[kept++] = n->entries[i];
	}
	freed = n->count - kept;
	n->count = kept;
	if (freed > 0) {
		index_fill(n);
		n->by_number_count = 0;
	}
	sweep_forget(n);
	return freed;
}

/* --- text ------------------------------------------------------------------------------------ */

void numbers_format(const struct numbers *n, struct buf *b)
{
	char hex[2 * NUMBER_KEY_LEN + 1];

	for (size_t i = 0; i < n->count; i++) {
		hex_format(n->entries[i].key.bytes, NUMBER_KEY_LEN, hex);
		buf_printf(b, "%s %u\n", hex, n->entries[i].number);
	}
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int parse_line(const char *line, struct number_key *ret_key, uint32_t *ret_number)
{
	if (strnlen(line, 2 * NUMBER_KEY_LEN + 1) <= 2 * NUMBER_KEY_LEN ||
	    line[2 * NUMBER_KEY_LEN] != ' ')
		return -EINVAL;
	for (size_t i = 0; i < NUMBER_KEY_LEN; i++) {
		int high = hex_digit(line[2 * i]), low = hex_digit(line[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		ret_key->bytes[i] = (uint8_t)(high << 4 | low);
	}
	return text_u32(line + 2 * NUMBER_KEY_LEN + 1, 0, UINT32_MAX, ret_number);
}

static int enter_line(struct numbers *n, const char *line)
{
	struct number_key key;
	uint32_t number = 0, known = 0;
	int r;

	r = parse_line(line, &key, &number);
	if (r < 0)
		return r;
	if (number < n->first || number > n->last || !key_is_valid(&key))
		return -ERANGE;
	if (numbers_find(n, &key, &known) == 0)
		return known == number ? 0 : -EEXIST;
	return enter(n, &key, number);
}

static int parse_lines(struct numbers *n, const char *text, size_t len, struct err *err)
{
	const char *end = text + len;

	for (size_t count = 1; text < end; count++) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		char line[LINE_MAX_LEN + 1];
		size_t line_len;
		int r;

		if (!newline || newline - text > LINE_MAX_LEN)
			return err_set(err, EINVAL, "line %zu: cut short or too long", count);
		line_len = (size_t)(newline - text);
		memcpy(line, text, line_len);
		line[line_len] = '\0';
		r = strlen(line) == line_len ? enter_line(n, line) : -EINVAL;
		if (r < 0)
			return err_set(err, -r, "line %zu: no key and number: %s", count,
				       strerror(-r));
		text = newline + 1;
	}
	return 0;
}

/* One look at all numbers instead of one search a line. */
static int check_unique(const struct numbers *n, struct err *err)
{
	CLEANUP(freep) uint32_t *used = used_numbers(n);

	if (!used)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 1; i < n->count; i++)
		if (used[i] == used[i - 1])
			return err_set(err, EEXIST, "number %u has two keys", used[i]);
	return 0;
}

int numbers_parse(struct numbers *n, const char *text, size_t len, struct err *err)
{
	size_t count = n->count;
	uint64_t gap_next = n->gap_next;
	int r;

	r = parse_lines(n, text, len, err);
	if (r == 0)
		r = check_unique(n, err);
	if (r < 0 && n->index_size > 0) {
		/* All or nothing: half a registry would hand out numbers that are in use. */
		n->count = count;
		n->gap_next = gap_next;
		index_fill(n);
	}
	return r;
}
