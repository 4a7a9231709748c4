/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/view_decode.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char example[] =
	"{\"version\": 1, \"node\": \"pay-1\", \"sequence\": 41,\n"
	" \"placed\": [{\"identity\": \"prod/pay/settlement\", \"addresses\": [\"10.0.0.5\"]},\n"
	"              {\"identity\": \"prod/pay/backup\"}],\n"
	" \"peers\":  [{\"identity\": \"prod/pay/api\", \"node\": \"api-1\",\n"
	"              \"addresses\": [\"10.0.0.9\", \"fd00::9\"], \"services\": [\"tcp/8443\"]},\n"
	"             {\"identity\": \"prod/pay/api\", \"node\": \"api-2\",\n"
	"              \"addresses\": [\"10.0.0.10\"]}],\n"
	" \"nodes\":  [{\"node\": \"api-1\", \"addresses\": [\"10.0.0.9\"],\n"
	"              \"attest\": {\"address\": \"10.0.0.9\", \"port\": 7113}},\n"
	"             {\"node\": \"api-2\", \"addresses\": [\"10.0.0.10\"]}],\n"
	" \"devices\": []}";

static int decode(const char *text, struct view **ret, struct err *err)
{
	return view_decode(text, strlen(text), "pay-1", 41, ret, err);
}

TEST(view_of_the_format_document)
{
	CLEANUP(view_freep) struct view *v = NULL;
	char buf[ADDR_TEXT_MAX];
	struct err err;

	CHECK_OK(decode(example, &v, &err), &err);
	CHECK_STR(v->node, "pay-1");
	CHECK_UINT(v->sequence, 41);
	CHECK_UINT(v->placed_count, 2);
	CHECK_STR(v->placed[0].identity, "prod/pay/settlement");
	CHECK_STR(addr_format(buf, &v->placed[0].addresses[0]), "10.0.0.5");
	CHECK_UINT(v->placed[1].address_count, 0);
	CHECK_UINT(v->peer_count, 2);
	CHECK_STR(v->peers[0].node, "api-1");
	CHECK_STR(addr_format(buf, &v->peers[0].addresses[1]), "fd00::9");
	CHECK(v->peers[0].has_services);
	CHECK_UINT(v->peers[0].services[0].first, 8443);
	CHECK(!v->peers[1].has_services);
	CHECK(view_find_node(v, "api-1")->has_attest);
	CHECK_UINT(view_find_node(v, "api-1")->attest_port, 7113);
	CHECK(!view_find_node(v, "api-2")->has_attest);
	CHECK(view_find_node(v, "api-3") == NULL);
}

static bool is_it(void *user, const char *node)
{
	return strcmp(user, node) == 0;
}

TEST(a_node_is_taken_out_of_a_view_with_all_that_is_there)
{
	CLEANUP(view_freep) struct view *v = NULL;
	struct err err;

	CHECK_OK(decode(example, &v, &err), &err);
	CHECK_UINT(view_remove_nodes(v, is_it, (char[]){"pay-1"}), 0);
	CHECK_UINT(view_remove_nodes(v, is_it, (char[]){"api-1"}), 2);
	CHECK_UINT(v->placed_count, 2);
	CHECK_UINT(v->peer_count, 1);
	CHECK_STR(v->peers[0].node, "api-2");
	CHECK_UINT(v->node_count, 1);
	CHECK(view_find_node(v, "api-1") == NULL);
	CHECK_UINT(view_remove_nodes(v, is_it, (char[]){"api-2"}), 2);
	CHECK_UINT(v->peer_count + v->node_count, 0);
}

static bool accepts(const void *bytes, size_t len)
{
	CLEANUP(view_freep) struct view *v = NULL;

	return view_decode(bytes, len, "pay-1", 0, &v, NULL) == 0;
}

TEST(view_every_truncation_is_refused)
{
	CHECK_TRUNCATIONS(example, strlen(example), accepts);
}

TEST(view_for_another_node_or_older_is_refused)
{
	CLEANUP(view_freep) struct view *v = NULL;
	struct err err;

	CHECK_INT(view_decode(example, strlen(example), "pay-2", 0, &v, &err), -EXDEV);
	CHECK_STR(err.text, "view.json: written for node pay-1; this is pay-2");
	CHECK_INT(view_decode(example, strlen(example), "pay-1", 42, &v, &err), -ESTALE);
	CHECK_STR(err.text, "view.json: sequence 41 is older than 42, which is in force; a higher "
			    "one would be right");
	CHECK(v == NULL);
	CHECK_OK(view_decode(example, strlen(example), NULL, 0, &v, &err), &err);
}

#define EMPTY        "\"placed\": [], \"peers\": [], \"nodes\": []"
#define HEAD         "\"version\": 1, \"node\": \"pay-1\", \"sequence\": 41, "
#define NO_NODES     "\"peers\": [], \"nodes\": []}"
#define PEER(fields) "{" HEAD "\"placed\": [], \"nodes\": [], \"peers\": [{" fields "}]}"
#define NODE(fields) "{" HEAD "\"placed\": [], \"peers\": [], \"nodes\": [{" fields "}]}"

TEST(view_mistakes)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{"[]", "view.json: not an object"},
		{"{\"version\": 2, \"node\": \"pay-1\", \"sequence\": 41, " EMPTY "}", "version"},
		{"{\"node\": \"pay-1\", \"sequence\": 41, " EMPTY "}", "version: missing"},
		{"{\"version\": 1, \"node\": \"pay 1\", \"sequence\": 41, " EMPTY "}",
		 "view.json: node: not a node name"},
		{"{\"version\": 1, \"node\": \"pay-1\", \"sequence\": -1, " EMPTY "}", "sequence"},
		{"{\"version\": 1, \"node\": \"pay-1\", \"sequence\": 41.0, " EMPTY "}",
		 "sequence"},
		{"{" HEAD EMPTY ", \"more\": 1}", "more"},
		{"{" HEAD EMPTY ", \"devices\": [\"plc-7\"]}",
		 "view.json: devices: not available on this node yet; [] would be right"},
		{"{" HEAD "\"placed\": [{\"identity\": \"/a\"}], " NO_NODES,
		 "view.json: placed[0].identity: path begins with '/'"},
		{"{" HEAD
		 "\"placed\": [{\"identity\": \"a\", \"addresses\": [\"10.0.0\"]}], " NO_NODES,
		 "view.json: placed[0].addresses: 10.0.0 is not an address"},
		{"{" HEAD "\"placed\": [{\"identity\": \"a\", \"addresses\": [7]}], " NO_NODES,
		 "a value is not an address"},
		{"{" HEAD "\"placed\": [{\"identity\": \"a\"}, {\"identity\": \"a\"}], " NO_NODES,
		 "view.json: placed[1]: a is there already"},
		{"{" HEAD "\"placed\": [{\"identity\": \"bailiwick/node/x\"}], " NO_NODES,
		 "reserved"},
		{"{" HEAD "\"placed\": [{\"identity\": \"a\", \"addresses\": [\"::ffff:10.0.0.1\"]}"
		 "], " NO_NODES,
		 "is not an address"},
		{"{" HEAD "\"placed\": [7], " NO_NODES, "placed[0]: not an object"},
		{PEER("\"identity\": \"a\", \"addresses\": [\"10.0.0.1\"]"),
		 "peers[0].node: missing"},
		{PEER("\"identity\": \"a\", \"node\": \"n\", \"addresses\": []"),
		 "peers[0].addresses: empty"},
		{PEER("\"identity\": \"a\", \"node\": \"n\", \"addresses\": [\"224.0.0.1\"]"),
		 "224.0.0.1 is not the address of a host"},
		{PEER("\"identity\": \"a\", \"node\": \"n\", \"addresses\": [\"0.0.0.0\"]"),
		 "0.0.0.0 is not the address of a host"},
		{PEER("\"identity\": \"a\", \"node\": \"n\", \"addresses\": [\"10.0.0.1\"], "
		      "\"services\": [\"tcp\"]"),
		 "peers[0].services: tcp is not a service"},
		{PEER("\"identity\": \"a\", \"node\": \"n\", \"addresses\": [\"10.0.0.1\"], "
		      "\"services\": null"),
		 "peers[0].services"},
		{NODE("\"node\": \"n\", \"addresses\": [\"10.0.0.1\"], \"attest\": {\"port\": 1}"),
		 "nodes[0].attest.address: missing"},
		{NODE("\"node\": \"n\", \"addresses\": [\"10.0.0.1\"], "
		      "\"attest\": {\"address\": \"10.0.0.1\", \"port\": 0}"),
		 "nodes[0].attest.port"},
		{NODE("\"node\": \"n\", \"addresses\": [\"10.0.0.1\"], "
		      "\"attest\": {\"address\": \"10.0.0.1\", \"port\": 1, \"x\": 1}"),
		 "nodes[0].attest"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(view_freep) struct view *v = NULL;
		struct err err = {0};

		CHECK_INT(decode(cases[i].text, &v, &err), -EBADMSG);
		CHECK_CONTAINS(err.text, cases[i].error);
		CHECK(v == NULL);
	}
}

TEST(view_too_many_addresses_are_refused)
{
	CLEANUP(view_freep) struct view *v = NULL;
	char text[4096];
	struct err err;
	size_t at = 0;

	at += (size_t)snprintf(text, sizeof(text),
			       "{" HEAD "\"placed\": [{\"identity\": \"a\", "
			       "\"addresses\": [");
	for (int i = 0; i <= VIEW_ADDRESSES_MAX; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s\"10.0.1.%d\"",
				       i > 0 ? ", " : "", i + 1);
	(void)snprintf(text + at, sizeof(text) - at, "]}], " NO_NODES);
	CHECK_INT(decode(text, &v, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "placed[0].addresses: more than 64 entries");
}

TEST(node_names)
{
	char longest[65];

	memset(longest, 'n', sizeof(longest));
	longest[63] = '\0';
	CHECK(node_name_ok(longest));
	longest[63] = 'n';
	longest[64] = '\0';
	CHECK(!node_name_ok(longest));
	CHECK(node_name_ok("a") && node_name_ok("A.b_c-9"));
	CHECK(!node_name_ok("") && !node_name_ok("a b") && !node_name_ok("a/b"));
}

OOM_TEST(view_decode_when_memory_runs_out)
{
	CLEANUP(view_freep) struct view *v = NULL;

	return view_decode(example, strlen(example), "pay-1", 0, &v, NULL);
}
