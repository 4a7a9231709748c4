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

	CHECK_INT(parse(&c, "version: 1\nforward: [eth1]\n", &rep), -EINVAL);
	CHECK_CONTAINS(rep.text, "agent.yaml:2:10: judging forwarded traffic is not available");
}

#define TRUST                                                                                      \
	"trust:\n"                                                                                 \
	"  policy: {keys: [/a.pub, /b.pub], threshold: 2}\n"                                       \
	"  controller: {keys: [/c.pub]}\n"

TEST(config_takes_a_controller_and_whom_to_trust)
{
	CLEANUP(config_done) struct config c, again;
	CLEANUP(buf_done) struct buf first, second;
	struct reports rep;

	buf_init(&first, 1 << 16);
	buf_init(&second, 1 << 16);
	CHECK_INT(
		parse(&c,
		      "version: 1\n"
		      "source:\n"
		      "  controller: {url: \"https://ctl.acme.example:8443\", ca: /ca.pem}\n" TRUST,
		      &rep),
		0);
	CHECK_STR(rep.text, "");
	CHECK(!c.directory);
	CHECK(config_is_signed(&c));
	CHECK_STR(c.controller_host, "ctl.acme.example");
	CHECK_UINT(c.controller_port, 8443);
	CHECK_UINT(c.trust_policy.key_count, 2);
	CHECK_UINT(c.trust_policy.threshold, 2);
	CHECK_UINT(c.trust_controller.threshold, 1);
	CHECK_STR(c.courier_user, "bailiwick-courier");
	config_format(&c, &first);
	CHECK_INT(parse(&again, first.data, &rep), 0);
	config_format(&again, &second);
	CHECK_STR(second.data, first.data);
}

TEST(config_keeps_the_way_to_the_controller_open_for_the_courier_alone)
{
	CLEANUP(config_done) struct config c, named;
	char far[PREFIX_TEXT_MAX];
	struct reports rep;

	CHECK_INT(
		parse(&c,
		      "version: 1\nsource: {controller: {url: \"https://10.0.0.7:8443\"}}\n" TRUST,
		      &rep),
		0);
	CHECK_UINT(c.essentials.count, 1);
	CHECK_INT(c.essentials.entries[0].direction, ESSENTIAL_OUT);
	CHECK_STR(prefix_format(far, &c.essentials.entries[0].far), "10.0.0.7/32");
	CHECK_UINT(c.essentials.entries[0].service.first, 8443);
	CHECK_UINT(c.essentials.entries[0].service.last, 8443);
	CHECK_UINT(c.essentials.entries[0].by_count, 1);
	CHECK_STR(c.essentials.entries[0].by[0], "bailiwick-courier.service");
	CHECK_INT(parse(&named,
			"version: 1\nsource: {controller: {url: \"https://ctl.example\"}}\n" TRUST,
			&rep),
		  0);
	CHECK_UINT(named.essentials.count, 2);
	CHECK_STR(prefix_format(far, &named.essentials.entries[1].far), "::/0");
	CHECK_UINT(named.essentials.entries[1].service.first, 443);
}

TEST(config_names_what_is_missing_and_what_the_whole_looks_like)
{
	static const struct {
		const char *text, *want;
		unsigned count;
	} bad[] = {
		{"svid: {cert: /a.pem, key: /a.key}\n",
		 "agent.yaml:2:7: \"bundle\" is missing here; all three: cert, key and bundle", 1},
		{"svid: {bundle: /b.pem}\n",
		 "agent.yaml:2:7: \"cert\" is missing here; all three: cert, key and bundle", 2},
		{"essentials: {management: [{service: tcp/22}]}\n",
		 "\"from\" is missing here; {from: CIDR, service: tcp/22}", 1},
		{"essentials: {also: [{to: 10.0.0.1}]}\n",
		 "\"service\" is missing here; {direction: out, to: CIDR, service: tcp/443}", 1},
		{"essentials: {also: [x]}\n",
		 "a group of keys is expected here; {direction: out, to: CIDR, service: tcp/443}",
		 1},
		{"essentials: {kernel: [{proto: udp}]}\n",
		 "\"port\" is missing here; {proto: udp, port: 51820, why: \"WireGuard\"}", 1},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CLEANUP(config_done) struct config c;
		struct reports rep;
		char text[200];

		(void)snprintf(text, sizeof(text), "version: 1\n%s", bad[i].text);
		CHECK_INT(parse(&c, text, &rep), -EINVAL);
		CHECK_CONTAINS(rep.text, bad[i].want);
		CHECK_UINT(rep.count, bad[i].count);
	}
}

TEST(config_refuses_a_controller_that_nobody_vouches_for)
{
	static const struct {
		const char *text, *want;
	} bad[] = {
		{"version: 1\nsource: {controller: {url: \"https://c:1\"}}\n",
		 "agent.yaml:2:9: a controller as the source needs trust"},
		{"version: 1\ntrust: {policy: {keys: [/a.pub]}}\n",
		 "agent.yaml:2:8: \"controller\" is missing here"},
		{"version: 1\ntrust: {policy: {keys: [/a.pub], threshold: 2}, "
		 "controller: {keys: [/c.pub]}}\n",
		 "2 signatures are asked for, but there are 1 keys"},
		{"version: 1\ntrust: {policy: {keys: []}, controller: {keys: [/c.pub]}}\n",
		 "no key is given here"},
		{"version: 1\ntrust: {policy: {keys: [/a.pub, /a.pub]}, "
		 "controller: {keys: [/c.pub]}}\n",
		 "this key is in the list already"},
		{"version: 1\ntrust: {policy: {keys: [a.pub]}, controller: {keys: [/c.pub]}}\n",
		 "this is not an absolute path"},
		{"version: 1\nsource: {controller: {url: \"http://c:1\"}}\n" TRUST,
		 "over https only"},
		{"version: 1\nsource: {controller: {url: \"https://u:p@c:1\"}}\n" TRUST,
		 "this is not the controller's URL"},
		{"version: 1\nsource: {controller: {ca: /ca.pem}}\n" TRUST,
		 "\"url\" is missing here"},
		{"version: 1\nsource: {directory: /a, controller: {url: \"https://c:1\"}}\n" TRUST,
		 "both a directory and a controller are given"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CLEANUP(config_done) struct config c;
		struct reports rep;

		CHECK_INT(parse(&c, bad[i].text, &rep), -EINVAL);
		CHECK_CONTAINS(rep.text, bad[i].want);
		CHECK_UINT(rep.count, 1);
	}
}

TEST(config_takes_hosts_and_ports_of_urls)
{
	static const struct {
		const char *url, *host;
		int r;
		uint16_t port;
	} cases[] = {
		{"https://ctl", "ctl", 0, 443},
		{"https://10.0.0.1:8443/", "10.0.0.1", 0, 8443},
		{"https://[fd77::1]:8443", "fd77::1", 0, 8443},
		{"https://[fd77::1]", "fd77::1", 0, 443},
		{"https://ctl:0", "", -EINVAL, 0},
		{"https://ctl:65536", "", -EINVAL, 0},
		{"https://:1", "", -EINVAL, 0},
		{"https://[fd77::1", "", -EINVAL, 0},
		{"https://[ctl]:1", "", -EINVAL, 0},
		{"https://ctl/?a=b", "", -EINVAL, 0},
		{"https://a b", "", -EINVAL, 0},
		{"https://-x", "", -EINVAL, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char host[CONFIG_HOST_MAX] = "";
		uint16_t port = 0;

		CHECK_INT(config_url_parse(cases[i].url, host, &port), cases[i].r);
		if (cases[i].r == 0) {
			CHECK_STR(host, cases[i].host);
			CHECK_UINT(port, cases[i].port);
		}
	}
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
