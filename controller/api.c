/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/api.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/svid.h"
#include "controller/ca.h"
#include "controller/setup.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

struct api {
	CURL *curl;
	struct curl_slist *connect_to, *headers;
	char *url, *data_dir;
	struct buf reply;
	char error[CURL_ERROR_SIZE];
	long status;
};

static int read_line(const char *dir, const char *name, char **ret, struct err *err)
{
	CLEANUP(freep) char *path = mem_printf("%s/%s", dir, name);
	size_t len;
	int r;

	if (path == NULL)
		return err_set(err, ENOMEM, "out of memory");
	r = file_read(AT_FDCWD, path, API_ENDPOINT_MAX, ret, &len, err);
	if (r >= 0)
		(*ret)[strcspn(*ret, "\n")] = '\0';
	return r;
}

/* Everywhere is no address to connect to. */
static char *connect_to(const char *listen)
{
	const char *port = strrchr(listen, ':');

	if (port == NULL)
		return NULL;
	if (str_starts(listen, "0.0.0.0:"))
		return mem_printf("::127.0.0.1%s", port);
	if (str_starts(listen, "[::]:"))
		return mem_printf("::[::1]%s", port);
	return mem_printf("::%s", listen);
}

static int set_address(struct api *a, const struct console *c, struct err *err)
{
	CLEANUP(freep) char *listen = NULL;
	CLEANUP(freep) char *to = NULL;
	int r;

	if (c->url != NULL) {
		a->url = mem_strdup(c->url);
		return a->url == NULL ? err_set(err, ENOMEM, "out of memory") : 0;
	}
	r = read_line(c->data_dir, SETUP_LISTEN, &listen, err);
	if (r >= 0)
		r = read_line(c->data_dir, SETUP_ENDPOINT, &a->url, err);
	if (r == -ENOENT)
		return err_set(err, ENOENT,
			       "no controller serves %s; 'bailiwick-controller serve --data %s' "
			       "starts it, --url asks one elsewhere",
			       c->data_dir, c->data_dir);
	if (r < 0)
		return r;
	to = listen == NULL ? NULL : connect_to(listen);
	a->connect_to = to == NULL ? NULL : curl_slist_append(NULL, to);
	if (a->connect_to == NULL)
		return err_set(err, ENOMEM, "out of memory");
	(void)curl_easy_setopt(a->curl, CURLOPT_CONNECT_TO, a->connect_to);
	(void)curl_easy_setopt(a->curl, CURLOPT_NOPROXY, "*");
	return 0;
}

static int set_file(struct api *a, CURLoption option, const char *given, const char *dir,
		    const char *name, struct err *err)
{
	CLEANUP(freep)
	char *path = given != NULL ? mem_strdup(given) : mem_printf("%s/%s", dir, name);

	if (path == NULL || curl_easy_setopt(a->curl, option, path) != CURLE_OK)
		return err_set(err, ENOMEM, "out of memory");
	return 0;
}

/* libcurl stops the transfer when less is taken than it has brought. */
static size_t on_bytes(char *bytes, size_t size, size_t count, void *user)
{
	struct api *a = user;

	buf_add(&a->reply, bytes, size * count);
	return a->reply.r < 0 ? 0 : size * count;
}

static CURLcode on_ssl_ctx(CURL *curl, void *ssl_ctx, void *user)
{
	(void)curl;
	(void)user;
	SSL_CTX_set_verify(ssl_ctx, SSL_VERIFY_PEER, svid_check_controller);
	return CURLE_OK;
}

static void set_limits(struct api *a)
{
	CURL *curl = a->curl;

	(void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
	(void)curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	(void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)API_CONNECT_MS);
	(void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)API_TIMEOUT_MS);
	(void)curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	/* The CA of this fleet and not the host's folder of public ones, too. */
	(void)curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
	(void)curl_easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
	(void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, a->error);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, a);
}

int api_open(const struct console *c, struct api **ret, struct err *err)
{
	CLEANUP(api_freep) struct api *a = mem_calloc(1, sizeof(*a));
	int r;

	if (a == NULL)
		return err_set(err, ENOMEM, "out of memory");
	a->curl = curl_easy_init();
	a->data_dir = mem_strdup(c->data_dir);
	if (a->curl == NULL || a->data_dir == NULL)
		return err_set(err, ENOMEM, "out of memory");
	set_limits(a);
	r = set_address(a, c, err);
	if (r >= 0)
		r = set_file(a, CURLOPT_CAINFO, c->ca, c->data_dir, CA_CERT_FILE, err);
	if (r >= 0)
		r = set_file(a, CURLOPT_SSLCERT, c->cert, c->data_dir, SETUP_OPERATOR_CERT, err);
	if (r >= 0)
		r = set_file(a, CURLOPT_SSLKEY, c->key, c->data_dir, SETUP_OPERATOR_KEY, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(a);
	return 0;
}

void api_free(struct api *a)
{
	if (a == NULL)
		return;
	if (a->curl != NULL)
		curl_easy_cleanup(a->curl);
	curl_slist_free_all(a->connect_to);
	curl_slist_free_all(a->headers);
	buf_done(&a->reply);
	free(a->url);
	free(a->data_dir);
	free(a);
}

void api_freep(struct api **a)
{
	api_free(*a);
	*a = NULL;
}

/* ---- asking ---- */

static int no_answer(struct api *a, CURLcode code, struct err *err)
{
	const char *why = a->error[0] != '\0' ? a->error : curl_easy_strerror(code);

	if (a->reply.r == -E2BIG)
		return err_set(err, E2BIG, "%s: the answer is too large", a->url);
	if (code == CURLE_COULDNT_CONNECT || code == CURLE_OPERATION_TIMEDOUT ||
	    code == CURLE_COULDNT_RESOLVE_HOST)
		return err_set(err, ECONNREFUSED,
			       "no controller answers at %s (%s); 'bailiwick-controller serve "
			       "--data %s' starts it",
			       a->url, why, a->data_dir);
	return err_set(err, EIO, "%s: %s", a->url, why);
}

static int refused(long status, const json_t *reply, struct err *err)
{
	const char *detail = json_string_value(json_object_get(reply, "detail"));
	const char *code = json_string_value(json_object_get(reply, "code"));
	char quoted[LOG_QUOTE_MAX];

	if (detail == NULL)
		return err_set(err, EPROTO, "the controller answers %ld without saying why",
			       status);
	if (str_eq(code, "not_found"))
		return err_set(err, ENOENT, "%s", detail);
	if (str_eq(code, "too_large") || str_eq(code, "busy") || str_eq(code, "forbidden"))
		return err_set(err, EACCES, "%s (%s)", detail, log_quote(quoted, code));
	return err_set(err, EINVAL, "%s", detail);
}

static int exchange(struct api *a, const char *path, json_t **ret, struct err *err)
{
	CLEANUP(freep) char *url = mem_printf("%s%s", a->url, path);
	json_t *reply = NULL;
	CURLcode code;
	int r;

	if (url == NULL || curl_easy_setopt(a->curl, CURLOPT_URL, url) != CURLE_OK)
		return err_set(err, ENOMEM, "out of memory");
	buf_done(&a->reply);
	buf_init(&a->reply, API_REPLY_MAX);
	a->error[0] = '\0';
	a->status = 0;
	code = curl_easy_perform(a->curl);
	if (code != CURLE_OK)
		return no_answer(a, code, err);
	(void)curl_easy_getinfo(a->curl, CURLINFO_RESPONSE_CODE, &a->status);
	r = json_parse_strict(a->reply.data != NULL ? a->reply.data : "", a->reply.len, "answer",
			      &reply, err);
	if (a->status != 200) {
		r = refused(a->status, r < 0 ? NULL : reply, err);
		json_decref(reply);
		return r;
	}
	if (r < 0)
		return -EPROTO;
	*ret = reply;
	return 0;
}

long api_status(const struct api *api)
{
	return api == NULL ? 0 : api->status;
}

int api_send(struct api *a, const char *path, const void *body, size_t len, const char *type,
	     json_t **ret, struct err *err)
{
	CLEANUP(freep) char *header = mem_printf("Content-Type: %s", type);

	if (body == NULL) {
		(void)curl_easy_setopt(a->curl, CURLOPT_HTTPGET, 1L);
		(void)curl_easy_setopt(a->curl, CURLOPT_HTTPHEADER, NULL);
		return exchange(a, path, ret, err);
	}
	curl_slist_free_all(a->headers);
	a->headers = header == NULL ? NULL : curl_slist_append(NULL, header);
	if (a->headers == NULL)
		return err_set(err, ENOMEM, "out of memory");
	(void)curl_easy_setopt(a->curl, CURLOPT_HTTPHEADER, a->headers);
	(void)curl_easy_setopt(a->curl, CURLOPT_POST, 1L);
	(void)curl_easy_setopt(a->curl, CURLOPT_POSTFIELDS, body);
	(void)curl_easy_setopt(a->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
	return exchange(a, path, ret, err);
}

int api_get(struct api *a, const char *path, json_t **ret, struct err *err)
{
	return api_send(a, path, NULL, 0, API_CONTENT_JSON, ret, err);
}

int api_post(struct api *a, const char *path, const json_t *body, json_t **ret, struct err *err)
{
	CLEANUP(freep)
	char *text = body == NULL ? mem_strdup("{}") : json_text(body, NULL);

	if (text == NULL)
		return err_set(err, ENOMEM, "out of memory");
	return api_send(a, path, text, strlen(text), API_CONTENT_JSON, ret, err);
}
