/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/core_fixture.h"

#include "base/mem.h"
#include "base/text.h"
#include "controller-client/dsse.h"
#include "controller-client/view_decode.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define YEAR_S   (365LL * 86400)
#define TEXT_MAX 8192

const char *const core_policy =
	"trust_domain: acme.example\n"
	"defaults: {assurance: mapped}\n"
	"identities:\n"
	"  - {name: web, path: prod/web, labels: [environment=prod], workload: [{unit: w.service}],"
	" placement: {nodes: [\"n*\"]}}\n"
	"  - {name: api, path: prod/api, labels: [environment=prod, vendor=x],"
	" workload: [{unit: a.service}], serves: [tcp/80], placement: {nodes: [\"n*\"]}}\n"
	"  - {name: db, path: prod/db, labels: [environment=prod], workload: [{unit: d.service}],"
	" serves: [tcp/5432], placement: {nodes: [\"n*\"], labels: [disk=ssd]}}\n"
	"  - {name: log, path: ops/log, workload: [{unit: l.service}], serves: [tcp/6514]}\n"
	"  - {name: lone, path: ops/lone, workload: [{unit: o.service}]}\n"
	"rules:\n"
	"  - {name: web-api, from: [web], to: [api], services: [tcp/80], purpose: p, owner: o}\n"
	"  - {name: api-db, from: [api], to: [db], services: [tcp/5432], purpose: p, owner: o}\n"
	"  - {name: logs, from: [\"environment=prod\"], to: [log], services: [tcp/6514],"
	" purpose: p, owner: o}\n"
	"  - {name: out, from: [lone], to: [world], services: [tcp/443], purpose: p, owner: o}\n"
	"  - {name: break-glass, from: [log], to: [db], services: [tcp/5432], purpose: p, owner: o,"
	" grantable: {max: 2h}}\n"
	"networks:\n"
	"  - {name: world, cidrs: [\"0.0.0.0/0\"]}\n"
	"  - {name: forensics, cidrs: [\"10.9.0.0/24\"]}\n"
	"nodes:\n"
	"  - {pattern: \"n*\", addresses: [\"10.0.0.0/24\", \"fd00::/64\"]}\n"
	"  - {pattern: n4, addresses: [\"10.0.0.4\"], labels: [disk=ssd]}\n"
	"  - {pattern: \"m*\", addresses: [\"10.1.0.0/24\"]}\n";

static int64_t fixture_ms;
static unsigned setups; /* each has a directory of its own */

static int64_t fixture_clock(void)
{
	return fixture_ms;
}

void core_clock_set(int64_t ms)
{
	fixture_ms = ms;
}

void core_clock_add(int64_t ms)
{
	fixture_ms += ms;
}

static void on_wake(void *user, const char *node)
{
	struct core_fixture *f = user;

	if (f->woken_count < FIXTURE_WOKEN_MAX)
		(void)snprintf(f->woken[f->woken_count++], NODE_NAME_MAX, "%s", node);
}

static void open_core(struct core_fixture *f)
{
	const struct core_config config = {
		.data_dir = f->dir, .reports_place = true, .wake = on_wake, .user = f};

	CHECK_OK(core_open(&config, &f->core, &f->err), &f->err);
	f->core->now_ms = fixture_clock;
}

void core_setup(struct core_fixture *f)
{
	CLEANUP(freep) char *pem = NULL;

	*f = (struct core_fixture){0};
	core_clock_set(FIXTURE_NOW_S * 1000LL);
	(void)snprintf(f->dir, sizeof(f->dir), "%s/data%u", test_dir(), ++setups);
	CHECK_INT(mkdir(f->dir, 0700), 0);
	CHECK_OK(core_init(f->dir, "acme.example", &f->err), &f->err);
	CHECK_OK(private_key_generate(KEY_ED25519, &f->key, &f->err), &f->err);
	CHECK_OK(private_key_generate(KEY_ED25519, &f->other_key, &f->err), &f->err);
	open_core(f);
	pem = public_key_pem(&f->key.public);
	CHECK(pem != NULL);
	CHECK_OK(core_policy_key_add(f->core, pem, strlen(pem), 1, "test", &f->err), &f->err);
}

void core_setup_published(struct core_fixture *f)
{
	core_setup(f);
	CHECK_OK(core_publish_next(f, 1, core_policy), &f->err);
	core_forget_woken(f);
}

void core_teardown(struct core_fixture *f)
{
	core_free(f->core);
	private_key_done(&f->key);
	private_key_done(&f->other_key);
	json_decref(f->answer);
}

void core_reopen(struct core_fixture *f, bool killed)
{
	/* A core that thinks its picture is lost saves nothing at the end. */
	f->core->lost |= killed;
	core_free(f->core);
	f->core = NULL;
	open_core(f);
}

static void forget_answer(struct core_fixture *f)
{
	json_decref(f->answer);
	f->answer = NULL;
	f->err = (struct err){{0}};
}

/* --- signed policy --------------------------------------------------------------------------- */

static void make_manifest(const struct core_manifest_of *of, struct blob_ref *ref,
			  struct manifest *ret)
{
	static char *nodes[1];

	nodes[0] = (char *)(uintptr_t)of->revoked_node;
	*ret = (struct manifest){
		.trust_domain = (char *)(uintptr_t)of->trust_domain,
		.revision = of->revision,
		.rollback_floor = of->floor,
		.issued = {of->issued ? of->issued : fixture_ms / 1000},
		.expires = {of->expires ? of->expires : fixture_ms / 1000 + YEAR_S},
		.policy = ref,
		.policy_count = 1,
		.revoked_nodes = nodes,
		.revoked_node_count = of->revoked_node ? 1 : 0,
	};
}

int core_publish_of(struct core_fixture *f, const struct private_key *key,
		    const struct core_manifest_of *of)
{
	struct blob_ref ref = {.name = "policy.json", .size = strlen(of->policy)};
	CLEANUP(freep) char *text = NULL, *envelope = NULL;
	struct manifest m;
	size_t len, envelope_len;
	int r;

	forget_answer(f);
	r = core_blob_put(f->core, of->policy, strlen(of->policy), ref.sha256, &f->err);
	if (r < 0)
		return r;
	make_manifest(of, &ref, &m);
	CHECK_OK(manifest_encode(&m, &text, &len, &f->err), &f->err);
	CHECK_OK(dsse_sign(DSSE_TYPE_MANIFEST, text, len, key, &envelope, &envelope_len, &f->err),
		 &f->err);
	return core_publish(f->core, envelope, envelope_len, "test", &f->answer, &f->err);
}

int core_publish_next(struct core_fixture *f, uint64_t revision, const char *policy)
{
	const struct core_manifest_of m = {
		.revision = revision, .trust_domain = "acme.example", .policy = policy};

	return core_publish_of(f, &f->key, &m);
}

/* --- orders ---------------------------------------------------------------------------------- */

int core_put(struct core_fixture *f, const char *identity, const char *node, const char *addresses)
{
	const char *list[8];
	char copy[512];
	size_t count = 0;

	forget_answer(f);
	(void)snprintf(copy, sizeof(copy), "%s", addresses ? addresses : "");
	for (char *save = NULL, *one = strtok_r(copy, " ", &save); one && count < 8;
	     one = strtok_r(NULL, " ", &save))
		list[count++] = one;
	return core_place(f->core, identity, node, list, count, false, "test", &f->answer, &f->err);
}

int core_take(struct core_fixture *f, const char *identity, const char *node)
{
	forget_answer(f);
	return core_place(f->core, identity, node, NULL, 0, true, "test", &f->answer, &f->err);
}

int core_report_of(struct core_fixture *f, const char *node, const char *members)
{
	char text[TEXT_MAX];

	f->err = (struct err){{0}};
	(void)snprintf(text, sizeof(text), "{\"version\":1,\"node\":\"%s\"%s%s}", node,
		       members[0] != '\0' ? "," : "", members);
	return core_status(f->core, node, text, strlen(text), &f->err);
}

/* --- what nodes get --------------------------------------------------------------------------- */

void core_head_of(struct core_fixture *f, const char *node, struct head *ret)
{
	struct keyring keys = {.count = 1, .threshold = 1};
	CLEANUP(freep) uint8_t *payload = NULL;
	uint64_t sequence = 0;
	const char *text;
	size_t len, payload_len;

	keys.keys[0] = f->core->key.public; /* borrowed */
	CHECK_OK(core_head(f->core, node, &text, &len, &sequence, &f->err), &f->err);
	CHECK_OK(dsse_verify(text, len, DSSE_TYPE_HEAD, "head", &keys, &payload, &payload_len,
			     &f->err),
		 &f->err);
	CHECK_OK(head_decode(payload, payload_len, ret, &f->err), &f->err);
	CHECK_UINT(ret->sequence, sequence);
	CHECK_STR(ret->node, node);
}

uint64_t core_sequence_of(struct core_fixture *f, const char *node)
{
	uint64_t promised = core_head_sequence(f->core, node);
	struct head h;

	core_head_of(f, node, &h);
	if (promised > 0)
		CHECK_UINT(h.sequence, promised);
	promised = h.sequence;
	head_done(&h);
	return promised;
}

struct view *core_view_of(struct core_fixture *f, const char *node)
{
	CLEANUP(freep) char *bytes = NULL;
	struct view *v = NULL;
	struct head h;
	size_t len = 0;

	core_head_of(f, node, &h);
	CHECK_OK(core_blob(f->core, node, h.view_sha256, &bytes, &len, &f->err), &f->err);
	CHECK_UINT(len, h.view_size);
	CHECK_OK(view_decode(bytes, len, node, h.view_sequence, &v, &f->err), &f->err);
	CHECK_UINT(v->sequence, h.view_sequence);
	head_done(&h);
	return v;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

const char *core_view_text(struct core_fixture *f, const char *node)
{
	CLEANUP(view_freep) struct view *v = core_view_of(f, node);
	static char text[TEXT_MAX];
	size_t used = 0;

	for (size_t i = 0; i < v->placed_count; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s ",
					 last_part(v->placed[i].identity));
	used += (size_t)snprintf(text + used, sizeof(text) - used, "|");
	for (size_t i = 0; i < v->peer_count; i++) {
		CHECK(view_find_node(v, v->peers[i].node) != NULL);
		used += (size_t)snprintf(text + used, sizeof(text) - used, " %s@%s",
					 last_part(v->peers[i].identity), v->peers[i].node);
	}
	return text;
}

bool core_woke(const struct core_fixture *f, const char *node)
{
	for (size_t i = 0; i < f->woken_count; i++)
		if (str_eq(f->woken[i], node))
			return true;
	return false;
}

void core_forget_woken(struct core_fixture *f)
{
	f->woken_count = 0;
}

int64_t core_sql(struct core_fixture *f, const char *sql)
{
	sqlite3_stmt *statement = NULL;
	sqlite3 *db = NULL;
	char path[512];
	int64_t number;

	(void)snprintf(path, sizeof(path), "%s/controller.db", f->dir);
	CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
	CHECK_INT(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
	CHECK_INT(sqlite3_step(statement), SQLITE_ROW);
	number = sqlite3_column_int64(statement, 0);
	(void)sqlite3_finalize(statement);
	(void)sqlite3_close(db);
	return number;
}
