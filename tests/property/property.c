/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/property/property.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "base/text.h"
#include "tests/property/mutate.h"

#define FLOWS_PER_ROUND 50
#define FRESH_PERCENT   30
#define TIGHTEN_PERCENT 40
#define FAILURES_SHOWN  5
#define AUDIT_EVERY     5

static struct {
	struct stage_names names;
	uint64_t seed;
	uint64_t decisions;
	uint64_t mutate;
	bool verbose, hold;
} arg = {.names.cgroup = "bwprop", .decisions = 2000};

struct run {
	struct stage stage;
	struct theatre *theatre;
	struct kernel *kernel;
	struct far *far;
	struct world world;
	struct rng rng;
	struct kept kept[KEPT_MAX];
	size_t kept_count;
	uint64_t gone_on, recut, decided, disagreed, allowed, by_rule, skipped;
	unsigned round;
};

static void usage(void)
{
	fprintf(stderr,
		"usage: property --here NETNS --b NETNS --c NETNS [--cgroup NAME] [--seed N] "
		"[--decisions N] [--mutate K] [--verbose] [--hold]\n"
		"       normally through tests/property/run.sh\n");
	exit(2);
}

static void parse_arguments(int argc, char **argv)
{
	const struct {
		const char *name;
		const char **text;
		uint64_t *number;
	} options[] = {{"--here", &arg.names.here, NULL}, {"--b", &arg.names.b, NULL},
		       {"--c", &arg.names.c, NULL},       {"--cgroup", &arg.names.cgroup, NULL},
		       {"--seed", NULL, &arg.seed},       {"--decisions", NULL, &arg.decisions},
		       {"--mutate", NULL, &arg.mutate}};

	for (int i = 1; i < argc; i++) {
		size_t o = 0;

		if (str_eq(argv[i], "--verbose") || str_eq(argv[i], "--hold")) {
			*(str_eq(argv[i], "--hold") ? &arg.hold : &arg.verbose) = true;
			continue;
		}
		while (o < ARRAY_LEN(options) && !str_eq(argv[i], options[o].name))
			o++;
		if (o == ARRAY_LEN(options) || ++i == argc)
			usage();
		if (options[o].text != NULL)
			*options[o].text = argv[i];
		else if (text_u64(argv[i], 0, UINT64_MAX, options[o].number) < 0)
			usage();
	}
	if (arg.names.here == NULL || arg.names.b == NULL || arg.names.c == NULL ||
	    arg.mutate >= MUTATION_COUNT)
		usage();
}

static void show_world(const struct world *w)
{
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, 1U << 20);
	model_text(world_judged_by_candidate(w) ? &w->candidate : &w->model, w->now, &b);
	buf_printf(&b, "# mode %s, clock %strusted, candidate %s\n", mode_name(w->mode),
		   w->clock_trusted ? "" : "not ",
		   w->has_candidate ? (w->candidate_on ? "on" : "off") : "none");
	for (size_t i = 0; i < w->view.placed_count; i++)
		buf_printf(&b, "# placed here: %s\n", w->view.placed[i].identity);
	for (size_t i = 0; i < w->view.peer_count; i++) {
		const struct view_peer *p = &w->view.peers[i];
		char text[ADDR_TEXT_MAX], service[SERVICE_TEXT_MAX];

		buf_printf(&b, "# peer: %s at %s", p->identity, p->node);
		for (size_t j = 0; j < p->address_count; j++)
			buf_printf(&b, " %s", addr_format(text, &p->addresses[j]));
		for (size_t j = 0; p->has_services && j < p->service_count; j++)
			buf_printf(&b, " %s", service_format(service, &p->services[j]));
		buf_puts(&b, p->has_services ? " only\n" : "\n");
	}
	for (size_t i = 0; i < w->workload_count; i++)
		buf_printf(&b, "# workload: i%d cgroup %d uid %u\n", w->workloads[i].identity,
			   w->workloads[i].cgroup, w->workloads[i].uid);
	for (size_t i = 0; i < w->overlay.revoked_count; i++)
		buf_printf(&b, "# revoked: %s\n", w->overlay.revoked[i].name);
	for (size_t i = 0; i < w->overlay.quarantined_count; i++)
		buf_printf(&b, "# quarantined: %s keep %s\n", w->overlay.quarantined[i].identity,
			   w->overlay.quarantined[i].keep == NULL ? "nothing"
								  : w->overlay.quarantined[i].keep);
	for (size_t i = 0; i < w->overlay.grant_count; i++)
		buf_printf(&b, "# granted: %s %s > %s, %lld s\n", w->grants[i].rule,
			   w->grants[i].from, w->grants[i].to,
			   (long long)(w->grants[i].until.s - w->now.s));
	buf_printf(&b, "# mapping %s\n",
		   w->stale == 0  ? "does not grow old"
		   : w->stale > 0 ? "grows old later"
				  : "is too old");
	fputs(b.data, stdout);
}

static void judge(struct run *run, const struct probe *p, bool agrees)
{
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, 1U << 16);
	run->decided++;
	run->allowed += p->verdict.decision != DECISION_DENIED;
	run->by_rule += p->verdict.rule >= 0;
	run->disagreed += !agrees;
	if (!arg.verbose && (agrees || arg.mutate != 0 || run->disagreed > FAILURES_SHOWN))
		return;
	probe_format(p, &run->world, &b);
	printf("%s round %u: %s\n", agrees ? "agreed" : "DISAGREED", run->round, b.data);
}

/* Flows of the round before, after a change of rules: cut or not, never half. */
static int go_on(struct run *run, struct err *err)
{
	size_t n = 0;
	int r;

	if (!run->world.steady)
		kept_drop(run->kept, &run->kept_count);
	for (size_t i = 0; i < run->kept_count; i++) {
		size_t one = 1;

		run->kept[i].by_network = run->kept[i].probe.by_network;
		if (probe_again(&run->kept[i].probe, &run->world, err))
			run->kept[n++] = run->kept[i];
		else
			kept_drop(&run->kept[i], &one);
	}
	run->kept_count = n;
	far_expect(run->far, &run->world, NULL, 0);
	far_expect_kept(run->far, &run->world, run->kept, n);
	r = theatre_go_on(run->theatre, run->kept, n, err);
	for (size_t i = 0; i < n && r >= 0; i++) {
		const struct probe *p = &run->kept[i].probe;
		bool open = p->seen == SEEN_OPEN, may = p->expected == SEEN_OPEN;

		/* A network's conduit keeps its number when an identity is cut out of it. */
		bool recut = may && p->seen == SEEN_SILENT && run->kept[i].by_network;

		judge(run, p, recut || (open == may && (may || p->seen == SEEN_SILENT)));
		run->recut += recut;
		run->gone_on++;
	}
	kept_sift(run->kept, &run->kept_count);
	return r;
}

static int new_flows(struct run *run, struct err *err)
{
	struct probe probes[FLOWS_PER_ROUND];
	size_t count = 0;
	int r;

	for (size_t i = 0; i < FLOWS_PER_ROUND; i++) {
		if (probe_draw(&probes[count], &run->rng, &run->world, &run->stage, err))
			count++;
		else
			run->skipped++;
	}
	far_expect(run->far, &run->world, probes, count);
	far_expect_kept(run->far, &run->world, run->kept, run->kept_count);
	r = theatre_play(run->theatre, &run->stage, probes, count, err);
	for (size_t i = 0; i < count && r >= 0; i++)
		judge(run, &probes[i], probes[i].seen == probes[i].expected);
	if (r >= 0)
		theatre_keep(run->theatre, probes, count, run->kept, &run->kept_count);
	far_expect(run->far, &run->world, NULL, 0);
	theatre_clear(run->theatre, probes, count);
	return r;
}

static int rule_of(const struct run *run, const struct kept *kept)
{
	const struct policy *p = run->world.policies[world_judged_by_candidate(&run->world)];
	int rule = kept->probe.verdict.rule, id = 0;

	if (rule < 0 || (size_t)rule >= p->rule_count)
		return -1;
	for (const char *c = p->rules[rule].name + 1; *c >= '0' && *c <= '9'; c++)
		id = 10 * id + *c - '0';
	return id;
}

static int one_round(struct run *run, struct err *err)
{
	bool fresh = run->round == 0 || chance(&run->rng, FRESH_PERCENT);
	uint64_t before = run->disagreed;
	int r;

	run->world.tighten = -1;
	if (run->kept_count > 0 && chance(&run->rng, TIGHTEN_PERCENT))
		run->world.tighten = rule_of(run, &run->kept[draw(&run->rng, run->kept_count)]);
	if (fresh)
		world_draw(&run->world, &run->rng, &run->stage);
	else
		world_change(&run->world, &run->rng, &run->stage);
	r = world_build(&run->world, &run->stage, err);
	if (r >= 0)
		r = kernel_apply(run->kernel, &run->world, fresh && chance(&run->rng, 50),
				 (unsigned)arg.mutate, &run->rng, err);
	if (r >= 0)
		r = theatre_listen(run->theatre, &run->world, &run->stage, err);
	if (r >= 0)
		r = go_on(run, err);
	if (r >= 0)
		r = new_flows(run, err);
	if (r >= 0 && run->round % AUDIT_EVERY == 0)
		r = kernel_audit(run->kernel, &run->world, err);
	if (arg.mutate == 0 &&
	    (arg.verbose || r < 0 || (run->disagreed > before && before < FAILURES_SHOWN)))
		show_world(&run->world);
	/* For looking at the kernel: nsenter -n -t PID nft list table inet bwprop; kill -CONT PID.
	 */
	if (arg.hold && run->disagreed > before)
		(void)raise(SIGSTOP);
	return r;
}

/* 0 = as wanted: all agree, or a mutation was noticed. */
static int conclude(const struct run *run)
{
	struct far_tally t = far_tally(run->far);

	if (arg.mutate != 0) {
		bool caught = run->disagreed > 0;

		printf("%s mutant: %s (seed %lu, %lu of %lu decisions differ)\n",
		       caught ? "ok" : "not ok", mutation_names[arg.mutate],
		       (unsigned long)arg.seed, (unsigned long)run->disagreed,
		       (unsigned long)run->decided);
		return caught ? 0 : 1;
	}
	printf("%s decisions: %lu by %u policies, %lu allowed, %lu by a rule, %lu of flows kept "
	       "over a change (%lu recut), %lu not drawn, %lu disagree (--seed %lu)\n",
	       run->disagreed == 0 ? "ok" : "not ok", (unsigned long)run->decided, run->round,
	       (unsigned long)run->allowed, (unsigned long)run->by_rule,
	       (unsigned long)run->gone_on, (unsigned long)run->recut, (unsigned long)run->skipped,
	       (unsigned long)run->disagreed, (unsigned long)arg.seed);
	printf("# asked: %lu vouched for, %lu refused, %lu unavailable, %lu adopted, %lu unknown\n",
	       (unsigned long)t.vouched, (unsigned long)t.refused, (unsigned long)t.unavailable,
	       (unsigned long)t.adopted, (unsigned long)t.lost);
	return run->disagreed == 0 ? 0 : 1;
}

static int play(struct run *run, struct err *err)
{
	int r = stage_open(&run->stage, &arg.names, err);

	if (r >= 0)
		r = kernel_open(&run->kernel, err);
	if (r >= 0)
		r = far_open(run->kernel, &run->far, err);
	if (r >= 0)
		r = theatre_open(&run->stage, run->far, &run->theatre, err);
	while (r >= 0 && run->decided < arg.decisions && (arg.mutate == 0 || run->disagreed == 0)) {
		r = one_round(run, err);
		run->round++;
	}
	return r;
}

static void pin(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

int main(int argc, char **argv)
{
	static struct run run;
	struct err err = {{0}};
	int r;

	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	parse_arguments(argc, argv);
	if (arg.seed == 0 && getrandom(&arg.seed, sizeof(uint32_t), 0) < 0)
		arg.seed = (uint64_t)wall_now().s;
	run.rng.state = arg.seed;
	pin();
	r = play(&run, &err);
	if (r < 0 && arg.mutate != 0) {
		/* The kernel refuses the ruleset, or nothing gets through: noticed too. */
		run.disagreed++;
		r = 0;
	}
	if (r < 0)
		printf("not ok run: round %u (--seed %lu): %s\n", run.round - 1,
		       (unsigned long)arg.seed, err.text);
	r = r < 0 ? 1 : conclude(&run);
	kept_drop(run.kept, &run.kept_count);
	theatre_close(run.theatre);
	far_close(run.far);
	kernel_close(run.kernel);
	world_done(&run.world);
	stage_close(&run.stage);
	return r;
}
