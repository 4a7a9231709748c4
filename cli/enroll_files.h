/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where enrolment puts what it got: the files that agent.yaml names, or the usual ones beside it.
 * An agent.yaml that is there is never changed.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "controller-client/enrol.h"

#include <stdbool.h>

struct enroll_files {
	bool existing;   /* agent.yaml is there */
	char *config;    /* its path */
	char *node;      /* that it names; NULL: none */
	char *state_dir; /* where key and certificate go, unless svid: says otherwise */
	char *key, *cert, *bundle, *ca;
	/* In the order of trust.policy.keys and trust.controller.keys; NULL where none is named. */
	char *policy[KEYRING_MAX], *controller[KEYRING_MAX];
	size_t policy_count, controller_count;
	bool has_source, has_trust, has_svid;
};
void enroll_files_done(struct enroll_files *f);

/* Reads agent.yaml, if there is one. -EINVAL when it cannot be read as YAML. */
int enroll_files_find(const char *config, struct enroll_files *ret, struct err *err);
/* Before the token is used: can it all be written? Makes directories that are missing. */
int enroll_files_prepare(const struct enroll_files *f, struct err *err);
/* Writes everything, durably; agent.yaml only when there is none. */
int enroll_files_write(struct enroll_files *f, const struct enrol_result *r, const char *url,
		       struct err *err);
/* What an existing agent.yaml lacks, as YAML; nothing when it lacks nothing. */
void enroll_files_missing(const struct enroll_files *f, const struct enrol_result *r,
			  const char *url, struct buf *b);
