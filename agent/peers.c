/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/peers.h"

#include "agent/attest_port.h"
#include "agent/peers_parts.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define HANDSHAKE_MS           2000 /* who asks waits for PEERS_CONNECT_MS */
#define HANDSHAKES_MAX         256
#define HANDSHAKES_PER_ADDRESS 16
#define STRANGERS_MAX          32
#define MS_PER_S               1000
#define REFUSED_LOG_MS         10000
#define KEPT_FILE              "peers.json"
#define KEPT_MAX               2048 /* nodes */
#define KEPT_BYTES             (KEPT_MAX * (NODE_NAME_MAX + 8U) + 64)
#define KEEP_S                 30
#define TIDY_MS                1000
/* Connecting ahead must not look like an attack to anybody: so many in one second. */
#define AHEAD_A_SECOND 32

uint32_t peers_random(uint32_t below)
{
	uint32_t n = 0;

	(void)!getrandom(&n, sizeof(n), 0);
	return below ? n % below : 0;
}

/* --- nodes -------------------------------------------------------------------------------- */

static void peer_free(void *value)
{
	free(value);
}

static void take_endpoint(const struct peers *p, struct peer *n, const struct view_node *v)
{
	n->has_endpoint = v && v->has_attest && !str_eq(n->node, p->agent->config.node);
	if (n->has_endpoint) {
		n->address = v->attest_address;
		n->port = v->attest_port;
	}
}

struct peer *peers_node(struct peers *p, const char *node)
{
	struct peer *n = map_get_str(p->nodes, node);
	const struct view *view = p->agent->view;

	if (n)
		return n;
	if (!node_name_ok(node))
		return NULL;
	n = mem_calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	(void)snprintf(n->node, sizeof(n->node), "%s", node);
	n->questions.next = n->questions.previous = &n->questions;
	take_endpoint(p, n, view ? view_find_node(view, node) : NULL);
	if (map_put_str(p->nodes, node, n) < 0) {
		free(n);
		return NULL;
	}
	n->next = p->first_node;
	p->first_node = n;
	return n;
}

const struct policy *peers_policy(const struct peers *p)
{
	return agent_edition(p->agent)->policy;
}

bool peers_key_ok(const struct policy *policy, const char *node, const char *key_id)
{
	bool pinned = false;

	for (size_t i = 0; policy && i < policy->node_count; i++) {
		const struct node_bound *b = &policy->nodes[i];

		if (!b->spki_count || !text_glob(b->pattern, node))
			continue;
		pinned = true;
		for (size_t k = 0; k < b->spki_count; k++) {
			if (str_eq(b->spki[k], key_id))
				return true;
		}
	}
	return !pinned;
}

void peers_log_refused(struct peers *p, const struct stream *s, const char *why)
{
	struct mono now = mono_now();
	char text[ADDR_TEXT_MAX], quoted[LOG_QUOTE_MAX];

	if (p->refused_logged.ns && mono_ms_since(p->refused_logged, now) < REFUSED_LOG_MS)
		return;
	p->refused_logged = now;
	log_warn("peers: %s%s%s: %s", s->peer ? s->peer->node : "", s->peer ? " at " : "",
		 addr_format(text, &s->address), log_quote(quoted, why));
}

/* --- the end of a turn of the loop -------------------------------------------------------- */

static void write_dirty(struct peers *p)
{
	while (p->dirty) {
		struct stream *s = p->dirty;

		p->dirty = s->next_dirty;
		s->dirty = false;
		stream_write(s);
	}
}

/* Those that are to be read on later are the next turn's. */
static void read_unread(struct peers *p)
{
	struct stream *s = TAKE_PTR(p->unread), *next;

	for (; s; s = next) {
		next = s->next_unread;
		stream_read_on(s);
	}
}

/* Who is listed to be read stays until the list is. */
static void bury(struct peers *p)
{
	struct stream *s = TAKE_PTR(p->dead), *next;

	for (; s; s = next) {
		next = s->next_dead;
		if (!s->unread) {
			stream_free(s);
			continue;
		}
		s->next_dead = p->dead;
		p->dead = s;
	}
}

static int on_after(sd_event_source *source, void *user)
{
	(void)source;
	read_unread(user);
	write_dirty(user);
	bury(user);
	return 0;
}

void peers_flush(struct peers *p)
{
	if (!p || !p->dirty)
		return;
	write_dirty(p);
	if (!p->dead && !p->unread)
		(void)sd_event_source_set_enabled(p->after, SD_EVENT_OFF);
}

void peers_after(struct peers *p)
{
	(void)sd_event_source_set_enabled(p->after, SD_EVENT_ONESHOT);
}

/* --- view, policy, certificate ------------------------------------------------------------ */

static int map_view(const struct view *v, struct map **ret)
{
	struct map *m = map_new(VIEW_ENTRIES_MAX, NULL);
	int r = m ? 0 : -ENOMEM;

	for (size_t i = 0; v && i < v->node_count && r >= 0; i++)
		r = map_put_str(m, v->nodes[i].node, &v->nodes[i]);
	if (r < 0)
		map_free(m);
	else
		*ret = m;
	return r;
}

static void follow_view(struct peers *p, struct peer *n, const struct map *nodes)
{
	const struct peer before = *n;

	take_endpoint(p, n, map_get_str(nodes, n->node));
	if (before.has_endpoint && n->has_endpoint && addr_eq(&before.address, &n->address) &&
	    before.port == n->port)
		return;
	n->broken_until.ns = n->reconnect_at.ns = 0;
	memset(n->failed, 0, sizeof(n->failed));
	if (n->stream)
		stream_drain(n->stream, PEER_NOTICE_BYE, "the view has another endpoint for it");
}

/*
 * Node, pinned key, certificate against the roots of now; also of who has shown his certificate and
 * keeps the end of the handshake back.
 */
static void recheck(struct stream_list *l, const struct map *nodes, bool keys)
{
	struct stream *next;

	for (struct stream *s = l->first; s; s = next) {
		next = s->next;
		if (!s->svid)
			continue;
		if (keys ? peers_tls_recheck(s)
			 : map_get_str(nodes, s->svid->name) &&
				    peers_key_ok(peers_policy(s->peers), s->svid->name,
						 s->svid->key_id))
			continue;
		s->peers->counters.refused_streams++;
		frames_notice(s, PEER_ERROR, PEER_NOTICE_VIEW, "this node is not to ask here");
		stream_flush(s);
		stream_close(s, "not accepted any more");
	}
}

static bool changed(const struct peers *p)
{
	const struct view *v = p->agent->view;

	/* Revoked nodes are taken out of the view that is in force. */
	return v != p->view ||
	       (v && (v->sequence != p->view_sequence || v->node_count != p->view_nodes)) ||
	       agent_edition(p->agent)->serial != p->edition_serial;
}

/* Who will be asked is connected to before a connection has to wait for it. */
static void want_asked(struct peers *p)
{
	const struct generation *g = agent_edition(p->agent)->gen;

	for (size_t i = 0; g && i < g->conduit_count; i++) {
		const struct conduit *c = &g->conduits[i];
		const struct party *far = &g->parties[c->flags & CONDUIT_CALLEE ? c->to : c->from];
		struct peer *n;

		if (c->verdict != LIVE_ASK || !far->node ||
		    str_eq(far->node, p->agent->config.node))
			continue;
		n = peers_node(p, far->node);
		if (n)
			n->asked = true;
	}
}

void peers_view_changed(struct peers *p)
{
	const struct view *v = p->agent->view;
	struct map *nodes = NULL;

	peers_tls_refresh(p);
	if (admit_view(p) < 0 || map_view(v, &nodes) < 0)
		return; /* again in a second */
	for (struct peer *n = p->first_node; n; n = n->next)
		follow_view(p, n, nodes);
	recheck(&p->asking, nodes, p->key_changed);
	recheck(&p->serving, nodes, p->key_changed);
	map_free(nodes);
	p->key_changed = false;
	p->view = v;
	p->view_sequence = v ? v->sequence : 0;
	p->view_nodes = v ? v->node_count : 0;
	p->edition_serial = agent_edition(p->agent)->serial;
	want_asked(p);
	serve_listen(p);
}

/* --- nodes that were asked in the last run ------------------------------------------------ */

static char *kept_path(const struct peers *p)
{
	return mem_printf("%s/" KEPT_FILE, p->agent->config.run_dir);
}

/* Nothing kept, or nothing that can be read, is no failure. */
static int read_kept(struct peers *p)
{
	CLEANUP(freep) char *path = kept_path(p);
	CLEANUP(json_decrefp) json_t *json = NULL;
	struct json_object o;
	struct err err = {{0}};
	json_t *list, *name;
	size_t len = 0, i;
	int r = path ? file_read(AT_FDCWD, path, KEPT_BYTES, &p->kept, &len, &err) : -ENOMEM;

	if (r >= 0)
		r = json_parse_strict(p->kept, len, KEPT_FILE, &json, &err);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	json_object_begin(&o, json, KEPT_FILE, "", &err);
	list = json_take_array(&o, "nodes", KEPT_MAX);
	if (json_finish(&o) < 0)
		return 0;
	json_array_foreach(list, i, name) {
		struct peer *n =
			json_is_string(name) ? peers_node(p, json_string_value(name)) : NULL;

		if (n)
			n->asked = true;
	}
	return 0;
}

static int by_text(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

static char *kept_text(const struct peers *p, size_t *ret_len)
{
	CLEANUP(json_decrefp) json_t *json = json_pack("{s:[]}", "nodes");
	json_t *list = json_object_get(json, "nodes");
	const char *names[KEPT_MAX];
	size_t count = 0;

	for (const struct peer *n = p->first_node; n && count < KEPT_MAX; n = n->next) {
		if (n->asked && n->has_endpoint)
			names[count++] = n->node;
	}
	qsort(names, count, sizeof(names[0]), by_text);
	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(list, json_string(names[i]));
	return json_text(json, ret_len);
}

static void keep(struct peers *p)
{
	CLEANUP(freep) char *path = kept_path(p);
	size_t len = 0;
	char *text = kept_text(p, &len);
	struct err err = {{0}};

	if (!path || !text || (p->kept && str_eq(text, p->kept)) ||
	    file_write_durable(AT_FDCWD, path, text, len, 0600, &err) < 0) {
		free(text);
		if (err.text[0])
			log_warn("peers: whom to connect to is not kept: %s", err.text);
		return;
	}
	free(p->kept);
	p->kept = text;
}

/* --- every second ------------------------------------------------------------------------- */

static int64_t seconds_since(struct mono then, struct mono now)
{
	return mono_ms_since(then, now) / MS_PER_S;
}

static void stream_tick(struct stream *s, struct mono now, struct wall wall)
{
	int64_t idle_s = s->peer ? PEERS_IDLE_S : PEERS_SERVE_IDLE_S;

	if (s->state != STREAM_OPEN)
		return;
	if (wall.s >= s->expires.s)
		stream_close(s, "its certificate has expired");
	else if (seconds_since(s->heard, now) >= PEERS_DEAD_S)
		stream_close(s, "it is silent");
	else if (s->draining && seconds_since(s->used, now) >= PEERS_DEAD_S)
		stream_close(s, NULL);
	else if (s->replace_at.ns && now.ns >= s->replace_at.ns && !s->told)
		stream_drain(s, PEER_NOTICE_BYE, "a new certificate is due");
	else if (!s->in_flight && !s->served_count && seconds_since(s->used, now) >= idle_s)
		stream_drain(s, PEER_NOTICE_BYE, "idle");
	else if (s->peer && seconds_since(s->heard, now) >= PEERS_PING_S && !s->pinged.ns)
		stream_ping(s);
	if (s->state == STREAM_OPEN && s->out.len == 0 && s->out.cap &&
	    seconds_since(s->used, now) >= PEERS_PING_S) {
		buf_done(&s->out);
		buf_init(&s->out, PEERS_OUT_MAX);
	}
}

static void list_tick(struct stream_list *l, struct mono now, struct wall wall)
{
	struct stream *next;

	for (struct stream *s = l->first; s; s = next) {
		next = s->next;
		stream_tick(s, now, wall);
	}
}

/* Streams to whom this node asked, or is about to ask, a few in each second. */
static void connect_ahead(struct peers *p, struct mono now)
{
	unsigned left = AHEAD_A_SECOND;

	for (struct peer *n = p->first_node; n && left; n = n->next) {
		if (n->reconnect_at.ns && now.ns >= n->reconnect_at.ns) {
			ask_tick(n, p, now);
			left--;
		} else if (n->asked && !n->ahead && n->has_endpoint && peers_tls_usable(p)) {
			n->ahead = true;
			peers_connect(p, n->node);
			left--;
		}
	}
}

/* Nodes come and go in a fleet; nothing is remembered of those that are not in the view. */
static void forget(struct peers *p)
{
	struct peer **at = &p->first_node;

	while (*at) {
		struct peer *n = *at;

		if (n->has_endpoint || n->question_count || n->stream_count) {
			at = &n->next;
			continue;
		}
		*at = n->next;
		(void)map_del_str(p->nodes, n->node);
	}
}

/*
 * A handshake takes some tens of kilobytes for a moment, and what stays lies behind them. After a
 * while without any the pages between are given back, which takes part of a millisecond.
 */
static void tidy(struct peers *p, struct mono now)
{
	if (!p->untidy.ns || mono_ms_since(p->untidy, now) < TIDY_MS)
		return;
	p->untidy.ns = 0;
	(void)malloc_trim(0);
}

void peers_tick(struct peers *p)
{
	struct mono now = mono_now();
	struct wall wall = agent_now(p->agent);

	peers_tls_refresh(p);
	if (p->key_changed || changed(p))
		peers_view_changed(p);
	serve_listen(p);
	list_tick(&p->asking, now, wall);
	list_tick(&p->serving, now, wall);
	connect_ahead(p, now);
	serve_room(p);
	tidy(p, now);
	if (++p->seconds % KEEP_S == 0) {
		keep(p);
		forget(p);
		admit_forget(p);
	}
}

/* --- life --------------------------------------------------------------------------------- */

int peers_open(struct agent *a, struct peers **ret, struct err *err)
{
	struct peers *p = mem_calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_set(err, ENOMEM, "out of memory");
	p->agent = a;
	p->limits = (struct peers_limits){.connect_ms = PEERS_CONNECT_MS,
					  .handshake_ms = HANDSHAKE_MS,
					  .break_ms = PEERS_BREAK_S * MS_PER_S,
					  .break_window_ms = PEERS_BREAK_WINDOW_S * MS_PER_S,
					  .streams_max = PEERS_STREAMS_MAX,
					  .handshakes_max = HANDSHAKES_MAX,
					  .handshakes_per_address = HANDSHAKES_PER_ADDRESS,
					  .strangers_max = STRANGERS_MAX,
					  .answers_per_s = PEERS_ANSWERS_PER_S,
					  .frames_per_s = PEERS_FRAMES_PER_S};
	p->nodes = map_new(PEERS_KNOWN_MAX, peer_free);
	p->askers = map_new(PEERS_KNOWN_MAX, free);
	r = p->nodes && p->askers ? ask_open(p) : -ENOMEM;
	if (r >= 0)
		r = sd_event_add_defer(a->event, &p->after, on_after, p);
	if (r >= 0)
		r = sd_event_source_set_enabled(p->after, SD_EVENT_OFF);
	if (r >= 0)
		r = read_kept(p);
	if (r < 0) {
		peers_free(p);
		return err_set(err, -r, "peers: %s", strerror(-r));
	}
	p->inherited_count = attest_port_inherit(p->inherited, ARRAY_LEN(p->inherited));
	peers_view_changed(p);
	*ret = p;
	return 0;
}

static void drain_all(struct stream_list *l)
{
	while (l->first) {
		struct stream *s = l->first;

		stream_drain(s, PEER_NOTICE_END, "this agent ends");
		stream_close(s, NULL);
	}
}

void peers_free(struct peers *p)
{
	if (!p)
		return;
	p->ending = true;
	if (p->view)
		keep(p);
	serve_close(p);
	drain_all(&p->asking);
	drain_all(&p->serving);
	ask_done(p);
	read_unread(p); /* nobody: all are closed */
	write_dirty(p);
	bury(p);
	p->after = sd_event_source_disable_unref(p->after);
	for (size_t i = 0; i < p->inherited_count; i++)
		closep(&p->inherited[i]);
	peers_tls_done(p);
	admit_done(p);
	map_free(p->nodes);
	free(p->kept);
	free(p);
}
