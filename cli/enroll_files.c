/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/enroll_files.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/yaml_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define AGENT_USER        "bailiwick"
#define STATE_DIR_DEFAULT "/var/lib/bailiwick"
#define CONFIG_TEXT_MAX   (1U << 20)
#define YAML_MAX          (64U << 10)
#define STATE_MODE        0700
#define ETC_MODE          0755
#define SECRET_MODE       0600
#define PUBLIC_MODE       0644
#define NEW_SUFFIX        ".new" /* agent/node_key.c looks for it */

void enroll_files_done(struct enroll_files *f)
{
	for (size_t i = 0; i < KEYRING_MAX; i++) {
		free(f->policy[i]);
		free(f->controller[i]);
	}
	free(f->config);
	free(f->node);
	free(f->state_dir);
	free(f->key);
	free(f->cert);
	free(f->bundle);
	free(f->ca);
	*f = (struct enroll_files){0};
}

/* --- agent.yaml --------------------------------------------------------------------------- */

struct mistake {
	const char *file;
	struct err *err;
	bool made;
};

static void on_mistake(void *user, uint32_t line, uint32_t column, const char *message,
		       const char *advice)
{
	struct mistake *m = user;

	if (!m->made)
		(void)err_set(m->err, EINVAL, "%s:%u:%u: %s%s%s", m->file, line, column, message,
			      advice != NULL ? "; " : "", advice != NULL ? advice : "");
	m->made = true;
}

static const struct yaml_tree_node *at(const struct yaml_tree_node *map, const char *key)
{
	return map != NULL && map->kind == YAML_TREE_MAP ? yaml_tree_get(map, key) : NULL;
}

static char *text_at(const struct yaml_tree_node *map, const char *key)
{
	const struct yaml_tree_node *n = at(map, key);

	return n != NULL && n->kind == YAML_TREE_SCALAR ? mem_strdup(n->text) : NULL;
}

static size_t take_keys(const struct yaml_tree_node *role, char *keys[KEYRING_MAX])
{
	const struct yaml_tree_node *list = at(role, "keys");
	size_t count = 0;

	if (list == NULL || list->kind != YAML_TREE_LIST)
		return 0;
	for (const struct yaml_tree_node *n = yaml_tree_first(list);
	     n != NULL && count < KEYRING_MAX; n = yaml_tree_next(n)) {
		if (n->kind == YAML_TREE_SCALAR && (keys[count] = mem_strdup(n->text)) != NULL)
			count++;
	}
	return count;
}

static void take_tree(struct enroll_files *f, const struct yaml_tree_node *root)
{
	const struct yaml_tree_node *svid = at(root, "svid"), *trust = at(root, "trust");
	const struct yaml_tree_node *controller = at(at(root, "source"), "controller");

	f->node = text_at(root, "node");
	f->state_dir = text_at(root, "state_dir");
	f->key = text_at(svid, "key");
	f->cert = text_at(svid, "cert");
	f->bundle = text_at(svid, "bundle");
	f->ca = text_at(controller, "ca");
	f->policy_count = take_keys(at(trust, "policy"), f->policy);
	f->controller_count = take_keys(at(trust, "controller"), f->controller);
	f->has_source = at(root, "source") != NULL;
	f->has_trust = trust != NULL;
	f->has_svid = svid != NULL;
}

static int read_config(struct enroll_files *f, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	struct mistake m = {.file = f->config, .err = err};
	const struct yaml_report report = {.error = on_mistake, .user = &m};
	struct yaml_tree tree = {0};
	size_t len = 0;
	int r;

	if (access(f->config, F_OK) < 0 && errno == ENOENT)
		return 0;
	f->existing = true;
	r = file_read(AT_FDCWD, f->config, CONFIG_TEXT_MAX, &text, &len, err);
	if (r < 0)
		return r;
	r = yaml_tree_parse(text, len, &report, &tree);
	if (r >= 0 && !m.made)
		take_tree(f, tree.root);
	yaml_tree_done(&tree);
	return m.made ? -EINVAL : r < 0 ? err_set(err, ENOMEM, "out of memory") : 0;
}

/* The directory of a path, without its last slash; caller frees. */
static char *dir_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return mem_strdup(".");
	return mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static bool fill(char **path, const char *dir, const char *name)
{
	if (*path == NULL)
		*path = mem_printf("%s/%s", dir, name);
	return *path != NULL;
}

int enroll_files_find(const char *config, struct enroll_files *ret, struct err *err)
{
	struct enroll_files f = {.config = mem_strdup(config)};
	CLEANUP(freep) char *etc = dir_of(config);
	int r = f.config != NULL && etc != NULL ? read_config(&f, err)
						: err_set(err, ENOMEM, "out of memory");

	if (r >= 0 && f.state_dir == NULL)
		f.state_dir = mem_strdup(STATE_DIR_DEFAULT);
	if (r >= 0 &&
	    (f.state_dir == NULL || !fill(&f.key, f.state_dir, "svid.key") ||
	     !fill(&f.cert, f.state_dir, "svid.pem") ||
	     !fill(&f.bundle, f.state_dir, "bundle.pem") || !fill(&f.ca, etc, "controller-ca.pem")))
		r = err_set(err, ENOMEM, "out of memory");
	if (r < 0) {
		enroll_files_done(&f);
		return r;
	}
	*ret = f;
	return 0;
}

/* --- writing ------------------------------------------------------------------------------ */

/* A directory that is made here for the agent is the agent's, where it has a user of its own. */
static int make_dir_of(const char *path, bool agents, struct err *err)
{
	CLEANUP(freep) char *dir = dir_of(path);
	const struct passwd *pw = agents ? getpwnam(AGENT_USER) : NULL;
	struct stat st;
	int r;

	if (dir == NULL)
		return err_set(err, ENOMEM, "out of memory");
	if (stat(dir, &st) < 0) {
		r = dir_make(dir, agents ? STATE_MODE : ETC_MODE, err);
		if (r < 0)
			return r;
		if (pw != NULL && lchown(dir, pw->pw_uid, pw->pw_gid) < 0)
			return err_set(err, errno, "%s: %s", dir, strerror(errno));
	}
	if (access(dir, W_OK) < 0)
		return err_set(err, errno, "%s: %s; as root it would be right", dir,
			       strerror(errno));
	return 0;
}

static int make_trust_dirs(const struct enroll_files *f, struct err *err)
{
	CLEANUP(freep) char *etc = dir_of(f->config);
	CLEANUP(freep) char *usual = etc != NULL ? mem_printf("%s/trust/x", etc) : NULL;
	int r = 0;

	if (usual == NULL)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < f->policy_count && r >= 0; i++)
		r = make_dir_of(f->policy[i], false, err);
	for (size_t i = 0; i < f->controller_count && r >= 0; i++)
		r = make_dir_of(f->controller[i], false, err);
	return r < 0 ? r : make_dir_of(usual, false, err);
}

int enroll_files_prepare(const struct enroll_files *f, struct err *err)
{
	int r = make_dir_of(f->key, true, err);

	if (r >= 0)
		r = make_dir_of(f->cert, true, err);
	if (r >= 0)
		r = make_dir_of(f->bundle, true, err);
	if (r >= 0)
		r = make_dir_of(f->ca, false, err);
	return r < 0 ? r : make_trust_dirs(f, err);
}

/* The agent replaces these itself when it renews: they belong to whom their directory belongs. */
static int give_to_owner_of_dir(const char *path, struct err *err)
{
	CLEANUP(freep) char *dir = dir_of(path);
	struct stat st;

	if (dir == NULL)
		return err_set(err, ENOMEM, "out of memory");
	if (stat(dir, &st) < 0 || lchown(path, st.st_uid, st.st_gid) < 0)
		return err_set(err, errno, "%s: %s", path, strerror(errno));
	return 0;
}

static int write_for_agent(const char *path, const char *text, mode_t mode, struct err *err)
{
	int r = file_write_durable(AT_FDCWD, path, text, strlen(text), mode, err);

	return r < 0 ? r : give_to_owner_of_dir(path, err);
}

/*
 * The token is used, and a key and its certificate cannot be replaced in one step. In the order of
 * agent/node_key.c, which finishes at its start what was broken off: until the certificate is
 * replaced the old pair is whole, from then on the new one is, with its key as KEY.new. A running
 * agent may have taken that away: the key is written again and not moved.
 */
static int write_pair(const struct enroll_files *f, const char *key_pem, const char *cert_pem,
		      struct err *err)
{
	CLEANUP(freep) char *new_key = mem_printf("%s" NEW_SUFFIX, f->key);
	int r;

	if (new_key == NULL)
		return err_set(err, ENOMEM, "out of memory");
	r = write_for_agent(new_key, key_pem, SECRET_MODE, err);
	if (r >= 0)
		r = write_for_agent(f->cert, cert_pem, PUBLIC_MODE, err);
	if (r >= 0)
		r = write_for_agent(f->key, key_pem, SECRET_MODE, err);
	if (r >= 0)
		(void)unlink(new_key);
	return r;
}

static int write_svid(const struct enroll_files *f, const struct enrol_result *r, struct err *err)
{
	char *pem = private_key_pem(&r->key);
	int code;

	if (pem == NULL)
		return err_set(err, ENOMEM, "out of memory");
	code = write_for_agent(f->bundle, r->bundle_pem, PUBLIC_MODE, err);
	if (code >= 0)
		code = write_pair(f, pem, r->cert_pem, err);
	OPENSSL_cleanse(pem, strlen(pem));
	free(pem);
	return code;
}

/* Names for keys that agent.yaml does not name: policy.pub, or policy-1.pub, policy-2.pub... */
static int name_keys(const struct enroll_files *f, const char *role, size_t count,
		     char *paths[KEYRING_MAX], size_t named)
{
	CLEANUP(freep) char *etc = dir_of(f->config);

	for (size_t i = named; i < count && etc != NULL; i++) {
		free(paths[i]);
		paths[i] = count == 1 ? mem_printf("%s/trust/%s.pub", etc, role)
				      : mem_printf("%s/trust/%s-%zu.pub", etc, role, i + 1);
		if (paths[i] == NULL)
			return -ENOMEM;
	}
	return etc != NULL ? 0 : -ENOMEM;
}

static int write_keys(const struct public_key *keys, size_t count, char *const *paths,
		      struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < count && r >= 0; i++) {
		CLEANUP(freep) char *pem = public_key_pem(&keys[i]);

		if (pem == NULL)
			return err_set(err, ENOMEM, "out of memory");
		r = file_write_durable(AT_FDCWD, paths[i], pem, strlen(pem), PUBLIC_MODE, err);
	}
	return r;
}

static void put_role(struct buf *b, const char *role, char *const *paths, size_t count,
		     uint32_t threshold)
{
	buf_printf(b, "  %s: {keys: [", role);
	for (size_t i = 0; i < count; i++)
		buf_printf(b, "%s\"%s\"", i > 0 ? ", " : "", paths[i]);
	buf_printf(b, "], threshold: %u}\n", threshold);
}

static void put_source(struct buf *b, const struct enroll_files *f, const char *url)
{
	buf_printf(b, "source:\n  controller: {url: \"%s\", ca: \"%s\"}\n", url, f->ca);
}

static void put_trust(struct buf *b, const struct enroll_files *f, const struct enrol_result *r)
{
	buf_puts(b, "trust:\n");
	if (r->policy_key_count == 0)
		buf_puts(b, "  # No policy key was pinned: put its file here before the agent "
			    "starts.\n");
	put_role(b, "policy", f->policy, r->policy_key_count > 0 ? r->policy_key_count : 1,
		 r->policy_threshold);
	put_role(b, "controller", f->controller, r->controller_key_count, r->controller_threshold);
}

static void put_svid(struct buf *b, const struct enroll_files *f)
{
	buf_printf(b, "svid:\n  cert: \"%s\"\n  key: \"%s\"\n  bundle: \"%s\"\n", f->cert, f->key,
		   f->bundle);
}

static int write_config(const struct enroll_files *f, const struct enrol_result *r, const char *url,
			struct err *err)
{
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, YAML_MAX);
	buf_printf(&b,
		   "# Written by bailiwick enroll; bailiwick-agent.yaml(5).\n"
		   "version: 1\nnode: \"%s\"\ntrust_domain: \"%s\"\n",
		   r->svid.name, r->svid.trust_domain);
	put_source(&b, f, url);
	put_trust(&b, f, r);
	put_svid(&b, f);
	if (!str_eq(f->state_dir, STATE_DIR_DEFAULT))
		buf_printf(&b, "state_dir: \"%s\"\n", f->state_dir);
	buf_puts(&b, "# What would be denied is recorded, nothing is denied yet: bailiwick mode.\n"
		     "mode: observe\n");
	if (b.r < 0)
		return err_set(err, -b.r, "%s: too long", f->config);
	return file_write_durable(AT_FDCWD, f->config, b.data, b.len, PUBLIC_MODE, err);
}

int enroll_files_write(struct enroll_files *f, const struct enrol_result *r, const char *url,
		       struct err *err)
{
	size_t policy = r->policy_key_count > 0 ? r->policy_key_count : 1;
	int code = 0;

	if (name_keys(f, "policy", policy, f->policy, f->policy_count) < 0 ||
	    name_keys(f, "controller", r->controller_key_count, f->controller,
		      f->controller_count) < 0)
		return err_set(err, ENOMEM, "out of memory");
	code = write_svid(f, r, err);
	if (code >= 0)
		code = file_write_durable(AT_FDCWD, f->ca, r->ca_pem, strlen(r->ca_pem),
					  PUBLIC_MODE, err);
	if (code >= 0)
		code = write_keys(r->controller_keys, r->controller_key_count, f->controller, err);
	if (code >= 0)
		code = write_keys(r->policy_keys, r->policy_key_count, f->policy, err);
	return code < 0 || f->existing ? code : write_config(f, r, url, err);
}

void enroll_files_missing(const struct enroll_files *f, const struct enrol_result *r,
			  const char *url, struct buf *b)
{
	if (!f->existing)
		return;
	if (!f->has_source)
		put_source(b, f, url);
	if (!f->has_trust || r->policy_key_count > f->policy_count ||
	    r->controller_key_count > f->controller_count)
		put_trust(b, f, r);
	if (!f->has_svid)
		put_svid(b, f);
}
