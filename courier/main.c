/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bailiwick-courier: arguments, privileges, run. */
#include "base/log.h"
#include "base/mem.h"
#include "base/release.h"
#include "base/text.h"
#include "courier/courier.h"
#include "courier/privilege.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define RUN_DIR_DEFAULT "/run/bailiwick"
#define SOCKET_NAME     "courier.sock"
#define CACHE_VARIABLE  "CACHE_DIRECTORY" /* systemd's, with CacheDirectory= */

enum { EXIT_USAGE_ERROR = 2 };

struct arguments {
	struct courier_arguments courier;
	const char *run_dir, *user;
};

static void usage(FILE *out)
{
	(void)fputs(
		"usage: bailiwick-courier [--run-dir DIR | --socket PATH] [--cache DIR]\n"
		"                         [--cache-max BYTES] [--user NAME|UID] [--foreground]\n"
		"                         [--version]\n"
		"  --run-dir DIR      the agent's; default " RUN_DIR_DEFAULT "\n"
		"  --socket PATH      the agent's socket; default DIR/" SOCKET_NAME "\n"
		"  --cache DIR        where blobs are kept; default $" CACHE_VARIABLE
		", else nowhere\n"
		"  --cache-max BYTES  how much of them; default 268435456\n"
		"  --user NAME|UID    when started as root; default " COURIER_USER_DEFAULT "\n"
		"  --foreground       log to stderr (the default; kept for scripts)\n",
		out);
}

static int take_size(const char *text, uint64_t *ret)
{
	if (text_u64(text, 0, INT64_MAX, ret) >= 0)
		return -1;
	(void)fprintf(stderr, "bailiwick-courier: --cache-max %s: not a number of bytes\n", text);
	return EXIT_USAGE_ERROR;
}

/* Returns an exit status, or -1 to go on. */
static int take_option(int o, struct arguments *a)
{
	switch (o) {
	case 's':
		a->courier.socket = optarg;
		return -1;
	case 'r':
		a->run_dir = optarg;
		return -1;
	case 'c':
		a->courier.cache_dir = optarg;
		return -1;
	case 'm':
		return take_size(optarg, &a->courier.cache_max);
	case 'u':
		a->user = optarg;
		return -1;
	case 'f':
		return -1;
	case 'v':
		(void)puts("bailiwick-courier " RELEASE);
		return 0;
	case 'h':
		usage(stdout);
		return 0;
	default:
		usage(stderr);
		return EXIT_USAGE_ERROR;
	}
}

static int parse_arguments(int argc, char **argv, struct arguments *ret)
{
	static const struct option options[] = {
		{"run-dir", required_argument, NULL, 'r'},
		{"socket", required_argument, NULL, 's'},
		{"cache", required_argument, NULL, 'c'},
		{"cache-max", required_argument, NULL, 'm'},
		{"user", required_argument, NULL, 'u'},
		{"foreground", no_argument, NULL, 'f'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int o, status = -1;

	*ret = (struct arguments){
		.run_dir = RUN_DIR_DEFAULT,
		.courier = {.cache_dir = getenv(CACHE_VARIABLE), .cache_max = CACHE_MAX_DEFAULT}};
	while (status < 0 && (o = getopt_long(argc, argv, "fh", options, NULL)) >= 0)
		status = take_option(o, ret);
	if (status < 0 && optind < argc) {
		usage(stderr);
		return EXIT_USAGE_ERROR;
	}
	return status;
}

int main(int argc, char **argv)
{
	CLEANUP(courier_freep) struct courier *c = NULL;
	CLEANUP(freep) char *socket = NULL;
	struct arguments args;
	struct err err = {{0}};
	int status = parse_arguments(argc, argv, &args), r;

	if (status >= 0)
		return status;
	socket = mem_printf("%s/" SOCKET_NAME, args.run_dir);
	if (!args.courier.socket)
		args.courier.socket = socket;
	r = args.courier.socket ? privilege_drop(args.user, &err)
				: err_set(&err, ENOMEM, "out of memory");
	if (r >= 0)
		r = privilege_confine(&err);
	if (r >= 0)
		r = courier_new(&args.courier, &c, &err);
	if (r < 0) {
		log_error("not started: %s", err.text);
		return EXIT_FAILURE;
	}
	return courier_run(c) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
