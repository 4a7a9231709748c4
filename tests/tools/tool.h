/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the traffic programs of the tests share: options, the place a program runs in (cgroup,
 * network namespace, user), deadlines, addresses and exit codes. Functions are in the header
 * because each program under tests/tools is one file.
 *
 * A socket keeps the cgroup of the moment it was made (nft reads it from the socket), so
 * place_enter() must come before the first socket().
 */
#pragma once

#include "base/addr.h"
#include "base/mem.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TOOL_FN static inline __attribute__((unused))

/*
 * Nothing here outlives this, whatever becomes of the script that started it. Servers and
 * conversations without --for last as long: one that ended earlier, in the middle of a long test on
 * a slow machine, would look like a flow that the agent has cut.
 */
#define TOOL_LIFE_MAX_S     600
#define TOOL_FOR_DEFAULT_MS (TOOL_LIFE_MAX_S * 1000)

enum tool_exit {
	EXIT_AS_ASKED = 0,
	EXIT_USAGE = 2,
	EXIT_REFUSED = 3,     /* an answer came, and it was no: RST, ICMP error, EPERM */
	EXIT_TIMEOUT = 4,     /* no answer */
	EXIT_UNREACHABLE = 5, /* ICMP: administratively prohibited, no route */
	EXIT_RESET = 6,       /* a running conversation was reset */
	EXIT_CLOSED = 7,      /* the other side ended it */
	EXIT_LOST = 8,        /* some messages came back, others did not; or a flow stalled */
	EXIT_BROKEN = 9,      /* the tool could not do its work */
};

enum opt_kind { OPT_TEXT, OPT_NUMBER, OPT_FLAG };

struct opt {
	const char *name;
	enum opt_kind kind;
	union {
		const char **text;
		uint32_t *number;
		bool *flag;
	} to;
};

struct place {
	const char *netns;
	const char *cgroup;
	const char *uid;
};

TOOL_FN __attribute__((noreturn, format(printf, 2, 3))) void tool_die(int code, const char *fmt,
								      ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	(void)fflush(stdout);
	_exit(code);
}

TOOL_FN int64_t now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

TOOL_FN int ms_until(int64_t deadline_us)
{
	int64_t left = deadline_us - now_us();

	if (left <= 0)
		return 0;
	/* Rounded up: a poll of 0 ms before the deadline would spin. */
	return left / 1000 >= 3600000 ? 3600000 : (int)((left + 999) / 1000);
}

/* Marks are written in hexadecimal: "0x80000007". */
TOOL_FN bool hex_number(const char *text, uint32_t *ret)
{
	static const char digits[] = "0123456789abcdef";
	uint32_t value = 0;
	size_t len = strlen(text);

	if (!str_starts(text, "0x") || len < 3 || len > 10)
		return false;
	for (const char *p = text + 2; *p != '\0'; p++) {
		const char *digit = strchr(digits, *p);

		if (digit == NULL)
			return false;
		value = value << 4 | (uint32_t)(digit - digits);
	}
	*ret = value;
	return true;
}

TOOL_FN uint32_t tool_number(const char *name, const char *text)
{
	uint32_t value;

	if (text_u32(text, 0, UINT32_MAX, &value) < 0 && !hex_number(text, &value))
		tool_die(EXIT_USAGE, "%s: '%s' is no number of 32 bits", name, text);
	return value;
}

TOOL_FN const struct opt *opt_find(const struct opt *opts, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (str_eq(opts[i].name, name))
			return &opts[i];
	}
	tool_die(EXIT_USAGE, "unknown option %s", name);
}

/*
 * Takes options out of argv wherever they stand and keeps the rest in order; "--" ends options.
 * Returns how many words are left.
 */
TOOL_FN int opts_parse(char **argv, int argc, const struct opt *opts, size_t count)
{
	int left = 0;

	for (int i = 0; i < argc; i++) {
		const struct opt *o;

		if (str_eq(argv[i], "--")) {
			while (++i < argc)
				argv[left++] = argv[i];
			break;
		}
		if (!str_starts(argv[i], "--")) {
			argv[left++] = argv[i];
			continue;
		}
		o = opt_find(opts, count, argv[i] + 2);
		if (o->kind == OPT_FLAG) {
			*o->to.flag = true;
			continue;
		}
		if (i + 1 >= argc)
			tool_die(EXIT_USAGE, "%s needs a value", argv[i]);
		i++;
		if (o->kind == OPT_TEXT)
			*o->to.text = argv[i];
		else
			*o->to.number = tool_number(o->name, argv[i]);
	}
	argv[left] = NULL;
	return left;
}

TOOL_FN void place_cgroup(const char *dir)
{
	CLEANUP(closep) int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(closep) int fd = openat(dir_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "0", 1) != 1)
		tool_die(EXIT_BROKEN, "join cgroup %s: %s", dir, strerror(errno));
}

TOOL_FN void place_netns(const char *path)
{
	CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		tool_die(EXIT_BROKEN, "enter network namespace %s: %s", path, strerror(errno));
}

TOOL_FN void place_user(const char *text)
{
	uint32_t uid;

	if (text_u32(text, 0, UINT32_MAX - 1, &uid) < 0)
		tool_die(EXIT_USAGE, "--uid: '%s' is no uid", text);
	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		tool_die(EXIT_BROKEN, "become uid %u: %s", uid, strerror(errno));
}

TOOL_FN void place_enter(const struct place *p)
{
	struct rlimit files;

	(void)alarm(TOOL_LIFE_MAX_S);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	if (p->cgroup != NULL)
		place_cgroup(p->cgroup);
	if (p->netns != NULL)
		place_netns(p->netns);
	if (p->uid != NULL)
		place_user(p->uid);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
}

/* Options before the mode: where to run. Returns the index of the mode in argv. */
TOOL_FN int place_parse(int argc, char **argv, struct place *ret)
{
	int i = 1;

	*ret = (struct place){0};
	for (; i + 1 < argc && str_starts(argv[i], "--"); i += 2) {
		if (str_eq(argv[i], "--netns"))
			ret->netns = argv[i + 1];
		else if (str_eq(argv[i], "--cgroup"))
			ret->cgroup = argv[i + 1];
		else if (str_eq(argv[i], "--uid"))
			ret->uid = argv[i + 1];
		else
			tool_die(EXIT_USAGE, "unknown option %s before the mode", argv[i]);
	}
	return i;
}

struct endpoint {
	struct sockaddr_storage sa;
	socklen_t len;
};

TOOL_FN void endpoint_set(struct endpoint *e, const char *address, uint32_t port)
{
	struct addr a;

	if (addr_parse(address, &a) < 0)
		tool_die(EXIT_USAGE, "'%s' is no address", address);
	if (port > UINT16_MAX)
		tool_die(EXIT_USAGE, "%u is no port", port);
	memset(e, 0, sizeof(*e));
	if (a.family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)&e->sa;

		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		memcpy(&in->sin_addr, a.bytes, sizeof(in->sin_addr));
		e->len = sizeof(*in);
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&e->sa;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		memcpy(&in6->sin6_addr, a.bytes, sizeof(in6->sin6_addr));
		e->len = sizeof(*in6);
	}
}

#define ENDPOINT_TEXT_MAX 64
/* "address port", as every line of output writes it. */
TOOL_FN const char *endpoint_format(char buf[ENDPOINT_TEXT_MAX], const struct sockaddr_storage *sa)
{
	char text[INET6_ADDRSTRLEN] = "?";
	unsigned port = 0;

	if (sa->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)sa;

		(void)inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
		port = ntohs(in->sin_port);
	} else if (sa->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

		(void)inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
		port = ntohs(in6->sin6_port);
	}
	(void)snprintf(buf, ENDPOINT_TEXT_MAX, "%s %u", text, port);
	return buf;
}

TOOL_FN void sock_on(int fd, int level, int option, int value, const char *name)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)) < 0)
		tool_die(EXIT_BROKEN, "set %s: %s", name, strerror(errno));
}

/* Whether an errno of connect, send or receive says that somebody answered no. */
TOOL_FN int exit_of_errno(int code)
{
	switch (code) {
	case ECONNREFUSED:
	case EPERM:
		return EXIT_REFUSED;
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EACCES:
		return EXIT_UNREACHABLE;
	case ECONNRESET:
	case EPIPE:
	case ECONNABORTED:
		return EXIT_RESET;
	case ETIMEDOUT:
	case EAGAIN:
		return EXIT_TIMEOUT;
	default:
		return EXIT_BROKEN;
	}
}

TOOL_FN const char *exit_word(int code)
{
	switch ((enum tool_exit)code) {
	case EXIT_AS_ASKED:
		return "done";
	case EXIT_USAGE:
		return "usage";
	case EXIT_REFUSED:
		return "refused";
	case EXIT_TIMEOUT:
		return "timeout";
	case EXIT_UNREACHABLE:
		return "unreachable";
	case EXIT_RESET:
		return "reset";
	case EXIT_CLOSED:
		return "closed";
	case EXIT_LOST:
		return "stalled";
	case EXIT_BROKEN:
		return "broken";
	}
	return "?";
}

/* SIGTERM and SIGINT ask a program to print what it counted and end. */
static volatile sig_atomic_t stop_asked;

TOOL_FN void stop_on_signal(int number)
{
	(void)number;
	stop_asked = 1;
}

TOOL_FN void stop_install(void)
{
	struct sigaction act = {.sa_handler = stop_on_signal};

	(void)sigaction(SIGTERM, &act, NULL);
	(void)sigaction(SIGINT, &act, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

struct tool_mode {
	const char *name;
	int (*run)(char **words, int count);
};

TOOL_FN int run_mode(const struct tool_mode *modes, size_t mode_count, const char *name,
		     char **words, int count)
{
	for (size_t i = 0; i < mode_count; i++) {
		if (strcmp(name, modes[i].name) == 0)
			return modes[i].run(words, count);
	}
	tool_die(EXIT_USAGE, "no mode is called '%s'", name);
}
