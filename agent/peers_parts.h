/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of agent/peers share; nobody else includes it but their tests.
 *
 *	peers.c         life, the nodes that are asked, view and certificate
 *	peers_ask.c     questions: from peers_ask() to exactly one outcome; circuit breaker
 *	peers_stream.c  one stream: connection, handshake, bytes
 *	peers_frames.c  frames of an open stream
 *	peers_serve.c   listening, accepting, answering
 *	peers_admit.c   who may cost a handshake, and what a node that asks has used up
 *	peers_status.c  what people see
 *	peers_tls.c     contexts and who may be at the other end
 *
 * A stream that is closed leaves every list at once, and its memory goes later, from the loop: it
 * may be closed by a callback that was called while its own frames are being read.
 */
#pragma once

#include "agent/peers.h"
#include "base/buf.h"
#include "base/hash.h"

#include <openssl/types.h>
#include <sys/socket.h>

#define PEERS_OUT_MAX        (512U << 10) /* bytes that wait for one peer */
#define PEERS_OUT_PAUSE      (64U << 10)  /* a peer that does not read is not read from, either */
#define PEERS_OUT_KEEP       4096         /* a larger buffer is given back when it is empty */
#define PEERS_READ_MAX       16384        /* one TLS record */
#define PEERS_QUESTIONS_MAX  65536
#define PEERS_KNOWN_MAX      16384 /* nodes that were ever asked */
#define PEERS_ANSWERS_PER_S  20000 /* of one peer's questions; above: BUSY */
#define PEERS_LISTEN_MAX     (CONFIG_ATTEST_LISTEN_MAX)
#define PEERS_CHAIN_BYTES    (32U << 10)
#define PEERS_SERVE_IDLE_S   (PEERS_IDLE_S + PEERS_DEAD_S) /* the asking side goes first */
#define PEERS_BACKOFF_FIRST  100                           /* ms, full jitter */
#define PEERS_BACKOFF_LAST   5000
#define PEERS_BACKOFF_WANTED 2000 /* while connections ask for it */
#define PEERS_WANTED_MS      5000
#define PEERS_PROBE_APART_MS 1000 /* at most, when it is heard of by another way */
#define PEERS_CONNECTS_PER_S 2    /* to one node, however its streams end */
#define PEERS_CONNECTS_BURST 16
#define PEERS_DETAIL_MAX     256
#define PEERS_FRAMES_PER_S   200000 /* of a kind that costs nothing: above is no peer */
#define PEERS_STREAMS_A_NODE 4      /* of one that asks: it needs one, and another in its place */
#define PEERS_READS_A_TURN   16     /* records, or one record's worth of bytes */
#define PEERS_TLS_MESSAGES   64     /* behind the handshake, in a stream's life; ours sends none */

/* Handshakes of those who connect here: in a second, and so many at once before that counts. */
#define PEERS_ADDRESS_PER_S   4 /* from one address of a node of the view */
#define PEERS_ADDRESS_BURST   32
#define PEERS_NODE_PER_S      2 /* of one certificate: these its address does not pay for */
#define PEERS_NODE_BURST      16
#define PEERS_STRANGER_PER_S  4 /* from one other address */
#define PEERS_STRANGER_BURST  8
#define PEERS_STRANGERS_PER_S 32 /* from all of those */
#define PEERS_STRANGERS_BURST 64
#define PEERS_STRANGER_SLOTS  256 /* by hash: two addresses may share one */

/* Numbers of GOAWAY and ERROR. */
enum peer_notice_code {
	PEER_NOTICE_BYE = 0,      /* idle, replaced, room for others: nothing is wrong */
	PEER_NOTICE_PROTOCOL = 1, /* a frame that does not fit */
	PEER_NOTICE_VERSION = 2,
	PEER_NOTICE_NODE = 3, /* HELLO names another node than the certificate */
	PEER_NOTICE_END = 5,  /* this agent ends, and is soon back perhaps */
	PEER_NOTICE_VIEW = 4, /* not (any more) a node of the view, or not its key */
};

enum stream_state { STREAM_CONNECTING, STREAM_HANDSHAKE, STREAM_OPEN, STREAM_CLOSED };

/*
 * So many in a second, and a burst. What was taken is kept as the moment at which it will have come
 * back: all zero is full.
 */
struct bucket {
	int64_t full_ns;
};

/* An address of a node of the view, and what came from there. */
struct admit_address {
	struct addr address;
	struct bucket handshakes;
};

/* A node that asks here, over whatever streams. */
struct asker {
	struct asker *next;
	char node[NODE_NAME_MAX];
	uint32_t stream_count;
	struct bucket handshakes, answers;
};

struct question_link {
	struct question_link *next, *previous;
};

struct question {
	struct question_link link; /* among its peer's; must be first */
	struct peer *peer;
	struct stream *stream; /* that it was sent on; NULL: waits for one */
	peer_done done;
	void *user;
	struct peer_query query;
	int64_t asked_ns, deadline_ns;
	uint32_t index, generation; /* of the slot: both make the ticket */
	uint32_t heap_at;
	bool used, again; /* was sent before, on a stream that broke */
};

/* A node that was asked, or is to be. */
struct peer {
	struct peer *next; /* all of them */
	char node[NODE_NAME_MAX];
	bool has_endpoint; /* in the view now */
	struct addr address;
	uint16_t port;
	struct stream *stream; /* for the next question; perhaps not open yet */
	uint32_t stream_count; /* with those that end */
	struct question_link questions;
	uint32_t question_count;
	struct mono failed[PEERS_BREAK_FAILURES]; /* newest first */
	struct mono broken_until;                 /* 0: the breaker is closed; past: half open */
	struct mono reconnect_at;                 /* 0: not due */
	unsigned backoff;
	bool broken_logged;
	bool asked; /* in this run or the last one: connect ahead */
	bool ahead; /* that was tried */
	struct mono asked_at, tried_at;
	struct bucket connects;
	uint64_t rtt_us;
	char error[PEERS_DETAIL_MAX]; /* of the newest attempt; "" = it worked */
};

/* A question of another node that vouch has not answered yet. */
struct served {
	struct stream *stream;
	uint64_t id;
	struct served *next, *previous;
};

struct stream {
	struct peers *peers;
	struct peer *peer;              /* whom we ask; NULL: we are asked */
	struct asker *asker;            /* by whom, when it is open */
	struct stream *next, *previous; /* of its direction, the one used last first */
	enum stream_state state;
	int fd;
	SSL *ssl;
	sd_event_source *io, *timer; /* timer: until it is open */
	struct addr address;
	uint16_t port;

	bool greeted;  /* their HELLO has come */
	bool draining; /* no further questions; closed with the last answer */
	bool stranger; /* until it is open: from no address of a node, or beyond that one's share */
	bool told;     /* GOAWAY was sent */
	bool dirty, paused;
	bool unread; /* OpenSSL has bytes of it that the next turn of the loop reads */
	struct stream *next_dirty, *next_dead, *next_unread;
	struct buf out;
	size_t sent;
	uint8_t *in; /* the beginning of a frame whose end has not come */
	size_t in_len;

	struct svid *svid;      /* of the other end, when it is open */
	char *refusal;          /* why it was refused; NULL: it was not */
	struct wall expires;    /* first of both certificates */
	struct mono replace_at; /* 0: not before it expires */
	struct mono since, heard, used, pinged;
	uint32_t in_flight, in_flight_max;
	uint64_t ping_id, rtt_us;
	int64_t skew_ms;

	struct served *served;
	uint32_t served_count;
	uint32_t tls_messages; /* behind the handshake */
	uint32_t frames;       /* in this second: */
	int64_t frames_s;
};

struct stream_list {
	struct stream *first, *last;
	uint32_t count, open, handshakes;
	uint32_t strangers; /* of the handshakes */
};

/* Tests make time limits longer or shorter. */
struct peers_limits {
	uint32_t connect_ms, handshake_ms, break_ms, break_window_ms, streams_max;
	uint32_t handshakes_max, handshakes_per_address, strangers_max;
	uint32_t answers_per_s, frames_per_s;
};

/* Who answers: agent/vouch.h unless a test says otherwise. */
struct peers_answerer {
	void (*answer)(void *user, const char *node, const struct peer_query *query,
		       void (*done)(void *ticket, const struct peer_answer *answer), void *ticket);
	void (*cancel)(void *user, void *ticket);
	void *user;
};

struct peers_listener {
	struct addr address;
	int fd;
	sd_event_source *io;
};

struct peers {
	struct agent *agent;
	struct peers_limits limits;
	struct peers_answerer answerer;
	struct peers_counters counters;

	/* Ours; NULL without a usable certificate. */
	SSL_CTX *client, *server;
	uint64_t key_generation;     /* of the node's certificate that they were made from */
	bool key_known, key_changed; /* changed: open streams are to be looked at again */
	struct wall key_expires;
	char trust_domain[256];
	char key_error[PEERS_DETAIL_MAX];

	struct map *nodes; /* struct peer by name */
	struct peer *first_node;
	struct stream_list asking, serving;
	struct stream *dirty, *dead, *unread;
	sd_event_source *after; /* reads on, writes what is dirty, buries what is dead */

	struct question **questions; /* slots */
	size_t question_cap, question_slots;
	uint32_t *free_slots;
	size_t free_cap, free_count;
	struct question **heap; /* by deadline */
	size_t heap_cap, heap_count;
	sd_event_source *timer;
	int64_t timer_ns; /* when it goes off; 0: off */

	struct admit_address *addresses; /* sorted */
	size_t address_count;
	struct bucket strangers, stranger[PEERS_STRANGER_SLOTS];
	struct map *askers; /* struct asker by name */
	struct asker *first_asker;

	struct peers_listener listeners[PEERS_LISTEN_MAX];
	size_t listener_count;
	bool accept_paused;
	int inherited[PEERS_LISTEN_MAX]; /* listening sockets of the run before */
	size_t inherited_count;
	char listen_error[PEERS_DETAIL_MAX];
	struct mono listen_again;
	struct mono refused_logged, skew_logged;

	/* What streams were checked against. */
	const struct view *view;
	uint64_t view_sequence, edition_serial;
	size_t view_nodes;
	char *kept; /* text of the file of nodes that were asked */
	unsigned seconds;
	struct mono untidy; /* the newest handshake that left holes in the heap; 0: none has */
	bool ending;
	uint8_t scratch[PEER_HEADER_LEN + PEER_BODY_MAX + PEERS_READ_MAX];
};

/* --- peers.c */
struct peer *peers_node(struct peers *p, const char *node); /* NULL: no memory, or too many */
const struct policy *peers_policy(const struct peers *p);
/* Whether signed policy lets this node have this key (`nodes: spki`). */
bool peers_key_ok(const struct policy *policy, const char *node, const char *key_id);
/* A line about who was refused, at most one in a few seconds. */
void peers_log_refused(struct peers *p, const struct stream *s, const char *why);
uint32_t peers_random(uint32_t below);
/* Once the loop is at it: writes, buries. */
void peers_after(struct peers *p);

/* --- peers_tls.c */
/* Makes the contexts anew if the node's certificate is another one. */
void peers_tls_refresh(struct peers *p);
void peers_tls_done(struct peers *p);
bool peers_tls_usable(struct peers *p); /* there is one, and it has not expired */
/* Whether the other end of an open stream would be accepted now. */
bool peers_tls_recheck(struct stream *s);
/* Behind the handshake: protocol and whose certificate. */
int peers_tls_check(struct stream *s);

/* --- peers_stream.c */
/* n->stream is set while it is tried; NULL at once when it cannot be. */
void stream_connect(struct peer *n, struct peers *p);
void stream_accept(struct peers *p, int take_fd, const struct addr *address, uint16_t port);
/* Ends it; why: for the node's status, NULL where nothing is wrong. */
void stream_close(struct stream *s, const char *why);
/* Says GOAWAY; asks no more; closes when the last question has its answer. */
void stream_drain(struct stream *s, enum peer_notice_code code, const char *why);
/* Writes at the end of this turn of the loop. */
void stream_dirty(struct stream *s);
void stream_used(struct stream *s);
void stream_flush(struct stream *s);
/* The same from the loop: reading goes on where it had to wait for writing. */
void stream_write(struct stream *s);
/* Reads on where the turn before had to end. */
void stream_read_on(struct stream *s);
void stream_free(struct stream *s);
void stream_ping(struct stream *s);
void stream_refuse(struct stream *s, const char *why); /* remembers why */
/* Addresses of the system and ours. */
socklen_t peers_sockaddr(const struct addr *a, uint16_t port, struct sockaddr_storage *ret);
void peers_from_sockaddr(const struct sockaddr_storage *ss, struct addr *ret, uint16_t *ret_port);
/* The one idle longest, without questions; NULL if there is none. */
struct stream *stream_idle(const struct stream_list *l);

/* --- peers_frames.c */
void frames_hello(struct stream *s);
/* All whole frames; returns how many bytes they had. The stream may be closed afterwards. */
size_t frames_read(struct stream *s, const uint8_t *bytes, size_t len);
void frames_notice(struct stream *s, enum peer_type type, enum peer_notice_code code,
		   const char *text);

/* --- peers_ask.c */
int ask_open(struct peers *p);
void ask_done(struct peers *p);
void ask_answered(struct stream *s, uint64_t id, const struct peer_answer *answer);
/* A stream is open: what waits for it is sent. */
void ask_stream_up(struct stream *s);
/* Their HELLO has come: they are who they say. */
void ask_greeted(struct stream *s);
/* It has answered a question; a PING. */
void ask_recovered(struct peer *n);
void ask_alive(struct peer *n);
/* This node asks here: if it was not reached, it may be now. */
void ask_heard_of(struct peers *p, const char *node);
/* It is gone; broken: not on purpose. Sent questions are sent once more, or end. */
void ask_stream_down(struct stream *s, bool broken);
/* It said that it ends: if it is of use, it is tried again soon. */
void ask_ended(struct peer *n);
/* Of the breaker; true: nobody is asked now. */
bool ask_broken(struct peer *n, struct mono now);
void ask_tick(struct peer *n, struct peers *p, struct mono now);

/* --- peers_serve.c */
void serve_listen(struct peers *p);
void serve_close(struct peers *p);
void serve_query(struct stream *s, uint64_t id, const struct peer_query *query);
void serve_stream_down(struct stream *s);
/* The other end has shown who it is. */
void serve_opened(struct stream *s);
/* A handshake has ended one way or the other: there is room for another. */
void serve_room(struct peers *p);

/* --- peers_admit.c */
bool bucket_take(struct bucket *b, uint32_t per_s, uint32_t burst, struct mono now);
/* After another view: its nodes' addresses. -ENOMEM: those of before stay. */
int admit_view(struct peers *p);
void admit_done(struct peers *p);
/* NULL: a stranger's. */
struct admit_address *admit_find(struct peers *p, const struct addr *a);
/* Sorts out who has connected. */
void admit_accepted(struct stream *s);
/* Whether the other end, who has begun to speak, may have a handshake now. */
bool admit_handshake(struct stream *s);
/* It has shown who it is. False: no memory. */
bool admit_opened(struct stream *s);
void admit_closed(struct stream *s);
/* Nothing is remembered of who has gone, and would be served like anybody else. */
void admit_forget(struct peers *p);
