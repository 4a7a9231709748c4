/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The agent as a process: how long it takes to start, how much memory it holds, how often it wakes
 * up when nothing happens.
 *
 *   agent DAEMON COMMAND DIRECTORY CGROUP full|quick
 *
 * For each size a fleet's policy and view are written below DIRECTORY and applied once with the
 * command, as an operator would; then the agent is started again, in a network namespace without a
 * table, until it says READY=1 (sd_notify), which it does when packets are judged. Its processes
 * live in CGROUP, which bench/run.sh empties, and die with this program.
 */
#include "base/file.h"
#include "bench/fleet.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SIZE_SMALL     10000
#define SIZE_LARGE     100000
#define SIZE_QUICK     20000
#define STARTS_FULL    7
#define STARTS_QUICK   3
#define STARTS_MAX     16
#define READY_MS       60000
#define SETTLE_MS      1500
#define IDLE_WINDOWS   5 /* together longer than a round of counters, after which usage is kept */
#define IDLE_S         5
#define END_MS         10000
#define STATUS_MAX     (64U << 10)
#define GOAL_START_MS  150.0
#define GOAL_MEMORY_MB 10.0
#define GOAL_CONDUIT_B 100.0
#define KB_PER_MB      1024.0

struct bench {
	const char *daemon, *command, *dir, *cgroup;
	uint32_t starts, idle_windows;
	int home;
};

/* One agent's site, state and configuration. */
struct site {
	char *dir, *config;
	uint32_t conduits;
	pid_t pid;
	int notify; /* where it says that it is ready */
};

struct memory {
	double now_kb, peak_kb;
};

static void write_file(const char *dir, const char *name, const struct buf *b)
{
	CLEANUP(freep) char *path = mem_printf("%s/%s", dir, name);
	struct err err = {{0}};

	if (path == NULL || b->r < 0)
		die("no memory for %s", name);
	need(file_write_durable(AT_FDCWD, path, b->data, b->len, 0644, &err), &err, name);
}

static void make_directory(const char *dir, const char *name)
{
	CLEANUP(freep) char *path = mem_printf("%s/%s", dir, name);
	struct err err = {{0}};

	if (path == NULL)
		die("no memory");
	need(dir_make(path, 0755, &err), &err, "directory");
}

static void site_text(const char *dir, const char *name, const struct fleet *f,
		      void (*text)(const struct fleet *f, struct buf *b))
{
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, FLEET_TEXT_MAX);
	text(f, &b);
	write_file(dir, name, &b);
}

static void site_config(const struct bench *b, const struct site *s)
{
	CLEANUP(buf_done) struct buf text;

	buf_init(&text, FLEET_TEXT_MAX);
	buf_printf(&text,
		   "version: 1\nnode: %s\ntrust_domain: bench.example\n"
		   "source: {directory: %s/site}\nstate_dir: %s/state\nrun_dir: %s/run\n"
		   "cgroup_root: %s\nmode: selective\n"
		   "log: {level: info, decisions: %s/decisions.log}\n",
		   FLEET_CALLER, s->dir, s->dir, s->dir, b->cgroup, s->dir);
	write_file(s->dir, "agent.yaml", &text);
}

static void site_make(const struct bench *b, struct site *s, uint32_t conduits)
{
	const struct fleet f = fleet_of(false, conduits);

	*s = (struct site){.conduits = conduits, .pid = -1, .notify = -1};
	s->dir = mem_printf("%s/%u", b->dir, conduits);
	s->config = mem_printf("%s/%u/agent.yaml", b->dir, conduits);
	if (s->dir == NULL || s->config == NULL)
		die("no memory");
	make_directory(s->dir, "site/policy");
	make_directory(s->dir, "state");
	make_directory(s->dir, "run");
	site_text(s->dir, "site/policy/bench.yaml", &f, fleet_policy);
	site_text(s->dir, "site/view.json", &f, fleet_view);
	site_config(b, s);
	for (uint32_t i = 0; i < f.apps; i++) {
		CLEANUP(freep) char *unit = mem_printf("system.slice/app%u.service", i);

		make_directory(b->cgroup, unit);
	}
	make_directory(b->cgroup, "system.slice/bailiwickd.service");
}

static void site_done(struct site *s)
{
	free(s->dir);
	free(s->config);
}

/* --- a running agent ------------------------------------------------------------------------- */

/* In the current network namespace; abstract names are per namespace. */
static void notify_open(struct site *s)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int len = snprintf(sa.sun_path + 1, sizeof(sa.sun_path) - 1, "bwbench-%d", (int)getpid());

	s->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s->notify < 0 ||
	    bind(s->notify, (const struct sockaddr *)&sa,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)) < 0)
		die("notification socket: %s", strerror(errno));
}

static _Noreturn void agent_exec(const struct bench *b, const struct site *s, pid_t parent)
{
	CLEANUP(freep) char *notify = mem_printf("@bwbench-%d", (int)parent);
	CLEANUP(freep) char *log = mem_printf("%s/agent.log", s->dir);
	CLEANUP(freep)
	char *unit = mem_printf("%s/system.slice/bailiwickd.service/cgroup.procs", b->cgroup);
	int fd = open(unit, O_WRONLY | O_CLOEXEC), out;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)alarm(0);
	if (fd < 0 || write(fd, "0", 1) != 1)
		_exit(EXIT_FAILURE);
	out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (out < 0 || dup2(out, STDERR_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		_exit(EXIT_FAILURE);
	(void)setenv("NOTIFY_SOCKET", notify, 1);
	(void)execl(b->daemon, b->daemon, "--config", s->config, "--foreground", (char *)NULL);
	_exit(EXIT_FAILURE);
}

static bool is_ready(const char *text)
{
	return strstr(text, "READY=1") != NULL;
}

/* Milliseconds from fork() to READY=1. */
static double agent_start(const struct bench *b, struct site *s)
{
	struct pollfd p = {.events = POLLIN};
	int64_t began;
	pid_t parent = getpid();

	notify_open(s);
	p.fd = s->notify;
	began = clock_ns();
	s->pid = fork();
	if (s->pid < 0)
		die("fork: %s", strerror(errno));
	if (s->pid == 0)
		agent_exec(b, s, parent);
	for (;;) {
		char text[512];
		ssize_t n;

		if (poll(&p, 1, READY_MS) != 1)
			die("the agent has not said READY=1; see %s/agent.log", s->dir);
		n = recv(s->notify, text, sizeof(text) - 1, 0);
		if (n <= 0)
			die("notification: %s", strerror(errno));
		text[n] = '\0';
		if (is_ready(text))
			return (double)(clock_ns() - began) / NS_PER_MS;
	}
}

static void pause_ms(int64_t ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&t, NULL);
}

static void agent_end(struct site *s, int signal_number)
{
	int64_t end = clock_ns() + (int64_t)END_MS * 1000000;
	int status;

	(void)kill(s->pid, signal_number);
	while (waitpid(s->pid, &status, WNOHANG) == 0) {
		if (clock_ns() > end)
			die("the agent does not end");
		pause_ms(5);
	}
	(void)close(s->notify);
	s->pid = -1;
	s->notify = -1;
}

static char *status_text(pid_t pid, const char *task)
{
	CLEANUP(freep)
	char *path = task != NULL ? mem_printf("/proc/%d/task/%s/status", (int)pid, task)
				  : mem_printf("/proc/%d/status", (int)pid);
	CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = mem_calloc(1, STATUS_MAX);

	if (fd < 0 || text == NULL || read(fd, text, STATUS_MAX - 1) <= 0)
		die("%s: %s", path, strerror(errno));
	return text;
}

/* The number behind "name:" in /proc/PID/status. */
static double status_value(pid_t pid, const char *task, const char *name)
{
	CLEANUP(freep) char *text = status_text(pid, task);
	CLEANUP(freep) char *label = mem_printf("\n%s:", name);
	const char *at = label != NULL ? strstr(text, label) : NULL;
	double value = 0;

	if (at == NULL)
		die("no %s in the agent's status", name);
	for (at += strlen(label); *at == ' ' || *at == '\t'; at++)
		;
	for (; *at >= '0' && *at <= '9'; at++)
		value = value * 10 + (*at - '0');
	return value;
}

static struct memory agent_memory(const struct site *s)
{
	return (struct memory){
		.now_kb = status_value(s->pid, NULL, "VmRSS"),
		.peak_kb = status_value(s->pid, NULL, "VmHWM"),
	};
}

/* Each time a thread went to sleep by itself it had been woken before. */
static double wakeups(const struct site *s)
{
	CLEANUP(freep) char *path = mem_printf("/proc/%d/task", (int)s->pid);
	DIR *d = opendir(path);
	const struct dirent *e;
	double sum = 0;

	if (d == NULL)
		die("%s: %s", path, strerror(errno));
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] != '.')
			sum += status_value(s->pid, e->d_name, "voluntary_ctxt_switches");
	}
	(void)closedir(d);
	return sum;
}

/* Milliseconds on a CPU since fork(): what a start costs when other work is going on. */
static double cpu_ms(pid_t pid)
{
	CLEANUP(freep) char *path = mem_printf("/proc/%d/schedstat", (int)pid);
	CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[128] = "";
	double ns = 0;

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		die("%s: %s", path, strerror(errno));
	for (const char *at = text; *at >= '0' && *at <= '9'; at++)
		ns = ns * 10 + (*at - '0');
	return ns / NS_PER_MS;
}

static void host_enter(const struct bench *b)
{
	netns_enter(b->home);
	(void)close(netns_new());
	run_line("ip link set lo up");
	run_line("ip address add " FLEET_CALLER_ADDR "/32 dev lo");
}

/* As an operator: apply once, in a namespace of its own. Memory is what it takes right after. */
static struct memory site_apply(const struct bench *b, struct site *s)
{
	struct memory m;

	host_enter(b);
	(void)agent_start(b, s);
	run_line("%s -C %s/run apply %s/site --reason bench ", b->command, s->dir, s->dir);
	run_line("%s -C %s/run status", b->command, s->dir);
	pause_ms(SETTLE_MS);
	m = agent_memory(s);
	agent_end(s, SIGTERM);
	return m;
}

/* --- rows ------------------------------------------------------------------------------------ */

static void single_row(const char *id, const char *what, const char *unit, const char *goal,
		       enum row_met met, double value, const char *note)
{
	row_print(&(struct row){
		.id = id,
		.what = what,
		.unit = unit,
		.goal = goal,
		.met = met,
		.s = {value, value, value},
		.note = note,
	});
}

static void start_row(const char *id, const char *what, const char *goal, double *ms, double *cpu,
		      size_t count)
{
	const struct summary s = summarize(ms, count);
	enum row_met met = s.median <= GOAL_START_MS ? ROW_MET : ROW_MISSED;
	char note[80];

	(void)snprintf(note, sizeof(note), "of these %.0f ms on a CPU", quantile(cpu, count, 0.5));
	row_print(&(struct row){
		.id = id,
		.what = what,
		.unit = "ms",
		.goal = goal,
		.met = goal[0] != '\0' ? met : ROW_NO_GOAL,
		.s = s,
		.note = note,
	});
}

/* Starts: into an empty kernel, and over the table that a killed agent left. */
static void start_rows(const struct bench *b, struct site *s)
{
	double cold[STARTS_MAX], cold_cpu[STARTS_MAX], warm[STARTS_MAX], warm_cpu[STARTS_MAX];

	for (uint32_t i = 0; i < b->starts; i++) {
		host_enter(b);
		cold[i] = agent_start(b, s);
		cold_cpu[i] = cpu_ms(s->pid);
		pause_ms(SETTLE_MS / 3);
		agent_end(s, SIGKILL);
		warm[i] = agent_start(b, s);
		warm_cpu[i] = cpu_ms(s->pid);
		agent_end(s, SIGTERM);
	}
	start_row("agent-start", "agent start to enforcing, 10,000 conduits, no table before",
		  "<= 150 ms", cold, cold_cpu, b->starts);
	start_row("agent-restart",
		  "the same after SIGKILL, over its own table (enforced all the time)", "", warm,
		  warm_cpu, b->starts);
}

static void idle_row(const struct bench *b, const struct site *s)
{
	double each[IDLE_WINDOWS];
	struct summary sum;

	for (uint32_t i = 0; i < b->idle_windows; i++) {
		double before = wakeups(s);
		int64_t began = clock_ns();

		pause_ms(IDLE_S * 1000);
		each[i] = (wakeups(s) - before) * NS_PER_S / (double)(clock_ns() - began);
	}
	sum = summarize(each, b->idle_windows);
	row_print(&(struct row){
		.id = "agent-idle",
		.what = "wake-ups of an idle agent",
		.unit = "/s",
		.goal = "<= 1 /s",
		/* A heartbeat may fall on both edges of a window. */
		.met = sum.median <= 1 + 1.0 / IDLE_S ? ROW_MET : ROW_MISSED,
		.s = sum,
		.note = "the heartbeat included; waits for locks of a busy kernel count too",
	});
}

struct memories {
	struct memory applied, started,
		kept; /* small: after apply; after a start; with usage kept */
	struct memory large;
	uint32_t small_conduits, large_conduits;
};

static void memory_rows(const struct memories *m)
{
	double mb = m->kept.now_kb / KB_PER_MB;
	double each = (m->large.now_kb - m->started.now_kb) * 1024 /
		      (double)(m->large_conduits - m->small_conduits);
	char note[200];

	(void)snprintf(note, sizeof(note),
		       "%.1f MB after its first start, %.1f after apply (peak %.1f)",
		       m->started.now_kb / KB_PER_MB, m->applied.now_kb / KB_PER_MB,
		       m->applied.peak_kb / KB_PER_MB);
	single_row("agent-memory", "agent memory, 10,000 conduits, no peers connected", "MB",
		   "<= 10 MB", mb <= GOAL_MEMORY_MB ? ROW_MET : ROW_MISSED, mb, note);
	(void)snprintf(note, sizeof(note), "%.1f MB with %u conduits (peak %.1f)",
		       m->large.now_kb / KB_PER_MB, m->large_conduits,
		       m->large.peak_kb / KB_PER_MB);
	single_row("agent-memory-conduit", "agent memory for each further conduit", "B", "<= 100 B",
		   each <= GOAL_CONDUIT_B ? ROW_MET : ROW_MISSED, each, note);
}

static struct memory settled(const struct site *s)
{
	pause_ms(SETTLE_MS);
	return agent_memory(s);
}

static void measure(const struct bench *b, bool quick)
{
	struct memories m = {
		.small_conduits = SIZE_SMALL,
		.large_conduits = quick ? SIZE_QUICK : SIZE_LARGE,
	};
	struct site small, large;

	site_make(b, &small, m.small_conduits);
	m.applied = site_apply(b, &small);
	start_rows(b, &small);
	host_enter(b);
	(void)agent_start(b, &small);
	m.started = settled(&small);
	idle_row(b, &small);
	agent_end(&small, SIGTERM);
	(void)agent_start(b, &small);
	m.kept = settled(&small);
	agent_end(&small, SIGTERM);

	site_make(b, &large, m.large_conduits);
	(void)site_apply(b, &large);
	host_enter(b);
	(void)agent_start(b, &large);
	m.large = settled(&large);
	agent_end(&large, SIGTERM);
	memory_rows(&m);
	site_done(&small);
	site_done(&large);
}

int main(int argc, char **argv)
{
	bool quick = argc == 6 && str_eq(argv[5], "quick");
	struct bench b = {0};

	if (argc != 6 || (!quick && !str_eq(argv[5], "full")))
		die("usage: agent DAEMON COMMAND DIRECTORY CGROUP full|quick");
	bench_begin();
	b.daemon = argv[1];
	b.command = argv[2];
	b.dir = argv[3];
	b.cgroup = argv[4];
	b.starts = quick ? STARTS_QUICK : STARTS_FULL;
	b.idle_windows = quick ? 1 : IDLE_WINDOWS;
	b.home = netns_current();
	measure(&b, quick);
	return 0;
}
