/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/conduits.h"

#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* 30 days: what the footer counts. */
#define UNUSED_S 2592000

static const struct column columns[] = {
	{"NO", COLUMN_RIGHT, CUT_END, 0},     {"FROM", COLUMN_LEFT, CUT_END, 14},
	{"TO", COLUMN_LEFT, CUT_END, 14},     {"SERVICE", COLUMN_LEFT, CUT_END, 0},
	{"VERDICT", COLUMN_LEFT, CUT_END, 0}, {"ASSURANCE", COLUMN_LEFT, CUT_END, 0},
	{"ENDS", COLUMN_LEFT, CUT_END, 0},    {"PACKETS", COLUMN_RIGHT, CUT_END, 0},
	{"RULE", COLUMN_LEFT, CUT_END, 8},
};

/* Essentials come last: they are the same every day. */
static int conduit_cmp(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	int64_t dx = field_true(x, "essential"), dy = field_true(y, "essential");

	if (dx == dy) {
		dx = field_int(x, "conduit", 0);
		dy = field_int(y, "conduit", 0);
	}
	return dx < dy ? -1 : dx > dy;
}

/* On loopback this host's own kernel knows both ends. */
static bool is_bare(const json_t *c)
{
	const char *assurance = field_text_or(c, "assurance", "none");

	return (str_eq(assurance, "mapped") || str_eq(assurance, "none")) &&
	       !str_eq(field_text_or(c, "direction", ""), "loopback");
}

/* The far end of an essential is whoever has the addresses: what it is for says more. */
static void put_party(struct table *t, const json_t *c, const char *end)
{
	const json_t *party = field(c, end);
	const char *why = field_text(c, "why");
	char text[PARTY_TEXT_MAX];

	if (why != NULL && str_eq(field_text_or(party, "type", ""), "network"))
		table_cell(t, why);
	else
		table_cell(t, party_format(text, party));
}

static void put_conduit(struct table *t, const json_t *c, struct wall now)
{
	const char *assurance = field_text_or(c, "assurance", "none");
	bool bare = is_bare(c);
	char left[DURATION_TEXT_MAX];
	int64_t ends;

	table_cellf(t, "%lld", (long long)field_int(c, "conduit", 0));
	put_party(t, c, "from");
	put_party(t, c, "to");
	table_cell(t, field_text(c, "service"));
	table_cell(t, field_text(c, "verdict"));
	table_cellf(t, "%s%s", assurance, bare ? " !" : "");
	if (field_seconds_until(c, "lease_ends", now, &ends))
		table_cell(t, duration_format(left, ends));
	else
		table_cell(t, NULL);
	table_count(t, field_int(c, "packets", 0));
	table_cell(t, field_true(c, "essential") ? field_text_or(c, "rule", "essential")
						 : field_text(c, "rule"));
}

void conduits_table(const json_t *conduits, unsigned margin, struct wall now, struct buf *b)
{
	size_t count = json_array_size(conduits);
	CLEANUP(freep) const json_t **sorted = mem_calloc(count, sizeof(*sorted));
	struct table t;

	if (sorted == NULL) {
		b->r = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < count; i++)
		sorted[i] = json_array_get(conduits, i);
	qsort(sorted, count, sizeof(*sorted), conduit_cmp);
	table_init(&t, columns, ARRAY_LEN(columns));
	for (size_t i = 0; i < count; i++)
		put_conduit(&t, sorted[i], now);
	table_print(&t, margin, b);
	table_done(&t);
}

static bool any_bare(const json_t *conduits)
{
	for (size_t i = 0; i < json_array_size(conduits); i++) {
		if (is_bare(json_array_get(conduits, i)))
			return true;
	}
	return false;
}

static size_t put_zones(const json_t *zones, struct wall now, struct buf *b, bool *bare)
{
	size_t total = 0;

	for (size_t i = 0; i < json_array_size(zones); i++) {
		const json_t *zone = json_array_get(zones, i), *conduits = field(zone, "conduits");

		put_clean(b, field_text_or(zone, "from", "(no zone)"));
		buf_puts(b, " > ");
		put_clean(b, field_text_or(zone, "to", "(no zone)"));
		buf_puts(b, ": ");
		put_count(b, (int64_t)json_array_size(conduits), "conduit");
		buf_putc(b, '\n');
		conduits_table(conduits, 2, now, b);
		total += json_array_size(conduits);
		*bare |= any_bare(conduits);
	}
	return total;
}

/* Flows on what asks go on as the conduit of whoever was vouched for. */
static bool is_unused(const json_t *conduit)
{
	const json_t *last = field(conduit, "last_used_s");

	return !field_true(conduit, "essential") &&
	       (!str_eq(field_text_or(conduit, "verdict", ""), "ask") ||
		str_eq(field_text_or(conduit, "callee", ""), "attested")) &&
	       (last == NULL ? field_int(conduit, "packets", 0) == 0
			     : field_int(conduit, "last_used_s", 0) >= UNUSED_S);
}

static void render_conduits(const json_t *result, const struct screen *s, struct buf *b)
{
	const json_t *zones = field(result, "zones"), *conduits = field(result, "conduits");
	size_t count = json_array_size(conduits);
	int64_t unused = 0;
	bool bare = any_bare(conduits);

	if (zones != NULL)
		count = put_zones(zones, s->now, b, &bare);
	else
		conduits_table(conduits, 0, s->now, b);
	put_count(b, (int64_t)count, "conduit");
	if (s->verbose)
		buf_puts(b, " without a packet for that long");
	for (size_t i = 0; i < json_array_size(conduits); i++)
		unused += is_unused(json_array_get(conduits, i));
	buf_puts(b, bare ? ". ! = rests on an address alone." : ".");
	if (!s->verbose && unused > 0)
		buf_printf(b, " Unused for 30 days: %lld (bailiwick conduits --unused 30d)",
			   (long long)unused);
	buf_putc(b, '\n');
}

enum { OPTION_UNUSED, OPTION_BY };
static const struct option_spec options[] = {
	[OPTION_UNUSED] = {.name = "unused",
			   .value = "DURATION",
			   .help = "only those without a packet for that long"},
	[OPTION_BY] = {.name = "by", .value = "zone", .help = "the register of IEC 62443, by zone"},
};

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	json_t *args = json_object();
	int r = cli_take_duration(c, v, a, OPTION_UNUSED, args, "unused_s");

	if (r == 0 && a->values[OPTION_BY] != NULL && !str_eq(a->values[OPTION_BY], "zone"))
		r = cli_usage(c, v, "--by %s: only --by zone would be right", a->values[OPTION_BY]);
	if (r != 0) {
		json_decref(args);
		return r;
	}
	if (a->values[OPTION_BY] != NULL)
		(void)json_object_set_new(args, "by_zone", json_true());
	return cli_ask(c, v, args, a->values[OPTION_UNUSED] != NULL);
}

const struct verb verb_conduits = {
	.name = "conduits",
	.words = "[--unused DURATION] [--by zone]",
	.summary = "who may talk to whom on this node, and what is used",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.run = run,
	.render = render_conduits,
};
