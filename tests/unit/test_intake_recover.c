/* SPDX-License-Identifier: GPL-3.0-or-later */
/* known.json is damaged or gone: signed documents on disk say it once more. */
#include "agent/intake.h"

#include "base/file.h"
#include "base/mem.h"
#include "tests/unit/intake_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *stored(const char *name)
{
	char *path = mem_printf("%s/documents/%s", test_dir(), name);

	CHECK(path != NULL);
	return path;
}

static void overwrite(const char *name, const char *text)
{
	CLEANUP(freep) char *path = stored(name);
	struct err err = {{0}};

	CHECK_OK(file_write_durable(AT_FDCWD, path, text, strlen(text), 0600, &err), &err);
}

/* As after a policy of revision 5 with floor 4, head and view 5. */
static void node_at_five(struct node *n)
{
	node_setup(n);
	make_view(n, 5);
	make_manifest_floor(n, 5, 4);
	CHECK_INT(offer(n, 5, 5, false), 1);
	give_manifest(n, 5);
	CHECK_UINT(n->in.known.rollback_floor, 4);
}

static void still_at_five(struct node *n, const struct known *before)
{
	bool trusted = false;

	CHECK_INT(reload(n, &trusted), 0);
	CHECK(trusted);
	CHECK_STR(code_of(n, "known.json"), "damaged");
	CHECK(memcmp(&n->in.known, before, sizeof(*before)) == 0);
	make_all(n, 3);
	CHECK_INT(offer(n, 4, 3, false), -ESTALE);
	CHECK_INT(offer(n, 6, 3, false), 1);
	give_manifest(n, 3);
	CHECK_STR(code_of(n, "manifest"), "rollback");
	CHECK_INT(n->in.policy, PART_REFUSED);
}

TEST(intake_proves_what_it_knew_when_known_json_is_damaged)
{
	static const char *const damage[] = {"", "{\"policy_keys\": \"", "\xff\xfe", "[]",
					     "{\"head_sequence\": 1}"};
	struct known before;

	for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
		CLEANUP(freep) char *head = stored("head.dsse.json");
		CLEANUP(freep) char *known = stored("known.json");
		NODE(n);

		(void)remove(head);
		(void)remove(known);
		node_at_five(&n);
		before = n.in.known;
		overwrite("known.json", damage[i]);
		still_at_five(&n, &before);
	}
}

TEST(intake_proves_what_it_knew_when_known_json_is_gone)
{
	CLEANUP(freep) char *path = stored("known.json");
	struct known before, read;
	struct err err = {{0}};
	NODE(n);

	node_at_five(&n);
	before = n.in.known;
	CHECK_INT(remove(path), 0);
	node_close(&n);
	node_open(&n);
	/* It is there again, for the next start. */
	CHECK_INT(document_store_known_read(n.store, &read, &err), 1);
	CHECK(memcmp(&read, &before, sizeof(read)) == 0);
	CHECK_INT(remove(path), 0);
	still_at_five(&n, &before);
}

TEST(intake_lets_damaged_documents_prove_nothing)
{
	char digest[SHA256_HEX_LEN], name[80];
	NODE(n);

	node_at_five(&n);
	CHECK_INT(document_digest(n.manifest, strlen(n.manifest), digest), 0);
	(void)snprintf(name, sizeof(name), "manifests/%s", digest);
	overwrite("known.json", "x");
	overwrite("head.dsse.json", "{");
	overwrite(name, "{}");
	node_close(&n);
	node_open(&n);
	CHECK_UINT(n.in.known.head_sequence, 0);
	CHECK_UINT(n.in.known.highest_revision, 0);
	CHECK_STR(code_of(&n, "known.json"), "damaged");
	CHECK_CONTAINS(n.in.troubles[0].text, "0 of 2 stored documents");
}

TEST(intake_lets_documents_under_other_keys_prove_nothing_but_their_end)
{
	NODE(n);

	node_at_five(&n);
	overwrite("known.json", "x");
	node_close(&n);
	document_fixture_new_keys(&n.keys);
	node_open(&n);
	CHECK_UINT(n.in.known.head_sequence, 0);
	CHECK_UINT(n.in.known.highest_revision, 0);
	CHECK_INT(n.in.known.head_expires.s, 1800057600);
}

TEST(intake_of_a_new_host_has_lost_nothing)
{
	NODE(n);

	node_setup(&n);
	CHECK_UINT(n.in.trouble_count, 0);
}
