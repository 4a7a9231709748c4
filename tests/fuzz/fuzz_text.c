/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The small parsers of base/: what is parsed, printed and parsed again is the same. */
#include "tests/fuzz/fuzz.h"

#include "base/addr.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static void check_prefix(const char *text)
{
	char buf[PREFIX_TEXT_MAX];
	struct addr first, last;
	struct prefix p, again;

	if (prefix_parse(text, &p) < 0)
		return;
	if (prefix_parse(prefix_format(buf, &p), &again) < 0 || again.len != p.len ||
	    !addr_eq(&again.addr, &p.addr) || !prefix_covers(&p, &again))
		abort();
	prefix_range(&p, &first, &last);
	if (!prefix_contains(&p, &first) || !prefix_contains(&p, &last) ||
	    addr_cmp(&first, &last) > 0)
		abort();
}

static void check_time(const char *text)
{
	char buf[RFC3339_TEXT_MAX];
	struct wall t;

	if (rfc3339_parse(text, &t) == 0 && strcmp(rfc3339_format(buf, t), text) != 0)
		abort();
}

static void check_words(const char *text)
{
	static const char *const words[] = {"observe", "selective", "enforce", "in", "out"};
	char quoted[LOG_QUOTE_MAX];
	int64_t seconds;
	uint64_t number;

	(void)text_nearest(text, words, sizeof(words) / sizeof(words[0]));
	if (text_duration(text, &seconds) == 0 && (seconds < 1 || seconds > 3650LL * 86400))
		abort();
	if (text_u64(text, 3, 1000, &number) == 0 && (number < 3 || number > 1000))
		abort();
	if (strlen(log_quote(quoted, text)) >= LOG_QUOTE_MAX)
		abort();
	if (!text_glob("*", text) || (strchr(text, '*') == NULL && !text_glob(text, text)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[512];
	size_t len = size < sizeof(text) - 1 ? size : sizeof(text) - 1;

	(void)text_utf8_ok((const char *)data, size);
	if (len > 0)
		memcpy(text, data, len);
	text[len] = '\0';
	check_prefix(text);
	check_time(text);
	check_words(text);
	return 0;
}
