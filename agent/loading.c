/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/loading.h"

#include "agent/attest.h"
#include "agent/attest_port.h"
#include "agent/heartbeat.h"
#include "agent/held.h"
#include "agent/peers.h"
#include "agent/workload.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/zone.h"
#include "controller-client/view_decode.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *finding_json(const struct policy *p, const struct finding *f)
{
	const char *file = f->pos.file < p->file_count ? p->files[f->pos.file] : "";
	json_t *json = json_pack("{s:s,s:i,s:i,s:s}", "file", file, "line", (int)f->pos.line,
				 "column", (int)f->pos.column, "message", f->message);

	(void)json_object_set_new(json, "advice", f->advice ? json_string(f->advice) : json_null());
	return json;
}

static void findings_json(const struct policy *p, json_t **ret_errors, json_t **ret_warnings)
{
	json_t *errors = json_array(), *warnings = json_array();

	for (size_t i = 0; i < p->finding_count; i++) {
		const struct finding *f = &p->findings[i];

		(void)json_array_append_new(f->level == FINDING_ERROR ? errors : warnings,
					    finding_json(p, f));
	}
	if (ret_errors)
		*ret_errors = errors;
	else
		json_decref(errors);
	if (ret_warnings)
		*ret_warnings = warnings;
	else
		json_decref(warnings);
}

static bool zone_known_cb(void *user, const char *zone)
{
	(void)user;
	return zone_known(zone);
}

static int finish(const struct agent *a, struct policy *p, struct err *err)
{
	const struct policy_features features = {.attested = true, .zone_known = zone_known_cb};
	int r = policy_finish(p, &features, agent_now(a));

	if (r == -EINVAL)
		return policy_first_error(p, "", err);
	return r < 0 ? err_set(err, -r, "policy: %s", strerror(-r)) : 0;
}

static int check_trust_domain(const struct agent *a, const struct policy *p, struct err *err)
{
	if (a->config.trust_domain && !str_eq(a->config.trust_domain, p->trust_domain))
		return err_set(err, EINVAL, "policy is of trust domain %s, this node of %s",
			       p->trust_domain, a->config.trust_domain);
	return 0;
}

int loading_policy(const struct agent *a, const struct store_policy *texts, struct policy **ret,
		   json_t **ret_errors, json_t **ret_warnings, struct err *err)
{
	CLEANUP(policy_freep) struct policy *p = policy_new();
	int r = p ? 0 : -ENOMEM;

	for (size_t i = 0; i < texts->file_count && r >= 0; i++)
		r = policy_add_text(p, texts->files[i].name, texts->files[i].text,
				    texts->files[i].len);
	if (r < 0)
		return err_set(err, -r, "policy: %s", strerror(-r));
	r = finish(a, p, err);
	findings_json(p, ret_errors, ret_warnings);
	if (r >= 0)
		r = check_trust_domain(a, p, err);
	if (r >= 0)
		*ret = TAKE_PTR(p);
	return r;
}

int loading_empty_policy(const struct agent *a, struct policy **ret, struct err *err)
{
	CLEANUP(freep)
	char *text = mem_printf("trust_domain: %s\n",
				a->config.trust_domain ? a->config.trust_domain : "none.invalid");
	char name[] = "(no policy applied)";
	struct store_file file = {.name = name, .text = text, .len = text ? strlen(text) : 0};
	struct store_policy texts = {.files = &file, .file_count = 1};

	if (!text)
		return err_set(err, ENOMEM, "out of memory");
	return loading_policy(a, &texts, ret, NULL, NULL, err);
}

/* --- directory ---------------------------------------------------------------------------- */

static bool policy_file_name(const char *name)
{
	return name[0] != '.' &&
	       (str_ends(name, ".yaml") || str_ends(name, ".yml") || str_ends(name, ".json"));
}

static int add_file(int fd, const char *name, struct store_policy *p, struct err *err)
{
	struct store_file *grown = reallocarray(p->files, p->file_count + 1, sizeof(*grown));
	struct store_file *f;
	int r;

	if (!grown)
		return err_set(err, ENOMEM, "out of memory");
	p->files = grown;
	f = &grown[p->file_count];
	memset(f, 0, sizeof(*f));
	r = file_read(fd, name, POLICY_TEXT_MAX, &f->text, &f->len, err);
	if (r < 0)
		return r;
	f->name = mem_strdup(name);
	p->file_count++;
	return f->name ? 0 : err_set(err, ENOMEM, "out of memory");
}

int loading_directory(const char *directory, struct store_policy *ret, struct err *err)
{
	CLEANUP(freep) char *path = mem_printf("%s/policy", directory);
	struct store_policy p = {0};
	struct dirent *e;
	DIR *d;
	int r = path ? path_trusted(path, 0, err) : -ENOMEM;

	if (r < 0)
		return r;
	d = opendir(path);
	if (!d)
		return err_set(err, errno, "%s: %s", path, strerror(errno));
	while (r >= 0 && (e = readdir(d))) {
		if (!policy_file_name(e->d_name))
			continue;
		r = p.file_count == STORE_FILES_MAX
			    ? err_set(err, E2BIG, "%s: more than %d files", path, STORE_FILES_MAX)
			    : add_file(dirfd(d), e->d_name, &p, err);
	}
	(void)closedir(d);
	if (r < 0) {
		store_policy_done(&p);
		return r;
	}
	store_policy_digest(&p);
	*ret = p;
	return 0;
}

/* --- view --------------------------------------------------------------------------------- */

/* Both slots compile against the same view, and the way to its nodes' agents is essential. */
static int view_slots(struct agent *a, const struct view *v, struct err *err)
{
	int r = workloads_set_policy(a->workloads, SLOT_A, a->confirmed.policy, v,
				     &a->config.essentials, err);

	if (r >= 0 && a->candidate.policy)
		r = workloads_set_policy(a->workloads, SLOT_B, a->candidate.policy, v,
					 &a->config.essentials, err);
	return r;
}

static int view_use(struct agent *a, struct view *take, struct err *err)
{
	struct attest_port_before essentials = {{0}};
	struct view *before = a->view;
	int r;

	if (take->peer_count >= HEARTBEAT_LARGE_PEERS)
		heartbeat_extend(a);
	r = attest_port_set(a, take, &essentials, err);
	if (r >= 0) {
		r = view_slots(a, take, err);
		if (r < 0) {
			attest_port_swap(a, &essentials);
			(void)view_slots(a, before, NULL);
		}
		attest_port_release(&essentials);
	}
	if (r < 0) {
		view_free(take);
		return r;
	}
	a->view = take;
	a->view_when = wall_now();
	if (a->peers)
		peers_view_changed(a->peers);
	attest_view_changed(a->attest);
	view_free(before);
	return 0;
}

static void view_keep(struct agent *a, const char *text, size_t len)
{
	struct err err = {{0}};

	if (store_view_write(a->store, text, len, &err) < 0)
		log_warn("view is in force but not kept for the next start: %s", err.text);
	else
		a->view_kept = a->view->sequence;
	if (agent_save(a, &err) < 0)
		log_warn("%s", err.text);
}

int loading_view_use(struct agent *a, struct view *take, const char *text, size_t len,
		     struct err *err)
{
	int r = view_use(a, take, err);

	if (len >= HEARTBEAT_LARGE_BYTES)
		heartbeat_extend(a);
	if (r >= 0)
		view_keep(a, text, len);
	return r;
}

static int refuse(struct agent *a, int r, const struct err *err)
{
	if (!a->view_error || !str_eq(a->view_error, err->text))
		log_warn("view refused, the last good one stays: %s", err->text);
	freep(&a->view_error);
	a->view_error = mem_strdup(err->text);
	return r;
}

static bool same_text(struct agent *a, const char *text, size_t len)
{
	CLEANUP(freep) char *kept = NULL;
	size_t kept_len = 0;

	return store_view_read(a->store, &kept, &kept_len, NULL) == 0 && kept_len == len &&
	       memcmp(kept, text, len) == 0;
}

int loading_view(struct agent *a, struct err *err)
{
	CLEANUP(freep) char *path = NULL;
	CLEANUP(freep) char *text = NULL;
	struct view *v = NULL;
	size_t len = 0;
	int r;

	/* With `trust` the view is a signed document: a file that somebody put there is none. */
	if (config_is_signed(&a->config))
		return 0;
	path = mem_printf("%s/view.json", a->config.directory);
	if (!path)
		return err_set(err, ENOMEM, "out of memory");
	r = path_trusted(path, 0, err);
	if (r >= 0)
		r = file_read(AT_FDCWD, path, VIEW_DOCUMENT_MAX, &text, &len, err);
	if (r == -ENOENT && !a->view->sequence)
		return 0;
	if (r < 0)
		return refuse(a, r, err);
	if (same_text(a, text, len)) {
		freep(&a->view_error);
		return 0;
	}
	if (len >= HEARTBEAT_LARGE_BYTES)
		heartbeat_extend(a);
	r = view_decode(text, len, a->config.node, a->view->sequence, &v, err);
	if (r < 0)
		return refuse(a, r, err);
	r = view_use(a, v, err);
	if (r < 0)
		return refuse(a, r, err);
	freep(&a->view_error);
	log_info("view sequence %" PRIu64, a->view->sequence);
	agent_touch(a, DIRTY_POLICY);
	view_keep(a, text, len);
	return 1;
}

/* Damaged on disk, it is taken from where it came from; an empty one would end every flow. */
static int view_of_source(struct agent *a, struct view **ret, const struct err *cause)
{
	char said[ERR_TEXT_MAX];
	CLEANUP(freep) char *path = NULL;
	CLEANUP(freep) char *text = NULL;
	size_t len = 0;
	int r;

	if (config_is_signed(&a->config))
		return -ENOENT;
	path = mem_printf("%s/view.json", a->config.directory);
	r = path ? path_trusted(path, 0, NULL) : -ENOMEM;
	if (r >= 0)
		r = file_read(AT_FDCWD, path, VIEW_DOCUMENT_MAX, &text, &len, NULL);
	if (r >= 0)
		r = view_decode(text, len, a->config.node, 0, ret, NULL);
	if (r >= 0) {
		(void)snprintf(said, sizeof(said),
			       "stored view: %.200s; that of %.200s is used instead", cause->text,
			       path);
		agent_damaged(a, said);
	}
	return r;
}

static int empty_view(struct agent *a, struct err *err)
{
	struct view *v = mem_calloc(1, sizeof(*v));

	if (v)
		v->node = mem_strdup(a->config.node);
	if (!v || !v->node) {
		view_free(v);
		return err_set(err, ENOMEM, "out of memory");
	}
	a->view = v;
	return 0;
}

int loading_view_stored(struct agent *a, uint64_t min_sequence, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	struct view *v = NULL;
	size_t len = 0;
	int r;

	r = store_view_read(a->store, &text, &len, err);
	if (r == -ENOENT)
		return empty_view(a, err);
	if (r >= 0)
		r = view_decode(text, len, a->config.node, min_sequence, &v, err);
	if (r == -ENOMEM)
		return r;
	if (r < 0 && view_of_source(a, &v, err) < 0) {
		(void)err_prefix(err, r, "stored view");
		agent_damaged(a, err->text);
		a->held |= HELD_VIEW;
		return empty_view(a, err);
	}
	a->view = v;
	a->view_kept = v->sequence;
	return 0;
}
