/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whom enrolment and the courier take for the controller, over a real connection. */
#include "controller-client/pinned_http.h"

#include "base/mem.h"
#include "courier/http.h"
#include "tests/unit/test.h"
#include "tests/unit/tls_fixture.h"

#include <errno.h>
#include <string.h>

#define HOST     "127.0.0.1"
#define WAIT_US  30000000
#define BODY_MAX 100

#define SPEC(name_, id_)                                                                           \
	{                                                                                          \
		.cn = HOST, .san = name_ id_, .usage = "critical,digitalSignature",                \
		.eku = "serverAuth,clientAuth", .basic = "critical,CA:FALSE",                      \
	}
#define TD "URI:spiffe://acme.example/bailiwick/"

static const struct {
	struct cert_spec spec;
	bool good;
} cases[] = {
	{SPEC("IP:" HOST ",", TD "controller"), true},
	{SPEC("IP:" HOST, ""), true},
	{SPEC("IP:" HOST ",", "URI:spiffe://acme.example/ns/prod/sa/controller"), true},
	/* A subject is compared with the host where there is no name of the host's kind. */
	{SPEC("", TD "controller"), true},
	{SPEC("", TD "node/" HOST), false},
	{SPEC("", TD "courier/" HOST), false},
	{SPEC("", TD "operator/" HOST), false},
	{SPEC("IP:" HOST ",", TD "courier/pay-1"), false},
	{SPEC("IP:192.0.2.1,", TD "controller"), false},
};

TEST(enrolment_takes_nobody_of_the_fleet_for_the_controller)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(pinned_http_freep) struct pinned_http *h = NULL;
		CLEANUP(pinned_answer_done) struct pinned_answer a = {0};
		struct tls_fixture f;
		struct err err = {{0}};
		int r;

		tls_fixture_start(&f, &cases[i].spec);
		CHECK_OK(pinned_http_new(f.url, f.pin, &h, &err), &err);
		r = pinned_http_ask(h, "v1/trust", NULL, NULL, NULL, NULL, &a, &err);
		if (cases[i].good)
			CHECK_OK(r, &err);
		else
			CHECK_INT(r, -EKEYREJECTED);
		CHECK_INT(a.status, cases[i].good ? 200 : 0);
		tls_fixture_stop(&f);
	}
}

struct asked {
	sd_event *event;
	int status;
	bool done, broken;
};

static void on_answer(void *user, struct http_answer *a)
{
	struct asked *asked = user;

	asked->done = true;
	asked->status = a->status;
	asked->broken = a->broken;
}

TEST(the_courier_takes_nobody_of_the_fleet_for_the_controller)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct http_call call = {.max = BODY_MAX, .timeout_s = 30, .done = on_answer};
		struct asked asked = {0};
		struct http *h = NULL;
		struct tls_fixture f;
		struct err err = {{0}};

		tls_fixture_start(&f, &cases[i].spec);
		CHECK(sd_event_new(&asked.event) >= 0);
		CHECK_OK(http_new(asked.event, &h, &err), &err);
		CHECK_INT(http_set_ca(h, f.ca_pem, strlen(f.ca_pem)), 0);
		call.url = f.url;
		call.user = &asked;
		CHECK(http_start(h, &call) != NULL);
		while (!asked.done)
			CHECK(sd_event_run(asked.event, WAIT_US) > 0);
		CHECK(asked.broken != cases[i].good);
		CHECK_INT(asked.status, cases[i].good ? 200 : 0);
		http_free(h);
		sd_event_unref(asked.event);
		tls_fixture_stop(&f);
	}
}
