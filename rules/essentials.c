/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/essentials.h"

#include <stdlib.h>

void essentials_done(struct essentials *e)
{
	for (size_t i = 0; i < e->count; i++) {
		free(e->entries[i].why);
		for (size_t j = 0; j < e->entries[i].by_count; j++)
			free(e->entries[i].by[j]);
	}
	free(e->entries);
	*e = (struct essentials){0};
}
