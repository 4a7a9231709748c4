/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SQL of the SQLite backend: the schema by versions, and one text for each question. */
#pragma once

#include "controller/store.h"

/* store_schema_steps[v] brings a database of version v to v + 1. */
extern const char *const store_schema_steps[STORE_SCHEMA_VERSION];
extern const char *const store_sql[STORE_QUERIES];
