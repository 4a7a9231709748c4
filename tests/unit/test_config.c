/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/config.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define REPORTS_MAX 4096

struct reports {
	char text[REPORTS_MAX];
	size_t count;
};

static void collect(void *user, const char *line)
{
	struct reports *r = user;
	size_t at = strlen(r->text);

	(void)snprintf(r->text + at, sizeof(r->text) - at, "%s\n", line);
	r->count++;
}

static int parse(struct config *c, const char *text, struct reports *reports)
{
	struct err err;

	memset(reports, 0, sizeof(*reports));
	CHECK_OK(config_defaults(c, &err), &err);
	return config_parse(c, "agent.yaml", text, strlen(text), collect, reports);
}

#define WHOLE                                                                                      \
	"version: 1\n"                                                                             \
	"node: pay-1\n"                                                                            \
	"trust_domain: acme.example\n"                                                             \
	"labels: [role=payments, site=eu-1]\n"                                                     \
	"source:\n"                                                                                \
	"  directory: /etc/bailiwick/site\n"                                                       \
	"svid: {cert: /a.pem, key: /a.key, bundle: /b.pem}\n"                                      \
	"state_dir: /var/lib/bw\n"                                                                 \
	"run_dir: /run/bw\n"                                                                       \
	"cgroup_root: /machine/pay-1\n"                                                            \
	"table: bw_1\n"                                                                            \
	"attest: {listen: [\"10.0.0.5\", \"fd00::5\"], port: 7114}\n"                              \
	"queues: {first: 7200, max_pending: 512}\n"                                                \
	"nflog_group: 7300\n"                                                                      \
	"mode: selective\n"                                                                        \
	"forward: []\n"                                                                            \
	"essentials:\n"                                                                            \
	"  dns: [\"10.0.0.53\"]\n"                                                                 \
	"  ntp: [\"10.0.0.1\"]\n"                                                                  \
	"  dhcp: true\n"                                                                           \
	"  management: [{from: \"10.9.0.0/24\", service: tcp/22, by: [ssh.service]}]\n"            \
	"  also: [{direction: out, to: \"10.0.0.80\", service: tcp/443, why: \"mirror\",\n"        \
	"          by: [apt-daily.service]}]\n"                                                    \
	"  kernel: [{proto: udp, port: 51820, why: \"WireGuard\"}, {proto: esp}]\n"                \
	"evidence: {deleted_exe: deny}\n"                                                          \
	"log: {level: debug, decisions: /var/log/bw.json}\n"                                       \
	"metrics: {unix: false, listen: \"127.0.0.1:9100\"}\n"

TEST(config_of_the_format_document)
{
	CLEANUP(config_done) struct config c;
	struct reports rep;

	CHECK_INT(parse(&c, WHOLE, &rep), 0);
	CHECK_STR(rep.text, "");
	CHECK_STR(c.node, "pay-1");
	CHECK_STR(c.cgroup_root, "/machine/pay-1");
	CHECK_UINT(c.label_count, 2);
	CHECK_UINT(c.queue_first, 7200);
	CHECK_UINT(c.attest_listen_count, 2);
	CHECK_INT(c.mode, MODE_SELECTIVE);
	CHECK_INT(c.decisions, DECISIONS_FILE);
	CHECK(!c.metrics_unix);
	/* dns over both transports, ntp, four of dhcp, management, also, two of the kernel */
	CHECK_UINT(c.essentials.count, 11);
	CHECK_INT(c.essentials.entries[7].direction, ESSENTIAL_IN);
	CHECK_STR(c.essentials.entries[7].by[0], "ssh.service");
	CHECK_INT(c.essentials.entries[8].direction, ESSENTIAL_OUT);
	CHECK_UINT(c.essentials.entries[10].l4proto, 50);
}

TEST(config_prints_what_it_reads)
{
	CLEANUP(config_done) struct config c, again;
	CLEANUP(buf_done) struct buf first, second;
	struct reports rep;

	buf_init(&first, 1 << 16);
	buf_init(&second, 1 << 16);
	CHECK_INT(parse(&c, WHOLE, &rep), 0);
	config_format(&c, &first);
	CHECK_INT(parse(&again, first.data, &rep), 0);
	config_format(&again, &second);
	CHECK_STR(second.data, first.data);
}

TEST(config_reports_every_mistake_with_its_place)
{
	CLEANUP(config_done) struct config c;
	struct reports rep;

	CHECK_INT(parse(&c,
			"version: 2\n"
			"nodde: x\n"
			"mode: enfroce\n"
			"queues: {first: 99999}\n"
			"essentials: {management: [{from: \"10.0.0.0/8\", service: tcp/22}]}\n",
			&rep),
		  -EINVAL);
	CHECK_CONTAINS(rep.text,
		       "agent.yaml:1:10: this is not a number in range; a number from 1 to 1");
	CHECK_CONTAINS(rep.text, "agent.yaml:2:1: unknown key \"nodde\"; did you mean \"node\"?");
	CHECK_CONTAINS(rep.text, "agent.yaml:3:7: \"enfroce\" is not known here");
	CHECK_CONTAINS(rep.text, "agent.yaml:4:17: this is not a number in range");
	CHECK_CONTAINS(rep.text, "agent.yaml:5:27: management from so wide a network");
	CHECK_UINT(rep.count, 5);
}

TEST(config_refuses_what_is_not_built)
{
	CLEANUP(config_done) struct config c;
	struct reports rep;

	CHECK_INT(parse(&c,
			"version: 1\n"
			"forward: [eth1]\n"
			"trust: {policy: {keys: [/a.pub], threshold: 1}}\n"
			"source: {controller: {url: \"https://c:1\"}}\n",
			&rep),
		  -EINVAL);
	CHECK_CONTAINS(rep.text, "agent.yaml:2:10: judging forwarded traffic is not available");
	CHECK_CONTAINS(rep.text, "signed documents are not available on this node yet");
	CHECK_CONTAINS(rep.text, "a controller as the source is not available on this node yet");
}

TEST(config_missing_file_means_defaults)
{
	CLEANUP(config_done) struct config c;
	struct reports rep = {0};
	struct err err;

	CHECK_OK(config_defaults(&c, &err), &err);
	CHECK_OK(config_load(&c, "/nonexistent/agent.yaml", collect, &rep, &err), &err);
	CHECK_STR(c.directory, "/etc/bailiwick/site");
	CHECK_INT(c.mode, MODE_OBSERVE);
	CHECK_UINT(rep.count, 0);
}

TEST(config_survives_every_truncation)
{
	struct reports rep;

	for (size_t len = 0; len < strlen(WHOLE); len++) {
		CLEANUP(config_done) struct config c;
		CLEANUP(freep) char *cut = mem_strndup(WHOLE, len);

		(void)parse(&c, cut, &rep);
	}
}

static void ignore_report(void *user, const char *line)
{
	(void)user;
	(void)line;
}

/* Whatever it holds when memory runs out is freed. */
OOM_TEST(config_reading)
{
	CLEANUP(config_done) struct config c = {0};
	int r = config_defaults(&c, NULL);

	return r < 0 ? r
		     : config_parse(&c, "agent.yaml", WHOLE, strlen(WHOLE), ignore_report, NULL);
}
