/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The proxy that the environment names: https_proxy, HTTPS_PROXY, all_proxy, ALL_PROXY, and whom it
 * is not for: no_proxy, NO_PROXY. libcurl reads them, too, but does not say whether it has used
 * one, and quotes a URL that it cannot read, with the password in it. Here the two are kept apart:
 * no message has more of the URL than host and port.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define PROXY_WHERE_MAX 300

struct proxy {
	char *url; /* without name and password; NULL: there is one, and it cannot be read */
	char *user, *password, *exceptions; /* may be NULL */
	char where[PROXY_WHERE_MAX];        /* "host:port", "" with url NULL */
};

/* NULL without one, or without memory for it: *ret_failed tells. */
struct proxy *proxy_from_environment(bool *ret_failed);
struct proxy *proxy_parse(const char *url, const char *exceptions);
void proxy_free(struct proxy *p); /* NULL is fine */

/* Names and those below them, addresses, prefixes, "*"; between commas or spaces. Pure. */
bool proxy_is_exception(const char *exceptions, const char *host);
/*
 * Why a request through it came to nothing. connect_code: its answer to CONNECT, 0 = none;
 * why: libcurl's words.
 */
void proxy_explain(const struct proxy *p, long connect_code, const char *why, char *ret,
		   size_t size);
