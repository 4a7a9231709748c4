/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Cgroup paths: IDs are well formed, what is made below a container or a unit changes nothing, and
 * only a user's own paths are the user's.
 */
#include "tests/fuzz/fuzz.h"

#include "agent/container.h"
#include "agent/unit.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 65536

static void check_form(const struct container_place *p, const char *path)
{
	char uid[CONTAINER_POD_MAX];

	if ((p->depth != 0) != (p->id[0] != '\0') ||
	    (p->depth != 0) != (p->runtime != CONTAINER_NONE))
		abort();
	if (p->depth != 0 && !container_id_ok(p->id))
		abort();
	if ((p->pod_depth != 0) != (p->pod_uid[0] != '\0') ||
	    (p->pod_depth != 0 && !container_pod_uid(p->pod_uid, strlen(p->pod_uid), uid)))
		abort();
	if (p->pod_depth != 0 && p->depth != 0 && p->depth <= p->pod_depth)
		abort();
	if (p->rootless && (p->pod_depth != 0 || strstr(path, "user@") == NULL))
		abort();
}

/* Whoever may write a container's cgroup, or any unit's, cannot speak as another container. */
static void check_below(const char *path, const struct container_place *p)
{
	static const char id[] = "c0ffee00112233445566778899aabbccddeeff00112233445566778899aabbcc";
	static const char *const below[] = {
		"/docker/",
		"/system.slice/docker-",
		"/machine.slice/libpod-",
		"/libpod-payload-",
		"/kubepods/pod0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0/",
	};
	char longer[TEXT_MAX + 256];
	struct unit_place unit;
	size_t len = strlen(path);

	unit_place_parse(path, &unit);
	if (p->depth == 0 && (unit.unit_depth == 0 || unit.unit_depth == unit.depth))
		return;
	/* In a user's manager the user makes what it likes, as its own. */
	if (p->depth == 0 && str_starts(unit.unit, "user@"))
		return;
	for (size_t i = 0; i < sizeof(below) / sizeof(below[0]); i++) {
		struct container_place other;

		memcpy(longer, path, len);
		memcpy(longer + len, below[i], strlen(below[i]));
		memcpy(longer + len + strlen(below[i]), id, sizeof(id));
		container_place_parse(longer, &other);
		if (other.depth != p->depth || !str_eq(other.id, p->id) ||
		    !str_eq(other.pod_uid, p->pod_uid) || other.rootless != p->rootless)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct container_place p;
	char text[TEXT_MAX];

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	container_place_parse(text, &p);
	check_form(&p, text);
	check_below(text, &p);
	if (p.depth != 0 && container_may_be_below(text))
		abort();
	(void)container_may_be_in_unit(text);
	return 0;
}
