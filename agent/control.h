/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The control socket, RUN_DIR/control.sock: one request line, one reply line, JSON. Who may ask is
 * decided by the kernel's peer credentials (SO_PEERCRED, SO_PEERGROUPS): root everything, members
 * of group bailiwick the verbs that change nothing (R52).
 */
#pragma once

#include "agent/agent.h"

#define CONTROL_REQUEST_MAX     (64U << 20)
#define CONTROL_CONNECTIONS_MAX 64
/* Of others than root: whoever may only read must not keep root from revoking. */
#define CONTROL_GUESTS_MAX        32
#define CONTROL_GUEST_REQUEST_MAX (2U << 20)
#define CONTROL_GROUP             "bailiwick"

/* Exit codes of FORMATS. */
enum {
	EXIT_OK = 0,
	EXIT_ERROR = 1,
	EXIT_USAGE = 2,
	EXIT_DENIED = 3,
	EXIT_DRIFT = 4,
	EXIT_NOT_ENFORCING = 5
};

int control_new(struct agent *a, struct control **ret, struct err *err);
void control_free(struct control *c);

/* One request; lives until it is answered, which may be after the handler has returned. */
struct request {
	struct agent *agent;
	struct connection *connection; /* NULL once the client is gone */
	json_t *args;
	const char *verb;
	uid_t uid;
	pid_t pid;    /* of the client, when it connected */
	char who[64]; /* "root", or a user's name */
	void *data;   /* the handler's own */
};

/* Exactly one of these per request; each ends it. result is stolen. */
void request_reply(struct request *q, int exit_code, json_t *result);
void request_fail(struct request *q, int exit_code, const struct err *err, json_t *findings);
/* An order that was not taken: -EINVAL for wrong words, -EPERM for what policy forbids. */
void request_refuse(struct request *q, int r, const struct err *err);
/* For watch: the connection stays and gets lines until the client leaves. */
int request_stream(struct request *q);
bool request_line(struct request *q, const json_t *line); /* false: the client is gone */

/* Arguments; NULL or the default when absent or of another type. */
const char *request_string(const struct request *q, const char *key);
int64_t request_int(const struct request *q, const char *key, int64_t fallback);
bool request_bool(const struct request *q, const char *key);

struct verb {
	const char *name;
	bool changes;
	/* Answers by request_reply() or request_fail(), now or later. */
	void (*run)(struct request *q);
	void (*gone)(struct request *q); /* the client left before the answer; may be NULL */
};
extern const struct verb *const control_verbs[];
