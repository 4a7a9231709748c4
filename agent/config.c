/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/config.h"

#include "agent/reading.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/yaml_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- top level ---------------------------------------------------------------------------- */

static void take_version(struct reading *rd, const struct yaml_tree_node *n)
{
	uint32_t version = 0;

	reading_number(rd, n, 1, 1, &version);
}

static void take_node(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = reading_scalar(rd, n, "a node name");

	if (!text)
		return;
	if (!node_name_ok(text)) {
		reading_wrong(rd, n, "1 to 63 of A-Z a-z 0-9 . _ -", "this is not a node name");
		return;
	}
	(void)snprintf(rd->c->node, sizeof(rd->c->node), "%s", text);
}

static void take_trust_domain(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = reading_scalar(rd, n, "a SPIFFE trust domain");
	size_t len = text ? strlen(text) : 0;

	if (!text)
		return;
	if (len < 1 || len > 255 ||
	    strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-") != len) {
		reading_wrong(rd, n, "1 to 255 of a-z 0-9 . _ - (SPIFFE-ID section 2.1)",
			      "this is not a trust domain");
		return;
	}
	reading_set(rd, &rd->c->trust_domain, text);
}

static void take_label(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = reading_scalar(rd, n, "key=value");

	if (!text)
		return;
	if (text[0] == '=' || !strchr(text, '=')) {
		reading_wrong(rd, n, "key=value", "this is not a label");
		return;
	}
	if (rd->c->label_count == CONFIG_LABELS_MAX) {
		reading_wrong(rd, n, NULL, "more than %d labels", CONFIG_LABELS_MAX);
		return;
	}
	reading_set(rd, &rd->c->labels[rd->c->label_count++], text);
}

static void take_labels(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_list(rd, n, take_label);
}

static void take_svid_cert(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_path(rd, n, &rd->c->svid_cert);
}
static void take_svid_key(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_path(rd, n, &rd->c->svid_key);
}
static void take_svid_bundle(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_path(rd, n, &rd->c->svid_bundle);
}
static void take_svid(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {
		{"cert", take_svid_cert}, {"key", take_svid_key}, {"bundle", take_svid_bundle}};

	reading_map(rd, n, rules, ARRAY_LEN(rules));
	for (size_t i = 0; i < ARRAY_LEN(rules) && n->kind == YAML_TREE_MAP; i++) {
		if (!yaml_tree_get(n, rules[i].key))
			reading_wrong(rd, n, "all three: cert, key and bundle",
				      "\"%s\" is missing here", rules[i].key);
	}
}

static void take_state_dir(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_path(rd, n, &rd->c->state_dir);
}
static void take_run_dir(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_path(rd, n, &rd->c->run_dir);
}

static void take_cgroup_root(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = reading_scalar(rd, n, "auto, or a path below the cgroup2 mount");

	if (text && str_eq(text, "auto")) {
		freep(&rd->c->cgroup_root);
		return;
	}
	if (text && (text[0] != '/' || strstr(text, "/..")))
		reading_wrong(rd, n,
			      "auto, or a path below the cgroup2 mount such as /machine/pay-1",
			      "this is not a path without \"..\"");
	else if (text)
		reading_set(rd, &rd->c->cgroup_root, text);
}

static void take_table(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = reading_scalar(rd, n, "a table name");
	size_t len = text ? strlen(text) : 0;

	if (!text)
		return;
	if (len < 1 || len > 31 || strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") != len)
		reading_wrong(rd, n, "1 to 31 of a-z 0-9 _", "this is not a table name");
	else
		reading_set(rd, &rd->c->table, text);
}

static void take_listen(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = reading_scalar(rd, n, "an address");
	struct addr a;

	if (!text)
		return;
	if (addr_parse(text, &a) < 0)
		reading_wrong(rd, n, "an IPv4 or IPv6 address", "\"%.60s\" is not an address",
			      text);
	else if (rd->c->attest_listen_count == CONFIG_ATTEST_LISTEN_MAX)
		reading_wrong(rd, n, NULL, "more than %d addresses", CONFIG_ATTEST_LISTEN_MAX);
	else
		rd->c->attest_listen[rd->c->attest_listen_count++] = a;
}
static void take_attest_listen(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_list(rd, n, take_listen);
}
static void take_attest_port(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_u16(rd, n, 1, 65535, &rd->c->attest_port);
}
static void take_attest(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {{"listen", take_attest_listen},
						{"port", take_attest_port}};

	reading_map(rd, n, rules, ARRAY_LEN(rules));
}

static void take_queue_first(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_u16(rd, n, 0, 65533, &rd->c->queue_first);
}
static void take_max_pending(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_number(rd, n, 16, 65536, &rd->c->queue_max_pending);
}
static void take_queues(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {{"first", take_queue_first},
						{"max_pending", take_max_pending}};

	reading_map(rd, n, rules, ARRAY_LEN(rules));
}

static void take_nflog_group(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_u16(rd, n, 1, 65535, &rd->c->nflog_group);
}

static void take_mode(struct reading *rd, const struct yaml_tree_node *n)
{
	static const char *const words[] = {"observe", "selective", "enforce", NULL};
	int i = reading_word(rd, n, words, "observe, selective or enforce");

	if (i >= 0)
		(void)mode_parse(words[i], &rd->c->mode);
}

static void take_forward(struct reading *rd, const struct yaml_tree_node *n)
{
	if (n->kind != YAML_TREE_LIST || yaml_tree_first(n))
		reading_wrong(rd, n, "forward: []",
			      "judging forwarded traffic is not available on this node yet");
}

static void take_deleted_exe(struct reading *rd, const struct yaml_tree_node *n)
{
	static const char *const words[] = {"warn", "deny", NULL};
	int i = reading_word(rd, n, words, "warn or deny");

	if (i >= 0)
		rd->c->deleted_exe = i ? DELETED_EXE_DENY : DELETED_EXE_WARN;
}
static void take_evidence(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {{"deleted_exe", take_deleted_exe}};

	reading_map(rd, n, rules, ARRAY_LEN(rules));
}

static void take_log_level(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = reading_scalar(rd, n, "error, warn, info or debug");

	if (text && log_level_parse(text, &rd->c->log_level) < 0)
		reading_wrong(rd, n, "error, warn, info or debug", "\"%.40s\" is no log level",
			      text);
}

static void take_decisions(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = reading_scalar(rd, n, "journal, stdout or a file");

	if (!text)
		return;
	if (str_eq(text, "journal")) {
		rd->c->decisions = DECISIONS_JOURNAL;
	} else if (str_eq(text, "stdout")) {
		rd->c->decisions = DECISIONS_STDOUT;
	} else {
		rd->c->decisions = DECISIONS_FILE;
		reading_path(rd, n, &rd->c->decisions_file);
	}
}
static void take_log(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {{"level", take_log_level},
						{"decisions", take_decisions}};

	reading_map(rd, n, rules, ARRAY_LEN(rules));
}

static void take_metrics_unix(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_bool(rd, n, &rd->c->metrics_unix);
}
static void take_metrics_listen(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = reading_scalar(rd, n, "\"\" or 127.0.0.1:PORT");

	if (text && text[0] && !str_starts(text, "127.0.0.1:") && !str_starts(text, "[::1]:"))
		reading_wrong(rd, n, "\"\", 127.0.0.1:PORT or [::1]:PORT",
			      "metrics are served on loopback only");
	else if (text)
		reading_set(rd, &rd->c->metrics_listen, text);
}
static void take_metrics(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {{"unix", take_metrics_unix},
						{"listen", take_metrics_listen}};

	reading_map(rd, n, rules, ARRAY_LEN(rules));
}

static void report_tree(void *user, uint32_t line, uint32_t column, const char *message,
			const char *advice)
{
	reading_report(user, line, column, message, advice);
}

static const struct key_rule top_rules[] = {
	{"version", take_version},
	{"node", take_node},
	{"trust_domain", take_trust_domain},
	{"labels", take_labels},
	{"source", config_take_source},
	{"trust", config_take_trust},
	{"svid", take_svid},
	{"state_dir", take_state_dir},
	{"run_dir", take_run_dir},
	{"cgroup_root", take_cgroup_root},
	{"table", take_table},
	{"attest", take_attest},
	{"queues", take_queues},
	{"nflog_group", take_nflog_group},
	{"mode", take_mode},
	{"forward", take_forward},
	{"essentials", config_take_essentials},
	{"evidence", take_evidence},
	{"log", take_log},
	{"metrics", take_metrics},
};

int config_parse(struct config *c, const char *file, const char *text, size_t len,
		 config_report report, void *user)
{
	struct reading rd = {.c = c, .file = file, .report = report, .user = user};
	const struct yaml_report tree_report = {.error = report_tree, .user = &rd};
	CLEANUP(yaml_tree_done) struct yaml_tree tree = {0};
	int r;

	r = yaml_tree_parse(text, len, &tree_report, &tree);
	if (r < 0)
		return r;
	if (tree.root) {
		reading_map(&rd, tree.root, top_rules, ARRAY_LEN(top_rules));
		if (tree.root->kind == YAML_TREE_MAP && !yaml_tree_get(tree.root, "version"))
			reading_report(&rd, 1, 1, "\"version\" is missing", "version: 1");
		if (tree.root->kind == YAML_TREE_MAP)
			config_check_source(&rd, tree.root);
	}
	if (rd.r < 0)
		return rd.r;
	return rd.mistakes ? -EINVAL : 0;
}

int config_load(struct config *c, const char *file, config_report report, void *user,
		struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	size_t len = 0;
	int r;

	r = file_read(AT_FDCWD, file, CONFIG_TEXT_MAX, &text, &len, err);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	r = path_trusted(file, 0, err);
	if (r < 0)
		return r;
	r = config_parse(c, file, text, len, report, user);
	return r < 0 ? err_set(err, -r, "%s: the configuration is not usable", file) : 0;
}

int config_defaults(struct config *c, struct err *err)
{
	static const struct {
		size_t offset;
		const char *value;
	} texts[] = {
		{offsetof(struct config, directory), "/etc/bailiwick/site"},
		{offsetof(struct config, state_dir), "/var/lib/bailiwick"},
		{offsetof(struct config, run_dir), "/run/bailiwick"},
		{offsetof(struct config, table), "bailiwick"},
		{offsetof(struct config, courier_user), CONFIG_COURIER_USER},
		{offsetof(struct config, metrics_listen), ""},
	};

	memset(c, 0, sizeof(*c));
	if (gethostname(c->node, sizeof(c->node) - 1) < 0 || !node_name_ok(c->node))
		(void)snprintf(c->node, sizeof(c->node), "localhost");
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		char **target = (char **)((char *)c + texts[i].offset);

		*target = mem_strdup(texts[i].value);
		if (!*target)
			return err_set(err, ENOMEM, "out of memory");
	}
	c->attest_port = 7113;
	c->queue_first = 7100;
	c->queue_max_pending = 1024;
	c->nflog_group = 7100;
	c->mode = MODE_OBSERVE;
	c->log_level = LOG_LEVEL_INFO;
	c->decisions = DECISIONS_JOURNAL;
	c->metrics_unix = true;
	return 0;
}

static void trust_done(struct config_trust *t)
{
	for (size_t i = 0; i < t->key_count; i++)
		free(t->keys[i]);
}

void config_done(struct config *c)
{
	for (size_t i = 0; i < c->label_count; i++)
		free(c->labels[i]);
	trust_done(&c->trust_policy);
	trust_done(&c->trust_controller);
	free(c->trust_domain);
	free(c->directory);
	free(c->controller_url);
	free(c->controller_ca);
	free(c->courier_user);
	free(c->svid_cert);
	free(c->svid_key);
	free(c->svid_bundle);
	free(c->state_dir);
	free(c->run_dir);
	free(c->cgroup_root);
	free(c->table);
	free(c->decisions_file);
	free(c->metrics_listen);
	essentials_done(&c->essentials);
	memset(c, 0, sizeof(*c));
}
