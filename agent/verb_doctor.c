/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What this kernel can, what is lost without it, and who else meddles (DESIGN section 3, "Probe").
 */
#include "agent/verbs.h"

#include "agent/conntrack.h"
#include "agent/doctor.h"
#include "agent/store.h"
#include "agent/workload.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SMALL_FILE_MAX          65536
#define CONNTRACK_ALARM_PERCENT 80
#define RAW_HOLDERS_NAMED       5
#define CAP_NET_ADMIN_BIT       (1ULL << 12)
#define CAP_NET_RAW_BIT         (1ULL << 13)

void doctor_check(struct diagnosis *d, const char *name, bool ok, const char *detail,
		  const char *consequence)
{
	d->ok &= ok;
	(void)json_array_append_new(d->checks,
				    json_pack("{s:s,s:b,s:s,s:s}", "name", name, "ok", ok, "detail",
					      detail, "consequence", ok ? "" : consequence));
}

static void check_kernel(struct diagnosis *d)
{
	const struct nft_features *f = nft_features(d->agent->nft);
	bool queue = f->queue_native || f->queue_xt;

	doctor_check(d, "table owner", f->owner && f->persist,
		     f->persist ? "owned and persistent" : "this kernel has no persistent owner",
		     "the table is unowned: changes by others are seen and repaired, not refused");
	doctor_check(d, "lease renewal", f->renewal,
		     f->renewal ? "in place" : "by replacing elements",
		     "counters of renewed elements start again");
	doctor_check(d, "queue", queue,
		     f->queue_native ? "native expression"
		     : f->queue_xt   ? "NFQUEUE target through nft_compat"
				     : "neither native nor NFQUEUE",
		     "the first connection of an unknown process group is refused");
}

static bool read_small(const char *path, char **ret)
{
	size_t len;

	*ret = NULL;
	return file_read(AT_FDCWD, path, SMALL_FILE_MAX, ret, &len, NULL) == 0;
}

/* 1 for any number but 0, 0, or -1 when there is no such switch. */
static int read_switch(const char *path)
{
	CLEANUP(freep) char *text = NULL;

	return read_small(path, &text) ? text[0] >= '1' && text[0] <= '9' : -1;
}

static void check_conntrack(struct diagnosis *d)
{
	struct ct_usage u = {0};
	char detail[96];
	bool ok, counted, helped;

	(void)conntrack_usage(&u);
	ok = u.max == 0 || u.used * 100 < u.max * CONNTRACK_ALARM_PERCENT;
	(void)snprintf(detail, sizeof(detail), "%" PRIu64 " of %" PRIu64 " entries", u.used, u.max);
	doctor_check(d, "conntrack", ok, detail,
		     "when the table is full, every new flow is refused");
	counted = read_switch("/proc/sys/net/netfilter/nf_conntrack_acct") == 1;
	doctor_check(d, "conntrack accounting", counted,
		     counted ? "on" : "off: net.netfilter.nf_conntrack_acct is 0",
		     "bailiwick flows shows no packets and bytes (conduits count by themselves)");
	helped = read_switch("/proc/sys/net/netfilter/nf_conntrack_helper") == 1;
	doctor_check(d, "automatic helpers", !helped,
		     helped ? "on: net.netfilter.nf_conntrack_helper is 1" : "off",
		     "helpers open nothing here: their data flows are judged like any other");
}

/* --- who else meddles --------------------------------------------------------------------- */

static const char *foreign_consequence(uint8_t kind)
{
	switch ((enum nft_foreign_kind)kind) {
	case NFT_FOREIGN_CT_MARK:
		return "it can make one flow look like another: enforcement is refused (--force)";
	case NFT_FOREIGN_NOTRACK:
		return "untracked packets are denied";
	case NFT_FOREIGN_HELPER:
		return "flows that a helper expects are judged like any other: list their services";
	case NFT_FOREIGN_ZONE:
		return "flows in other zones have marks of their own: they are classified again";
	case NFT_FOREIGN_BASE_CHAIN:
		return "what it drops never comes here; what it accepts is still judged";
	}
	return "";
}

static void note_foreign(void *user, const struct nft_foreign *f)
{
	struct diagnosis *d = user;
	char detail[192];

	(void)snprintf(detail, sizeof(detail), "table %s, chain %s", f->table, f->chain);
	doctor_check(d, nft_foreign_name((enum nft_foreign_kind)f->kind), false, detail,
		     foreign_consequence(f->kind));
}

static void check_foreign(struct diagnosis *d)
{
	struct err err = {{0}};
	size_t before = json_array_size(d->checks);

	if (nft_scan_foreign(d->agent->nft, note_foreign, d, &err) < 0)
		doctor_check(d, "other tables", false, err.text,
			     "mark writers would not be noticed");
	else if (json_array_size(d->checks) == before)
		doctor_check(d, "other tables", true, "none marks, untracks or helps", "");
}

/* CapEff of /proc/PID/status. */
static uint64_t effective_caps(const char *pid)
{
	char path[64];
	CLEANUP(freep) char *text = NULL;
	const char *line;
	uint64_t caps = 0;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/status", pid);
	line = read_small(path, &text) ? strstr(text, "\nCapEff:") : NULL;
	if (line && sscanf(line, "\nCapEff: %" SCNx64, &caps) != 1)
		caps = 0;
	return caps;
}

static bool same_network(const char *pid)
{
	char path[64], theirs[64] = "", ours[64] = "";

	(void)snprintf(path, sizeof(path), "/proc/%.20s/ns/net", pid);
	return readlink(path, theirs, sizeof(theirs) - 1) > 0 &&
	       readlink("/proc/self/ns/net", ours, sizeof(ours) - 1) > 0 && str_eq(theirs, ours);
}

static void process_name(const char *pid, char *name, size_t size)
{
	char path[64];
	CLEANUP(freep) char *text = NULL;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	if (read_small(path, &text))
		text[strcspn(text, "\n")] = '\0';
	(void)snprintf(name, size, "%.40s (%.20s)", text ? text : "?", pid);
}

/* Raw sockets pass every inet hook (R38): whoever may open one is as strong as this node. */
static void check_raw_holders(struct diagnosis *d)
{
	char detail[384] = "";
	size_t n = 0, at = 0;
	DIR *dir = opendir("/proc");
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		uint32_t pid;
		char name[80];

		if (text_u32(e->d_name, 2, INT32_MAX, &pid) < 0 || pid == (uint32_t)getpid() ||
		    pid == (uint32_t)d->asking ||
		    !(effective_caps(e->d_name) & (CAP_NET_ADMIN_BIT | CAP_NET_RAW_BIT)) ||
		    !same_network(e->d_name))
			continue;
		if (n++ >= RAW_HOLDERS_NAMED)
			continue;
		process_name(e->d_name, name, sizeof(name));
		at += (size_t)snprintf(detail + at, sizeof(detail) - at, "%s%s", n > 1 ? ", " : "",
				       name);
	}
	if (dir)
		(void)closedir(dir);
	if (n > RAW_HOLDERS_NAMED)
		(void)snprintf(detail + at, sizeof(detail) - at, ", and %zu more",
			       n - RAW_HOLDERS_NAMED);
	doctor_check(d, "raw sockets", n == 0,
		     n ? detail : "nobody else holds CAP_NET_RAW or CAP_NET_ADMIN",
		     "these processes are not confined: raw frames pass every hook");
}

static void check_host(struct diagnosis *d)
{
	struct workloads_counters c;
	char detail[96];
	int yama = read_switch("/proc/sys/kernel/yama/ptrace_scope");

	workloads_counters(d->agent->workloads, &c);
	(void)snprintf(detail, sizeof(detail), "%" PRIu64 " known, watched by %s", c.cgroups,
		       c.fanotify ? "fanotify" : "inotify");
	doctor_check(d, "cgroups", c.lost == 0, detail, "cgroups above the limit are refused");
	/* A kernel without Yama has no such file and lets a user's processes trace each other. */
	doctor_check(d, "ptrace", yama > 0,
		     yama > 0    ? "restricted by Yama"
		     : yama == 0 ? "not restricted: kernel.yama.ptrace_scope is 0"
				 : "not restricted: this kernel has no Yama",
		     "a process can take over another one of the same user, and so its identity");
	doctor_check(d, "clock", d->agent->clock_trusted,
		     d->agent->clock_trusted ? "trusted" : "not set",
		     "windows follow on_clock_loss of their rule");
	doctor_check(d, "forwarded traffic", false, "not judged on this node yet",
		     "containers and devices behind this host are not confined by it");
}

static void check_problems(struct diagnosis *d)
{
	struct workloads *w = d->agent->workloads;

	for (size_t i = 0; i < workloads_problem_count(w, SLOT_A); i++)
		doctor_check(d, "workload", false, workloads_problem(w, SLOT_A, i),
			     "nobody gets this identity until it is clear");
	for (size_t i = 0; i < json_array_size(d->agent->damage); i++)
		doctor_check(d, "state_dir", false,
			     json_string_value(json_array_get(d->agent->damage, i)),
			     "the disk below state_dir has lost what was written");
	if (d->agent->state_problem)
		doctor_check(d, "state_dir", false, d->agent->state_problem,
			     "the disk below state_dir has lost what was written");
	if (store_problem(d->agent->store))
		doctor_check(d, "state_dir", false, store_problem(d->agent->store),
			     "what changes now would be lost with a reboot");
	if (d->agent->drift)
		doctor_check(d, "drift", false, d->agent->drift,
			     "the kernel does not hold what policy says");
}

static void check_essentials(struct diagnosis *d)
{
	const struct essentials *e = &d->agent->config.essentials;
	char detail[128];
	size_t open = 0;

	for (size_t i = 0; i < e->count; i++)
		open += e->entries[i].direction != ESSENTIAL_KERNEL && !e->entries[i].by_count;
	(void)snprintf(detail, sizeof(detail), "%zu of %zu are open to every process", open,
		       e->count);
	doctor_check(d, "essentials", open == 0, detail,
		     "an address list for everybody: name the owner with by: (DNS tunnels need no "
		     "more)");
}

static void run_doctor(struct request *q)
{
	struct diagnosis d = {
		.agent = q->agent, .checks = json_array(), .ok = true, .asking = q->pid};

	check_kernel(&d);
	check_conntrack(&d);
	check_foreign(&d);
	check_host(&d);
	doctor_attest(&d);
	check_essentials(&d);
	check_raw_holders(&d);
	check_problems(&d);
	request_reply(q, EXIT_OK, json_pack("{s:o,s:b}", "checks", d.checks, "ok", d.ok));
}

const struct verb verb_doctor = {.name = "doctor", .run = run_doctor};
