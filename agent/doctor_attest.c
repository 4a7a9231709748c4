/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What attested and measured rules need of this host: a certificate, a port that nobody else gets,
 * agents on the other nodes, clocks that agree, processes in the host's own network namespace.
 */
#include "agent/doctor.h"

#include "agent/container.h"
#include "agent/node_key.h"
#include "agent/peers.h"
#include "agent/telemetry.h"
#include "agent/verbs.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/svid.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fsverity.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL_FILE_MAX   65536
#define DETAIL_MAX       384
#define NAMED_MAX        5
#define NAMESPACES_MAX   1024
#define SKEW_MAX_S       30
#define VERITY_BYTES_MAX 64

static bool read_small(const char *path, char **ret)
{
	size_t len;

	*ret = NULL;
	return file_read(AT_FDCWD, path, SMALL_FILE_MAX, ret, &len, NULL) == 0;
}

/* A list of which the first few are named. */
struct naming {
	char text[DETAIL_MAX];
	size_t len, count;
};

static void name_one(struct naming *n, const char *name)
{
	if (n->count++ >= NAMED_MAX)
		return;
	n->len += (size_t)snprintf(n->text + n->len, sizeof(n->text) - n->len, "%s%.64s",
				   n->count > 1 ? ", " : "", name);
}

static void name_rest(struct naming *n)
{
	if (n->count > NAMED_MAX)
		(void)snprintf(n->text + n->len, sizeof(n->text) - n->len, ", and %zu more",
			       n->count - NAMED_MAX);
}

/* --- the kernel --------------------------------------------------------------------------- */

/*
 * FS_IOC_MEASURE_VERITY of our own executable: ENODATA says that its file system could. ENOTTY or
 * EOPNOTSUPP come from kernels and file systems that cannot.
 */
bool doctor_has_verity(void)
{
	CLEANUP(closep) int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	union {
		struct fsverity_digest digest;
		char room[sizeof(struct fsverity_digest) + VERITY_BYTES_MAX];
	} d = {.digest = {.digest_size = VERITY_BYTES_MAX}};

	return fd >= 0 && (ioctl(fd, FS_IOC_MEASURE_VERITY, &d.digest) == 0 || errno == ENODATA);
}

static void check_kernel(struct diagnosis *d)
{
	bool carries = telemetry_carries_flows(d->agent->telemetry);
	bool verity = doctor_has_verity();

	doctor_check(d, "flows in messages", carries,
		     carries ? "the kernel sends the flow of a logged packet with it"
			     : "the kernel sends logged packets without their flow",
		     "records of callers that are gone already do not name them");
	doctor_check(d, "fs-verity", verity,
		     verity ? "the file system of bailiwickd has it"
			    : "the file system of bailiwickd, or the kernel, has none",
		     "fsverity: selects nothing there; exe_sha256: and reference: do not need it");
}

/* --- this node ---------------------------------------------------------------------------- */

/* Whether a rule here wants anybody's word; without one the rest is no failure. */
static bool is_needed(const struct agent *a)
{
	const struct generation *gen = agent_edition(a)->gen;

	for (size_t i = 0; gen && i < gen->conduit_count; i++) {
		const struct conduit *c = &gen->conduits[i];

		if (!(c->flags & (CONDUIT_ESSENTIAL | CONDUIT_LOOPBACK)) &&
		    (c->assurance > ASSURANCE_MAPPED || (c->flags & CONDUIT_CALLEE)))
			return true;
	}
	return false;
}

static void check_svid(struct diagnosis *d)
{
	const struct agent *a = d->agent;
	const struct svid *s = a->node_key ? node_key_svid(a->node_key) : NULL;
	char detail[DETAIL_MAX], until[RFC3339_TEXT_MAX];
	bool valid = s && s->not_after.s > wall_now().s;

	if (!s)
		(void)snprintf(detail, sizeof(detail),
			       "none; bailiwick enroll, or svid: in "
			       "agent.yaml, would give one");
	else
		(void)snprintf(detail, sizeof(detail), "%.200s, valid until %s", s->id,
			       rfc3339_format(until, s->not_after));
	doctor_check(d, "certificate", valid || (!s && !is_needed(a)), detail,
		     "this node can neither ask nor vouch: attested rules go by their "
		     "on_unavailable, here and on the hosts that it calls");
}

/* "7113,8000-8010"; the text is taken apart. */
static bool is_listed(char *ranges, uint16_t port)
{
	char *rest = ranges, *word;

	while ((word = strsep(&rest, ",\n"))) {
		char *dash = strchr(word, '-');
		uint32_t first, last;

		if (dash)
			*dash++ = '\0';
		if (text_u32(word, 0, UINT16_MAX, &first) == 0 &&
		    text_u32(dash ? dash : word, 0, UINT16_MAX, &last) == 0 && port >= first &&
		    port <= last)
			return true;
	}
	return false;
}

/* "32768	60999": what the kernel gives to whoever asks for any port. */
static bool is_ephemeral(char *range, uint16_t port)
{
	char *rest = range, *low = strsep(&rest, " \t"), *high = strsep(&rest, " \t\n");
	uint32_t first, last;

	return low && high && text_u32(low, 0, UINT16_MAX, &first) == 0 &&
	       text_u32(high, 0, UINT16_MAX, &last) == 0 && port >= first && port <= last;
}

/*
 * While the agent is away, another process may get its port as the local one of some connection,
 * and then the agent cannot come back to it.
 */
static void check_port(struct diagnosis *d)
{
	CLEANUP(freep) char *reserved = NULL;
	CLEANUP(freep) char *range = NULL;
	uint16_t port = d->agent->config.attest_port;
	const char *error = d->agent->peers ? peers_listen_error(d->agent->peers) : NULL;
	bool ok, ephemeral = read_small("/proc/sys/net/ipv4/ip_local_port_range", &range) &&
			     is_ephemeral(range, port);
	char detail[DETAIL_MAX];

	ok = !ephemeral || (read_small("/proc/sys/net/ipv4/ip_local_reserved_ports", &reserved) &&
			    is_listed(reserved, port));
	(void)snprintf(detail, sizeof(detail), "%u is %s", port,
		       !ephemeral ? "outside of net.ipv4.ip_local_port_range"
		       : ok       ? "in net.ipv4.ip_local_reserved_ports"
				  : "a port that the kernel may give to anybody");
	doctor_check(d, "attestation port", ok, detail,
		     "another process may hold it when the agent starts again: add it to "
		     "net.ipv4.ip_local_reserved_ports");
	if (error)
		doctor_check(d, "attestation listens", false, error,
			     "other nodes cannot ask this one: attested rules from it go by their "
			     "on_unavailable");
}

/* --- the other nodes ---------------------------------------------------------------------- */

static void check_no_agent(struct diagnosis *d)
{
	json_t *nodes = attestation_no_agent(d->agent), *node;
	struct naming n = {.count = 0};
	size_t i;

	json_array_foreach(nodes, i, node)
		name_one(&n, json_string_value(node));
	name_rest(&n);
	doctor_check(d, "peers without agent", n.count == 0,
		     n.count ? n.text : "none that rules here ask",
		     "nobody there will vouch: attested rules go by their on_unavailable");
	json_decref(nodes);
}

static void check_peers(struct diagnosis *d)
{
	json_t *peers = d->agent->peers ? peers_status(d->agent->peers) : json_array(), *peer;
	struct naming unreachable = {.count = 0}, skewed = {.count = 0};
	size_t i;

	json_array_foreach(peers, i, peer) {
		const char *node = json_string_value(json_object_get(peer, "node"));
		const char *state = json_string_value(json_object_get(peer, "state"));
		double skew = json_number_value(json_object_get(peer, "skew_s"));
		char text[128];

		if (!node || !state)
			continue;
		if (str_eq(state, "unreachable") || str_eq(state, "failed"))
			name_one(&unreachable, node);
		(void)snprintf(text, sizeof(text), "%.60s by %.0f s", node, skew);
		if (skew > SKEW_MAX_S || skew < -SKEW_MAX_S)
			name_one(&skewed, text);
	}
	name_rest(&unreachable);
	name_rest(&skewed);
	doctor_check(d, "peers", unreachable.count == 0,
		     unreachable.count ? unreachable.text : "each that was asked can be reached",
		     "nobody there vouches now; bailiwick attest ping NODE says why");
	doctor_check(d, "clocks of peers", skewed.count == 0,
		     skewed.count ? skewed.text : "none is off by more than 30 s",
		     "certificates seem expired or not yet valid, windows open at other times");
	json_decref(peers);
}

/* --- containers with a network of their own ----------------------------------------------- */

/* "0::/system.slice/docker-....scope" */
static void container_of(const char *pid, struct container_place *ret)
{
	CLEANUP(freep) char *text = NULL;
	char path[64];
	const char *line;

	*ret = (struct container_place){.runtime = CONTAINER_NONE};
	(void)snprintf(path, sizeof(path), "/proc/%.20s/cgroup", pid);
	if (!read_small(path, &text))
		return;
	line = str_starts(text, "0::/") ? text : strstr(text, "\n0::/");
	if (!line)
		return;
	line = strchr(line, '/') + 1;
	text[(size_t)(line - text) + strcspn(line, "\n")] = '\0';
	container_place_parse(line, ret);
}

static void name_namespace(struct naming *n, const char *pid)
{
	struct container_place c;
	CLEANUP(freep) char *comm = NULL;
	char path[64], text[128];

	container_of(pid, &c);
	if (c.id[0]) {
		(void)snprintf(text, sizeof(text), "%s %.12s", container_runtime_name(c.runtime),
			       c.id);
		name_one(n, text);
		return;
	}
	(void)snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	if (read_small(path, &comm))
		comm[strcspn(comm, "\n")] = '\0';
	(void)snprintf(text, sizeof(text), "%.40s (pid %.20s)", comm ? comm : "?", pid);
	name_one(n, text);
}

static bool is_known(ino_t *seen, size_t *count, ino_t ns)
{
	for (size_t i = 0; i < *count; i++) {
		if (seen[i] == ns)
			return true;
	}
	if (*count < NAMESPACES_MAX)
		seen[(*count)++] = ns;
	return false;
}

/* Threads of the kernel have no executable, and no traffic of anybody's. */
static bool is_process(const char *pid)
{
	char path[64], exe[8];

	(void)snprintf(path, sizeof(path), "/proc/%.20s/exe", pid);
	return readlink(path, exe, sizeof(exe)) > 0;
}

/* Each namespace by the first process that is found in it. */
static void check_namespaces(struct diagnosis *d)
{
	CLEANUP(freep) ino_t *seen = mem_calloc(NAMESPACES_MAX, sizeof(*seen));
	DIR *dir = seen ? opendir("/proc") : NULL;
	struct naming n = {.count = 0};
	struct dirent *e;
	struct stat st;
	size_t count = 0;

	if (dir && stat("/proc/self/ns/net", &st) == 0)
		(void)is_known(seen, &count, st.st_ino);
	while (dir && (e = readdir(dir))) {
		char path[64];
		uint32_t pid;

		if (text_u32(e->d_name, 1, INT32_MAX, &pid) < 0 || !is_process(e->d_name))
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%u/ns/net", (unsigned)pid);
		if (stat(path, &st) == 0 && !is_known(seen, &count, st.st_ino))
			name_namespace(&n, e->d_name);
	}
	if (dir)
		(void)closedir(dir);
	name_rest(&n);
	doctor_check(d, "own networks", n.count == 0,
		     n.count ? n.text : "every process uses the network of this host",
		     "what runs in a network namespace of its own is not judged by this agent yet; "
		     "container: and pod: are for those that use the host's network");
}

void doctor_attest(struct diagnosis *d)
{
	check_kernel(d);
	check_svid(d);
	check_port(d);
	check_no_agent(d);
	check_peers(d);
	check_namespaces(d);
}
