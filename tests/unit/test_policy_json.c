/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A policy as JSON says what it says as YAML: the round trip through both readers. */
#include "rules/policy_json.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/yaml_tree.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (1U << 20)

static void no_mistakes(void *user, uint32_t line, uint32_t column, const char *message,
			const char *advice)
{
	(void)advice;
	test_fail(__FILE__, __LINE__, "%s:%u:%u: %s", (const char *)user, line, column, message);
}

static bool is_null(const struct yaml_tree_node *n)
{
	return n->plain && (n->text[0] == '\0' || str_eq(n->text, "~") || str_eq(n->text, "null"));
}

/* All that later readings look at. */
static void same_nodes(const char *what, const struct yaml_tree_node *a,
		       const struct yaml_tree_node *b)
{
	for (; a != NULL && b != NULL; a = a->next, b = b->next) {
		CHECK_INT(b->kind, a->kind);
		CHECK_STR(b->key, a->key);
		if (a->kind == YAML_TREE_SCALAR) {
			CHECK_INT(is_null(b), is_null(a));
			if (!is_null(a))
				test_check_str(__FILE__, __LINE__, what, b->text, a->text);
		}
		same_nodes(what, a->child, b->child);
	}
	CHECK(a == NULL && b == NULL);
}

static void round_trip(const char *what, const char *yaml, size_t len)
{
	const struct yaml_report report = {.error = no_mistakes, .user = (void *)(uintptr_t)what};
	CLEANUP(yaml_tree_done) struct yaml_tree before = {0}, after = {0};
	CLEANUP(freep) char *json = NULL;
	CLEANUP(freep) char *again = NULL;
	struct err err = {0};
	size_t json_len, again_len;
	json_t *root;

	CHECK_OK(policy_json(yaml, len, &json, &json_len), NULL);
	CHECK_UINT(strlen(json), json_len);
	CHECK_OK(yaml_tree_parse(yaml, len, &report, &before), NULL);
	CHECK_OK(yaml_tree_parse(json, json_len, &report, &after), NULL);
	same_nodes(what, before.root, after.root);
	CHECK_OK(json_parse_strict(json, json_len, what, &root, &err), &err);
	json_decref(root);
	CHECK_OK(policy_json(json, json_len, &again, &again_len), NULL);
	CHECK_STR(again, json);
}

static void sound_file(const char *path)
{
	CLEANUP(policy_freep) struct policy *p = NULL;
	CLEANUP(policy_freep) struct policy *q = NULL;
	CLEANUP(freep) char *text = NULL;
	CLEANUP(freep) char *json = NULL;
	char findings[FINDINGS_TEXT_MAX];
	struct err err = {0};
	size_t len, json_len;

	CHECK_OK(file_read(AT_FDCWD, path, FILE_MAX, &text, &len, &err), &err);
	p = policy_of_bytes(text, len);
	CHECK(p != NULL);
	if (p->error_count > 0)
		return;
	round_trip(path, text, len);
	CHECK_OK(policy_json(text, len, &json, &json_len), NULL);
	q = policy_of_bytes(json, json_len);
	CHECK(q != NULL);
	CHECK_STR(findings_text(findings, q, FINDING_ERROR), "");
	CHECK_UINT(q->identity_count, p->identity_count);
	CHECK_UINT(q->rule_count, p->rule_count);
	CHECK_UINT(q->network_count, p->network_count);
	CHECK_UINT(q->node_count, p->node_count);
	CHECK_UINT(q->separation_count, p->separation_count);
	CHECK_UINT(q->list_count, p->list_count);
	CHECK_UINT(q->warning_count, p->warning_count);
	for (size_t i = 0; i < p->rule_count; i++) {
		CHECK_UINT(q->rules[i].from_party_count, p->rules[i].from_party_count);
		CHECK_UINT(q->rules[i].to_party_count, p->rules[i].to_party_count);
		CHECK_INT(q->rules[i].expires.s, p->rules[i].expires.s);
		CHECK_INT(q->rules[i].assurance, p->rules[i].assurance);
		CHECK_UINT(q->rules[i].window.from_min, p->rules[i].window.from_min);
	}
}

static void sound_files_below(const char *dir, const char *suffix)
{
	struct dirent **names;
	int count = scandir(dir, &names, NULL, alphasort);

	CHECK(count > 0);
	for (int i = 0; i < count; i++) {
		char path[512];

		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
		if (names[i]->d_name[0] != '.' && str_ends(names[i]->d_name, suffix))
			sound_file(path);
		free(names[i]);
	}
	free(names);
}

TEST(policies_of_examples_goldens_and_corpus_survive_the_round_trip)
{
	sound_files_below("examples/payments", ".yaml");
	sound_files_below("examples/templates", ".yaml");
	sound_files_below("tests/golden/rulesets/everything", ".yaml");
	sound_files_below("tests/golden/rulesets/one-rule", ".yaml");
	sound_files_below("tests/fuzz/corpus/policy", "");
}

TEST(every_kind_of_text_comes_back_letter_for_letter)
{
	static const char *const texts[] = {
		"a: plain\nb: 'single ''quoted'''\nc: \"double \\\"quoted\\\" \\\\ \\/\"\n",
		"a: >-\n  folded\n  text\nb: |-\n  literal\nc: plain over\n  two lines\n",
		"a: [x, 'y z', \"q\"]\nb: {k: v, 'l': [1, [2, {m: 3}]]}\nc: []\nd: {}\n",
		"a: 18:00\nb: 2027-06-30\nc: 2027-06-30T00:00:00Z\nd: 02:00:00:00:00:07\n",
		"a: 0\nb: 1000\nc: 010\nd: 0x1f\ne: 1.50\nf: 1e3\ng: -5\nh: +5\ni: 0o17\n",
		"a: 999999999999999\nb: 1000000000000000\nc: 99999999999999999999999999\n",
		"a: true\nb: false\nc: True\nd: yes\ne: on\nf: 'true'\ng: \"1000\"\n",
		"a: ~\nb: null\nc:\nd: 'null'\ne: \"~\"\nf: ''\ng: NULL\n",
		"a: gr\xc3\xbc\xc3\x9f\x65\nb: \xe6\xbc\xa2\xe5\xad\x97\nc: \xf0\x9f\x94\x92\n",
		"a: \"\\u00fc \\U0001f512\"\nb: \"a\\L b\\P c\"\nc: \"\\ufeff\\ufffe\\uffff\"\n",
		"a: \"  spaces  \"\nb: 'tail '\nc: \"a: b # c\"\nd: '# no comment'\n",
		"'a b': c\n\"d\\\"e\": f\n? g\n: h\n",
		"# a comment\na: b # another\n\n\nc: d\n",
		"{\"json\": [\"already\", 1, true, null]}",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		round_trip(texts[i], texts[i], strlen(texts[i]));
}

TEST(numbers_stay_numbers_only_where_json_writes_them_alike)
{
	static const char yaml[] = "user: 1000\nport: 010\nfrom: 18:00\nfast: true\nname: 'true'\n"
				   "list: [\"1\", 1, {a: ~}]\nmap: {k: [v, {x: y}]}\n";
	CLEANUP(freep) char *json = NULL;
	size_t len;

	CHECK_OK(policy_json(yaml, strlen(yaml), &json, &len), NULL);
	CHECK_STR(json, "{\"user\": 1000,\n"
			" \"port\": \"010\",\n"
			" \"from\": \"18:00\",\n"
			" \"fast\": true,\n"
			" \"name\": \"true\",\n"
			" \"list\": [\"1\", 1, {\"a\": null}],\n"
			" \"map\": {\"k\": [\"v\", {\"x\": \"y\"}]}}\n");
}

/* A node says "policy.json:9" of what somebody wrote in line 9 of policy.yaml. */
TEST(entries_stand_on_the_lines_of_the_yaml)
{
	static const char yaml[] = "# who\n\na: b\nlist:\n  # the first\n  - x: 1\n    y: 2\n\n"
				   "  - z\nmap:\n  k: >-\n    l\n    m\n  n: [o,\n    p]\nlast:\n";
	CLEANUP(freep) char *json = NULL;
	size_t len;

	CHECK_OK(policy_json(yaml, strlen(yaml), &json, &len), NULL);
	CHECK_STR(json,
		  "{\n\n \"a\": \"b\",\n \"list\": [\n\n  {\"x\": 1, \"y\": 2},\n\n\n  \"z\"],\n"
		  " \"map\": {\n  \"k\": \"l m\",\n\n\n  \"n\": [\"o\", \"p\"]},\n\n"
		  " \"last\": null}\n");
	round_trip("lines", yaml, strlen(yaml));
}

TEST(what_is_no_sound_mapping_is_refused)
{
	static const char *const texts[] = {
		"",
		"# nothing\n",
		"- a\n",
		"text\n",
		"a: [b\n",
		"a: *b\n",
		"a: 1\n---\nb: 2\n",
		"a: \"\\0\"\n",
		"a: \"\\e[31m\"\n",
		"a: !!int 5\n",
		"a: &b c\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		char untouched[] = "untouched", *json = untouched;
		size_t len = 7;

		CHECK_INT(policy_json(texts[i], strlen(texts[i]), &json, &len), -EBADMSG);
		CHECK_STR(json, "untouched");
		CHECK_UINT(len, 7);
	}
}

OOM_TEST(json_without_memory)
{
	static const char yaml[] = "a: [b, c]\nd: {e: f}\n";
	char *json = NULL;
	size_t len;
	int r = policy_json(yaml, strlen(yaml), &json, &len);

	if (r == 0)
		free(json);
	return r;
}
