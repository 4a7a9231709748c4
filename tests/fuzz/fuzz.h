/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A fuzz target fuzz_x.c defines this one function and nothing else with external linkage.
 * libFuzzer calls it (make fuzz-x); in ordinary builds replay.c feeds it tests/fuzz/corpus/x, so
 * that `make check` needs no fuzzing engine. It writes no files, frees what it allocates, and
 * returns 0.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
