/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/peers_parts.h"
#include "base/json.h"
#include "base/mem.h"

#include <string.h>

#define MS_PER_S 1000

static uint32_t known(const struct peers *p)
{
	uint32_t count = 0;

	for (size_t i = 0; p->agent->view && i < p->agent->view->node_count; i++)
		count += p->agent->view->nodes[i].has_attest;
	return count;
}

const struct peers_counters *peers_counters(struct peers *p)
{
	p->counters.known = known(p);
	p->counters.connected = p->asking.open;
	return &p->counters;
}

const char *peers_listen_error(const struct peers *p)
{
	return p->listen_error[0] ? p->listen_error : NULL;
}

json_t *peers_endpoint(const struct peers *p)
{
	static const struct addr nowhere;
	char text[ADDR_TEXT_MAX];
	const struct addr *at;

	if (!p->listener_count)
		return json_null();
	at = &p->listeners[0].address;
	if (memcmp(at->bytes, nowhere.bytes, sizeof(at->bytes)) == 0)
		return json_pack("{s:n,s:i}", "address", "port", p->agent->config.attest_port);
	return json_pack("{s:s,s:i}", "address", addr_format(text, at), "port",
			 p->agent->config.attest_port);
}

/* When, as people write it, from how long ago. */
static json_t *since_json(struct mono since)
{
	char text[RFC3339_TEXT_MAX];
	struct wall at = {.s = wall_now().s - mono_ms_since(since, mono_now()) / MS_PER_S};

	return json_string(rfc3339_format(text, at));
}

static const char *state_of(struct peer *n, const struct stream *s)
{
	if (s && s->state == STREAM_OPEN)
		return s->greeted ? "connected" : "connecting";
	if (s)
		return "connecting";
	if (!n->has_endpoint)
		return "no_agent";
	return ask_broken(n, mono_now()) ? "unreachable" : n->error[0] ? "failed" : "idle";
}

static void add_stream(json_t *o, const struct stream *s)
{
	bool open = s && s->state == STREAM_OPEN;

	(void)json_object_set_new(o, "since", open ? since_json(s->since) : json_null());
	(void)json_object_set_new(
		o, "rtt_us", open && s->rtt_us ? json_integer((json_int_t)s->rtt_us) : json_null());
	(void)json_object_set_new(o, "skew_s",
				  open && s->greeted ? json_real((double)s->skew_ms / MS_PER_S)
						     : json_null());
	(void)json_object_set_new(o, "spiffe_id", open ? json_string(s->svid->id) : json_null());
}

static json_t *asked_json(struct peer *n)
{
	char text[ADDR_TEXT_MAX];
	json_t *o = json_pack("{s:s,s:s?,s:i,s:s,s:s,s:o}", "node", n->node, "address",
			      n->has_endpoint ? addr_format(text, &n->address) : NULL, "port",
			      n->has_endpoint ? n->port : 0, "state", state_of(n, n->stream),
			      "direction", "out", "error",
			      n->error[0] ? json_host_string(n->error) : json_null());

	if (o)
		add_stream(o, n->stream);
	return o;
}

static json_t *asking_json(const struct stream *s)
{
	char text[ADDR_TEXT_MAX];
	json_t *o = json_pack("{s:s,s:s,s:i,s:s,s:s,s:n}", "node", s->svid->name, "address",
			      addr_format(text, &s->address), "port", s->port, "state",
			      s->greeted ? "connected" : "connecting", "direction", "in", "error");

	if (o)
		add_stream(o, s);
	return o;
}

json_t *peers_status(struct peers *p)
{
	json_t *list = json_array();

	for (struct peer *n = p->first_node; n; n = n->next)
		(void)json_array_append_new(list, asked_json(n));
	for (const struct stream *s = p->serving.first; s; s = s->next) {
		if (s->state == STREAM_OPEN)
			(void)json_array_append_new(list, asking_json(s));
	}
	return list;
}
