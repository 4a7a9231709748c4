/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/view.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static void placed_done(struct view_placed *p)
{
	free(p->identity);
	free(p->addresses);
}

static void peer_done(struct view_peer *p)
{
	free(p->identity);
	free(p->node);
	free(p->addresses);
	free(p->services);
}

static void node_done(struct view_node *n)
{
	free(n->node);
	free(n->addresses);
}

void view_free(struct view *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < v->placed_count; i++)
		placed_done(&v->placed[i]);
	for (size_t i = 0; i < v->peer_count; i++)
		peer_done(&v->peers[i]);
	for (size_t i = 0; i < v->node_count; i++)
		node_done(&v->nodes[i]);
	free(v->placed);
	free(v->peers);
	free(v->nodes);
	free(v->node);
	free(v);
}

void view_freep(struct view **v)
{
	view_free(*v);
	*v = NULL;
}

size_t view_remove_nodes(struct view *v, bool (*gone)(void *user, const char *node), void *user)
{
	size_t peers = 0, nodes = 0, removed;

	for (size_t i = 0; i < v->peer_count; i++) {
		if (gone(user, v->peers[i].node))
			peer_done(&v->peers[i]);
		else
			v->peers[peers++] = v->peers[i];
	}
	for (size_t i = 0; i < v->node_count; i++) {
		if (gone(user, v->nodes[i].node))
			node_done(&v->nodes[i]);
		else
			v->nodes[nodes++] = v->nodes[i];
	}
	removed = v->peer_count - peers + v->node_count - nodes;
	v->peer_count = peers;
	v->node_count = nodes;
	return removed;
}

const struct view_node *view_find_node(const struct view *v, const char *name)
{
	for (size_t i = 0; i < v->node_count; i++)
		if (str_eq(v->nodes[i].node, name))
			return &v->nodes[i];
	return NULL;
}

bool node_name_ok(const char *name)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";
	size_t len = strnlen(name, NODE_NAME_MAX);

	return len > 0 && len < NODE_NAME_MAX && strspn(name, allowed) == len;
}
