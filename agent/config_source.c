/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where documents come from and who may sign them (agent.yaml: source, trust). */
#include "agent/config.h"

#include "agent/reading.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define URL_SCHEME   "https://"
#define URL_MAX      1024
#define PORT_DEFAULT 443
#define PORT_MAX     65535

/* --- source ------------------------------------------------------------------------------- */

static bool host_ok(const char *host)
{
	size_t len = strlen(host);

	return len > 0 && len < CONFIG_HOST_MAX && host[0] != '-' && host[0] != '.' &&
	       strspn(host, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-") ==
		       len;
}

static int endpoint_port(const char *text, uint16_t *ret)
{
	uint32_t port = PORT_DEFAULT;

	if (*text == ':' && text_u32(text + 1, 1, PORT_MAX, &port) < 0)
		return -EINVAL;
	if (*text && *text != ':')
		return -EINVAL;
	*ret = (uint16_t)port;
	return 0;
}

/*
 * https://HOST, https://HOST:PORT, https://[ADDRESS]:PORT, perhaps with a path. No user, no query:
 * nothing of a URL may carry a secret or change which server is meant.
 */
int config_url_parse(const char *url, char host[CONFIG_HOST_MAX], uint16_t *ret_port)
{
	char authority[CONFIG_HOST_MAX + 8];
	struct addr literal;
	char *end;
	size_t len;

	if (!str_starts(url, URL_SCHEME) || strlen(url) > URL_MAX || strpbrk(url, "@?#\\ \t\r\n"))
		return -EINVAL;
	url += strlen(URL_SCHEME);
	len = strcspn(url, "/");
	if (!len || len >= sizeof(authority))
		return -EINVAL;
	memcpy(authority, url, len);
	authority[len] = '\0';
	if (authority[0] == '[') {
		end = strchr(authority, ']');
		if (!end)
			return -EINVAL;
		*end++ = '\0';
		if (addr_parse(authority + 1, &literal) < 0 || endpoint_port(end, ret_port) < 0)
			return -EINVAL;
		(void)snprintf(host, CONFIG_HOST_MAX, "%.*s", CONFIG_HOST_MAX - 1, authority + 1);
		return 0;
	}
	end = authority + strcspn(authority, ":");
	if (endpoint_port(end, ret_port) < 0)
		return -EINVAL;
	*end = '\0';
	if (!host_ok(authority))
		return -EINVAL;
	(void)snprintf(host, CONFIG_HOST_MAX, "%.*s", CONFIG_HOST_MAX - 1, authority);
	return 0;
}

static void take_url(struct reading *rd, const struct yaml_tree_node *n)
{
	const char *text = reading_scalar(rd, n, "an https URL");
	struct config *c = rd->c;

	if (!text)
		return;
	if (!str_starts(text, URL_SCHEME))
		reading_wrong(rd, n, "https://host:port",
			      "the controller is reached over https only");
	else if (config_url_parse(text, c->controller_host, &c->controller_port) < 0)
		reading_wrong(rd, n, "https://host:port, without user, query or fragment",
			      "this is not the controller's URL");
	else
		reading_set(rd, &c->controller_url, text);
}

static void take_ca(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_path(rd, n, &rd->c->controller_ca);
}

static void take_controller(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {{"url", take_url}, {"ca", take_ca}};

	reading_map(rd, n, rules, ARRAY_LEN(rules));
	if (n->kind == YAML_TREE_MAP && !yaml_tree_get(n, "url"))
		reading_wrong(rd, n, "controller: {url: \"https://host:port\", ca: FILE}",
			      "\"url\" is missing here");
}

static void take_directory(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_path(rd, n, &rd->c->directory);
}

void config_take_source(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {{"directory", take_directory},
						{"controller", take_controller}};

	reading_map(rd, n, rules, ARRAY_LEN(rules));
	if (n->kind != YAML_TREE_MAP)
		return;
	if (yaml_tree_get(n, "directory") && yaml_tree_get(n, "controller"))
		reading_wrong(rd, n, "keep one of the two",
			      "both a directory and a controller are given");
	else if (yaml_tree_get(n, "controller"))
		freep(&rd->c->directory);
}

int config_courier_user(struct config *c, const char *text, struct err *err)
{
	char *copy;

	if (!*text || strlen(text) >= CONFIG_HOST_MAX)
		return err_set(err, EINVAL, "--courier-user \"%.40s\"; a user's name or number",
			       text);
	copy = mem_strdup(text);
	if (!copy)
		return err_set(err, ENOMEM, "out of memory");
	free(c->courier_user);
	c->courier_user = copy;
	return 0;
}

/* --- trust -------------------------------------------------------------------------------- */

static void take_key(struct reading *rd, const struct yaml_tree_node *n, struct config_trust *t)
{
	char *path = NULL;

	reading_path(rd, n, &path);
	if (!path)
		return;
	for (size_t i = 0; i < t->key_count; i++) {
		if (!str_eq(t->keys[i], path))
			continue;
		reading_wrong(rd, n, "each key once", "this key is in the list already");
		free(path);
		return;
	}
	if (t->key_count == CONFIG_TRUST_KEYS_MAX) {
		reading_wrong(rd, n, NULL, "more than %d keys", CONFIG_TRUST_KEYS_MAX);
		free(path);
		return;
	}
	t->keys[t->key_count++] = path;
}

static void take_policy_key(struct reading *rd, const struct yaml_tree_node *n)
{
	take_key(rd, n, &rd->c->trust_policy);
}
static void take_policy_keys(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_list(rd, n, take_policy_key);
}
static void take_policy_threshold(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_number(rd, n, 1, CONFIG_TRUST_KEYS_MAX, &rd->c->trust_policy.threshold);
}
static void take_controller_key(struct reading *rd, const struct yaml_tree_node *n)
{
	take_key(rd, n, &rd->c->trust_controller);
}
static void take_controller_keys(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_list(rd, n, take_controller_key);
}
static void take_controller_threshold(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_number(rd, n, 1, CONFIG_TRUST_KEYS_MAX, &rd->c->trust_controller.threshold);
}

static void take_role(struct reading *rd, const struct yaml_tree_node *n,
		      const struct key_rule rules[2], struct config_trust *t)
{
	size_t mistakes = rd->mistakes;

	t->threshold = 1;
	reading_map(rd, n, rules, 2);
	if (rd->mistakes != mistakes)
		return;
	if (!t->key_count)
		reading_wrong(rd, n, "{keys: [FILE.pub], threshold: 1}", "no key is given here");
	else if (t->threshold > t->key_count)
		reading_wrong(rd, n, "a threshold of at most the number of keys",
			      "%u signatures are asked for, but there are %zu keys", t->threshold,
			      t->key_count);
}

static void take_policy_role(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[2] = {{"keys", take_policy_keys},
						 {"threshold", take_policy_threshold}};

	take_role(rd, n, rules, &rd->c->trust_policy);
}
static void take_controller_role(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[2] = {{"keys", take_controller_keys},
						 {"threshold", take_controller_threshold}};

	take_role(rd, n, rules, &rd->c->trust_controller);
}

/*
 * Both roles or none: with policy keys alone nobody could say which policy is the newest, and a
 * view would come from whoever may write a file.
 */
void config_take_trust(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {{"policy", take_policy_role},
						{"controller", take_controller_role}};
	static const char *const roles[] = {"policy", "controller"};

	reading_map(rd, n, rules, ARRAY_LEN(rules));
	for (size_t i = 0; i < ARRAY_LEN(roles) && n->kind == YAML_TREE_MAP; i++) {
		if (!yaml_tree_get(n, roles[i]))
			reading_wrong(rd, n, "keys for both: policy and controller",
				      "\"%s\" is missing here", roles[i]);
	}
}

void config_check_source(struct reading *rd, const struct yaml_tree_node *root)
{
	const struct yaml_tree_node *source = yaml_tree_get(root, "source");

	if (rd->c->controller_url)
		config_add_controller(rd, source);
	if (source && source->kind == YAML_TREE_MAP && yaml_tree_get(source, "controller") &&
	    !yaml_tree_get(root, "trust"))
		reading_wrong(rd, source,
			      "trust: {policy: {keys: [FILE.pub]}, controller: {keys: [FILE.pub]}}",
			      "a controller as the source needs trust: whose signatures count");
}

bool config_is_signed(const struct config *c)
{
	return c->trust_policy.key_count && c->trust_controller.key_count;
}

/* --- printing ----------------------------------------------------------------------------- */

static void format_role(const char *role, const struct config_trust *t, struct buf *b)
{
	buf_printf(b, "  %s: {keys: [", role);
	for (size_t i = 0; i < t->key_count; i++)
		buf_printf(b, "%s%s", i ? ", " : "", t->keys[i]);
	buf_printf(b, "], threshold: %u}\n", t->threshold);
}

void config_format_source(const struct config *c, struct buf *b)
{
	if (c->controller_url && c->controller_ca)
		buf_printf(b, "source: {controller: {url: \"%s\", ca: %s}}\n", c->controller_url,
			   c->controller_ca);
	else if (c->controller_url)
		buf_printf(b, "source: {controller: {url: \"%s\"}}\n", c->controller_url);
	else
		buf_printf(b, "source: {directory: %s}\n", c->directory);
	if (config_is_signed(c)) {
		buf_puts(b, "trust:\n");
		format_role("policy", &c->trust_policy, b);
		format_role("controller", &c->trust_controller, b);
	}
	if (c->svid_cert || c->svid_key || c->svid_bundle)
		buf_printf(b, "svid: {%s%s%s%s%s%s%s%s}\n", c->svid_cert ? "cert: " : "",
			   c->svid_cert ? c->svid_cert : "",
			   c->svid_cert && (c->svid_key || c->svid_bundle) ? ", " : "",
			   c->svid_key ? "key: " : "", c->svid_key ? c->svid_key : "",
			   c->svid_key && c->svid_bundle ? ", " : "",
			   c->svid_bundle ? "bundle: " : "", c->svid_bundle ? c->svid_bundle : "");
}
