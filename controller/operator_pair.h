/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A directory for another operator, with the names of a data directory (controller/setup.h), so
 * that verbs find their certificate in it: operator.key for nobody else, operator.pem, ca.pem.
 * Nothing that is there is written over: an operator's only key may be among it.
 */
#pragma once

#include "base/err.h"

#define OPERATOR_PAIR_REQUEST "operator.csr"

/*
 * Makes the directory where it is missing, in it a new key, and gives the request for its
 * certificate: PKCS#10, in base64 (caller frees). -EEXIST.
 */
int operator_pair_make(const char *dir, const char *name, char **ret_request, struct err *err);
/* The request into a file of the directory, as PEM. */
int operator_pair_write_request(const char *dir, const char *request, struct err *err);
/* A key of this directory that got no certificate is of no use. */
void operator_pair_undo(const char *dir);

/* A request that was made elsewhere, PEM or DER; checked. Caller frees. */
int operator_pair_read_request(const char *path, char **ret_request, struct err *err);
/* May operator.pem and ca.pem be written there? -EEXIST. */
int operator_pair_room(const char *dir, struct err *err);
/* What the controller has made. Makes the directory where it is missing. */
int operator_pair_put(const char *dir, const char *cert, const char *ca, struct err *err);
