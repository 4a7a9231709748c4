/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The essentials of agent.yaml: what this host cannot live without. */
#include "agent/config.h"

#include "agent/reading.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COURIER_UNIT "bailiwick-courier.service"

static struct essential *essential_new(struct reading *rd, const struct yaml_tree_node *n)
{
	struct essentials *e = &rd->c->essentials;
	struct essential *grown;

	if (e->count == ESSENTIALS_MAX) {
		reading_wrong(rd, n, NULL, "more than %d essentials", ESSENTIALS_MAX);
		return NULL;
	}
	grown = reallocarray(e->entries, e->count + 1, sizeof(*grown));
	if (!grown) {
		rd->r = -ENOMEM;
		return NULL;
	}
	e->entries = grown;
	memset(&grown[e->count], 0, sizeof(*grown));
	return &grown[e->count++];
}

static void essential_server(struct reading *rd, const struct yaml_tree_node *n,
			     const char *service, const char *why)
{
	const char *text = reading_scalar(rd, n, "an address");
	struct essential *e;
	struct prefix p;

	if (!text)
		return;
	if (prefix_parse(text, &p) < 0) {
		reading_wrong(rd, n, "an address", "\"%.60s\" is not an address", text);
		return;
	}
	e = essential_new(rd, n);
	if (!e)
		return;
	e->direction = ESSENTIAL_OUT;
	e->far = p;
	(void)service_parse(service, &e->service);
	reading_set(rd, &e->why, why);
}

static void take_dns_server(struct reading *rd, const struct yaml_tree_node *n)
{
	essential_server(rd, n, "udp/53", "dns");
	essential_server(rd, n, "tcp/53", "dns");
}
static void take_dns(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_list(rd, n, take_dns_server);
}
static void take_ntp_server(struct reading *rd, const struct yaml_tree_node *n)
{
	essential_server(rd, n, "udp/123", "ntp");
}
static void take_ntp(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_list(rd, n, take_ntp_server);
}

static void essential_any(struct reading *rd, const struct yaml_tree_node *n,
			  enum essential_direction direction, const char *far, const char *service)
{
	struct essential *e = essential_new(rd, n);

	if (!e)
		return;
	e->direction = direction;
	(void)prefix_parse(far, &e->far);
	(void)service_parse(service, &e->service);
	reading_set(rd, &e->why, "dhcp");
}

/* RFC 2131, RFC 8415: client to server and, to bound clients, server to client. */
static void take_dhcp(struct reading *rd, const struct yaml_tree_node *n)
{
	bool on = false;

	reading_bool(rd, n, &on);
	if (!on)
		return;
	essential_any(rd, n, ESSENTIAL_OUT, "0.0.0.0/0", "udp/67");
	essential_any(rd, n, ESSENTIAL_IN, "0.0.0.0/0", "udp/68");
	essential_any(rd, n, ESSENTIAL_OUT, "::/0", "udp/547");
	essential_any(rd, n, ESSENTIAL_IN, "::/0", "udp/546");
}

static void essential_far(struct reading *rd, const struct yaml_tree_node *n, struct essential *e)
{
	const char *text = reading_scalar(rd, n, "an address or CIDR");

	if (text && prefix_parse(text, &e->far) < 0)
		reading_wrong(rd, n, "an address or CIDR with its host bits zero",
			      "\"%.60s\" is not an address or CIDR", text);
}

static void essential_service(struct reading *rd, const struct yaml_tree_node *n,
			      struct essential *e)
{
	const char *text = reading_scalar(rd, n, "a service such as tcp/22");

	if (text && (service_parse(text, &e->service) < 0 || service_is_echo(&e->service)))
		reading_wrong(rd, n, "tcp/PORT, tcp/PORT-PORT, tcp/any, or udp",
			      "\"%.40s\" is no service", text);
}

static void essential_by(struct reading *rd, const struct yaml_tree_node *n, struct essential *e)
{
	if (n->kind != YAML_TREE_LIST) {
		reading_wrong(rd, n, "by: [ssh.service]", "a list of units is expected here");
		return;
	}
	for (const struct yaml_tree_node *i = yaml_tree_first(n); i; i = yaml_tree_next(i)) {
		const char *text = reading_scalar(rd, i, "a unit");

		if (text && e->by_count == ESSENTIAL_OWNERS_MAX)
			reading_wrong(rd, i, NULL, "more than %d owners", ESSENTIAL_OWNERS_MAX);
		else if (text && !strchr(text, '.'))
			reading_wrong(rd, i, "a unit with its suffix, such as ssh.service",
				      "\"%.60s\" is not a unit", text);
		else if (text)
			reading_set(rd, &e->by[e->by_count++], text);
	}
}

static void essential_missing(struct reading *rd, const struct yaml_tree_node *n, const char *key,
			      const char *whole)
{
	if (n->kind == YAML_TREE_MAP && !yaml_tree_get(n, key))
		reading_wrong(rd, n, whole, "\"%s\" is missing here", key);
}

/* A wider network is no management network (R49). */
#define MANAGEMENT_PREFIX_MIN4 16
#define MANAGEMENT_PREFIX_MIN6 32

static void check_management(struct reading *rd, const struct yaml_tree_node *n,
			     const struct essential *e)
{
	uint8_t min =
		e->far.addr.family == AF_INET ? MANAGEMENT_PREFIX_MIN4 : MANAGEMENT_PREFIX_MIN6;

	if (e->far.addr.family && e->far.len < min && !e->by_count)
		reading_wrong(rd, n, "a narrower from:, or by: with the unit that answers",
			      "management from so wide a network, open to every process");
}

/* The keys of one entry of management: and also:. */
static void essential_entry(struct reading *rd, const struct yaml_tree_node *n, bool management)
{
	static const char *const directions[] = {"out", "in", NULL};
	const char *far_key = management ? "from" : "to";
	const char *whole = management ? "{from: CIDR, service: tcp/22}"
				       : "{direction: out, to: CIDR, service: tcp/443}";
	struct essential *e;
	const struct yaml_tree_node *c;

	if (n->kind != YAML_TREE_MAP) {
		reading_wrong(rd, n, whole, "a group of keys is expected here");
		return;
	}
	e = essential_new(rd, n);
	if (!e)
		return;
	e->direction = management ? ESSENTIAL_IN : ESSENTIAL_OUT;
	for (c = yaml_tree_first(n); c; c = yaml_tree_next(c)) {
		if (str_eq(c->key, "from") || str_eq(c->key, "to"))
			essential_far(rd, c, e);
		else if (str_eq(c->key, "service"))
			essential_service(rd, c, e);
		else if (str_eq(c->key, "by"))
			essential_by(rd, c, e);
		else if (str_eq(c->key, "why") && reading_scalar(rd, c, "a text"))
			reading_set(rd, &e->why, c->text);
		else if (!management && str_eq(c->key, "direction"))
			e->direction = reading_word(rd, c, directions, "out or in") == 1
					       ? ESSENTIAL_IN
					       : ESSENTIAL_OUT;
		else
			reading_unknown_key(rd, c,
					    (const struct key_rule[]){{far_key, NULL},
								      {"service", NULL},
								      {"by", NULL},
								      {"why", NULL},
								      {"direction", NULL}},
					    5);
	}
	if (!yaml_tree_get(n, "from") && !yaml_tree_get(n, "to"))
		essential_missing(rd, n, far_key, whole);
	essential_missing(rd, n, "service", whole);
	if (!e->why)
		reading_set(rd, &e->why, management ? "management" : "essential");
	if (management)
		check_management(rd, n, e);
}

static void take_management_entry(struct reading *rd, const struct yaml_tree_node *n)
{
	essential_entry(rd, n, true);
}
static void take_management(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_list(rd, n, take_management_entry);
}
static void take_also_entry(struct reading *rd, const struct yaml_tree_node *n)
{
	essential_entry(rd, n, false);
}
static void take_also(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_list(rd, n, take_also_entry);
}

static int kernel_protocol(const char *name, uint8_t *ret)
{
	static const struct {
		const char *name;
		uint8_t proto;
	} known[] = {{"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP},   {"esp", IPPROTO_ESP},
		     {"ah", IPPROTO_AH},   {"gre", IPPROTO_GRE},   {"ipip", IPPROTO_IPIP},
		     {"vrrp", 112},        {"sctp", IPPROTO_SCTP}, {"ipv6", IPPROTO_IPV6},
		     {"ospf", 89}};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (str_eq(known[i].name, name)) {
			*ret = known[i].proto;
			return 0;
		}
	}
	return -ENOENT;
}

static void kernel_port(struct reading *rd, const struct yaml_tree_node *n, struct essential *e)
{
	uint32_t port = 0;

	reading_number(rd, n, 1, 65535, &port);
	e->service.kind = e->l4proto == IPPROTO_UDP ? SERVICE_UDP : SERVICE_TCP;
	e->service.first = e->service.last = (uint16_t)port;
}

#define KERNEL_WHOLE "{proto: udp, port: 51820, why: \"WireGuard\"}"

static void take_kernel_entry(struct reading *rd, const struct yaml_tree_node *n)
{
	const struct yaml_tree_node *proto, *port, *why;
	struct essential *e;
	bool ports;

	if (n->kind != YAML_TREE_MAP || !(proto = yaml_tree_get(n, "proto")) ||
	    proto->kind != YAML_TREE_SCALAR) {
		reading_wrong(rd, n, KERNEL_WHOLE, "proto is missing here");
		return;
	}
	e = essential_new(rd, n);
	if (!e)
		return;
	e->direction = ESSENTIAL_KERNEL;
	if (kernel_protocol(proto->text, &e->l4proto) < 0)
		reading_wrong(rd, proto, "tcp, udp, esp, ah, gre, ipip, ipv6, vrrp, ospf or sctp",
			      "\"%.20s\" is not known here", proto->text);
	ports = e->l4proto == IPPROTO_TCP || e->l4proto == IPPROTO_UDP;
	port = yaml_tree_get(n, "port");
	if (port && ports)
		kernel_port(rd, port, e);
	else if (port)
		reading_wrong(rd, port, "leave port out", "this protocol has no ports");
	else if (ports)
		essential_missing(rd, n, "port", KERNEL_WHOLE);
	why = yaml_tree_get(n, "why");
	reading_set(rd, &e->why, why && why->kind == YAML_TREE_SCALAR ? why->text : "kernel");
	for (const struct yaml_tree_node *c = yaml_tree_first(n); c; c = yaml_tree_next(c)) {
		static const struct key_rule rules[] = {
			{"proto", NULL}, {"port", NULL}, {"why", NULL}};

		if (!str_eq(c->key, "proto") && !str_eq(c->key, "port") && !str_eq(c->key, "why"))
			reading_unknown_key(rd, c, rules, ARRAY_LEN(rules));
	}
}
static void take_kernel(struct reading *rd, const struct yaml_tree_node *n)
{
	reading_list(rd, n, take_kernel_entry);
}

/* The effective configuration, as --check prints it, has it among the others already. */
static bool controller_known(const struct config *c, const struct prefix *far)
{
	for (size_t i = 0; i < c->essentials.count; i++) {
		const struct essential *e = &c->essentials.entries[i];

		if (e->direction == ESSENTIAL_OUT && prefix_covers(&e->far, far) &&
		    e->service.first == c->controller_port && e->by_count == 1 &&
		    str_eq(e->by[0], COURIER_UNIT))
			return true;
	}
	return false;
}

static void controller_far(struct reading *rd, const struct yaml_tree_node *n, const char *text)
{
	struct essential *e;
	struct prefix far;

	if (prefix_parse(text, &far) < 0 || controller_known(rd->c, &far))
		return;
	e = essential_new(rd, n);
	if (!e)
		return;
	e->direction = ESSENTIAL_OUT;
	e->far = far;
	e->service = (struct service){.kind = SERVICE_TCP,
				      .first = rd->c->controller_port,
				      .last = rd->c->controller_port};
	reading_set(rd, &e->why, "controller");
	reading_set(rd, &e->by[e->by_count++], COURIER_UNIT);
}

/*
 * What no policy may cut off, its own undoing: the way to the controller, for the courier's unit
 * alone (R45). A host name has no address here, so its port is open to that unit wherever it is.
 */
void config_add_controller(struct reading *rd, const struct yaml_tree_node *n)
{
	struct addr literal;

	if (addr_parse(rd->c->controller_host, &literal) == 0) {
		controller_far(rd, n, rd->c->controller_host);
		return;
	}
	controller_far(rd, n, "0.0.0.0/0");
	controller_far(rd, n, "::/0");
}

void config_take_essentials(struct reading *rd, const struct yaml_tree_node *n)
{
	static const struct key_rule rules[] = {
		{"dns", take_dns},   {"ntp", take_ntp},
		{"dhcp", take_dhcp}, {"management", take_management},
		{"also", take_also}, {"kernel", take_kernel}};

	reading_map(rd, n, rules, ARRAY_LEN(rules));
}
