/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/watch.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"

#include <errno.h>
#include <string.h>

#define TIME_AT  11 /* of "2026-11-21T14:02:11Z" */
#define TIME_LEN 8
#define REFUSED  "attest_refused:"

/* Streams cannot look ahead, so columns are as wide as the usual content. */
enum { WIDTH_DECISION = 10, WIDTH_PARTY = 21, WIDTH_SERVICE = 10 };

static void put_column(struct buf *b, const char *text, size_t width)
{
	size_t len = strlen(text), is = width_of(text, len);

	if (is > width) {
		put_clean(b, "\xe2\x80\xa6");
		put_clean(b, text + bytes_within(text, len, is - width + 1));
		return;
	}
	put_clean(b, text);
	buf_printf(b, "%*s", (int)(width - is), "");
}

/* A path that does not fit gives way to its last part. */
static void put_party(struct buf *b, const json_t *party)
{
	char text[PARTY_TEXT_MAX];
	const char *shown = party_format(text, party), *slash = strrchr(shown, '/');

	if (width_of(shown, strlen(shown)) > WIDTH_PARTY && slash != NULL)
		shown = slash + 1;
	put_column(b, shown, WIDTH_PARTY);
}

static void put_why(struct buf *b, const json_t *record, size_t width)
{
	const char *reason = field_text_or(record, "reason", "-");
	const char *rule = field_text(record, "rule");
	int64_t count = field_int(record, "count", 1);
	CLEANUP(buf_done) struct buf text = {0};

	buf_init(&text, SCREEN_TEXT_MAX);
	/* The word behind the colon tells more, and there is no room for both. */
	if (str_starts(reason, REFUSED) && reason[strlen(REFUSED)] != '\0')
		buf_printf(&text, "attest:%s ", reason + strlen(REFUSED));
	else if (!str_eq(reason, "permitted") || rule == NULL)
		buf_printf(&text, "%s ", reason);
	if (rule != NULL)
		buf_printf(&text, "%s ", rule);
	if (count > 1)
		buf_printf(&text, "x%lld ", (long long)count);
	if (text.r < 0 || text.len == 0)
		return;
	text.data[--text.len] = '\0';
	if (width_of(text.data, text.len) > width) {
		text.data[bytes_within(text.data, text.len, width - 1)] = '\0';
		put_clean(b, text.data);
		buf_puts(b, "\xe2\x80\xa6");
	} else {
		put_clean(b, text.data);
	}
}

/* With ! for what was let through and rests on an address alone, as in the other screens. */
static const char *decision_word(const json_t *record)
{
	const char *decision = field_text_or(record, "decision", "?");
	const char *assurance = field_text_or(record, "assurance", "");

	if (str_eq(decision, "would_deny"))
		return "would deny";
	if (str_eq(decision, "allowed") &&
	    (str_eq(assurance, "mapped") || str_eq(assurance, "none")))
		return "allowed !";
	return decision;
}

void watch_render(const json_t *record, struct buf *b)
{
	const char *when = field_text_or(record, "time", "");

	when = strlen(when) >= TIME_AT + TIME_LEN ? when + TIME_AT : "--:--:--";
	buf_printf(b, "%.*s ", TIME_LEN, when);
	put_column(b, decision_word(record), WIDTH_DECISION);
	buf_putc(b, ' ');
	put_party(b, field(record, "from"));
	buf_puts(b, " > ");
	put_party(b, field(record, "to"));
	buf_putc(b, ' ');
	put_column(b, field_text_or(record, "service", "-"), WIDTH_SERVICE);
	buf_putc(b, ' ');
	put_why(b, record,
		SCREEN_COLUMNS - TIME_LEN - WIDTH_DECISION - 2 * WIDTH_PARTY - WIDTH_SERVICE - 7);
	buf_putc(b, '\n');
}

struct watching {
	struct cli *c;
	const struct verb *v;
	int code; /* exit code once the agent has refused */
};

static int on_record(struct watching *w, const json_t *record, const char *line)
{
	struct cli *c = w->c;
	CLEANUP(buf_done) struct buf b = {0};

	/* The agent refuses with an ordinary reply. */
	if (json_is_false(json_object_get(record, "ok"))) {
		int64_t code = field_int(record, "exit", CLI_FAILED);

		w->code = cli_fail(c, w->v,
				   code > 0 && code <= CLI_NOT_ENFORCING ? (enum cli_exit)code
									 : CLI_FAILED,
				   "%s", field_text_or(record, "error", "refused"));
		return 1;
	}
	buf_init(&b, SCREEN_TEXT_MAX);
	if (c->json)
		buf_printf(&b, "%s\n", line);
	else
		watch_render(record, &b);
	(void)fwrite(b.data, 1, b.len, c->out);
	if (fflush(c->out) == 0)
		return 0;
	w->code = cli_fail(c, w->v, CLI_FAILED, "output: %s", strerror(errno));
	return 1;
}

static int on_line(void *user, const char *line, size_t len)
{
	struct watching *w = user;
	struct err err = {0};
	json_t *record;
	int r = json_parse_strict(line, len, "record of the agent", &record, &err);

	if (r < 0) {
		w->code = cli_fail(w->c, w->v, CLI_FAILED, "%s", err.text);
		return 1;
	}
	r = on_record(w, record, line);
	json_decref(record);
	return r;
}

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	struct watching w = {.c = c, .v = v};
	CLEANUP(closep) int fd = -1;
	struct err err = {0};
	int r;

	(void)a;
	r = client_connect(c->run_dir, &fd, &err);
	if (r == 0)
		r = client_send(fd, v->name, NULL, &err);
	if (r == 0)
		r = client_stream(fd, on_line, &w, &err);
	return r < 0 ? cli_fail(c, v, CLI_FAILED, "%s", err.text) : w.code;
}

const struct verb verb_watch = {
	.name = "watch",
	.words = "",
	.summary = "decisions as they are made, one a line, until interrupted",
	.run = run,
};
