/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/enrol.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* A controller's answer with two policy keys and one of its own. */
struct scene {
	struct private_key policy[2], controller;
	char *text;
	struct enrol_request rq;
	struct enrol_result result;
	char trust_domain[256];
};

static void scene_make(struct scene *s, int policy_threshold, int controller_threshold)
{
	char *pem[3];
	struct err err = {{0}};
	json_t *json;

	*s = (struct scene){0};
	CHECK_OK(private_key_generate(KEY_ED25519, &s->policy[0], &err), &err);
	CHECK_OK(private_key_generate(KEY_P256, &s->policy[1], &err), &err);
	CHECK_OK(private_key_generate(KEY_ED25519, &s->controller, &err), &err);
	pem[0] = public_key_pem(&s->policy[0].public);
	pem[1] = public_key_pem(&s->policy[1].public);
	pem[2] = public_key_pem(&s->controller.public);
	json = json_pack("{s:i,s:s,s:{s:[s,s],s:i},s:{s:[s],s:i}}", "version", 1, "trust_domain",
			 "acme.example", "policy", "keys", pem[0], pem[1], "threshold",
			 policy_threshold, "controller", "keys", pem[2], "threshold",
			 controller_threshold);
	CHECK(json != NULL);
	s->text = json_dumps(json, 0);
	json_decref(json);
	for (size_t i = 0; i < 3; i++)
		free(pem[i]);
}

static void scene_done(struct scene *s)
{
	enrol_result_done(&s->result);
	private_key_done(&s->policy[0]);
	private_key_done(&s->policy[1]);
	private_key_done(&s->controller);
	free(s->text);
}

static int decode(struct scene *s, struct err *err)
{
	return enrol_trust_decode(s->text, strlen(s->text), &s->rq, &s->result, s->trust_domain,
				  err);
}

TEST(policy_keys_are_taken_by_their_pins_only)
{
	struct scene s;
	struct err err = {{0}};

	scene_make(&s, 1, 1);
	CHECK_OK(decode(&s, &err), &err);
	CHECK_UINT(s.result.policy_key_count, 0);
	CHECK_UINT(s.result.controller_key_count, 1);
	CHECK_STR(s.trust_domain, "acme.example");
	enrol_result_done(&s.result);
	s.rq.policy_pins[s.rq.policy_pin_count++] = s.policy[1].public.id;
	CHECK_OK(decode(&s, &err), &err);
	CHECK_UINT(s.result.policy_key_count, 1);
	CHECK_STR(s.result.policy_keys[0].id, s.policy[1].public.id);
	scene_done(&s);
}

TEST(a_pin_that_no_key_has_is_an_error)
{
	struct scene s;
	struct err err = {{0}};

	scene_make(&s, 1, 1);
	/* The controller's own key is no policy key, whatever somebody says. */
	s.rq.policy_pins[s.rq.policy_pin_count++] = s.controller.public.id;
	CHECK_INT(decode(&s, &err), -EKEYREJECTED);
	CHECK_CONTAINS(err.text, "no such policy key");
	scene_done(&s);
}

TEST(fewer_pins_than_signatures_are_an_error)
{
	struct scene s;
	struct err err = {{0}};

	scene_make(&s, 2, 1);
	s.rq.policy_pins[s.rq.policy_pin_count++] = s.policy[0].public.id;
	CHECK_INT(decode(&s, &err), -EKEYREJECTED);
	CHECK_CONTAINS(err.text, "more --policy-pin");
	enrol_result_done(&s.result);
	s.rq.policy_pins[s.rq.policy_pin_count++] = s.policy[1].public.id;
	CHECK_OK(decode(&s, &err), &err);
	CHECK_UINT(s.result.policy_threshold, 2);
	scene_done(&s);
}

TEST(trust_that_makes_no_sense_is_refused)
{
	static const char *const texts[] = {
		"",
		"[]",
		"{}",
		"{\"version\":2,\"trust_domain\":\"a\",\"policy\":{\"keys\":[],\"threshold\":1},"
		"\"controller\":{\"keys\":[],\"threshold\":1}}",
		"{\"version\":1,\"trust_domain\":\"A\",\"policy\":{\"keys\":[],\"threshold\":1},"
		"\"controller\":{\"keys\":[],\"threshold\":1}}",
		"{\"version\":1,\"trust_domain\":\"a\",\"policy\":{\"keys\":[],\"threshold\":1},"
		"\"controller\":{\"keys\":[],\"threshold\":1}}",
		"{\"version\":1,\"trust_domain\":\"a\",\"policy\":{\"keys\":[],\"threshold\":1},"
		"\"controller\":{\"keys\":[\"x\"],\"threshold\":1}}",
		"{\"version\":1,\"trust_domain\":\"a\",\"policy\":{\"keys\":[7],\"threshold\":1},"
		"\"controller\":{\"keys\":[],\"threshold\":1}}",
	};
	struct enrol_request rq = {0};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct enrol_result r = {0};
		char trust_domain[256];

		if (enrol_trust_decode(texts[i], strlen(texts[i]), &rq, &r, trust_domain, NULL) >=
		    0)
			test_fail(__FILE__, __LINE__, "case %zu is taken", i);
		enrol_result_done(&r);
	}
}

TEST(more_signatures_than_controller_keys_are_refused)
{
	struct scene s;
	struct err err = {{0}};

	scene_make(&s, 1, 2);
	CHECK_INT(decode(&s, &err), -EBADMSG);
	scene_done(&s);
}

TEST(pins_are_64_hex_digits_with_or_without_their_kind)
{
	static const char hex[] =
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	CLEANUP(freep) char *prefixed = mem_printf("sha256:%s", hex);

	CHECK_STR(pin_hex(hex), hex);
	CHECK_STR(pin_hex(prefixed), hex);
	CHECK(pin_hex("") == NULL);
	CHECK(pin_hex("sha256:") == NULL);
	CHECK(pin_hex(hex + 1) == NULL);
	CHECK(pin_hex("0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef") == NULL);
}

static int try_enrol(const char *url, const char *token, const char *pin, struct err *err)
{
	struct enrol_request rq = {.url = url, .token = token, .pin = pin};
	struct enrol_result r = {0};

	return enrol(&rq, &r, err);
}

TEST(wrong_words_are_told_before_anything_is_sent)
{
	static const char pin[] =
		"sha256:"
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	struct err err = {{0}};

	CHECK_INT(try_enrol("http://127.0.0.1:1", "tok_a.b", pin, &err), -EINVAL);
	CHECK_CONTAINS(err.text, "https://HOST");
	CHECK_INT(try_enrol("https://127.0.0.1:1/\"x", "tok_a.b", pin, &err), -EINVAL);
	CHECK_INT(try_enrol("https://127.0.0.1:1", "tok_ab", pin, &err), -EINVAL);
	CHECK_CONTAINS(err.text, "tok_ID.SECRET");
	CHECK_INT(try_enrol("https://127.0.0.1:1", "tok_a.b\r\nX: y", pin, &err), -EINVAL);
	CHECK_INT(try_enrol("https://127.0.0.1:1", "tok_a.b", "sha256:00", &err), -EINVAL);
	CHECK_CONTAINS(err.text, "--pin");
}
