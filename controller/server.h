/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The server: libmicrohttpd inside an sd-event loop, one thread, one process. A connection belongs
 * to libmicrohttpd, what is known of it (struct conn) and of the request on it (struct exchange,
 * exchange.h) to this server, which frees both when libmicrohttpd says they have ended.
 *
 * What a client can do to it is bounded: connections in all and by address, the time a request may
 * take, the memory of bodies that come in and answers that go out. Beyond a bound a client gets a
 * problem document or a closed connection; the others do not notice.
 */
#pragma once

#include "base/addr.h"
#include "base/clock.h"
#include "base/err.h"
#include "controller-client/svid.h"
#include "controller/ca.h"
#include "controller/core.h"
#include "controller/http_text.h"
#include "controller/polls.h"
#include "controller/route.h"
#include "controller/strikes.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/*
 * libmicrohttpd's pool of a connection: its request line and headers stand in it, and what goes in
 * and out passes through it. Parked polls cost this much each.
 */
#define SERVER_POOL_SIZE         (6U << 10)
#define SERVER_CONNECTIONS_MAX   19800
#define SERVER_DESCRIPTORS_OTHER 128 /* beside connections: database, files, listeners */
#define SERVER_PER_ADDRESS       1024
#define SERVER_BACKLOG           4096
/* Bytes of all bodies, and of all answers, that are under way. */
#define SERVER_BODIES_MAX  (256U << 20)
#define SERVER_ANSWERS_MAX (512U << 20)

/* Seconds that a client has: for handshake and headers, for a body, to take an answer, idle. */
#define SERVER_HEADERS_S 15
#define SERVER_BODY_S    60
#define SERVER_ANSWER_S  300
#define SERVER_IDLE_S    120

/* Wrong tokens from one address: so many at once, one more each so many seconds. */
#define SERVER_TOKEN_BURST   10
#define SERVER_TOKEN_EVERY_S 6

#define SERVER_NAMES_MAX CA_NAMES_MAX

struct server_config {
	const char *data_dir;
	const char *listen;                  /* "127.0.0.1:8443" */
	const char *admin;                   /* "unix:PATH" or an address on loopback; NULL: none */
	const char *url;                     /* what agents are told; NULL: from the certificate */
	const char *names[SERVER_NAMES_MAX]; /* that it is reached by, beside the certificate's */
	size_t name_count;
	const char *node_ca;            /* PEM: roots of an existing PKI for nodes; may be NULL */
	const char *tls_cert, *tls_key; /* NULL: tls.pem and tls.key, renewed here */
	int64_t svid_ttl_s;
	uint32_t per_address;
	bool reports; /* agents' reports may place */
};

/* A client certificate that has been verified, as long as its connection lives. */
struct peer {
	enum svid_role role;
	struct wall not_before, not_after;
	char name[NODE_NAME_MAX];
	char serial[64];
	char key_id[SHA256_HEX_LEN];
	bool own; /* issued by this controller's own CA */
};

struct conn {
	struct server *server;
	struct conn *prev, *next;
	struct MHD_Connection *connection;
	int64_t due_s; /* monotonic; when it is closed; 0: not */
	struct addr address;
	bool counted;      /* in by_address */
	struct peer *peer; /* NULL: not looked at yet, or none */
	int fd;
};

struct counters {
	uint64_t answers[6]; /* by hundreds of the status */
	uint64_t by_route[ROUTE_COUNT];
	uint64_t connections, polls_woken, polls_ended, heads_sent;
	uint64_t tokens_refused, tokens_limited, certificates, late_closed, crowd_closed,
		store_failures, logs_dropped;
};

/* One of libmicrohttpd's daemons. */
struct listener {
	struct server *server;
	struct MHD_Daemon *daemon;
	sd_event_source *io, *timer;
	int fd; /* the listening socket */
	bool admin;
};

struct shared_answers;
struct woken;
struct export_run;
struct exchange;

struct server {
	const struct server_config *config;
	sd_event *loop;
	struct core *core;
	struct ca *ca;
	struct stack_st_X509 *node_roots; /* NULL: none but our own */
	struct listener main, admin;
	sd_event_source *tick;
	struct polls *polls;
	struct woken *woken; /* polls to be answered */
	struct strikes *tokens;
	struct conn *conns;
	struct map *by_address; /* strikes_key() of a client -> its connections, as a number */
	struct shared_answers *shared;
	struct export_run *export; /* under way; NULL: none */
	size_t conn_count;
	size_t body_bytes, answer_bytes;
	struct counters counters;
	char *names[SERVER_NAMES_MAX];
	size_t name_count;
	char url[HTTP_HOST_MAX + 32];
	char pin[SHA256_HEX_LEN];
	struct mono started;
	int64_t store_failed_s; /* monotonic; 0: never */
	uint64_t ticks, trimmed;
	int lock_fd; /* one server for a data directory */
	bool stopping;
};

/* Opens everything and listens. */
int server_new(const struct server_config *config, struct server **ret, struct err *err);
void server_free(struct server *s);
void server_freep(struct server **s);
/* Until SIGTERM or SIGINT. */
int server_run(struct server *s);
/* Certificates in the data directory, where it is time; whether operator.pem is another one now. */
bool server_renew(struct server *s);

/* server_export.c: an export for x, in slices of the loop. One at a time: -EBUSY. */
int server_export_begin(struct server *s, struct exchange *x, const char *dir, struct err *err);
/* When x is called again: what became of it. */
int server_export_end(struct server *s, json_t **ret, struct err *err);
bool server_export_of(const struct server *s, const struct exchange *x);
/* Its client has gone, or all of the server goes: x, when it is parked, is to be resumed. */
void server_export_drop(struct server *s);

/* "acme.example" style names and addresses by which clients reach this server. */
bool server_has_name(const struct server *s, const char *name);
int64_t server_seconds(void); /* monotonic */

/* ---- parts of the server, each in a file of its own ---- */

/* listen.c */
int listener_open(struct listener *l, struct server *s, bool admin, struct err *err);
void listener_close(struct listener *l);
/* conns.c: called by libmicrohttpd */
void conn_notify(void *user, struct MHD_Connection *connection, void **context,
		 enum MHD_ConnectionNotificationCode what);
void conns_close_late(struct server *s);
struct conn *conn_of(struct MHD_Connection *connection);
