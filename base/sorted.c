/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/sorted.h"

#include <string.h>

size_t sorted_first_u32(const void *items, size_t count, size_t size, size_t offset, uint32_t key)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		uint32_t number;

		memcpy(&number, (const char *)items + middle * size + offset, sizeof(number));
		if (number < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}
