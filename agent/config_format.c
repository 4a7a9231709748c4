/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Prints the effective configuration back as YAML that config_parse() reads. */
#include "agent/config.h"

#include "agent/reading.h"
#include "base/text.h"

#include <netinet/in.h>

static void format_essential(const struct essential *e, struct buf *b)
{
	char prefix[PREFIX_TEXT_MAX], service[SERVICE_TEXT_MAX];

	buf_printf(b, "    - {direction: %s, to: \"%s\", service: %s, why: \"%s\"",
		   e->direction == ESSENTIAL_IN ? "in" : "out", prefix_format(prefix, &e->far),
		   service_format(service, &e->service), e->why ? e->why : "");
	for (size_t i = 0; i < e->by_count; i++)
		buf_printf(b, "%s%s%s", i ? ", " : ", by: [", e->by[i],
			   i + 1 == e->by_count ? "]" : "");
	buf_puts(b, "}\n");
}

static const char *protocol_word(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_ESP:
		return "esp";
	case IPPROTO_AH:
		return "ah";
	case IPPROTO_GRE:
		return "gre";
	case IPPROTO_IPIP:
		return "ipip";
	case IPPROTO_IPV6:
		return "ipv6";
	case IPPROTO_SCTP:
		return "sctp";
	case 89:
		return "ospf";
	default:
		return "vrrp";
	}
}

static void format_essentials(const struct essentials *all, struct buf *b)
{
	bool any = false, kernel = false;

	for (size_t i = 0; i < all->count; i++) {
		any |= all->entries[i].direction != ESSENTIAL_KERNEL;
		kernel |= all->entries[i].direction == ESSENTIAL_KERNEL;
	}
	buf_puts(b, any || kernel ? "essentials:\n" : "essentials: {}\n");
	if (any)
		buf_puts(b, "  also:\n");
	for (size_t i = 0; i < all->count; i++) {
		if (all->entries[i].direction != ESSENTIAL_KERNEL)
			format_essential(&all->entries[i], b);
	}
	if (kernel)
		buf_puts(b, "  kernel:\n");
	for (size_t i = 0; i < all->count; i++) {
		const struct essential *e = &all->entries[i];

		if (e->direction != ESSENTIAL_KERNEL)
			continue;
		buf_printf(b, "    - {proto: %s", protocol_word(e->l4proto));
		if (e->service.first)
			buf_printf(b, ", port: %u", e->service.first);
		buf_printf(b, ", why: \"%s\"}\n", e->why ? e->why : "");
	}
}

static void format_attest(const struct config *c, struct buf *b)
{
	char text[ADDR_TEXT_MAX];

	buf_puts(b, "attest: {listen: [");
	for (size_t i = 0; i < c->attest_listen_count; i++)
		buf_printf(b, "%s\"%s\"", i ? ", " : "", addr_format(text, &c->attest_listen[i]));
	buf_printf(b, "], port: %u}\n", c->attest_port);
}

static const char *level_word(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error";
	case LOG_LEVEL_WARN:
		return "warn";
	case LOG_LEVEL_INFO:
		return "info";
	case LOG_LEVEL_DEBUG:
		return "debug";
	}
	return "info";
}

static const char *decisions_word(const struct config *c)
{
	switch (c->decisions) {
	case DECISIONS_JOURNAL:
		return "journal";
	case DECISIONS_STDOUT:
		return "stdout";
	case DECISIONS_FILE:
		return c->decisions_file;
	}
	return "journal";
}

void config_format(const struct config *c, struct buf *b)
{
	buf_printf(b, "version: 1\nnode: %s\n", c->node);
	if (c->trust_domain)
		buf_printf(b, "trust_domain: %s\n", c->trust_domain);
	buf_puts(b, "labels: [");
	for (size_t i = 0; i < c->label_count; i++)
		buf_printf(b, "%s\"%s\"", i ? ", " : "", c->labels[i]);
	buf_puts(b, "]\n");
	config_format_source(c, b);
	buf_printf(b, "state_dir: %s\nrun_dir: %s\ncgroup_root: %s\ntable: %s\n", c->state_dir,
		   c->run_dir, c->cgroup_root ? c->cgroup_root : "auto", c->table);
	format_attest(c, b);
	buf_printf(b,
		   "queues: {first: %u, max_pending: %u}\nnflog_group: %u\nmode: %s\nforward: []\n",
		   c->queue_first, c->queue_max_pending, c->nflog_group, mode_name(c->mode));
	format_essentials(&c->essentials, b);
	buf_printf(b, "evidence: {deleted_exe: %s}\n",
		   c->deleted_exe == DELETED_EXE_DENY ? "deny" : "warn");
	buf_printf(b, "log: {level: %s, decisions: %s}\n", level_word(c->log_level),
		   decisions_word(c));
	buf_printf(b, "metrics: {unix: %s, listen: \"%s\"}\n", c->metrics_unix ? "true" : "false",
		   c->metrics_listen);
}
