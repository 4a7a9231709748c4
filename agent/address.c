/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/address.h"

#include "base/mem.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVE_BYTES    16384
#define READS_PER_WAKEUP 64

struct address_watch {
	int fd;
	sd_event_source *source;
	void (*changed)(void *user);
	void *user;
};

/* What changed is not read: the list is small, and after ENOBUFS it would have to be read anyway.
 */
static int on_readable(sd_event_source *source, int fd, uint32_t events, void *user)
{
	struct address_watch *w = user;
	char buffer[RECEIVE_BYTES];

	(void)source;
	(void)events;
	for (unsigned i = 0; i < READS_PER_WAKEUP; i++)
		if (recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) < 0 && errno != ENOBUFS)
			break;
	w->changed(w->user);
	return 0;
}

int address_watch_new(sd_event *event, void (*changed)(void *user), void *user,
		      struct address_watch **ret_watch, struct err *err)
{
	struct sockaddr_nl name = {.nl_family = AF_NETLINK,
				   .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
	struct address_watch *w = mem_calloc(1, sizeof(*w));
	int r;

	if (w == NULL)
		return err_set(err, ENOMEM, "addresses: out of memory");
	w->changed = changed;
	w->user = user;
	w->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (w->fd < 0 || bind(w->fd, (const struct sockaddr *)&name, sizeof(name)) < 0)
		r = -errno;
	else
		r = sd_event_add_io(event, &w->source, w->fd, EPOLLIN, on_readable, w);
	if (r < 0) {
		address_watch_free(w);
		return err_set(err, -r, "addresses: cannot watch for changes: %s", strerror(-r));
	}
	*ret_watch = w;
	return 0;
}

void address_watch_free(struct address_watch *w)
{
	if (w == NULL)
		return;
	sd_event_source_disable_unref(w->source);
	closep(&w->fd);
	free(w);
}

static bool take_sockaddr(const struct sockaddr *sa, struct addr *ret)
{
	*ret = (struct addr){0};
	if (sa == NULL)
		return false;
	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in4;

		memcpy(&in4, sa, sizeof(in4));
		memcpy(ret->bytes, &in4.sin_addr, 4);
	} else if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, sa, sizeof(in6));
		memcpy(ret->bytes, &in6.sin6_addr, 16);
	} else {
		return false;
	}
	ret->family = (uint8_t)sa->sa_family;
	return true;
}

struct owned {
	struct addr addr;
	uint32_t ifindex;
};

static int compare(const void *a, const void *b)
{
	const struct owned *x = a, *y = b;

	return addr_cmp(&x->addr, &y->addr);
}

static size_t sort_unique(struct owned *list, size_t count)
{
	size_t kept = 0;

	if (count == 0)
		return 0;
	qsort(list, count, sizeof(*list), compare);
	for (size_t i = 1; i < count; i++)
		if (!addr_eq(&list[kept].addr, &list[i].addr))
			list[++kept] = list[i];
	return kept + 1;
}

static int read_all(struct owned **list, size_t *cap, size_t *count)
{
	struct ifaddrs *all = NULL;
	int r = 0;

	if (getifaddrs(&all) < 0)
		return -errno;
	for (const struct ifaddrs *i = all; i != NULL && r == 0; i = i->ifa_next) {
		struct addr a;

		if (!take_sockaddr(i->ifa_addr, &a))
			continue;
		r = vec_grow(list, cap, *count + 1, sizeof(**list), ADDRESSES_MAX);
		if (r == 0)
			(*list)[(*count)++] =
				(struct owned){.addr = a, .ifindex = if_nametoindex(i->ifa_name)};
	}
	freeifaddrs(all);
	return r;
}

int address_list(struct addr **ret_addresses, uint32_t **ret_ifindexes, size_t *ret_count)
{
	CLEANUP(freep) struct owned *list = NULL;
	CLEANUP(freep) struct addr *addresses = NULL;
	CLEANUP(freep) uint32_t *ifindexes = NULL;
	size_t count = 0, cap = 0;
	int r = read_all(&list, &cap, &count);

	if (r < 0)
		return r;
	count = sort_unique(list, count);
	addresses = mem_calloc(count, sizeof(*addresses));
	ifindexes = mem_calloc(count, sizeof(*ifindexes));
	if (addresses == NULL || ifindexes == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		addresses[i] = list[i].addr;
		ifindexes[i] = list[i].ifindex;
	}
	*ret_count = count;
	*ret_addresses = TAKE_PTR(addresses);
	*ret_ifindexes = TAKE_PTR(ifindexes);
	return 0;
}
