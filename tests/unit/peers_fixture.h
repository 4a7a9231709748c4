/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Two nodes with certificates in one event loop, real sockets on loopback between them, and ends
 * made by hand that are not what they should be.
 */
#pragma once

#include "agent/node_key.h"
#include "agent/peers_parts.h"
#include "tests/unit/svid_fixture.h"
#include "tests/unit/test.h"

#define WORLD_NODES_MAX 4
#define REPLIES_MAX     4096

struct world;

struct end {
	struct world *world;
	char name[NODE_NAME_MAX];
	char *dir, *key_path, *cert_path, *bundle_path;
	EVP_PKEY *key;
	X509 *cert;
	struct agent agent;
	struct peers *peers;
	struct view view;
	struct view_node nodes[WORLD_NODES_MAX];
	uint16_t port;
	/* How questions of others are answered. */
	enum { ANSWER_AT_ONCE, ANSWER_LATER, ANSWER_BUSY } answers;
	void *held[REPLIES_MAX];
	void (*held_done)(void *ticket, const struct peer_answer *answer);
	size_t held_count, cancelled, asked;
	char asker[NODE_NAME_MAX];
	struct peer_query query; /* the newest */
};

/* What came of questions. */
struct replies {
	size_t count;
	struct {
		enum peer_outcome outcome;
		uint32_t uid; /* of the answer: tells which */
		bool has_svid;
		char svid_name[NODE_NAME_MAX], detail[PEERS_DETAIL_MAX];
	} last;
	size_t by_outcome[PEER_OVERLOADED + 1];
};

struct world {
	sd_event *event;
	EVP_PKEY *ca_key;
	X509 *ca;
	struct end a, b; /* "pay-1" asks, "api-1" answers */
	struct replies replies;
};

/* Certificates on disk, views that name each other, b listening; nothing connected. */
void world_make(struct world *w);
void world_done(struct world *w);
/* Without peers_open(): for tests that change something before. */
void world_prepare(struct world *w);
void world_open(struct world *w, struct end *h);

/* Turns the loop until it holds; fails the test after a minute. */
#define WORLD_UNTIL(w, condition)                                                                  \
	do {                                                                                       \
		for (int turn_ = 0; !(condition); turn_++) {                                       \
			if (turn_ > 60000)                                                         \
				test_fail(__FILE__, __LINE__, "%s does not come", #condition);     \
			world_turn(w);                                                             \
		}                                                                                  \
	} while (0)
void world_turn(struct world *w);            /* waits for a millisecond at most */
void world_for(struct world *w, int64_t ms); /* turns for so long */

/* The right certificate of a node, good from now. */
struct cert_spec world_spec(const char *san);
X509 *world_cert(const struct world *w, const struct cert_spec *spec, EVP_PKEY *key);
/* Another certificate (and key) for a host, on disk; node_key sees it with the next look. */
void end_certify(struct end *h, const char *san, int64_t from, int64_t to);
void end_look(struct end *h);
/* What the view says: where `node` is asked; port 0: it has no agent. */
void end_sees(struct end *h, const char *node, uint16_t port);

struct peer_query world_query(uint32_t budget_ms);
uint64_t world_ask(struct world *w, const char *node, uint32_t budget_ms);
void world_reply(void *user, const struct peer_reply *reply);

/* --- an end made by hand ------------------------------------------------------------------ */

struct raw {
	int listener, fd;
	SSL_CTX *ctx;
	SSL *ssl;
	bool server, shaken, ended;
	uint8_t in[65536];
	size_t in_len;
	struct buf out;
	size_t sent;
};

/* key NULL: shows no certificate. */
void raw_make(struct raw *r, bool server, X509 *cert, EVP_PKEY *key, X509 *more);
void raw_connect(struct raw *r, uint16_t port);
void raw_start(struct raw *r); /* of a connection that the caller made */
uint16_t raw_listen(struct raw *r);
/* One step of whatever is to be done. */
void raw_step(struct raw *r);
void raw_close(struct raw *r); /* the connection, not the listener */
void raw_done(struct raw *r);
void raw_hello(struct raw *r, const char *node);
/* The next whole frame, taken out; false: none yet. body: PEER_BODY_MAX. */
bool raw_frame(struct raw *r, struct peer_header *ret, uint8_t *ret_body);
#define RAW_UNTIL(w, r, condition)                                                                 \
	do {                                                                                       \
		for (int turn_ = 0; !(condition); turn_++) {                                       \
			if (turn_ > 60000)                                                         \
				test_fail(__FILE__, __LINE__, "%s does not come", #condition);     \
			raw_step(r);                                                               \
			world_turn(w);                                                             \
		}                                                                                  \
	} while (0)
