/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/exchange.h"
#include "controller/tls.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define UNIX_PREFIX       "unix:"
#define ADMIN_CONNECTIONS 32
#define ADMIN_MODE        0660
#define DAEMON_LOG_MAX    256

/* ---- sockets ---- */

static int listen_on(int fd, const struct sockaddr *a, socklen_t len, const char *text,
		     struct err *err)
{
	int one = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, a, len) < 0 || listen(fd, SERVER_BACKLOG) < 0)
		return err_set(err, errno, "%s: %s", text, strerror(errno));
	return 0;
}

static int open_inet(const char *text, bool loopback_only, struct err *err)
{
	CLEANUP(closep) int fd = -1;
	struct sockaddr_storage a;
	socklen_t len;
	int zero = 0, r = listen_parse(text, &a, &len, err);
	char shown[LISTEN_TEXT_MAX];

	if (r < 0)
		return r;
	if (loopback_only && !str_starts(listen_format(shown, &a), "127.") &&
	    !str_starts(shown, "[::1]"))
		return err_set(err, EINVAL,
			       "--admin %s: health and metrics have no authentication; a Unix "
			       "socket or loopback would be right",
			       text);
	fd = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(err, errno, "socket: %s", strerror(errno));
	/* [::] means every address, IPv4 too. */
	if (a.ss_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	r = listen_on(fd, (const struct sockaddr *)&a, len, text, err);
	return r < 0 ? r : take_fd(&fd);
}

static int open_unix(const char *path, struct err *err)
{
	CLEANUP(closep) int fd = -1;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct stat st;
	int r;

	if (strlen(path) >= sizeof(a.sun_path))
		return err_set(err, ENAMETOOLONG, "--admin: the path is too long");
	memcpy(a.sun_path, path, strlen(path) + 1);
	/* Left by a server that was killed. Anything else stays. */
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(err, errno, "socket: %s", strerror(errno));
	r = listen_on(fd, (const struct sockaddr *)&a, sizeof(a), path, err);
	if (r < 0)
		return r;
	if (chmod(path, ADMIN_MODE) < 0)
		return err_set(err, errno, "%s: %s", path, strerror(errno));
	return take_fd(&fd);
}

/* ---- libmicrohttpd in the loop ---- */

static void rearm(struct listener *l)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (MHD_get_timeout(l->daemon, &ms) == MHD_YES) {
		(void)sd_event_source_set_time_relative(l->timer, (uint64_t)ms * 1000);
		(void)sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
	} else {
		(void)sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
	}
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *user)
{
	struct listener *l = user;

	(void)source;
	(void)fd;
	(void)events;
	(void)MHD_run(l->daemon);
	rearm(l);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *user)
{
	(void)usec;
	return on_io(source, -1, 0, user);
}

/* Whoever can open a connection can make libmicrohttpd complain: for debugging only. */
__attribute__((format(printf, 2, 0))) static void on_log(void *user, const char *fmt, va_list ap)
{
	char text[DAEMON_LOG_MAX], quoted[LOG_QUOTE_MAX];
	size_t len;

	(void)user;
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	len = strlen(text);
	if (len > 0 && text[len - 1] == '\n')
		text[len - 1] = '\0';
	log_debug("http: %s", log_quote(quoted, text));
}

/* Paths are compared as they came; nothing is unescaped (route.h). */
static size_t keep_escapes(void *user, struct MHD_Connection *connection, char *text)
{
	(void)user;
	(void)connection;
	return strlen(text);
}

static int watch(struct listener *l, struct err *err)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	int r;

	if (info == NULL)
		return err_set(err, EIO, "libmicrohttpd without epoll");
	r = sd_event_add_io(l->server->loop, &l->io, info->epoll_fd, EPOLLIN, on_io, l);
	if (r >= 0)
		r = sd_event_add_time_relative(l->server->loop, &l->timer, CLOCK_MONOTONIC, 0, 1,
					       on_timer, l);
	return r < 0 ? err_set(err, -r, "event loop: %s", strerror(-r)) : 0;
}

static unsigned connections_max(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 256;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < (rlim_t)2 * SERVER_DESCRIPTORS_OTHER)
		return 64;
	limit.rlim_cur -= SERVER_DESCRIPTORS_OTHER;
	return limit.rlim_cur < SERVER_CONNECTIONS_MAX ? (unsigned)limit.rlim_cur
						       : SERVER_CONNECTIONS_MAX;
}

static struct MHD_Daemon *start_admin(struct listener *l)
{
	return MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, exchange_access,
				l, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
				MHD_OPTION_LISTEN_SOCKET, l->fd, MHD_OPTION_CONNECTION_LIMIT,
				(unsigned)ADMIN_CONNECTIONS, MHD_OPTION_NOTIFY_CONNECTION,
				conn_notify, l, MHD_OPTION_NOTIFY_COMPLETED, exchange_completed,
				NULL, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
				MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
}

/* trust: PEM whose names GnuTLS lists when it asks for a certificate. */
static struct MHD_Daemon *start_main(struct listener *l, const char *trust)
{
	return MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_TLS | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL,
		NULL, exchange_access, l, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
		MHD_OPTION_LISTEN_SOCKET, l->fd, MHD_OPTION_CONNECTION_LIMIT, connections_max(),
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SERVER_POOL_SIZE,
		MHD_OPTION_TLS_NO_ALPN, 1, MHD_OPTION_HTTPS_PRIORITIES, TLS_PRIORITIES,
		MHD_OPTION_HTTPS_CERT_CALLBACK, tls_retrieve, MHD_OPTION_HTTPS_MEM_TRUST, trust,
		MHD_OPTION_NOTIFY_CONNECTION, conn_notify, l, MHD_OPTION_NOTIFY_COMPLETED,
		exchange_completed, NULL, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
}

static int start_with_trust(struct listener *l, struct err *err)
{
	CLEANUP(freep) char *own = NULL;
	CLEANUP(freep) char *others = NULL;
	CLEANUP(freep) char *trust = NULL;
	int r = svid_chain_pem(ca_roots(l->server->ca), &own, err);

	if (r >= 0 && l->server->node_roots != NULL)
		r = svid_chain_pem(l->server->node_roots, &others, err);
	if (r < 0)
		return r;
	trust = mem_printf("%s%s", own, others != NULL ? others : "");
	if (trust == NULL)
		return err_set(err, ENOMEM, "out of memory");
	l->daemon = start_main(l, trust);
	return l->daemon == NULL ? err_set(err, EIO, "libmicrohttpd does not start") : 0;
}

static int open_socket(const struct listener *l, struct err *err)
{
	const struct server_config *c = l->server->config;

	if (!l->admin)
		return open_inet(c->listen, false, err);
	if (str_starts(c->admin, UNIX_PREFIX))
		return open_unix(c->admin + strlen(UNIX_PREFIX), err);
	return open_inet(c->admin, true, err);
}

int listener_open(struct listener *l, struct server *s, bool admin, struct err *err)
{
	int r;

	l->server = s;
	l->admin = admin;
	l->fd = -1;
	r = open_socket(l, err);
	if (r < 0)
		return r;
	l->fd = r;
	if (admin) {
		l->daemon = start_admin(l);
		r = l->daemon == NULL ? err_set(err, EIO, "libmicrohttpd does not start") : 0;
	} else {
		r = start_with_trust(l, err);
	}
	return r < 0 ? r : watch(l, err);
}

void listener_close(struct listener *l)
{
	sd_event_source_disable_unref(l->io);
	sd_event_source_disable_unref(l->timer);
	/* The daemon closes the listening socket. */
	if (l->daemon != NULL)
		MHD_stop_daemon(l->daemon);
	else if (l->server != NULL)
		closep(&l->fd);
	if (l->admin && l->server != NULL && l->server->config->admin != NULL &&
	    str_starts(l->server->config->admin, UNIX_PREFIX))
		(void)unlink(l->server->config->admin + strlen(UNIX_PREFIX));
	*l = (struct listener){.fd = -1};
}
