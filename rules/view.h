/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The node view (FORMATS "view.json"): what this node must know of who runs where. A plain struct;
 * controller-client/view_decode.h fills it from JSON. Names are those of the document; the
 * compiler matches identities by path.
 */
#pragma once

#include "base/addr.h"
#include "rules/service.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIEW_ENTRIES_MAX   100000
#define VIEW_ADDRESSES_MAX 64 /* of one entry */
#define NODE_NAME_MAX      64 /* with the NUL */

struct view_placed {
	char *identity;         /* path */
	struct addr *addresses; /* none: all of the node's */
	size_t address_count;
};

struct view_peer {
	char *identity; /* path */
	char *node;
	struct addr *addresses;
	size_t address_count;
	bool has_services; /* false: what the identity serves */
	struct service *services;
	size_t service_count;
};

struct view_node {
	char *node;
	struct addr *addresses;
	size_t address_count;
	bool has_attest;
	struct addr attest_address;
	uint16_t attest_port;
};

struct view {
	char *node;
	uint64_t sequence;
	struct view_placed *placed;
	size_t placed_count;
	struct view_peer *peers;
	size_t peer_count;
	struct view_node *nodes;
	size_t node_count;
};

void view_free(struct view *v);
void view_freep(struct view **v);
/* Peers and nodes at those that `gone` names, asked once for each entry; how many went. */
size_t view_remove_nodes(struct view *v, bool (*gone)(void *user, const char *node), void *user);
const struct view_node *view_find_node(const struct view *v, const char *name);
bool node_name_ok(const char *name); /* [A-Za-z0-9._-]{1,63} */
