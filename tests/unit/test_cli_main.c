/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command as a whole, without an agent: usage, check, why --policy, exit codes. */
#include "cli/cli.h"

#include "base/mem.h"
#include "base/text.h"
#include "base/zone.h"
#include "tests/unit/command_fixture.h"
#include "tests/unit/test.h"

#include <string.h>
#include <sys/stat.h>

static struct command_said said;

static int command(const char *const *words, size_t count)
{
	return command_run(cli_main, "bailiwick", words, count, &said);
}
#define COMMAND(...)                                                                               \
	command(((const char *const[]){__VA_ARGS__}),                                              \
		ARRAY_LEN(((const char *const[]){__VA_ARGS__})))

/* A file in the test's directory; its path. */
static const char *file(const char *name, const char *text)
{
	static char path[300];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", test_dir(), name);
	f = fopen(path, "w");
	CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
	return path;
}

static const char good[] = "trust_domain: acme.example\n"
			   "defaults: {assurance: mapped}\n"
			   "identities:\n"
			   "  - name: settlement\n"
			   "    path: prod/payments/settlement\n"
			   "    workload: [{unit: settlement.service}]\n"
			   "  - name: backup\n"
			   "    path: prod/payments/backup\n"
			   "    workload: [{unit: backup.service}]\n"
			   "  - name: api\n"
			   "    path: prod/payments/api\n"
			   "    workload: [{unit: api.service}]\n"
			   "    serves: [tcp/8443]\n"
			   "rules:\n"
			   "  - name: settlement-calls-api\n"
			   "    from: [settlement]\n"
			   "    to: [api]\n"
			   "    services: [tcp/8443]\n"
			   "    purpose: test\n"
			   "    owner: me\n";

TEST(usage_errors_exit_2_and_name_what_would_be_right)
{
	static const struct {
		const char *words[6];
		const char *part;
	} cases[] = {
		{{"statsu"}, "did you mean 'status'?"},
		{{"zzzzzz"}, "'bailiwick --help' lists them"},
		{{"grant", "x", "--from", "a", "--to", "b"}, "--from, --to and --for are required"},
		{{"status", "extra"}, "'extra' is one word too many"},
		{{"status", "-o", "xml"}, "table or json would be right"},
		{{"mode"}, "something is missing: observe|selective|enforce"},
		{{"mode", "enfroce", "--reason", "x"}, "observe, selective or enforce"},
		{{"mode", "enforce"}, "--reason is missing"},
		{{"mode", "enforce", "--reason", "a\nb"}, "--reason: one line"},
		{{"mode", "enforce", "--for", "8x", "--reason", "x"}, "90s, 10m, 8h or 30d"},
		{{"revoke", "rule", "x"}, "--reason is missing"},
		{{"revoke", "rules", "x"}, "rule, identity, label or conduit"},
		{{"revoke", "conduit", "x"}, "a number of 'bailiwick conduits'"},
		{{"revoke", "label", "=x"}, "vendor=x would be right"},
		{{"quarantine", "rule", "x"}, "'quarantine identity PATH' would be right"},
		{{"release", "identity", "x"}, "--reason is missing"},
		{{"conduits", "--by", "node"}, "only --by zone"},
		{{"conduits", "--unused"}, "--unused needs a value: --unused DURATION"},
		{{"why", "a", "b"}, "three words are needed"},
		{{"why", "a", "--last"}, "--last stands alone"},
		{{"why", "a", "b", "ssh"}, "tcp/8443, udp/53 or icmp/echo"},
		{{"apply"}, "the policy's directory is missing"},
		{{"apply", "x", "--offline", "y"}, "--offline stands instead of DIR"},
		{{"apply", "--offline", "x", "--confirm-within", "10m"}, "always on trial first"},
		{{"sign", "x"}, "--key is missing"},
		{{"diff", "x"}, "something is missing: OLD NEW"},
		{{"keygen", "x", "--type", "rsa"}, "ed25519 or p256 would be right"},
		{{"apply", "x", "--confirm-within", "soon"}, "90s, 10m, 8h or 30d"},
		{{"check"}, "something is missing: FILE|DIR..."},
		{{"attest"}, "something is missing: ping PEER [TUPLE]"},
		{{"attest", "ping"}, "whom to ask is missing; 'attest ping NODE' would be right"},
		{{"attest", "pong", "pay-1"}, "'attest ping NODE' would be right"},
		{{"attest", "ping", "a", "b", "c"}, "'c' is one word too many"},
		{{"attest", "ping", "\xff"}, "a name is not valid UTF-8"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t count = 0;

		while (count < 6 && cases[i].words[count] != NULL)
			count++;
		CHECK_INT(command(cases[i].words, count), CLI_USAGE);
		CHECK_STR(said.out, "");
		CHECK_CONTAINS(said.err, cases[i].part);
	}
}

TEST(help_goes_to_stdout_and_a_bare_command_to_stderr)
{
	CHECK_INT(COMMAND("--help"), CLI_OK);
	CHECK_CONTAINS(said.out, "usage: bailiwick [-C RUN_DIR] VERB");
	CHECK_INT(command(NULL, 0), CLI_USAGE);
	CHECK_STR(said.out, "");
	CHECK_CONTAINS(said.err, "usage: bailiwick");
	CHECK_INT(COMMAND("mode", "--help"), CLI_OK);
	CHECK_CONTAINS(said.out, "--for DURATION");
}

TEST(every_verb_of_this_release_is_in_the_help)
{
	static const char *const names[] = {
		"status",  "check",  "plan",       "apply",    "confirm", "rollback",
		"history", "mode",   "identities", "conduits", "flows",   "watch",
		"why",     "revoke", "quarantine", "release",  "doctor",  "inventory",
		"diff",    "keygen", "sign",       "version",  "attest"};

	CHECK_INT(COMMAND("-h"), CLI_OK);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		CHECK(verb_find(names[i]) != NULL);
	for (size_t i = 0; i < verb_count; i++)
		CHECK_CONTAINS(said.out, verbs[i]->name);
}

TEST(help_of_each_verb_fits_the_screen)
{
	for (size_t i = 0; i < verb_count; i++) {
		CHECK_INT(COMMAND(verbs[i]->name, "--help"), CLI_OK);
		for (const char *line = said.out; *line != '\0'; line += strcspn(line, "\n") + 1) {
			if (strcspn(line, "\n") > SCREEN_COLUMNS)
				CHECK_STR(line, "a line that fits");
		}
	}
	CHECK_INT(COMMAND("mode", "--help"), CLI_OK);
	CHECK_CONTAINS(said.out, "usage: bailiwick [-C RUN_DIR] mode observe|selective|enforce "
				 "[--for DURATION] [--force]\n"
				 "                 --reason TEXT [-o table|json]\n"
				 "switch what is denied");
	CHECK_INT(COMMAND("why", "--help"), CLI_OK);
	CHECK_CONTAINS(said.out, "| why --last [-o table|json]\n");
}

TEST(version_works_without_an_agent)
{
	CHECK_INT(COMMAND("-C", test_dir(), "version", "-o", "json"), CLI_OK);
	CHECK_CONTAINS(said.out, "\"release\":");
	CHECK_CONTAINS(said.out, "\"agent\":null");
	CHECK_INT(COMMAND("--version"), CLI_OK);
}

TEST(check_accepts_a_good_policy)
{
	CHECK_INT(COMMAND("check", file("good.yaml", good)), CLI_OK);
	CHECK_CONTAINS(said.out, "ok: 3 identities, 1 rule in 1 file");
}

TEST(check_reports_place_message_and_advice_and_exits_3)
{
	const char *path =
		file("bad.yaml", "trust_domain: acme.example\n"
				 "rules:\n"
				 "  - {name: r, from: [nobody], to: [none], services: [tcp/1]}\n");

	CHECK_INT(COMMAND("check", path), CLI_DENIED);
	CHECK_CONTAINS(said.out, "/bad.yaml:3:");
	CHECK_CONTAINS(said.out, "nothing of it can be applied");
	CHECK_INT(COMMAND("check", path, "-o", "json"), CLI_DENIED);
	CHECK_CONTAINS(said.out, "\"ok\":false,\"errors\":[{\"file\":");
}

TEST(check_knows_which_time_zones_there_are)
{
	char text[2048];
	const char *path;

	if (!zone_known("Europe/Berlin"))
		test_skip("no tz data on this host");
	(void)snprintf(text, sizeof(text), "%s%s", good,
		       "    window: {days: [mon], from: \"08:00\", to: \"12:00\", zone: "
		       "Europe/Berlinn}\n");
	path = file("zone.yaml", text);
	CHECK_INT(COMMAND("check", path), CLI_DENIED);
	CHECK_CONTAINS(said.out,
		       "zone.yaml:21:61: no time zone is called \"Europe/Berlinn\"; write a "
		       "name of the tz database, like Europe/Berlin\n");
	text[strlen(text) - 3] = '}';
	text[strlen(text) - 2] = '\n';
	text[strlen(text) - 1] = '\0';
	CHECK_INT(COMMAND("check", file("zone.yaml", text)), CLI_OK);
}

TEST(rules_are_attested_unless_they_say_otherwise)
{
	CLEANUP(freep) char *text = mem_strdup(good);

	CHECK(text != NULL);
	memcpy(strstr(text, "{assurance: mapped}"), "{deny_in: drop}    ",
	       strlen("{assurance: mapped}"));
	CHECK_INT(COMMAND("check", "--explain", file("attested.yaml", text)), CLI_OK);
	CHECK_CONTAINS(said.out, "settlement-calls-api attested");
}

TEST(warnings_count_where_check_is_strict)
{
	const char *path = file("good.yaml", good);

	CHECK_INT(COMMAND("check", path), CLI_OK);
	CHECK_CONTAINS(said.out, "1 warning");
	CHECK_INT(COMMAND("check", "--strict", path), CLI_DENIED);
}

/* What the called identity's floor closes is not listed as open. */
TEST(check_explain_knows_the_floor_of_the_called)
{
	static const char text[] =
		"trust_domain: acme.example\nidentities:\n"
		"  - {name: a, path: a, workload: [{unit: a.service}]}\n"
		"  - {name: b, path: b, workload: [{unit: b.service}], serves: [tcp/1],\n"
		"     min_assurance: attested}\nrules:\n"
		"  - {name: r, from: [a], to: [b], services: [tcp/1], assurance: mapped,\n"
		"     purpose: p, owner: o}\n";

	CHECK_INT(COMMAND("check", "--explain", file("floor.yaml", text)), CLI_OK);
	CHECK_CONTAINS(said.out, "a    b  tcp/1   min_assurance r    mapped\n");
}

TEST(check_explain_lists_pairs_with_their_conditions)
{
	CHECK_INT(COMMAND("check", "--explain", file("good.yaml", good)), CLI_OK);
	CHECK_CONTAINS(said.out, "FROM       TO  SERVICE  VERDICT RULE                 CONDITIONS\n"
				 "settlement api tcp/8443 accept  settlement-calls-api mapped\n");
}

TEST(a_directory_is_read_whole_and_an_empty_one_refused)
{
	char dir[280];

	(void)snprintf(dir, sizeof(dir), "%s/policy", test_dir());
	CHECK_INT(COMMAND("check", test_dir()), CLI_FAILED);
	CHECK_CONTAINS(said.err, "files named *.yaml would be right");
	CHECK(mkdir(dir, 0700) == 0);
	(void)file("policy/b.yaml", "trust_domain: other.example\n");
	(void)file("policy/a.yaml", good);
	(void)file("policy/.hidden.yaml", "?");
	(void)file("policy/notes.txt", "?");
	CHECK_INT(COMMAND("check", test_dir()), CLI_DENIED);
	CHECK_CONTAINS(said.out, "/policy/b.yaml:1:");
	CHECK(strstr(said.out, "hidden") == NULL);
}

TEST(what_cannot_be_read_is_an_error_with_its_name)
{
	CHECK_INT(COMMAND("check", "/nonexistent/x.yaml"), CLI_FAILED);
	CHECK_CONTAINS(said.err, "/nonexistent/x.yaml: No such file");
	CHECK_INT(COMMAND("plan", "/dev/null"), CLI_FAILED);
	CHECK_CONTAINS(said.err, "/dev/null");
}

TEST(apply_checks_before_it_asks_anybody)
{
	const char *path = file("bad.yaml", "rules: 7\n");

	CHECK_INT(COMMAND("-C", "/nonexistent", "apply", path, "--reason", "x"), CLI_DENIED);
	CHECK_CONTAINS(said.err, "/bad.yaml:1:");
	CHECK(strstr(said.err, "agent") == NULL);
}

TEST(why_asks_a_policy_without_an_agent)
{
	const char *path = file("good.yaml", good);

	CHECK_INT(COMMAND("why", "settlement", "api", "tcp/8443", "--policy", path), CLI_OK);
	CHECK_CONTAINS(said.out, "allowed    settlement  ->  api, tcp/8443\n");
	CHECK_CONTAINS(said.out, "rule       settlement-calls-api  good.yaml:15\n");
	CHECK_INT(COMMAND("why", "backup", "api", "tcp/8443", "--policy", path), CLI_DENIED);
	CHECK_CONTAINS(said.out, "denied     backup  ->  api, tcp/8443\n");
	CHECK_CONTAINS(said.out,
		       "nearest    settlement-calls-api  good.yaml:15  from: [settlement]  <- "
		       "fails: caller is backup\n");
	CHECK_CONTAINS(said.out, "to allow   add backup to from: of good.yaml:15");
}

/* What would be asked, from files alone: by the nodes that the view names, else in general. */
TEST(why_says_from_a_policy_whose_agent_would_be_asked)
{
	CLEANUP(freep) char *text = mem_strdup(good);
	const char *path;

	CHECK(text != NULL);
	memcpy(strstr(text, "{assurance: mapped}"), "{deny_in: drop}    ",
	       strlen("{assurance: mapped}"));
	path = file("attested.yaml", text);
	CHECK_INT(COMMAND("why", "settlement", "api", "tcp/8443", "--policy", path), CLI_OK);
	CHECK_CONTAINS(said.out,
		       "asks       for each connection the agent of the caller's node must "
		       "vouch for settlement;");
	CHECK_INT(COMMAND("why", "settlement@pay-1", "api@api-1", "tcp/8443", "--policy", path),
		  CLI_OK);
	CHECK_CONTAINS(said.out, "asks       for each connection pay-1's agent must vouch for");
	CHECK_INT(COMMAND("why", "backup", "api", "tcp/8443", "--policy", path), CLI_DENIED);
	CHECK(strstr(said.out, "asks ") == NULL);
}

TEST(why_names_the_near_identity_and_what_it_cannot_know)
{
	const char *path = file("good.yaml", good);

	CHECK_INT(COMMAND("why", "setlement", "api", "tcp/1", "--policy", path), CLI_USAGE);
	CHECK_CONTAINS(said.err, "did you mean 'settlement'?");
	CHECK_INT(COMMAND("why", "pid:1", "api", "tcp/1", "--policy", path), CLI_USAGE);
	CHECK_CONTAINS(said.err, "needs the agent's knowledge");
	CHECK_INT(COMMAND("why", "10.0.0.1", "api", "tcp/1", "--policy", path), CLI_DENIED);
	CHECK_INT(COMMAND("why", "[fd00::1]:5", "api@n", "tcp/1", "--policy", path), CLI_DENIED);
}

TEST(a_full_disk_is_not_success)
{
	FILE *full = fopen("/dev/full", "w"), *null = fopen("/dev/null", "w");
	const char *argv[] = {"bailiwick", "version"};

	CHECK(full != NULL && null != NULL);
	CHECK_INT(cli_main(2, (char **)(uintptr_t)argv, full, null), CLI_FAILED);
	(void)fclose(full);
	(void)fclose(null);
}

static const char view[] =
	"{\"version\": 1, \"node\": \"pay-1\", \"sequence\": 7,\n"
	" \"placed\": [{\"identity\": \"prod/payments/settlement\",\n"
	"  \"addresses\": [\"10.0.0.5\"]}],\n"
	" \"peers\": [{\"identity\": \"prod/payments/api\", \"node\": \"api-1\",\n"
	"  \"addresses\": [\"10.0.0.9\"]}],\n"
	" \"nodes\": [{\"node\": \"pay-1\", \"addresses\": [\"10.0.0.5\"]},\n"
	"  {\"node\": \"api-1\", \"addresses\": [\"10.0.0.9\"]}], \"devices\": []}\n";

TEST(check_explain_with_a_view_lists_the_conduits_of_its_node)
{
	(void)file("policy.yaml", good);
	(void)file("view.json", view);
	CHECK_INT(COMMAND("check", "--explain", test_dir()), CLI_OK);
	CHECK_CONTAINS(said.out, "settlement@pay-1 api@api-1 tcp/8443 accept  mapped !  -");
	CHECK_INT(COMMAND("check", "--explain", test_dir(), "-o", "json"), CLI_OK);
	CHECK_CONTAINS(said.out, "\"conduits\":[{\"conduit\":1,\"from\":{\"identity\":"
				 "\"prod/payments/settlement\",\"name\":\"settlement\",\"node\":"
				 "\"pay-1\",\"type\":\"identity\"}");
}

/* R47: seen before the first connection is refused. */
TEST(check_names_nodes_that_cannot_vouch_for_what_a_rule_demands)
{
	static const char policy[] =
		"trust_domain: acme.example\n"
		"identities:\n"
		"  - {name: settlement, path: prod/payments/settlement,\n"
		"     workload: [{unit: s.service}]}\n"
		"  - {name: api, path: prod/payments/api, workload: [{unit: api.service}]}\n"
		"rules:\n"
		"  - {name: calls, from: [settlement], to: [api], services: [tcp/8443],\n"
		"     purpose: p, owner: o}\n";
	static const char called[] =
		"{\"version\": 1, \"node\": \"api-1\", \"sequence\": 7,\n"
		" \"placed\": [{\"identity\": \"prod/payments/api\"}],\n"
		" \"peers\": [{\"identity\": \"prod/payments/settlement\", \"node\": \"pay-1\",\n"
		"  \"addresses\": [\"10.0.0.5\"]}],\n"
		" \"nodes\": [{\"node\": \"pay-1\", \"addresses\": [\"10.0.0.5\"]%s}],\n"
		" \"devices\": []}\n";
	char text[1024];

	(void)file("policy.yaml", policy);
	(void)snprintf(text, sizeof(text), called, "");
	(void)file("view.json", text);
	CHECK_INT(COMMAND("check", test_dir()), CLI_OK);
	CHECK_CONTAINS(said.out,
		       "node pay-1 runs no agent that could vouch for settlement, so rule "
		       "\"calls\" (attested) stays closed");
	(void)snprintf(text, sizeof(text), called,
		       ", \"attest\": {\"address\": \"10.0.0.5\", \"port\": 7113}");
	(void)file("view.json", text);
	CHECK_INT(COMMAND("check", test_dir()), CLI_OK);
	CHECK(strstr(said.out, "could vouch") == NULL);
}

TEST(why_follows_the_view_and_a_bad_view_is_refused)
{
	(void)file("policy.yaml", good);
	(void)file("view.json", view);
	CHECK_INT(COMMAND("why", "settlement@pay-1", "10.0.0.9:8443", "tcp/8443", "--policy",
			  test_dir()),
		  CLI_OK);
	CHECK_CONTAINS(said.out, "mapping 7 of pay-1");
	CHECK_INT(COMMAND("why", "settlement", "10.0.0.77", "tcp/8443", "--policy", test_dir()),
		  CLI_DENIED);
	(void)file("view.json", "{\"version\": 1, \"node\": \"pay-1\"}");
	CHECK_INT(COMMAND("why", "settlement", "api", "tcp/8443", "--policy", test_dir()),
		  CLI_FAILED);
	CHECK_CONTAINS(said.err, "view.json");
	CHECK_INT(COMMAND("check", test_dir()), CLI_FAILED);
}

/* Nobody listens there: it is as far as a token of a right form comes. */
static int enroll_with(const char *token)
{
	char config[320], yaml[400];

	(void)snprintf(yaml, sizeof(yaml), "state_dir: %s\n", test_dir());
	(void)snprintf(config, sizeof(config), "%s", file("agent.yaml", yaml));
	return COMMAND("enroll", "--config", config, "--url", "https://127.0.0.1:1", "--pin",
		       "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		       "--token", token);
}

TEST(enroll_takes_the_token_from_standard_input_where_nobody_sees_it)
{
	CHECK_INT(enroll_with("nonsense"), CLI_FAILED);
	CHECK_CONTAINS(said.err, "not a token");
	CHECK(freopen(file("token", "tok_a.b\r\n"), "r", stdin) != NULL);
	CHECK_INT(enroll_with("-"), CLI_FAILED);
	CHECK_CONTAINS(said.err, "127.0.0.1");
	CHECK(strstr(said.err, "tok_a") == NULL);
	CHECK(freopen(file("token", "\n"), "r", stdin) != NULL);
	CHECK_INT(enroll_with("-"), CLI_USAGE);
	CHECK_CONTAINS(said.err, "no token came");
}
