/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/change_words.h"

#include "base/json.h"
#include "base/mem.h"
#include "tests/unit/compile_fixture.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

#define IDS TOP ID("a", "") ID("b", "") ID("c", "") "rules:\n"

static void json_freep(json_t **j)
{
	json_decref(*j);
}

struct change {
	struct compiled f;
	struct edition before;
	json_t *words;
};

static void change_done(struct change *c)
{
	json_decref(c->words);
	generation_free(c->before.gen);
	policy_free(c->before.policy);
	compiled_done(&c->f);
}

static void change(struct change *c, const char *old, const char *new_)
{
	memset(&c->before, 0, sizeof(c->before));
	c->words = NULL;
	compiled_init(&c->f, old);
	compiled_place(&c->f, "prod/a", NULL);
	compiled_peer(&c->f, "prod/b", "b-1", "10.0.0.9", NULL);
	compiled_peer(&c->f, "prod/c", "c-1", "10.0.0.10", NULL);
	compiled_run(&c->f);
	c->before.gen = TAKE_PTR(c->f.g);
	c->before.policy = policy_sound(old);
	compiled_policy(&c->f, new_);
	compiled_run(&c->f);
	c->words = change_words(&c->before, c->f.policy, c->f.g);
	CHECK(c->words != NULL);
}

static const json_t *list(const struct change *c, const char *name, size_t expected)
{
	const json_t *l = json_object_get(c->words, name);

	CHECK(json_is_array(l));
	CHECK_UINT(json_array_size(l), expected);
	return l;
}

static const char *word(const json_t *l, size_t i, const char *key)
{
	return json_string_value(json_object_get(json_array_get(l, i), key));
}

static void check_reach(const struct change *c, const char *path, int before, int after)
{
	const json_t *l = json_object_get(c->words, "reach"), *o;
	size_t i;

	json_array_foreach(l, i, o) {
		if (strcmp(word(l, i, "identity"), path) != 0)
			continue;
		CHECK_INT(json_integer_value(json_object_get(o, "before")), before);
		CHECK_INT(json_integer_value(json_object_get(o, "after")), after);
		return;
	}
	CHECK_INT(-1, before);
}

TEST(words_name_what_a_change_adds)
{
	CLEANUP(change_done) struct change c;
	const json_t *adds;

	change(&c, IDS AB("x", ""), IDS AB("x", "") RULE("y", "a", "c", "tcp/443", ""));
	adds = list(&c, "adds", 1);
	CHECK_CONTAINS(word(adds, 0, "from"), "a@pay-1");
	CHECK_STR(word(adds, 0, "to"), "c@c-1");
	CHECK_STR(word(adds, 0, "service"), "tcp/443");
	CHECK_STR(word(adds, 0, "rule"), "y");
	CHECK_STR(word(adds, 0, "effect"), "open");
	(void)list(&c, "removes", 0);
	(void)list(&c, "changes", 0);
	check_reach(&c, "prod/a", 1, 2);
}

TEST(words_name_what_a_change_removes)
{
	CLEANUP(change_done) struct change c;
	const json_t *removes;

	change(&c, IDS AB("x", "") RULE("y", "a", "c", "tcp/443", ""), IDS AB("x", ""));
	removes = list(&c, "removes", 1);
	CHECK_STR(word(removes, 0, "to"), "c@c-1");
	CHECK_STR(word(removes, 0, "rule"), "y");
	CHECK_STR(word(removes, 0, "effect"), "closed");
	(void)list(&c, "adds", 0);
	check_reach(&c, "prod/a", 2, 1);
}

/* The conduit stays, and says of itself that it runs no more. */
TEST(words_call_an_expired_rule_a_removal)
{
	CLEANUP(change_done) struct change c;

	change(&c, IDS AB("x", ""), IDS AB("x", EXPIRED));
	(void)list(&c, "adds", 0);
	CHECK_STR(word(list(&c, "removes", 1), 0, "effect"), "closed");
}

TEST(words_tell_a_conversation_that_gets_an_end)
{
	CLEANUP(change_done) struct change c;
	const json_t *changes;

	change(&c, IDS AB("x", ""), IDS AB("x", EXPIRES));
	changes = list(&c, "changes", 1);
	CHECK_STR(word(changes, 0, "effect"), "open, with an end");
	(void)list(&c, "adds", 0);
	(void)list(&c, "removes", 0);
	/* Touched, although it reaches as many as before; the others are not. */
	(void)list(&c, "reach", 1);
	check_reach(&c, "prod/a", 1, 1);
}

TEST(words_say_nothing_of_another_order_and_other_names)
{
	CLEANUP(change_done) struct change c;

	change(&c, IDS AB("x", "") RULE("y", "a", "c", "tcp/443", ""),
	       IDS RULE("z", "a", "c", "tcp/443", "") AB("x", ""));
	(void)list(&c, "adds", 0);
	(void)list(&c, "removes", 0);
	(void)list(&c, "changes", 0);
	(void)list(&c, "reach", 0);
}

/* Two rules to the same party are one in the reach, also when they come in turns. */
TEST(words_count_a_party_once)
{
	CLEANUP(change_done) struct change c;

	change(&c, IDS AB("x", ""),
	       IDS AB("x", "") RULE("y", "a", "c", "tcp/443", "")
		       RULE("z", "a", "b", "tcp/8080", ""));
	check_reach(&c, "prod/a", 1, 2);
	(void)list(&c, "adds", 2);
}

TEST(words_begin_from_nothing)
{
	CLEANUP(compiled_done) struct compiled f;
	CLEANUP(json_freep) json_t *words = NULL;
	const struct edition none = {0};

	compiled_init(&f, IDS AB("x", ""));
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9", NULL);
	compiled_run(&f);
	words = change_words(&none, f.policy, f.g);
	CHECK(words != NULL);
	CHECK_UINT(json_array_size(json_object_get(words, "adds")), 1);
	CHECK_UINT(json_array_size(json_object_get(words, "reach")), 3);
}
