/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/flows.h"

#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"

static const struct column columns[] = {
	{"NO", COLUMN_RIGHT, CUT_END, 0},       {"PROTO", COLUMN_LEFT, CUT_END, 0},
	{"FROM", COLUMN_LEFT, CUT_END, 8},      {"TO", COLUMN_LEFT, CUT_END, 8},
	{"SOURCE", COLUMN_LEFT, CUT_BEGIN, 21}, {"DESTINATION", COLUMN_LEFT, CUT_BEGIN, 21},
	{"PACKETS", COLUMN_RIGHT, CUT_END, 0},  {"BYTES", COLUMN_RIGHT, CUT_END, 0},
	{"STATE", COLUMN_LEFT, CUT_END, 9}, /* "closing !" whole */
};

/* TCP states of conntrack, as far as they matter to somebody who reads a list of flows. */
static const char *state_word(const char *state)
{
	if (state == NULL)
		return NULL;
	if (str_eq(state, "ESTABLISHED"))
		return "open";
	if (str_starts(state, "SYN_"))
		return "opening";
	if (str_starts(state, "FIN_") || str_starts(state, "CLOSE") || str_eq(state, "LAST_ACK") ||
	    str_eq(state, "TIME_WAIT"))
		return "closing";
	return state;
}

/* Whether the far end is known by its address alone, as far as the agent says. */
static bool is_bare(const json_t *flow)
{
	const char *assurance = field_text(flow, "assurance");

	return str_eq(assurance, "mapped") || str_eq(assurance, "none");
}

static void put_state(struct table *t, const json_t *flow)
{
	const char *state = state_word(field_text(flow, "state"));

	if (is_bare(flow))
		table_cellf(t, "%s !", state != NULL && *state != '\0' ? state : "-");
	else
		table_cell(t, state);
}

/* No flow is without a packet: the kernel does not count (net.netfilter.nf_conntrack_acct). */
static void put_counted(struct table *t, int64_t n)
{
	if (n > 0)
		table_count(t, n);
	else
		table_cell(t, NULL);
}

void flows_table(const json_t *flows, struct buf *b)
{
	char party[PARTY_TEXT_MAX];
	struct table t;

	table_init(&t, columns, ARRAY_LEN(columns));
	for (size_t i = 0; i < json_array_size(flows); i++) {
		const json_t *f = json_array_get(flows, i);
		int64_t conduit = field_int(f, "conduit", 0);

		if (conduit > 0)
			table_cellf(&t, "%lld", (long long)conduit);
		else
			table_cell(&t, NULL);
		table_cell(&t, field_text(f, "proto"));
		table_cell(&t, party_format(party, field(f, "from")));
		table_cell(&t, party_format(party, field(f, "to")));
		table_cell(&t, field_text(f, "src"));
		table_cell(&t, field_text(f, "dst"));
		put_counted(&t, field_int(f, "packets", 0));
		put_counted(&t, field_int(f, "bytes", 0));
		put_state(&t, f);
	}
	table_print(&t, 0, b);
	table_done(&t);
}

/* Lists are bounded; the agent counts on. */
static int64_t total_of(const json_t *result, const char *path, const json_t *list)
{
	return field_int(result, path, (int64_t)json_array_size(list));
}

void cut_render(const json_t *result, struct buf *b)
{
	const json_t *cut = field(result, "cut");
	const char *note = field_text(result, "note");

	flows_table(cut, b);
	if (note != NULL)
		buf_printf(b, "NOTE: %s.\n", note);
	put_count(b, total_of(result, "cut_total", cut), "flow");
	buf_puts(b, note != NULL ? " would be cut" : " cut");
}

static void render_flows(const json_t *result, const struct screen *s, struct buf *b)
{
	const json_t *flows = field(result, "flows");
	bool bare = false;

	(void)s;
	flows_table(flows, b);
	put_count(b, total_of(result, "total", flows), "flow");
	if (total_of(result, "total", flows) > (int64_t)json_array_size(flows))
		buf_printf(b, ", %zu listed", json_array_size(flows));
	for (size_t i = 0; i < json_array_size(flows) && !bare; i++)
		bare = is_bare(json_array_get(flows, i));
	buf_puts(b, bare ? ". ! = the far end is known by its address alone.\n" : ".\n");
}

const struct verb verb_flows = {
	.name = "flows",
	.words = "",
	.summary = "live flows and the conduit of each",
	.run = cli_run_plain,
	.render = render_flows,
};
