/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/view_index.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define MANY 500

static char pay_1[] = "pay-1", pay_2[] = "pay-2", id_a[] = "prod/a", id_b[] = "prod/b";

static struct addr at(uint8_t host)
{
	return (struct addr){.family = AF_INET, .bytes = {10, 0, 0, host}};
}

TEST(a_node_owns_the_addresses_that_its_entry_has)
{
	struct addr one[] = {at(1), at(2)}, two[] = {at(3)};
	struct view_node nodes[] = {
		{.node = pay_1, .addresses = one, .address_count = 2},
		{.node = pay_2, .addresses = two, .address_count = 1},
	};
	struct view v = {.nodes = nodes, .node_count = 2};
	CLEANUP(view_index_freep) struct view_index *x = view_index_new(&v);
	struct addr third = at(3);

	CHECK(x != NULL);
	CHECK(view_index_node(x, "pay-1") == &nodes[0]);
	CHECK(view_index_node(x, "pay-3") == NULL);
	CHECK(view_index_owns(x, "pay-1", &one[1]));
	CHECK(!view_index_owns(x, "pay-1", &third));
	CHECK(view_index_owns(x, "pay-2", &third));
	CHECK(!view_index_owns(x, "pay-3", &third));
}

TEST(an_identity_may_have_several_entries_on_one_node)
{
	struct addr one[] = {at(1)}, two[] = {at(2)}, other = at(3);
	struct view_peer peers[] = {
		{.identity = id_a, .node = pay_1, .addresses = one, .address_count = 1},
		{.identity = id_a, .node = pay_1, .addresses = two, .address_count = 1},
		{.identity = id_b, .node = pay_2, .addresses = two, .address_count = 1},
	};
	struct view v = {.peers = peers, .peer_count = 3};
	CLEANUP(view_index_freep) struct view_index *x = view_index_new(&v);

	CHECK(x != NULL);
	CHECK_INT(view_index_placed(x, "prod/a", "pay-1", &one[0]), VIEW_PLACED);
	CHECK_INT(view_index_placed(x, "prod/a", "pay-1", &two[0]), VIEW_PLACED);
	CHECK_INT(view_index_placed(x, "prod/a", "pay-1", &other), VIEW_ELSEWHERE);
	CHECK_INT(view_index_placed(x, "prod/a", "pay-2", &two[0]), VIEW_NOT_PLACED);
	CHECK_INT(view_index_placed(x, "prod/b", "pay-1", &two[0]), VIEW_NOT_PLACED);
	CHECK_INT(view_index_placed(x, "", "", &two[0]), VIEW_NOT_PLACED);
}

TEST(an_address_of_an_identity_there_is_the_nodes_too)
{
	struct addr one[] = {at(1)}, two[] = {at(2)}, other = at(3);
	struct view_node nodes[] = {{.node = pay_1, .addresses = one, .address_count = 1}};
	struct view_peer peers[] = {
		{.identity = id_a, .node = pay_1, .addresses = two, .address_count = 1}};
	struct view v = {.nodes = nodes, .node_count = 1, .peers = peers, .peer_count = 1};
	CLEANUP(view_index_freep) struct view_index *x = view_index_new(&v);

	CHECK(x != NULL);
	CHECK(view_index_owns(x, "pay-1", &one[0]));
	CHECK(view_index_owns(x, "pay-1", &two[0]));
	CHECK(!view_index_owns(x, "pay-1", &other));
	CHECK(!view_index_owns(x, "pay-2", &two[0]));
}

TEST(an_index_of_a_view_that_was_shortened_is_not_of_it_any_more)
{
	struct addr one[] = {at(1)};
	struct view_node nodes[] = {{.node = pay_1, .addresses = one, .address_count = 1}};
	struct view v = {.nodes = nodes, .node_count = 1, .sequence = 5}, other = v;
	CLEANUP(view_index_freep) struct view_index *x = view_index_new(&v);

	CHECK(x != NULL);
	CHECK(view_index_is_of(x, &v));
	CHECK(!view_index_is_of(x, &other));
	CHECK(!view_index_is_of(x, NULL));
	v.node_count = 0;
	CHECK(!view_index_is_of(x, &v));
	v.node_count = 1;
	v.sequence = 6;
	CHECK(!view_index_is_of(x, &v));
}

TEST(without_a_view_nobody_is_known)
{
	CLEANUP(view_index_freep) struct view_index *x = view_index_new(NULL);
	struct addr a = at(1);

	CHECK(x != NULL);
	CHECK(!view_index_owns(x, "pay-1", &a));
	CHECK_INT(view_index_placed(x, "prod/a", "pay-1", &a), VIEW_NOT_PLACED);
}

TEST(every_one_of_many_is_found)
{
	static struct view_node nodes[MANY];
	static struct view_peer peers[MANY];
	static char names[MANY][16];
	static struct addr addresses[MANY];
	struct view v = {.nodes = nodes, .node_count = MANY, .peers = peers, .peer_count = MANY};
	CLEANUP(view_index_freep) struct view_index *x = NULL;

	for (size_t i = 0; i < MANY; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "n-%zu", i);
		addresses[i] = (struct addr){.family = AF_INET,
					     .bytes = {10, 0, (uint8_t)(i >> 8), (uint8_t)i}};
		nodes[i] = (struct view_node){
			.node = names[i], .addresses = &addresses[i], .address_count = 1};
		peers[i] = (struct view_peer){.identity = id_a,
					      .node = names[i],
					      .addresses = &addresses[i],
					      .address_count = 1};
	}
	x = view_index_new(&v);
	CHECK(x != NULL);
	for (size_t i = 0; i < MANY; i++) {
		CHECK(view_index_node(x, names[i]) == &nodes[i]);
		CHECK_INT(view_index_placed(x, "prod/a", names[i], &addresses[i]), VIEW_PLACED);
	}
}
