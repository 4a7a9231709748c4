/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/peers_parts.h"
#include "base/log.h"
#include "base/release.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_TEXT 36
#define MS_PER_S     1000
#define SKEW_WARN_MS 30000
#define SKEW_LOG_MS  60000

/* --- out ---------------------------------------------------------------------------------- */

static void read_boot_id(uint8_t ret[PEER_BOOT_ID_LEN])
{
	char text[BOOT_ID_TEXT + 1] = "";
	int fd = open(BOOT_ID_FILE, O_RDONLY | O_CLOEXEC);
	size_t at = 0;

	memset(ret, 0, PEER_BOOT_ID_LEN);
	if (fd < 0)
		return;
	if (read(fd, text, BOOT_ID_TEXT) < 0)
		text[0] = '\0';
	(void)close(fd);
	for (const char *c = text; *c && at < 2UL * PEER_BOOT_ID_LEN; c++) {
		static const char digits[] = "0123456789abcdef";
		const char *digit = strchr(digits, *c);

		if (!digit)
			continue;
		ret[at / 2] = (uint8_t)(ret[at / 2] << 4 | (digit - digits));
		at++;
	}
}

static uint64_t wall_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * MS_PER_S + (uint64_t)t.tv_nsec / 1000000;
}

void frames_hello(struct stream *s)
{
	const struct agent *a = s->peers->agent;
	struct peer_hello h = {
		.version_min = PEER_VERSION,
		.version_max = PEER_VERSION,
		.policy_revision = agent_edition(a)->revision,
		.in_flight_max = PEERS_IN_FLIGHT_MAX,
		.wall_ms = wall_ms(),
	};

	read_boot_id(h.boot_id);
	(void)snprintf(h.node, sizeof(h.node), "%s", a->config.node);
	(void)snprintf(h.release, sizeof(h.release), "%s", RELEASE);
	peer_hello_encode(&s->out, &h);
}

void frames_notice(struct stream *s, enum peer_type type, enum peer_notice_code code,
		   const char *text)
{
	struct peer_notice n = {.code = (uint16_t)code};

	(void)snprintf(n.text, sizeof(n.text), "%s", text);
	peer_notice_encode(&s->out, type, 0, &n);
}

/* Tells the other end why, as far as it still reads, and closes. */
static void complain(struct stream *s, enum peer_notice_code code, const char *why)
{
	s->peers->counters.refused_streams++;
	peers_log_refused(s->peers, s, why);
	frames_notice(s, PEER_ERROR, code, why);
	stream_flush(s);
	stream_close(s, why);
}

/* --- in ----------------------------------------------------------------------------------- */

/* A number and a warning, never a reason: an attacker may set the clock of an honest node. */
static void note_skew(struct stream *s, const struct peer_hello *h)
{
	struct peers *p = s->peers;
	struct mono now = mono_now();

	s->skew_ms = (int64_t)(h->wall_ms - wall_ms());
	if ((s->skew_ms <= SKEW_WARN_MS && s->skew_ms >= -SKEW_WARN_MS) ||
	    (p->skew_logged.ns && mono_ms_since(p->skew_logged, now) < SKEW_LOG_MS))
		return;
	p->skew_logged = now;
	log_warn("peers: the clock of %s differs by %" PRId64 " s; certificates and windows "
		 "depend on clocks",
		 h->node, s->skew_ms / MS_PER_S);
}

static void take_hello(struct stream *s, const uint8_t *body, size_t len)
{
	struct peer_hello h;

	if (s->greeted || peer_hello_decode(body, len, &h) < 0) {
		complain(s, PEER_NOTICE_PROTOCOL, "a HELLO that does not fit");
		return;
	}
	if (h.version_min > PEER_VERSION || h.version_max < PEER_VERSION) {
		complain(s, PEER_NOTICE_VERSION, "no common version of the protocol");
		return;
	}
	if (!str_eq(h.node, s->svid->name)) {
		complain(s, PEER_NOTICE_NODE, "HELLO names another node than the certificate");
		return;
	}
	s->greeted = true;
	if (h.in_flight_max > 0 && h.in_flight_max < s->in_flight_max)
		s->in_flight_max = h.in_flight_max;
	note_skew(s, &h);
	if (s->peer)
		ask_greeted(s);
	else
		ask_heard_of(s->peers, s->svid->name);
}

static void take_query(struct stream *s, uint64_t id, const uint8_t *body, size_t len)
{
	struct peer_query q;

	/* Questions go one way only; an answer to this one would have nobody to go to. */
	if (s->peer || peer_query_decode(body, len, &q) < 0)
		complain(s, PEER_NOTICE_PROTOCOL, "a QUERY that does not fit");
	else
		serve_query(s, id, &q);
}

static void take_answer(struct stream *s, uint64_t id, const uint8_t *body, size_t len)
{
	struct peer_answer a;

	if (!s->peer || peer_answer_decode(body, len, &a) < 0)
		complain(s, PEER_NOTICE_PROTOCOL, "an ANSWER that does not fit");
	else
		ask_answered(s, id, &a);
}

static void take_pong(struct stream *s, uint64_t id)
{
	if (s->pinged.ns && id == s->ping_id) {
		s->rtt_us = (uint64_t)(mono_now().ns - s->pinged.ns) / 1000;
		s->pinged.ns = 0;
		if (s->peer)
			ask_alive(s->peer);
	}
}

static void take_notice(struct stream *s, uint8_t type, const uint8_t *body, size_t len)
{
	char quoted[LOG_QUOTE_MAX], text[PEERS_DETAIL_MAX];
	struct peer_notice n;

	if (peer_notice_decode(body, len, &n) < 0) {
		complain(s, PEER_NOTICE_PROTOCOL, "a notice that does not fit");
		return;
	}
	if (type == PEER_GOAWAY) {
		struct peer *asked = s->peer;

		stream_drain(s, PEER_NOTICE_BYE, NULL);
		if (asked && n.code == PEER_NOTICE_END)
			ask_ended(asked);
		return;
	}
	(void)snprintf(text, sizeof(text), "it refused: %.200s", log_quote(quoted, n.text));
	s->peers->counters.refused_streams++;
	peers_log_refused(s->peers, s, text);
	stream_close(s, text);
}

static void take_frame(struct stream *s, const struct peer_header *h, const uint8_t *body)
{
	/* Who has not said HELLO may say nothing else, but why it will not. */
	if (!s->greeted && h->type != PEER_HELLO && h->type != PEER_ERROR) {
		complain(s, PEER_NOTICE_PROTOCOL, "something before HELLO");
		return;
	}
	switch (h->type) {
	case PEER_HELLO:
		take_hello(s, body, h->body_len);
		return;
	case PEER_QUERY:
		take_query(s, h->id, body, h->body_len);
		return;
	case PEER_ANSWER:
		take_answer(s, h->id, body, h->body_len);
		return;
	case PEER_PING:
		peer_bare_encode(&s->out, PEER_PONG, h->id);
		stream_dirty(s);
		return;
	case PEER_PONG:
		take_pong(s, h->id);
		return;
	case PEER_GOAWAY:
	case PEER_ERROR:
		take_notice(s, h->type, body, h->body_len);
		return;
	default:
		complain(s, PEER_NOTICE_PROTOCOL, "a frame of an unknown type");
	}
}

static bool too_many(struct stream *s)
{
	int64_t second = s->heard.ns / 1000000000;

	if (s->frames_s != second) {
		s->frames_s = second;
		s->frames = 0;
	}
	return ++s->frames > s->peers->limits.frames_per_s;
}

size_t frames_read(struct stream *s, const uint8_t *bytes, size_t len)
{
	size_t used = 0;

	while (s->state == STREAM_OPEN) {
		struct peer_header h;
		int r = peer_header_decode(bytes + used, len - used, &h);

		if (r == -EAGAIN)
			break;
		if (r < 0 || h.version != PEER_VERSION) {
			complain(s, PEER_NOTICE_PROTOCOL, "bytes that are no frame");
			break;
		}
		if (len - used < PEER_HEADER_LEN + h.body_len)
			break;
		if (too_many(s)) {
			complain(s, PEER_NOTICE_PROTOCOL, "too many frames");
			break;
		}
		take_frame(s, &h, bytes + used + PEER_HEADER_LEN);
		used += PEER_HEADER_LEN + h.body_len;
	}
	return used;
}
