/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What comes before meaning: bytes, YAML itself, kinds, keys, limits, JSON as YAML. */
#include "rules/policy.h"

#include "base/buf.h"
#include "base/mem.h"
#include "rules/yaml_tree.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TOP            "trust_domain: acme.example\n"
#define BYTES(literal) literal, sizeof(literal) - 1

static const struct {
	const char *text;
	size_t len;
	const char *errors;
} no_policies[] = {
	{BYTES(""), "p.yaml:1:1: the file holds no policy; begin with trust_domain: and the "
		    "name of your trust domain\n"},
	{BYTES("# nothing\n\n"), "p.yaml:1:1: the file holds no policy; begin with "
				 "trust_domain: and the name of your trust domain\n"},
	{BYTES("x"), "p.yaml:1:1: this entry must be a mapping; write {key: value, ...}\n"},
	{BYTES("[]"), "p.yaml:1:1: this entry must be a mapping; write {key: value, ...}\n"},
	{BYTES("{}"), "p.yaml:1:1: trust_domain is missing; add trust_domain:\n"},
	{BYTES("trust_domain:\n"), "p.yaml:1:14: \"trust_domain\" is empty; write a value, "
				   "or leave the key out\n"},
	{BYTES("trust_domain: null\n"), "p.yaml:1:15: \"trust_domain\" is empty; write a "
					"value, or leave the key out\n"},
	{BYTES("trust_domain: [x]\n"), "p.yaml:1:15: \"trust_domain\" must be a single value; "
				       "write one word or text\n"},
	{BYTES("trust_domain: Acme\n"),
	 "p.yaml:1:15: \"Acme\" is not a trust domain; write lower-case letters, digits, "
	 "'.', '_', '-', at most 255\n"},
	{BYTES(TOP "rules: {a: b}\n"), "p.yaml:2:8: \"rules\" must be a list; write [...]\n"},
	{BYTES(TOP "rules: [a, [b], {c: d}]\n"),
	 "p.yaml:2:9: this entry must be a mapping; write {key: value, ...}\n"
	 "p.yaml:2:12: this entry must be a mapping; write {key: value, ...}\n"
	 "p.yaml:2:17: from is missing; add from:\n"
	 "p.yaml:2:17: name is missing; add name:\n"
	 "p.yaml:2:17: owner is missing; add owner:\n"
	 "p.yaml:2:17: purpose is missing; add purpose:\n"
	 "p.yaml:2:17: services is missing; add services:\n"
	 "p.yaml:2:17: to is missing; add to:\n"
	 "p.yaml:2:18: unknown key \"c\"; known here: name, from, to, services, purpose, "
	 "owner, assurance, callee, mode, expires, window, on_unavailable, on_clock_loss, "
	 "on_stale, grantable, max_flows, ticket, review\n"},
	{BYTES(TOP TOP), "p.yaml:2:1: \"trust_domain\" is written twice; keep one (the first "
			 "is in line 1)\n"},
	{BYTES(TOP "bogus: &a [x]\nmore: *a\n"),
	 "p.yaml:2:1: unknown key \"bogus\"; known here: trust_domain, defaults, "
	 "identities, "
	 "rules, separations, networks, nodes, devices, zones\n"
	 "p.yaml:2:8: an anchor; they are not allowed here; remove it, or quote the "
	 "value if "
	 "the & is meant\n"
	 "p.yaml:3:1: unknown key \"more\"; known here: trust_domain, defaults, "
	 "identities, "
	 "rules, separations, networks, nodes, devices, zones\n"
	 "p.yaml:3:7: an alias; they are not allowed here; write the value out, or quote "
	 "it "
	 "if the * is meant\n"},
	{BYTES("trust_domain: !!str a\n"),
	 "p.yaml:1:15: a tag; they are not allowed here; remove it, or quote the value if "
	 "the ! is meant\n"},
	{BYTES("%YAML 1.1\n---\n" TOP),
	 "p.yaml:1:1: a directive; they are not allowed here; remove the lines with %\n"},
	{BYTES(TOP "---\n" TOP), "p.yaml:2:1: a second document begins here; put it into a "
				 "file of its own\n"},
	{BYTES("? [a, b]\n: c\n"), "p.yaml:1:3: a list or map stands where a key is expected; "
				   "write key: value\n"},
	{BYTES("*a : c\n"), "p.yaml:1:1: an alias; they are not allowed here; write the value "
			    "out, or quote it if the * is meant\n"},
	{BYTES("\"trust_domain\\0x\": a\n"),
	 "p.yaml:1:1: a key that is too long or holds control characters; write key: "
	 "value\n"},
	{BYTES("trust_domain: \"a\\0b\"\n"),
	 "p.yaml:1:15: a text with a line break, NUL or other control character; write "
	 "it on "
	 "one line, without escapes\n"},
	{BYTES("trust_domain: |\n  a\n"),
	 "p.yaml:1:15: a text with a line break, NUL or other control character; write "
	 "it on "
	 "one line, without escapes\n"},
	{BYTES("trust_domain: a\0b\n"), "p.yaml:1:16: control character \\x00; remove it\n"},
	{BYTES("trust_domain: a\x1b[31m\n"), "p.yaml:1:16: control character \\x1b; remove it\n"},
	{BYTES("a\n\nb \xff\n"), "p.yaml:3:3: byte \\xff is not UTF-8; save the file as UTF-8\n"},
	{BYTES("\xff\xfe\x61\x00"),
	 "p.yaml:1:1: byte \\xff is not UTF-8; save the file as UTF-8\n"},
	{BYTES("a: \xed\xa0\x80\n"),
	 "p.yaml:1:4: byte \\xed is not UTF-8; save the file as UTF-8\n"},
	{BYTES("nodes: [b\n"), "p.yaml:1:9: this entry must be a mapping; write {key: value, "
			       "...}\n"
			       "p.yaml:2:1: not YAML: did not find expected ',' or ']' (while "
			       "parsing a flow sequence that began in line 1)\n"},
	{BYTES(TOP "  x: y\n"), "p.yaml:2:4: not YAML: mapping values are not allowed in this "
				"context\n"},
	{BYTES(TOP "\trules: []\n"),
	 "p.yaml:2:1: not YAML: found a tab character that violates indentation (while "
	 "scanning a plain scalar that began in line 1)\n"},
};

TEST(policy_text_that_is_no_policy)
{
	char buf[FINDINGS_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_LEN(no_policies); i++) {
		CLEANUP(policy_freep)
		struct policy *p = policy_of_bytes(no_policies[i].text, no_policies[i].len);

		CHECK(p != NULL);
		CHECK_STR(findings_text(buf, p, FINDING_ERROR), no_policies[i].errors);
	}
}

TEST(policy_zero_and_yes_are_texts)
{
	/* YAML 1.1 would make 8 of 010, true of yes and a number of 1e3. */
	CLEANUP(policy_freep)
	struct policy *p = policy_sound(
		TOP
		"identities: [{name: 010, path: 1e3, labels: [a=yes], workload: [{user: 0}]}]\n");

	CHECK_STR(p->identities[0].name, "010");
	CHECK_STR(p->identities[0].path, "1e3");
	CHECK_STR(p->identities[0].workload[0].selectors[0].value, "0");
}

TEST(policy_as_json)
{
	CLEANUP(policy_freep)
	struct policy *p = policy_sound(
		"{\n\t\"trust_domain\": \"acme.example\",\n\t\"identities\": [\n"
		"\t\t{\"name\": \"a\", \"path\": \"prod\\/a\", \"labels\": [\"x=y\"],\n"
		"\t\t \"workload\": [{\"unit\": \"a.service\"}]}],\n"
		"\t\"rules\": [{\"name\": \"r\", \"from\": [\"a\"], \"to\": [\"x=y\"],\n"
		"\t\t\"services\": [\"tcp/1\"], \"purpose\": \"say \\\"hi\\\" \\u00e9\",\n"
		"\t\t\"owner\": \"o\", \"assurance\": \"mapped\"}]}\n");

	CHECK_STR(p->identities[0].path, "prod/a");
	CHECK_STR(p->rules[0].purpose, "say \"hi\" \xc3\xa9");
	CHECK_UINT(p->rules[0].from[0].pos.line, 6);
	CHECK_UINT(p->rules[0].from[0].pos.column, 35);
}

TEST(policy_byte_order_mark_is_no_matter)
{
	CLEANUP(policy_freep) struct policy *p = policy_sound("\xef\xbb\xbf" TOP);

	CHECK_STR(p->trust_domain, "acme.example");
}

TEST(policy_deep_long_and_many)
{
	CLEANUP(buf_done) struct buf b;
	char out[FINDINGS_TEXT_MAX];

	buf_init(&b, 64U << 20);
	for (int i = 0; i < 1000000; i++)
		buf_putc(&b, '[');
	{
		CLEANUP(policy_freep) struct policy *p = policy_of_bytes(b.data, b.len);

		CHECK_STR(findings_text(out, p, FINDING_ERROR),
			  "p.yaml:1:1: this entry must be a mapping; write {key: value, ...}\n"
			  "p.yaml:1:17: nested deeper than 16 levels\n");
	}
	buf_done(&b);
	buf_init(&b, 64U << 20);
	buf_puts(&b, "trust_domain: ");
	for (int i = 0; i < 1000000; i++)
		buf_putc(&b, 'a');
	{
		CLEANUP(policy_freep) struct policy *p = policy_of_bytes(b.data, b.len);

		CHECK_STR(findings_text(out, p, FINDING_ERROR),
			  "p.yaml:1:15: a text of 1000000 bytes; the longest allowed has 4096; "
			  "shorten it\n");
	}
	buf_done(&b);
	buf_init(&b, 64U << 20);
	buf_puts(&b, TOP);
	for (int i = 0; i < 1000; i++)
		buf_printf(&b, "wrong%d: x\n", i);
	{
		CLEANUP(policy_freep) struct policy *p = policy_of_bytes(b.data, b.len);

		CHECK_UINT(p->error_count, 1000);
		CHECK_UINT(p->finding_count, POLICY_ERRORS_MAX);
	}
}

TEST(policy_text_too_large)
{
	CLEANUP(policy_freep) struct policy *p = policy_new();

	CHECK(p != NULL);
	CHECK_INT(policy_add_text(p, "p.yaml", "", (size_t)POLICY_TEXT_MAX + 1), -E2BIG);
}

/* Read from blocks of the exact size: a sanitizer sees the first byte too many. */
static void check_prefixes(const char *text)
{
	for (size_t len = 0; len <= strlen(text); len++) {
		char *exact = malloc(len > 0 ? len : 1);
		struct policy *p;

		memcpy(exact, text, len);
		p = policy_of_bytes(exact, len);
		CHECK(p != NULL);
		for (size_t i = 0; i < p->finding_count; i++)
			CHECK(p->findings[i].message[0] != '\0');
		policy_free(p);
		free(exact);
	}
}

TEST(policy_cut_anywhere_is_judged_without_harm)
{
	check_prefixes(TOP
		       "defaults: {assurance: mapped}\n"
		       "identities:\n"
		       "  - {name: a, path: x, workload: [{unit: \"a.service\"}], labels: [b=c]}\n"
		       "rules:\n"
		       "  - name: r\n"
		       "    from: ['b=c']\n"
		       "    to: [a, w]\n"
		       "    services: [tcp/1]\n"
		       "    purpose: >\n"
		       "      two\n"
		       "    owner: o\n"
		       "networks: [{name: w, cidrs: [10.0.0.0/8]}]\n"
		       "separations: [{label: b, except: [{rule: r, reason: x, owner: o,\n"
		       "  expires: 2027-01-01T00:00:00Z}]}]\n");
	check_prefixes("{\"trust_domain\":\"a\",\"identities\":[{\"name\":\"\\u00e9\"}],"
		       "\"nodes\":[{\"pattern\":\"a*\",\"spki\":[\"00\"]}]}");
}

TEST(quoting_of_foreign_text)
{
	char buf[YAML_QUOTE_MAX];
	char longer[200];

	CHECK_STR(yaml_quote(buf, "a b"), "\"a b\"");
	CHECK_STR(yaml_quote(buf, "\x1b[0m\xff"), "\"\\x1b[0m\\xff\"");
	CHECK_STR(yaml_quote(buf, "gr\xc3\xbc\xc3\x9f"), "\"gr\xc3\xbc\xc3\x9f\"");
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	CHECK_UINT(strlen(yaml_quote(buf, longer)), 1 + 63 + 3 + 1);
	memset(longer, '\x01', sizeof(longer) - 1);
	CHECK(strlen(yaml_quote(buf, longer)) < YAML_QUOTE_MAX);
}
