/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * New connections: a server, clients that open as many as they can or at a fixed rate, and a crowd
 * of processes that only exist. bench/attested.sh runs it in the hosts of each subject.
 *
 *   connects serve PORT WORKERS                        says "listening", until it is killed
 *   connects rate ADDRESS PORT CLIENTS MS              one after another, each client for itself
 *   connects paced ADDRESS PORT CLIENTS MS RATE [fork] RATE a second in all, open loop
 *   connects first ADDRESS PORT MS                     until the first one succeeds, or for MS
 *   connects crowd COUNT                               says "standing", until it is killed
 *
 * A connection is connect(), a byte there, a byte back, and a reset: a TIME_WAIT socket would meet
 * a later connection of the same port. Times are of connect() and until the byte is back; the
 * second is what counts where a proxy on the same host takes connect() for itself.
 *
 * Open loop: each connection has its moment, whatever became of the one before. Who comes late to
 * his moment because an earlier connection kept him counts from the moment and not from connect()
 * (coordinated omission); who comes late because the clock woke him late counts from when he woke.
 * With `fork` each connection is made by a new process.
 *
 * One line of JSON on stdout; microseconds. What failed is counted and is in no quantile.
 */
#include "bench/bench.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define CLIENTS_MAX      64
#define WORKERS_MAX      64
#define CROWD_MAX        4000
#define CROWD_SOCKETS    8
#define SAMPLES_MAX      (1U << 19) /* of one client: memory is touched as it is used */
#define MS_MAX           60000
#define RATE_MAX         100000
#define BACKLOG          1024
#define PATIENCE_S       4 /* two retransmissions of a SYN */
#define START_DELAY_NS   30000000
#define RETRY_NS         1000000
#define PATIENCE_FIRST_S 1
#define LIFE_S           3600 /* of what waits to be killed */

struct sample {
	float connect_us, answer_us;
};

struct client {
	uint64_t failed;
	int64_t ended;
	size_t count;
	struct sample samples[SAMPLES_MAX];
};

struct load {
	struct sockaddr_in to;
	unsigned clients;
	int64_t began, until, period; /* period 0: as many as they can */
	bool forks;
	struct client *shared;
};

/* --- the serving side ------------------------------------------------------------------------ */

static void reset_at_close(int fd)
{
	const struct linger now = {.l_onoff = 1};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static _Noreturn void serve_work(int listener)
{
	char byte;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		CLEANUP(closep) int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		reset_at_close(fd);
		if (recv(fd, &byte, 1, 0) == 1)
			(void)send(fd, &byte, 1, MSG_NOSIGNAL);
		/* The client ends first: its reset must not cross an end of ours. */
		(void)recv(fd, &byte, 1, 0);
	}
}

static _Noreturn void wait_for_end(void)
{
	for (;;)
		(void)pause();
}

static _Noreturn void serve(uint16_t port, unsigned workers)
{
	const struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	(void)alarm(LIFE_S);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    listen(fd, BACKLOG) < 0)
		die("listen on port %u: %s", port, strerror(errno));
	for (unsigned i = 0; i < workers; i++) {
		if (fork() == 0)
			serve_work(fd);
	}
	(void)puts("listening");
	(void)fflush(stdout);
	wait_for_end();
}

/* --- the crowd ------------------------------------------------------------------------------- */

static _Noreturn void stand(void)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned i = 0; i < CROWD_SOCKETS; i++)
		(void)socket(AF_INET, i % 2 == 0 ? SOCK_STREAM : SOCK_DGRAM, 0);
	wait_for_end();
}

static _Noreturn void crowd(unsigned count)
{
	(void)alarm(LIFE_S);
	for (unsigned i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("process %u of the crowd: %s", i, strerror(errno));
		if (pid == 0)
			stand();
	}
	(void)puts("standing");
	(void)fflush(stdout);
	wait_for_end();
}

/* --- one connection -------------------------------------------------------------------------- */

static bool once(const struct sockaddr_in *to, unsigned patience_s, int64_t from,
		 struct sample *ret_sample)
{
	const struct timeval patience = {.tv_sec = patience_s};
	CLEANUP(closep) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int64_t connected;
	char byte = 'x';

	if (fd < 0)
		die("socket: %s", strerror(errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	reset_at_close(fd);
	if (from == 0)
		from = clock_ns();
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0)
		return false;
	connected = clock_ns();
	if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1)
		return false;
	ret_sample->connect_us = (float)((double)(connected - from) / NS_PER_US);
	ret_sample->answer_us = (float)((double)(clock_ns() - from) / NS_PER_US);
	return true;
}

static void once_noted(const struct load *l, struct client *c, int64_t from)
{
	if (c->count == SAMPLES_MAX)
		die("more than %u connections of one client", SAMPLES_MAX);
	if (once(&l->to, PATIENCE_S, from, &c->samples[c->count]))
		c->count++;
	else
		c->failed++;
}

static void once_forked(const struct load *l, struct client *c, int64_t from)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0) {
		once_noted(l, c, from);
		_exit(EXIT_SUCCESS);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		c->failed++;
}

/* --- clients --------------------------------------------------------------------------------- */

static void sleep_until(int64_t ns)
{
	const struct timespec t = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static void client_paced(const struct load *l, struct client *c, unsigned number)
{
	int64_t step = l->period * l->clients;

	for (int64_t due = l->began + number * l->period; due < l->until; due += step) {
		bool late = clock_ns() > due;

		if (!late)
			sleep_until(due);
		if (l->forks)
			once_forked(l, c, late ? due : 0);
		else
			once_noted(l, c, late ? due : 0);
	}
}

static _Noreturn void client_run(const struct load *l, unsigned number)
{
	struct client *c = &l->shared[number];

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)prctl(PR_SET_TIMERSLACK, 1UL);
	sleep_until(l->began);
	if (l->period > 0)
		client_paced(l, c, number);
	while (l->period == 0 && clock_ns() < l->until)
		once_noted(l, c, 0);
	c->ended = clock_ns();
	_exit(EXIT_SUCCESS);
}

/* --- what came of it ------------------------------------------------------------------------- */

static json_t *quantiles(double *us, size_t count)
{
	double median;

	if (count == 0)
		return json_null();
	median = quantile(us, count, 0.5); /* sorts */
	return json_pack("{s:f, s:f, s:f, s:f, s:f}", "p50", median, "p90",
			 quantile(us, count, 0.9), "p99", quantile(us, count, 0.99), "p999",
			 quantile(us, count, 0.999), "max", us[count - 1]);
}

/* Of all clients side by side. */
static json_t *all_quantiles(const struct load *l, size_t total, bool answers)
{
	CLEANUP(freep) double *us = mem_calloc(total + 1, sizeof(*us));
	size_t at = 0;

	if (us == NULL)
		die("no memory");
	for (unsigned i = 0; i < l->clients; i++) {
		const struct client *c = &l->shared[i];

		for (size_t k = 0; k < c->count; k++)
			us[at++] = answers ? (double)c->samples[k].answer_us
					   : (double)c->samples[k].connect_us;
	}
	return quantiles(us, total);
}

static void say(json_t *json)
{
	CLEANUP(freep)
	char *text = json != NULL ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;

	if (text == NULL)
		die("no memory");
	(void)puts(text);
	json_decref(json);
}

static void load_report(const struct load *l)
{
	size_t total = 0;
	uint64_t failed = 0;
	int64_t ended = l->until;

	for (unsigned i = 0; i < l->clients; i++) {
		total += l->shared[i].count;
		failed += l->shared[i].failed;
		if (l->shared[i].ended > ended)
			ended = l->shared[i].ended;
	}
	say(json_pack("{s:I, s:I, s:f, s:o, s:o}", "count", (json_int_t)total, "failed",
		      (json_int_t)failed, "rate",
		      (double)total * NS_PER_S / (double)(ended - l->began), "connect",
		      all_quantiles(l, total, false), "answer", all_quantiles(l, total, true)));
}

static void load_run(struct load *l, unsigned ms)
{
	size_t size = l->clients * sizeof(*l->shared);
	int status;

	l->shared = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (l->shared == MAP_FAILED)
		die("no memory");
	l->began = clock_ns() + START_DELAY_NS;
	l->until = l->began + ms * INT64_C(1000000);
	for (unsigned i = 0; i < l->clients; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork: %s", strerror(errno));
		if (pid == 0)
			client_run(l, i);
	}
	for (unsigned i = 0; i < l->clients; i++) {
		if (wait(&status) < 0 || status != 0)
			die("a client did not end well");
	}
	load_report(l);
}

/* Tries again and again: who has just come to be may not be known yet. */
static void first(const struct sockaddr_in *to, unsigned ms)
{
	int64_t began = clock_ns(), until = began + ms * INT64_C(1000000);
	struct sample sample;
	unsigned tries = 1;

	for (; !once(to, PATIENCE_FIRST_S, began, &sample); tries++) {
		if (clock_ns() > until)
			die("nothing connected within %u ms", ms);
		sleep_until(clock_ns() + RETRY_NS);
	}
	say(json_pack("{s:i, s:f, s:f}", "tries", (int)tries, "connect", (double)sample.connect_us,
		      "answer", (double)sample.answer_us));
}

/* --- command line ---------------------------------------------------------------------------- */

static struct sockaddr_in address(const char *text, const char *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};

	if (inet_pton(AF_INET, text, &sa.sin_addr) != 1)
		die("'%s' is no IPv4 address", text);
	sa.sin_port = htons((uint16_t)argument_number("PORT", port, 1, UINT16_MAX));
	return sa;
}

static void main_load(char **words, int count)
{
	struct load l = {.to = address(words[1], words[2])};
	uint32_t ms = argument_number("MS", words[4], 1, MS_MAX);

	l.clients = argument_number("CLIENTS", words[3], 1, CLIENTS_MAX);
	if (count > 5)
		l.period = NS_PER_S / argument_number("RATE", words[5], 1, RATE_MAX);
	l.forks = count == 7;
	load_run(&l, ms);
}

int main(int argc, char **argv)
{
	char **words = argv + 1;
	int count = argc - 1;

	bench_begin();
	if (count == 3 && str_eq(words[0], "serve"))
		serve((uint16_t)argument_number("PORT", words[1], 1, UINT16_MAX),
		      argument_number("WORKERS", words[2], 1, WORKERS_MAX));
	if (count == 2 && str_eq(words[0], "crowd"))
		crowd(argument_number("COUNT", words[1], 1, CROWD_MAX));
	if (count == 5 && str_eq(words[0], "rate")) {
		main_load(words, count);
	} else if ((count == 6 || (count == 7 && str_eq(words[6], "fork"))) &&
		   str_eq(words[0], "paced")) {
		main_load(words, count);
	} else if (count == 4 && str_eq(words[0], "first")) {
		const struct sockaddr_in to = address(words[1], words[2]);

		first(&to, argument_number("MS", words[3], 1, MS_MAX));
	} else {
		die("usage: connects serve|rate|paced|first|crowd ...; see bench/connects.c");
	}
	return 0;
}
