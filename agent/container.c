/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/container.h"

#include "agent/unit.h"
#include "base/mem.h"
#include "base/text.h"

#include <limits.h>
#include <string.h>

#define UUID_TEXT_LEN   36 /* 8-4-4-4-12 */
#define STATIC_POD_LEN  32 /* the MD5 of a manifest file */
#define PARTS_MAX       16 /* deeper ones are nobody's position */
#define USER_SLICE      "user.slice"
#define SCOPE_SUFFIX    ".scope"
#define SLICE_SUFFIX    ".slice"
#define POD_PREFIX      "pod"
#define PAYLOAD_PREFIX  "libpod-payload-"
#define KUBEPODS        "kubepods"
#define USER_DIGITS_MAX 10

static const char *const runtime_names[] = {
	[CONTAINER_NONE] = "",
	[CONTAINER_DOCKER] = "docker",
	[CONTAINER_PODMAN] = "podman",
	[CONTAINER_CONTAINERD] = "containerd",
	[CONTAINER_CRI_CONTAINERD] = "cri-containerd",
	[CONTAINER_CRIO] = "cri-o",
	[CONTAINER_KUBERNETES] = "kubernetes",
};

struct prefix_of {
	const char *prefix;
	enum container_runtime runtime;
};

/* Scopes of systemd drivers. */
static const struct prefix_of scopes[] = {
	{"docker-", CONTAINER_DOCKER},      {"libpod-", CONTAINER_PODMAN},
	{"nerdctl-", CONTAINER_CONTAINERD}, {"cri-containerd-", CONTAINER_CRI_CONTAINERD},
	{"crio-", CONTAINER_CRIO},
};

/* Directories of cgroupfs drivers at the root, and what stands before the ID in them. */
static const struct {
	const char *directory, *prefix;
	enum container_runtime runtime;
} directories[] = {
	{"docker", "", CONTAINER_DOCKER},
	{"libpod_parent", "libpod-", CONTAINER_PODMAN},
	{"default", "", CONTAINER_CONTAINERD},
	{"k8s.io", "", CONTAINER_CONTAINERD},
};

/* The first components of a path; borrowed. */
struct parts {
	struct {
		const char *text;
		size_t len;
	} at[PARTS_MAX];
	size_t count;
};

const char *container_runtime_name(enum container_runtime r)
{
	return runtime_names[r];
}

static bool is_hex(const char *text, size_t len)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++)
		if (text[i] == '\0' || strchr(digits, text[i]) == NULL)
			return false;
	return true;
}

bool container_id_ok(const char *text)
{
	return strlen(text) == CONTAINER_ID_LEN && is_hex(text, CONTAINER_ID_LEN);
}

bool container_pod_uid(const char *text, size_t len, char ret[CONTAINER_POD_MAX])
{
	char uid[CONTAINER_POD_MAX] = "";

	if (len == STATIC_POD_LEN && is_hex(text, len)) {
		memcpy(uid, text, len);
	} else if (len == UUID_TEXT_LEN) {
		for (size_t i = 0; i < len; i++) {
			bool dash = i == 8 || i == 13 || i == 18 || i == 23;

			if (dash ? text[i] != '-' && text[i] != '_' : !is_hex(text + i, 1))
				return false;
			uid[i] = dash ? '-' : text[i];
		}
	} else {
		return false;
	}
	memcpy(ret, uid, sizeof(uid));
	return true;
}

/* --- one component --------------------------------------------------------------------------- */

static void split(const char *path, struct parts *ret)
{
	*ret = (struct parts){0};
	while (ret->count < PARTS_MAX) {
		size_t len;

		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (len == 0)
			return;
		ret->at[ret->count].text = path;
		ret->at[ret->count++].len = len;
		path += len;
	}
}

static bool part_is(const struct parts *p, size_t i, const char *word)
{
	return i < p->count && p->at[i].len == strlen(word) &&
	       memcmp(p->at[i].text, word, p->at[i].len) == 0;
}

/* "PREFIX ID SUFFIX" and nothing else. */
static bool take_id(const char *text, size_t len, const char *prefix, const char *suffix,
		    char ret_id[CONTAINER_ID_MAX])
{
	size_t before = strlen(prefix), after = strlen(suffix);

	if (len != before + CONTAINER_ID_LEN + after || memcmp(text, prefix, before) != 0 ||
	    memcmp(text + len - after, suffix, after) != 0 ||
	    !is_hex(text + before, CONTAINER_ID_LEN))
		return false;
	memcpy(ret_id, text + before, CONTAINER_ID_LEN);
	ret_id[CONTAINER_ID_LEN] = '\0';
	return true;
}

static void take_container(struct container_place *ret, enum container_runtime runtime,
			   size_t depth)
{
	ret->runtime = runtime;
	ret->depth = (uint8_t)depth;
}

/* --- systemd drivers ------------------------------------------------------------------------- */

/* "kubepods-burstable-pod1234.slice"; that it hangs where its dashes say has been checked. */
static bool pod_of_slice(const char *slice, char ret_uid[CONTAINER_POD_MAX])
{
	static const char *const prefixes[] = {
		KUBEPODS "-" POD_PREFIX,
		KUBEPODS "-burstable-" POD_PREFIX,
		KUBEPODS "-besteffort-" POD_PREFIX,
	};

	if (!str_ends(slice, SLICE_SUFFIX))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		size_t before = strlen(prefixes[i]);
		size_t len = strlen(slice) - strlen(SLICE_SUFFIX);

		if (str_starts(slice, prefixes[i]) && len > before &&
		    container_pod_uid(slice + before, len - before, ret_uid))
			return true;
	}
	return false;
}

static void read_units(const char *path, const struct parts *p, struct container_place *ret)
{
	struct unit_place unit;
	size_t len;

	unit_place_parse(path, &unit);
	if (pod_of_slice(unit.slice, ret->pod_uid))
		ret->pod_depth = unit.slice_depth;
	if (unit.unit_depth == 0 || unit.unit_depth > p->count)
		return;
	len = strlen(unit.unit);
	for (size_t i = 0; i < ARRAY_LEN(scopes); i++)
		if (take_id(unit.unit, len, scopes[i].prefix, SCOPE_SUFFIX, ret->id))
			take_container(ret, scopes[i].runtime, unit.unit_depth);
	if (ret->depth == 0 && str_ends(unit.unit, ".service") && unit.unit_depth < p->count &&
	    take_id(p->at[unit.unit_depth].text, p->at[unit.unit_depth].len, PAYLOAD_PREFIX, "",
		    ret->id))
		take_container(ret, CONTAINER_PODMAN, unit.unit_depth + 1UL);
}

/* --- cgroupfs drivers ------------------------------------------------------------------------ */

static void read_kubepods(const struct parts *p, struct container_place *ret)
{
	size_t at = part_is(p, 1, "burstable") || part_is(p, 1, "besteffort") ? 2 : 1;
	size_t prefix = strlen(POD_PREFIX);

	if (at >= p->count || p->at[at].len <= prefix ||
	    memcmp(p->at[at].text, POD_PREFIX, prefix) != 0 ||
	    !container_pod_uid(p->at[at].text + prefix, p->at[at].len - prefix, ret->pod_uid))
		return;
	ret->pod_depth = (uint8_t)++at;
	if (at >= p->count)
		return;
	if (take_id(p->at[at].text, p->at[at].len, "", "", ret->id))
		take_container(ret, CONTAINER_KUBERNETES, at + 1);
	else if (take_id(p->at[at].text, p->at[at].len, "crio-", "", ret->id))
		take_container(ret, CONTAINER_CRIO, at + 1);
}

static void read_directories(const struct parts *p, struct container_place *ret)
{
	if (part_is(p, 0, KUBEPODS)) {
		read_kubepods(p, ret);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(directories) && p->count > 1; i++)
		if (part_is(p, 0, directories[i].directory) &&
		    take_id(p->at[1].text, p->at[1].len, directories[i].prefix, "", ret->id))
			take_container(ret, directories[i].runtime, 2);
}

/* --- rootless -------------------------------------------------------------------------------- */

/* "user.slice/user-N.slice/user@N.service": the rest of the path, or NULL. */
static const char *below_user(const struct parts *p, const char *path, uint32_t *ret_uid)
{
	static const char before[] = "user@", after[] = ".service";
	char digits[USER_DIGITS_MAX + 1], slice[UNIT_NAME_MAX] = "user-";
	size_t len;

	if (p->count < 3 || !part_is(p, 0, USER_SLICE) ||
	    p->at[2].len <= strlen(before) + strlen(after))
		return NULL;
	len = p->at[2].len - strlen(before) - strlen(after);
	if (len > USER_DIGITS_MAX || memcmp(p->at[2].text, before, strlen(before)) != 0 ||
	    memcmp(p->at[2].text + strlen(before) + len, after, strlen(after)) != 0)
		return NULL;
	memcpy(digits, p->at[2].text + strlen(before), len);
	digits[len] = '\0';
	if (text_u32(digits, 0, UINT32_MAX, ret_uid) < 0)
		return NULL;
	memcpy(slice + strlen(slice), digits, len + 1);
	memcpy(slice + strlen(slice), SLICE_SUFFIX, sizeof(SLICE_SUFFIX));
	if (!part_is(p, 1, slice))
		return NULL;
	path = p->at[2].text + p->at[2].len;
	return path + strspn(path, "/");
}

static void read_rootless(const char *below, struct container_place *ret)
{
	struct parts p;

	split(below, &p);
	read_units(below, &p, ret);
	/* Pods are the kubelet's, and that is root's. */
	ret->pod_uid[0] = '\0';
	ret->pod_depth = 0;
	if (ret->depth == 0)
		return;
	ret->depth = (uint8_t)(ret->depth + 3);
	ret->rootless = true;
}

void container_place_parse(const char *path, struct container_place *ret_place)
{
	struct container_place place = {.runtime = CONTAINER_NONE};
	struct parts p;
	const char *below;
	uint32_t uid;

	split(path, &p);
	below = below_user(&p, path, &uid);
	if (below != NULL) {
		read_rootless(below, &place);
		if (place.rootless)
			place.uid = uid;
	} else {
		read_units(path, &p, &place);
		if (place.depth == 0 && place.pod_depth == 0)
			read_directories(&p, &place);
	}
	*ret_place = place;
}

/* --- where they may be ----------------------------------------------------------------------- */

static bool may_be_below_units(const char *path)
{
	struct unit_place unit;

	unit_place_parse(path, &unit);
	return unit_place_is_slice(&unit);
}

bool container_may_be_below(const char *path)
{
	struct container_place place;
	const char *below;
	struct parts p;
	uint32_t uid;

	split(path, &p);
	if (p.count >= PARTS_MAX)
		return false;
	container_place_parse(path, &place);
	if (place.depth > 0)
		return false;
	below = below_user(&p, path, &uid);
	if (below != NULL)
		return may_be_below_units(below);
	if (may_be_below_units(path) || place.pod_depth == p.count)
		return true;
	if (part_is(&p, 0, KUBEPODS))
		return p.count == 1 || (p.count == 2 && (part_is(&p, 1, "burstable") ||
							 part_is(&p, 1, "besteffort")));
	for (size_t i = 0; i < ARRAY_LEN(directories); i++)
		if (p.count == 1 && part_is(&p, 0, directories[i].directory))
			return true;
	return false;
}

bool container_may_be_in_unit(const char *path)
{
	struct unit_place unit;
	const char *below;
	struct parts p;
	uint32_t uid;

	split(path, &p);
	below = below_user(&p, path, &uid);
	unit_place_parse(below != NULL && *below != '\0' ? below : path, &unit);
	return unit.unit_depth > 0 && unit.unit_depth == unit.depth &&
	       str_ends(unit.unit, ".service");
}
