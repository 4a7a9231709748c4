/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/host.h"

#include <stdlib.h>

void host_done(struct host *h)
{
	for (size_t i = 0; i < h->unit_count; i++)
		free(h->units[i].unit);
	free(h->addresses);
	free(h->workloads);
	free(h->nobodies);
	free(h->listeners);
	free(h->units);
	*h = (struct host){0};
}
