/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Places in sorted arrays. The caller owns the array; nothing fails.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * The first of `count` items, each of `size` bytes, whose uint32_t at `offset` is not below key;
 * count where there is none. The array is sorted by that number.
 */
size_t sorted_first_u32(const void *items, size_t count, size_t size, size_t offset, uint32_t key);
