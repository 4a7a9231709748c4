/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The kernel table by hand, for tests of the packet path without an agent:
 *
 *   table_load [--netns PATH] [--table NAME] [--levels MASK] [--queue none|xt|native]
 *              [--deny-unclaimed] [--trial] [--live-size N] [--quiet] [--old-kernel] VERB
 *     load FILE        a whole table with the elements of FILE, then enforced ("-": stdin)
 *     observe FILE     the same in observe mode
 *     change OLD NEW   the difference between two files, as the agent would send it
 *     text FILE        nft syntax of it
 *     add FILE, del FILE             element by element
 *     cut FILE MARK...               every element of `live` and `live_udp` with these marks
 *     switch NAME on|off|MS          agent_alive, candidate_on, observe_on, trial_on
 *     heartbeat MS                   keeps agent_alive on for so long
 *     renew MARK MS                  lease in slot a
 *     listeners FILE                 renews listeners and tw_ends
 *     enforce, disarm, delete, dump, probe, counters, counter MARK, check, scan
 *     watch MS                       foreign changes
 *
 * --old-kernel does without persist, destroy and renewal, as on 6.1.
 *
 * FILE has one element a line: SET FIELD... [= VALUE], '#' begins a comment. Fields: marks and uids
 * as numbers, cgroups as paths or ids, addresses, tcp|udp|NUMBER, ports, A-B where the set has
 * intervals (CIDRs too). VALUE: a mark, a verdict (accept, leased, ..., CONFIRMED/CANDIDATE), or
 * the end of a lease as seconds from now.
 */
#include "tests/tools/tool.h"

#include <poll.h>
#include <sys/stat.h>

#include "agent/nft_table.h"
#include "base/buf.h"
#include "base/file.h"
#include "rules/marks.h"
#include "rules/ruleset_text.h"

#define FILE_BYTES_MAX     (256U << 20)
#define TEXT_BYTES_MAX     (256U << 20)
#define WORDS_MAX          12
#define LABEL_KEY          "table_load"
#define HEARTBEAT_EVERY_MS 500

static struct {
	const char *netns, *table, *queue;
	uint32_t levels, live_size;
	bool deny_unclaimed, trial, quiet, old_kernel;
} arg = {.table = "bailiwick", .queue = "none", .levels = 0x2, .live_size = 65536};

static const struct opt opts[] = {
	{"netns", OPT_TEXT, {.text = &arg.netns}},
	{"table", OPT_TEXT, {.text = &arg.table}},
	{"queue", OPT_TEXT, {.text = &arg.queue}},
	{"levels", OPT_NUMBER, {.number = &arg.levels}},
	{"live-size", OPT_NUMBER, {.number = &arg.live_size}},
	{"deny-unclaimed", OPT_FLAG, {.flag = &arg.deny_unclaimed}},
	{"trial", OPT_FLAG, {.flag = &arg.trial}},
	{"quiet", OPT_FLAG, {.flag = &arg.quiet}},
	{"old-kernel", OPT_FLAG, {.flag = &arg.old_kernel}},
};

static void must(int r, const struct err *err)
{
	if (r < 0)
		tool_die(EXIT_BROKEN, "%s", err->text);
}

static int64_t unix_now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- reading elements ------------------------------------------------------------------------ */

static uint64_t cgroup_of(const char *text)
{
	struct stat st;
	uint64_t id;

	if (text_u64(text, 0, UINT64_MAX, &id) == 0)
		return id;
	if (stat(text, &st) < 0)
		tool_die(EXIT_BROKEN, "cgroup %s: %s", text, strerror(errno));
	return st.st_ino;
}

static uint8_t proto_of(const char *text)
{
	if (str_eq(text, "tcp"))
		return IPPROTO_TCP;
	return str_eq(text, "udp") ? IPPROTO_UDP : (uint8_t)tool_number("protocol", text);
}

static void key_field(struct key *k, enum field field, const char *text)
{
	struct addr a;

	switch (field) {
	case FIELD_MARK:
	case FIELD_UID:
		key_u32(k, tool_number("mark", text));
		break;
	case FIELD_ADDR4:
	case FIELD_ADDR6:
		if (addr_parse(text, &a) < 0)
			tool_die(EXIT_BROKEN, "'%s' is no address", text);
		key_addr(k, &a);
		break;
	case FIELD_L4PROTO:
		key_u8(k, proto_of(text));
		break;
	case FIELD_PORT:
		key_port(k, (uint16_t)tool_number("port", text));
		break;
	case FIELD_ICMP_TYPE:
	case FIELD_NFPROTO:
		key_u8(k, (uint8_t)tool_number("type", text));
		break;
	case FIELD_CGROUP:
		key_cgroup(k, cgroup_of(text));
		break;
	}
}

static void interval_field(struct key *first, struct key *last, enum field field, char *text)
{
	char *dash = strchr(text, '-');
	struct prefix p;
	struct addr a, b;

	if ((field == FIELD_ADDR4 || field == FIELD_ADDR6) && strchr(text, '/') != NULL) {
		if (prefix_parse(text, &p) < 0)
			tool_die(EXIT_BROKEN, "'%s' is no prefix", text);
		prefix_range(&p, &a, &b);
		key_addr(first, &a);
		key_addr(last, &b);
		return;
	}
	if (dash != NULL)
		*dash = '\0';
	key_field(first, field, text);
	key_field(last, field, dash != NULL ? dash + 1 : text);
}

static uint8_t single_verdict(const char *text)
{
	static const char *const names[] = {"none",           "accept", "leased",       "watched",
					    "leased_watched", "ask",    "refused_reply"};

	for (uint8_t i = 0; i < ARRAY_LEN(names); i++) {
		if (str_eq(names[i], text))
			return i;
	}
	tool_die(EXIT_BROKEN, "'%s' is no verdict", text);
}

static uint8_t verdict_of(char *text)
{
	char *slash = strchr(text, '/');

	if (slash == NULL)
		return single_verdict(text);
	*slash = '\0';
	return live_pair(single_verdict(text), single_verdict(slash + 1));
}

static bool find_set(const char *text, struct set_ref *ret)
{
	char name[SET_NAME_MAX];

	for (uint8_t kind = 0; kind < SET_KIND_COUNT; kind++) {
		for (uint8_t slot = SLOT_A; slot <= SLOT_B; slot++) {
			for (uint8_t level = 0; level <= 16; level++) {
				*ret = (struct set_ref){kind, slot, level};
				if (str_eq(set_name(name, *ret), text))
					return true;
			}
		}
	}
	return false;
}

static size_t put_value(const struct set_spec *spec, char *text, uint8_t *record)
{
	int64_t end;
	uint32_t mark;

	switch ((enum set_value)spec->value) {
	case VALUE_NONE:
		return 0;
	case VALUE_MARK:
		mark = tool_number("mark", text);
		memcpy(record, &mark, sizeof(mark));
		return sizeof(mark);
	case VALUE_VERDICT:
		*record = verdict_of(text);
		return 1;
	case VALUE_LEASE:
		end = unix_now_ms() / 1000 + tool_number("seconds", text);
		memcpy(record, &end, sizeof(end));
		return sizeof(end);
	}
	return 0;
}

static struct set_ref read_element(char **words, size_t count, uint8_t *record)
{
	struct key first, last;
	struct set_ref ref;
	const struct set_spec *spec;
	size_t len;

	if (!find_set(words[0], &ref))
		tool_die(EXIT_BROKEN, "'%s' is no set", words[0]);
	spec = set_spec(ref.kind);
	if (count < 1U + spec->field_count + (spec->value != VALUE_NONE ? 2U : 0U))
		tool_die(EXIT_BROKEN, "an element of %s needs more words", words[0]);
	key_init(&first);
	key_init(&last);
	for (uint8_t i = 0; i < spec->field_count; i++)
		interval_field(&first, &last, spec->fields[i], words[1 + i]);
	len = set_key_len(ref.kind);
	memcpy(record, first.bytes, len);
	if (spec->interval)
		memcpy(record + len, last.bytes, len);
	len = set_value_offset(ref.kind);
	if (spec->value != VALUE_NONE)
		(void)put_value(spec, words[2 + spec->field_count], record + len);
	return ref;
}

static size_t split(char *line, char **words)
{
	size_t count = 0;
	char *rest = line, *word;

	line[strcspn(line, "#\n")] = '\0';
	while (count < WORDS_MAX && (word = strsep(&rest, " \t")) != NULL) {
		if (*word != '\0')
			words[count++] = word;
	}
	return count;
}

static char *read_text(const char *path)
{
	struct err err;
	char *text = NULL, *line = NULL;
	size_t len = 0;
	struct buf b;

	if (!str_eq(path, "-")) {
		must(file_read(AT_FDCWD, path, FILE_BYTES_MAX, &text, &len, &err), &err);
		return text;
	}
	buf_init(&b, FILE_BYTES_MAX);
	while (getline(&line, &len, stdin) > 0)
		buf_puts(&b, line);
	free(line);
	buf_puts(&b, "");
	return buf_take(&b);
}

static void each_element(const char *path,
			 void (*take)(void *user, struct set_ref ref, const uint8_t *record),
			 void *user)
{
	char *text = read_text(path), *rest = text, *line;
	uint8_t record[2 * SET_KEY_MAX + sizeof(uint64_t)];
	char *words[WORDS_MAX];

	while (rest != NULL && (line = strsep(&rest, "\n")) != NULL) {
		size_t count = split(line, words);

		if (count > 0)
			take(user, read_element(words, count, record), record);
	}
	free(text);
}

/* --- rulesets -------------------------------------------------------------------------------- */

static struct table_shape shape_asked(void)
{
	struct table_shape s = {.levels = arg.levels,
				.queue = QUEUE_NONE,
				.queue_first = 7100,
				.nflog_group = 7100,
				.unclaimed_mark = MARK_UNCLAIMED_MIN,
				.unclaimed = arg.deny_unclaimed ? UNCLAIMED_DENY : UNCLAIMED_PASS,
				.trial = arg.trial,
				.live_size = arg.live_size};

	if (strlen(arg.table) >= sizeof(s.table))
		tool_die(EXIT_USAGE, "--table: '%s' is too long", arg.table);
	memcpy(s.table, arg.table, strlen(arg.table));
	if (str_eq(arg.queue, "xt"))
		s.queue = QUEUE_XT;
	else if (str_eq(arg.queue, "native"))
		s.queue = QUEUE_NATIVE;
	return s;
}

static void into_ruleset(void *user, struct set_ref ref, const uint8_t *record)
{
	struct set_items *items = ruleset_set(user, ref);

	if (items == NULL || set_items_add(items, record) < 0)
		tool_die(EXIT_BROKEN, "out of memory");
}

static void live_mark(struct ruleset *r, uint32_t mark, uint8_t verdict)
{
	uint8_t record[sizeof(mark) + 1];

	memcpy(record, &mark, sizeof(mark));
	record[sizeof(mark)] = verdict;
	into_ruleset(r, (struct set_ref){.kind = SET_LIVE}, record);
}

static void answering(struct ruleset *r)
{
	uint8_t record[SET_KEY_MAX + sizeof(uint32_t)] = {IPPROTO_TCP};
	uint32_t mark = MARK_REFUSED;

	memcpy(record + set_value_offset(SET_ANSWERING), &mark, sizeof(mark));
	into_ruleset(r, (struct set_ref){.kind = SET_ANSWERING}, record);
}

static struct ruleset *ruleset_of(const char *path)
{
	struct ruleset *r = ruleset_new();
	uint32_t ask = MARK_LISTENER_ASK;
	struct err err;

	if (r == NULL)
		tool_die(EXIT_BROKEN, "out of memory");
	r->shape = shape_asked();
	live_mark(r, MARK_REFUSED, LIVE_REFUSED_REPLY);
	answering(r);
	live_mark(r, r->shape.unclaimed_mark, LIVE_ACCEPT);
	into_ruleset(r, (struct set_ref){.kind = SET_PENDING}, (const uint8_t *)&ask);
	each_element(path, into_ruleset, r);
	must(ruleset_sort(r, &err), &err);
	return r;
}

static bool label(void *user, uint32_t number, char comment[128], struct number_key *ret_key)
{
	(void)user;
	(void)snprintf(comment, 128, "conduit %u", number);
	number_key_of(comment, ret_key);
	return true;
}

static const struct nft_labels labels = {.label = label};

static void apply(struct nft *n, const struct ruleset *old, const struct ruleset *new_)
{
	CLEANUP(plan_freep) struct plan *plan = NULL;
	struct nft_apply_input in = {.old = old,
				     .new_ = new_,
				     .labels = &labels,
				     .now_ms = unix_now_ms(),
				     .quiet = arg.quiet || old == NULL};
	struct nft_fault fault;
	struct err err;
	int64_t start;

	must(plan_make(old, new_, NULL, 0, &plan, &err), &err);
	in.plan = plan;
	start = now_us();
	must(nft_apply(n, &in, &fault, &err), &err);
	printf("operations %zu microseconds %lld\n", plan->op_count, (long long)(now_us() - start));
}

/* --- verbs ----------------------------------------------------------------------------------- */

static struct nft *start(enum nft_found *ret_found)
{
	struct nft *n = NULL;
	struct err err;

	must(nft_open(arg.table, &n, &err), &err);
	must(nft_probe(n, &err), &err);
	if (arg.old_kernel)
		n->features = (struct nft_features){.queue_xt = n->features.queue_xt};
	must(nft_start(n, ret_found, &err), &err);
	return n;
}

static void load_table(struct nft *n, enum nft_found found, const char *path, bool observe)
{
	CLEANUP(ruleset_freep) struct ruleset *r = ruleset_of(path);
	struct err err;

	if (found == NFT_FOUND_TABLE) {
		must(nft_delete_table(n, &err), &err);
		must(nft_start(n, &found, &err), &err);
	}
	apply(n, NULL, r);
	if (observe)
		must(nft_switch_set(n, SET_OBSERVE_ON, 0, &err), &err);
	must(nft_enforce(n, &r->shape, &err), &err);
}

static void change_table(struct nft *n, const char *old_path, const char *new_path)
{
	CLEANUP(ruleset_freep) struct ruleset *old = NULL, *new_ = NULL, *kernel = NULL;
	struct nft_dump_input in = {.now_ms = unix_now_ms()};
	struct err err;

	must(nft_dump(n, &in, &kernel, &err), &err);
	old = ruleset_of(old_path);
	old->shape.levels = kernel->shape.levels;
	old->shape.live_size = kernel->shape.live_size;
	new_ = ruleset_of(new_path);
	apply(n, old, new_);
}

static void print_text(const char *path)
{
	CLEANUP(ruleset_freep) struct ruleset *r = ruleset_of(path);
	struct err err;
	struct buf b;

	buf_init(&b, TEXT_BYTES_MAX);
	must(ruleset_text(r, NULL, &b, &err), &err);
	(void)fputs(b.data, stdout);
	buf_done(&b);
}

struct change {
	struct nft *n;
	bool add;
};

static void one_change(void *user, struct set_ref ref, const uint8_t *record)
{
	const struct change *c = user;
	struct err err;

	if (c->add)
		must(nft_element_add(c->n, ref, record, &labels, unix_now_ms(), &err), &err);
	else
		must(nft_element_del(c->n, ref, record, &err), &err);
}

static void cut(struct nft *n, char **words, int count)
{
	CLEANUP(ruleset_freep) struct ruleset *r = ruleset_of(words[0]);
	uint32_t marks[WORDS_MAX];
	size_t marks_count = 0;
	struct err err;

	for (int i = 1; i < count && marks_count < WORDS_MAX; i++)
		marks[marks_count++] = tool_number("mark", words[i]);
	must(nft_cut(n, r, marks, marks_count, &err), &err);
}

static void turn(struct nft *n, const char *name, const char *how)
{
	struct set_ref ref;
	struct err err;

	if (!find_set(name, &ref) || ref.kind < SET_AGENT_ALIVE || ref.kind > SET_TRIAL_ON)
		tool_die(EXIT_USAGE, "'%s' is no switch", name);
	if (str_eq(how, "off"))
		must(nft_switch_clear(n, ref.kind, &err), &err);
	else
		must(nft_switch_set(n, ref.kind, str_eq(how, "on") ? 0 : tool_number("ms", how),
				    &err),
		     &err);
}

static void heartbeat(struct nft *n, const char *text)
{
	int64_t end = now_us() + (int64_t)tool_number("ms", text) * 1000;
	struct err err;

	while (now_us() < end) {
		must(nft_heartbeat(n, &err), &err);
		(void)poll(NULL, 0, HEARTBEAT_EVERY_MS);
	}
}

static void print_dump(struct nft *n)
{
	CLEANUP(ruleset_freep) struct ruleset *r = NULL;
	struct nft_dump_input in = {.now_ms = unix_now_ms()};
	char name[SET_NAME_MAX];
	struct err err;
	struct buf b;

	must(nft_dump(n, &in, &r, &err), &err);
	printf("levels 0x%x live_size %u\n", r->shape.levels, r->shape.live_size);
	for (size_t i = 0; i < r->set_count; i++) {
		const struct set_items *s = &r->sets[i];

		for (size_t k = 0; k < s->count; k++) {
			const uint8_t *record = s->bytes + k * set_stride(s->ref.kind);

			buf_init(&b, TEXT_BYTES_MAX);
			record_key_text(s->ref.kind, record, NULL, &b);
			printf("%s %s", set_name(name, s->ref), b.data);
			if (set_spec(s->ref.kind)->value == VALUE_VERDICT)
				printf(" %u", record[set_value_offset(s->ref.kind)]);
			printf("\n");
			buf_done(&b);
		}
	}
}

static void print_probe(const struct nft *n)
{
	const struct nft_features *f = nft_features(n);

	printf("owner %d persist %d renewal %d destroy %d queue_native %d queue_xt %d owned %d\n",
	       f->owner, f->persist, f->renewal, f->destroy, f->queue_native, f->queue_xt,
	       nft_is_owned(n));
}

static void print_counters(struct nft *n)
{
	struct nft_counter c[NFT_NAMED_COUNT];
	struct err err;

	must(nft_named_counters(n, c, &err), &err);
	for (size_t i = 0; i < NFT_NAMED_COUNT; i++)
		printf("%s %llu\n", table_counters[i], (unsigned long long)c[i].packets);
}

static void print_counter(struct nft *n, char **words, int count)
{
	uint32_t marks[WORDS_MAX] = {0};
	struct nft_counter c[WORDS_MAX];
	size_t n_marks = 0;
	struct err err;

	for (int i = 0; i < count && n_marks < WORDS_MAX; i++)
		marks[n_marks++] = tool_number("mark", words[i]);
	must(nft_counters(n, (struct set_ref){.kind = SET_LIVE}, (const uint8_t *)marks, n_marks, c,
			  &err),
	     &err);
	for (size_t i = 0; i < n_marks; i++)
		printf("0x%x %s %llu\n", marks[i], c[i].found ? "found" : "missing",
		       (unsigned long long)c[i].packets);
}

static void print_foreign(void *user, const struct nft_foreign *f)
{
	(void)user;
	printf("%u %s %s: %s\n", f->family, f->table, f->chain,
	       nft_foreign_name((enum nft_foreign_kind)f->kind));
}

static void print_event(void *user, const struct nft_event *e)
{
	static const char *const names[] = {"changed", "gone", "lost", "other"};

	(void)user;
	printf("event %s %s\n", names[e->kind], e->process);
	(void)fflush(stdout);
}

static void watch(struct nft *n, const char *text)
{
	int64_t end = now_us() + (int64_t)tool_number("ms", text) * 1000;
	struct nft_monitor *m = NULL;
	struct pollfd p = {.events = POLLIN};
	struct err err;

	must(nft_monitor_open(n, &m, &err), &err);
	p.fd = nft_monitor_fd(m);
	printf("watching\n");
	(void)fflush(stdout);
	while (poll(&p, 1, ms_until(end)) > 0)
		must(nft_monitor_read(m, print_event, NULL, &err), &err);
	nft_monitor_free(m);
}

static void check(struct nft *n)
{
	struct table_shape shape = shape_asked();
	struct err err;
	bool ok = false;

	must(nft_check_chains(n, &shape, &ok, &err), &err);
	printf("chains %s\n", ok ? "as they should be" : "differ");
}

static void renew(struct nft *n, const char *mark, const char *ms)
{
	int64_t now = unix_now_ms();
	struct err err;

	must(nft_lease_renew(n, SLOT_A, tool_number("mark", mark), now + tool_number("ms", ms), now,
			     &err),
	     &err);
}

static void renew_listeners(struct nft *n, const char *path)
{
	CLEANUP(ruleset_freep) struct ruleset *r = ruleset_of(path);
	struct err err;

	must(nft_listeners_renew(n, r, &err), &err);
}

static bool run_simple(struct nft *n, const char *verb)
{
	struct table_shape shape = shape_asked();
	struct err err;

	if (str_eq(verb, "enforce"))
		must(nft_enforce(n, &shape, &err), &err);
	else if (str_eq(verb, "disarm"))
		must(nft_disarm(n, &err), &err);
	else if (str_eq(verb, "delete"))
		must(nft_delete_table(n, &err), &err);
	else if (str_eq(verb, "dump"))
		print_dump(n);
	else if (str_eq(verb, "probe"))
		print_probe(n);
	else if (str_eq(verb, "counters"))
		print_counters(n);
	else if (str_eq(verb, "check"))
		check(n);
	else if (str_eq(verb, "scan"))
		must(nft_scan_foreign(n, print_foreign, NULL, &err), &err);
	else
		return false;
	return true;
}

static void run(struct nft *n, enum nft_found found, char **words, int count)
{
	const char *verb = words[0];
	struct change c = {.n = n, .add = str_eq(verb, "add")};

	if (run_simple(n, verb))
		return;
	if (count < 2)
		tool_die(EXIT_USAGE, "%s needs more words", verb);
	if (str_eq(verb, "load") || str_eq(verb, "observe"))
		load_table(n, found, words[1], str_eq(verb, "observe"));
	else if (str_eq(verb, "add") || str_eq(verb, "del"))
		each_element(words[1], one_change, &c);
	else if (str_eq(verb, "cut"))
		cut(n, words + 1, count - 1);
	else if (str_eq(verb, "listeners"))
		renew_listeners(n, words[1]);
	else if (str_eq(verb, "heartbeat"))
		heartbeat(n, words[1]);
	else if (str_eq(verb, "counter"))
		print_counter(n, words + 1, count - 1);
	else if (str_eq(verb, "watch"))
		watch(n, words[1]);
	else if (count >= 3 && str_eq(verb, "change"))
		change_table(n, words[1], words[2]);
	else if (count >= 3 && str_eq(verb, "switch"))
		turn(n, words[1], words[2]);
	else if (count >= 3 && str_eq(verb, "renew"))
		renew(n, words[1], words[2]);
	else
		tool_die(EXIT_USAGE, "unknown verb '%s'", verb);
}

/* A table that denies must never be loaded where people work. */
static void refuse_at_home(void)
{
	struct stat here, home;

	if (stat("/proc/self/ns/net", &here) == 0 && stat("/proc/1/ns/net", &home) == 0 &&
	    here.st_ino == home.st_ino)
		tool_die(EXIT_USAGE, "not in the first network namespace; use --netns");
}

int main(int argc, char **argv)
{
	enum nft_found found = NFT_FOUND_NOTHING;
	struct nft *n;
	int count = opts_parse(argv + 1, argc - 1, opts, ARRAY_LEN(opts));

	if (count < 1)
		tool_die(EXIT_USAGE, "a verb is needed");
	if (str_eq(argv[1], "text") && count >= 2) {
		print_text(argv[2]);
		return EXIT_AS_ASKED;
	}
	if (arg.netns != NULL)
		place_netns(arg.netns);
	refuse_at_home();
	n = start(&found);
	run(n, found, argv + 1, count);
	nft_close(n);
	return EXIT_AS_ASKED;
}
