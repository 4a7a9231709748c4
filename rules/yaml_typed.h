/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Second reading of a YAML text: typed values by libcyaml. One cyaml schema drives both readings.
 * Here the tree of the first is compared with it, so that every unknown or double key, wrong kind,
 * unknown word and missing value is reported, not only the first; then libcyaml loads what is
 * sound. It is given that part printed as JSON with quoted words, never the file itself: so it
 * cannot see an alias, a second document, a NUL or a number like 010 (which it reads as 8), and
 * entry 3 of a loaded list is entry 3 of the tree, where the positions are.
 *
 * Required: a field without CYAML_FLAG_OPTIONAL. A missing one is reported and comes as "" or as an
 * empty list, so only strings and lists may be required. Types understood: string, enum, mapping,
 * sequence, ignore.
 */
#pragma once

#include "rules/yaml_tree.h"

#include <cyaml/cyaml.h>
#include <stddef.h>

#define YAML_TYPED_MISTAKES_MAX                                                                    \
	1000 /* above it values are not loaded: nothing good would come of it */

/*
 * 0 (also with mistakes, which are reported), -ENOMEM, -E2BIG. *ret_data is NULL when nothing could
 * be loaded; free it with yaml_typed_free(). *ret_tree is the caller's in any case.
 */
int yaml_typed_load(const char *text, size_t len, const cyaml_schema_value_t *schema,
		    const struct yaml_report *report, struct yaml_tree *ret_tree, void **ret_data);
void yaml_typed_free(const cyaml_schema_value_t *schema, void *data);
