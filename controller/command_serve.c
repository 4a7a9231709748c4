/* SPDX-License-Identifier: GPL-3.0-or-later */
/* init, dev, serve: the data directory and the server. */
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/command.h"
#include "controller/http_text.h"
#include "controller/privilege.h"
#include "controller/server.h"
#include "controller/setup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEV_LISTEN   "127.0.0.1:8443"
#define SERVE_LISTEN "[::]:8443"

enum {
	OPTION_LISTEN,
	OPTION_NAME,
	OPTION_TRUST_DOMAIN,
	OPTION_POLICY_KEY,
	OPTION_THRESHOLD,
	OPTION_REPORTS,
	OPTION_ADMIN,
	OPTION_ADVERTISE,
	OPTION_NODE_CA,
	OPTION_TLS_CERT,
	OPTION_TLS_KEY,
	OPTION_SVID_TTL,
	OPTION_PER_ADDRESS,
	OPTION_COUNT,
};
static const struct option_spec options[OPTION_COUNT] = {
	[OPTION_LISTEN] = {.name = "listen",
			   .value = "ADDRESS:PORT",
			   .help = "dev: " DEV_LISTEN "; serve: " SERVE_LISTEN},
	[OPTION_NAME] = {.name = "name",
			 .value = "HOST",
			 .help = "a name or address that agents use; the first one is in tokens",
			 .many = true},
	[OPTION_TRUST_DOMAIN] = {.name = "trust-domain",
				 .value = "NAME",
				 .help = "of a new directory; dev: " SETUP_TRUST_DOMAIN},
	[OPTION_POLICY_KEY] = {.name = "policy-key",
			       .value = "FILE.pub",
			       .help = "init: who may sign policy",
			       .many = true},
	[OPTION_THRESHOLD] = {.name = "threshold",
			      .value = "N",
			      .help = "init: how many of them must have signed"},
	[OPTION_REPORTS] = {.name = "reports",
			    .value = "on|off",
			    .help = "whether agents' reports place what nothing pins; on"},
	[OPTION_ADMIN] = {.name = "admin",
			  .value = "ADDRESS",
			  .help = "health and metrics: unix:PATH, or loopback"},
	[OPTION_ADVERTISE] = {.name = "advertise",
			      .value = "URL",
			      .help = "what agents are told; https://NAME:PORT unless said"},
	[OPTION_NODE_CA] = {.name = "node-ca",
			    .value = "FILE",
			    .help = "roots of another PKI whose certificates nodes may use"},
	[OPTION_TLS_CERT] = {.name = "tls-cert",
			     .value = "FILE",
			     .help = "another certificate for this server, with its chain"},
	[OPTION_TLS_KEY] = {.name = "tls-key", .value = "FILE", .help = "and its key"},
	[OPTION_SVID_TTL] = {.name = "svid-ttl",
			     .value = "DURATION",
			     .help = "life of nodes' certificates; 1d unless said"},
	[OPTION_PER_ADDRESS] = {.name = "per-address",
				.value = "N",
				.help = "connections from one address, loopback aside"},
};

/* What was said on the command line; texts are argv's. */
struct orders {
	struct setup setup;
	struct server_config server;
	char address[HTTP_HOST_MAX];
};

static int take_names(struct console *c, const struct command *v, const struct args *a,
		      struct orders *o)
{
	char host[HTTP_HOST_MAX], quoted[LOG_QUOTE_MAX];
	struct sockaddr_storage address;
	struct err err = {{0}};
	socklen_t len;
	size_t iter = 0;

	for (const char *name; (name = args_next(a, OPTION_NAME, &iter)) != NULL;) {
		/* An IPv6 address has no brackets here. */
		if (strchr(name, ':') == NULL && http_host(name, host) < 0)
			return command_usage(c, v,
					     "--name %s: a host name or an address would be "
					     "right",
					     log_quote(quoted, name));
		if (o->setup.name_count == CA_NAMES_MAX - 1)
			return command_usage(c, v, "--name: at most %d", CA_NAMES_MAX - 1);
		o->setup.names[o->setup.name_count++] = name;
	}
	if (listen_parse(o->server.listen, &address, &len, &err) < 0)
		return command_usage(c, v, "--listen: %s", err.text);
	if (http_host(o->server.listen, o->address) == 0 && !str_eq(o->address, "0.0.0.0") &&
	    !str_eq(o->address, "::"))
		o->setup.names[o->setup.name_count++] = o->address;
	for (size_t i = 0; i < o->setup.name_count; i++)
		o->server.names[i] = o->setup.names[i];
	o->server.name_count = o->setup.name_count;
	return 0;
}

static int take_numbers(struct console *c, const struct command *v, const struct args *a,
			struct orders *o)
{
	const char *reports = a->values[OPTION_REPORTS], *ttl = a->values[OPTION_SVID_TTL];
	const char *per_address = a->values[OPTION_PER_ADDRESS];
	const char *threshold = a->values[OPTION_THRESHOLD];

	if (reports != NULL && !str_eq(reports, "on") && !str_eq(reports, "off"))
		return command_usage(c, v, "--reports: on or off would be right");
	o->server.reports = !str_eq(reports, "off");
	if (ttl != NULL && text_duration(ttl, &o->server.svid_ttl_s) < 0)
		return command_usage(c, v, "--svid-ttl: 24h or 1d would be right");
	if (per_address != NULL &&
	    text_u32(per_address, 1, SERVER_CONNECTIONS_MAX, &o->server.per_address) < 0)
		return command_usage(c, v, "--per-address: 1 to %d would be right",
				     SERVER_CONNECTIONS_MAX);
	if (threshold != NULL && text_u32(threshold, 1, KEYRING_MAX, &o->setup.threshold) < 0)
		return command_usage(c, v, "--threshold: 1 to %d would be right", KEYRING_MAX);
	return 0;
}

static int take_policy_keys(struct console *c, const struct command *v, const struct args *a,
			    struct orders *o)
{
	size_t iter = 0;

	for (const char *key; (key = args_next(a, OPTION_POLICY_KEY, &iter)) != NULL;) {
		if (o->setup.policy_key_count == SETUP_KEYS_MAX)
			return command_usage(c, v, "--policy-key: at most %d", SETUP_KEYS_MAX);
		o->setup.policy_keys[o->setup.policy_key_count++] = key;
	}
	return 0;
}

static int take_orders(struct console *c, const struct command *v, const struct args *a,
		       struct orders *o)
{
	bool dev = v == &command_dev;
	int r;

	o->setup.data_dir = c->data_dir;
	o->setup.dev = dev;
	o->setup.trust_domain = a->values[OPTION_TRUST_DOMAIN];
	o->server = (struct server_config){
		.data_dir = c->data_dir,
		.listen = a->values[OPTION_LISTEN],
		.admin = a->values[OPTION_ADMIN],
		.url = a->values[OPTION_ADVERTISE],
		.node_ca = a->values[OPTION_NODE_CA],
		.tls_cert = a->values[OPTION_TLS_CERT],
		.tls_key = a->values[OPTION_TLS_KEY],
		.svid_ttl_s = CA_SVID_TTL_S,
		.per_address = SERVER_PER_ADDRESS,
	};
	if (o->server.listen == NULL)
		o->server.listen = dev ? DEV_LISTEN : SERVE_LISTEN;
	if ((o->server.tls_cert == NULL) != (o->server.tls_key == NULL))
		return command_usage(c, v, "--tls-cert and --tls-key go together");
	if (o->server.url != NULL && !str_starts(o->server.url, "https://"))
		return command_usage(c, v, "--advertise: https://HOST:PORT would be right");
	r = take_names(c, v, a, o);
	if (r == 0)
		r = take_numbers(c, v, a, o);
	return r != 0 ? r : take_policy_keys(c, v, a, o);
}

static int serve(struct console *c, const struct command *v, const struct server_config *config)
{
	CLEANUP(server_freep) struct server *s = NULL;
	struct err err = {{0}};
	int r = server_new(config, &s, &err);

	if (r >= 0)
		r = privilege_drop(&err);
	if (r < 0)
		return command_fail(c, v, "%s", err.text);
	return server_run(s) < 0 ? EXIT_IS_ERROR : EXIT_IS_OK;
}

static int run(struct console *c, const struct command *v, const struct args *a)
{
	CLEANUP(freep) struct orders *o = mem_calloc(1, sizeof(*o));
	struct err err = {{0}};
	int r;

	if (o == NULL)
		return command_fail(c, v, "out of memory");
	r = take_orders(c, v, a, o);
	if (r != 0)
		return r;
	if (v != &command_serve)
		r = setup_make(&o->setup, &err);
	if (r == -ENODATA)
		return command_usage(c, v, "%s", err.text);
	if (r < 0)
		return command_fail(c, v, "%s", err.text);
	if (v != &command_init)
		return serve(c, v, &o->server);
	(void)fprintf(c->out, "%s is ready; 'bailiwick-controller serve --data %s' serves it.\n",
		      c->data_dir, c->data_dir);
	return EXIT_IS_OK;
}

const struct command command_dev = {
	.name = "dev",
	.words = "[--listen ADDRESS:PORT] [--name HOST]... [--trust-domain NAME]",
	.summary = "a complete controller in one directory: makes what is missing, and serves",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.run = run,
};

const struct command command_init = {
	.name = "init",
	.words = "--trust-domain NAME --name HOST... [--policy-key FILE.pub]...",
	.summary = "make keys, certificates and database where they are missing",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.run = run,
};

const struct command command_serve = {
	.name = "serve",
	.words = "[--listen ADDRESS:PORT] [--reports on|off] [--admin ADDRESS]",
	.summary = "serve agents and operators",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.run = run,
};
