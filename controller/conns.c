/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/server.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct addr address_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *a = info == NULL ? NULL : info->client_addr;
	struct addr ret = {0};

	if (a == NULL)
		return ret;
	if (a->sa_family == AF_INET) {
		ret.family = AF_INET;
		memcpy(ret.bytes, &((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
	} else if (a->sa_family == AF_INET6) {
		const struct in6_addr *in6 =
			&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
		bool mapped = IN6_IS_ADDR_V4MAPPED(in6);

		ret.family = mapped ? AF_INET : AF_INET6;
		memcpy(ret.bytes, in6->s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
	}
	return ret;
}

/* ---- how many from one address ---- */

static size_t count_of(const struct server *s, const struct addr *key)
{
	return (size_t)(uintptr_t)map_get(s->by_address, key, sizeof(*key));
}

/* Whoever is on this machine could do worse; a proxy or a test may hold thousands from there. */
static bool is_crowd(struct server *s, struct conn *c)
{
	struct addr key = strikes_key(&c->address);
	size_t count = count_of(s, &key);

	if (c->address.family == 0 || addr_is_loopback(&c->address))
		return false;
	if (count >= s->config->per_address)
		return true;
	c->counted = map_put(s->by_address, &key, sizeof(key), (void *)(uintptr_t)(count + 1)) >= 0;
	return !c->counted;
}

static void uncount(struct conn *c)
{
	struct addr key = strikes_key(&c->address);
	size_t count = count_of(c->server, &key);

	if (!c->counted)
		return;
	if (count <= 1)
		(void)map_del(c->server->by_address, &key, sizeof(key));
	else
		(void)map_put(c->server->by_address, &key, sizeof(key),
			      (void *)(uintptr_t)(count - 1));
}

/* ---- life of a connection ---- */

static void conn_new(struct server *s, struct MHD_Connection *connection, void **context)
{
	const union MHD_ConnectionInfo *fd =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct conn *c = mem_calloc(1, sizeof(*c));

	*context = c;
	if (c == NULL)
		return;
	c->server = s;
	c->connection = connection;
	c->fd = fd == NULL ? -1 : fd->connect_fd;
	c->address = address_of(connection);
	c->due_s = server_seconds() + SERVER_HEADERS_S;
	c->next = s->conns;
	if (c->next != NULL)
		c->next->prev = c;
	s->conns = c;
	s->conn_count++;
	s->counters.connections++;
	if (!is_crowd(s, c) || c->fd < 0)
		return;
	s->counters.crowd_closed++;
	c->due_s = 0;
	(void)shutdown(c->fd, SHUT_RDWR);
}

static void conn_free(struct conn *c)
{
	if (c == NULL)
		return;
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		c->server->conns = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	c->server->conn_count--;
	uncount(c);
	free(c->peer);
	free(c);
}

void conn_notify(void *user, struct MHD_Connection *connection, void **context,
		 enum MHD_ConnectionNotificationCode what)
{
	struct listener *l = user;

	switch (what) {
	case MHD_CONNECTION_NOTIFY_STARTED:
		conn_new(l->server, connection, context);
		break;
	case MHD_CONNECTION_NOTIFY_CLOSED:
		conn_free(*context);
		*context = NULL;
		break;
	}
}

struct conn *conn_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info == NULL ? NULL : info->socket_context;
}

/*
 * A byte every few seconds keeps a connection busy in libmicrohttpd's eyes for ever; here it has to
 * get somewhere. Shutting the socket down makes libmicrohttpd see its end and free it.
 */
void conns_close_late(struct server *s)
{
	int64_t now = server_seconds();

	for (struct conn *c = s->conns; c != NULL; c = c->next) {
		if (c->due_s == 0 || now <= c->due_s || c->fd < 0)
			continue;
		c->due_s = 0;
		s->counters.late_closed++;
		(void)shutdown(c->fd, SHUT_RDWR);
	}
}
