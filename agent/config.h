/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * agent.yaml (FORMATS): what this host's agent is called, where its documents come from, whom it
 * trusts, which conversations the host cannot live without. Unknown keys, wrong kinds and values
 * out of range are errors with line and column, all in one pass. Every path and number can be
 * overridden, so that several agents run on one machine in different network namespaces.
 */
#pragma once

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "rules/essentials.h"
#include "rules/verdict.h"
#include "rules/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_TEXT_MAX          (1U << 20)
#define CONFIG_PATH_MAX          4096
#define CONFIG_LABELS_MAX        64
#define CONFIG_ATTEST_LISTEN_MAX 16
#define CONFIG_TRUST_KEYS_MAX    16 /* of a role; KEYRING_MAX */
#define CONFIG_HOST_MAX          256
#define CONFIG_COURIER_USER      "bailiwick-courier"
#define CONFIG_DEFAULT_FILE      "/etc/bailiwick/agent.yaml"

enum decisions_log { DECISIONS_JOURNAL, DECISIONS_STDOUT, DECISIONS_FILE };
enum deleted_exe { DELETED_EXE_WARN, DELETED_EXE_DENY };

struct config_trust {
	char *keys[CONFIG_TRUST_KEYS_MAX];
	size_t key_count;
	uint32_t threshold;
};

struct config {
	char node[NODE_NAME_MAX];
	char *trust_domain; /* NULL: the policy's */
	char *labels[CONFIG_LABELS_MAX];
	size_t label_count;
	char *directory; /* source: exactly one of directory and controller_url is not NULL */
	char *controller_url;
	char *controller_ca;                   /* NULL: the system's authorities */
	char controller_host[CONFIG_HOST_MAX]; /* of the URL: a name or an address */
	uint16_t controller_port;
	char *courier_user; /* may use courier.sock besides root: a name or a number */
	struct config_trust trust_policy, trust_controller;
	char *svid_cert, *svid_key, *svid_bundle;
	char *state_dir, *run_dir;
	char *cgroup_root; /* NULL = auto */
	char *table;
	struct addr attest_listen[CONFIG_ATTEST_LISTEN_MAX];
	size_t attest_listen_count;
	uint16_t attest_port;
	uint16_t queue_first;
	uint32_t queue_max_pending;
	uint16_t nflog_group;
	enum node_mode mode; /* what a fresh agent starts in */
	struct essentials essentials;
	enum deleted_exe deleted_exe;
	enum log_level log_level;
	enum decisions_log decisions;
	char *decisions_file;
	bool metrics_unix;
	char *metrics_listen; /* "" = none */
};

/* Called once per mistake: "file:line:column: message; advice". */
typedef void (*config_report)(void *user, const char *line);

/* All defaults (node: the host name). */
int config_defaults(struct config *c, struct err *err);
/*
 * Reads text over the defaults. Returns 0, -EINVAL when something was reported, -ENOMEM. The
 * struct must be given to config_done() in every case.
 */
int config_parse(struct config *c, const char *file, const char *text, size_t len,
		 config_report report, void *user);
/* A missing file means every default. */
int config_load(struct config *c, const char *file, config_report report, void *user,
		struct err *err);
void config_done(struct config *c);
/* Whether documents are verified: keys for both roles are given. */
bool config_is_signed(const struct config *c);
/* --courier-user of the command line. */
int config_courier_user(struct config *c, const char *text, struct err *err);
/* Host and port of an https URL. -EINVAL: none, or with what a controller's URL must not have. */
int config_url_parse(const char *url, char host[CONFIG_HOST_MAX], uint16_t *ret_port);
/* The effective configuration as YAML (`bailiwickd --check`). */
void config_format(const struct config *c, struct buf *b);
