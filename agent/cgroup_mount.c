/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/cgroup.h"

#include "base/text.h"

#include <errno.h>
#include <string.h>

#define FIELD_ROOT  3 /* proc_pid_mountinfo(5), counted from 0 */
#define FIELD_POINT 4

struct field {
	const char *text;
	size_t len;
};

static bool next_field(const char **p, struct field *ret)
{
	*p += strspn(*p, " ");
	ret->text = *p;
	ret->len = strcspn(*p, " \n");
	*p += ret->len;
	return ret->len > 0;
}

static int octal_digit(char c)
{
	return c >= '0' && c <= '7' ? c - '0' : -1;
}

/* Space, tab, newline and backslash are written as \ooo. */
static bool unescape(const struct field *f, char ret_path[CGROUP_PATH_MAX])
{
	size_t len = 0;

	for (size_t i = 0; i < f->len; i++) {
		char c = f->text[i];

		if (len + 1 >= CGROUP_PATH_MAX)
			return false;
		if (c == '\\' && i + 3 < f->len) {
			int a = octal_digit(f->text[i + 1]), b = octal_digit(f->text[i + 2]),
			    d = octal_digit(f->text[i + 3]);

			if (a >= 0 && a <= 3 && b >= 0 && d >= 0) {
				c = (char)(a * 64 + b * 8 + d);
				i += 3;
			}
		}
		ret_path[len++] = c;
	}
	ret_path[len] = '\0';
	return len > 0 && ret_path[0] == '/';
}

static uint8_t count_components(const char *path)
{
	uint8_t n = 0;

	for (; *path != '\0'; path++)
		if (path[0] == '/' && path[1] != '/' && path[1] != '\0' && n < UINT8_MAX)
			n++;
	return n;
}

/* One line: what of the tree is mounted, and where. False when it is no cgroup2 mount. */
static bool take_line(const char *line, char root[CGROUP_PATH_MAX], char point[CGROUP_PATH_MAX])
{
	struct field f, root_field = {0}, point_field = {0};
	unsigned n = 0;

	for (; next_field(&line, &f); n++) {
		if (n == FIELD_ROOT)
			root_field = f;
		else if (n == FIELD_POINT)
			point_field = f;
		else if (n > FIELD_POINT && f.len == 1 && f.text[0] == '-')
			break;
	}
	if (!next_field(&line, &f) || f.len != strlen("cgroup2") ||
	    memcmp(f.text, "cgroup2", f.len) != 0)
		return false;
	return unescape(&root_field, root) && unescape(&point_field, point);
}

int cgroup_mount_parse(const char *mountinfo, struct cgroup_mount *ret_mount)
{
	struct cgroup_mount mount;
	char root[CGROUP_PATH_MAX];
	int r = -ENOENT;

	for (const char *line = mountinfo; *line != '\0'; line += strcspn(line, "\n")) {
		line += strspn(line, "\n");
		if (*line == '\0')
			break;
		if (!take_line(line, root, mount.path))
			continue;
		/* "/.." : mounted from outside our cgroup namespace; levels cannot be counted
		 * there. */
		if (str_starts(root, "/..")) {
			r = r == 0 ? 0 : -EXDEV;
			continue;
		}
		mount.level = count_components(root);
		if (r != 0 || mount.level == 0)
			*ret_mount = mount;
		r = 0;
		if (mount.level == 0)
			break;
	}
	return r;
}
