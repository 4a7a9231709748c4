/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What an agent says of itself (FORMATS "Status"). Pure. Comes from a node that may be taken over:
 * sizes and kinds are checked, members nobody knows are passed over (outputs may grow), addresses
 * that are no host's are dropped, and nothing here is believed beyond the bounds of policy.
 */
#pragma once

#include "base/addr.h"
#include "base/err.h"
#include "base/hash.h"
#include "rules/view.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPORT_MAX           (256U << 10)
#define REPORT_WORKLOADS_MAX 2048
#define REPORT_CUT_MAX       4096
#define REPORT_ERRORS_MAX    32
#define REPORT_TEXT_MAX      512
#define REPORT_FLOW_MAX      4096 /* bytes of one flow as JSON */
#define REPORT_IDENTITY_MAX  2048

struct report_workload {
	char *identity; /* path or name */
	struct addr *addresses;
	size_t address_count;
};

struct report {
	uint64_t head_sequence, policy_revision, view_sequence;
	struct addr *addresses; /* the node's own */
	size_t address_count;
	bool has_attest;
	struct addr attest_address;
	uint16_t attest_port;
	bool has_workloads; /* absent: nothing is said about them */
	struct report_workload *workloads;
	size_t workload_count;
	json_t *cut;  /* array of objects, new reference, may be NULL */
	json_t *kept; /* what status shows: owned */
};
void report_done(struct report *r);
/* -EBADMSG, -E2BIG, -ENOMEM. node is whose it must be. */
int report_decode(const char *text, size_t len, const char *node, struct report *ret,
		  struct err *err);
