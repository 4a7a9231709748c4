/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "courier/proxy.h"

#include "base/addr.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX       256
#define CONNECT_OK     200
#define CONNECT_REFUSE 300
#define CONNECT_AUTH   407

/* --- reading it --------------------------------------------------------------------------- */

static const char *from_environment(const char *const *names)
{
	const char *value = NULL;

	for (; *names && !(value && value[0]); names++)
		value = getenv(*names);
	return value && value[0] ? value : NULL;
}

/* As libcurl's own: it would quote an unknown one, with all that stands behind. */
static bool scheme_ok(const char *scheme)
{
	static const char *const schemes[] = {"http",    "https",  "socks4",
					      "socks4a", "socks5", "socks5h"};

	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		if (strcasecmp(scheme, schemes[i]) == 0)
			return true;
	}
	return false;
}

static char *part(CURLU *u, CURLUPart which)
{
	char *text = NULL, *copy;

	if (curl_url_get(u, which, &text, which == CURLUPART_HOST ? 0 : CURLU_URLDECODE) !=
	    CURLUE_OK)
		return NULL;
	copy = mem_strdup(text);
	OPENSSL_cleanse(text, strlen(text));
	curl_free(text);
	return copy;
}

static void take_parts(struct proxy *p, CURLU *u)
{
	CLEANUP(freep) char *scheme = part(u, CURLUPART_SCHEME);
	CLEANUP(freep) char *host = part(u, CURLUPART_HOST);
	CLEANUP(freep) char *port = part(u, CURLUPART_PORT);

	if (!scheme || !host || !scheme_ok(scheme))
		return;
	(void)snprintf(p->where, sizeof(p->where), "%s%s%s", host, port ? ":" : "",
		       port ? port : "");
	p->user = part(u, CURLUPART_USER);
	p->password = part(u, CURLUPART_PASSWORD);
	p->url = mem_printf("%s://%s", scheme, p->where);
}

struct proxy *proxy_parse(const char *url, const char *exceptions)
{
	struct proxy *p = mem_calloc(1, sizeof(*p));
	CURLU *u = p ? curl_url() : NULL;

	if (u && curl_url_set(u, CURLUPART_URL, url,
			      CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME) == CURLUE_OK)
		take_parts(p, u);
	curl_url_cleanup(u);
	if (p && exceptions) {
		p->exceptions = mem_strdup(exceptions);
		/* Sent where it was not to go is worse than not sent. */
		if (!p->exceptions) {
			proxy_free(p);
			return NULL;
		}
	}
	return p;
}

struct proxy *proxy_from_environment(bool *ret_failed)
{
	static const char *const names[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
					    NULL};
	static const char *const not_for[] = {"no_proxy", "NO_PROXY", NULL};
	const char *url = from_environment(names);
	struct proxy *p = url ? proxy_parse(url, from_environment(not_for)) : NULL;

	*ret_failed = url && !p;
	return p;
}

static void wipe(char *text)
{
	if (text)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}

void proxy_free(struct proxy *p)
{
	if (!p)
		return;
	free(p->url);
	free(p->exceptions);
	wipe(p->user);
	wipe(p->password);
	free(p);
}

/* --- whom it is for ----------------------------------------------------------------------- */

static bool is_below(const char *host, const char *name)
{
	size_t host_len = strlen(host), len;

	name += name[0] == '.';
	len = strlen(name);
	if (len == 0 || len > host_len || strcasecmp(host + host_len - len, name) != 0)
		return false;
	return len == host_len || host[host_len - len - 1] == '.';
}

static bool covers(const char *one, const char *host)
{
	struct prefix prefix;
	struct addr a, b;

	if (str_eq(one, "*"))
		return true;
	if (addr_parse(host, &a) < 0)
		return is_below(host, one);
	if (strchr(one, '/') != NULL)
		return prefix_parse(one, &prefix) == 0 && prefix_contains(&prefix, &a);
	return addr_parse(one, &b) == 0 && addr_eq(&a, &b);
}

bool proxy_is_exception(const char *exceptions, const char *host)
{
	char bare[HOST_MAX], one[HOST_MAX];
	size_t len = strlen(host);

	if (!exceptions || len == 0 || len >= sizeof(bare))
		return false;
	if (host[0] == '[' && host[len - 1] == ']')
		(void)snprintf(bare, sizeof(bare), "%.*s", (int)len - 2, host + 1);
	else
		(void)snprintf(bare, sizeof(bare), "%s", host);
	while (*exceptions) {
		exceptions += strspn(exceptions, ", \t");
		len = strcspn(exceptions, ", \t");
		if (len > 0 && len < sizeof(one)) {
			(void)snprintf(one, sizeof(one), "%.*s", (int)len, exceptions);
			if (covers(one, bare))
				return true;
		}
		exceptions += len;
	}
	return false;
}

/* --- what it did wrong -------------------------------------------------------------------- */

void proxy_explain(const struct proxy *p, long connect_code, const char *why, char *ret,
		   size_t size)
{
	if (!p->url)
		(void)snprintf(ret, size,
			       "https_proxy: not the URL of a proxy; http://HOST:PORT would be "
			       "right");
	else if (connect_code == CONNECT_AUTH && !p->user)
		(void)snprintf(ret, size,
			       "proxy at %s: asks for a name and a password (HTTP 407); "
			       "https_proxy=http://NAME:PASSWORD@%s would be right",
			       p->where, p->where);
	else if (connect_code == CONNECT_AUTH)
		(void)snprintf(ret, size,
			       "proxy at %s: refuses the name and password of https_proxy (HTTP "
			       "407)",
			       p->where);
	else if (connect_code >= CONNECT_REFUSE)
		(void)snprintf(ret, size,
			       "proxy at %s: does not reach the controller for us (HTTP %ld)",
			       p->where, connect_code);
	else
		(void)snprintf(ret, size, "%s proxy at %s: %s",
			       connect_code == CONNECT_OK ? "through the" : "no way through the",
			       p->where, why);
}
