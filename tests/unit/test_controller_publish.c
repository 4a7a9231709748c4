/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Signed policy into the controller: each attack and mistake is refused and changes nothing. */
#include "controller/core.h"

#include "base/mem.h"
#include "base/text.h"
#include "controller-client/dsse.h"
#include "tests/unit/core_fixture.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define JANUARY_S 1768435200 /* 2026-01-15 */

static struct core_manifest_of revision(uint64_t number)
{
	return (struct core_manifest_of){
		.revision = number, .trust_domain = "acme.example", .policy = core_policy};
}

/* After a refusal everything is as it was. */
static void check_unchanged(struct core_fixture *f, uint64_t number)
{
	CHECK_UINT(f->core->manifest.revision, number);
	CHECK_INT(core_sql(f, "SELECT max(revision) FROM manifests"), (int64_t)number);
	CHECK_UINT(f->woken_count, 0);
	CHECK(f->core->policy != NULL);
}

TEST(a_policy_signed_by_nobody_we_trust_is_refused)
{
	const struct core_manifest_of m = revision(2);
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_INT(core_publish_of(&f, &f.other_key, &m), -EINVAL);
	check_unchanged(&f, 1);
	/* The controller's own key signs heads, not policy. */
	CHECK_INT(core_publish_of(&f, &f.core->key, &m), -EINVAL);
	check_unchanged(&f, 1);
	core_teardown(&f);
}

TEST(rollback_and_the_same_revision_with_other_content_are_refused)
{
	struct core_manifest_of m = revision(5);
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_OK(core_publish_of(&f, &f.key, &m), &f.err);
	core_forget_woken(&f);
	m = revision(4);
	CHECK_INT(core_publish_of(&f, &f.key, &m), -EEXIST);
	CHECK_CONTAINS(f.err.text, "revision 4 is not above 5");
	m = revision(5);
	m.floor = 1;
	CHECK_INT(core_publish_of(&f, &f.key, &m), -EEXIST);
	check_unchanged(&f, 5);
	core_teardown(&f);
}

TEST(the_floor_never_falls)
{
	struct core_manifest_of m = revision(3);
	struct core_fixture f;

	core_setup_published(&f);
	m.floor = 3;
	CHECK_OK(core_publish_of(&f, &f.key, &m), &f.err);
	core_forget_woken(&f);
	m = revision(4);
	m.floor = 2;
	CHECK_INT(core_publish_of(&f, &f.key, &m), -EEXIST);
	CHECK_CONTAINS(f.err.text, "rollback_floor 2 is below 3");
	check_unchanged(&f, 3);
	core_teardown(&f);
}

TEST(a_policy_of_another_trust_domain_is_refused)
{
	struct core_manifest_of m = revision(2);
	struct core_fixture f;

	core_setup_published(&f);
	m.trust_domain = "evil.example";
	CHECK_INT(core_publish_of(&f, &f.key, &m), -EINVAL);
	check_unchanged(&f, 1);
	core_teardown(&f);
}

TEST(freeze_an_expired_manifest_is_refused)
{
	struct core_manifest_of m = revision(2);
	struct core_fixture f;

	core_setup_published(&f);
	m.issued = FIXTURE_NOW_S;
	m.expires = FIXTURE_NOW_S + 60;
	core_clock_add(3600 * 1000);
	CHECK_INT(core_publish_of(&f, &f.key, &m), -EINVAL);
	CHECK_CONTAINS(f.err.text, "expired");
	check_unchanged(&f, 1);
	core_teardown(&f);
}

TEST(a_policy_with_errors_is_refused_with_its_first_error)
{
	struct core_manifest_of m = revision(2);
	struct core_fixture f;

	core_setup_published(&f);
	m.policy = "trust_domain: acme.example\nrules:\n  - {name: x, from: [ghost], to: [ghost],"
		   " services: [tcp/1], purpose: p, owner: o}\n";
	CHECK_INT(core_publish_of(&f, &f.key, &m), -EINVAL);
	CHECK_CONTAINS(f.err.text, "policy.json:3:");
	check_unchanged(&f, 1);
	core_teardown(&f);
}

TEST(a_policy_without_nodes_is_refused)
{
	struct core_manifest_of m = revision(2);
	struct core_fixture f;

	core_setup_published(&f);
	m.policy = "trust_domain: acme.example\nidentities:\n"
		   "  - {name: web, path: prod/web, workload: [{unit: w.service}]}\n";
	CHECK_INT(core_publish_of(&f, &f.key, &m), -EINVAL);
	CHECK_CONTAINS(f.err.text, "no 'nodes'");
	check_unchanged(&f, 1);
	core_teardown(&f);
}

static int publish_text(struct core_fixture *f, const char *type, const char *manifest)
{
	CLEANUP(freep) char *envelope = NULL;
	json_t *answer = NULL;
	size_t len;
	int r;

	CHECK_OK(dsse_sign(type, manifest, strlen(manifest), &f->key, &envelope, &len, &f->err),
		 &f->err);
	r = core_publish(f->core, envelope, len, "test", &answer, &f->err);
	json_decref(answer);
	return r;
}

#define MANIFEST(more, digest)                                                                     \
	"{\"version\":1,\"trust_domain\":\"acme.example\",\"revision\":2,\"rollback_floor\":0,"    \
	"\"issued\":\"2026-11-22T00:00:00Z\",\"expires\":\"2027-11-22T00:00:00Z\"," more           \
	"\"policy\":[{\"name\":\"p.json\",\"sha256\":\"" digest "\",\"size\":3}],"                 \
	"\"revoked_nodes\":[]}"
#define NO_DIGEST "00000000000000000000000000000000000000000000000000000000000000ff"

TEST(a_manifest_whose_blob_is_missing_is_refused)
{
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_INT(publish_text(&f, DSSE_TYPE_MANIFEST, MANIFEST("\"requires\":[],", NO_DIGEST)),
		  -ENOENT);
	CHECK_CONTAINS(f.err.text, "was not uploaded");
	check_unchanged(&f, 1);
	core_teardown(&f);
}

TEST(wrong_payload_type_and_nonsense_are_refused)
{
	static const char good[] = MANIFEST("\"requires\":[],", NO_DIGEST);
	json_t *answer = NULL;
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_INT(publish_text(&f, DSSE_TYPE_HEAD, good), -EINVAL);
	CHECK_INT(publish_text(&f, DSSE_TYPE_MANIFEST, "{}"), -EINVAL);
	CHECK_INT(publish_text(&f, DSSE_TYPE_MANIFEST,
			       MANIFEST("\"requires\":[\"telepathy\"],", NO_DIGEST)),
		  -EINVAL);
	CHECK_INT(core_publish(f.core, "", 0, "test", &answer, &f.err), -EINVAL);
	CHECK_INT(core_publish(f.core, "{\"payload\":1}", 13, "test", &answer, &f.err), -EINVAL);
	check_unchanged(&f, 1);
	core_teardown(&f);
}

TEST(the_same_manifest_again_is_no_change)
{
	CLEANUP(freep) char *manifest = NULL;
	json_t *answer = NULL;
	struct core_fixture f;
	uint64_t before;
	size_t len;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/web", "n1", "10.0.0.1"), &f.err);
	before = core_sequence_of(&f, "n1");
	core_clock_add(5000);
	core_forget_woken(&f);
	CHECK_OK(core_manifest(f.core, 1, &manifest, &len, &f.err), &f.err);
	CHECK_OK(core_publish(f.core, manifest, len, "test", &answer, &f.err), &f.err);
	CHECK(json_is_true(json_object_get(answer, "unchanged")));
	json_decref(answer);
	check_unchanged(&f, 1);
	CHECK_UINT(core_sequence_of(&f, "n1"), before);
	core_teardown(&f);
}

TEST(a_new_policy_is_a_new_head_for_everybody)
{
	struct core_fixture f;
	struct head a, b;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/web", "n1", "10.0.0.1"), &f.err);
	CHECK_OK(core_put(&f, "ops/lone", "m1", "10.1.0.1"), &f.err);
	core_head_of(&f, "n1", &a);
	core_forget_woken(&f);
	CHECK_OK(core_publish_next(&f, 2, core_policy), &f.err);
	CHECK(core_woke(&f, "n1") && core_woke(&f, "m1"));
	core_head_of(&f, "n1", &b);
	CHECK_UINT(a.stable.revision, 1);
	CHECK_UINT(b.stable.revision, 2);
	CHECK(b.sequence > a.sequence);
	/* Who runs where has not changed. */
	CHECK_UINT(b.view_sequence, a.view_sequence);
	head_done(&a);
	head_done(&b);
	core_teardown(&f);
}

TEST(a_manifest_and_its_blobs_are_served_as_they_came)
{
	CLEANUP(freep) char *manifest = NULL, *blob = NULL;
	struct core_fixture f;
	size_t len;

	core_setup_published(&f);
	CHECK_OK(core_manifest(f.core, 1, &manifest, &len, &f.err), &f.err);
	CHECK(strstr(manifest, "payload") != NULL);
	CHECK_OK(core_blob(f.core, NULL, f.core->manifest.policy[0].sha256, &blob, &len, &f.err),
		 &f.err);
	CHECK_UINT(len, strlen(core_policy));
	CHECK_MEM(blob, core_policy, len);
	free(TAKE_PTR(blob));
	free(TAKE_PTR(manifest));
	CHECK_INT(core_manifest(f.core, 2, &manifest, &len, &f.err), -ENOENT);
	CHECK_INT(core_manifest(f.core, 0, &manifest, &len, &f.err), -ENOENT);
	CHECK_INT(core_manifest(f.core, UINT64_MAX, &manifest, &len, &f.err), -ENOENT);
	core_teardown(&f);
}

TEST(a_blob_that_no_manifest_names_is_served_to_nobody)
{
	CLEANUP(freep) char *bytes = NULL;
	char sha256[SHA256_HEX_LEN];
	struct core_fixture f;
	size_t len;

	core_setup_published(&f);
	CHECK_OK(core_blob_put(f.core, "draft", 5, sha256, &f.err), &f.err);
	CHECK_INT(core_blob(f.core, "n1", sha256, &bytes, &len, &f.err), -ENOENT);
	/* It goes after a day. */
	core_clock_add(2 * 86400 * 1000LL);
	core_tick(f.core);
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM blobs"), 1);
	CHECK_INT(core_blob_put(f.core, "", 0, sha256, &f.err), -E2BIG);
	core_teardown(&f);
}

TEST(a_node_revoked_by_signed_policy_is_nobodys_peer)
{
	struct core_manifest_of m = revision(2);
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/web", "n1", "10.0.0.1"), &f.err);
	CHECK_OK(core_put(&f, "prod/api", "n2", "10.0.0.2"), &f.err);
	CHECK_STR(core_view_text(&f, "n2"), "api | web@n1");
	m.revoked_node = "n1";
	CHECK_OK(core_publish_of(&f, &f.key, &m), &f.err);
	CHECK_STR(core_view_text(&f, "n2"), "api |");
	core_reopen(&f, false);
	CHECK_STR(core_view_text(&f, "n2"), "api |");
	core_teardown(&f);
}

/* An exception that ends is an error of the policy from then on, but it was none when signed. */
TEST(a_policy_whose_exception_has_ended_does_not_keep_the_controller_from_starting)
{
	CLEANUP(freep) char *policy = NULL;
	struct core_fixture f;

	core_setup(&f);
	core_clock_set(JANUARY_S * 1000LL); /* opening looks at the real clock */
	policy = mem_printf("%sseparations:\n  - {label: environment, except: "
			    "[{rule: logs, reason: r, owner: o, expires: 2026-02-01T00:00:00Z},"
			    " {rule: out, reason: r, owner: o, expires: 2026-02-01T00:00:00Z},"
			    " {rule: break-glass, reason: r, owner: o,"
			    " expires: 2026-02-01T00:00:00Z}]}\n",
			    core_policy);
	CHECK_OK(core_publish_next(&f, 1, policy), &f.err);
	CHECK_OK(core_put(&f, "prod/web", "n1", "10.0.0.1"), &f.err);
	core_clock_add(60 * 86400 * 1000LL);
	core_reopen(&f, false);
	CHECK(f.core->policy != NULL);
	CHECK_STR(core_view_text(&f, "n1"), "web |");
	core_teardown(&f);
}

TEST(without_a_policy_key_nothing_is_published)
{
	const struct core_manifest_of m = revision(1);
	struct core_fixture f;

	core_setup(&f);
	keyring_done(&f.core->policy_keys);
	f.core->policy_keys = (struct keyring){.threshold = 1};
	CHECK_INT(core_publish_of(&f, &f.key, &m), -EACCES);
	CHECK_CONTAINS(f.err.text, "no policy key");
	core_teardown(&f);
}

TEST(a_threshold_of_two_needs_two_keys)
{
	const struct core_manifest_of m = revision(2);
	CLEANUP(freep) char *pem = NULL;
	struct core_fixture f;

	core_setup_published(&f);
	pem = public_key_pem(&f.other_key.public);
	CHECK_OK(core_policy_key_add(f.core, pem, strlen(pem), 2, "test", &f.err), &f.err);
	CHECK_INT(core_publish_of(&f, &f.key, &m), -EINVAL);
	core_reopen(&f, false);
	CHECK_UINT(f.core->policy_keys.threshold, 2);
	CHECK_UINT(f.core->policy_keys.count, 2);
	CHECK_INT(core_publish_of(&f, &f.key, &m), -EINVAL);
	core_teardown(&f);
}
