/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/attest_port.h"

#include "agent/cgroup.h"
#include "agent/owner.h"
#include "agent/unit.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/host.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#define WHY            "attestation"
#define FD_NAME        "attest"
#define SELF_CGROUP    "/proc/self/cgroup"
#define SELF_MOUNTS    "/proc/self/mountinfo"
#define UNIFIED        "0::/"
#define PROC_TEXT_MAX  (1U << 20)
#define SYSTEMD_FD_MIN 3 /* SD_LISTEN_FDS_START */
#define BARRIER_US     1000000

/* --- the agent's own cgroup --------------------------------------------------------------- */

/* Below the mount, without a leading slash. */
static int own_cgroup(char ret[CGROUP_PATH_MAX])
{
	CLEANUP(freep) char *text = NULL;
	const char *at;
	size_t len = 0;
	int r = file_read(AT_FDCWD, SELF_CGROUP, PROC_TEXT_MAX, &text, &len, NULL);

	if (r < 0)
		return r == -ENOMEM ? r : -ENOENT;
	/* Hybrid hosts have lines of the old hierarchies before it. */
	at = str_starts(text, UNIFIED) ? text : strstr(text, "\n" UNIFIED);
	if (!at)
		return -ENOENT;
	at = strchr(at, '/') + 1;
	len = strcspn(at, "\n");
	if (len >= CGROUP_PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(ret, at, len);
	ret[len] = '\0';
	return 0;
}

/* The path below the configured root; NULL: outside of it. */
static const char *below(const char *path, const char *root)
{
	size_t len;

	if (!root)
		return path;
	root += strspn(root, "/");
	len = strlen(root);
	while (len > 0 && root[len - 1] == '/')
		len--;
	if (len == 0)
		return path;
	if (strncmp(path, root, len) != 0 || (path[len] != '\0' && path[len] != '/'))
		return NULL;
	return path + len + strspn(path + len, "/");
}

bool attest_port_unit(const char *cgroup, const char *root, char ret[UNIT_NAME_MAX])
{
	const char *path = below(cgroup, root);
	struct unit_place place;

	if (!path)
		return false;
	unit_place_parse(path, &place);
	/* Below a unit's own cgroup nothing can be said of the unit (agent/claim.c). */
	if (!place.unit_depth || place.unit_depth != place.depth || place.depth > CGROUP_LEVEL_MAX)
		return false;
	(void)snprintf(ret, UNIT_NAME_MAX, "%s", place.unit);
	return true;
}

static int own_mount(struct cgroup_mount *ret)
{
	CLEANUP(freep) char *text = NULL;
	size_t len = 0;
	int r = file_read(AT_FDCWD, SELF_MOUNTS, PROC_TEXT_MAX, &text, &len, NULL);

	if (r < 0)
		return r == -ENOMEM ? r : -ENOENT;
	return cgroup_mount_parse(text, ret);
}

/*
 * 1, 0 where it has none, -ENOMEM: memory that is short must not open the port to everybody here.
 * cgroup_root may be written with the mount in front of it.
 */
static int own_unit(const struct agent *a, char ret[UNIT_NAME_MAX])
{
	const char *root = a->config.cgroup_root;
	char cgroup[CGROUP_PATH_MAX];
	struct cgroup_mount mount;
	size_t len;
	int r = own_cgroup(cgroup);

	if (r < 0)
		return r == -ENOMEM ? r : 0;
	r = root ? own_mount(&mount) : -ENOENT;
	if (r == -ENOMEM)
		return r;
	if (r >= 0) {
		len = strlen(mount.path);
		if (strncmp(root, mount.path, len) == 0 && (root[len] == '/' || root[len] == '\0'))
			root += len;
	}
	return attest_port_unit(cgroup, root, ret) ? 1 : 0;
}

/* 0: not known. */
static uint64_t own_cgroup_id(void)
{
	CLEANUP(freep) char *path = NULL;
	char cgroup[CGROUP_PATH_MAX];
	struct cgroup_mount mount;
	struct stat st;

	if (own_cgroup(cgroup) < 0 || own_mount(&mount) < 0)
		return 0;
	path = mem_printf("%s/%s", mount.path, cgroup);
	return path && stat(path, &st) == 0 ? st.st_ino : 0;
}

/* --- essentials --------------------------------------------------------------------------- */

struct list {
	struct essential *entries;
	size_t count, cap, max;
	const char *unit; /* NULL: whoever it is */
};

static void essential_free(struct essential *e)
{
	free(e->why);
	for (size_t i = 0; i < e->by_count; i++)
		free(e->by[i]);
}

static int add(struct list *l, enum essential_direction direction, const struct prefix *far,
	       uint16_t port)
{
	struct essential e = {
		.direction = direction,
		.far = *far,
		.service = {.kind = SERVICE_TCP, .first = port, .last = port},
		.attest = true,
	};
	int r = vec_grow(&l->entries, &l->cap, l->count + 1, sizeof(e), l->max);

	if (r < 0)
		return r;
	e.why = mem_strdup(WHY);
	if (l->unit)
		e.by[e.by_count++] = mem_strdup(l->unit);
	if (!e.why || (l->unit && !e.by[0])) {
		essential_free(&e);
		return -ENOMEM;
	}
	l->entries[l->count++] = e;
	return 0;
}

static int add_address(struct list *l, enum essential_direction direction, const struct addr *a,
		       uint16_t port)
{
	const struct prefix far = {.addr = *a, .len = (uint8_t)(addr_len(a) * 8)};

	return add(l, direction, &far, port);
}

static int add_everybody(struct list *l, uint16_t port)
{
	static const struct prefix any[] = {{.addr.family = AF_INET}, {.addr.family = AF_INET6}};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(any) && r >= 0; i++) {
		r = add(l, ESSENTIAL_OUT, &any[i], port);
		if (r >= 0)
			r = add(l, ESSENTIAL_IN, &any[i], port);
	}
	return r;
}

static int add_node(struct list *l, const struct view_node *n, uint16_t port)
{
	int r = 0;

	if (n->has_attest)
		r = add_address(l, ESSENTIAL_OUT, &n->attest_address, n->attest_port);
	for (size_t i = 0; i < n->address_count && r >= 0; i++)
		r = add_address(l, ESSENTIAL_IN, &n->addresses[i], port);
	return r;
}

static size_t wanted(const struct view *v)
{
	size_t count = 0;

	for (size_t i = 0; i < v->node_count; i++)
		count += v->nodes[i].address_count + v->nodes[i].has_attest;
	return count;
}

/* Whoever has no certificate asks nobody, and nobody is answered. */
static bool takes_part(const struct agent *a, const struct view *v)
{
	return v && a->config.svid_cert && a->config.svid_key && a->config.svid_bundle;
}

static int fill(struct list *l, const struct agent *a, const struct view *v)
{
	uint16_t port = a->config.attest_port;
	int r = 0;

	if (!takes_part(a, v))
		return 0;
	/* So many neighbours that their list is no bound: the certificate is one. */
	if (wanted(v) > ATTEST_PORT_ESSENTIALS_MAX)
		return add_everybody(l, port);
	for (size_t i = 0; i < v->node_count && r >= 0; i++) {
		if (!str_eq(v->nodes[i].node, a->config.node))
			r = add_node(l, &v->nodes[i], port);
	}
	return r;
}

void attest_port_release(struct attest_port_before *before)
{
	for (size_t i = 0; i < before->all.count; i++) {
		if (before->all.entries[i].attest)
			essential_free(&before->all.entries[i]);
	}
	free(before->all.entries);
	*before = (struct attest_port_before){0};
}

void attest_port_swap(struct agent *a, struct attest_port_before *before)
{
	struct essentials now = a->config.essentials;

	a->config.essentials = before->all;
	before->all = now;
}

/* Those of agent.yaml and the controller's go first, in their order. */
static int join(const struct essentials *all, const struct list *ours, struct essentials *ret)
{
	struct essential *entries = mem_calloc(all->count + ours->count + 1, sizeof(*entries));
	size_t count = 0;

	if (!entries)
		return -ENOMEM;
	for (size_t i = 0; i < all->count; i++) {
		if (!all->entries[i].attest)
			entries[count++] = all->entries[i];
	}
	for (size_t i = 0; i < ours->count; i++)
		entries[count++] = ours->entries[i];
	*ret = (struct essentials){.entries = entries, .count = count};
	return 0;
}

int attest_port_set(struct agent *a, const struct view *view, struct attest_port_before *ret_before,
		    struct err *err)
{
	struct list ours = {.max = ATTEST_PORT_ESSENTIALS_MAX};
	char unit[UNIT_NAME_MAX];
	struct essentials all;
	int r = own_unit(a, unit);

	if (r > 0)
		ours.unit = unit;
	if (r >= 0)
		r = fill(&ours, a, view);
	if (r >= 0)
		r = join(&a->config.essentials, &ours, &all);
	for (size_t i = 0; r < 0 && i < ours.count; i++)
		essential_free(&ours.entries[i]);
	free(ours.entries);
	if (r < 0)
		return err_set(err, -r, "the attestation port cannot be essential: %s",
			       strerror(-r));
	ret_before->all = a->config.essentials;
	a->config.essentials = all;
	return 0;
}

int attest_port_load(struct agent *a, struct err *err)
{
	struct attest_port_before before = {0};
	int r = attest_port_set(a, a->view, &before, err);

	attest_port_release(&before);
	return r;
}

/* --- listening sockets -------------------------------------------------------------------- */

size_t attest_port_inherit(int *ret_fds, size_t max)
{
	char **names = NULL;
	int count = sd_listen_fds_with_names(1, &names);
	size_t taken = 0;

	for (int i = 0; i < count; i++) {
		int fd = SYSTEMD_FD_MIN + i;

		if (str_eq(names[i], FD_NAME) && taken < max)
			ret_fds[taken++] = fd;
		else
			closep(&fd);
		free(names[i]);
	}
	free(names);
	return taken;
}

static bool bound_to(int fd, const struct addr *address, uint16_t port)
{
	struct sockaddr_storage ss;
	const struct sockaddr_in *v4 = (const void *)&ss;
	const struct sockaddr_in6 *v6 = (const void *)&ss;
	socklen_t len = sizeof(ss);

	if (sd_is_socket_inet(fd, address->family, SOCK_STREAM, 1, port) <= 0 ||
	    getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		return false;
	return memcmp(address->bytes,
		      address->family == AF_INET ? (const void *)&v4->sin_addr
						 : (const void *)&v6->sin6_addr,
		      addr_len(address)) == 0;
}

/*
 * A listener's cgroup is that of its creator for good. When systemd makes the unit's cgroup anew
 * the old one is nobody's, and the essential, which is for this unit alone, would refuse whoever
 * connects to such a socket.
 */
static bool own_listener(const struct addr *address, uint16_t port)
{
	CLEANUP(owner_freep) struct owner *o = NULL;
	struct socket_info info;
	uint64_t own = own_cgroup_id();

	return own && owner_open(&o, NULL) >= 0 &&
	       owner_find_listener(o, IPPROTO_TCP, address, port, &info) >= 0 &&
	       info.cgroup_id == own;
}

bool attest_port_is_at(const struct agent *a, int fd, const struct addr *address, uint16_t port)
{
	char unit[UNIT_NAME_MAX];
	int r;

	if (!bound_to(fd, address, port))
		return false;
	r = own_unit(a, unit);
	return r == 0 || (r > 0 && own_listener(address, port));
}

void attest_port_keep(int fd)
{
	int r = sd_pid_notify_with_fds(0, 0, "FDSTORE=1\nFDNAME=" FD_NAME, &fd, 1);

	if (r < 0)
		log_debug("attest: the socket is not kept: %s", strerror(-r));
}

void attest_port_forget(void)
{
	(void)sd_notify(0, "FDSTOREREMOVE=1\nFDNAME=" FD_NAME);
	/* Read when systemd comes to it: until then its copies are bound to the port. */
	(void)sd_notify_barrier(0, BARRIER_US);
}
