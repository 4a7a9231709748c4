/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The node view: a refusal has a reason, and what is accepted is within the limits. */
#include "tests/fuzz/fuzz.h"

#include "base/err.h"
#include "base/mem.h"
#include "controller-client/view_decode.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void check_addresses(const struct addr *addresses, size_t count)
{
	must(count <= VIEW_ADDRESSES_MAX);
	for (size_t i = 0; i < count; i++) {
		must(addresses[i].family == AF_INET || addresses[i].family == AF_INET6);
		must(!addr_is_multicast_or_broadcast(&addresses[i]));
	}
}

static void check_view(const struct view *v)
{
	must(node_name_ok(v->node));
	for (size_t i = 0; i < v->placed_count; i++) {
		must(v->placed[i].identity[0] != '\0');
		check_addresses(v->placed[i].addresses, v->placed[i].address_count);
	}
	for (size_t i = 0; i < v->peer_count; i++) {
		must(v->peers[i].identity[0] != '\0' && node_name_ok(v->peers[i].node));
		must(v->peers[i].address_count > 0);
		check_addresses(v->peers[i].addresses, v->peers[i].address_count);
		must(v->peers[i].has_services || v->peers[i].service_count == 0);
	}
	for (size_t i = 0; i < v->node_count; i++) {
		must(view_find_node(v, v->nodes[i].node) == &v->nodes[i]);
		must(!v->nodes[i].has_attest || v->nodes[i].attest_port > 0);
		check_addresses(v->nodes[i].addresses, v->nodes[i].address_count);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(view_freep) struct view *v = NULL;
	struct err err = {0};

	if (view_decode((const char *)data, size, "pay-1", 1, &v, &err) < 0) {
		must(v == NULL && err.text[0] != '\0');
		return 0;
	}
	must(v->sequence >= 1 && strcmp(v->node, "pay-1") == 0);
	check_view(v);
	return 0;
}
