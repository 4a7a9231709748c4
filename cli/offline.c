/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/offline.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/zone.h"
#include "controller-client/view_decode.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#define VIEW_NAME         "view.json"
#define OWN_ADDRESSES_MAX 4096
#define VIEW_FILE_MAX     (64U << 20)

void offline_done(struct offline *o)
{
	policy_files_done(&o->files);
	source_done(&o->source);
	policy_free(o->policy);
	view_free(o->view);
	free(o->addresses);
	*o = (struct offline){0};
}

static int add_addresses(struct offline *o, size_t *cap, const struct addr *addresses, size_t count)
{
	int r = vec_grow(&o->addresses, cap, o->address_count + count, sizeof(*o->addresses),
			 OWN_ADDRESSES_MAX);

	for (size_t i = 0; r == 0 && i < count; i++)
		o->addresses[o->address_count++] = addresses[i];
	return r;
}

/* What the host would find on its interfaces is, from afar, what the view says of its node. */
static int own_addresses(struct offline *o)
{
	const struct view *v = o->view;
	const struct view_node *node = view_find_node(v, v->node);
	size_t cap = 0;
	int r = 0;

	if (node != NULL)
		r = add_addresses(o, &cap, node->addresses, node->address_count);
	for (size_t i = 0; r == 0 && i < v->placed_count; i++)
		r = add_addresses(o, &cap, v->placed[i].addresses, v->placed[i].address_count);
	return r;
}

static int read_view(struct offline *o, const char *dir, struct err *err)
{
	CLEANUP(freep) char *path = mem_printf("%s/" VIEW_NAME, dir);
	CLEANUP(freep) char *text = NULL;
	struct stat st;
	size_t len;
	int r;

	if (path == NULL)
		return err_set(err, ENOMEM, "out of memory");
	if (stat(path, &st) < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	r = file_read(AT_FDCWD, path, VIEW_FILE_MAX, &text, &len, err);
	if (r == 0)
		r = view_decode(text, len, NULL, 0, &o->view, err);
	if (r < 0)
		return r;
	r = own_addresses(o);
	return r < 0 ? err_set(err, -r, "%s: too many addresses", path) : 0;
}

int offline_add(struct offline *o, const char *word, const struct keyring *trust, struct err *err)
{
	int r;

	if (o->source.is_signed && source_is_signed(word))
		return err_set(err, EINVAL,
			       "%s: a second signed tree; each is a policy of its own, so one at a "
			       "time would be right",
			       word);
	r = source_read(&o->source, word, trust, &o->files, err);
	return r < 0 || o->view != NULL ? r : read_view(o, word, err);
}

int offline_check(struct offline *o, enum policy_names names, struct wall now, struct err *err)
{
	return policy_files_check(&o->files, names, now, &o->policy, err);
}

int offline_read(struct offline *o, const char *path, enum policy_names names, struct wall now,
		 struct err *err)
{
	int r = offline_add(o, path, NULL, err);

	return r < 0 ? r : offline_check(o, names, now, err);
}

void offline_input(const struct offline *o, struct wall now, struct compile_input *ret)
{
	*ret = (struct compile_input){.policy = o->policy,
				      .view = o->view,
				      .addresses = o->addresses,
				      .address_count = o->address_count,
				      .now = now,
				      .clock_trusted = true,
				      .local_time = zone_local_time()};
}
