/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Small texts of HTTP that this server reads itself: header values and addresses. Pure and bounded;
 * what is malformed is as if it were not there, unless acting on half of it would be wrong. Fuzzed
 * by tests/fuzz/fuzz_http_text.c.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define HTTP_HOST_MAX 256 /* a DNS name, with the NUL */

/* Prefer (RFC 7240): the seconds of `wait`, at most max; 0 where there is none. NULL is none. */
uint32_t http_prefer_wait(const char *header, uint32_t max);

/* If-None-Match (RFC 9110, 13.1.2): weak comparison with the entity tag of what is there now. */
bool http_etag_matches(const char *header, const char *etag);

enum http_range { HTTP_RANGE_NONE, HTTP_RANGE_PART, HTTP_RANGE_OUTSIDE };
/*
 * Range (RFC 9110, 14.2): one range of bytes; several, other units and nonsense are ignored, which
 * the RFC allows. *ret_first and *ret_len are set for HTTP_RANGE_PART only.
 */
enum http_range http_range(const char *header, uint64_t size, uint64_t *ret_first,
			   uint64_t *ret_len);

/* Authorization: Basic with user ID and password, as "user.password". -EINVAL for anything else. */
int http_basic(const char *header, char *ret, size_t size);

/* The host of a Host header: without port and brackets. -EINVAL when that is no host. */
int http_host(const char *header, char ret[HTTP_HOST_MAX]);

/* Content-Type without its parameters, letters in either case. */
bool http_type_is(const char *header, const char *type);

/* "127.0.0.1:8443", "[::1]:8443", "0.0.0.0:0". Numbers only: names may change behind our back. */
int listen_parse(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len,
		 struct err *err);
/* An address as that: "127.0.0.1:8443". */
#define LISTEN_TEXT_MAX 72
const char *listen_format(char buf[LISTEN_TEXT_MAX], const struct sockaddr_storage *a);
