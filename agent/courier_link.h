/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The agent's end of RUN_DIR/courier.sock (controller-client/courier_frame.h). One courier at a
 * time, of root or of the courier's user (SO_PEERCRED). It is an untrusted carrier: whatever it
 * says is verified elsewhere or only shown; if it is gone, nothing but news is missing.
 */
#pragma once

#include "agent/agent.h"

#define COURIER_SOCKET "courier.sock"

/* Sets itself as the source of a->documents. */
int courier_link_new(struct agent *a, struct courier_link **ret, struct err *err);
void courier_link_free(struct courier_link *l);
bool courier_link_connected(const struct courier_link *l);
void courier_link_tick(struct courier_link *l); /* once a second */

/* The node is somebody new, or has a new certificate: the courier is to begin anew. */
void courier_link_again(struct courier_link *l);
/* Newest wins: a report that has not left yet is replaced. Reference is stolen. */
void courier_link_status(struct courier_link *l, json_t *report);
/* false: not connected or busy; the caller keeps the records. Answer by log_upload_posted(). */
bool courier_link_log(struct courier_link *l, uint64_t id, const char *json, size_t len,
		      uint64_t dropped);
/* A renewal request: CSR and proof. */
bool courier_link_renew(struct courier_link *l, const uint8_t *csr, size_t len, const char *proof);
