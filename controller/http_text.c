/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/http_text.h"

#include "base/addr.h"
#include "base/base64.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define NUMBER_TEXT_MAX 20
#define SPACES          " \t"

static const char *skip_spaces(const char *s)
{
	return s + strspn(s, SPACES);
}

/* A decimal number at s; *ret_end is behind it. Leading zeros are fine in headers. */
static int number(const char *s, uint64_t *ret, const char **ret_end)
{
	char digits[NUMBER_TEXT_MAX];
	size_t len = strspn(s, "0123456789"), zeros = strspn(s, "0");

	if (len == 0)
		return -EINVAL;
	*ret_end = s + len;
	if (zeros == len)
		zeros--;
	s += zeros;
	len -= zeros;
	if (len >= sizeof(digits))
		return -ERANGE;
	memcpy(digits, s, len);
	digits[len] = '\0';
	return text_u64(digits, 0, INT64_MAX, ret);
}

uint32_t http_prefer_wait(const char *header, uint32_t max)
{
	static const char name[] = "wait";

	while (header != NULL && *header != '\0') {
		const char *s = skip_spaces(header), *end;
		uint64_t n;

		header = strchr(s, ',');
		if (header != NULL)
			header++;
		if (strncasecmp(s, name, sizeof(name) - 1) != 0)
			continue;
		s = skip_spaces(s + sizeof(name) - 1);
		if (*s != '=')
			continue;
		s = skip_spaces(s + 1);
		s += *s == '"';
		if (number(s, &n, &end) < 0)
			return 0;
		end = skip_spaces(end + (*end == '"'));
		if (*end != '\0' && *end != ',' && *end != ';')
			return 0;
		return n < max ? (uint32_t)n : max;
	}
	return 0;
}

bool http_etag_matches(const char *header, const char *etag)
{
	size_t len = strlen(etag);

	if (header == NULL)
		return false;
	header = skip_spaces(header);
	if (str_eq(header, "*"))
		return true;
	while (*header != '\0') {
		size_t tag;

		if (str_starts(header, "W/"))
			header += 2;
		if (*header != '"' || strchr(header + 1, '"') == NULL)
			return false;
		tag = (size_t)(strchr(header + 1, '"') - header) + 1;
		if (tag == len && memcmp(header, etag, len) == 0)
			return true;
		header = skip_spaces(header + tag);
		if (*header != ',')
			return false;
		header = skip_spaces(header + 1);
	}
	return false;
}

enum http_range http_range(const char *header, uint64_t size, uint64_t *ret_first,
			   uint64_t *ret_len)
{
	static const char unit[] = "bytes=";
	uint64_t first, last = size - 1;
	const char *end;

	if (header == NULL || strncasecmp(header, unit, sizeof(unit) - 1) != 0)
		return HTTP_RANGE_NONE;
	header += sizeof(unit) - 1;
	if (*header == '-') {
		if (number(header + 1, &first, &end) < 0 || *end != '\0')
			return HTTP_RANGE_NONE;
		if (first == 0 || size == 0)
			return HTTP_RANGE_OUTSIDE;
		first = first < size ? size - first : 0;
	} else {
		if (number(header, &first, &end) < 0 || *end != '-')
			return HTTP_RANGE_NONE;
		if (end[1] != '\0') {
			if (number(end + 1, &last, &end) < 0 || *end != '\0' || last < first)
				return HTTP_RANGE_NONE;
		}
		if (first >= size)
			return HTTP_RANGE_OUTSIDE;
		if (last >= size)
			last = size - 1;
	}
	*ret_first = first;
	*ret_len = last - first + 1;
	return HTTP_RANGE_PART;
}

int http_basic(const char *header, char *ret, size_t size)
{
	static const char scheme[] = "Basic ";
	CLEANUP(freep) uint8_t *bytes = NULL;
	size_t len, colon;
	int r;

	if (header == NULL || strncasecmp(header, scheme, sizeof(scheme) - 1) != 0)
		return -EINVAL;
	header = skip_spaces(header + sizeof(scheme) - 1);
	r = base64_decode(header, strlen(header), size - 1, &bytes, &len);
	if (r == -ENOMEM)
		return r;
	if (r < 0 || memchr(bytes, '\0', len) != NULL)
		return -EINVAL;
	colon = strcspn((const char *)bytes, ":");
	if (colon == 0 || colon + 1 >= len)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] <= ' ' || bytes[i] >= 0x7f)
			return -EINVAL;
	}
	memcpy(ret, bytes, len + 1);
	ret[colon] = '.';
	return 0;
}

int http_host(const char *header, char ret[HTTP_HOST_MAX])
{
	size_t len;
	const char *end;

	if (header == NULL)
		return -EINVAL;
	if (*header == '[') {
		header++;
		len = strcspn(header, "]");
		end = header + len + (header[len] == ']');
	} else {
		len = strcspn(header, ":");
		end = header + len;
	}
	if (len == 0 || len >= HTTP_HOST_MAX || (*end != '\0' && *end != ':'))
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		char c = header[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr(".-_:", c)))
			return -EINVAL;
		ret[i] = c;
	}
	ret[len] = '\0';
	return 0;
}

bool http_type_is(const char *header, const char *type)
{
	size_t len = strlen(type);

	if (header == NULL || strncasecmp(header, type, len) != 0)
		return false;
	header = skip_spaces(header + len);
	return *header == '\0' || *header == ';';
}

static int wrong_listen(struct err *err, const char *text)
{
	return err_set(err, EINVAL,
		       "'%.80s' is no address to listen on; 127.0.0.1:8443 or [::]:8443 would "
		       "be right",
		       text);
}

int listen_parse(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len,
		 struct err *err)
{
	const char *colon = strrchr(text, ':');
	char host[ADDR_TEXT_MAX];
	struct addr a;
	uint32_t port;
	size_t len;

	if (colon == NULL || text_u32(colon + 1, 0, UINT16_MAX, &port) < 0)
		return wrong_listen(err, text);
	len = (size_t)(colon - text);
	if (*text == '[' && len > 2 && colon[-1] == ']') {
		text++;
		len -= 2;
	} else if (memchr(text, ':', len) != NULL) {
		return wrong_listen(err, text);
	}
	if (len >= sizeof(host))
		return wrong_listen(err, text);
	memcpy(host, text, len);
	host[len] = '\0';
	if (addr_parse(host, &a) < 0)
		return wrong_listen(err, text);
	memset(ret, 0, sizeof(*ret));
	if (a.family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)ret;

		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		memcpy(&in->sin_addr, a.bytes, sizeof(in->sin_addr));
		*ret_len = sizeof(*in);
	} else {
		struct sockaddr_in6 *in = (struct sockaddr_in6 *)ret;

		in->sin6_family = AF_INET6;
		in->sin6_port = htons((uint16_t)port);
		memcpy(&in->sin6_addr, a.bytes, sizeof(in->sin6_addr));
		*ret_len = sizeof(*in);
	}
	return 0;
}

const char *listen_format(char buf[LISTEN_TEXT_MAX], const struct sockaddr_storage *a)
{
	char text[ADDR_TEXT_MAX];
	struct addr plain = {.family = (uint8_t)a->ss_family};
	uint16_t port;

	if (a->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)a;

		memcpy(plain.bytes, &in->sin_addr, sizeof(in->sin_addr));
		port = ntohs(in->sin_port);
	} else {
		const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)a;

		memcpy(plain.bytes, &in->sin6_addr, sizeof(in->sin6_addr));
		port = ntohs(in->sin6_port);
	}
	(void)snprintf(buf, LISTEN_TEXT_MAX,
		       a->ss_family == AF_INET ? "%s:%" PRIu16 : "[%s]:%" PRIu16,
		       addr_format(text, &plain), port);
	return buf;
}
