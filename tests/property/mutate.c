/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/property/mutate.h"

#include <string.h>

#include "base/mem.h"
#include "rules/marks.h"

#define ONE_IN     4
#define OWNERS_MAX 128

const char *const mutation_names[MUTATION_COUNT] = {
	[MUTATION_NONE] = "none",
	[MUTATION_DROP_CLASSIFY] = "classification elements missing",
	[MUTATION_SWAP_MARKS] = "conduits of neighbours exchanged",
	[MUTATION_WRONG_PORT] = "ports shifted",
	[MUTATION_WRONG_FAMILY] = "no IPv6",
	[MUTATION_DROP_LIVE] = "live elements missing",
	[MUTATION_WRONG_VERDICT] = "confirmed and candidate exchanged",
	[MUTATION_WRONG_OWNER] = "identities mixed up",
	[MUTATION_DROP_ENDS] = "receivers missing",
	[MUTATION_DROP_UDP] = "datagram elements missing",
	[MUTATION_TOO_MUCH] = "one port too many",
	[MUTATION_NOT_ASKED] = "nobody is asked",
	[MUTATION_UNVOUCHED] = "who was vouched for finds nothing open",
};

static bool in_range(const struct set_items *s, unsigned first, unsigned last)
{
	return s->ref.kind >= first && s->ref.kind <= last;
}

static bool is_classify(const struct set_items *s)
{
	return in_range(s, SET_OUT4, SET_IN_ECHO_NET6);
}

static bool is_ports(const struct set_items *s)
{
	return s->ref.kind == SET_OUT4 || s->ref.kind == SET_OUT6 || s->ref.kind == SET_IN4 ||
	       s->ref.kind == SET_IN6;
}

static void drop_some(struct set_items *s, struct rng *rng, uint32_t one_in)
{
	size_t stride = set_stride(s->ref.kind), kept = 0;

	for (size_t i = 0; i < s->count; i++) {
		if (draw(rng, one_in) == 0)
			continue;
		memmove(s->bytes + kept++ * stride, s->bytes + i * stride, stride);
	}
	s->count = kept;
}

static void swap_values(struct set_items *s, struct rng *rng)
{
	size_t stride = set_stride(s->ref.kind), at = set_value_offset(s->ref.kind);
	uint32_t a, b;

	for (size_t i = 0; i + 1 < s->count; i++) {
		if (draw(rng, 2) != 0)
			continue;
		memcpy(&a, s->bytes + i * stride + at, sizeof(a));
		memcpy(&b, s->bytes + (i + 1) * stride + at, sizeof(b));
		memcpy(s->bytes + i * stride + at, &b, sizeof(b));
		memcpy(s->bytes + (i + 1) * stride + at, &a, sizeof(a));
	}
}

/* The port is the last field of the key, in network order in its first two bytes. */
static uint8_t *port_of(const struct set_items *s, uint8_t *record)
{
	return record + set_key_len(s->ref.kind) - sizeof(uint32_t);
}

static void shift_ports(struct set_items *s)
{
	size_t stride = set_stride(s->ref.kind);

	for (size_t i = 0; i < s->count; i++)
		port_of(s, s->bytes + i * stride)[0] ^= 0x40;
}

static int widen(struct set_items *s)
{
	size_t stride = set_stride(s->ref.kind), count = s->count;
	uint8_t record[2 * SET_KEY_MAX + sizeof(uint64_t)];

	for (size_t i = 0; i < count; i++) {
		uint8_t *port = port_of(s, record);
		unsigned number;
		int r;

		memcpy(record, s->bytes + i * stride, stride);
		number = (unsigned)(port[0] << 8 | port[1]) + 1;
		port[0] = (uint8_t)(number >> 8);
		port[1] = (uint8_t)number;
		if (i + 1 < count &&
		    memcmp(s->bytes + (i + 1) * stride, record, set_key_len(s->ref.kind)) == 0)
			continue;
		r = set_items_add(s, record);
		if (r < 0)
			return r;
	}
	return 0;
}

static void exchange_pairs(struct set_items *s)
{
	size_t stride = set_stride(s->ref.kind), at = set_value_offset(s->ref.kind);

	for (size_t i = 0; i < s->count; i++) {
		uint8_t *v = s->bytes + i * stride + at;

		if (*v >= LIVE_PAIR_BASE)
			*v = live_pair(live_candidate(*v), live_confirmed(*v));
	}
}

static void accept_what_asks(struct set_items *s)
{
	size_t stride = set_stride(s->ref.kind), at = set_value_offset(s->ref.kind);

	for (size_t i = 0; i < s->count; i++)
		if (s->bytes[i * stride + at] == LIVE_ASK)
			s->bytes[i * stride + at] = LIVE_ACCEPT;
}

static void drop_vouched(struct set_items *s)
{
	size_t stride = set_stride(s->ref.kind), kept = 0;
	uint32_t mark;

	for (size_t i = 0; i < s->count; i++) {
		memcpy(&mark, s->bytes + i * stride, sizeof(mark));
		if ((mark & MARK_NOT_VOUCHED) != MARK_VOUCHED)
			memmove(s->bytes + kept++ * stride, s->bytes + i * stride, stride);
	}
	s->count = kept;
}

static int mutate_set(struct set_items *s, enum mutation mutation, struct rng *rng)
{
	unsigned kind = s->ref.kind;

	switch (mutation) {
	case MUTATION_DROP_CLASSIFY:
		if (is_classify(s))
			drop_some(s, rng, ONE_IN);
		break;
	case MUTATION_SWAP_MARKS:
		if (is_classify(s))
			swap_values(s, rng);
		break;
	case MUTATION_WRONG_PORT:
		if (is_ports(s))
			shift_ports(s);
		break;
	case MUTATION_WRONG_FAMILY:
		if (kind == SET_OUT6 || kind == SET_IN6 || kind == SET_OUT_ANY6 ||
		    kind == SET_IN_ANY6 || kind == SET_OUT_NET6 || kind == SET_IN_NET6)
			s->count = 0;
		break;
	case MUTATION_DROP_LIVE:
		if (kind == SET_LIVE)
			drop_some(s, rng, ONE_IN);
		break;
	case MUTATION_WRONG_VERDICT:
		if (kind == SET_LIVE || kind == SET_LIVE_UDP)
			exchange_pairs(s);
		break;
	case MUTATION_WRONG_OWNER:
		break;
	case MUTATION_DROP_ENDS:
		if (kind == SET_ENDS)
			drop_some(s, rng, ONE_IN);
		break;
	case MUTATION_DROP_UDP:
		/* Each is asked for rarely: what is missing is classified again, mostly alike. */
		if (kind == SET_LIVE_UDP)
			s->count = 0;
		break;
	case MUTATION_TOO_MUCH:
		return is_ports(s) ? widen(s) : 0;
	case MUTATION_NOT_ASKED:
		if (kind == SET_LIVE)
			accept_what_asks(s);
		break;
	case MUTATION_UNVOUCHED:
		if (kind == SET_LIVE || kind == SET_LIVE_UDP)
			drop_vouched(s);
		break;
	case MUTATION_NONE:
	case MUTATION_COUNT:
		break;
	}
	return 0;
}

static bool is_who(const struct set_items *s)
{
	return in_range(s, SET_WHO_UID, SET_WHO_CGROUP_UID);
}

/* Half of the processes get the identity of others. */
static void mix_owners(struct ruleset *r, struct rng *rng)
{
	uint32_t marks[OWNERS_MAX];
	size_t count = 0;

	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < r->set_count; i++) {
			struct set_items *s = &r->sets[i];
			size_t stride = set_stride(s->ref.kind);

			for (size_t k = 0; is_who(s) && k < s->count; k++) {
				uint8_t *value =
					s->bytes + k * stride + set_value_offset(s->ref.kind);

				if (pass == 0 && count < OWNERS_MAX)
					memcpy(&marks[count++], value, sizeof(marks[0]));
				else if (pass == 1 && draw(rng, 2) == 0)
					memcpy(value, &marks[draw(rng, count)], sizeof(marks[0]));
			}
		}
	}
}

int mutate(struct ruleset *r, unsigned mutation, struct rng *rng, struct err *err)
{
	if (mutation == MUTATION_WRONG_OWNER)
		mix_owners(r, rng);
	for (size_t i = 0; mutation != MUTATION_NONE && i < r->set_count; i++) {
		int e = mutate_set(&r->sets[i], (enum mutation)mutation, rng);

		if (e < 0)
			return err_set(err, -e, "out of memory");
	}
	return mutation == MUTATION_NONE ? 0 : ruleset_sort(r, err);
}
