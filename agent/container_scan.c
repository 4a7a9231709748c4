/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/container_scan.h"

#include "agent/exe_file.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define PROC_TEXT_MAX 16384
#define CGROUPS_SEEN  65536

struct scan {
	struct workloads *workloads;
	struct stat here;
	struct map *seen; /* cgroup path -> anything */
	json_t *found;
	size_t more;
};

/* The line of cgroup v2: "0::/system.slice/ssh.service". */
static char *cgroup_of(int proc_fd)
{
	CLEANUP(freep) char *text = NULL;
	size_t len = 0;
	char *line;

	if (file_read(proc_fd, "cgroup", PROC_TEXT_MAX, &text, &len, NULL) < 0)
		return NULL;
	line = str_starts(text, "0::/") ? text : strstr(text, "\n0::/");
	if (!line)
		return NULL;
	line = strchr(line, '/');
	line[strcspn(line, "\n")] = '\0';
	return mem_strdup(line);
}

static void add(struct scan *s, const char *path, pid_t pid)
{
	struct workload_place place = {.unit = ""};
	char quoted[LOG_QUOTE_MAX];
	uint64_t id = workloads_cgroup_id(s->workloads, path + 1);

	if (id == 0 || workloads_cgroup_place(s->workloads, id, &place) < 0)
		place = (struct workload_place){.unit = ""};
	if (json_array_size(s->found) >= CONTAINER_SCAN_MAX) {
		s->more++;
		return;
	}
	(void)json_array_append_new(
		s->found,
		json_pack("{s:s,s:s,s:s,s:s,s:s,s:I}", "cgroup", log_quote(quoted, path), "unit",
			  place.unit, "runtime", container_runtime_name(place.container.runtime),
			  "container", place.container.id, "pod", place.container.pod_uid, "pid",
			  (json_int_t)pid));
}

static void look_at(struct scan *s, pid_t pid)
{
	CLEANUP(closep) int proc_fd = proc_open(pid);
	CLEANUP(freep) char *path = NULL;
	struct stat net;

	if (proc_fd < 0 || fstatat(proc_fd, "ns/net", &net, 0) < 0 ||
	    (net.st_dev == s->here.st_dev && net.st_ino == s->here.st_ino))
		return;
	path = cgroup_of(proc_fd);
	if (!path || map_get_str(s->seen, path) || map_put_str(s->seen, path, s) < 0)
		return;
	add(s, path, pid);
}

json_t *containers_apart(struct workloads *w, size_t *ret_more)
{
	CLEANUP(map_freep) struct map *seen = map_new(CGROUPS_SEEN, NULL);
	struct scan s = {.workloads = w, .seen = seen, .found = json_array()};
	DIR *dir = seen && s.found ? opendir("/proc") : NULL;
	const struct dirent *e;

	if (!dir || stat("/proc/self/ns/net", &s.here) < 0) {
		if (dir)
			(void)closedir(dir);
		json_decref(s.found);
		return NULL;
	}
	while ((e = readdir(dir)) != NULL) {
		uint32_t pid;

		if (text_u32(e->d_name, 1, INT32_MAX, &pid) == 0)
			look_at(&s, (pid_t)pid);
	}
	(void)closedir(dir);
	*ret_more = s.more;
	return s.found;
}
