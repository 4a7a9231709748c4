/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What loading a policy costs, and one change of a large one.
 *
 *   load CGROUP_DIRECTORY LEVEL full|quick
 *
 * The same ruleset goes into the kernel in three ways, each time into a fresh network namespace:
 * as the agent does it; its elements alone as one netlink batch, written here with libmnl and
 * nothing else; and as text by `nft -f`. The agent's time holds more than the batch's: the plan,
 * and the table's chains. Then, with everything loaded, one conduit is taken out and put back.
 */
#include "bench/loaded.h"
#include "rules/ruleset_text.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#define CONDUITS_FULL    100000
#define CONDUITS_QUICK   10000
#define ROUNDS_FULL      7
#define ROUNDS_QUICK     3
#define ROUNDS_MAX       16
#define GROUPS           5 /* of changes; quantiles of each, then min, median, max of these */
#define CHANGES          200
#define REPLANS          5
#define GOAL_BATCH       1.15
#define GOAL_TEXT        1.0
#define GOAL_CHANGE_P50  100.0
#define GOAL_CHANGE_P99  1000.0
#define MESSAGE_ROOM     (96U << 10)
#define LIST_MAX         60000 /* a nested list is at most 65,535 bytes long */
#define ELEMENT_ROOM_MAX 512   /* bytes of one element with its user data */
#define SEND_BYTES       (256 << 20)
#define TEXT_MAX         (256U << 20)
#define SETTLE_MS        300
#define CGROUP_ROOT      "/sys/fs/cgroup/"
#define USER_DATA_EXTRA  20 /* type and length of comment and key, and the key */

/* --- one bare batch -------------------------------------------------------------------------- */

struct bare {
	struct mnl_socket *socket;
	char *bytes;
	size_t len, cap;
	uint32_t seq;
	struct nlmsghdr *message;
};

static void bare_message(struct bare *b, uint16_t type, uint16_t flags, uint8_t family,
			 uint16_t res_id)
{
	struct nfgenmsg *g;

	if (b->message != NULL)
		b->len += MNL_ALIGN(b->message->nlmsg_len);
	if (vec_grow(&b->bytes, &b->cap, b->len + MESSAGE_ROOM, 1, SEND_BYTES) < 0)
		die("no memory for the batch");
	b->message = mnl_nlmsg_put_header(b->bytes + b->len);
	b->message->nlmsg_type = type;
	b->message->nlmsg_flags = NLM_F_REQUEST | flags;
	b->message->nlmsg_seq = ++b->seq;
	g = mnl_nlmsg_put_extra_header(b->message, sizeof(*g));
	g->nfgen_family = family;
	g->res_id = htons(res_id);
}

static void bare_begin(struct bare *b)
{
	b->len = 0;
	b->message = NULL;
	bare_message(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
}

/* One sendmsg; the kernel has answered when it returns. */
static void bare_commit(struct bare *b)
{
	_Alignas(struct nlmsghdr) char answer[8192];
	const struct nlmsghdr *h = (const struct nlmsghdr *)answer;
	const struct nlmsgerr *e;

	b->message->nlmsg_flags |= NLM_F_ACK;
	bare_message(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	b->len += MNL_ALIGN(b->message->nlmsg_len);
	b->message = NULL;
	if (mnl_socket_sendto(b->socket, b->bytes, b->len) < 0)
		die("bare batch of %zu bytes: %s", b->len, strerror(errno));
	if (recv(mnl_socket_get_fd(b->socket), answer, sizeof(answer), MSG_DONTWAIT) <
	    (ssize_t)(sizeof(*h) + sizeof(*e)))
		die("bare batch: no answer");
	e = mnl_nlmsg_get_payload(h);
	if (h->nlmsg_type != NLMSG_ERROR || e->error != 0)
		die("bare batch: %s", strerror(-e->error));
}

static struct nlattr *bare_list(struct bare *b, bool add, const char *set)
{
	uint16_t type = add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM;

	bare_message(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), add ? NLM_F_CREATE : 0,
		     NFPROTO_INET, 0);
	mnl_attr_put_strz(b->message, NFTA_SET_ELEM_LIST_TABLE, "bailiwick");
	mnl_attr_put_strz(b->message, NFTA_SET_ELEM_LIST_SET, set);
	return mnl_attr_nest_start(b->message, NFTA_SET_ELEM_LIST_ELEMENTS);
}

static void bare_value(struct nlmsghdr *h, uint16_t type, const void *bytes, size_t len)
{
	struct nlattr *nest = mnl_attr_nest_start(h, type);

	mnl_attr_put(h, NFTA_DATA_VALUE, len, bytes);
	mnl_attr_nest_end(h, nest);
}

/* As many bytes beside the element as the agent writes there. */
static void bare_user_data(struct nlmsghdr *h, struct compiled *c, const uint8_t *record)
{
	uint8_t data[CONDUIT_COMMENT_MAX + USER_DATA_EXTRA] = {0};
	char comment[CONDUIT_COMMENT_MAX];
	struct number_key key;
	uint32_t number;

	memcpy(&number, record, sizeof(number));
	if (label_of(c, number, comment, &key))
		mnl_attr_put(h, NFTA_SET_ELEM_USERDATA, strlen(comment) + 1 + USER_DATA_EXTRA,
			     data);
}

static void bare_element(struct bare *b, struct compiled *c, struct set_ref ref,
			 const uint8_t *record, bool add)
{
	struct nlmsghdr *h = b->message;
	struct nlattr *element = mnl_attr_nest_start(h, NFTA_LIST_ELEM), *data, *verdict;
	enum set_kind kind = ref.kind;

	bare_value(h, NFTA_SET_ELEM_KEY, record, set_key_len(kind));
	if (add && set_spec(kind)->value == VALUE_MARK)
		bare_value(h, NFTA_SET_ELEM_DATA, record + set_value_offset(kind),
			   sizeof(uint32_t));
	if (add && set_spec(kind)->value == VALUE_VERDICT) {
		data = mnl_attr_nest_start(h, NFTA_SET_ELEM_DATA);
		verdict = mnl_attr_nest_start(h, NFTA_DATA_VERDICT);
		mnl_attr_put_u32(h, NFTA_VERDICT_CODE, htonl(NF_ACCEPT));
		mnl_attr_nest_end(h, verdict);
		mnl_attr_nest_end(h, data);
	}
	if (add && kind == SET_LIVE)
		bare_user_data(h, c, record);
	mnl_attr_nest_end(h, element);
}

static void bare_set(struct bare *b, struct compiled *c, const struct set_items *s)
{
	const struct set_spec *spec = set_spec(s->ref.kind);
	char name[SET_NAME_MAX];

	if (spec->interval || spec->timeout)
		die("set %s is not expected in this ruleset", spec->name);
	for (size_t i = 0; i < s->count;) {
		struct nlattr *list = bare_list(b, true, set_name(name, s->ref));

		for (; i < s->count && b->message->nlmsg_len < LIST_MAX - ELEMENT_ROOM_MAX; i++)
			bare_element(b, c, s->ref, s->bytes + i * set_stride(s->ref.kind), true);
		mnl_attr_nest_end(b->message, list);
	}
}

static void bare_open(struct bare *b)
{
	int bytes = SEND_BYTES;

	*b = (struct bare){.socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC)};
	if (b->socket == NULL || mnl_socket_bind(b->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		die("netlink: %s", strerror(errno));
	if (setsockopt(mnl_socket_get_fd(b->socket), SOL_SOCKET, SO_SNDBUFFORCE, &bytes,
		       sizeof(bytes)) < 0)
		die("netlink send buffer: %s", strerror(errno));
}

static void bare_close(struct bare *b)
{
	(void)mnl_socket_close(b->socket);
	free(b->bytes);
}

/* --- three ways to load ---------------------------------------------------------------------- */

struct bench {
	struct fleet_units units;
	struct compiled compiled;
	int home;
	uint32_t rounds;
	double agent_ms[ROUNDS_MAX], batch_ms[ROUNDS_MAX], text_ms[ROUNDS_MAX];
};

static void pause_ms(int64_t ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&t, NULL);
}

/* What a deleted table held is freed later by a kernel worker: not in the next one's time. */
static void leave(const struct bench *b, int ns)
{
	run_line("nft flush ruleset");
	netns_enter(b->home);
	(void)close(ns);
	pause_ms(SETTLE_MS);
}

static double load_agent(struct bench *b)
{
	struct err err = {{0}};
	int ns = netns_new();
	int64_t took;
	struct nft *n = load(&b->compiled, &took);

	need(nft_delete_table(n, &err), &err, "delete the table");
	nft_close(n);
	leave(b, ns);
	return (double)took / NS_PER_MS;
}

/* Sets and chains, without elements. */
static void table_make(const struct bench *b)
{
	struct table *t = NULL;
	struct err err = {{0}};
	CLEANUP(buf_done) struct buf text;

	buf_init(&text, TEXT_MAX);
	need(table_build(&b->compiled.rules->shape, &t, &err), &err, "table");
	table_text(t, &text);
	table_free(t);
	if (text.r < 0)
		die("no memory for the table's text");
	nft_text(text.data, text.len);
}

static double batch_load(struct bench *b, struct bare *bare)
{
	const struct ruleset *r = b->compiled.rules;
	int64_t began = clock_ns();

	bare_begin(bare);
	for (size_t i = 0; i < r->set_count; i++)
		bare_set(bare, &b->compiled, &r->sets[i]);
	bare_commit(bare);
	return (double)(clock_ns() - began) / NS_PER_MS;
}

static double load_batch(struct bench *b)
{
	int ns = netns_new();
	struct bare bare;
	double ms;

	bare_open(&bare);
	table_make(b);
	ms = batch_load(b, &bare);
	bare_close(&bare);
	leave(b, ns);
	return ms;
}

/* nft knows cgroups by path. */
static const char *path_of(void *user, uint64_t id)
{
	static char path[512];
	const struct bench *b = user;

	for (uint32_t i = 0; i < FLEET_APPS_MAX; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "app%u.service", i);
		if (unit_make(&b->units, name) != id)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", b->units.dir + strlen(CGROUP_ROOT),
			       name);
		return path;
	}
	return NULL;
}

static double load_text(struct bench *b, const struct buf *text)
{
	int ns = netns_new();
	int64_t began;
	double ms;

	began = clock_ns();
	nft_text(text->data, text->len);
	ms = (double)(clock_ns() - began) / NS_PER_MS;
	leave(b, ns);
	return ms;
}

static void load_rounds(struct bench *b)
{
	const struct ruleset_names names = {
		.confirmed = b->compiled.gen,
		.cgroup_path = path_of,
		.user = b,
	};
	CLEANUP(buf_done) struct buf text;
	struct err err = {{0}};

	buf_init(&text, TEXT_MAX);
	need(ruleset_text(b->compiled.rules, &names, &text, &err), &err, "ruleset as text");
	if (text.r < 0)
		die("no memory for the ruleset's text");
	for (uint32_t i = 0; i < b->rounds; i++) {
		b->agent_ms[i] = load_agent(b);
		b->batch_ms[i] = load_batch(b);
		b->text_ms[i] = load_text(b, &text);
	}
}

static void load_row(const struct bench *b, const char *id, const char *against,
		     const double *other, double goal, const char *goal_text)
{
	double ratio[ROUNDS_MAX], ours[ROUNDS_MAX], theirs[ROUNDS_MAX];
	char what[120], note[160];
	struct summary s;

	for (uint32_t i = 0; i < b->rounds; i++) {
		ours[i] = b->agent_ms[i];
		theirs[i] = other[i];
		ratio[i] = ours[i] / theirs[i];
	}
	s = summarize(ratio, b->rounds);
	(void)snprintf(what, sizeof(what), "loading %zu conduits, time against %s",
		       b->compiled.gen->conduit_count, against);
	(void)snprintf(note, sizeof(note), "%.0f ms against %.0f ms, %zu elements",
		       quantile(ours, b->rounds, 0.5), quantile(theirs, b->rounds, 0.5),
		       compiled_elements(b->compiled.rules));
	row_print(&(struct row){
		.id = id,
		.what = what,
		.unit = "",
		.goal = goal_text,
		.met = s.median <= goal ? ROW_MET : ROW_MISSED,
		.s = s,
		.note = note,
	});
}

/* --- one change ------------------------------------------------------------------------------ */

/* Two rulesets that differ by one conduit, and the ways between them. */
struct change {
	uint32_t number;
	struct generation *gen;
	struct ruleset *without;
	struct plan *out, *back;
	struct nft_labels labels;
	struct nft *nft;
	double replan_ms[REPLANS];
	double us[GROUPS][CHANGES];
	double bare_us[CHANGES];
};

static void change_plan(struct bench *b, struct change *c)
{
	struct compiled *full = &b->compiled;
	struct err err = {{0}};

	c->number = full->gen->conduits[full->gen->conduit_count / 2].number;
	for (unsigned i = 0; i < REPLANS; i++) {
		int64_t began = clock_ns();

		generation_freep(&c->gen);
		ruleset_freep(&c->without);
		plan_freep(&c->out);
		compiled_build(full, c->number, &c->gen, &c->without);
		need(plan_make(full->rules, c->without, NULL, 0, &c->out, &err), &err, "plan");
		c->replan_ms[i] = (double)(clock_ns() - began) / NS_PER_MS;
	}
	need(plan_make(c->without, full->rules, NULL, 0, &c->back, &err), &err, "plan");
	if (c->out->op_count == 0 || c->out->shape_changed)
		die("leaving out one conduit is not the change that was meant");
}

static double change_apply(struct bench *b, struct change *c, bool out)
{
	const struct nft_apply_input in = {
		.plan = out ? c->out : c->back,
		.old = out ? b->compiled.rules : c->without,
		.new_ = out ? c->without : b->compiled.rules,
		.labels = &c->labels,
		.now_ms = unix_ms(),
	};
	struct err err = {{0}};
	int64_t began = clock_ns();

	need(nft_apply(c->nft, &in, NULL, &err), &err, "one change");
	return (double)(clock_ns() - began) / NS_PER_US;
}

static double change_cut(struct bench *b, struct change *c)
{
	struct err err = {{0}};
	int64_t began = clock_ns();
	double us;

	need(nft_cut(c->nft, b->compiled.rules, &c->number, 1, &err), &err, "cut");
	us = (double)(clock_ns() - began) / NS_PER_US;
	(void)change_apply(b, c, true);
	return us;
}

/* The smallest transaction there is: one element of `live` out, and in again. */
static void bare_changes(struct bench *b, struct change *c)
{
	const struct set_ref live = {.kind = SET_LIVE};
	const struct set_items *items = ruleset_find(b->compiled.rules, live);
	const uint8_t *record = items != NULL ? set_items_find(items, &c->number) : NULL;
	int ns = netns_new();
	struct bare bare;

	if (record == NULL)
		die("conduit %u is not live", c->number);
	bare_open(&bare);
	table_make(b);
	(void)batch_load(b, &bare);
	for (unsigned i = 0; i < CHANGES; i++) {
		int64_t began = clock_ns();
		struct nlattr *list;

		bare_begin(&bare);
		list = bare_list(&bare, i % 2 != 0, "live");
		bare_element(&bare, &b->compiled, live, record, i % 2 != 0);
		mnl_attr_nest_end(bare.message, list);
		bare_commit(&bare);
		c->bare_us[i] = (double)(clock_ns() - began) / NS_PER_US;
	}
	bare_close(&bare);
	leave(b, ns);
}

static void change_row(const struct bench *b, struct change *c, const char *id, const char *name,
		       double share)
{
	double values[GROUPS], goal = share < 0.9 ? GOAL_CHANGE_P50 : GOAL_CHANGE_P99;
	char what[120], note[160], text[24], percent[8];
	struct summary s;

	for (unsigned i = 0; i < GROUPS; i++)
		values[i] = quantile(c->us[i], CHANGES, share);
	s = summarize(values, GROUPS);
	(void)snprintf(percent, sizeof(percent), "p%.0f", share * 100);
	(void)snprintf(what, sizeof(what), "%s with %zu conduits live, %s", name,
		       b->compiled.gen->conduit_count, percent);
	(void)snprintf(note, sizeof(note), "bare transaction %.1f us, %zu operations against 1",
		       quantile(c->bare_us, CHANGES, share), c->out->op_count);
	(void)snprintf(text, sizeof(text), "<= %.0f us", goal);
	row_print(&(struct row){
		.id = id,
		.what = what,
		.unit = "us",
		.goal = text,
		.met = s.median <= goal ? ROW_MET : ROW_MISSED,
		.s = s,
		.note = note,
	});
}

static void changes(struct bench *b)
{
	static struct change c;
	struct err err = {{0}};
	int64_t took;
	int ns;

	change_plan(b, &c);
	bare_changes(b, &c);
	ns = netns_new();
	c.labels = compiled_labels(&b->compiled);
	c.nft = load(&b->compiled, &took);
	for (unsigned i = 0; i < GROUPS * CHANGES; i++)
		c.us[i / CHANGES][i % CHANGES] = change_apply(b, &c, i % 2 == 0);
	change_row(b, &c, "change-p50", "one change", 0.50);
	change_row(b, &c, "change-p99", "one change", 0.99);
	for (unsigned i = 0; i < GROUPS * CHANGES; i++) {
		c.us[i / CHANGES][i % CHANGES] = change_cut(b, &c);
		(void)change_apply(b, &c, false);
	}
	change_row(b, &c, "cut-p50", "one revocation", 0.50);
	change_row(b, &c, "cut-p99", "one revocation", 0.99);
	row_print(&(struct row){
		.id = "replan",
		.what = "the same change from policy and view: compile, build, compare",
		.unit = "ms",
		.goal = "",
		.met = ROW_NO_GOAL,
		.s = summarize(c.replan_ms, REPLANS),
	});
	need(nft_delete_table(c.nft, &err), &err, "delete the table");
	nft_close(c.nft);
	leave(b, ns);
}

int main(int argc, char **argv)
{
	static struct bench b;
	bool quick = argc == 4 && str_eq(argv[3], "quick");
	const struct fleet fleet = fleet_of(false, quick ? CONDUITS_QUICK : CONDUITS_FULL);

	if (argc != 4 || (!quick && !str_eq(argv[3], "full")))
		die("usage: load CGROUP_DIRECTORY LEVEL full|quick");
	if (!str_starts(argv[1], CGROUP_ROOT))
		die("%s is not below " CGROUP_ROOT, argv[1]);
	bench_begin();
	b.units.dir = argv[1];
	b.units.level = (uint8_t)argument_number("level", argv[2], 1, CGROUP_LEVEL_MAX);
	b.rounds = quick ? ROUNDS_QUICK : ROUNDS_FULL;
	b.home = netns_current();
	compiled_make(&b.compiled, &fleet, &b.units, QUEUE_NONE);
	load_rounds(&b);
	load_row(&b, "load-batch", "one bare netlink batch", b.batch_ms, GOAL_BATCH, "<= 1.15");
	load_row(&b, "load-text", "`nft -f` of the same", b.text_ms, GOAL_TEXT, "< 1.00");
	changes(&b);
	compiled_done(&b.compiled);
	return 0;
}
