/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Container and pod of a cgroup, from its path (facts/identity: 9). Pure.
 *
 * Read from the root, like units: a name counts only where a runtime run by this host's root puts
 * it, because whoever may write a cgroup may make children of any name. What lies below a container
 * was made by the container, what lies below a unit by the unit:
 *
 *  - `<slices>/docker-ID.scope`, likewise libpod-, nerdctl-, cri-containerd-, crio-: the first
 *    component that is no slice (systemd drivers; docker's --cgroup-parent may be any slice);
 *  - `<slices>/UNIT.service/libpod-payload-ID`: podman in a unit of its own (quadlet);
 *  - `docker/ID`, `libpod_parent/libpod-ID`, `default/ID` and `k8s.io/ID` (containerd's
 * namespaces): cgroupfs drivers;
 *  - `kubepods[/QOS]/podUID/ID`, and pods as slices `kubepods[-QOS]-podUID.slice`; a guaranteed
 *    pod has no QOS, a static pod's UID is 32 digits without dashes;
 *  - the same below `user.slice/user-N.slice/user@N.service`: rootless, that user's claim and
 *    nobody else's word for it.
 *
 * An ID is 64 lower-case hexadecimal digits. `libpod-conmon-ID.scope` and `crio-conmon-ID.scope`
 * are the monitor of a container, not the container. Anything else is no container.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTAINER_ID_LEN  64
#define CONTAINER_ID_MAX  (CONTAINER_ID_LEN + 1)
#define CONTAINER_POD_MAX 37 /* 8-4-4-4-12 digits, with the NUL */

enum container_runtime {
	CONTAINER_NONE,
	CONTAINER_DOCKER,
	CONTAINER_PODMAN,
	CONTAINER_CONTAINERD, /* ctr and nerdctl */
	CONTAINER_CRI_CONTAINERD,
	CONTAINER_CRIO,
	CONTAINER_KUBERNETES, /* kubelet's cgroupfs driver, which does not name the runtime */
};

struct container_place {
	enum container_runtime runtime;
	char id[CONTAINER_ID_MAX];       /* "" = in no container */
	char pod_uid[CONTAINER_POD_MAX]; /* with dashes where it has any; "" = in no pod */
	uint8_t depth;                   /* components of the path up to the container; 0 = none */
	uint8_t pod_depth;               /* the same up to the pod */
	bool rootless;                   /* run by the user `uid`, who may have made it all up */
	uint32_t uid;
};

/*
 * path is relative to the host's root cgroup, without a leading slash. Never fails: what is not in
 * its place is in no container.
 */
void container_place_parse(const char *path, struct container_place *ret_place);

/*
 * Whether containers or pods may begin strictly below a cgroup with this path, whatever their names
 * (units: see container_may_be_in_unit()).
 */
bool container_may_be_below(const char *path);
/* Whether the path is a unit in which podman may put a container of its own. */
bool container_may_be_in_unit(const char *path);

const char *container_runtime_name(enum container_runtime r); /* "docker"; "" for none */
bool container_id_ok(const char *text);
/* A pod's uid as Kubernetes or as a cgroup writes it ('_' for '-') to the form above. */
bool container_pod_uid(const char *text, size_t len, char ret[CONTAINER_POD_MAX]);
