/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The admin listener: is it alive, can it work, and its figures as Prometheus text. */
#include "base/mem.h"
#include "controller/exchange.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define METRICS_MAX    (256U << 10)
#define STORE_RECENT_S 10

static void put_metric(struct buf *b, const char *name, const char *type, const char *help,
		       uint64_t value)
{
	buf_printf(b,
		   "# HELP bailiwick_controller_%s %s\n# TYPE bailiwick_controller_%s %s\n"
		   "bailiwick_controller_%s %" PRIu64 "\n",
		   name, help, name, type, name, value);
}

static void put_requests(struct buf *b, const struct counters *c)
{
	buf_puts(b, "# HELP bailiwick_controller_requests_total Requests by route.\n"
		    "# TYPE bailiwick_controller_requests_total counter\n");
	for (size_t i = 0; i < ROUTE_COUNT; i++)
		buf_printf(b, "bailiwick_controller_requests_total{route=\"%s\"} %" PRIu64 "\n",
			   route_info((enum route)i)->name, c->by_route[i]);
	buf_puts(b, "# HELP bailiwick_controller_answers_total Answers by hundreds of status.\n"
		    "# TYPE bailiwick_controller_answers_total counter\n");
	for (size_t i = 1; i < ARRAY_LEN(c->answers); i++)
		buf_printf(b, "bailiwick_controller_answers_total{status=\"%zuxx\"} %" PRIu64 "\n",
			   i, c->answers[i]);
}

static void put_metrics(struct buf *b, const struct server *s)
{
	const struct counters *c = &s->counters;

	put_requests(b, c);
	put_metric(b, "connections", "gauge", "Open connections.", s->conn_count);
	put_metric(b, "polls_parked", "gauge", "Long polls that wait.", polls_count(s->polls));
	put_metric(b, "polls_woken_total", "counter", "Polls answered because their head changed.",
		   c->polls_woken);
	put_metric(b, "polls_ended_total", "counter", "Polls answered at the end of their wait.",
		   c->polls_ended);
	put_metric(b, "heads_sent_total", "counter", "Heads sent.", c->heads_sent);
	put_metric(b, "connections_total", "counter", "Connections accepted.", c->connections);
	put_metric(b, "late_closed_total", "counter", "Connections closed for being slow.",
		   c->late_closed);
	put_metric(b, "crowd_closed_total", "counter",
		   "Connections closed because their address had too many.", c->crowd_closed);
	put_metric(b, "certificates_total", "counter", "Certificates issued.", c->certificates);
	put_metric(b, "tokens_refused_total", "counter", "Tokens and proofs refused.",
		   c->tokens_refused);
	put_metric(b, "tokens_limited_total", "counter",
		   "Enrolments not looked at: too many failures from that address.",
		   c->tokens_limited);
	put_metric(b, "store_failures_total", "counter", "Requests that the store failed.",
		   c->store_failures);
	put_metric(b, "log_records_dropped_total", "counter",
		   "Decision records that nodes say they have lost.", c->logs_dropped);
	put_metric(b, "answer_bytes", "gauge", "Bytes of answers under way.", s->answer_bytes);
	put_metric(b, "body_bytes", "gauge", "Bytes of request bodies under way.", s->body_bytes);
}

static enum MHD_Result send_text(struct exchange *x, unsigned status, struct buf *b)
{
	size_t len = b->len;
	char *text = buf_take(b);

	if (text == NULL)
		return exchange_empty(x, 503, NULL);
	return exchange_bytes(x, status, "text/plain; version=0.0.4; charset=utf-8", text, len,
			      NULL);
}

enum MHD_Result handle_admin(struct exchange *x)
{
	CLEANUP(buf_done) struct buf b = {0};
	const struct server *s = x->server;

	buf_init(&b, METRICS_MAX);
	if (x->match.route == ROUTE_METRICS) {
		put_metrics(&b, s);
		return send_text(x, 200, &b);
	}
	if (x->match.route == ROUTE_READYZ && s->store_failed_s > 0 &&
	    server_seconds() - s->store_failed_s < STORE_RECENT_S) {
		buf_puts(&b, "the store failed within the last seconds\n");
		return send_text(x, 503, &b);
	}
	buf_puts(&b, "ok\n");
	return send_text(x, 200, &b);
}
