/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Values that several verbs, and the report to the controller, say alike. */
#include "agent/verbs.h"

json_t *wall_json(struct wall t)
{
	char text[RFC3339_TEXT_MAX];

	return t.s ? json_string(rfc3339_format(text, t)) : json_null();
}

json_t *generation_json(const struct agent *a)
{
	int64_t left = a->candidate_falls_back.s - wall_now().s;
	json_t *none = json_null();

	return json_pack(
		"{s:I,s:o,s:o}", "confirmed", (json_int_t)a->confirmed.revision, "candidate",
		a->candidate.policy ? json_integer((json_int_t)a->candidate.revision) : none,
		"falls_back_in", a->candidate.policy ? json_integer(left > 0 ? left : 0) : none);
}
