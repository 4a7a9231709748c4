/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/log_upload.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <stdlib.h>
#include <string.h>

TEST(a_full_spool_drops_the_oldest_and_counts)
{
	struct agent a = {0};
	struct log_upload *u = NULL;
	CLEANUP(freep) char *record = mem_calloc(1001, 1);
	struct err err = {{0}};
	size_t fits = LOG_SPOOL_MAX / 1000;

	memset(record, 'x', 1000);
	CHECK_OK(log_upload_new(&a, &u, &err), &err);
	for (size_t i = 0; i < fits; i++)
		log_upload_add(u, record, 1000);
	CHECK_UINT(log_upload_dropped(u), 0);
	for (size_t i = 0; i < 10; i++)
		log_upload_add(u, record, 1000);
	CHECK_UINT(log_upload_dropped(u), 10);
	/* Without a courier they wait. */
	log_upload_tick(u);
	log_upload_posted(u, 1, true);
	log_upload_too_large(u, 1);
	CHECK_UINT(log_upload_dropped(u), 10);
	log_upload_free(u);
}

TEST(many_small_records_are_bounded_too)
{
	struct agent a = {0};
	struct log_upload *u = NULL;
	struct err err = {{0}};

	CHECK_OK(log_upload_new(&a, &u, &err), &err);
	for (size_t i = 0; i < 20000; i++)
		log_upload_add(u, "{}", 2);
	CHECK_UINT(log_upload_dropped(u), 20000 - 16384);
	log_upload_free(u);
}

TEST(a_record_beyond_measure_is_dropped_and_counted)
{
	struct agent a = {0};
	struct log_upload *u = NULL;
	CLEANUP(freep) char *record = mem_calloc(1U << 20, 1);
	struct err err = {{0}};

	CHECK_OK(log_upload_new(&a, &u, &err), &err);
	memset(record, 'x', (1U << 20) - 1);
	log_upload_add(u, record, (1U << 20) - 1);
	CHECK_UINT(log_upload_dropped(u), 1);
	log_upload_free(u);
}
