/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/server.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/exchange.h"
#include "controller/setup.h"
#include "controller/tls.h"
#include "controller/woken.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define TICK_US     1000000
#define RENEW_EVERY 3600 /* ticks */
#define TRIM_EVERY  10
/* As many connections as make it worth while. */
#define TRIM_AFTER      256
#define RESUMED_AT_ONCE 128
/* Times of the client: parked polls are answered before the server ends. */
#define NS_PER_S 1000000000

int64_t server_seconds(void)
{
	return mono_now().ns / NS_PER_S + 1;
}

/* ---- waking ---- */

static void resume(void *user, struct waiter *w)
{
	struct exchange *x = exchange_of_waiter(w);

	(void)user;
	x->state = EXCHANGE_WOKEN;
	x->conn->due_s = server_seconds() + SERVER_ANSWER_S;
	MHD_resume_connection(x->connection);
}

static bool is_urgent(void *user, const struct waiter *w)
{
	const struct server *s = user;
	const struct peer *peer = exchange_of_waiter((struct waiter *)(uintptr_t)w)->conn->peer;

	return peer != NULL && core_head_urgent(s->core, peer->name);
}

static void after_slice(void *user)
{
	struct server *s = user;

	(void)MHD_run(s->main.daemon);
	/* What libmicrohttpd has not finished its timer will. */
	(void)sd_event_source_set_time_relative(s->main.timer, 0);
	(void)sd_event_source_set_enabled(s->main.timer, SD_EVENT_ONESHOT);
}

static const struct woken_ops woken_ops = {
	.resume = resume,
	.urgent = is_urgent,
	.ran = after_slice,
};

/* It is suspended: its connection cannot end before it is resumed. */
static void on_waiter(void *user, struct waiter *w)
{
	struct server *s = user;

	woken_add(s->woken, w);
}

static void on_head_changed(void *user, const char *node)
{
	struct server *s = user;

	if (s->polls == NULL || s->core == NULL)
		return; /* it is being opened: nobody waits yet */
	s->counters.polls_woken += polls_wake(s->polls, node);
	if (core_head_urgent(s->core, node))
		woken_sort(s->woken);
}

/* ---- once a second ---- */

bool server_renew(struct server *s)
{
	const struct server_config *c = s->config;
	struct err err = {{0}};
	struct renewed renewed;
	int r = setup_renew(c->data_dir, s->ca, s->core, c->tls_cert == NULL, wall_now(), &renewed,
			    &err);

	if (renewed.tls) {
		CLEANUP(freep) char *cert = mem_printf("%s/" SETUP_TLS_CERT, c->data_dir);
		CLEANUP(freep) char *key = mem_printf("%s/" SETUP_TLS_KEY, c->data_dir);

		if (r >= 0)
			r = cert == NULL || key == NULL ? -ENOMEM : tls_load(cert, key, &err);
		if (r >= 0)
			log_info("tls: certificate renewed");
	}
	if (r < 0)
		log_error("certificates: %s; the old ones go on, tried again in an hour", err.text);
	return renewed.operator;
}

static int on_tick(sd_event_source *source, uint64_t usec, void *user)
{
	struct server *s = user;
	size_t parked = polls_count(s->polls);

	(void)usec;
	s->ticks++;
	core_tick(s->core);
	polls_tick(s->polls);
	s->counters.polls_ended += parked - polls_count(s->polls);
	conns_close_late(s);
	if (s->ticks % RENEW_EVERY == 0)
		(void)server_renew(s);
	/* After a storm of handshakes most of the heap is free and nobody gives it back. */
	if (s->ticks % TRIM_EVERY == 0 && s->counters.connections - s->trimmed > TRIM_AFTER) {
		s->trimmed = s->counters.connections;
		(void)malloc_trim(0);
	}
	(void)sd_notify(0, "WATCHDOG=1");
	(void)sd_event_source_set_time_relative(source, TICK_US);
	(void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *user)
{
	struct server *s = user;
	const struct server_config *c = s->config;
	struct err err = {{0}};

	(void)source;
	(void)info;
	if (c->tls_cert == NULL)
		(void)server_renew(s);
	else if (tls_load(c->tls_cert, c->tls_key, &err) < 0)
		log_error("tls: %s; the old certificate goes on", err.text);
	else
		log_info("tls: certificate read again");
	return 0;
}

/* ---- opening ---- */

static int open_core(struct server *s, struct err *err)
{
	const struct server_config *c = s->config;
	struct core_config config = {.data_dir = c->data_dir,
				     .reports_place = c->reports,
				     .wake = on_head_changed,
				     .user = s};
	int r = ca_open(c->data_dir, &s->ca, err);

	if (r == -ENOENT)
		return err_set(err, ENOENT,
			       "%s has no keys yet; 'bailiwick-controller init --data %s "
			       "--trust-domain NAME --name HOST' makes them",
			       c->data_dir, c->data_dir);
	if (r >= 0)
		r = core_open(&config, &s->core, err);
	if (r < 0)
		return r;
	if (!str_eq(core_trust_domain(s->core), ca_trust_domain(s->ca)))
		return err_set(err, EBADMSG,
			       "the database is of trust domain %s, the CA of %s; both from one "
			       "backup would be right",
			       core_trust_domain(s->core), ca_trust_domain(s->ca));
	return c->node_ca == NULL ? 0 : svid_chain_load(c->node_ca, &s->node_roots, err);
}

static int add_name(void *user, const char *name)
{
	struct server *s = user;
	char *copy;

	if (s->name_count == SERVER_NAMES_MAX || server_has_name(s, name))
		return 0;
	copy = mem_strdup(name);
	if (copy == NULL)
		return -ENOMEM;
	for (char *c = copy; *c != '\0'; c++)
		*c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
	s->names[s->name_count++] = copy;
	return 0;
}

bool server_has_name(const struct server *s, const char *name)
{
	for (size_t i = 0; i < s->name_count; i++) {
		if (str_eq(s->names[i], name))
			return true;
	}
	return false;
}

static int open_tls(struct server *s, struct err *err)
{
	const struct server_config *c = s->config;
	CLEANUP(freep)
	char *cert = c->tls_cert != NULL ? mem_strdup(c->tls_cert)
					 : mem_printf("%s/" SETUP_TLS_CERT, c->data_dir);
	CLEANUP(freep)
	char *key = c->tls_key != NULL ? mem_strdup(c->tls_key)
				       : mem_printf("%s/" SETUP_TLS_KEY, c->data_dir);
	struct stack_st_X509 *chain;
	int r;

	if (cert == NULL || key == NULL)
		return err_set(err, ENOMEM, "out of memory");
	r = tls_load(cert, key, err);
	if (r >= 0)
		r = svid_chain_load(cert, &chain, err);
	if (r < 0)
		return r;
	for (size_t i = 0; r >= 0 && i < c->name_count; i++)
		r = add_name(s, c->names[i]);
	if (r >= 0)
		r = ca_names(sk_X509_value(chain, 0), add_name, s);
	if (r >= 0)
		r = ca_pin(sk_X509_value(chain, sk_X509_num(chain) - 1), s->pin);
	svid_chain_free(chain);
	return r < 0 ? err_set(err, -r, "%s: its names cannot be read", cert) : 0;
}

static int write_line(const struct server *s, const char *name, const char *text, struct err *err)
{
	CLEANUP(freep) char *path = mem_printf("%s/%s", s->config->data_dir, name);
	CLEANUP(freep) char *line = mem_printf("%s\n", text);

	if (path == NULL || line == NULL)
		return err_set(err, ENOMEM, "out of memory");
	return file_write_durable(AT_FDCWD, path, line, strlen(line), 0644, err);
}

static int announce(struct server *s, struct err *err)
{
	const struct server_config *c = s->config;
	struct sockaddr_storage a = {0};
	socklen_t len = sizeof(a);
	char text[LISTEN_TEXT_MAX];
	const char *name = s->name_count > 0 ? s->names[0] : "localhost";
	int r;

	if (getsockname(s->main.fd, (struct sockaddr *)&a, &len) < 0)
		return err_set(err, errno, "getsockname: %s", strerror(errno));
	(void)listen_format(text, &a);
	if (c->url != NULL && strlen(c->url) >= sizeof(s->url))
		return err_set(err, EINVAL, "--advertise: the URL is too long");
	if (c->url != NULL)
		(void)snprintf(s->url, sizeof(s->url), "%s", c->url);
	else
		(void)snprintf(s->url, sizeof(s->url),
			       strchr(name, ':') != NULL ? "https://[%s]%s" : "https://%s%s", name,
			       strrchr(text, ':'));
	r = write_line(s, SETUP_LISTEN, text, err);
	if (r >= 0)
		r = write_line(s, SETUP_ENDPOINT, s->url, err);
	if (r >= 0)
		log_info("controller of %s: %s, listening on %s", core_trust_domain(s->core),
			 s->url, text);
	return r;
}

static int open_loop(struct server *s, struct err *err)
{
	sigset_t set;
	int r;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	r = sd_event_new(&s->loop);
	if (r >= 0)
		r = sd_event_add_signal(s->loop, NULL, SIGTERM, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(s->loop, NULL, SIGINT, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(s->loop, NULL, SIGHUP, on_hangup, s);
	if (r >= 0)
		r = sd_event_add_time_relative(s->loop, &s->tick, CLOCK_MONOTONIC, TICK_US, 1000,
					       on_tick, s);
	if (r >= 0)
		r = woken_new(s->loop, &woken_ops, s, RESUMED_AT_ONCE, &s->woken);
	return r < 0 ? err_set(err, -r, "event loop: %s", strerror(-r)) : 0;
}

int server_new(const struct server_config *config, struct server **ret, struct err *err)
{
	CLEANUP(server_freep) struct server *s = mem_calloc(1, sizeof(*s));
	int r;

	if (s == NULL)
		return err_set(err, ENOMEM, "out of memory");
	s->config = config;
	s->lock_fd = -1;
	s->started = mono_now();
	s->polls = polls_new(on_waiter, s);
	s->tokens = strikes_new(SERVER_TOKEN_BURST, SERVER_TOKEN_EVERY_S);
	s->shared = shared_answers_new();
	s->by_address = map_new(SERVER_CONNECTIONS_MAX, NULL);
	if (s->by_address == NULL || s->polls == NULL || s->tokens == NULL || s->shared == NULL)
		return err_set(err, ENOMEM, "out of memory");
	r = setup_lock(config->data_dir, &s->lock_fd, err);
	if (r >= 0)
		r = open_loop(s, err);
	if (r >= 0)
		r = open_core(s, err);
	if (r >= 0)
		r = open_tls(s, err);
	if (r >= 0)
		r = listener_open(&s->main, s, false, err);
	if (r >= 0 && config->admin != NULL)
		r = listener_open(&s->admin, s, true, err);
	if (r >= 0)
		r = announce(s, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

/* ---- running, closing ---- */

int server_run(struct server *s)
{
	int r;

	(void)server_renew(s);
	(void)sd_notify(0, "READY=1");
	r = sd_event_loop(s->loop);
	(void)sd_notify(0, "STOPPING=1");
	if (r < 0)
		log_error("event loop: %s", strerror(-r));
	return r;
}

static void forget_endpoint(const struct server *s)
{
	CLEANUP(freep) char *listen = mem_printf("%s/" SETUP_LISTEN, s->config->data_dir);

	if (listen != NULL && s->url[0] != '\0')
		(void)unlink(listen);
}

void server_free(struct server *s)
{
	if (s == NULL)
		return;
	s->stopping = true;
	/* libmicrohttpd must not be stopped with suspended connections. */
	if (s->main.daemon != NULL) {
		polls_wake_all(s->polls);
		server_export_drop(s);
		woken_drain(s->woken);
		(void)MHD_run(s->main.daemon);
	}
	listener_close(&s->main);
	listener_close(&s->admin);
	forget_endpoint(s);
	shared_answers_free(s->shared);
	polls_free(s->polls);
	map_free(s->by_address);
	strikes_free(s->tokens);
	core_free(s->core);
	ca_free(s->ca);
	svid_chain_free(s->node_roots);
	tls_unload();
	for (size_t i = 0; i < s->name_count; i++)
		free(s->names[i]);
	sd_event_source_disable_unref(s->tick);
	woken_free(s->woken);
	sd_event_unref(s->loop);
	closep(&s->lock_fd);
	free(s);
}

void server_freep(struct server **s)
{
	server_free(*s);
	*s = NULL;
}
