/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What agent and courier say to each other over RUN_DIR/courier.sock. A frame is a 4-byte
 * big-endian length of the header, a 4-byte length of the body, a strict JSON object (the header)
 * and raw bytes (the body). The agent trusts nothing in it: documents are verified, sizes bounded,
 * and a courier that talks nonsense is hung up on.
 *
 *   courier -> agent
 *     {"type":"hello","version":1,"release":TEXT}
 *     {"type":"head"}                                body: envelope
 *     {"type":"manifest","revision":N}               body: envelope
 *     {"type":"blob","sha256":HEX}                   body: bytes
 *     {"type":"failed","what":"head|manifest|blob|status|log|renew","name":TEXT,"status":HTTP,
 *      "text":TEXT}                                  status 0: no answer at all
 *     {"type":"contact","ok":BOOL,"text":TEXT}       the controller answered, or not; on change and
 *                                                    with each answered poll
 *     {"type":"csr"}                                 body: PKCS#10 DER of the courier's own key
 *     {"type":"renewed"}                             body: PKCS#7 as it came (certs-only, DER)
 *     {"type":"posted","what":"status|log","id":N}
 *   agent -> courier
 *     {"type":"config","url":TEXT,"node":TEXT,"trust_domain":TEXT,"sequence":N}  body: CA PEM
 *     {"type":"want","what":"manifest","revision":N,"max":N}
 *     {"type":"want","what":"blob","sha256":HEX,"size":N}
 *     {"type":"taken","sequence":N}                  the head is in force: poll from here
 *     {"type":"proof"}                               body: DSSE proof for the courier's CSR
 *     {"type":"renew"}                               body: {"csr":BASE64,"proof":TEXT} as JSON
 *     {"type":"status"}                              body: JSON
 *     {"type":"log","id":N,"dropped":N}              body: JSON array of decision records
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define COURIER_HEADER_MAX (4U << 10)
#define COURIER_BODY_MAX   (64U << 20) /* a view; everything else is smaller */
#define COURIER_VERSION    1

/* Writes a frame. header is borrowed. b->max bounds it. */
void courier_frame_write(struct buf *b, const json_t *header, const void *body, size_t len);

struct courier_frame {
	json_t *header;      /* owned by the frame */
	const uint8_t *body; /* inside the input */
	size_t len;
};
void courier_frame_done(struct courier_frame *f);
/*
 * Bytes received so far -> one frame. 1: *ret filled, *ret_used bytes are consumed; 0: more bytes
 * are needed, *ret_need says how many in all; -EBADMSG, -E2BIG, -ENOMEM.
 */
int courier_frame_read(const void *bytes, size_t len, size_t body_max, struct courier_frame *ret,
		       size_t *ret_used, size_t *ret_need, struct err *err);
