/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The policy of DESIGN section 6 and what is wrong with others: exact texts, exact places. */
#include "rules/policy.h"

#include "base/mem.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TOP "trust_domain: acme.example\n"
/* Lines 2 to 7. */
#define TWO                                                                                        \
	TOP "identities:\n"                                                                        \
	    "  - name: settlement\n"                                                               \
	    "    path: prod/settlement\n"                                                          \
	    "    workload: [{unit: settlement.service}]\n"                                         \
	    "  - {name: api, path: prod/api, workload: [{unit: api.service}], serves: [tcp/8443]}\n"
#define RULE(from, to, services, more)                                                             \
	"rules:\n"                                                                                 \
	"  - name: r\n"                                                                            \
	"    from: [" from "]\n"                                                                   \
	"    to: [" to "]\n"                                                                       \
	"    services: [" services "]\n"                                                           \
	"    purpose: p\n"                                                                         \
	"    owner: o\n" more
#define MAPPED "    assurance: mapped\n"

struct mistake {
	const char *text, *errors;
};

static void check_mistakes(const struct mistake *cases, size_t count)
{
	char buf[FINDINGS_TEXT_MAX];

	for (size_t i = 0; i < count; i++) {
		CLEANUP(policy_freep) struct policy *p = policy_of(cases[i].text);

		CHECK(p != NULL);
		CHECK_STR(findings_text(buf, p, FINDING_ERROR), cases[i].errors);
		for (size_t k = 0; k < p->finding_count; k++)
			CHECK(p->findings[k].advice != NULL);
	}
}

TEST(policy_of_the_design_loads)
{
	CLEANUP(policy_freep)
	struct policy *p = policy_sound(
		TOP "defaults: {assurance: mapped, deny_in: reject}\n"
		    "identities:\n"
		    "  - name: settlement\n"
		    "    path: prod/payments/settlement\n"
		    "    labels: [environment=prod, tier=low, pci=yes]\n"
		    "    workload:\n"
		    "      - {unit: settlement.service, user: settlement}\n"
		    "    placement: {nodes: [\"pay-*\"], labels: [site=eu-1]}\n"
		    "    mode: observe\n"
		    "    deny_out: drop\n"
		    "    min_assurance: mapped\n"
		    "  - name: api\n"
		    "    path: prod/payments/api\n"
		    "    labels: [environment=prod]\n"
		    "    workload: [{unit: api.service}, {slice: api.slice, exe: /usr/bin/api}]\n"
		    "    serves: [tcp/8443]\n"
		    "rules:\n"
		    "  - name: settlement-calls-api\n"
		    "    from: [settlement]\n"
		    "    to: [api]\n"
		    "    services: [tcp/8443]\n"
		    "    purpose: nightly settlement run\n"
		    "    owner: payments\n"
		    "    ticket: CHG-1\n"
		    "    review: 2027-01-01\n"
		    "    expires: 2027-06-30T00:00:00Z\n"
		    "    window: {days: [mon, fri], from: \"18:00\", to: \"06:00\", zone: UTC}\n"
		    "    on_unavailable: allow\n"
		    "    on_clock_loss: open\n"
		    "    mode: observe\n"
		    "  - {name: ship-logs, from: [\"environment=prod\"], to: [world],\n"
		    "     services: [tcp/6514, udp/any], purpose: logging, owner: sre}\n"
		    "separations:\n"
		    "  - {label: environment, except: [{rule: ship-logs, reason: logging,\n"
		    "     owner: sre, expires: 2027-01-31T00:00:00Z}]}\n"
		    "networks:\n"
		    "  - {name: world, cidrs: [\"0.0.0.0/0\", \"::/0\"], labels: [site=any]}\n"
		    "nodes:\n"
		    "  - {pattern: \"pay-*\", addresses: [10.0.0.0/29], labels: [site=eu-1]}\n");
	const struct rule *r = &p->rules[0];

	CHECK_STR(p->trust_domain, "acme.example");
	CHECK_INT(p->deny_out, DENY_REJECT);
	CHECK_INT(p->deny_in, DENY_REJECT);
	CHECK_INT(p->assurance, ASSURANCE_MAPPED);
	CHECK_UINT(p->identity_count, 2);
	CHECK(p->identities[0].observe && !p->identities[1].observe);
	CHECK_INT(p->identities[0].deny_out, DENY_DROP);
	CHECK_INT(p->identities[0].deny_in, DENY_DEFAULT);
	CHECK_INT(p->identities[0].min_assurance, ASSURANCE_MAPPED);
	CHECK_STR(label_value(p->identities[0].labels, 3, "pci"), "yes");
	CHECK_STR(p->identities[0].placement_nodes[0], "pay-*");
	CHECK_STR(p->identities[0].placement_labels[0].value, "eu-1");
	CHECK_UINT(p->identities[0].workload[0].selector_count, 2);
	CHECK_INT(p->identities[0].workload[0].selectors[1].kind, SELECTOR_USER);
	CHECK_STR(p->identities[1].workload[1].selectors[1].value, "/usr/bin/api");
	CHECK_UINT(p->identities[0].pos.line, 4);
	CHECK_UINT(p->identities[0].pos.column, 5);
	CHECK_UINT(p->rule_count, 2);
	CHECK_STR(r->purpose, "nightly settlement run");
	CHECK_STR(r->ticket, "CHG-1");
	CHECK_STR(r->review, "2027-01-01");
	CHECK_INT(r->expires.s, 1814313600);
	CHECK_UINT(r->window.days, 1 | 16);
	CHECK_UINT(r->window.from_min, 18 * 60);
	CHECK_UINT(r->window.to_min, 6 * 60);
	CHECK_STR(r->window.zone, "UTC");
	CHECK_INT(r->on_unavailable, ON_UNAVAILABLE_ALLOW);
	CHECK_INT(r->on_clock_loss, ON_CLOCK_LOSS_OPEN);
	CHECK(r->observe && !p->rules[1].observe);
	CHECK_INT(p->rules[1].assurance, ASSURANCE_MAPPED);
	CHECK_UINT(p->rules[1].from_party_count, 2);
	CHECK_INT(p->rules[1].to_parties[0].kind, PARTY_NETWORK);
	CHECK_UINT(p->networks[0].prefix_count, 2);
	CHECK_UINT(p->nodes[0].address_count, 1);
	CHECK_UINT(p->separations[0].except_count, 1);
	CHECK(p->build == NULL);
}

static const struct mistake rule_mistakes[] = {
	{TWO "rules:\n  - {name: r, from: [api], to: [api], services: [tcp/1],\n"
	     "     assurance: mapped}\n",
	 "p.yaml:8:5: \"r\" has no owner; add owner:\n"
	 "p.yaml:8:5: \"r\" has no purpose; add purpose:\n"},
	{TWO "rules:\n  - {name: r, from: [api], to: [api], services: [tcp/1],\n"
	     "     assurance: mapped, purpose: '', owner: ~}\n",
	 "p.yaml:9:34: \"purpose\" is empty; write a value, or leave the key out\n"
	 "p.yaml:9:45: \"owner\" is empty; write a value, or leave the key out\n"},
	{TWO RULE("settlment", "api", "tcp/8443", MAPPED),
	 "p.yaml:9:12: no identity is called \"settlment\"; did you mean \"settlement\" "
	 "(line 3)?\n"},
	{TWO RULE("prod/settlement", "api", "tcp/8443", MAPPED),
	 "p.yaml:9:12: no identity is called \"prod/settlement\"; did you mean "
	 "\"settlement\" (line 3)?\n"},
	{TWO RULE("quite-different", "api", "tcp/8443", MAPPED),
	 "p.yaml:9:12: no identity or network is called \"quite-different\"; declare it, "
	 "or "
	 "write a label expression like environment=prod\n"},
	{TWO RULE("10.0.0.5", "api", "tcp/8443", MAPPED),
	 "p.yaml:9:12: \"10.0.0.5\" is an address, not an identity; give the peer an "
	 "identity, or declare the range under networks: and name that\n"},
	{TWO RULE("api", "\"fd00::/8\"", "tcp/8443", MAPPED),
	 "p.yaml:10:10: \"fd00::/8\" is an address, not an identity; give the peer an "
	 "identity, or declare the range under networks: and name that\n"},
	{TWO RULE("api", "10.0.0.1/8", "tcp/8443", MAPPED),
	 "p.yaml:10:10: \"10.0.0.1/8\" is an address, not an identity; give the peer an "
	 "identity, or declare the range under networks: and name that\n"},
	{TWO "networks: [{name: world, cidrs: [0.0.0.0/0]}]\n" RULE(
		 "settlement", "world", "tcp/443", MAPPED "    callee: attested\n"),
	 "p.yaml:16:13: rule \"r\" asks who listens, but in network \"world\" nobody can answer; "
	 "remove callee: attested\n"},
	{TOP "identities:\n"
	     "  - {name: settlement, path: s, workload: [{cgroup: "
	     "/user.slice/user-7.slice/user@7.service/x, user: u}]}\n"
	     "  - {name: api, path: a, workload: [{unit: a.service}]}\n" RULE("settlement", "api",
									      "tcp/8443", ""),
	 "p.yaml:6:5: rule \"r\" demands attested, and \"settlement\" is told by a cgroup that "
	 "its user may enter with any process; run it in a unit or slice of the system, or write "
	 "assurance: mapped\n"},
	{TWO RULE("settlement", "api", "tcp/8443",
		  "    assurance: measured\n    on_unavailable: allow\n"),
	 "p.yaml:14:16: rule \"r\" demands measured and has on_unavailable: allow; write "
	 "on_unavailable: deny\n"
	 "p.yaml:14:16: rule \"r\" demands measured, and \"settlement\" has no reference values "
	 "to compare with; write reference: [SHA-256 of its executable] at that identity\n"},
	{TWO "networks: [{name: world, cidrs: [0.0.0.0/0]}]\n" RULE("settlement", "world",
								    "tcp/443", ""),
	 "p.yaml:9:5: rule \"r\" demands attested, but network \"world\" is only "
	 "addresses, "
	 "which cannot be more than mapped; write assurance: mapped\n"},
	{TWO "networks: [{name: world, cidrs: [0.0.0.0/0]}]\n" RULE("world", "world", "tcp/443",
								    MAPPED),
	 "p.yaml:9:5: rule \"r\" has only networks at both ends, where nobody enforces it; "
	 "name an identity at one end\n"},
	{TWO RULE("settlement", "api", "tcp/8443, tcp, 99", MAPPED),
	 "p.yaml:11:26: \"tcp\" is not a service; write tcp/443, udp/5000-5010, tcp/any, "
	 "icmp/echo or icmpv6/echo\n"
	 "p.yaml:11:31: \"99\" is not a service; write tcp/443, udp/5000-5010, tcp/any, "
	 "icmp/echo or icmpv6/echo\n"},
	{TWO RULE("settlement", "api", "tcp/1-1025, tcp/any, udp/1-1024", MAPPED),
	 "p.yaml:11:15: rule \"r\": tcp/1-1025 is 1025 ports, between identities at most "
	 "1024 are allowed; name the ports that are served\n"},
	{TWO RULE("settlement", "api", "tcp/8443",
		  MAPPED "    expires: tomorrow\n    review: soon\n"),
	 "p.yaml:15:14: \"tomorrow\" is not a time; write it in UTC, like "
	 "2027-06-30T00:00:00Z\n"
	 "p.yaml:16:13: \"soon\" is not a date; write it like 2027-06-30\n"},
	{TWO RULE("settlement", "api", "tcp/8443",
		  MAPPED "    window: {days: [mon, mon, monday], from: 18:0, to: \"24:00\", zone: "
			 "/etc}\n"),
	 "p.yaml:15:26: a day is named twice; keep one\n"
	 "p.yaml:15:31: this entry cannot be \"monday\"; write mon, tue, wed, thu, fri, "
	 "sat "
	 "or sun\n"
	 "p.yaml:15:46: \"18:0\" is not a time of day; write it like \"18:00\"\n"
	 "p.yaml:15:56: \"24:00\" is not a time of day; write it like \"18:00\"\n"
	 "p.yaml:15:71: \"/etc\" is not a time zone; write it like Europe/Berlin, or "
	 "UTC\n"},
	{TWO RULE("settlement", "api", "tcp/8443",
		  MAPPED "    callee: attested\n    on_stale: end\n    grantable: {max: 8h}\n"
			 "    max_flows: 5\n"),
	 "p.yaml:18:5: \"max_flows\" is not available on this node yet; remove it\n"},
	{TWO RULE("settlement", "api", "tcp/8443", MAPPED "    grantable: {}\n"),
	 "p.yaml:15:16: max is missing; add max:\n"},
	{TWO RULE("settlement", "api", "tcp/8443", MAPPED "    grantable: {max: soon}\n"),
	 "p.yaml:15:22: \"soon\" is not a duration; write it like 30m, 8h or 2d\n"},
	{TWO RULE("settlement", "api", "tcp/8443", MAPPED "    grantable: {max: 31d}\n"),
	 "p.yaml:15:22: a grant of \"31d\" is longer than 30d; write at most 30d, or a plain "
	 "rule with expires:\n"},
	{TWO RULE("settlement", "api", "tcp/8443",
		  MAPPED "    grantable: {max: 8h}\n    mode: observe\n"),
	 "p.yaml:15:16: rule \"r\" is grantable and has mode: observe, which lets everybody "
	 "pass without a grant; remove one of them\n"},
	{TWO "networks: [{name: lan, cidrs: [10.0.0.0/8]}]\n" RULE(
		 "settlement", "api, lan", "tcp/8443", MAPPED "    grantable: {max: 8h}\n"),
	 "p.yaml:16:16: rule \"r\" is grantable, and a grant names two identities; network "
	 "\"lan\" is none; write a rule of its own for the network\n"},
	{TWO RULE("settlement", "api", "tcp/8443", MAPPED "    on_stale: never\n"),
	 "p.yaml:15:15: \"on_stale\" cannot be \"never\"; write keep or end\n"},
	{TWO RULE("settlement", "api", "tcp/8443",
		  MAPPED) "  - {name: r, from: [api], to: [api], services: [tcp/8443], "
			  "purpose: p, "
			  "owner: o,\n     assurance: mapped}\n",
	 "p.yaml:15:5: a rule \"r\" exists already (line 8); rules need names that "
	 "differ\n"},
	{TWO RULE("settlement", "api", "tcp/8443", "    assurance: maped\n"),
	 "p.yaml:14:16: \"assurance\" cannot be \"maped\"; write mapped, attested or "
	 "measured\n"},
	{TWO RULE("", "api", "tcp/8443", MAPPED),
	 "p.yaml:9:11: from is empty; name at least one\n"},
	{TWO "rules: [{name: r, from: settlement, to: api, services: tcp/1, purpose: p,\n"
	     "  owner: o, assurance: mapped, expire: 2027-01-01T00:00:00Z}]\n",
	 "p.yaml:7:25: \"from\" must be a list; write [\"settlement\"]\n"
	 "p.yaml:7:41: \"to\" must be a list; write [\"api\"]\n"
	 "p.yaml:7:56: \"services\" must be a list; write [\"tcp/1\"]\n"
	 "p.yaml:8:32: unknown key \"expire\"; did you mean \"expires\"?\n"},
};

TEST(policy_rule_mistakes)
{
	check_mistakes(rule_mistakes, ARRAY_LEN(rule_mistakes));
}

/* Of a node whose agent has nobody to ask. */
TEST(policy_demands_what_a_node_cannot)
{
	static const struct mistake cases[] = {
		{TWO RULE("settlement", "api", "tcp/8443", ""),
		 "p.yaml:8:5: rule \"r\" demands attested; this node cannot attest yet; write "
		 "assurance: mapped\n"},
		{TWO RULE("settlement", "api", "tcp/8443", "    assurance: attested\n"),
		 "p.yaml:14:16: rule \"r\" demands attested; this node cannot attest yet; write "
		 "assurance: mapped\n"},
		{TWO RULE("settlement", "api", "tcp/8443", MAPPED "    callee: attested\n"),
		 "p.yaml:15:13: rule \"r\" asks who listens; this node cannot ask yet; write "
		 "callee: mapped, or remove it\n"},
		{TOP "defaults: {assurance: measured}\n",
		 "p.yaml:2:23: assurance: measured is not available on this node yet; write "
		 "assurance: mapped\n"},
	};

	policy_fixture_attests = false;
	check_mistakes(cases, ARRAY_LEN(cases));
	policy_fixture_attests = true;
}

TEST(policy_expression_mistakes)
{
	static const struct mistake cases[] = {
		{TWO RULE("\"enviroment=prod\"", "api", "tcp/8443", MAPPED),
		 "p.yaml:9:12: unknown label key \"enviroment\"; did you mean \"environment\"?\n"},
		{TWO RULE("\"environment=\"", "api", "tcp/8443", MAPPED),
		 "p.yaml:9:12: term \"environment=\" has no value; write key=value, "
		 "\"key=value|value\" or several with commas\n"},
		{TWO RULE("\"a=b,\"", "api", "tcp/8443", MAPPED),
		 "p.yaml:9:12: term \"\" has no key; write key=value, \"key=value|value\" or "
		 "several with commas\n"},
		{TWO RULE("\"a=b||c\"", "api", "tcp/8443", MAPPED),
		 "p.yaml:9:12: term \"a=b||c\" has no value; write key=value, \"key=value|value\" "
		 "or several with commas\n"},
		{TWO RULE("\"a=b, c=d\"", "api", "tcp/8443", MAPPED),
		 "p.yaml:9:12: term \" c=d\" has a key with other characters than letters, digits, "
		 "'.', '_', '-', '/'; write key=value, \"key=value|value\" or several with "
		 "commas\n"},
	};

	check_mistakes(cases, ARRAY_LEN(cases));
}

#define ID(fields) TOP "identities:\n  - {" fields "}\n"
#define UNIT       ", workload: [{unit: a.service}]"

TEST(policy_identity_mistakes)
{
	static const struct mistake cases[] = {
		{ID("name: a"), "p.yaml:3:5: \"a\" has no path; add path:\n"
				"p.yaml:3:5: \"a\" has no workload; add workload:\n"},
		{ID("name: a b, path: /x" UNIT),
		 "p.yaml:3:12: \"a b\" is not a name: letters, digits, '.', '_' and '-' make one; "
		 "write it like payments-api\n"
		 "p.yaml:3:23: path \"/x\" begins with '/'; write it like "
		 "prod/payments/settlement\n"},
		{ID("name: 10.0.0.1, path: a//b" UNIT),
		 "p.yaml:3:12: \"10.0.0.1\" reads as an address, which a name must not; "
		 "write it like payments-api\n"
		 "p.yaml:3:28: path \"a//b\" has an empty segment; write it like "
		 "prod/payments/settlement\n"},
		{ID("name: a, path: a/../b" UNIT),
		 "p.yaml:3:21: path \"a/../b\" has a segment '.' or '..'; write it like "
		 "prod/payments/settlement\n"},
		{ID("name: a, path: a/" UNIT), "p.yaml:3:21: path \"a/\" has an empty segment; "
					       "write it like prod/payments/settlement\n"},
		{ID("name: a, path: a%20b" UNIT),
		 "p.yaml:3:21: path \"a%20b\" has a character other than letters, digits, '.', "
		 "'_', "
		 "'-'; write it like prod/payments/settlement\n"},
		{ID("name: a, path: bailiwick/node/x" UNIT),
		 "p.yaml:3:21: path \"bailiwick/node/x\" is below bailiwick/, which is reserved "
		 "for "
		 "nodes and programs of Bailiwick; write it like prod/payments/settlement\n"},
		{ID("name: a, path: \"spiffe://acme.example/a\"" UNIT),
		 "p.yaml:3:21: path \"spiffe://acme.example/a\" is a whole SPIFFE ID; only what "
		 "follows the trust domain belongs here; write it like prod/payments/settlement\n"},
		{ID("name: a, path: a, workload: []"),
		 "p.yaml:3:34: workload is empty; name at least one\n"},
		{ID("name: a, path: a, workload: [{}]"),
		 "p.yaml:3:35: an entry without selectors would claim every process; name a unit, "
		 "slice, cgroup, user, group, container, pod or exe\n"},
		{ID("name: a, path: a, workload: [{unit: a.slice, slice: b, cgroup: a/b}]"),
		 "p.yaml:3:42: unit: \"a.slice\" is a slice; write it under slice:\n"
		 "p.yaml:3:58: slice: \"b\" is not a slice: its name ends in .slice; "
		 "write it like payments.slice\n"
		 "p.yaml:3:69: cgroup: \"a/b\" is not an absolute path; begin with /\n"},
		{ID("name: a, path: a, workload: [{unit: a, cgroup: /a/../b, exe: bin/a}]"),
		 "p.yaml:3:42: unit: \"a\" is not a unit with processes: .service, .scope, "
		 ".socket, "
		 ".mount or .swap ends one; write it like payments-api.service\n"
		 "p.yaml:3:53: cgroup: \"/a/../b\" has an empty component, '.' or '..'; "
		 "write it without\n"
		 "p.yaml:3:67: exe: \"bin/a\" is not an absolute path; begin with /\n"},
		{ID("name: a, path: a, workload: [{unit: a@.service, cgroup: /, user: a b}]"),
		 "p.yaml:3:42: unit: \"a@.service\" is a template; name an instance, as in "
		 "worker@1.service\n"
		 "p.yaml:3:62: cgroup: \"/\" is the root, which holds every process; "
		 "name a cgroup below it\n"
		 "p.yaml:3:71: user: \"a b\" is neither a name nor a number; write it like "
		 "payments, or 998\n"},
		{ID("name: a, path: a, labels: [enviroment=prod, x, =y, z=, teir=1, a=1, "
		    "a=2]" UNIT),
		 "p.yaml:3:33: unknown label key \"enviroment\"; did you mean \"environment\"?\n"
		 "p.yaml:3:50: \"x\" is not a label; write key=value\n"
		 "p.yaml:3:53: label \"=y\" has no key; write it like owner=payments\n"
		 "p.yaml:3:57: label \"z=\" has no value; write it like owner=payments\n"
		 "p.yaml:3:61: unknown label key \"teir\"; did you mean \"tier\"?\n"
		 "p.yaml:3:74: label \"a\" is given twice; keep one\n"},
		{ID("name: a, path: a, labels: [role=x, site=y, node=n, Owner=me]" UNIT),
		 "p.yaml:3:57: unknown label key \"Owner\"; did you mean \"owner\"?\n"},
		{ID("name: a, path: a, placement: {nodes: [\"a b\"]}, serves: [http]" UNIT),
		 "p.yaml:3:44: \"a b\" is not a pattern of node names; write letters, digits, '.', "
		 "'_', '-' and '*', at most 63\n"
		 "p.yaml:3:62: \"http\" is not a service; write tcp/443, udp/5000-5010, tcp/any, "
		 "icmp/echo or icmpv6/echo\n"},
		{ID("name: a, path: a, mode: enforce, deny_out: no" UNIT),
		 "p.yaml:3:30: \"mode\" cannot be \"enforce\"; write observe\n"
		 "p.yaml:3:49: \"deny_out\" cannot be \"no\"; write reject or drop\n"},
	};

	check_mistakes(cases, ARRAY_LEN(cases));
}

#define ENTRY(name, path, workload)                                                                \
	"  - {name: " name ", path: " path ", workload: [" workload "]}\n"

TEST(policy_evidence_mistakes)
{
	static const struct mistake cases[] = {
		{ID("name: a, path: a, workload: [{container: x, pod: y, exe_sha256: z, fsverity: "
		    "f}]"),
		 "p.yaml:3:47: container: \"x\" is not the 64 lower-case hexadecimal digits of a "
		 "container's ID; write the whole ID, without docker:// or the like\n"
		 "p.yaml:3:55: pod: \"y\" is no pod's UID; write it like "
		 "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0\n"
		 "p.yaml:3:70: exe_sha256: \"z\" is not the 64 lower-case hexadecimal digits of "
		 "SHA-256; write the digest alone, without sha256:\n"
		 "p.yaml:3:83: fsverity: \"f\" is not the 64 lower-case hexadecimal digits of "
		 "SHA-256; write the digest alone, without sha256:\n"},
		{ID("name: a, path: a, workload: [{pod: 0b1c2d3e-4f50-6172-8394a5b6-c7d8e9f0}]"),
		 "p.yaml:3:41: pod: \"0b1c2d3e-4f50-6172-8394a5b6-c7d8e9f0\" is no pod's UID; "
		 "write it like "
		 "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0\n"},
		{ID("name: a, path: a, min_assurance: attested, reference: [x]" UNIT),
		 "p.yaml:3:61: \"x\" is not a SHA-256 digest; write 64 hexadecimal digits\n"},
	};

	check_mistakes(cases, ARRAY_LEN(cases));
}

TEST(policy_names_and_paths_must_differ)
{
	static const struct mistake cases[] = {
		{TOP "identities:\n" ENTRY("a", "x", "{unit: a.service}")
			 ENTRY("a", "y", "{unit: b.service}"),
		 "p.yaml:4:5: the name \"a\" is taken (line 3); identities, networks and devices "
		 "need names that differ\n"},
		{TOP "identities:\n" ENTRY("a", "x", "{unit: a.service}")
			 ENTRY("b", "x", "{unit: b.service}"),
		 "p.yaml:4:21: the path \"x\" belongs to \"a\" (line 3); each identity needs a "
		 "path "
		 "of its own\n"},
		{TOP "identities:\n" ENTRY("a", "x", "{unit: a.service}")
			 ENTRY("b", "a", "{unit: b.service}"),
		 "p.yaml:4:21: the path \"a\" is also a name (line 3); commands take either, so "
		 "they "
		 "must differ\n"},
		{TOP "identities:\n" ENTRY(
			 "a", "x",
			 "{unit: a.service}") "networks: [{name: a, cidrs: [10.0.0.0/8]}]\n",
		 "p.yaml:4:12: the name \"a\" is taken (line 3); identities, networks and devices "
		 "need names that differ\n"},
		{TOP "networks: [{name: n, cidrs: [10.0.0.1/8, \"::ffff:10.0.0.1\", x]}]\n",
		 "p.yaml:2:30: \"10.0.0.1/8\" is neither an address nor a prefix; write 10.0.0.0/8 "
		 "or fd00::/8, with no bits set behind the length, and IPv4 as IPv4\n"
		 "p.yaml:2:42: \"::ffff:10.0.0.1\" is neither an address nor a prefix; write "
		 "10.0.0.0/8 or fd00::/8, with no bits set behind the length, and IPv4 as IPv4\n"
		 "p.yaml:2:61: \"x\" is neither an address nor a prefix; write 10.0.0.0/8 or "
		 "fd00::/8, with no bits set behind the length, and IPv4 as IPv4\n"},
	};

	check_mistakes(cases, ARRAY_LEN(cases));
}

TEST(policy_two_identities_claim_one_process)
{
	static const struct mistake cases[] = {
		{TOP "identities:\n" ENTRY("a", "x", "{unit: a.service}")
			 ENTRY("b", "y", "{unit: a.service}"),
		 "p.yaml:4:35: \"b\" and \"a\" (line 3) claim the same process: both take "
		 "unit=a.service; add a selector to each that the other does not share, or place "
		 "them on different nodes\n"},
		{TOP "identities:\n" ENTRY("a", "x", "{user: u, unit: a.service}")
			 ENTRY("b", "y", "{unit: a.service}, {unit: b.service}"),
		 "p.yaml:3:35: \"a\" and \"b\" (line 4) claim the same process: both take "
		 "unit=a.service; add a selector to each that the other does not share, or place "
		 "them on different nodes\n"},
		{TOP "identities:\n" ENTRY("a", "x", "{user: u, unit: a.service}")
			 ENTRY("b", "y", "{user: v, unit: a.service}"),
		 ""},
		{TOP "identities:\n"
		     "  - {name: a, path: x, workload: [{unit: w.service}], placement: {nodes: "
		     "[\"web-*\"]}}\n"
		     "  - {name: b, path: y, workload: [{unit: w.service}], placement: {nodes: "
		     "[\"api-*\"]}}\n",
		 ""},
		{TOP "identities:\n"
		     "  - {name: a, path: x, workload: [{unit: w.service}], placement: {nodes: "
		     "[\"web-*\"]}}\n"
		     "  - {name: b, path: y, workload: [{unit: w.service}], placement: {nodes: "
		     "[\"*-1\"]}}\n",
		 "p.yaml:4:35: \"b\" and \"a\" (line 3) claim the same process: both take "
		 "unit=w.service; add a selector to each that the other does not share, or place "
		 "them on different nodes\n"},
		{TOP "identities:\n"
		     "  - {name: a, path: x, workload: [{unit: w.service}], placement: {labels: "
		     "[site=eu]}}\n"
		     "  - {name: b, path: y, workload: [{unit: w.service}], placement: {labels: "
		     "[site=us]}}\n",
		 ""},
	};

	check_mistakes(cases, ARRAY_LEN(cases));
}

TEST(policy_later_objects_are_refused)
{
	static const struct mistake cases[] = {
		{TWO
		 "devices:\n"
		 "  - {name: plc-7, gateway: gw-2, interface: cell3, mac: \"02:00:00:00:00:07\",\n"
		 "     addresses: [192.168.3.7], serves: [tcp/502], labels: [zone=cell-3]}\n"
		 "zones: {a: [b, {c: d}]}\n" RULE("settlement", "plc-7", "tcp/502", MAPPED),
		 "p.yaml:7:1: \"devices\" is not available on this node yet; remove it\n"
		 "p.yaml:10:1: \"zones\" is not available on this node yet; remove it\n"},
	};

	check_mistakes(cases, ARRAY_LEN(cases));
}

TEST(policy_damage_has_no_followers)
{
	/* The identity whose entry is unreadable is not missed, nor its labels. */
	static const struct mistake cases[] = {
		{TOP "identities:\n  - {nam: a, path: x, workload: [{unit: a.service}]}\n" RULE(
			 "a", "a", "tcp/1", MAPPED),
		 "p.yaml:3:5: name is missing; add name:\n"
		 "p.yaml:3:6: unknown key \"nam\"; did you mean \"name\"?\n"},
		{TOP "identites: []\n" RULE("a", "a", "tcp/1", MAPPED),
		 "p.yaml:2:1: unknown key \"identites\"; did you mean \"identities\"?\n"},
		{TOP "identities:\n  - {name: a, path: x, workload: [{unit: a.service}], labels: "
		     "[enviroment=x]}\nseparations: [{label: environment}]\n" RULE("a", "a",
										   "tcp/1", MAPPED),
		 "p.yaml:3:64: unknown label key \"enviroment\"; did you mean \"environment\"?\n"},
	};

	check_mistakes(cases, ARRAY_LEN(cases));
}

/* Two mistakes: suggestions are looked for. */
OOM_TEST(policy_with_mistakes_when_memory_runs_out)
{
	CLEANUP(policy_freep)
	struct policy *p = policy_of(
		TWO "networks: [{name: world, cidrs: [0.0.0.0/0], labels: [a=b]}]\n"
		    "separations: [{label: a, except: [{rule: q, reason: x, owner: y, expires: "
		    "2027-01-01T00:00:00Z}]}]\n" RULE("settlment, \"a=b\"", "world", "tcp/8443",
						      MAPPED));

	if (p == NULL)
		return -ENOMEM;
	CHECK_UINT(p->error_count, 2);
	return 0;
}

OOM_TEST(sound_policy_when_memory_runs_out)
{
	CLEANUP(policy_freep)
	struct policy *p = policy_of(
		TOP
		"identities:\n"
		"  - {name: a, path: a, workload: [{user: u, unit: a.service}], labels: [x=y],\n"
		"     placement: {nodes: [n], labels: [l=m]}, serves: [tcp/1]}\n"
		"  - {name: b, path: b, workload: [{user: u, unit: b.service}], labels: [x=y]}\n"
		"nodes: [{pattern: m, addresses: [10.0.0.1], labels: [l=m], spki: []}]\n"
		"separations: [{label: x}]\n" RULE(
			"\"x=y\"", "b, a", "tcp/1",
			MAPPED "    ticket: t\n    review: 2027-01-01\n    window: {days: [mon], "
			       "from: \"00:00\", to: \"00:00\", zone: UTC}\n"));

	if (p == NULL)
		return -ENOMEM;
	CHECK_UINT(p->error_count, 0);
	return 0;
}
