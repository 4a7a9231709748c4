/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "courier/http.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/release.h"
#include "base/text.h"
#include "controller-client/svid.h"
#include "courier/pace.h"
#include "courier/proxy.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>

#define CONNECT_TIMEOUT_S 15
#define STALL_BYTES_S     64 /* slower than this for STALL_S is as good as dead */
#define STALL_S           60
#define CONNECTIONS_MAX   8
#define STATUS_OK         200
#define STATUS_PARTIAL    206
#define STATUS_REDIRECT   300
#define STATUS_ERROR      400

struct http_request {
	struct http *http;
	struct http_request *next;
	CURL *easy;
	struct curl_slist *headers;
	char *body;
	size_t max;
	struct mono since;
	bool proxied;
	struct http_answer answer;
	char curl_error[CURL_ERROR_SIZE];
	void (*done)(void *user, struct http_answer *a);
	void *user;
};

struct http {
	sd_event *event;
	sd_event_source *timer;
	CURLM *multi;
	struct http_request *requests;
	struct proxy *proxy; /* NULL: none */
	char *ca, *cert, *key;
	size_t ca_len;
};

/* --- answers ------------------------------------------------------------------------------ */

static bool take_problem(struct http_answer *a)
{
	struct err err = {{0}};
	json_t *o = NULL;
	const char *detail = NULL, *code;
	char quoted[LOG_QUOTE_MAX];

	if (!a->problem || a->body.r < 0 || a->body.len == 0 ||
	    json_parse_strict(a->body.data, a->body.len, "problem", &o, &err) < 0)
		return false;
	code = json_string_value(json_object_get(o, "code"));
	if (code)
		(void)snprintf(a->code, sizeof(a->code), "%.*s", HTTP_CODE_MAX - 1,
			       log_quote(quoted, code));
	detail = json_string_value(json_object_get(o, "detail"));
	if (!detail)
		detail = json_string_value(json_object_get(o, "title"));
	if (detail)
		(void)snprintf(a->error, sizeof(a->error), "%s (HTTP %d)",
			       log_quote(quoted, detail), a->status);
	json_decref(o);
	return detail != NULL;
}

void http_explain(struct http_answer *a)
{
	if (a->broken || a->status < STATUS_REDIRECT || a->status == 304)
		return;
	if (a->status < STATUS_ERROR)
		(void)snprintf(a->error, sizeof(a->error),
			       "HTTP %d: redirects are not followed; the URL of the controller "
			       "itself would be right",
			       a->status);
	else if (!take_problem(a))
		(void)snprintf(a->error, sizeof(a->error), "HTTP %d", a->status);
}

static size_t on_body(char *bytes, size_t size, size_t n, void *user)
{
	struct http_request *r = user;
	long status = 0;
	size_t len = size * n;

	(void)curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	/* What an error has to say is read as far as it goes. */
	if (status != STATUS_OK && status != STATUS_PARTIAL) {
		size_t room = HTTP_SMALL_MAX - r->answer.body.len;

		buf_add(&r->answer.body, bytes, len < room ? len : room);
		return len;
	}
	if (len > r->max - r->answer.body.len) {
		r->answer.too_large = true;
		return 0;
	}
	buf_add(&r->answer.body, bytes, len);
	return r->answer.body.r < 0 ? 0 : len;
}

/* The value of a header line if it is this one; NULL otherwise. NUL-terminated copy in buf. */
static const char *header_value(const char *line, size_t len, const char *name, char *buf,
				size_t size)
{
	size_t skip = strlen(name);

	if (len <= skip || strncasecmp(line, name, skip) != 0 || line[skip] != ':')
		return NULL;
	for (skip++; skip < len && (line[skip] == ' ' || line[skip] == '\t');)
		skip++;
	while (len > skip &&
	       (line[len - 1] == '\r' || line[len - 1] == '\n' || line[len - 1] == ' '))
		len--;
	if (len - skip >= size)
		return NULL;
	memcpy(buf, line + skip, len - skip);
	buf[len - skip] = '\0';
	return buf;
}

static void take_range(struct http_answer *a, const char *value)
{
	char start[24] = "";
	size_t len;

	if (!str_starts(value, "bytes "))
		return;
	len = strspn(value + 6, "0123456789");
	if (len == 0 || len >= sizeof(start) || value[6 + len] != '-')
		return;
	memcpy(start, value + 6, len);
	a->ranged = text_u64(start, 0, INT64_MAX, &a->range_start) >= 0;
}

static size_t on_header(char *line, size_t size, size_t n, void *user)
{
	struct http_request *r = user;
	struct http_answer *a = &r->answer;
	char value[HTTP_ETAG_MAX];
	size_t len = size * n;

	/* A new answer begins (100 Continue came before): what the former one said is void. */
	if (len >= 5 && strncmp(line, "HTTP/", 5) == 0) {
		a->etag[0] = '\0';
		a->problem = a->waited = a->ranged = false;
	} else if (header_value(line, len, "ETag", value, sizeof(value))) {
		(void)snprintf(a->etag, sizeof(a->etag), "%s", value);
	} else if (header_value(line, len, "Content-Type", value, sizeof(value))) {
		a->problem = str_starts(value, "application/problem+json");
	} else if (header_value(line, len, "Preference-Applied", value, sizeof(value))) {
		a->waited = str_starts(value, "wait");
	} else if (header_value(line, len, "Content-Range", value, sizeof(value))) {
		take_range(a, value);
	}
	return len;
}

/* --- requests ----------------------------------------------------------------------------- */

/* One that is in no list. */
static void request_drop(struct http_request *r)
{
	if (r->easy)
		(void)curl_multi_remove_handle(r->http->multi, r->easy);
	curl_easy_cleanup(r->easy);
	curl_slist_free_all(r->headers);
	buf_done(&r->answer.body);
	free(r->body);
	free(r);
}

static void request_free(struct http_request *r)
{
	struct http_request **at = &r->http->requests;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	request_drop(r);
}

void http_cancel(struct http_request *r)
{
	if (r)
		request_free(r);
}

/* Whose fault it is looks the same to libcurl whoever the other end of the socket is. */
static void blame_proxy(struct http_request *r)
{
	struct http_answer *a = &r->answer;
	char why[HTTP_ERROR_MAX];
	long code = 0;

	(void)curl_easy_getinfo(r->easy, CURLINFO_HTTP_CONNECTCODE, &code);
	(void)snprintf(why, sizeof(why), "%s", a->error);
	proxy_explain(r->http->proxy, code, why, a->error, sizeof(a->error));
}

static void finish(struct http_request *r, CURLcode code)
{
	struct http_answer *a = &r->answer;
	long status = 0;
	curl_off_t after = 0;

	(void)curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(r->easy, CURLINFO_RETRY_AFTER, &after);
	a->status = (int)status;
	a->retry_after_s = after > 0 ? after : -1;
	a->took_ms = mono_ms_since(r->since, mono_now());
	a->broken = code != CURLE_OK;
	if (code == CURLE_FILESIZE_EXCEEDED)
		a->too_large = true;
	if (a->too_large)
		(void)snprintf(a->error, sizeof(a->error), "longer than it may be (%zu bytes)",
			       r->max);
	else if (a->broken)
		(void)snprintf(a->error, sizeof(a->error), "%s",
			       r->curl_error[0] ? r->curl_error : curl_easy_strerror(code));
	if (a->broken && r->proxied && !a->too_large)
		blame_proxy(r);
	http_explain(a);
	r->done(r->user, a);
	request_free(r);
}

static void finish_all(struct http *h)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(h->multi, &left))) {
		struct http_request *r = NULL;

		if (m->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
		finish(r, m->data.result);
	}
}

static void set_blob(CURL *easy, CURLoption option, const char *text, size_t len)
{
	struct curl_blob blob = {
		.data = (void *)(uintptr_t)text, .len = len, .flags = CURL_BLOB_COPY};

	(void)curl_easy_setopt(easy, option, &blob);
}

static CURLcode on_ssl_ctx(CURL *easy, void *ssl_ctx, void *user)
{
	(void)easy;
	(void)user;
	SSL_CTX_set_verify(ssl_ctx, SSL_VERIFY_PEER, svid_check_controller);
	return CURLE_OK;
}

static void set_tls(const struct http *h, CURL *easy, bool anonymous)
{
	(void)curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
	(void)curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	(void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	if (h->ca) {
		set_blob(easy, CURLOPT_CAINFO_BLOB, h->ca, h->ca_len);
		/* libcurl adds its built-in folder of public CAs to a blob unless told not to. */
		(void)curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	if (h->cert && h->key && !anonymous) {
		(void)curl_easy_setopt(easy, CURLOPT_SSLCERTTYPE, "PEM");
		(void)curl_easy_setopt(easy, CURLOPT_SSLKEYTYPE, "PEM");
		set_blob(easy, CURLOPT_SSLCERT_BLOB, h->cert, strlen(h->cert));
		set_blob(easy, CURLOPT_SSLKEY_BLOB, h->key, strlen(h->key));
	}
}

static void set_limits(const struct http_call *call, CURL *easy)
{
	size_t max = call->max > HTTP_SMALL_MAX ? call->max : HTTP_SMALL_MAX;
	char range[32];

	(void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
	(void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	(void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	(void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
	(void)curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)max);
	if (call->timeout_s) {
		(void)curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)call->timeout_s);
	} else {
		(void)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)STALL_BYTES_S);
		(void)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
	}
	/* Not CURLOPT_RESUME_FROM: that takes a server without ranges for a failure. */
	if (call->offset) {
		(void)snprintf(range, sizeof(range), "%" PRIu64 "-", call->offset);
		(void)curl_easy_setopt(easy, CURLOPT_RANGE, range);
	}
}

static bool through_proxy(const struct proxy *p, const char *url)
{
	CURLU *u = p ? curl_url() : NULL;
	char *host = NULL;
	bool excepted;

	if (!u)
		return p != NULL;
	if (curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK)
		(void)curl_url_get(u, CURLUPART_HOST, &host, 0);
	excepted = host && proxy_is_exception(p->exceptions, host);
	curl_free(host);
	curl_url_cleanup(u);
	return !excepted;
}

static curl_socket_t no_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
	(void)user;
	(void)purpose;
	(void)address;
	return CURL_SOCKET_BAD;
}

/* "" keeps libcurl from looking at the environment itself. One that cannot be read is not passed
 * by. */
static void set_proxy(const struct http *h, struct http_request *r, const char *url)
{
	const struct proxy *p = h->proxy;

	r->proxied = through_proxy(p, url);
	(void)curl_easy_setopt(r->easy, CURLOPT_NOPROXY, "");
	(void)curl_easy_setopt(r->easy, CURLOPT_PROXY, r->proxied && p->url ? p->url : "");
	if (r->proxied && !p->url)
		(void)curl_easy_setopt(r->easy, CURLOPT_OPENSOCKETFUNCTION, no_socket);
	if (!r->proxied || !p->user)
		return;
	(void)curl_easy_setopt(r->easy, CURLOPT_PROXYUSERNAME, p->user);
	(void)curl_easy_setopt(r->easy, CURLOPT_PROXYPASSWORD, p->password ? p->password : "");
}

static void set_callbacks(struct http_request *r)
{
	(void)curl_easy_setopt(r->easy, CURLOPT_PRIVATE, r);
	(void)curl_easy_setopt(r->easy, CURLOPT_ERRORBUFFER, r->curl_error);
	(void)curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
	(void)curl_easy_setopt(r->easy, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(r->easy, CURLOPT_HEADERDATA, r);
	(void)curl_easy_setopt(r->easy, CURLOPT_USERAGENT, "bailiwick-courier/" RELEASE);
}

static int set_request(struct http_request *r, const struct http_call *call)
{
	for (size_t i = 0; i < HTTP_HEADERS && call->headers[i]; i++) {
		struct curl_slist *more = curl_slist_append(r->headers, call->headers[i]);

		if (!more)
			return -ENOMEM;
		r->headers = more;
	}
	(void)curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
	if (curl_easy_setopt(r->easy, CURLOPT_URL, call->url) != CURLE_OK)
		return -ENOMEM;
	if (!call->post)
		return 0;
	r->body = mem_dup(call->body, call->body_len);
	(void)curl_easy_setopt(r->easy, CURLOPT_POST, 1L);
	(void)curl_easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_len);
	(void)curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS, r->body);
	return r->body ? 0 : -ENOMEM;
}

struct http_request *http_start(struct http *h, const struct http_call *call)
{
	struct http_request *r = mem_calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->http = h;
	r->max = call->max;
	r->done = call->done;
	r->user = call->user;
	r->since = mono_now();
	buf_init(&r->answer.body, call->max > HTTP_SMALL_MAX ? call->max : HTTP_SMALL_MAX);
	r->easy = curl_easy_init();
	if (!r->easy || set_request(r, call) < 0) {
		request_drop(r);
		return NULL;
	}
	set_tls(h, r->easy, call->anonymous);
	set_limits(call, r->easy);
	set_proxy(h, r, call->url);
	set_callbacks(r);
	if (curl_multi_add_handle(h->multi, r->easy) != CURLM_OK) {
		request_drop(r);
		return NULL;
	}
	r->next = h->requests;
	h->requests = r;
	return r;
}

/* --- event loop --------------------------------------------------------------------------- */

static void turn(struct http *h, curl_socket_t fd, int events)
{
	int running;

	(void)curl_multi_socket_action(h->multi, fd, events, &running);
	finish_all(h);
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *user)
{
	int events = 0;

	(void)s;
	if (revents & EPOLLIN)
		events |= CURL_CSELECT_IN;
	if (revents & EPOLLOUT)
		events |= CURL_CSELECT_OUT;
	if (revents & (EPOLLERR | EPOLLHUP))
		events |= CURL_CSELECT_ERR;
	turn(user, fd, events);
	return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *user)
{
	(void)s;
	(void)usec;
	turn(user, CURL_SOCKET_TIMEOUT, 0);
	return 0;
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_user)
{
	struct http *h = user;
	sd_event_source *s = socket_user;
	uint32_t events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		(void)curl_multi_assign(h->multi, fd, NULL);
		sd_event_source_disable_unref(s);
		return 0;
	}
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		events |= EPOLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		events |= EPOLLOUT;
	if (s)
		return sd_event_source_set_io_events(s, events) < 0 ? -1 : 0;
	if (sd_event_add_io(h->event, &s, fd, events, on_io, h) < 0)
		return -1;
	(void)curl_multi_assign(h->multi, fd, s);
	return 0;
}

static int want_timer(CURLM *multi, long timeout_ms, void *user)
{
	struct http *h = user;

	(void)multi;
	if (timeout_ms < 0)
		return sd_event_source_set_enabled(h->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
	if (sd_event_source_set_time_relative(h->timer, (uint64_t)timeout_ms * 1000) < 0)
		return -1;
	return sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

int http_new(sd_event *event, struct http **ret, struct err *err)
{
	struct http *h = mem_calloc(1, sizeof(*h));
	bool failed = false;
	int r = -ENOMEM;

	if (!h || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(h);
		return err_set(err, ENOMEM, "libcurl cannot be started");
	}
	h->event = event;
	h->proxy = proxy_from_environment(&failed);
	if (h->proxy && h->proxy->url)
		log_info("controller: asked through the proxy at %s, but for what no_proxy names",
			 h->proxy->where);
	h->multi = curl_multi_init();
	if (h->multi && !failed)
		r = sd_event_add_time_relative(event, &h->timer, CLOCK_MONOTONIC, 0,
					       TIMER_ACCURACY_US, on_timer, h);
	if (r >= 0)
		r = sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
	if (r < 0) {
		http_free(h);
		return err_set(err, -r, "event loop: %s", strerror(-r));
	}
	(void)curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
	(void)curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	(void)curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, want_timer);
	(void)curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
	(void)curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_MAX);
	*ret = h;
	return 0;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	while (h->requests) {
		struct http_request *r = h->requests;

		h->requests = r->next;
		request_drop(r);
	}
	/* Sockets that are kept open give their sources back here. */
	(void)curl_multi_cleanup(h->multi);
	sd_event_source_disable_unref(h->timer);
	(void)http_set_identity(h, NULL, NULL);
	proxy_free(h->proxy);
	free(h->ca);
	free(h);
	curl_global_cleanup();
}

/* --- who we are and whom we trust --------------------------------------------------------- */

int http_set_ca(struct http *h, const char *pem, size_t len)
{
	char *copy = len ? mem_strndup(pem, len) : NULL;

	if (len && !copy)
		return -ENOMEM;
	free(h->ca);
	h->ca = copy;
	h->ca_len = len;
	return 0;
}

int http_set_identity(struct http *h, const char *cert_pem, const char *key_pem)
{
	char *cert = cert_pem ? mem_strdup(cert_pem) : NULL;
	char *key = cert_pem ? mem_strdup(key_pem) : NULL;

	if (h->key)
		OPENSSL_cleanse(h->key, strlen(h->key));
	free(h->key);
	free(h->cert);
	h->cert = cert;
	h->key = key;
	return cert_pem && (!cert || !key) ? -ENOMEM : 0;
}
