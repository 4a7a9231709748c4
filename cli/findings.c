/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/findings.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/screen.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

/* ---- files ---- */

void policy_files_done(struct policy_files *f)
{
	for (size_t i = 0; i < f->count; i++) {
		free(f->entries[i].path);
		free(f->entries[i].text);
	}
	free(f->entries);
	*f = (struct policy_files){0};
}

static int add_file(struct policy_files *f, const char *path, struct err *err)
{
	CLEANUP(freep) char *copy = mem_strdup(path);
	CLEANUP(freep) char *text = NULL;
	const char *slash;
	size_t len;
	int r;

	r = copy != NULL ? vec_grow(&f->entries, &f->cap, f->count + 1, sizeof(*f->entries),
				    POLICY_FILES_MAX)
			 : -ENOMEM;
	if (r < 0)
		return err_set(err, -r, "%s: %s", path,
			       r == -E2BIG ? "too many files" : strerror(-r));
	r = file_read(AT_FDCWD, path, POLICY_TEXT_MAX - f->total, &text, &len, err);
	if (r < 0)
		return r;
	slash = strrchr(copy, '/');
	f->total += len;
	f->entries[f->count++] =
		(struct policy_file){.path = TAKE_PTR(copy), .text = TAKE_PTR(text), .len = len};
	f->entries[f->count - 1].name = slash != NULL ? slash + 1 : f->entries[f->count - 1].path;
	return 0;
}

static int is_yaml(const struct dirent *e)
{
	return e->d_name[0] != '.' && str_ends(e->d_name, ".yaml");
}

static int add_directory(struct policy_files *f, const char *dir, struct err *err)
{
	struct dirent **names = NULL;
	int count = scandir(dir, &names, is_yaml, alphasort), r = 0;

	if (count < 0)
		return err_set(err, errno, "%s: %s", dir, strerror(errno));
	for (int i = 0; i < count; i++) {
		CLEANUP(freep) char *path = mem_printf("%s/%s", dir, names[i]->d_name);

		if (r == 0)
			r = path != NULL ? add_file(f, path, err)
					 : err_set(err, ENOMEM, "out of memory");
		free(names[i]);
	}
	free(names);
	if (r == 0 && count == 0)
		r = err_set(err, ENOENT, "%s: no policy here; files named *.yaml would be right",
			    dir);
	return r;
}

int policy_files_read(struct policy_files *f, const char *path, struct err *err)
{
	CLEANUP(freep) char *below = NULL;
	struct stat st;
	size_t len = strlen(path);

	if (stat(path, &st) < 0)
		return err_set(err, errno, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return add_file(f, path, err);
	while (len > 1 && path[len - 1] == '/')
		len--;
	below = mem_printf("%.*s/policy", (int)len, path);
	if (below == NULL || len > PATH_MAX)
		return err_set(err, ENOMEM, "out of memory");
	if (stat(below, &st) == 0 && S_ISDIR(st.st_mode))
		return add_directory(f, below, err);
	below[len] = '\0';
	return add_directory(f, below, err);
}

int policy_files_check(const struct policy_files *f, enum policy_names names, struct wall now,
		       struct policy **ret, struct err *err)
{
	/* No peer's agent can vouch in this release, so nothing between nodes may ask for it. */
	static const struct policy_features features = {.attested = false};
	CLEANUP(policy_freep) struct policy *p = policy_new();
	int r = p != NULL ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < f->count; i++)
		r = policy_add_text(
			p, names == POLICY_BY_NAME ? f->entries[i].name : f->entries[i].path,
			f->entries[i].text, f->entries[i].len);
	if (r == 0)
		r = policy_finish(p, &features, now);
	if (r < 0 && r != -EINVAL)
		return err_set(err, -r, "policy: %s", strerror(-r));
	*ret = TAKE_PTR(p);
	return r;
}
