/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/config.h"

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

#define MESSAGE_MAX 512

/* One reading of one file: where mistakes go. */
struct reading {
	struct config *c;
	const char *file;
	config_report report;
	void *user;
	size_t mistakes;
	int r; /* sticky resource error */
};

typedef void (*take)(struct reading *rd, const struct yaml_tree_node *node);

struct key_rule {
	const char *key;
	take take;
};

static void report_at(struct reading *rd, uint32_t line, uint32_t column, const char *message,
		      const char *advice)
{
	char text[MESSAGE_MAX];

	(void)snprintf(text, sizeof(text), "%s:%u:%u: %s%s%s", rd->file, line, column, message,
		       advice ? "; " : "", advice ? advice : "");
	rd->mistakes++;
	if (rd->report)
		rd->report(rd->user, text);
}

static void report_tree(void *user, uint32_t line, uint32_t column, const char *message,
			const char *advice)
{
	report_at(user, line, column, message, advice);
}

static void __attribute__((format(printf, 4, 5)))
wrong(struct reading *rd, const struct yaml_tree_node *n, const char *advice, const char *fmt, ...)
{
	char message[MESSAGE_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	report_at(rd, n->line, n->column, message, advice);
}

static const char *scalar(struct reading *rd, const struct yaml_tree_node *n, const char *advice)
{
	if (n->kind == YAML_TREE_SCALAR)
		return n->text;
	wrong(rd, n, advice, "one value is expected here");
	return NULL;
}

static void set_string(struct reading *rd, char **target, const char *text)
{
	char *copy = mem_strdup(text);

	if (!copy) {
		rd->r = -ENOMEM;
		return;
	}
	free(*target);
	*target = copy;
}

static void take_path(struct reading *rd, const struct yaml_tree_node *n, char **target)
{
	const char *text = scalar(rd, n, "an absolute path");

	if (!text)
		return;
	if (text[0] != '/' || strlen(text) >= CONFIG_PATH_MAX) {
		wrong(rd, n, "an absolute path", "this is not an absolute path");
		return;
	}
	set_string(rd, target, text);
}

static void take_number(struct reading *rd, const struct yaml_tree_node *n, uint32_t min,
			uint32_t max, uint32_t *ret)
{
	char advice[64];
	const char *text;

	(void)snprintf(advice, sizeof(advice), "a number from %u to %u", min, max);
	text = scalar(rd, n, advice);
	if (text && text_u32(text, min, max, ret) < 0)
		wrong(rd, n, advice, "this is not a number in range");
}

static void take_u16(struct reading *rd, const struct yaml_tree_node *n, uint32_t min, uint32_t max,
		     uint16_t *ret)
{
	uint32_t value = *ret;

	take_number(rd, n, min, max, &value);
	*ret = (uint16_t)value;
}

static void take_bool(struct reading *rd, const struct yaml_tree_node *n, bool *ret)
{
	const char *text = scalar(rd, n, "true or false");

	if (!text)
		return;
	if (str_eq(text, "true"))
		*ret = true;
	else if (str_eq(text, "false"))
		*ret = false;
	else
		wrong(rd, n, "true or false", "this is neither true nor false");
}

/* Index of the node's word in words (NULL-terminated), or -1 after a report. */
static int take_word(struct reading *rd, const struct yaml_tree_node *n, const char *const *words,
		     const char *advice)
{
	const char *text = scalar(rd, n, advice);

	for (int i = 0; text && words[i]; i++) {
		if (str_eq(text, words[i]))
			return i;
	}
	if (text)
		wrong(rd, n, advice, "\"%.40s\" is not known here", text);
	return -1;
}

static void unknown_key(struct reading *rd, const struct yaml_tree_node *n,
			const struct key_rule *rules, size_t count)
{
	const char *names[32];
	char advice[128];
	const char *near;
	size_t known = 0;

	for (size_t i = 0; i < count && known < ARRAY_LEN(names); i++)
		names[known++] = rules[i].key;
	near = text_nearest(n->key, names, known);
	if (near)
		(void)snprintf(advice, sizeof(advice), "did you mean \"%s\"?", near);
	else
		(void)snprintf(advice, sizeof(advice), "see bailiwick-agent.yaml(5)");
	{
		char message[MESSAGE_MAX], quoted[YAML_QUOTE_MAX];

		(void)snprintf(message, sizeof(message), "unknown key %s",
			       yaml_quote(quoted, n->key));
		report_at(rd, n->key_line, n->key_column, message, advice);
	}
}

static void take_map(struct reading *rd, const struct yaml_tree_node *n,
		     const struct key_rule *rules, size_t count)
{
	const struct yaml_tree_node *child;

	if (n->kind != YAML_TREE_MAP) {
		wrong(rd, n, "key: value pairs", "a group of keys is expected here");
		return;
	}
	for (child = yaml_tree_first(n); child; child = yaml_tree_next(child)) {
		const struct key_rule *found = NULL;

		for (size_t i = 0; i < count && !found; i++) {
			if (str_eq(rules[i].key, child->key))
				found = &rules[i];
		}
		if (found)
			found->take(rd, child);
		else
			unknown_key(rd, child, rules, count);
	}
}

/* Calls take for each item; a list is demanded. */
static void take_list(struct reading *rd, const struct yaml_tree_node *n, take item)
{
	if (n->kind != YAML_TREE_LIST) {
		wrong(rd, n, "[a, b, c]", "a list is expected here");
		return;
	}
	for (const struct yaml_tree_node *i = yaml_tree_first(n); i; i = yaml_tree_next(i))
		item(rd, i);
}

/* --- top level ---------------------------------------------------------------------------- */

static void take_version(struct reading *rd, const struct yaml_tree_node *n)
{
	uint32_t version = 0;

	take_number(rd, n, 1, 1, &version);
}

static void take_node(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = scalar(rd, n, "a node name");

	if (!text)
		return;
	if (!node_name_ok(text)) {
		wrong(rd, n, "1 to 63 of A-Z a-z 0-9 . _ -", "this is not a node name");
		return;
	}
	(void)snprintf(rd->c->node, sizeof(rd->c->node), "%s", text);
}

static void take_trust_domain(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = scalar(rd, n, "a SPIFFE trust domain");
	size_t len = text ? strlen(text) : 0;

	if (!text)
		return;
	if (len < 1 || len > 255 ||
	    strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-") != len) {
		wrong(rd, n, "1 to 255 of a-z 0-9 . _ - (SPIFFE-ID section 2.1)",
		      "this is not a trust domain");
		return;
	}
	set_string(rd, &rd->c->trust_domain, text);
}

static void take_label(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = scalar(rd, n, "key=value");

	if (!text)
		return;
	if (text[0] == '=' || !strchr(text, '=')) {
		wrong(rd, n, "key=value", "this is not a label");
		return;
	}
	if (rd->c->label_count == CONFIG_LABELS_MAX) {
		wrong(rd, n, NULL, "more than %d labels", CONFIG_LABELS_MAX);
		return;
	}
	set_string(rd, &rd->c->labels[rd->c->label_count++], text);
}

static void take_labels(struct reading *rd, const struct yaml_tree_node *n)
{
	take_list(rd, n, take_label);
}

static void take_directory(struct reading *rd, const struct yaml_tree_node *n)
{
	take_path(rd, n, &rd->c->directory);
}

static void take_url(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = scalar(rd, n, "an https URL");

	if (text && !str_starts(text, "https://"))
		wrong(rd, n, "https://host:port", "the controller is reached over https only");
	else if (text)
		set_string(rd, &rd->c->controller_url, text);
}

static void take_ca(struct reading *rd, const struct yaml_tree_node *n)
{
	take_path(rd, n, &rd->c->controller_ca);
}

static void take_controller(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {{"url", take_url}, {"ca", take_ca}};

	take_map(rd, n, rules, ARRAY_LEN(rules));
	wrong(rd, n, "source: {directory: ...}",
	      "a controller as the source is not available on this node yet");
}

static void take_source(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {{"directory", take_directory},
						{"controller", take_controller}};

	take_map(rd, n, rules, ARRAY_LEN(rules));
	if (n->kind == YAML_TREE_MAP && yaml_tree_get(n, "directory") &&
	    yaml_tree_get(n, "controller"))
		wrong(rd, n, "keep one of the two", "both a directory and a controller are given");
}

static void take_trust(struct reading *rd, const struct yaml_tree_node *n)
{
	wrong(rd, n, "leave trust: out; a root-owned directory is trusted by its ownership",
	      "signed documents are not available on this node yet");
}

static void take_svid_cert(struct reading *rd, const struct yaml_tree_node *n)
{
	take_path(rd, n, &rd->c->svid_cert);
}
static void take_svid_key(struct reading *rd, const struct yaml_tree_node *n)
{
	take_path(rd, n, &rd->c->svid_key);
}
static void take_svid_bundle(struct reading *rd, const struct yaml_tree_node *n)
{
	take_path(rd, n, &rd->c->svid_bundle);
}
static void take_svid(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {
		{"cert", take_svid_cert}, {"key", take_svid_key}, {"bundle", take_svid_bundle}};

	take_map(rd, n, rules, ARRAY_LEN(rules));
}

static void take_state_dir(struct reading *rd, const struct yaml_tree_node *n)
{
	take_path(rd, n, &rd->c->state_dir);
}
static void take_run_dir(struct reading *rd, const struct yaml_tree_node *n)
{
	take_path(rd, n, &rd->c->run_dir);
}

static void take_cgroup_root(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = scalar(rd, n, "auto, or a path below the cgroup2 mount");

	if (text && str_eq(text, "auto")) {
		freep(&rd->c->cgroup_root);
		return;
	}
	if (text && (text[0] != '/' || strstr(text, "/..")))
		wrong(rd, n, "auto, or a path below the cgroup2 mount such as /machine/pay-1",
		      "this is not a path without \"..\"");
	else if (text)
		set_string(rd, &rd->c->cgroup_root, text);
}

static void take_table(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = scalar(rd, n, "a table name");
	size_t len = text ? strlen(text) : 0;

	if (!text)
		return;
	if (len < 1 || len > 31 || strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") != len)
		wrong(rd, n, "1 to 31 of a-z 0-9 _", "this is not a table name");
	else
		set_string(rd, &rd->c->table, text);
}

static void take_listen(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = scalar(rd, n, "an address");
	struct addr a;

	if (!text)
		return;
	if (addr_parse(text, &a) < 0)
		wrong(rd, n, "an IPv4 or IPv6 address", "\"%.60s\" is not an address", text);
	else if (rd->c->attest_listen_count == CONFIG_ATTEST_LISTEN_MAX)
		wrong(rd, n, NULL, "more than %d addresses", CONFIG_ATTEST_LISTEN_MAX);
	else
		rd->c->attest_listen[rd->c->attest_listen_count++] = a;
}
static void take_attest_listen(struct reading *rd, const struct yaml_tree_node *n)
{
	take_list(rd, n, take_listen);
}
static void take_attest_port(struct reading *rd, const struct yaml_tree_node *n)
{
	take_u16(rd, n, 1, 65535, &rd->c->attest_port);
}
static void take_attest(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {{"listen", take_attest_listen},
						{"port", take_attest_port}};

	take_map(rd, n, rules, ARRAY_LEN(rules));
}

static void take_queue_first(struct reading *rd, const struct yaml_tree_node *n)
{
	take_u16(rd, n, 0, 65533, &rd->c->queue_first);
}
static void take_max_pending(struct reading *rd, const struct yaml_tree_node *n)
{
	take_number(rd, n, 16, 65536, &rd->c->queue_max_pending);
}
static void take_queues(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {{"first", take_queue_first},
						{"max_pending", take_max_pending}};

	take_map(rd, n, rules, ARRAY_LEN(rules));
}

static void take_nflog_group(struct reading *rd, const struct yaml_tree_node *n)
{
	take_u16(rd, n, 1, 65535, &rd->c->nflog_group);
}

static void take_mode(struct reading *rd, const struct yaml_tree_node *n)
{
	static const char *const words[] = {"observe", "selective", "enforce", NULL};
	int i = take_word(rd, n, words, "observe, selective or enforce");

	if (i >= 0)
		(void)mode_parse(words[i], &rd->c->mode);
}

static void take_forward(struct reading *rd, const struct yaml_tree_node *n)
{
	if (n->kind != YAML_TREE_LIST || yaml_tree_first(n))
		wrong(rd, n, "forward: []",
		      "judging forwarded traffic is not available on this node yet");
}

static void take_deleted_exe(struct reading *rd, const struct yaml_tree_node *n)
{
	static const char *const words[] = {"warn", "deny", NULL};
	int i = take_word(rd, n, words, "warn or deny");

	if (i >= 0)
		rd->c->deleted_exe = i ? DELETED_EXE_DENY : DELETED_EXE_WARN;
}
static void take_evidence(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {{"deleted_exe", take_deleted_exe}};

	take_map(rd, n, rules, ARRAY_LEN(rules));
}

static void take_log_level(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = scalar(rd, n, "error, warn, info or debug");

	if (text && log_level_parse(text, &rd->c->log_level) < 0)
		wrong(rd, n, "error, warn, info or debug", "\"%.40s\" is no log level", text);
}

static void take_decisions(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = scalar(rd, n, "journal, stdout or a file");

	if (!text)
		return;
	if (str_eq(text, "journal")) {
		rd->c->decisions = DECISIONS_JOURNAL;
	} else if (str_eq(text, "stdout")) {
		rd->c->decisions = DECISIONS_STDOUT;
	} else {
		rd->c->decisions = DECISIONS_FILE;
		take_path(rd, n, &rd->c->decisions_file);
	}
}
static void take_log(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {{"level", take_log_level},
						{"decisions", take_decisions}};

	take_map(rd, n, rules, ARRAY_LEN(rules));
}

static void take_metrics_unix(struct reading *rd, const struct yaml_tree_node *n)
{
	take_bool(rd, n, &rd->c->metrics_unix);
}
static void take_metrics_listen(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = scalar(rd, n, "\"\" or 127.0.0.1:PORT");

	if (text && text[0] && !str_starts(text, "127.0.0.1:") && !str_starts(text, "[::1]:"))
		wrong(rd, n, "\"\", 127.0.0.1:PORT or [::1]:PORT",
		      "metrics are served on loopback only");
	else if (text)
		set_string(rd, &rd->c->metrics_listen, text);
}
static void take_metrics(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {{"unix", take_metrics_unix},
						{"listen", take_metrics_listen}};

	take_map(rd, n, rules, ARRAY_LEN(rules));
}

/* --- essentials --------------------------------------------------------------------------- */

static struct essential *essential_new(struct reading *rd, const struct yaml_tree_node *n)
{
	struct essentials *e = &rd->c->essentials;
	struct essential *grown;

	if (e->count == ESSENTIALS_MAX) {
		wrong(rd, n, NULL, "more than %d essentials", ESSENTIALS_MAX);
		return NULL;
	}
	grown = reallocarray(e->entries, e->count + 1, sizeof(*grown));
	if (!grown) {
		rd->r = -ENOMEM;
		return NULL;
	}
	e->entries = grown;
	memset(&grown[e->count], 0, sizeof(*grown));
	return &grown[e->count++];
}

static void essential_server(struct reading *rd, const struct yaml_tree_node *n,
			     const char *service, const char *why)
{
	const char *text = scalar(rd, n, "an address");
	struct essential *e;
	struct prefix p;

	if (!text)
		return;
	if (prefix_parse(text, &p) < 0) {
		wrong(rd, n, "an address", "\"%.60s\" is not an address", text);
		return;
	}
	e = essential_new(rd, n);
	if (!e)
		return;
	e->direction = ESSENTIAL_OUT;
	e->far = p;
	(void)service_parse(service, &e->service);
	set_string(rd, &e->why, why);
}

static void take_dns_server(struct reading *rd, const struct yaml_tree_node *n)
{
	essential_server(rd, n, "udp/53", "dns");
	essential_server(rd, n, "tcp/53", "dns");
}
static void take_dns(struct reading *rd, const struct yaml_tree_node *n)
{
	take_list(rd, n, take_dns_server);
}
static void take_ntp_server(struct reading *rd, const struct yaml_tree_node *n)
{
	essential_server(rd, n, "udp/123", "ntp");
}
static void take_ntp(struct reading *rd, const struct yaml_tree_node *n)
{
	take_list(rd, n, take_ntp_server);
}

static void essential_any(struct reading *rd, const struct yaml_tree_node *n,
			  enum essential_direction direction, const char *far, const char *service)
{
	struct essential *e = essential_new(rd, n);

	if (!e)
		return;
	e->direction = direction;
	(void)prefix_parse(far, &e->far);
	(void)service_parse(service, &e->service);
	set_string(rd, &e->why, "dhcp");
}

/* RFC 2131, RFC 8415: client to server and, to bound clients, server to client. */
static void take_dhcp(struct reading *rd, const struct yaml_tree_node *n)
{
	bool on = false;

	take_bool(rd, n, &on);
	if (!on)
		return;
	essential_any(rd, n, ESSENTIAL_OUT, "0.0.0.0/0", "udp/67");
	essential_any(rd, n, ESSENTIAL_IN, "0.0.0.0/0", "udp/68");
	essential_any(rd, n, ESSENTIAL_OUT, "::/0", "udp/547");
	essential_any(rd, n, ESSENTIAL_IN, "::/0", "udp/546");
}

static void essential_far(struct reading *rd, const struct yaml_tree_node *n, struct essential *e)
{
	const char *text = scalar(rd, n, "an address or CIDR");

	if (text && prefix_parse(text, &e->far) < 0)
		wrong(rd, n, "an address or CIDR with its host bits zero",
		      "\"%.60s\" is not an address or CIDR", text);
}

static void essential_service(struct reading *rd, const struct yaml_tree_node *n,
			      struct essential *e)
{
	const char *text = scalar(rd, n, "a service such as tcp/22");

	if (text && (service_parse(text, &e->service) < 0 || service_is_echo(&e->service)))
		wrong(rd, n, "tcp/PORT, tcp/PORT-PORT, tcp/any, or udp", "\"%.40s\" is no service",
		      text);
}

static void essential_by(struct reading *rd, const struct yaml_tree_node *n, struct essential *e)
{
	if (n->kind != YAML_TREE_LIST) {
		wrong(rd, n, "by: [ssh.service]", "a list of units is expected here");
		return;
	}
	for (const struct yaml_tree_node *i = yaml_tree_first(n); i; i = yaml_tree_next(i)) {
		const char *text = scalar(rd, i, "a unit");

		if (text && e->by_count == ESSENTIAL_OWNERS_MAX)
			wrong(rd, i, NULL, "more than %d owners", ESSENTIAL_OWNERS_MAX);
		else if (text && !strchr(text, '.'))
			wrong(rd, i, "a unit with its suffix, such as ssh.service",
			      "\"%.60s\" is not a unit", text);
		else if (text)
			set_string(rd, &e->by[e->by_count++], text);
	}
}

static void essential_missing(struct reading *rd, const struct yaml_tree_node *n, const char *key)
{
	if (n->kind == YAML_TREE_MAP && !yaml_tree_get(n, key))
		wrong(rd, n, NULL, "\"%s\" is missing here", key);
}

/* A wider network is no management network (R49). */
#define MANAGEMENT_PREFIX_MIN4 16
#define MANAGEMENT_PREFIX_MIN6 32

static void check_management(struct reading *rd, const struct yaml_tree_node *n,
			     const struct essential *e)
{
	uint8_t min =
		e->far.addr.family == AF_INET ? MANAGEMENT_PREFIX_MIN4 : MANAGEMENT_PREFIX_MIN6;

	if (e->far.addr.family && e->far.len < min && !e->by_count)
		wrong(rd, n, "a narrower from:, or by: with the unit that answers",
		      "management from so wide a network, open to every process");
}

/* The keys of one entry of management: and also:. */
static void essential_entry(struct reading *rd, const struct yaml_tree_node *n, bool management)
{
	static const char *const directions[] = {"out", "in", NULL};
	const char *far_key = management ? "from" : "to";
	struct essential *e;
	const struct yaml_tree_node *c;

	if (n->kind != YAML_TREE_MAP) {
		wrong(rd, n, "{from: CIDR, service: tcp/22}", "a group of keys is expected here");
		return;
	}
	e = essential_new(rd, n);
	if (!e)
		return;
	e->direction = management ? ESSENTIAL_IN : ESSENTIAL_OUT;
	for (c = yaml_tree_first(n); c; c = yaml_tree_next(c)) {
		if (str_eq(c->key, "from") || str_eq(c->key, "to"))
			essential_far(rd, c, e);
		else if (str_eq(c->key, "service"))
			essential_service(rd, c, e);
		else if (str_eq(c->key, "by"))
			essential_by(rd, c, e);
		else if (str_eq(c->key, "why") && scalar(rd, c, "a text"))
			set_string(rd, &e->why, c->text);
		else if (!management && str_eq(c->key, "direction"))
			e->direction = take_word(rd, c, directions, "out or in") == 1
					       ? ESSENTIAL_IN
					       : ESSENTIAL_OUT;
		else
			unknown_key(rd, c,
				    (const struct key_rule[]){{far_key, NULL},
							      {"service", NULL},
							      {"by", NULL},
							      {"why", NULL},
							      {"direction", NULL}},
				    5);
	}
	if (!yaml_tree_get(n, "from") && !yaml_tree_get(n, "to"))
		essential_missing(rd, n, far_key);
	essential_missing(rd, n, "service");
	if (!e->why)
		set_string(rd, &e->why, management ? "management" : "essential");
	if (management)
		check_management(rd, n, e);
}

static void take_management_entry(struct reading *rd, const struct yaml_tree_node *n)
{
	essential_entry(rd, n, true);
}
static void take_management(struct reading *rd, const struct yaml_tree_node *n)
{
	take_list(rd, n, take_management_entry);
}
static void take_also_entry(struct reading *rd, const struct yaml_tree_node *n)
{
	essential_entry(rd, n, false);
}
static void take_also(struct reading *rd, const struct yaml_tree_node *n)
{
	take_list(rd, n, take_also_entry);
}

static int kernel_protocol(const char *name, uint8_t *ret)
{
	static const struct {
		const char *name;
		uint8_t proto;
	} known[] = {{"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP},   {"esp", IPPROTO_ESP},
		     {"ah", IPPROTO_AH},   {"gre", IPPROTO_GRE},   {"ipip", IPPROTO_IPIP},
		     {"vrrp", 112},        {"sctp", IPPROTO_SCTP}, {"ipv6", IPPROTO_IPV6},
		     {"ospf", 89}};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (str_eq(known[i].name, name)) {
			*ret = known[i].proto;
			return 0;
		}
	}
	return -ENOENT;
}

static void kernel_port(struct reading *rd, const struct yaml_tree_node *n, struct essential *e)
{
	uint32_t port = 0;

	take_number(rd, n, 1, 65535, &port);
	e->service.kind = e->l4proto == IPPROTO_UDP ? SERVICE_UDP : SERVICE_TCP;
	e->service.first = e->service.last = (uint16_t)port;
}

static void take_kernel_entry(struct reading *rd, const struct yaml_tree_node *n)
{
	const struct yaml_tree_node *proto, *port, *why;
	struct essential *e;
	bool ports;

	if (n->kind != YAML_TREE_MAP || !(proto = yaml_tree_get(n, "proto")) ||
	    proto->kind != YAML_TREE_SCALAR) {
		wrong(rd, n, "{proto: udp, port: 51820, why: \"WireGuard\"}",
		      "proto is missing here");
		return;
	}
	e = essential_new(rd, n);
	if (!e)
		return;
	e->direction = ESSENTIAL_KERNEL;
	if (kernel_protocol(proto->text, &e->l4proto) < 0)
		wrong(rd, proto, "tcp, udp, esp, ah, gre, ipip, ipv6, vrrp, ospf or sctp",
		      "\"%.20s\" is not known here", proto->text);
	ports = e->l4proto == IPPROTO_TCP || e->l4proto == IPPROTO_UDP;
	port = yaml_tree_get(n, "port");
	if (port && ports)
		kernel_port(rd, port, e);
	else if (port)
		wrong(rd, port, "leave port out", "this protocol has no ports");
	else if (ports)
		essential_missing(rd, n, "port");
	why = yaml_tree_get(n, "why");
	set_string(rd, &e->why, why && why->kind == YAML_TREE_SCALAR ? why->text : "kernel");
	for (const struct yaml_tree_node *c = yaml_tree_first(n); c; c = yaml_tree_next(c)) {
		static const struct key_rule rules[] = {
			{"proto", NULL}, {"port", NULL}, {"why", NULL}};

		if (!str_eq(c->key, "proto") && !str_eq(c->key, "port") && !str_eq(c->key, "why"))
			unknown_key(rd, c, rules, ARRAY_LEN(rules));
	}
}
static void take_kernel(struct reading *rd, const struct yaml_tree_node *n)
{
	take_list(rd, n, take_kernel_entry);
}

static void take_essentials(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {
		{"dns", take_dns},   {"ntp", take_ntp},
		{"dhcp", take_dhcp}, {"management", take_management},
		{"also", take_also}, {"kernel", take_kernel}};

	take_map(rd, n, rules, ARRAY_LEN(rules));
}

static const struct key_rule top_rules[] = {
	{"version", take_version},
	{"node", take_node},
	{"trust_domain", take_trust_domain},
	{"labels", take_labels},
	{"source", take_source},
	{"trust", take_trust},
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
	{"essentials", take_essentials},
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
		take_map(&rd, tree.root, top_rules, ARRAY_LEN(top_rules));
		if (tree.root->kind == YAML_TREE_MAP && !yaml_tree_get(tree.root, "version"))
			report_at(&rd, 1, 1, "\"version\" is missing", "version: 1");
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
