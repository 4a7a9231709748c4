/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A fleet played against one controller: thousands of nodes that enrol with tokens, then park a
 * long poll of their head on a TLS connection of their own. One thread, non-blocking sockets.
 *
 *   fleet_load tokens DATA COUNT           one token a line, before the controller serves DATA
 *   fleet_load run ADDRESS PORT TOKENS     enrols all, parks all, then takes commands from stdin:
 *
 *     mark NAME WANTED SECONDS    says "marked", then waits until WANTED nodes were answered with a
 *                                 new head and a second more, or for SECONDS; says who and when
 *     quit
 *
 * The controller's certificate is not checked here: what is measured is the controller. Every node
 * has a key of its own, made before the clock starts.
 */
#include "bench/bench.h"

#include "base/base64.h"
#include "base/buf.h"
#include "controller-client/csr.h"
#include "controller/core.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define NODES_MAX    19000
#define WINDOW       64 /* connections on their way at once */
#define TOKEN_LIFE_S 3600
#define IN_MAX       (256U << 10)
#define TEXT_MAX     160
#define WAIT_S       55
#define EVENTS       256
#define GRACE_NS     1000000000LL
#define STEP_MS      100

enum state { RESTING, CONNECTING, SHAKING, WRITING, READING };
enum errand { ENROL, FIRST_HEAD, PARKED };

struct node {
	int fd;
	enum state state;
	enum errand errand;
	SSL *ssl;
	X509 *cert;
	struct private_key key;
	char name[16];
	char token[TEXT_MAX];
	char etag[TEXT_MAX];
	struct buf out, in;
	size_t sent;
	int64_t woken;
};

struct fleet {
	struct node *nodes;
	size_t count;
	SSL_CTX *tls;
	int epoll;
	struct sockaddr_in server;
	size_t busy, done, failed, reconnected;
	int64_t marked;
	size_t woken;
};

/* --- requests -----------------------------------------------------------------------------------
 */

static void request_enrol(struct node *n)
{
	CLEANUP(freep) uint8_t *csr = NULL;
	CLEANUP(freep) char *body = NULL, *credentials = NULL;
	char colon[TEXT_MAX];
	char *dot;
	size_t len = 0;
	struct err err = {{0}};

	need(csr_make(&n->key, n->name, &csr, &len, &err), &err, "CSR");
	body = base64_encode(csr, len);
	(void)snprintf(colon, sizeof(colon), "%s", n->token);
	dot = strchr(colon, '.');
	if (!dot)
		die("a token without a dot");
	*dot = ':';
	credentials = base64_encode(colon, strlen(colon));
	if (!body || !credentials)
		die("out of memory");
	buf_printf(&n->out,
		   "POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: controller\r\n"
		   "Authorization: Basic %s\r\nContent-Type: application/pkcs10\r\n"
		   "Content-Transfer-Encoding: base64\r\nContent-Length: %zu\r\n"
		   "Connection: close\r\n\r\n%s",
		   credentials, strlen(body), body);
}

static void request_head(struct node *n)
{
	buf_puts(&n->out, "GET /v1/head HTTP/1.1\r\nHost: controller\r\n");
	if (n->errand == PARKED)
		buf_printf(&n->out, "If-None-Match: %s\r\nPrefer: wait=%d\r\n", n->etag, WAIT_S);
	buf_puts(&n->out, "\r\n");
}

static void request(struct node *n)
{
	buf_done(&n->out);
	buf_init(&n->out, IN_MAX);
	buf_done(&n->in);
	buf_init(&n->in, IN_MAX);
	n->sent = 0;
	if (n->errand == ENROL)
		request_enrol(n);
	else
		request_head(n);
	if (n->out.r < 0)
		die("out of memory");
	n->state = WRITING;
}

/* --- connections --------------------------------------------------------------------------------
 */

static void watch(const struct fleet *f, struct node *n, uint32_t events, int how)
{
	struct epoll_event e = {.events = events, .data.ptr = n};

	if (epoll_ctl(f->epoll, how, n->fd, &e) < 0)
		die("epoll: %s", strerror(errno));
}

static void hang_up(struct node *n)
{
	SSL_free(n->ssl);
	n->ssl = NULL;
	closep(&n->fd);
	n->fd = -1;
	n->state = RESTING;
}

static void dial(struct fleet *f, struct node *n)
{
	int on = 1;

	n->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (n->fd < 0)
		die("socket: %s", strerror(errno));
	(void)setsockopt(n->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(n->fd, (struct sockaddr *)&f->server, sizeof(f->server)) < 0 &&
	    errno != EINPROGRESS)
		die("connect: %s", strerror(errno));
	n->ssl = SSL_new(f->tls);
	if (!n->ssl || SSL_set_fd(n->ssl, n->fd) != 1)
		die("out of memory");
	if (n->cert && (SSL_use_certificate(n->ssl, n->cert) != 1 ||
			SSL_use_PrivateKey(n->ssl, n->key.pkey) != 1))
		die("%s: certificate not usable", n->name);
	SSL_set_connect_state(n->ssl);
	n->state = CONNECTING;
	watch(f, n, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
}

/* --- answers ------------------------------------------------------------------------------------
 */

static const char *header_of(const struct buf *in, const char *name, size_t *ret_len)
{
	const char *at = strcasestr(in->data, name), *end;

	if (!at)
		return NULL;
	at += strlen(name);
	at += strspn(at, " ");
	end = strstr(at, "\r\n");
	*ret_len = end ? (size_t)(end - at) : 0;
	return end ? at : NULL;
}

/* Status of a whole answer; 0 as long as some of it is missing. */
static int answer(const struct node *n, const char **ret_body, size_t *ret_len)
{
	const char *end = n->in.data ? strstr(n->in.data, "\r\n\r\n") : NULL, *length;
	size_t digits = 0;
	uint32_t want = 0, status;
	char text[16] = "";

	if (!end)
		return 0;
	(void)snprintf(text, 4, "%s", n->in.data + strlen("HTTP/1.1 "));
	if (text_u32(text, 100, 599, &status) < 0)
		die("%s: no HTTP answer: %.60s", n->name, n->in.data);
	length = header_of(&n->in, "\r\nContent-Length:", &digits);
	if (length) {
		(void)snprintf(text, digits < sizeof(text) ? digits + 1 : 1, "%s", length);
		if (text_u32(text, 0, IN_MAX, &want) < 0)
			die("%s: Content-Length of %s", n->name, text);
	}
	end += 4;
	if (status != 304 && (size_t)(n->in.data + n->in.len - end) < want)
		return 0;
	*ret_body = end;
	*ret_len = want;
	return (int)status;
}

static void keep_etag(struct node *n)
{
	size_t len = 0;
	const char *etag = header_of(&n->in, "\r\nETag:", &len);

	if (!etag || len >= sizeof(n->etag))
		die("%s: a head without ETag", n->name);
	(void)snprintf(n->etag, len + 1, "%s", etag);
}

static void enrolled(struct fleet *f, struct node *n, int status, const char *body, size_t len)
{
	struct stack_st_X509 *chain = NULL;
	uint8_t *der = NULL;
	size_t der_len = 0;
	struct err err = {{0}};

	if (status != 200)
		die("%s: enrolment: %d: %.*s", n->name, status, (int)len, body);
	need(base64_decode_wrapped(body, len, IN_MAX, &der, &der_len), &err, "PKCS#7");
	need(svid_chain_from_pkcs7(der, der_len, &chain, &err), &err, "PKCS#7");
	n->cert = sk_X509_shift(chain);
	svid_chain_free(chain);
	free(der);
	hang_up(n);
	f->busy--;
	f->done++;
}

static void told(struct fleet *f, struct node *n, int status)
{
	if (status == 200) {
		keep_etag(n);
		if (n->errand == PARKED && f->marked && !n->woken) {
			n->woken = clock_ns();
			f->woken++;
		}
	} else if (status != 304) {
		die("%s: head: %d: %.200s", n->name, status, n->in.data);
	}
	if (n->errand == FIRST_HEAD) {
		n->errand = PARKED;
		f->busy--;
		f->done++;
	}
	request(n);
	watch(f, n, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

/* --- turns --------------------------------------------------------------------------------------
 */

/* The server may end an idle connection; the node comes back. */
static void lost(struct fleet *f, struct node *n)
{
	if (n->errand == ENROL)
		die("%s: the controller hung up during enrolment", n->name);
	hang_up(n);
	f->reconnected++;
	dial(f, n);
}

static void turn_shake(struct fleet *f, struct node *n)
{
	int r = SSL_do_handshake(n->ssl), why = SSL_get_error(n->ssl, r);

	if (r == 1)
		request(n);
	else if (why == SSL_ERROR_WANT_READ)
		watch(f, n, EPOLLIN, EPOLL_CTL_MOD);
	else if (why != SSL_ERROR_WANT_WRITE)
		lost(f, n);
}

static void turn_write(struct fleet *f, struct node *n)
{
	int r = SSL_write(n->ssl, n->out.data + n->sent, (int)(n->out.len - n->sent));

	if (r <= 0) {
		if (SSL_get_error(n->ssl, r) != SSL_ERROR_WANT_WRITE)
			lost(f, n);
		return;
	}
	n->sent += (size_t)r;
	if (n->sent == n->out.len) {
		n->state = READING;
		watch(f, n, EPOLLIN, EPOLL_CTL_MOD);
	}
}

static void turn_read(struct fleet *f, struct node *n)
{
	const char *body = NULL;
	char bytes[16384];
	size_t len = 0;
	int r = SSL_read(n->ssl, bytes, sizeof(bytes)), status;

	if (r <= 0) {
		if (SSL_get_error(n->ssl, r) != SSL_ERROR_WANT_READ)
			lost(f, n);
		return;
	}
	buf_add(&n->in, bytes, (size_t)r);
	if (n->in.r < 0)
		die("%s: an answer above %u bytes", n->name, IN_MAX);
	status = answer(n, &body, &len);
	if (status == 0)
		return;
	if (n->errand == ENROL)
		enrolled(f, n, status, body, len);
	else
		told(f, n, status);
}

static void turn(struct fleet *f, struct node *n)
{
	if (n->state == CONNECTING)
		n->state = SHAKING;
	if (n->state == SHAKING)
		turn_shake(f, n);
	if (n->state == WRITING)
		turn_write(f, n);
	else if (n->state == READING)
		turn_read(f, n);
}

static void turns(struct fleet *f, int timeout_ms)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(f->epoll, events, EVENTS, timeout_ms);

	if (n < 0 && errno != EINTR)
		die("epoll: %s", strerror(errno));
	for (int i = 0; i < n; i++)
		turn(f, events[i].data.ptr);
}

/* Every node runs the errand, WINDOW of them at a time. */
static double phase(struct fleet *f, enum errand errand)
{
	int64_t began = clock_ns();
	size_t next = 0;

	f->busy = f->done = 0;
	while (f->done < f->count) {
		while (next < f->count && f->busy < WINDOW) {
			f->nodes[next].errand = errand;
			dial(f, &f->nodes[next++]);
			f->busy++;
		}
		turns(f, STEP_MS);
	}
	return (double)(clock_ns() - began) / NS_PER_S;
}

/* --- commands -----------------------------------------------------------------------------------
 */

static void tell_wakes(const struct fleet *f, const char *name)
{
	double *ms = mem_calloc(f->woken + 1, sizeof(*ms));
	size_t n = 0;

	if (!ms)
		die("out of memory");
	for (size_t i = 0; i < f->count; i++)
		if (f->nodes[i].woken)
			ms[n++] = (double)(f->nodes[i].woken - f->marked) / NS_PER_MS;
	qsort(ms, n, sizeof(*ms), compare_doubles);
	(void)printf("woken %s %zu %.1f %.1f %.1f\n", name, n, n ? ms[n / 2] : 0,
		     n ? ms[n * 99 / 100] : 0, n ? ms[n - 1] : 0);
	(void)fflush(stdout);
	free(ms);
}

static void mark(struct fleet *f, const char *name, size_t wanted, int64_t seconds)
{
	int64_t end, full = 0;

	for (size_t i = 0; i < f->count; i++)
		f->nodes[i].woken = 0;
	f->woken = 0;
	f->marked = clock_ns();
	end = f->marked + seconds * NS_PER_S;
	(void)puts("marked");
	(void)fflush(stdout);
	while (clock_ns() < end && (!full || clock_ns() < full + GRACE_NS)) {
		turns(f, STEP_MS);
		if (!full && f->woken >= wanted)
			full = clock_ns();
	}
	tell_wakes(f, name);
	f->marked = 0;
}

/* false: end */
static bool command(struct fleet *f)
{
	char line[TEXT_MAX], name[32];
	unsigned wanted, seconds;

	if (!fgets(line, sizeof(line), stdin) || str_starts(line, "quit"))
		return false;
	if (sscanf(line, "mark %31s %u %u", name, &wanted, &seconds) != 3)
		die("no command: %s", line);
	mark(f, name, wanted, seconds);
	return true;
}

static void serve_commands(struct fleet *f)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};

	for (;;) {
		turns(f, STEP_MS);
		if (poll(&in, 1, 0) > 0 && !command(f))
			return;
	}
}

/* --- main ---------------------------------------------------------------------------------------
 */

static void name_of(char name[16], size_t i)
{
	(void)snprintf(name, 16, "n-%05zu", i);
}

static int make_tokens(const char *data, size_t count)
{
	struct core_config config = {.data_dir = data};
	struct core *c = NULL;
	char token[TEXT_MAX], name[16];
	struct err err = {{0}};

	need(core_open(&config, &c, &err), &err, "data directory");
	for (size_t i = 0; i < count; i++) {
		name_of(name, i);
		need(core_token_create(c, name, TOKEN_LIFE_S, 1, "bench", token, sizeof(token),
				       &err),
		     &err, "token");
		(void)puts(token);
	}
	core_free(c);
	return EXIT_SUCCESS;
}

static void read_tokens(struct fleet *f, const char *path)
{
	FILE *in = fopen(path, "re");
	struct err err = {{0}};

	f->nodes = mem_calloc(NODES_MAX, sizeof(*f->nodes));
	if (!in || !f->nodes)
		die("%s: %s", path, strerror(errno));
	while (f->count < NODES_MAX) {
		struct node *n = &f->nodes[f->count];

		if (!fgets(n->token, sizeof(n->token), in))
			break;
		n->token[strcspn(n->token, "\n")] = '\0';
		n->fd = -1;
		name_of(n->name, f->count);
		buf_init(&n->out, IN_MAX);
		buf_init(&n->in, IN_MAX);
		need(private_key_generate(KEY_P256, &n->key, &err), &err, "key");
		f->count++;
	}
	(void)fclose(in);
}

static void open_tls(struct fleet *f)
{
	f->tls = SSL_CTX_new(TLS_client_method());
	if (!f->tls)
		die("out of memory");
	SSL_CTX_set_verify(f->tls, SSL_VERIFY_NONE, NULL);
	(void)SSL_CTX_set_mode(f->tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE);
	(void)SSL_CTX_set_session_cache_mode(f->tls, SSL_SESS_CACHE_OFF);
	f->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (f->epoll < 0)
		die("epoll: %s", strerror(errno));
}

static int run(const char *address, const char *port, const char *tokens)
{
	struct fleet f = {.server = {.sin_family = AF_INET}};
	uint32_t number;
	double s;

	if (inet_pton(AF_INET, address, &f.server.sin_addr) != 1 ||
	    text_u32(port, 1, UINT16_MAX, &number) < 0)
		die("%s:%s is no address", address, port);
	f.server.sin_port = htons((uint16_t)number);
	(void)signal(SIGPIPE, SIG_IGN);
	read_tokens(&f, tokens);
	open_tls(&f);
	s = phase(&f, ENROL);
	(void)printf("enrolled %zu %.2f\n", f.count, s);
	s = phase(&f, FIRST_HEAD);
	(void)printf("parked %zu %.2f\n", f.count, s);
	(void)fflush(stdout);
	serve_commands(&f);
	(void)printf("reconnected %zu\n", f.reconnected);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	uint32_t count;

	if (argc == 4 && str_eq(argv[1], "tokens") && text_u32(argv[3], 1, NODES_MAX, &count) == 0)
		return make_tokens(argv[2], count);
	if (argc == 5 && str_eq(argv[1], "run"))
		return run(argv[2], argv[3], argv[4]);
	die("usage: fleet_load tokens DATA COUNT | run ADDRESS PORT TOKENS");
}
