/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bailiwickd: arguments, privileges, run. */
#include "agent/agent.h"
#include "agent/controller_address.h"
#include "agent/privilege.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/release.h"
#include "base/text.h"

#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#define CONFIG_PRINT_MAX (1U << 20)

enum { EXIT_CONFIG = 1, EXIT_USAGE_ERROR = 2 };

struct arguments {
	const char *config;
	const char *courier_user;
	bool check;
};

static void usage(FILE *out)
{
	(void)fputs(
		"usage: bailiwickd [--config FILE] [--foreground] [--check] [--version]\n"
		"                  [--courier-user NAME|UID]\n"
		"  --config FILE  default " CONFIG_DEFAULT_FILE
		"; a missing file means every default\n"
		"  --foreground   log without a date to stderr (the default; kept for scripts)\n"
		"  --check        print the effective configuration and end\n"
		"  --courier-user NAME|UID  who may use courier.sock besides root; default\n"
		"                 " CONFIG_COURIER_USER "\n",
		out);
}

/* Returns an exit status, or -1 to go on. */
static int parse_arguments(int argc, char **argv, struct arguments *ret)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"foreground", no_argument, NULL, 'f'},
		{"check", no_argument, NULL, 'k'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{"courier-user", required_argument, NULL, 'u'},
		{NULL, 0, NULL, 0},
	};
	int o;

	*ret = (struct arguments){.config = CONFIG_DEFAULT_FILE};
	while ((o = getopt_long(argc, argv, "c:fh", options, NULL)) >= 0) {
		switch (o) {
		case 'c':
			ret->config = optarg;
			break;
		case 'f':
			break;
		case 'u':
			ret->courier_user = optarg;
			break;
		case 'k':
			ret->check = true;
			break;
		case 'v':
			(void)puts("bailiwickd " RELEASE);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return EXIT_USAGE_ERROR;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return EXIT_USAGE_ERROR;
	}
	return -1;
}

static void report(void *user, const char *line)
{
	(void)user;
	(void)fprintf(stderr, "%s\n", line);
}

static int print_config(const struct config *c)
{
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, CONFIG_PRINT_MAX);
	config_format(c, &b);
	if (b.r < 0)
		return EXIT_CONFIG;
	(void)fputs(b.data, stdout);
	return 0;
}

/*
 * Large arrays come and go with each policy. glibc raises its threshold for mapping them whenever
 * one is freed, after which they fragment the heap; a fixed one gives their pages back at once.
 */
#define MMAP_THRESHOLD_BYTES (128 << 10)

static int run(struct config *config)
{
	CLEANUP(agent_freep) struct agent *a = NULL;
	struct err err = {{0}};
	int r;

	(void)mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES);
	log_set_level(config->log_level);
	r = privilege_keep(&err);
	if (r >= 0)
		r = agent_new(config, &a, &err);
	if (r >= 0)
		r = agent_start(a, &err);
	if (r >= 0)
		r = privilege_confine(&err);
	if (r < 0) {
		log_error("not started: %s", err.text);
		return EXIT_FAILURE;
	}
	r = agent_run(a);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	CLEANUP(config_done) struct config config;
	struct arguments args;
	struct err err = {{0}};
	int status, r;

	if (argc == 3 && str_eq(argv[1], CONTROLLER_ADDRESS_OPTION))
		controller_address_look_up(argv[2]);
	status = parse_arguments(argc, argv, &args);
	if (status >= 0) {
		config = (struct config){0};
		return status;
	}
	r = config_defaults(&config, &err);
	if (r >= 0 && args.courier_user)
		r = config_courier_user(&config, args.courier_user, &err);
	if (r >= 0)
		r = config_load(&config, args.config, report, NULL, &err);
	if (r < 0) {
		(void)fprintf(stderr, "bailiwickd: %s\n", err.text);
		return EXIT_CONFIG;
	}
	return args.check ? print_config(&config) : run(&config);
}
