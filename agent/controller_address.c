/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/controller_address.h"

#include "agent/attest_port.h"
#include "agent/store.h"
#include "agent/workload.h"
#include "base/confine.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <cap-ng.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ADDRESS_FILE "controller.json"
#define ASK_LOST_S   60  /* while the controller is not reached */
#define ASK_S        600 /* else: names move */
#define WHY          "controller"

#define RESOLVER_NAME "bailiwick-names"
#define RESOLVER_FD   (STDERR_FILENO + 1)

struct answer {
	uint8_t count;
	struct addr list[CONTROLLER_ADDRESSES_MAX];
};

struct controller_address {
	struct agent *agent;
	struct answer known;
	int fd; /* to the process that looks up */
	pid_t pid;
	sd_event_source *io;
	unsigned seconds;
	bool waiting, complained;
};

/* --- the process that looks up ------------------------------------------------------------ */

static void take_sockaddr(const struct sockaddr *sa, struct answer *ret)
{
	const struct sockaddr_in *v4 = (const void *)sa;
	const struct sockaddr_in6 *v6 = (const void *)sa;
	struct addr a = {.family = (uint8_t)sa->sa_family};

	if (sa->sa_family == AF_INET)
		memcpy(a.bytes, &v4->sin_addr, sizeof(v4->sin_addr));
	else if (sa->sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		memcpy(a.bytes, &v6->sin6_addr, sizeof(v6->sin6_addr));
	else
		return;
	if (ret->count < CONTROLLER_ADDRESSES_MAX)
		ret->list[ret->count++] = a;
}

static void look_up(const char *host, struct answer *ret)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;

	memset(ret, 0, sizeof(*ret));
	if (getaddrinfo(host, NULL, &hints, &found) != 0)
		return;
	for (const struct addrinfo *i = found; i; i = i->ai_next)
		take_sockaddr(i->ai_addr, ret);
	freeaddrinfo(found);
}

/* --- without a capability, without a descriptor but the socket; ends with the agent */

/* It reads what anybody in the network may have sent, and has the agent's user. */
static const int refused[] = {
	SCMP_SYS(kill),
	SCMP_SYS(pidfd_open),
	SCMP_SYS(pidfd_send_signal),
	SCMP_SYS(listen),
};

static _Noreturn void answer_questions(const char *host)
{
	struct answer answer;
	char question;

	(void)prctl(PR_SET_NAME, RESOLVER_NAME);
	if (confine(refused, ARRAY_LEN(refused), NULL) < 0)
		_exit(1);
	while (recv(RESOLVER_FD, &question, 1, 0) == 1) {
		look_up(host, &answer);
		if (send(RESOLVER_FD, &answer, sizeof(answer), MSG_NOSIGNAL) < 0)
			break;
	}
	_exit(0);
}

static bool capabilities_dropped(void)
{
	capng_clear(CAPNG_SELECT_BOTH);
	return capng_apply(CAPNG_SELECT_BOTH) >= 0 || capng_apply(CAPNG_SELECT_CAPS) >= 0;
}

/*
 * The filter of bailiwickd.service refuses capset(2). Its user is not root, so a program that is
 * executed with an empty ambient set has no capability (capabilities(7)).
 */
static _Noreturn void drop_by_executing(const char *host)
{
	char self[] = RESOLVER_NAME, option[] = CONTROLLER_ADDRESS_OPTION;
	char name[CONFIG_HOST_MAX];
	char *const words[] = {self, option, name, NULL};

	(void)snprintf(name, sizeof(name), "%s", host);
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0)
		(void)execv("/proc/self/exe", words);
	_exit(1);
}

_Noreturn void controller_address_look_up(const char *host)
{
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_get_caps_process() < 0 ||
	    capng_have_capabilities(CAPNG_SELECT_CAPS) != CAPNG_NONE)
		_exit(1);
	answer_questions(host);
}

static _Noreturn void resolver(const char *host, int fd, pid_t parent)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (getppid() != parent || dup2(fd, RESOLVER_FD) < 0 ||
	    close_range(RESOLVER_FD + 1, ~0U, 0) < 0)
		_exit(1);
	if (!capabilities_dropped())
		drop_by_executing(host);
	answer_questions(host);
}

static int start_resolver(struct controller_address *c, struct err *err)
{
	pid_t self = getpid();
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return err_set(err, errno, "controller's name: %s", strerror(errno));
	c->pid = fork();
	if (c->pid < 0) {
		int code = errno;

		(void)close(fds[0]);
		(void)close(fds[1]);
		return err_set(err, code, "controller's name: %s", strerror(code));
	}
	if (c->pid == 0)
		resolver(c->agent->config.controller_host, fds[1], self);
	(void)close(fds[1]);
	c->fd = fds[0];
	return 0;
}

/* --- essentials --------------------------------------------------------------------------- */

static bool is_ours(const struct essential *e)
{
	return e->direction == ESSENTIAL_OUT && e->by_count == 1 && str_eq(e->why, WHY) &&
	       str_eq(e->by[0], CONTROLLER_COURIER_UNIT);
}

static void essential_free(struct essential *e)
{
	free(e->why);
	for (size_t i = 0; i < e->by_count; i++)
		free(e->by[i]);
}

static void drop_ours(struct essentials *all)
{
	size_t kept = 0;

	for (size_t i = 0; i < all->count; i++) {
		if (is_ours(&all->entries[i]))
			essential_free(&all->entries[i]);
		else
			all->entries[kept++] = all->entries[i];
	}
	all->count = kept;
}

static int add_essential(struct essentials *all, const struct addr *to, uint16_t port)
{
	struct essential e = {
		.direction = ESSENTIAL_OUT,
		.far = {.addr = *to, .len = (uint8_t)(addr_len(to) * 8)},
		.service = {.kind = SERVICE_TCP, .first = port, .last = port},
		.by_count = 1,
	};
	struct essential *grown;

	if (all->count >= ESSENTIALS_MAX + ATTEST_PORT_ESSENTIALS_MAX)
		return -E2BIG;
	grown = reallocarray(all->entries, all->count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	all->entries = grown;
	e.why = mem_strdup(WHY);
	e.by[0] = mem_strdup(CONTROLLER_COURIER_UNIT);
	if (!e.why || !e.by[0]) {
		essential_free(&e);
		return -ENOMEM;
	}
	grown[all->count++] = e;
	return 0;
}

static int set_essentials(struct controller_address *c, struct err *err)
{
	struct config *config = &c->agent->config;
	int r = 0;

	drop_ours(&config->essentials);
	for (size_t i = 0; i < c->known.count && r >= 0; i++)
		r = add_essential(&config->essentials, &c->known.list[i], config->controller_port);
	return r < 0 ? err_set(err, -r, "the controller's address cannot be essential: %s",
			       strerror(-r))
		     : 0;
}

/* The slots have borrowed what has just changed. */
static void reload(struct agent *a)
{
	struct err err = {{0}};
	int r = workloads_set_policy(a->workloads, SLOT_A, a->confirmed.policy, a->view,
				     &a->config.essentials, &err);

	if (r >= 0 && a->candidate.policy)
		r = workloads_set_policy(a->workloads, SLOT_B, a->candidate.policy, a->view,
					 &a->config.essentials, &err);
	if (r < 0)
		log_error("controller's address: %s", err.text);
	agent_touch(a, DIRTY_POLICY | DIRTY_HOST);
}

/* --- on disk ------------------------------------------------------------------------------ */

static void keep(const struct controller_address *c)
{
	CLEANUP(json_decrefp) json_t *list = json_array();
	CLEANUP(json_decrefp) json_t *json = NULL;
	char text[ADDR_TEXT_MAX];
	struct err err = {{0}};

	for (size_t i = 0; i < c->known.count; i++)
		(void)json_array_append_new(list,
					    json_string(addr_format(text, &c->known.list[i])));
	json = json_pack("{s:s,s:O}", "name", c->agent->config.controller_host, "addresses", list);
	if (store_json_write(c->agent->store, ADDRESS_FILE, json, &err) < 0)
		log_warn("the controller's address is not kept: %s", err.text);
}

static int read_kept(struct controller_address *c, struct answer *ret, struct err *err)
{
	CLEANUP(json_decrefp) json_t *json = NULL;
	struct json_object o;
	const char *name;
	json_t *list;
	int r = store_json_read(c->agent->store, ADDRESS_FILE, &json, err);

	memset(ret, 0, sizeof(*ret));
	if (r < 0)
		return r;
	json_object_begin(&o, json, ADDRESS_FILE, "", err);
	name = json_take_string(&o, "name", CONFIG_HOST_MAX);
	list = json_take_array(&o, "addresses", CONTROLLER_ADDRESSES_MAX);
	r = json_finish(&o);
	if (r < 0 || !str_eq(name, c->agent->config.controller_host))
		return r < 0 ? r : -ENOENT;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (text && addr_parse(text, &ret->list[ret->count]) >= 0)
			ret->count++;
	}
	return 0;
}

/* --- answers ------------------------------------------------------------------------------ */

static int by_addr(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

static void take_answer(struct controller_address *c, struct answer *answer)
{
	struct err err = {{0}};

	if (!answer->count) {
		if (!c->complained && !c->known.count)
			log_warn("the controller's name %s is not found here: until it is, its "
				 "port is open to " CONTROLLER_COURIER_UNIT " at every address; an "
				 "address in the URL, or a line in /etc/hosts, would be right",
				 c->agent->config.controller_host);
		c->complained = true;
		return;
	}
	c->complained = false;
	/* Names with several addresses are answered in another order each time. */
	qsort(answer->list, answer->count, sizeof(answer->list[0]), by_addr);
	if (memcmp(answer, &c->known, sizeof(*answer)) == 0)
		return;
	c->known = *answer;
	if (set_essentials(c, &err) < 0)
		log_error("%s", err.text);
	keep(c);
	reload(c->agent);
}

static int on_answer(sd_event_source *s, int fd, uint32_t revents, void *user)
{
	struct controller_address *c = user;
	struct answer answer = {0};
	ssize_t n = recv(fd, &answer, sizeof(answer), MSG_DONTWAIT);

	(void)revents;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	c->waiting = false;
	if (n == (ssize_t)sizeof(answer) && answer.count <= CONTROLLER_ADDRESSES_MAX) {
		take_answer(c, &answer);
		return 0;
	}
	/* It ended: what is known stays. */
	log_warn("names are not looked up any more; the controller's last addresses stay");
	c->io = sd_event_source_disable_unref(s);
	return 0;
}

static void ask(struct controller_address *c)
{
	c->seconds = 0;
	if (c->io && !c->waiting && send(c->fd, "?", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1)
		c->waiting = true;
}

/* --- the whole ---------------------------------------------------------------------------- */

int controller_address_new(struct agent *a, struct controller_address **ret, struct err *err)
{
	struct controller_address *c;
	struct addr literal;
	int r;

	*ret = NULL;
	/* An address in the URL is among the essentials since the configuration was read. */
	if (!a->config.controller_url || addr_parse(a->config.controller_host, &literal) >= 0)
		return 0;
	c = mem_calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, ENOMEM, "out of memory");
	c->agent = a;
	c->fd = -1;
	r = start_resolver(c, err);
	if (r < 0) {
		controller_address_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

int controller_address_load(struct controller_address *c, struct err *err)
{
	struct err ignored = {{0}};

	if (!c || read_kept(c, &c->known, &ignored) < 0 || !c->known.count)
		return 0;
	return set_essentials(c, err);
}

int controller_address_start(struct controller_address *c, struct err *err)
{
	int r;

	if (!c)
		return 0;
	r = sd_event_add_io(c->agent->event, &c->io, c->fd, EPOLLIN, on_answer, c);
	if (r < 0)
		return err_set(err, -r, "controller's name: %s", strerror(-r));
	ask(c);
	return 0;
}

void controller_address_tick(struct controller_address *c, bool connected)
{
	if (c && ++c->seconds >= (connected ? ASK_S : ASK_LOST_S))
		ask(c);
}

void controller_address_free(struct controller_address *c)
{
	if (!c)
		return;
	sd_event_source_disable_unref(c->io);
	closep(&c->fd);
	if (c->pid > 0) {
		(void)kill(c->pid, SIGKILL);
		(void)waitpid(c->pid, NULL, 0);
	}
	free(c);
}
