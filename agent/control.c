/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/control.h"

#include "agent/courier_conn.h"
#include "agent/run_socket.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_CHUNK      65536
#define PEER_GROUPS_MAX 256

struct connection {
	struct control *control;
	struct connection *next;
	struct request *request; /* being answered */
	sd_event_source *io;
	int fd;
	struct ucred peer;
	char *in;
	size_t in_len, in_cap;
	char *out;
	size_t out_len, out_sent, out_cap;
	bool streaming, closing;
};

struct control {
	struct agent *agent;
	sd_event_source *listen_source;
	struct run_socket listener;
	struct connection *connections;
	size_t count, guests;
};

/* --- who is asking ------------------------------------------------------------------------ */

static bool in_group(int fd, const struct ucred *peer)
{
	gid_t groups[PEER_GROUPS_MAX];
	socklen_t len = sizeof(groups);
	const struct group *g = getgrnam(CONTROL_GROUP);

	if (!g)
		return false;
	if (peer->gid == g->gr_gid)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (size_t i = 0; i < len / sizeof(gid_t); i++) {
		if (groups[i] == g->gr_gid)
			return true;
	}
	return false;
}

static bool is_guest(const struct connection *c)
{
	return c->peer.uid != 0;
}

/*
 * The courier talks to the outside world. Taken over, it may delay; it must not read who talks to
 * whom, even where somebody has put it into the group.
 */
static bool is_courier(const struct connection *c)
{
	uid_t uid;

	return courier_uid(c->control->agent->config.courier_user, &uid) && c->peer.uid == uid;
}

static bool may_use(const struct connection *c, const struct verb *v)
{
	if (c->peer.uid == 0)
		return true;
	if (is_courier(c))
		return false;
	return !v->changes && in_group(c->fd, &c->peer);
}

/* --- output ------------------------------------------------------------------------------- */

static void connection_free(struct connection *c)
{
	struct connection **at = &c->control->connections;

	while (*at && *at != c)
		at = &(*at)->next;
	if (*at)
		*at = c->next;
	c->control->count--;
	if (is_guest(c))
		c->control->guests--;
	sd_event_source_disable_unref(c->io);
	closep(&c->fd);
	free(c->in);
	free(c->out);
	free(c);
}

static void request_free(struct request *q)
{
	if (q->connection)
		q->connection->request = NULL;
	json_decref(q->args);
	free(q);
}

static const struct verb *find_verb(const char *name)
{
	for (const struct verb *const *v = control_verbs; *v; v++) {
		if (str_eq((*v)->name, name))
			return *v;
	}
	return NULL;
}

/* The client left: whoever works for it is told, and the answer goes nowhere. */
static void connection_lost(struct connection *c)
{
	struct request *q = c->request;

	if (q) {
		const struct verb *v = find_verb(q->verb);

		q->connection = NULL;
		if (v && v->gone)
			v->gone(q);
		if (c->streaming)
			request_free(q);
	}
	connection_free(c);
}

static void want(struct connection *c, uint32_t events)
{
	(void)sd_event_source_set_io_events(c->io, events);
}

static bool flush(struct connection *c)
{
	while (c->out_sent < c->out_len) {
		ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN) {
			want(c, EPOLLIN | EPOLLOUT);
			return true;
		}
		if (n < 0)
			return false;
		c->out_sent += (size_t)n;
	}
	c->out_len = c->out_sent = 0;
	want(c, EPOLLIN);
	return !c->closing;
}

static int queue_line(struct connection *c, const char *line)
{
	size_t len = strlen(line);
	int r = vec_grow(&c->out, &c->out_cap, c->out_len + len + 1, 1, CONTROL_REQUEST_MAX);

	if (r < 0)
		return r;
	memcpy(c->out + c->out_len, line, len);
	c->out[c->out_len + len] = '\n';
	c->out_len += len + 1;
	return 0;
}

static void send_last(struct request *q, json_t *reply)
{
	struct connection *c = q->connection;
	size_t len = 0;
	CLEANUP(freep) char *line = reply ? json_text(reply, &len) : NULL;

	json_decref(reply);
	request_free(q);
	if (!c)
		return;
	c->closing = true;
	if (queue_line(c, line ? line
			       : "{\"version\":1,\"ok\":false,\"exit\":1,"
				 "\"error\":\"out of memory\"}") < 0 ||
	    !flush(c))
		connection_free(c);
}

void request_reply(struct request *q, int exit_code, json_t *result)
{
	if (result)
		(void)json_object_set_new(result, "version", json_integer(1));
	send_last(q, json_pack("{s:i,s:b,s:i,s:o}", "version", 1, "ok", 1, "exit", exit_code,
			       "result", result ? result : json_object()));
}

void request_fail(struct request *q, int exit_code, const struct err *err, json_t *findings)
{
	json_t *reply = json_pack("{s:i,s:b,s:i,s:s}", "version", 1, "ok", 0, "exit", exit_code,
				  "error", err->text);

	if (!reply)
		reply = json_pack("{s:i,s:b,s:i,s:s}", "version", 1, "ok", 0, "exit", exit_code,
				  "error", "unprintable error");
	if (findings)
		(void)json_object_set_new(reply, "findings", findings);
	send_last(q, reply);
}

void request_refuse(struct request *q, int r, const struct err *err)
{
	request_fail(q,
		     r == -EINVAL  ? EXIT_USAGE
		     : r == -EPERM ? EXIT_DENIED
				   : EXIT_ERROR,
		     err, NULL);
}

int request_stream(struct request *q)
{
	if (!q->connection)
		return -EPIPE;
	q->connection->streaming = true;
	return 0;
}

/* A slow watcher must not make the agent grow: it is dropped. */
#define STREAM_BACKLOG_MAX (4U << 20)

bool request_line(struct request *q, const json_t *line)
{
	struct connection *c = q->connection;
	size_t len = 0;
	CLEANUP(freep) char *text = json_text(line, &len);

	if (!c || !text)
		return c != NULL;
	if (c->out_len - c->out_sent > STREAM_BACKLOG_MAX || queue_line(c, text) < 0 || !flush(c)) {
		connection_lost(c);
		return false;
	}
	return true;
}

/* --- input -------------------------------------------------------------------------------- */

const char *request_string(const struct request *q, const char *key)
{
	return json_string_value(json_object_get(q->args, key));
}

int64_t request_int(const struct request *q, const char *key, int64_t fallback)
{
	const json_t *v = json_object_get(q->args, key);

	return json_is_integer(v) ? json_integer_value(v) : fallback;
}

bool request_bool(const struct request *q, const char *key)
{
	return json_is_true(json_object_get(q->args, key));
}

static void name_peer(struct request *q)
{
	const struct passwd *pw = getpwuid(q->uid);

	if (pw)
		(void)snprintf(q->who, sizeof(q->who), "%s", pw->pw_name);
	else
		(void)snprintf(q->who, sizeof(q->who), "uid %u", (unsigned)q->uid);
}

static struct request *request_new(struct connection *c, json_t *args)
{
	struct request *q = mem_calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->agent = c->control->agent;
	q->connection = c;
	q->args = args ? json_incref(args) : json_object();
	q->uid = c->peer.uid;
	q->pid = c->peer.pid;
	name_peer(q);
	c->request = q;
	return q;
}

static void refuse_verb(struct request *q, const char *name)
{
	struct err err = {{0}};
	char quoted[LOG_QUOTE_MAX];

	(void)err_set(&err, ENOENT, "the agent does not know the verb \"%s\"",
		      log_quote(quoted, name));
	request_fail(q, EXIT_USAGE, &err, NULL);
}

static void dispatch(struct connection *c, json_t *json)
{
	const char *name = json_string_value(json_object_get(json, "verb"));
	json_t *args = json_object_get(json, "args");
	struct request *q = request_new(c, json_is_object(args) ? args : NULL);
	const struct verb *v = name ? find_verb(name) : NULL;
	struct err err = {{0}};

	if (!q) {
		connection_free(c);
		return;
	}
	if (!v) {
		refuse_verb(q, name ? name : "");
		return;
	}
	q->verb = v->name;
	if (!may_use(c, v)) {
		(void)err_set(&err, EPERM, "%s may not use \"%s\": %s", q->who, name,
			      is_courier(c) ? "the courier has no business here"
			      : v->changes  ? "only root may"
					    : "only root and members of group " CONTROL_GROUP
					     " may");
		request_fail(q, EXIT_ERROR, &err, NULL);
		return;
	}
	v->run(q);
}

static void bad_request(struct connection *c, const struct err *err)
{
	struct request *q = request_new(c, NULL);

	if (q)
		request_fail(q, EXIT_USAGE, err, NULL);
	else
		connection_free(c);
}

static void take_line(struct connection *c, size_t len)
{
	CLEANUP(freep) char *line = TAKE_PTR(c->in);
	struct err err = {{0}};
	json_t *json = NULL;

	c->in_len = c->in_cap = 0;
	if (json_parse_strict(line, len, "request", &json, &err) < 0)
		bad_request(c, &err);
	else
		dispatch(c, json);
	json_decref(json);
}

/* 1: go on, 0: nothing more now, -1: the connection is over. */
static int read_some(struct connection *c)
{
	size_t max = is_guest(c) ? CONTROL_GUEST_REQUEST_MAX : CONTROL_REQUEST_MAX, room;
	ssize_t n;

	if (vec_grow(&c->in, &c->in_cap, c->in_len + READ_CHUNK, 1, max) < 0)
		return -1;
	room = c->in_cap - c->in_len;
	n = recv(c->fd, c->in + c->in_len, room, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n == 0)
		return -1;
	c->in_len += (size_t)n;
	return (size_t)n == room;
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *user)
{
	struct connection *c = user;
	const char *end;
	int r = 0;

	(void)s;
	(void)fd;
	if ((revents & EPOLLOUT) && !flush(c)) {
		connection_lost(c);
		return 0;
	}
	if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return 0;
	if (c->request || c->closing) {
		char byte;

		/* One request per connection: anything but silence ends it. */
		if (recv(c->fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN)
			connection_lost(c);
		return 0;
	}
	do {
		r = read_some(c);
	} while (r == 1);
	end = c->in_len ? memchr(c->in, '\n', c->in_len) : NULL;
	if (end)
		take_line(c, (size_t)(end - c->in));
	else if (r < 0)
		connection_lost(c);
	return 0;
}

static int on_connect(sd_event_source *s, int listen_fd, uint32_t revents, void *user)
{
	struct control *ctl = user;
	struct connection *c;
	struct ucred peer;
	socklen_t len = sizeof(peer);
	CLEANUP(closep) int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)s;
	(void)revents;
	if (fd < 0 || ctl->count == CONTROL_CONNECTIONS_MAX ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
	    (peer.uid != 0 && ctl->guests == CONTROL_GUESTS_MAX))
		return 0;
	c = mem_calloc(1, sizeof(*c));
	if (!c)
		return 0;
	c->control = ctl;
	c->peer = peer;
	c->fd = take_fd(&fd);
	c->next = ctl->connections;
	ctl->connections = c;
	ctl->count++;
	if (is_guest(c))
		ctl->guests++;
	if (sd_event_add_io(ctl->agent->event, &c->io, c->fd, EPOLLIN, on_io, c) < 0)
		connection_free(c);
	return 0;
}

/* --- socket ------------------------------------------------------------------------------- */

int control_new(struct agent *a, struct control **ret, struct err *err)
{
	struct control *c = mem_calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_set(err, ENOMEM, "out of memory");
	c->agent = a;
	c->listener.fd = -1;
	r = run_socket_open(a->config.run_dir, "control.sock", &c->listener, err);
	if (r >= 0)
		r = sd_event_add_io(a->event, &c->listen_source, c->listener.fd, EPOLLIN,
				    on_connect, c);
	if (r < 0) {
		control_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void control_free(struct control *c)
{
	if (!c)
		return;
	while (c->connections)
		connection_lost(c->connections);
	sd_event_source_disable_unref(c->listen_source);
	run_socket_done(&c->listener);
	free(c);
}
