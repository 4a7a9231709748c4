/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/mem.h"
#include "base/text.h"
#include "controller/command.h"

enum { OPTION_NODE, OPTION_ADDRESS, OPTION_REMOVE };
static const struct option_spec options[] = {
	[OPTION_NODE] = {.name = "node", .value = "NODE", .help = "where it runs"},
	[OPTION_ADDRESS] = {.name = "address",
			    .value = "ADDRESS",
			    .help = "there; all of the node's unless said",
			    .many = true},
	[OPTION_REMOVE] = {.name = "remove", .help = "it runs there no more"},
};

static void put_addresses(struct buf *b, const json_t *addresses)
{
	json_t *address;
	size_t i;

	json_array_foreach(addresses, i, address) {
		buf_puts(b, i == 0 ? " at " : ", ");
		put_clean(b, json_is_string(address) ? json_string_value(address) : "?");
	}
}

static void render(const json_t *result, const struct screen *s, struct buf *b)
{
	bool removed = field_true(result, "removed");
	int64_t woken = field_int(result, "heads_changed", -1);

	(void)s;
	put_clean(b, field_text_or(result, "identity", "?"));
	buf_puts(b, removed ? " runs no more on " : " runs on ");
	put_clean(b, field_text_or(result, "node", "?"));
	if (!removed)
		put_addresses(b, field(result, "addresses"));
	if (woken >= 0) {
		buf_puts(b, "; ");
		put_count(b, woken, "node");
		buf_puts(b, woken == 1 ? " is told" : " are told");
	}
	buf_puts(b, ".\n");
}

static int run(struct console *c, const struct command *v, const struct args *a)
{
	json_t *body = json_pack("{s:s}", "identity", a->words[0]), *list;
	size_t iter = 0;
	int r;

	if (body == NULL)
		return command_usage(c, v, "identity: not valid UTF-8");
	r = command_text(c, v, a, OPTION_NODE, body, "node", true);
	if (r == 0 && a->values[OPTION_ADDRESS] != NULL) {
		list = json_array();
		for (const char *address; (address = args_next(a, OPTION_ADDRESS, &iter)) != NULL;)
			(void)json_array_append_new(list, json_string(address));
		(void)json_object_set_new(body, "addresses", list);
	}
	if (a->values[OPTION_REMOVE] != NULL)
		(void)json_object_set_new(body, "remove", json_true());
	if (r == 0)
		return command_ask(c, v, "POST", "/v1/operator/place", body);
	json_decref(body);
	return r;
}

const struct command command_place = {
	.name = "place",
	.words = "IDENTITY --node NODE [--address ADDRESS]... [--remove]",
	.summary = "pin an identity to a node, within the bounds of signed policy",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_min = 1,
	.words_max = 1,
	.run = run,
	.render = render,
};
