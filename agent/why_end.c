/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/why_end.h"

#include "agent/owner.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROC_TEXT_MAX 65536
#define PID_MAX       4194304

enum slot why_slot(const struct agent *a)
{
	return agent_edition(a) == &a->candidate ? SLOT_B : SLOT_A;
}

/* --- processes ------------------------------------------------------------------------------- */

/* The line after `key` in a text of /proc. */
static bool proc_value(const char *text, const char *key, char *ret, size_t size)
{
	for (const char *line = text; line && *line;
	     line = strchr(line, '\n'), line += line != NULL) {
		size_t len;

		if (!str_starts(line, key))
			continue;
		line += strlen(key);
		len = strcspn(line, "\n");
		if (len >= size)
			return false;
		memcpy(ret, line, len);
		ret[len] = '\0';
		return true;
	}
	return false;
}

static int proc_read(uint32_t pid, const char *file, const char *key, char *ret, size_t size)
{
	CLEANUP(freep) char *text = NULL;
	char path[64];
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%u/%s", (unsigned)pid, file);
	r = file_read(AT_FDCWD, path, PROC_TEXT_MAX, &text, &len, NULL);
	if (r < 0)
		return r;
	return proc_value(text, key, ret, size) ? 0 : -ENOENT;
}

/* Effective uid: second of four numbers. */
static int process_uid(uint32_t pid, uint32_t *ret)
{
	char line[128];
	char *at = NULL, *word;
	int r = proc_read(pid, "status", "Uid:", line, sizeof(line));

	if (r < 0)
		return r;
	(void)strtok_r(line, " \t", &at);
	word = strtok_r(NULL, " \t", &at);
	return word ? text_u32(word, 0, UINT32_MAX, ret) : -EINVAL;
}

static int know_cgroup(struct agent *a, uint64_t id, uint32_t uid, struct why_end *e)
{
	struct workload_answer w;
	int r = workloads_resolve(a->workloads, why_slot(a), id, uid, &w);

	if (r < 0)
		return r;
	if (w.host_changed) /* nobody else is told of it: a question would repeat for ever */
		agent_touch(a, DIRTY_HOST);
	e->process = true;
	e->cgroup_id = id;
	e->uid = uid;
	e->identity = w.what == WORKLOAD_IDENTITY ? w.identity : -1;
	e->ambiguous = w.what == WORKLOAD_AMBIGUOUS;
	if (workloads_cgroup_path(a->workloads, id, e->cgroup, sizeof(e->cgroup)) < 0)
		e->cgroup[0] = '\0';
	return 0;
}

static int parse_pid(struct agent *a, const char *word, struct why_end *e, struct err *err)
{
	char path[WORKLOAD_PATH_MAX], quoted[LOG_QUOTE_MAX];
	uint32_t pid, uid;
	uint64_t id;

	if (text_u32(word, 1, PID_MAX, &pid) < 0)
		return err_set(err, EINVAL, "pid:%s: no process number", log_quote(quoted, word));
	if (proc_read(pid, "cgroup", "0::", path, sizeof(path)) < 0 || process_uid(pid, &uid) < 0)
		return err_set(err, EINVAL, "pid:%u: no such process", (unsigned)pid);
	id = workloads_cgroup_id(a->workloads, path);
	if (!id || know_cgroup(a, id, uid, e) < 0)
		return err_set(err, EINVAL, "pid:%u: its cgroup %s is not below the cgroup root",
			       (unsigned)pid, log_quote(quoted, path));
	return 0;
}

/* The uid of a process in it; without one, root's: an identity may ask for a user too. */
static uint32_t cgroup_uid(const char *path)
{
	CLEANUP(freep) char *file = mem_printf("%s/cgroup.procs", path);
	CLEANUP(freep) char *text = NULL;
	uint32_t pid, uid = 0;
	size_t len;

	if (!file || file_read(AT_FDCWD, file, PROC_TEXT_MAX, &text, &len, NULL) < 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	if (text_u32(text, 1, PID_MAX, &pid) < 0 || process_uid(pid, &uid) < 0)
		return 0;
	return uid;
}

static int parse_cgroup(struct agent *a, const char *path, struct why_end *e, struct err *err)
{
	char quoted[LOG_QUOTE_MAX];
	uint64_t id = workloads_cgroup_id(a->workloads, path);

	if (!id || know_cgroup(a, id, cgroup_uid(path), e) < 0)
		return err_set(err, EINVAL,
			       "cgroup:%s: no such cgroup; a path like "
			       "/system.slice/foo.service would be right",
			       log_quote(quoted, path));
	return 0;
}

/* --- addresses and names --------------------------------------------------------------------- */

/* "10.0.0.1", "10.0.0.1:443", "fd00::1", "[fd00::1]:443" */
static bool parse_address(const char *word, struct why_end *e)
{
	char text[WHY_WORD_MAX];
	char *end, *port;
	uint32_t number;

	(void)snprintf(text, sizeof(text), "%s", word);
	if (addr_parse(text, &e->address) == 0)
		return true;
	end = text[0] == '[' ? strchr(text, ']') : strchr(text, ':');
	if (!end)
		return false;
	port = text[0] == '[' ? end + 1 : end;
	if (*port && (*port != ':' || text_u32(port + 1, 0, UINT16_MAX, &number) < 0))
		return false;
	if (*port) {
		e->has_port = true;
		e->port = (uint16_t)number;
	}
	*end = '\0';
	return addr_parse(text[0] == '[' ? text + 1 : text, &e->address) == 0;
}

static int unknown_subject(const struct policy *p, const char *word, struct err *err)
{
	const char *near = policy_nearest_identity(p, word);
	char quoted[LOG_QUOTE_MAX];

	if (policy_find_network(p, word) >= 0)
		return err_set(err, EINVAL, "%s is a network; an address in it would be right",
			       log_quote(quoted, word));
	if (near)
		return err_set(err, EINVAL, "no identity is called '%s'; did you mean '%s'?",
			       log_quote(quoted, word), near);
	return err_set(err, EINVAL,
		       "no identity is called '%s'; a name or path of the policy, NAME@NODE, an "
		       "address, cgroup:PATH or pid:N would be right",
		       log_quote(quoted, word));
}

int why_end_parse(struct agent *a, const char *word, struct why_end *ret, struct err *err)
{
	const struct policy *p = agent_edition(a)->policy;
	struct why_end *e = ret;
	char *at;

	memset(e, 0, sizeof(*e));
	e->identity = -1;
	if (str_starts(word, "pid:"))
		return parse_pid(a, word + strlen("pid:"), e, err);
	if (str_starts(word, "cgroup:"))
		return parse_cgroup(a, word + strlen("cgroup:"), e, err);
	if (strlen(word) >= sizeof(e->text))
		return unknown_subject(p, word, err);
	(void)snprintf(e->text, sizeof(e->text), "%s", word);
	at = strrchr(e->text, '@');
	if (at) {
		*at = '\0';
		e->node = at + 1;
	}
	e->identity = policy_find_identity(p, e->text);
	if (e->identity >= 0)
		return 0;
	e->identity = -1;
	e->has_address = !at && parse_address(word, e);
	return e->has_address ? 0 : unknown_subject(p, e->text, err);
}

/* --- what is behind -------------------------------------------------------------------------- */

static bool is_own(struct agent *a, const struct addr *addr)
{
	const struct host *host = workloads_host(a->workloads, why_slot(a));

	for (size_t i = 0; host && i < host->address_count; i++) {
		if (addr_eq(&host->addresses[i], addr))
			return true;
	}
	return addr_is_loopback(addr);
}

void why_end_find_listener(struct agent *a, const struct service *service, struct why_end *e)
{
	CLEANUP(owner_freep) struct owner *o = NULL;
	struct socket_info s;

	if (!e->has_address || e->process || !is_own(a, &e->address) ||
	    (service->kind != SERVICE_TCP && service->kind != SERVICE_UDP))
		return;
	if (owner_open(&o, NULL) < 0 ||
	    owner_find_listener(o, service_l4proto(service), &e->address, service->first, &s) < 0)
		return;
	(void)know_cgroup(a, s.cgroup_id, s.uid, e);
}

void why_end_flow(struct agent *a, const struct why_end *e, struct flow_end *ret)
{
	char part[WORKLOAD_PATH_MAX];
	size_t level = 0;

	*ret = (struct flow_end){.has_socket = e->process, .uid = e->uid};
	for (const char *p = e->cgroup; *p && level < CGROUP_LEVEL_MAX; level++) {
		size_t len;

		p += strspn(p, "/");
		if (!*p)
			return;
		p += strcspn(p, "/");
		len = (size_t)(p - e->cgroup);
		memcpy(part, e->cgroup, len);
		part[len] = '\0';
		ret->cgroups[level] = workloads_cgroup_id(a->workloads, part);
	}
}
