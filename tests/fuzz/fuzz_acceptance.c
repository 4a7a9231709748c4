/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A node that lies: its answers, as bytes from the stream, are judged against a policy. Whatever it
 * says, only the identity that is placed there and has a rule is let in, for a socket that matches;
 * and what it said goes to people as plain text.
 */
#include "tests/fuzz/fuzz.h"

#include "agent/acceptance.h"
#include "base/hash.h"
#include "base/mem.h"
#include "rules/marks.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define REFERENCE "1111111111111111111111111111111111111111111111111111111111111111"

static const char text[] =
	"trust_domain: acme.example\n"
	"identities:\n"
	"  - {name: a, path: prod/a, workload: [{unit: a.service}]}\n"
	"  - {name: b, path: prod/b, workload: [{unit: b.service}], serves: [tcp/80, tcp/81]}\n"
	"  - {name: c, path: prod/c, workload: [{unit: c.service}]}\n"
	"  - {name: m, path: prod/m, workload: [{unit: m.service}], reference: [\"" REFERENCE
	"\"]}\n"
	"rules:\n"
	"  - {name: r, from: [a], to: [b], services: [tcp/80], purpose: p, owner: o}\n"
	"  - {name: s, from: [m], to: [b], services: [tcp/80], assurance: measured, purpose: p, "
	"owner: o}\n";

static char node_name[] = "cli-1", own_name[] = "srv-1", path_a[] = "prod/a", path_b[] = "prod/b",
	    path_c[] = "prod/c", path_m[] = "prod/m";
static struct addr caller = {.family = AF_INET, .bytes = {10, 0, 0, 5}};
static struct addr called = {.family = AF_INET, .bytes = {10, 0, 0, 1}};

static struct view_placed placed[] = {{.identity = path_b}};
static struct view_peer peers[] = {
	{.identity = path_a, .node = node_name, .addresses = &caller, .address_count = 1},
	{.identity = path_c, .node = node_name, .addresses = &caller, .address_count = 1},
	{.identity = path_m, .node = node_name, .addresses = &caller, .address_count = 1},
};
static struct view_node nodes[] = {{.node = node_name, .addresses = &caller, .address_count = 1}};
static const struct view view = {.node = own_name,
				 .placed = placed,
				 .placed_count = ARRAY_LEN(placed),
				 .peers = peers,
				 .peer_count = ARRAY_LEN(peers),
				 .nodes = nodes,
				 .node_count = ARRAY_LEN(nodes)};

static struct world {
	struct policy *policy;
	struct generation *gen;
	struct view_index *index;
	const struct conduit *asked;
} world;

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void world_make(void)
{
	const struct policy_features features = {.attested = true};
	const struct essentials none = {0};
	struct compile_input in = {.view = &view,
				   .essentials = &none,
				   .addresses = &called,
				   .address_count = 1,
				   .now = {1795305600},
				   .clock_trusted = true};
	struct numbers *conduits = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	struct numbers *identities = numbers_new(MARK_IDENTITY_MIN, MARK_IDENTITY_MAX);

	world.policy = policy_new();
	must(world.policy && conduits && identities);
	must(policy_add_text(world.policy, "p.yaml", text, sizeof(text) - 1) == 0);
	must(policy_finish(world.policy, &features, in.now) == 0);
	in.policy = world.policy;
	must(compile_generation(&in, conduits, identities, &world.gen, NULL) == 0);
	world.index = view_index_new(&view);
	must(world.index != NULL);
	for (size_t i = 0; i < world.gen->conduit_count && !world.asked; i++)
		if (world.gen->conduits[i].verdict == LIVE_ASK)
			world.asked = &world.gen->conduits[i];
	must(world.asked != NULL);
	numbers_free(conduits);
	numbers_free(identities);
}

static bool is_reference(const struct peer_answer *a)
{
	for (size_t i = 0; i < sizeof(a->sha256); i++)
		if (a->sha256[i] != 0x11)
			return false;
	return a->has_sha256;
}

static void check_accepted(const struct peer_answer *a, const struct acceptance *r, uint32_t flags)
{
	bool is_m = strcmp(a->spiffe_id, "spiffe://acme.example/prod/m") == 0;

	must(a->status == PEER_OK && (a->match & PEER_MATCH_TUPLE));
	must((a->match & PEER_MATCH_SYN_SENT) || (flags & PEER_ESTABLISHED));
	must(is_m || strcmp(a->spiffe_id, "spiffe://acme.example/prod/a") == 0);
	must(!is_m || (is_reference(a) && (a->match & PEER_MATCH_HOLDER)));
	must(r->number != world.asked->number && generation_find(world.gen, r->number));
}

static void check_plain(const char *said)
{
	for (; *said; said++)
		must(*said >= ' ' && *said <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct peer_query query = {.l4proto = IPPROTO_TCP, .src = caller, .dst = called};
	struct svid svid = {.role = SVID_NODE,
			    .id = "spiffe://acme.example/bailiwick/node/cli-1",
			    .trust_domain = "acme.example",
			    .name = "cli-1"};
	struct acceptance_input in = {
		.query = &query, .node = node_name, .svid = &svid, .explain = true};
	static struct peer_answer answer;
	struct acceptance result;

	if (!world.gen)
		world_make();
	if (size < 1 || peer_answer_decode(data + 1, size - 1, &answer) < 0)
		return 0;
	query.flags = data[0] & 1 ? PEER_ESTABLISHED : 0;
	in.policy = world.policy;
	in.view = world.index;
	in.gen = world.gen;
	in.asked = world.asked;
	in.answer = &answer;
	acceptance_judge(&in, &result);
	if (result.accepted)
		check_accepted(&answer, &result, query.flags);
	else
		must(result.detail[0] && result.reason != REASON_PERMITTED);
	check_plain(result.detail);
	check_plain(result.identity);
	check_plain(result.status);
	for (size_t i = 0; i < ACCEPT_CHECKS; i++)
		check_plain(result.checks[i].detail);
	return 0;
}
