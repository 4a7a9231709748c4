/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/verdict_json.h"

#include "rules/verdict_text.h"

json_t *verdict_nearest_json(const struct policy *p, const struct verdict *v)
{
	char at[POS_TEXT_MAX];
	const struct rule *rule;
	json_t *from;

	if (v->nearest < 0)
		return json_null();
	rule = &p->rules[v->nearest];
	from = json_array();
	for (size_t i = 0; i < rule->from_count; i++)
		(void)json_array_append_new(from, json_string(rule->from[i].text));
	return json_pack("{s:s,s:s,s:s,s:o}", "rule", rule->name, "position",
			 line_format(at, p, &rule->pos), "fails_on", v->fails_on, "from", from);
}
