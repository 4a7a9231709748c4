/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `enroll`: a key made here, a certificate from the controller, and whom to trust (UC-60). */
#include "cli/cli.h"

#include "base/mem.h"
#include "base/text.h"
#include "cli/enroll_files.h"
#include "rules/view.h"

#include <openssl/crypto.h>
#include <string.h>

#define CONFIG_DEFAULT "/etc/bailiwick/agent.yaml"
#define KEY_WIDTH      11
#define ADD_TEXT_MAX   (64U << 10)
#define TOKEN_MAX      512
#define TOKEN_STDIN    "-"

enum { ENROLL_URL, ENROLL_TOKEN, ENROLL_PIN, ENROLL_POLICY_PIN, ENROLL_CONFIG, ENROLL_NODE };

static const struct option_spec options[] = {
	[ENROLL_URL] = {.name = "url",
			.value = "URL",
			.help = "the controller's: https://HOST:PORT"},
	[ENROLL_TOKEN] = {.name = "token",
			  .value = "TOKEN",
			  .help = "of bailiwick-controller token create; - reads it from stdin"},
	[ENROLL_PIN] = {.name = "pin",
			.value = "PIN",
			.help = "of the controller's CA: sha256:HEX"},
	[ENROLL_POLICY_PIN] = {.name = "policy-pin",
			       .value = "KEYID",
			       .help = "a policy key to trust; may be repeated",
			       .many = true},
	[ENROLL_CONFIG] = {.name = "config",
			   .value = "FILE",
			   .help = "agent.yaml; written only if there is none"},
	[ENROLL_NODE] = {.name = "node",
			 .value = "NAME",
			 .help = "who this is to be; a token for another is refused"},
};

static void render_enroll(const json_t *result, const struct screen *s, struct buf *b)
{
	const struct pairs p = {b, KEY_WIDTH};

	(void)s;
	pairs_put(&p, "node", "%s", field_text_or(result, "node", ""));
	pairs_put(&p, "spiffe_id", "%s", field_text_or(result, "spiffe_id", ""));
	pairs_put(&p, "expires", "%s", field_text_or(result, "expires", ""));
	pairs_put(&p, "key", "%s", field_text_or(result, "key", ""));
	pairs_put(&p, "config", "%s", field_text_or(result, "config", ""));
	if (field_text(result, "add") != NULL)
		buf_printf(b, "\n%s is there already and was not changed; it lacks:\n\n%s",
			   field_text_or(result, "config", ""), field_text(result, "add"));
	if (field_count(result, "policy_keys") == 0)
		buf_puts(b, "\nNo policy key was taken: a controller's word is not enough for it. "
			    "With\n--policy-pin KEYID, or a file that you copy yourself, policy "
			    "can be checked.\n");
}

static json_t *keyids(const struct public_key *keys, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(list, json_string(keys[i].id));
	return list;
}

static int print_result(struct cli *c, const struct verb *v, const struct enroll_files *f,
			const struct enrol_result *r, const char *url)
{
	CLEANUP(buf_done) struct buf add;
	char expires[RFC3339_TEXT_MAX];
	json_t *result;
	int code;

	buf_init(&add, ADD_TEXT_MAX);
	enroll_files_missing(f, r, url, &add);
	result = json_pack("{s:i,s:s,s:s,s:s,s:s,s:s,s:b,s:o,s:o,s:s*}", "version", 1, "node",
			   r->svid.name, "spiffe_id", r->svid.id, "expires",
			   rfc3339_format(expires, r->svid.not_after), "key", f->key, "config",
			   f->config, "config_written", !f->existing, "policy_keys",
			   keyids(r->policy_keys, r->policy_key_count), "controller_keys",
			   keyids(r->controller_keys, r->controller_key_count), "add",
			   add.len > 0 ? add.data : NULL);
	code = result != NULL ? cli_print(c, v, result, false, CLI_OK)
			      : cli_fail(c, v, CLI_FAILED, "out of memory");
	json_decref(result);
	return code;
}

static int take_pins(struct cli *c, const struct verb *v, const struct args *a,
		     struct enrol_request *rq)
{
	const char *pin;
	size_t iter = 0;

	while ((pin = args_next(a, ENROLL_POLICY_PIN, &iter)) != NULL) {
		if (pin_hex(pin) == NULL)
			return cli_usage(c, v,
					 "--policy-pin: not a keyid; 64 lower-case hex digits, as "
					 "token create prints them, would be right");
		if (rq->policy_pin_count == KEYRING_MAX)
			return cli_usage(c, v, "more than %d policy keys", KEYRING_MAX);
		rq->policy_pins[rq->policy_pin_count++] = pin;
	}
	return CLI_OK;
}

/*
 * Whoever is on this host may read the words of a command, and a token makes its holder this node:
 * it may come by standard input instead.
 */
static int take_token(struct cli *c, const struct verb *v, const char **word, char buf[TOKEN_MAX])
{
	if (!str_eq(*word, TOKEN_STDIN))
		return CLI_OK;
	if (fgets(buf, TOKEN_MAX, stdin) == NULL)
		buf[0] = '\0';
	buf[strcspn(buf, "\r\n")] = '\0';
	*word = buf;
	return buf[0] != '\0' ? CLI_OK
			      : cli_usage(c, v, "--token -: no token came on standard input");
}

static int enroll_at(struct cli *c, const struct verb *v, const struct enrol_request *rq,
		     struct enroll_files *f)
{
	struct enrol_request request = *rq;
	struct enrol_result r = {0};
	struct err err = {{0}};
	int code;

	if (f->node != NULL && rq->node != NULL && !str_eq(f->node, rq->node))
		return cli_fail(c, v, CLI_FAILED, "%s names node %s, not %s", f->config, f->node,
				rq->node);
	if (request.node == NULL)
		request.node = f->node;
	code = enroll_files_prepare(f, &err);
	if (code >= 0)
		code = enrol(&request, &r, &err);
	if (code >= 0) {
		code = enroll_files_write(f, &r, rq->url, &err);
		/* The certificate is there: without its files it is of no use, but it is known. */
		if (code < 0)
			(void)err_prefix(&err, code, "enrolled as %s, but not all was written",
					 r.svid.id);
	}
	code = code < 0 ? cli_fail(c, v, CLI_FAILED, "%s", err.text)
			: print_result(c, v, f, &r, rq->url);
	enrol_result_done(&r);
	return code;
}

static int enroll(struct cli *c, const struct verb *v, const struct args *a, char token[TOKEN_MAX])
{
	CLEANUP(enroll_files_done) struct enroll_files f = {0};
	struct enrol_request rq = {
		.url = a->values[ENROLL_URL],
		.token = a->values[ENROLL_TOKEN],
		.pin = a->values[ENROLL_PIN],
		.node = a->values[ENROLL_NODE],
	};
	struct err err = {{0}};
	int code;

	if (rq.url == NULL || rq.token == NULL || rq.pin == NULL)
		return cli_usage(c, v,
				 "--url, --token and --pin are needed: bailiwick-controller "
				 "token create prints them");
	if (rq.node != NULL && !node_name_ok(rq.node))
		return cli_usage(c, v,
				 "--node: not a node name; letters, digits, '.', '_', '-' and "
				 "at most 63 of them would be right");
	code = take_pins(c, v, a, &rq);
	if (code == CLI_OK)
		code = take_token(c, v, &rq.token, token);
	if (code != CLI_OK)
		return code;
	if (enroll_files_find(a->values[ENROLL_CONFIG] != NULL ? a->values[ENROLL_CONFIG]
							       : CONFIG_DEFAULT,
			      &f, &err) < 0)
		return cli_fail(c, v, CLI_FAILED, "%s", err.text);
	return enroll_at(c, v, &rq, &f);
}

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	char token[TOKEN_MAX] = "";
	int code = enroll(c, v, a, token);

	OPENSSL_cleanse(token, sizeof(token));
	return code;
}

const struct verb verb_enroll = {
	.name = "enroll",
	.words = "--url URL --token TOKEN --pin PIN [--policy-pin KEYID]...",
	.summary = "make this host a node of a controller's fleet",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.run = run,
	.render = render_enroll,
};
