/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/base64.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

static int decode(const char *text, char ret[64])
{
	CLEANUP(freep) uint8_t *bytes = NULL;
	size_t len = 0;
	int r = base64_decode(text, strlen(text), 63, &bytes, &len);

	if (r == 0) {
		CHECK_INT(bytes[len], 0);
		memcpy(ret, bytes, len + 1);
	}
	return r;
}

/* RFC 4648, section 10. */
static const struct {
	const char *plain, *text;
} vectors[] = {
	{"", ""},
	{"f", "Zg=="},
	{"fo", "Zm8="},
	{"foo", "Zm9v"},
	{"foob", "Zm9vYg=="},
	{"fooba", "Zm9vYmE="},
	{"foobar", "Zm9vYmFy"},
};

TEST(vectors_of_the_standard)
{
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		CLEANUP(freep)
		char *text = base64_encode(vectors[i].plain, strlen(vectors[i].plain));
		char plain[64] = "?";

		CHECK_STR(text, vectors[i].text);
		CHECK_INT(decode(vectors[i].text, plain), 0);
		CHECK_STR(plain, vectors[i].plain);
	}
}

TEST(all_bytes_survive)
{
	CLEANUP(freep) uint8_t *back = NULL;
	CLEANUP(freep) char *text = NULL;
	uint8_t bytes[256];
	size_t len = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	text = base64_encode(bytes, sizeof(bytes));
	CHECK(text != NULL);
	CHECK_INT(base64_decode(text, strlen(text), sizeof(bytes), &back, &len), 0);
	CHECK_UINT(len, sizeof(bytes));
	CHECK_MEM(back, bytes, sizeof(bytes));
}

TEST(either_alphabet_but_not_both)
{
	char plain[64];

	CHECK_INT(decode("+/+/Pj8=", plain), 0);
	CHECK_MEM(plain, "\xfb\xff\xbf\x3e\x3f", 5);
	CHECK_INT(decode("-_-_Pj8=", plain), 0);
	CHECK_MEM(plain, "\xfb\xff\xbf\x3e\x3f", 5);
	CHECK_INT(decode("-/-/Pj8=", plain), -EBADMSG);
	CHECK_INT(decode("+_AA", plain), -EBADMSG);
}

TEST(padding_whole_or_absent)
{
	static const char *const wrong[] = {
		"Zg=",   "Zm8==",    "Zm9v=", "Zm9v==", "=", "==",    "Zg===",   "Z===",
		"Zg==A", "Zg==Zg==", "Z=g=",  "=Zg=",   "Z", "Zm9vY", "Zm9vYg=", "Zm9v===="};
	char plain[64];

	CHECK_INT(decode("Zg", plain), 0);
	CHECK_STR(plain, "f");
	CHECK_INT(decode("Zm8", plain), 0);
	CHECK_STR(plain, "fo");
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		CHECK_INT(decode(wrong[i], plain), -EBADMSG);
}

TEST(one_text_for_the_same_bytes)
{
	char plain[64];

	/* Stray bits behind the last byte. */
	CHECK_INT(decode("Zh==", plain), -EBADMSG);
	CHECK_INT(decode("Zm9=", plain), -EBADMSG);
	CHECK_INT(decode("Zh", plain), -EBADMSG);
	CHECK_INT(decode("Zm9", plain), -EBADMSG);
}

TEST(no_foreign_characters)
{
	CLEANUP(freep) uint8_t *bytes = NULL;
	size_t len = 0;
	char text[] = "Zm9v";

	for (int c = 0; c < 256; c++) {
		bool digit = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
			     (c >= '0' && c <= '9') || (c != 0 && strchr("+/-_", c) != NULL);

		text[1] = (char)c;
		CHECK_INT(base64_decode(text, 4, 8, &bytes, &len), digit ? 0 : -EBADMSG);
		freep(&bytes);
	}
}

TEST(wrapped_text_is_for_who_asks)
{
	CLEANUP(freep) uint8_t *bytes = NULL;
	size_t len = 0;
	char plain[64];

	CHECK_INT(decode("Zm9v\nYmFy", plain), -EBADMSG);
	CHECK_INT(base64_decode_wrapped(" Zm\r\n9v\tYmE\n=\n", 14, 8, &bytes, &len), 0);
	CHECK_UINT(len, 5);
	CHECK_STR((char *)bytes, "fooba");
}

TEST(no_more_than_the_maximum)
{
	CLEANUP(freep) uint8_t *bytes = NULL;
	size_t len = 0;

	CHECK_INT(base64_decode("Zm9vYmE=", 8, 5, &bytes, &len), 0);
	freep(&bytes);
	CHECK_INT(base64_decode("Zm9vYmE=", 8, 4, &bytes, &len), -E2BIG);
	CHECK_INT(base64_decode("Zm9v", 4, 2, &bytes, &len), -E2BIG);
	CHECK_INT(base64_decode("", 0, 0, &bytes, &len), 0);
	CHECK_UINT(len, 0);
}

OOM_TEST(base64_when_memory_runs_out)
{
	CLEANUP(freep) uint8_t *bytes = NULL;
	CLEANUP(freep) char *text = base64_encode("foo", 3);
	size_t len = 0;

	return text == NULL ? -ENOMEM : base64_decode(text, 4, 3, &bytes, &len);
}
