/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/property/theatre.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A connection that lost a packet waits for its retransmission. */
#define KEPT_GRACE_MS 1500

static bool is_worth_keeping(const struct probe *p)
{
	/* A datagram's receiver here lives for a round only. */
	return p->seen == SEEN_OPEN && p->expected == SEEN_OPEN &&
	       (p->flow.l4proto == IPPROTO_TCP ||
		(p->flow.l4proto == IPPROTO_UDP && p->flow.direction == FLOW_OUT));
}

static struct kept *kept_of_port(struct kept *kept, size_t count, uint16_t port)
{
	for (size_t i = 0; i < count; i++) {
		if (kept[i].probe.flow.l4proto == IPPROTO_TCP && kept[i].server < 0 &&
		    kept[i].probe.sport == port)
			return &kept[i];
	}
	return NULL;
}

/* The source port of a probe is its own alone, so it names the connection. */
static void find_servers(const struct ear *e, struct kept *kept, size_t count)
{
	union name peer;
	socklen_t len = sizeof(peer);
	int fd;

	while ((fd = accept4(e->fd, &peer.any, &len, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		struct kept *k = kept_of_port(kept, count, ntohs(peer.in.sin_port));

		if (k != NULL)
			k->server = fd;
		else
			abort_connection(fd);
		len = sizeof(peer);
	}
}

void theatre_keep(struct theatre *t, struct probe *probes, size_t probe_count, struct kept *kept,
		  size_t *count)
{
	size_t n = *count;

	for (size_t i = 0; i < probe_count && n < KEPT_MAX; i++) {
		if (!is_worth_keeping(&probes[i]))
			continue;
		kept[n++] = (struct kept){.probe = probes[i], .server = -1};
		probes[i].fd = -1;
	}
	for (size_t i = 0; i < t->count; i++) {
		if (t->receivers[i].tcp)
			find_servers(&t->receivers[i], kept, n);
	}
	*count = n;
}

static void kept_close(struct kept *k)
{
	if (k->probe.fd >= 0)
		abort_connection(k->probe.fd);
	if (k->server >= 0)
		abort_connection(k->server);
}

void kept_drop(struct kept *kept, size_t *count)
{
	for (size_t i = 0; i < *count; i++)
		kept_close(&kept[i]);
	*count = 0;
}

void kept_sift(struct kept *kept, size_t *count)
{
	size_t n = 0;

	for (size_t i = 0; i < *count; i++) {
		if (kept[i].probe.seen == SEEN_OPEN && kept[i].probe.expected == SEEN_OPEN)
			kept[n++] = kept[i];
		else
			kept_close(&kept[i]);
	}
	*count = n;
}

static int speak(int fd, uint32_t id)
{
	struct message m = {MESSAGE_MAGIC, id};

	return send(fd, &m, sizeof(m), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno : 0;
}

static bool hears(int fd, uint32_t id)
{
	struct message m;
	int on = 1;
	bool heard = false;

	while (!heard && recv(fd, &m, sizeof(m), MSG_DONTWAIT) == (ssize_t)sizeof(m))
		heard = m.magic == MESSAGE_MAGIC && m.id == id;
	/* The acknowledgement goes now, not in the middle of the next change. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
	return heard;
}

/* Both ends of a connection talk at once; of datagrams the caller does, and is answered. */
static void kept_look(struct kept *k, bool *client_heard, bool *server_heard)
{
	uint32_t id = k->probe.id;

	if (k->server >= 0) {
		*client_heard = *client_heard || hears(k->probe.fd, id);
		*server_heard = *server_heard || hears(k->server, id);
	} else {
		*client_heard = *client_heard || hears(k->probe.fd, id | REPLY);
		*server_heard = *client_heard;
	}
	k->probe.seen = *client_heard || *server_heard ? SEEN_OPEN : SEEN_SILENT;
	if (*client_heard != *server_heard)
		k->probe.seen = SEEN_REFUSED; /* half open is never right */
	(void)snprintf(k->probe.note, sizeof(k->probe.note),
		       " (kept; caller hears %s: %s, called %s)", *client_heard ? "yes" : "no",
		       strerror(k->error), *server_heard ? "yes" : "no");
}

int theatre_go_on(struct theatre *t, struct kept *kept, size_t count, struct err *err)
{
	bool client[KEPT_MAX] = {false}, server[KEPT_MAX] = {false}, agree = false;
	struct mono start;
	int r;

	for (size_t i = 0; i < count; i++) {
		kept[i].probe.id = t->next_id++;
		kept[i].error = speak(kept[i].probe.fd, kept[i].probe.id);
		if (kept[i].server >= 0)
			(void)speak(kept[i].server, kept[i].probe.id);
	}
	r = theatre_settle(t, err);
	if (r >= 0)
		r = far_adopt(t->far, err);
	start = mono_now();
	while (r >= 0 && !agree && mono_ms_since(start, mono_now()) < KEPT_GRACE_MS) {
		agree = true;
		for (size_t i = 0; i < count; i++) {
			kept_look(&kept[i], &client[i], &server[i]);
			agree = agree && (kept[i].probe.seen == SEEN_OPEN) ==
						 (kept[i].probe.expected == SEEN_OPEN);
		}
		if (!agree)
			theatre_pump(t, 10);
	}
	return r;
}
