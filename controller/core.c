/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/core.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DATABASE       "controller.db"
#define KEY_FILE       "controller.key"
#define PUBLIC_FILE    "controller.pub"
#define PRUNE_EVERY_MS (3600 * 1000LL)
#define DAY_S          86400LL
#define TOKENS_KEEP_S  (7 * DAY_S)
#define CERTS_KEEP_S   (40 * DAY_S) /* an expired one may be renewed for 30 days */
#define AUDIT_KEEP_S   (90 * DAY_S) /* two certificates a day and node fill any disk */
#define EVIDENCE_KEPT  200000

static int64_t clock_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t core_now_ms(const struct core *c)
{
	return c->now_ms();
}

struct wall core_now(const struct core *c)
{
	return (struct wall){.s = c->now_ms() / 1000};
}

/* --- files ----------------------------------------------------------------------------------- */

static int check_dir(const char *dir, struct err *err)
{
	struct stat st;

	if (stat(dir, &st) < 0)
		return err_set(err, errno, "data directory '%s': %s", dir, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ENOTDIR, "'%s' is not a directory", dir);
	if (st.st_uid != geteuid())
		return err_set(err, EPERM,
			       "data directory '%s' belongs to uid %u; that of the controller (%u) "
			       "would be right",
			       dir, (unsigned)st.st_uid, (unsigned)geteuid());
	if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return err_set(err, EPERM,
			       "data directory '%s' is open to others (mode %04o); 'chmod 0700' "
			       "would be right",
			       dir, (unsigned)(st.st_mode & 07777));
	return 0;
}

static int path_in(char *buf, const char *dir, const char *name, struct err *err)
{
	if (snprintf(buf, CORE_PATH_MAX, "%s/%s", dir, name) >= CORE_PATH_MAX)
		return err_set(err, ENAMETOOLONG, "'%s/%s': path too long", dir, name);
	return 0;
}

static int key_write(const char *dir, const struct private_key *key, struct err *err)
{
	CLEANUP(freep) char *public = public_key_pem(&key->public);
	char *private = private_key_pem(key);
	char path[CORE_PATH_MAX];
	int r;

	if (!public || !private) {
		free(private);
		return err_set(err, ENOMEM, "out of memory");
	}
	r = path_in(path, dir, KEY_FILE, err);
	if (r == 0)
		r = file_write_durable(AT_FDCWD, path, private, strlen(private), 0600, err);
	explicit_bzero(private, strlen(private));
	free(private);
	if (r == 0)
		r = path_in(path, dir, PUBLIC_FILE, err);
	return r < 0 ? r : file_write_durable(AT_FDCWD, path, public, strlen(public), 0644, err);
}

/* Made anew, or as it is where only its public half is missing. */
static int key_get(const char *path, struct private_key *ret, struct err *err)
{
	return access(path, F_OK) == 0 ? private_key_load(path, ret, err)
				       : private_key_generate(KEY_ED25519, ret, err);
}

static int key_make(const char *dir, struct err *err)
{
	char path[CORE_PATH_MAX], public[CORE_PATH_MAX];
	struct private_key key;
	int r;

	r = path_in(path, dir, KEY_FILE, err);
	if (r == 0)
		r = path_in(public, dir, PUBLIC_FILE, err);
	if (r < 0 || (access(path, F_OK) == 0 && access(public, F_OK) == 0))
		return r;
	r = key_get(path, &key, err);
	if (r < 0)
		return r;
	r = key_write(dir, &key, err);
	private_key_done(&key);
	return r;
}

static int take_text(void *user, const struct store_row *row)
{
	char **ret = user;

	free(*ret);
	*ret = mem_strdup(store_row_text(row, 0));
	return *ret ? 0 : -ENOMEM;
}

static int meta_get(struct store *s, const char *key, char **ret, struct err *err)
{
	return store_ask(s, STORE_META_GET, take_text, ret, err, store_text(key));
}

/* The name is given once: everything issued and signed since carries it. */
static int domain_set(struct store *s, const char *trust_domain, struct err *err)
{
	CLEANUP(freep) char *known = NULL;
	int r;

	r = meta_get(s, "trust_domain", &known, err);
	if (r < 0)
		return r;
	if (known && !str_eq(known, trust_domain))
		return err_set(err, EEXIST,
			       "the data directory belongs to trust domain '%s', not '%s'; another "
			       "directory would be right",
			       known, trust_domain);
	r = known ? 0
		  : store_order(s, STORE_META_PUT, err, store_text("trust_domain"),
				store_text(trust_domain));
	return r < 0 ? r : 0;
}

int core_init(const char *data_dir, const char *trust_domain, struct err *err)
{
	struct store *s = NULL;
	char path[CORE_PATH_MAX];
	int r;

	if (!trust_domain_ok(trust_domain))
		return err_set(err, EINVAL,
			       "'%.100s' is no trust domain; lower-case letters, digits, '.', '-' "
			       "and '_' would be right",
			       trust_domain);
	r = check_dir(data_dir, err);
	if (r == 0)
		r = path_in(path, data_dir, DATABASE, err);
	if (r == 0)
		r = store_sqlite.open(path, true, &s, err);
	if (r < 0)
		return r;
	r = domain_set(s, trust_domain, err);
	store_close(s);
	return r < 0 ? r : key_make(data_dir, err);
}

/* --- life ------------------------------------------------------------------------------------ */

static int open_parts(struct core *c, struct err *err)
{
	char path[CORE_PATH_MAX];
	int r;

	r = check_dir(c->dir, err);
	if (r == 0)
		r = path_in(path, c->dir, DATABASE, err);
	if (r == 0)
		r = store_sqlite.open(path, false, &c->store, err);
	if (r == 0)
		r = meta_get(c->store, "trust_domain", &c->trust_domain, err);
	if (r >= 0 && !c->trust_domain)
		r = err_set(err, ENOENT,
			    "'%s' names no trust domain; 'bailiwick-controller init' sets one",
			    path);
	if (r >= 0)
		r = path_in(path, c->dir, KEY_FILE, err);
	if (r == 0)
		r = private_key_load(path, &c->key, err);
	return r < 0 ? r : core_load(c, err);
}

int core_open(const struct core_config *config, struct core **ret, struct err *err)
{
	struct core *c = mem_calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_set(err, ENOMEM, "out of memory");
	c->config = *config;
	c->now_ms = clock_ms;
	c->dir = mem_strdup(config->data_dir);
	c->cache = heads_cache_new();
	r = c->dir && c->cache ? open_parts(c, err) : err_set(err, ENOMEM, "out of memory");
	if (r < 0) {
		c->lost = true; /* nothing to save */
		core_free(c);
		return r;
	}
	c->config.data_dir = c->dir;
	place_files_tick(c);
	*ret = c;
	return 0;
}

static void close_clean(struct core *c)
{
	struct err err = {{0}};
	int r;

	r = reports_save(c, &err);
	if (r == 0)
		r = heads_save_all(c, &err);
	if (r == 0)
		r = store_order(c->store, STORE_META_PUT, &err, store_text(SHUTDOWN_MARK),
				store_text("1"));
	if (r < 0)
		log_warn("controller: not everything was saved at the end (%s); heads get new "
			 "numbers at the next start",
			 err.text);
}

void core_free(struct core *c)
{
	if (!c)
		return;
	if (c->store && !c->lost)
		close_clean(c);
	core_unload(c);
	keyring_done(&c->policy_keys);
	private_key_done(&c->key);
	store_close(c->store);
	heads_cache_free(c->cache);
	free(c->trust_domain);
	free(c->dir);
	free(c);
}

int core_ready(struct core *c, struct err *err)
{
	int r;

	if (!c->lost)
		return 0;
	core_unload(c);
	r = core_load(c, err);
	if (r == 0)
		log_info("controller: the picture in memory was built again from the store");
	return r;
}

const char *core_trust_domain(const struct core *c)
{
	return c->trust_domain;
}

/* --- keys that agents are to trust ------------------------------------------------------------ */

static json_t *keyring_json(const struct keyring *k)
{
	json_t *keys = json_array();

	for (size_t i = 0; i < k->count; i++) {
		CLEANUP(freep) char *pem = public_key_pem(&k->keys[i]);

		if (pem)
			(void)json_array_append_new(keys, json_string(pem));
	}
	return json_pack("{s:o,s:i}", "keys", keys, "threshold", (int)k->threshold);
}

json_t *core_trust(struct core *c)
{
	CLEANUP(freep) char *pem = public_key_pem(&c->key.public);

	if (!pem)
		return NULL;
	return json_pack("{s:i,s:s,s:o,s:{s:[s],s:i}}", "version", 1, "trust_domain",
			 c->trust_domain, "policy", keyring_json(&c->policy_keys), "controller",
			 "keys", pem, "threshold", 1);
}

static int key_store(struct core *c, const struct public_key *key, uint32_t threshold,
		     const char *who, struct err *err)
{
	CLEANUP(freep) char *pem = public_key_pem(key);
	char number[16];
	int r;

	if (!pem)
		return err_set(err, ENOMEM, "out of memory");
	(void)snprintf(number, sizeof(number), "%u", threshold);
	r = core_write_begin(c, who, "policy-key", key->id, NULL, err);
	if (r < 0)
		return r;
	r = store_order(c->store, STORE_KEY_ADD, err, store_text("policy"), store_text(key->id),
			store_text(pem));
	if (r >= 0)
		r = store_order(c->store, STORE_META_PUT, err, store_text("policy_threshold"),
				store_text(number));
	return core_write_end(c, r, err);
}

int core_policy_key_add(struct core *c, const char *pem, size_t len, uint32_t threshold,
			const char *who, struct err *err)
{
	struct public_key key;
	size_t count;
	int r;

	r = core_ready(c, err);
	if (r == 0)
		r = public_key_parse(pem, len, "policy key", &key, err);
	if (r < 0)
		return r;
	count = c->policy_keys.count;
	if (threshold < 1 || threshold > KEYRING_MAX || count >= KEYRING_MAX)
		r = err_set(err, EINVAL, "a threshold of 1 to %d and as many keys would be right",
			    KEYRING_MAX);
	if (r == 0)
		r = key_store(c, &key, threshold, who, err);
	if (r == 0)
		r = keyring_add(&c->policy_keys, &key, NULL);
	if (r < 0)
		public_key_done(&key);
	if (r < 0 && r != -EEXIST)
		return r;
	c->policy_keys.threshold = threshold;
	return 0;
}

/* --- nodes ----------------------------------------------------------------------------------- */

const char *node_state_name(enum node_state state)
{
	switch (state) {
	case NODE_EXPECTED:
		return "expected";
	case NODE_ACTIVE:
		return "active";
	case NODE_EVICTED:
		return "evicted";
	case NODE_BANNED:
		return "banned";
	}
	return "";
}

struct node_record *core_node_at(struct core *c, uint32_t node)
{
	struct node_record *n;

	if (node < c->node_count && c->nodes[node])
		return c->nodes[node];
	if (vec_grow(&c->nodes, &c->node_cap, (size_t)node + 1, sizeof(*c->nodes),
		     VIEWS_NODES_MAX) < 0)
		return NULL;
	n = mem_calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->head.unsure = true;
	n->head.next_urgent = true; /* its first: nobody else waits for it */
	n->head.sequence = n->head.view_sequence = c->sequence_floor;
	c->nodes[node] = n;
	if (node >= c->node_count)
		c->node_count = (size_t)node + 1;
	return n;
}

struct node_record *core_node(struct core *c, const char *name, uint32_t *ret_node)
{
	uint32_t node = views_node(c->views, name);

	if (node == VIEWS_NONE)
		return NULL;
	*ret_node = node;
	return core_node_at(c, node);
}

int core_node_fits(const struct core *c, const char *name, struct err *err)
{
	if (views_find_node(c->views, name) != VIEWS_NONE ||
	    views_node_count(c->views) < VIEWS_NODES_MAX)
		return 0;
	return err_set(err, ENOSPC,
		       "%d nodes are known; another controller for '%s' would be right",
		       VIEWS_NODES_MAX, name);
}

int core_node_may(struct core *c, struct node_record *n, const char *name, struct err *err)
{
	int64_t owed = n->owes_until_ms - core_now_ms(c);

	/* More than any order costs: the clock was put back. */
	if (owed > 10LL * CHARGE_OWED_MAX_MS)
		n->owes_until_ms = 0;
	else if (owed > CHARGE_OWED_MAX_MS)
		return err_set(err, EAGAIN,
			       "node '%s' asks for more than its share; in %" PRId64
			       " s it may again",
			       name, (owed - CHARGE_OWED_MAX_MS) / 1000 + 1);
	return 0;
}

void core_node_charge(struct core *c, struct node_record *n, int64_t ms)
{
	int64_t now = core_now_ms(c);

	n->owes_until_ms = (n->owes_until_ms > now ? n->owes_until_ms : now) + ms;
}

/* Also a connection that was made before knows it at once. */
int core_node_admitted(const struct node_record *n, const char *name, struct err *err)
{
	if (n->state == NODE_BANNED)
		return err_set(err, EPERM, "node '%s' is banned", name);
	if (n->state == NODE_EVICTED)
		return err_set(err, EACCES,
			       "node '%s' was evicted; enrolling it again would be "
			       "right",
			       name);
	return 0;
}

/* Within a transaction: state changes, the rest of the row stays. */
int core_node_put(struct core *c, const char *name, enum node_state state, struct err *err)
{
	uint32_t node = views_find_node(c->views, name);
	const struct node_record *n = node < c->node_count ? c->nodes[node] : NULL;
	CLEANUP(freep)
	char *report = node < c->node_count ? report_text(c, node) : mem_strdup("{}");
	int r;

	if (!report)
		return err_set(err, ENOMEM, "out of memory");
	r = store_order(c->store, STORE_NODE_PUT, err, store_text(name),
			store_text(node_state_name(state)), store_int(core_now(c).s),
			store_int(n ? n->valid_from : 0), store_int(n ? n->seen : 0),
			store_text(report));
	return r < 0 ? r : 0;
}

int core_node_store(struct core *c, uint32_t node, struct err *err)
{
	const char *name = views_node_at(c->views, node)->name;
	struct node_record *n = core_node_at(c, node);
	int r;

	if (!n)
		return err_set(err, ENOMEM, "out of memory");
	if (n->stored && n->state == NODE_ACTIVE)
		return 0;
	r = core_write_begin(c, name, "node-add", name, NULL, err);
	if (r < 0)
		return r;
	r = core_write_end(c, core_node_put(c, name, NODE_ACTIVE, err), err);
	if (r < 0)
		return r;
	n->stored = true;
	n->state = NODE_ACTIVE;
	n->changed = core_now(c).s;
	return 0;
}

/* --- once a second --------------------------------------------------------------------------- */

static int prune(struct core *c, struct err *err)
{
	const struct {
		enum store_query query;
		int64_t value;
	} orders[] = {
		{STORE_TOKENS_PRUNE, core_now(c).s - TOKENS_KEEP_S},
		{STORE_CERTS_PRUNE, core_now(c).s - CERTS_KEEP_S},
		{STORE_OPERATORS_PRUNE, core_now(c).s - CERTS_KEEP_S},
		{STORE_BLOBS_PRUNE, core_now(c).s - DAY_S},
		{STORE_EVIDENCE_PRUNE, EVIDENCE_KEPT},
		{STORE_AUDIT_PRUNE, core_now(c).s - AUDIT_KEEP_S},
	};
	int r = store_begin(c->store, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(orders) && r >= 0; i++)
		r = store_order(c->store, orders[i].query, err, store_int(orders[i].value));
	return core_write_end(c, r, err);
}

void core_tick(struct core *c)
{
	struct err err = {{0}};
	int r;

	if (core_ready(c, &err) < 0) {
		log_error("controller: the store cannot be read: %s", err.text);
		return;
	}
	actions_expire(c);
	place_files_tick(c);
	r = reports_save(c, &err);
	if (r == 0)
		r = heads_save(c, &err);
	if (r == 0 && core_now_ms(c) - c->pruned_at > PRUNE_EVERY_MS) {
		c->pruned_at = core_now_ms(c);
		r = prune(c, &err);
	}
	if (r < 0 && !c->save_failed)
		log_error("controller: %s; tried again each second", err.text);
	c->save_failed = r < 0;
}
