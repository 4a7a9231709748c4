/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Two questions to a view that come with every held connection, answered without walking through
 * it: which entry is this node, and at which addresses does it run that identity. Pure; borrows the
 * view, which must not change meanwhile.
 */
#pragma once

#include "rules/view.h"

struct view_index;

/* NULL: out of memory. view may be NULL: then everything is absent. */
struct view_index *view_index_new(const struct view *view);
/* Whether it was made of this view as it is now; entries may be taken out of one that is in force.
 */
bool view_index_is_of(const struct view_index *x, const struct view *view);
void view_index_free(struct view_index *x);
void view_index_freep(struct view_index **x);

const struct view_node *view_index_node(const struct view_index *x, const char *node);
/* Whether the view gives the address to the node: as one of its own or of an identity there. */
bool view_index_owns(const struct view_index *x, const char *node, const struct addr *a);

enum view_placed_at {
	VIEW_PLACED,     /* at this node and this address */
	VIEW_ELSEWHERE,  /* at this node, at other addresses of it */
	VIEW_NOT_PLACED, /* not at this node */
};
enum view_placed_at view_index_placed(const struct view_index *x, const char *identity,
				      const char *node, const struct addr *a);
