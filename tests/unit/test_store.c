/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/store.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "rules/marks.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Texts that the structs own nothing of: writable, because their members are not const. */
static char text_b_yaml[] = "b.yaml", text_two[] = "two\n", text_a_yaml[] = "a.yaml",
	    text_one[] = "one\n", text_vendor_x[] = "vendor=x", text_r[] = "r",
	    text_prod_a[] = "prod/a", text_forensics[] = "forensics", text_q[] = "q",
	    text_prod_b[] = "prod/b";

static void store_freep(struct store **s)
{
	store_free(*s);
}

static struct store *fresh(void)
{
	CLEANUP(freep) char *state = mem_printf("%s/state", test_dir());
	CLEANUP(freep) char *run = mem_printf("%s/run", test_dir());
	struct store *s = NULL;
	struct err err;

	CHECK_OK(store_open(state, run, &s, &err), &err);
	return s;
}

static void keep_policy(struct store *s, uint64_t revision)
{
	struct store_file files[] = {{text_b_yaml, text_two, 4}, {text_a_yaml, text_one, 4}};
	struct store_policy p = {.revision = revision, .files = files, .file_count = 2};
	struct err err;

	(void)snprintf(p.who, sizeof(p.who), "root");
	store_policy_digest(&p);
	CHECK_OK(store_policy_write(s, &p, &err), &err);
}

/* Killed between writing the texts and the state, an agent gives the same revision again. */
TEST(store_takes_a_revision_that_was_left_behind)
{
	CLEANUP(store_freep) struct store *s = fresh();
	struct store_policy p = {0};
	struct err err;

	keep_policy(s, 7);
	keep_policy(s, 7);
	CHECK_OK(store_policy_read(s, 7, &p, &err), &err);
	CHECK_UINT(p.file_count, 2);
	store_policy_done(&p);
}

TEST(store_gives_back_a_policy)
{
	CLEANUP(store_freep) struct store *s = fresh();
	struct store_policy p = {0};
	struct err err;

	keep_policy(s, 7);
	CHECK_OK(store_policy_read(s, 7, &p, &err), &err);
	CHECK_UINT(p.file_count, 2);
	CHECK_STR(p.files[0].name, "a.yaml");
	CHECK_STR(p.files[1].text, "two\n");
	CHECK_STR(p.who, "root");
	CHECK_UINT(strlen(p.digest), 64);
	store_policy_done(&p);
	CHECK_INT(store_policy_read(s, 8, &p, &err), -ENOENT);
}

TEST(store_keeps_the_newest_and_those_in_use)
{
	CLEANUP(store_freep) struct store *s = fresh();
	struct store_policy p = {0};
	struct err err;

	for (uint64_t i = 1; i <= 6; i++)
		keep_policy(s, i);
	store_policy_prune(s, 1, 0);
	for (uint64_t i = 1; i <= 6; i++) {
		bool kept = i == 1 || i >= 4;

		CHECK_INT(store_policy_read(s, i, &p, &err), kept ? 0 : -ENOENT);
		store_policy_done(&p);
	}
}

static void no_word(void *user, const char *text)
{
	size_t *told = user;

	(void)text;
	++*told;
}

static void spoil(const char *name, const char *text)
{
	CLEANUP(freep) char *path = mem_printf("%s/%s", test_dir(), name);

	CHECK_INT(file_write_durable(AT_FDCWD, path, text, strlen(text), 0600, NULL), 0);
}

static void lose(const char *name)
{
	CLEANUP(freep) char *path = mem_printf("%s/%s", test_dir(), name);

	CHECK_INT(tree_remove(AT_FDCWD, path, NULL), 0);
}

/* A file that is a policy all the same is none that was applied. */
TEST(store_knows_a_policy_that_is_not_what_was_written)
{
	CLEANUP(store_freep) struct store *s = fresh();
	struct store_policy p = {0};
	struct err err;

	keep_policy(s, 7);
	lose("run/spare");
	spoil("state/policy/7/a.yaml", "uno\n");
	CHECK_INT(store_policy_read(s, 7, &p, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "not what was applied");
	spoil("state/policy/7/a.yaml", "one\n");
	CHECK_OK(store_policy_read(s, 7, &p, &err), &err);
	store_policy_done(&p);
}

TEST(store_mends_a_policy_from_its_copies)
{
	static const char *const lost[] = {"state/policy/7/a.yaml", "state/policy/7/meta",
					   "state/policy/7", "state/policy"};
	struct store_policy p = {0};
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(lost); i++) {
		CLEANUP(store_freep) struct store *s = fresh();
		size_t told = 0;

		keep_policy(s, 7);
		lose(lost[i]);
		CHECK_OK(store_mend(s, no_word, &told, &err), &err);
		CHECK(told > 0);
		lose("run/spare");
		CHECK_OK(store_policy_read(s, 7, &p, &err), &err);
		CHECK_STR(p.files[1].text, "two\n");
		store_policy_done(&p);
	}
}

/* What is pruned must not come back from copies, nor files of the same number's policy before. */
TEST(store_has_no_copies_of_policies_that_are_gone)
{
	CLEANUP(store_freep) struct store *s = fresh();
	struct store_file file = {text_b_yaml, text_two, 4};
	struct store_policy one = {.revision = 5, .files = &file, .file_count = 1}, p = {0};
	struct err err;
	size_t told = 0;

	for (uint64_t i = 1; i <= 5; i++)
		keep_policy(s, i);
	store_policy_prune(s, 0, 0);
	store_policy_digest(&one);
	CHECK_OK(store_policy_write(s, &one, &err), &err);
	CHECK_OK(store_mend(s, no_word, &told, &err), &err);
	CHECK_UINT(told, 0);
	CHECK_INT(store_policy_read(s, 1, &p, &err), -ENOENT);
	CHECK_OK(store_policy_read(s, 5, &p, &err), &err);
	CHECK_UINT(p.file_count, 1);
	store_policy_done(&p);
}

TEST(store_state_goes_round)
{
	CLEANUP(store_freep) struct store *s = fresh();
	struct store_state st = {.confirmed = 3,
				 .candidate = 4,
				 .falls_back = {99},
				 .borders = 2,
				 .borders_manifest = "aa",
				 .last_revision = 4,
				 .mode = MODE_ENFORCE,
				 .mode_before = MODE_SELECTIVE,
				 .view_sequence = 41},
			   back;
	struct err err;

	CHECK_OK(store_state_read(s, &back, &err), &err);
	CHECK(!back.known);
	CHECK_OK(store_state_write(s, &st, &err), &err);
	CHECK_OK(store_state_read(s, &back, &err), &err);
	CHECK(back.known);
	CHECK_UINT(back.candidate, 4);
	CHECK_INT(back.mode, MODE_ENFORCE);
	CHECK_INT(back.mode_before, MODE_SELECTIVE);
	CHECK_UINT(back.view_sequence, 41);
	CHECK_UINT(back.borders, 2);
	CHECK_STR(back.borders_manifest, "aa");
	st.borders = 0;
	CHECK_OK(store_state_write(s, &st, &err), &err);
	CHECK_OK(store_state_read(s, &back, &err), &err);
	CHECK_UINT(back.borders, 0);
}

TEST(store_refuses_a_damaged_state)
{
	CLEANUP(store_freep) struct store *s = fresh();
	CLEANUP(freep) char *path = mem_printf("%s/state/state.json", test_dir());
	struct store_state back;
	struct err err;

	CHECK_OK(file_write_durable(AT_FDCWD, path, "{\"confirmed\": 1", 15, 0600, &err), &err);
	CHECK(store_state_read(s, &back, &err) < 0);
	CHECK_CONTAINS(err.text, "state.json");
	CHECK(store_last_write(s).s > 0);
	store_state_aside(s);
	CHECK_OK(store_state_read(s, &back, &err), &err);
	CHECK(!back.known);
	CHECK(store_last_write(s).s > 0); /* of the damaged one */
}

TEST(store_overlay_goes_round)
{
	CLEANUP(store_freep) struct store *s = fresh();
	CLEANUP(numbers_freep) struct numbers *n = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	struct overlay_revoked revoked[] = {
		{.kind = REVOKED_LABEL, .name = text_vendor_x, .until = {5}, .reason = text_r}};
	struct overlay_quarantine quarantined[] = {
		{.identity = text_prod_a, .keep = text_forensics, .reason = text_q},
		{.identity = text_prod_b, .reason = text_q}};
	struct overlay o = {.revoked = revoked,
			    .revoked_count = 1,
			    .quarantined = quarantined,
			    .quarantined_count = 2},
		       back;
	struct err err;

	CHECK_OK(store_overlay_read(s, n, &back, &err), &err);
	CHECK_UINT(back.revoked_count, 0);
	CHECK_OK(store_overlay_write(s, n, &o, &err), &err);
	CHECK_OK(store_overlay_read(s, n, &back, &err), &err);
	CHECK_INT(back.revoked[0].kind, REVOKED_LABEL);
	CHECK_STR(back.revoked[0].name, "vendor=x");
	CHECK_INT(back.revoked[0].until.s, 5);
	CHECK_STR(back.quarantined[0].keep, "forensics");
	CHECK(back.quarantined[1].keep == NULL);
	overlay_done(&back);
}

/* A head's entries are kept as that head; and a file of before there were grants is read. */
TEST(store_overlay_keeps_grants_and_nothing_of_heads)
{
	CLEANUP(store_freep) struct store *s = fresh();
	CLEANUP(numbers_freep) struct numbers *n = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	static const char old[] = "{\"revoked\": [], \"quarantined\": []}";
	struct overlay_revoked revoked[] = {
		{.kind = REVOKED_LABEL, .name = text_vendor_x, .from_head = true}};
	struct overlay_quarantine quarantined[] = {
		{.identity = text_prod_a, .reason = text_q, .from_head = true}};
	struct overlay_grant grants[] = {
		{.rule = text_r,
		 .from = text_prod_a,
		 .to = text_prod_b,
		 .until = {9},
		 .since = {7}},
		{.rule = text_r, .from = text_prod_b, .to = text_prod_a, .from_head = true}};
	struct overlay o = {revoked, 1, quarantined, 1, grants, 2}, back;
	struct err err;

	CHECK_OK(store_overlay_write(s, n, &o, &err), &err);
	CHECK_OK(store_overlay_read(s, n, &back, &err), &err);
	CHECK_UINT(back.revoked_count, 0);
	CHECK_UINT(back.quarantined_count, 0);
	CHECK_UINT(back.grant_count, 1);
	CHECK_STR(back.grants[0].rule, text_r);
	CHECK_STR(back.grants[0].from, "prod/a");
	CHECK_INT(back.grants[0].until.s, 9);
	CHECK_INT(back.grants[0].since.s, 7);
	overlay_done(&back);
	CHECK_OK(store_text_write(s, "overlay.json", old, sizeof(old) - 1, &err), &err);
	CHECK_OK(store_overlay_read(s, n, &back, &err), &err);
	CHECK_UINT(back.grant_count, 0);
	overlay_done(&back);
}

/* Numbers are of one boot, a revocation is not: it is found again by the number's key. */
TEST(store_overlay_finds_conduits_again)
{
	CLEANUP(store_freep) struct store *s = fresh();
	CLEANUP(numbers_freep) struct numbers *n = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	CLEANUP(numbers_freep) struct numbers *m = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	char seven[] = "7", reason[] = "r", now[16];
	struct overlay_revoked revoked[] = {
		{.kind = REVOKED_CONDUIT, .name = seven, .reason = reason}};
	struct overlay o = {.revoked = revoked, .revoked_count = 1}, back;
	struct number_key key, other;
	uint32_t number = 0;
	struct err err;

	number_key_of("a to b", &key);
	number_key_of("c to d", &other);
	CHECK_INT(numbers_put(n, &key, 7), 0);
	CHECK_OK(store_overlay_write(s, n, &o, &err), &err);
	CHECK_OK(store_overlay_read(s, n, &back, &err), &err);
	CHECK_STR(back.revoked[0].name, "7");
	overlay_done(&back);
	/* The next boot: 7 is another's. */
	CHECK_INT(numbers_put(m, &other, 7), 0);
	CHECK_OK(store_overlay_read(s, m, &back, &err), &err);
	CHECK_INT(numbers_find(m, &key, &number), 0);
	CHECK(number != 7);
	(void)snprintf(now, sizeof(now), "%u", number);
	CHECK_STR(back.revoked[0].name, now);
	overlay_done(&back);
}

TEST(store_numbers_are_of_this_boot)
{
	CLEANUP(store_freep) struct store *s = fresh();
	CLEANUP(numbers_freep) struct numbers *c = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	CLEANUP(numbers_freep)
	struct numbers *i = numbers_new(MARK_IDENTITY_MIN, MARK_IDENTITY_MAX);
	CLEANUP(numbers_freep) struct numbers *c2 = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	CLEANUP(numbers_freep)
	struct numbers *i2 = numbers_new(MARK_IDENTITY_MIN, MARK_IDENTITY_MAX);
	CLEANUP(freep) char *path = mem_printf("%s/run/numbers", test_dir());
	CLEANUP(freep) char *text = NULL;
	struct number_key key;
	uint32_t number, again;
	struct err err;
	size_t len;
	bool found;

	CHECK_OK(store_numbers_read(s, c, i, &found, &err), &err);
	CHECK(!found);
	number_key_of("x", &key);
	CHECK_INT(numbers_get(c, &key, &number), 0);
	CHECK_OK(store_numbers_write(s, c, i, &err), &err);
	CHECK_OK(store_numbers_read(s, c2, i2, &found, &err), &err);
	CHECK(found);
	CHECK_INT(numbers_find(c2, &key, &again), 0);
	CHECK_UINT(again, number);

	/* Another boot's numbers would name flows that conntrack has forgotten. */
	CHECK_OK(file_read(AT_FDCWD, path, 4096, &text, &len, &err), &err);
	text[strlen("bailiwick-numbers 1 ")] ^= 1;
	CHECK_OK(file_write_durable(AT_FDCWD, path, text, len, 0600, &err), &err);
	CHECK_OK(store_numbers_read(s, c2, i2, &found, &err), &err);
	CHECK(!found);
}

TEST(store_history_is_bounded_and_in_order)
{
	CLEANUP(store_freep) struct store *s = fresh();
	CLEANUP(freep) char *path = mem_printf("%s/state/history", test_dir());
	CLEANUP(buf_done) struct buf b;
	json_t *all, *last = json_pack("{s:i}", "revision", STORE_HISTORY_MAX);
	struct err err;

	buf_init(&b, 1 << 20);
	for (int k = 0; k < STORE_HISTORY_MAX; k++)
		buf_printf(&b, "{\"revision\":%d}\n", k);
	CHECK_OK(file_write_durable(AT_FDCWD, path, b.data, b.len, 0600, &err), &err);
	CHECK_OK(store_history_add(s, last, &err), &err);
	json_decref(last);
	all = store_history(s);
	CHECK_UINT(json_array_size(all), STORE_HISTORY_MAX);
	CHECK_INT(json_integer_value(json_object_get(json_array_get(all, 0), "revision")), 1);
	json_decref(all);
}

TEST(store_says_when_it_cannot_write)
{
	CLEANUP(store_freep) struct store *s = fresh();
	CLEANUP(freep) char *path = mem_printf("%s/state/state.json", test_dir());
	struct store_state st = {0};
	struct err err;

	/* A directory in the file's place refuses the rename for root too. */
	CHECK_INT(mkdir(path, 0700), 0);
	CHECK(store_state_write(s, &st, &err) < 0);
	CHECK_CONTAINS(err.text, "state.json");
	CHECK(store_problem(s) != NULL);
}

/* What cannot be read must not be replaced by one line. */
TEST(store_history_that_cannot_be_read_is_left_alone)
{
	CLEANUP(store_freep) struct store *s = fresh();
	CLEANUP(freep) char *path = mem_printf("%s/state/history", test_dir());
	json_t *entry = json_pack("{s:i}", "revision", 1);
	struct err err;
	struct stat st;

	CHECK_INT(mkdir(path, 0700), 0);
	CHECK(store_history_add(s, entry, &err) < 0);
	CHECK_INT(stat(path, &st), 0);
	CHECK(S_ISDIR(st.st_mode));
	json_decref(entry);
}

TEST(store_digest_depends_on_names_and_texts_and_not_on_order)
{
	struct store_file files[] = {{text_b_yaml, text_two, 4}, {text_a_yaml, text_one, 4}};
	struct store_file swapped[] = {{text_b_yaml, text_one, 4}, {text_a_yaml, text_two, 4}};
	struct store_policy p = {.files = files, .file_count = 2}, q = {.files = swapped};
	char first[65];

	store_policy_digest(&p);
	CHECK_UINT(strlen(p.digest), 64);
	(void)snprintf(first, sizeof(first), "%s", p.digest);
	files[0] = (struct store_file){text_b_yaml, text_two, 4};
	files[1] = (struct store_file){text_a_yaml, text_one, 4};
	store_policy_digest(&p);
	CHECK_STR(p.digest, first);
	q.file_count = 2;
	store_policy_digest(&q);
	CHECK(strcmp(q.digest, first) != 0);
}

/* --- allocation failures ------------------------------------------------------------------ */

/* jansson's scanner reports some failed allocations as a bad token: refused either way. */
static int as_failure(int r)
{
	return mem_has_failed() && r == -EBADMSG ? -ENOMEM : r;
}

/* Outside of what is tested: the store is there before allocations fail. */
static int opened(struct store **ret)
{
	CLEANUP(freep) char *state = mem_printf("%s/state", test_dir());
	CLEANUP(freep) char *run = mem_printf("%s/run", test_dir());

	return state && run ? store_open(state, run, ret, NULL) : -ENOMEM;
}

OOM_TEST(store_state)
{
	CLEANUP(store_freep) struct store *s = NULL;
	struct store_state st = {.confirmed = 3, .mode = MODE_ENFORCE}, back;
	int r = opened(&s);

	if (r >= 0)
		r = store_state_write(s, &st, NULL);
	if (r >= 0)
		r = store_state_read(s, &back, NULL);
	return as_failure(r);
}

OOM_TEST(store_policy)
{
	CLEANUP(store_freep) struct store *s = NULL;
	struct store_file files[] = {{text_b_yaml, text_two, 4}, {text_a_yaml, text_one, 4}};
	struct store_policy p = {.revision = 1, .files = files, .file_count = 2}, back = {0};
	int r = opened(&s);

	store_policy_digest(&p);
	if (r >= 0)
		r = store_policy_write(s, &p, NULL);
	if (r >= 0)
		r = store_policy_read(s, 1, &back, NULL);
	if (r >= 0 && (back.file_count != 2 || strcmp(back.digest, p.digest) != 0))
		r = -EIO;
	store_policy_done(&back);
	/* Whole, although an allocation failed: jansson can do without some of its own. */
	return mem_has_failed() && r >= 0 ? -ENOMEM : as_failure(r);
}

OOM_TEST(store_overlay)
{
	CLEANUP(store_freep) struct store *s = NULL;
	CLEANUP(numbers_freep) struct numbers *n = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	struct overlay_revoked revoked[] = {
		{.kind = REVOKED_LABEL, .name = text_vendor_x, .until = {5}, .reason = text_r}};
	struct overlay_quarantine quarantined[] = {
		{.identity = text_prod_a, .keep = text_forensics, .reason = text_q}};
	struct overlay o = {.revoked = revoked,
			    .revoked_count = 1,
			    .quarantined = quarantined,
			    .quarantined_count = 1},
		       back = {0};
	int r = n ? opened(&s) : -ENOMEM;

	if (r >= 0)
		r = store_overlay_write(s, n, &o, NULL);
	if (r >= 0)
		r = store_overlay_read(s, n, &back, NULL);
	if (r >= 0 && (back.revoked_count != 1 || back.quarantined_count != 1))
		r = -EIO;
	overlay_done(&back);
	return as_failure(r);
}

OOM_TEST(store_history_entries)
{
	CLEANUP(store_freep) struct store *s = NULL;
	json_t *entry = json_pack("{s:i}", "revision", 1);
	int r = entry ? opened(&s) : -ENOMEM;

	if (r >= 0)
		r = store_history_add(s, entry, NULL);
	json_decref(entry);
	return as_failure(r);
}
