/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/findings.h"

#include "base/mem.h"
#include "base/text.h"
#include "cli/screen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- rendering ---- */

struct line {
	const json_t *finding;
	bool warning;
};

static int line_cmp(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	int64_t dx, dy;
	int r = strcmp(field_text_or(x->finding, "file", ""),
		       field_text_or(y->finding, "file", ""));

	if (r != 0)
		return r;
	dx = field_int(x->finding, "line", 0);
	dy = field_int(y->finding, "line", 0);
	if (dx == dy) {
		dx = field_int(x->finding, "column", 0);
		dy = field_int(y->finding, "column", 0);
	}
	if (dx != dy)
		return dx < dy ? -1 : 1;
	return strcmp(field_text_or(x->finding, "message", ""),
		      field_text_or(y->finding, "message", ""));
}

static void put_line(struct buf *b, const struct line *l)
{
	int64_t line = field_int(l->finding, "line", 0),
		column = field_int(l->finding, "column", 0);
	const char *file = field_text_or(l->finding, "file", "");
	const char *advice = field_text_or(l->finding, "advice", "");

	put_clean(b, file);
	if (line > 0)
		buf_printf(b, ":%lld", (long long)line);
	if (line > 0 && column > 0)
		buf_printf(b, ":%lld", (long long)column);
	if (*file != '\0')
		buf_puts(b, ": ");
	if (l->warning)
		buf_puts(b, "warning: ");
	put_clean(b, field_text_or(l->finding, "message", "?"));
	if (*advice != '\0')
		buf_puts(b, "; ");
	put_clean(b, advice);
	buf_putc(b, '\n');
}

static size_t collect(struct line *lines, const json_t *findings, bool warning)
{
	size_t count = json_array_size(findings);

	for (size_t i = 0; i < count; i++)
		lines[i] = (struct line){json_array_get(findings, i), warning};
	return count;
}

static void put_summary(const json_t *result, struct buf *b)
{
	int64_t errors = field_count(result, "errors") + field_int(result, "more_errors", 0);

	if (errors > 0) {
		put_count(b, errors, "error");
		buf_puts(b, ", ");
		put_count(b, field_count(result, "warnings"), "warning");
		buf_puts(b, "; nothing of it can be applied\n");
		return;
	}
	buf_puts(b, "ok: ");
	if (field(result, "rules") != NULL) {
		int64_t identities = field_int(result, "identities", 0);
		char text[COUNT_TEXT_MAX];

		buf_printf(b, "%s identit%s, ", count_format(text, identities),
			   identities == 1 ? "y" : "ies");
		put_count(b, field_int(result, "rules", 0), "rule");
		buf_puts(b, " in ");
		put_count(b, field_int(result, "files", 0), "file");
		buf_puts(b, ", ");
	}
	put_count(b, field_count(result, "warnings"), "warning");
	buf_putc(b, '\n');
}

void findings_render(const json_t *result, struct buf *b)
{
	const json_t *errors = field(result, "errors"), *warnings = field(result, "warnings");
	CLEANUP(freep) struct line *lines = NULL;
	int64_t more = field_int(result, "more_errors", 0);
	size_t count;

	lines = mem_calloc(json_array_size(errors) + json_array_size(warnings), sizeof(*lines));
	if (lines == NULL) {
		b->r = -ENOMEM;
		return;
	}
	count = collect(lines, errors, false);
	count += collect(lines + count, warnings, true);
	qsort(lines, count, sizeof(*lines), line_cmp);
	for (size_t i = 0; i < count; i++)
		put_line(b, &lines[i]);
	if (more > 0) {
		buf_puts(b, "... and ");
		put_count(b, more, "more error");
		buf_putc(b, '\n');
	}
	put_summary(result, b);
}

/* ---- from a policy ---- */

static json_t *finding_json(const struct policy *p, const struct finding *f)
{
	const char *file = f->pos.file < p->file_count ? p->files[f->pos.file] : "";

	return json_pack("{s:s, s:I, s:I, s:s, s:s}", "file", file, "line", (json_int_t)f->pos.line,
			 "column", (json_int_t)f->pos.column, "message", f->message, "advice",
			 f->advice != NULL ? f->advice : "");
}

json_t *findings_json(const struct policy *p)
{
	json_t *errors = json_array(), *warnings = json_array(), *result;
	int r = 0;

	for (size_t i = 0; i < p->finding_count; i++) {
		const struct finding *f = &p->findings[i];

		r |= json_array_append_new(f->level == FINDING_ERROR ? errors : warnings,
					   finding_json(p, f));
	}
	result = json_pack("{s:i, s:b, s:o, s:o, s:I, s:I, s:I}", "version", 1, "ok",
			   p->error_count == 0, "errors", errors, "warnings", warnings,
			   "identities", (json_int_t)p->identity_count, "rules",
			   (json_int_t)p->rule_count, "files", (json_int_t)p->file_count);
	if (result != NULL && p->error_count > json_array_size(errors))
		r |= json_object_set_new(
			result, "more_errors",
			json_integer((json_int_t)(p->error_count - json_array_size(errors))));
	if (r == 0)
		return result;
	json_decref(result);
	return NULL;
}
