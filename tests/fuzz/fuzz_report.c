/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A node's status: a refusal has a reason, and what is taken is within the limits. */
#include "tests/fuzz/fuzz.h"

#include "base/err.h"
#include "base/mem.h"
#include "controller/report.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void check_addresses(const struct addr *addresses, size_t count)
{
	must(count <= VIEW_ADDRESSES_MAX);
	for (size_t i = 0; i < count; i++) {
		must(addresses[i].family == AF_INET || addresses[i].family == AF_INET6);
		must(!addr_is_multicast_or_broadcast(&addresses[i]));
		must(!addr_is_loopback(&addresses[i]));
		must(i == 0 || addr_cmp(&addresses[i - 1], &addresses[i]) < 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = {0};
	struct report r;

	if (report_decode((const char *)data, size, "n1", &r, &err) < 0) {
		must(err.text[0] != '\0');
		return 0;
	}
	check_addresses(r.addresses, r.address_count);
	must(r.workload_count <= REPORT_WORKLOADS_MAX);
	for (size_t i = 0; i < r.workload_count; i++) {
		must(r.workloads[i].identity[0] != '\0');
		must(strlen(r.workloads[i].identity) <= REPORT_IDENTITY_MAX);
		check_addresses(r.workloads[i].addresses, r.workloads[i].address_count);
	}
	must(!r.has_attest || r.attest_port > 0);
	must(json_array_size(r.cut) <= REPORT_CUT_MAX);
	must(json_array_size(json_object_get(r.kept, "errors")) <= REPORT_ERRORS_MAX);
	report_done(&r);
	return 0;
}
