/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Certificates of operators. There is no list of who may be one: whoever the CA calls
 * /bailiwick/operator/NAME is. So that a stolen key can be shut out before its certificate ends,
 * each is remembered when it is first used, and what was revoked is refused at the next request.
 *
 * One that was never used is not known. Revoking a name therefore also sets a moment before which
 * no unknown certificate of that name counts. What is issued here is dated back (CA_BACKDATE_S) and
 * could fall below that; it is known from its issue.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SEEN_EVERY_S 60 /* "last seen" is for people; each request would be a write */
#define REASON_MAX   1025
#define WHICH_MAX    NODE_NAME_MAX
#define SERIAL_ROOM  sizeof(((struct svid *)NULL)->serial)

struct known {
	int64_t count, revoked, bar, seen;
};

static int take_known(void *user, const struct store_row *row)
{
	struct known *k = user;

	*k = (struct known){store_row_int(row, 0), store_row_int(row, 1), store_row_int(row, 2),
			    store_row_int(row, 3)};
	return 0;
}

static int add(struct core *c, const struct svid *s, const char *verb, const char *who,
	       struct err *err)
{
	json_t *detail =
		json_pack("{s:s,s:o}", "serial", s->serial, "not_after", time_json(s->not_after.s));
	int r = core_write_begin(c, who, verb, s->name, detail, err);

	json_decref(detail);
	if (r < 0)
		return r;
	r = store_order(c->store, STORE_OPERATOR_ADD, err, store_text(s->serial),
			store_text(s->name), store_text(s->key_id), store_int(s->not_before.s),
			store_int(s->not_after.s));
	return core_write_end(c, r, err);
}

int core_operator_issued(struct core *c, const struct svid *s, const char *who, struct err *err)
{
	int r = core_ready(c, err);

	return r < 0 ? r : add(c, s, "operator-issue", who, err);
}

/* A full disk must not shut out those who are to free it: what fails here is tried again. */
static void note_use(struct core *c, const struct svid *s, const struct known *k)
{
	struct err err = {{0}};
	int r = 0;

	if (k->count > 0 && core_now(c).s - k->seen < SEEN_EVERY_S && k->seen <= core_now(c).s)
		return;
	if (k->count == 0)
		r = add(c, s, "operator-new", s->name, &err);
	if (r >= 0)
		r = store_begin(c->store, &err);
	if (r >= 0) {
		r = store_order(c->store, STORE_OPERATOR_SEEN, &err, store_text(s->serial),
				store_int(core_now(c).s));
		r = core_write_end(c, r, &err);
	}
	if (r < 0)
		log_warn("controller: the use of operator %s's certificate is not noted: %s",
			 s->name, err.text);
}

/* Neither who did it nor why: the one who is told may be the thief. */
static int revoked(const struct svid *s, int64_t at, struct err *err)
{
	char text[RFC3339_TEXT_MAX];

	return err_set(
		err, EKEYREVOKED,
		"this certificate of operator '%s' was revoked at %s; one with a new key "
		"would be right: another operator makes it ('operator add'), and the pair in "
		"the controller's data directory is a good one",
		s->name, rfc3339_format(text, (struct wall){at}));
}

static int judge(struct core *c, const struct svid *s, struct known *k, struct err *err)
{
	int r = store_ask(c->store, STORE_OPERATOR_GET, take_known, k, err, store_text(s->serial),
			  store_text(s->key_id), store_text(s->name));

	if (r < 0)
		return r;
	if (k->revoked > 0)
		return revoked(s, k->revoked, err);
	return k->count == 0 && s->not_before.s < k->bar ? revoked(s, k->bar, err) : 0;
}

int core_operator_check(struct core *c, const struct svid *s, struct err *err)
{
	struct known k = {0};
	int r = judge(c, s, &k, err);

	if (r == 0)
		note_use(c, s, &k);
	return r;
}

bool core_operator_revoked(struct core *c, const struct svid *s)
{
	struct known k = {0};
	struct err err;

	return core_ready(c, &err) == 0 && judge(c, s, &k, &err) == -EKEYREVOKED;
}

/* --- one more ----------------------------------------------------------------------------------
 */

struct newcomer {
	const char *name, *key_id;
	int64_t now, good_until; /* 0: nobody of that name has one that is good */
	bool key_revoked;
	char key_of[NODE_NAME_MAX]; /* somebody else with that key */
};

static int take_known_one(void *user, const struct store_row *row)
{
	struct newcomer *n = user;
	const char *name = store_row_text(row, 1);
	int64_t not_after = store_row_int(row, 4), revoked_at = store_row_int(row, 6);

	if (str_eq(store_row_text(row, 2), n->key_id)) {
		n->key_revoked |= revoked_at > 0;
		if (!str_eq(name, n->name))
			(void)snprintf(n->key_of, sizeof(n->key_of), "%s", name);
	}
	if (str_eq(name, n->name) && revoked_at == 0 && not_after > n->good_until &&
	    not_after >= n->now)
		n->good_until = not_after;
	return 0;
}

int core_operator_may(struct core *c, const char *name, const char *key_id, const char *who,
		      struct err *err)
{
	struct newcomer n = {.name = name, .key_id = key_id, .now = core_now(c).s};
	char quoted[LOG_QUOTE_MAX], text[RFC3339_TEXT_MAX];
	int r = core_ready(c, err);

	if (r < 0)
		return r;
	if (!node_name_ok(name))
		return err_set(err, EINVAL,
			       "'%s' is no operator's name; letters, digits, '.', '_', '-' and at "
			       "most 63 of them would be right",
			       log_quote(quoted, name));
	r = store_run(c->store, STORE_OPERATORS, NULL, 0, take_known_one, &n, err);
	if (r < 0)
		return r;
	if (n.key_revoked)
		return err_set(err, EACCES,
			       "this key was revoked with a certificate of operator '%s'; a new "
			       "key would be right",
			       n.key_of[0] != '\0' ? n.key_of : name);
	/* Who revokes by a serial number takes all of a key: two people must not share one. */
	if (n.key_of[0] != '\0')
		return err_set(err, EEXIST,
			       "this is the key of operator '%s'; one of their own for '%s' would "
			       "be right",
			       n.key_of, name);
	if (n.good_until > 0 && !str_eq(who, name))
		return err_set(err, EEXIST,
			       "operator '%s' has a certificate that is good until %s; they can "
			       "renew it themselves, and 'operator revoke' would end it",
			       name, rfc3339_format(text, (struct wall){n.good_until}));
	return 0;
}

/* --- listing --------------------------------------------------------------------------------- */

struct listing {
	json_t *list;
	const struct svid *asks;
	int64_t now;
};

static const char *state_name(int64_t revoked_at, int64_t not_after, int64_t now)
{
	if (revoked_at > 0)
		return "revoked";
	return not_after < now ? "expired" : "good";
}

static int take_listed(void *user, const struct store_row *row)
{
	struct listing *l = user;
	const char *serial = store_row_text(row, 0);
	json_t *one = json_pack(
		"{s:s,s:s,s:s,s:o,s:o,s:o,s:b}", "operator", store_row_text(row, 1), "serial",
		serial, "state", state_name(store_row_int(row, 6), store_row_int(row, 4), l->now),
		"valid_from", time_json(store_row_int(row, 3)), "expires",
		time_json(store_row_int(row, 4)), "last_seen", time_json(store_row_int(row, 5)),
		"asks", (int)(l->asks != NULL && str_eq(l->asks->serial, serial)));

	if (one != NULL && store_row_int(row, 6) > 0) {
		(void)json_object_set_new(one, "revoked", time_json(store_row_int(row, 6)));
		(void)json_object_set_new(one, "revoked_by", json_string(store_row_text(row, 7)));
		(void)json_object_set_new(one, "reason", json_string(store_row_text(row, 8)));
	}
	return json_array_append_new(l->list, one) < 0 ? -ENOMEM : 0;
}

json_t *core_operator_list(struct core *c, const struct svid *asks, struct err *err)
{
	struct listing l = {.list = json_array(), .asks = asks, .now = core_now(c).s};
	int r = core_ready(c, err);

	if (r == 0)
		r = store_run(c->store, STORE_OPERATORS, NULL, 0, take_listed, &l, err);
	if (r >= 0)
		return json_pack("{s:i,s:o}", "version", 1, "operators", l.list);
	json_decref(l.list);
	return NULL;
}

/* --- revoking -------------------------------------------------------------------------------- */

struct choice {
	const char *which;
	char serial[SERIAL_ROOM], key_id[SHA256_HEX_LEN];
	bool by_name;
	int64_t now, hit, left;
};

static bool is_good(const struct store_row *row, const struct choice *k)
{
	return store_row_int(row, 6) == 0 && store_row_int(row, 4) >= k->now;
}

/* As people copy it: openssl prints capitals, and no zeros in front. */
static bool same_serial(const char *known, const char *given)
{
	known += strspn(known, "0");
	given += strspn(given, "0");
	return *given != '\0' && strcasecmp(known, given) == 0;
}

static int take_choice(void *user, const struct store_row *row)
{
	struct choice *k = user;
	const char *serial = store_row_text(row, 0);

	k->by_name |= str_eq(store_row_text(row, 1), k->which);
	if (same_serial(serial, k->which) && strlen(serial) < sizeof(k->serial)) {
		(void)memcpy(k->serial, serial, strlen(serial) + 1);
		(void)snprintf(k->key_id, sizeof(k->key_id), "%s", store_row_text(row, 2));
	}
	return 0;
}

static int count_choice(void *user, const struct store_row *row)
{
	struct choice *k = user;
	bool chosen = k->by_name ? str_eq(store_row_text(row, 1), k->which)
				 : str_eq(store_row_text(row, 2), k->key_id);

	if (!is_good(row, k))
		return 0;
	k->hit += chosen;
	k->left += !chosen;
	return 0;
}

static int choose(struct core *c, struct choice *k, bool force, struct err *err)
{
	char quoted[LOG_QUOTE_MAX];
	int r = store_run(c->store, STORE_OPERATORS, NULL, 0, take_choice, k, err);

	if (r < 0)
		return r;
	if (!k->by_name && k->serial[0] == '\0' && !force)
		return err_set(err, ENOENT,
			       "no operator's certificate of the name or serial number '%s' was "
			       "used here; 'operator list' shows them, --force shuts a name out "
			       "all the same",
			       log_quote(quoted, k->which));
	k->by_name |= k->serial[0] == '\0';
	r = store_run(c->store, STORE_OPERATORS, NULL, 0, count_choice, k, err);
	if (r < 0)
		return r;
	if (k->left == 0 && !force)
		return err_set(err, EEXIST,
			       "no other operator's certificate is known that is good; --force "
			       "revokes the last one");
	return 0;
}

static int write_revocation(struct core *c, const struct choice *k, const char *reason,
			    const char *who, struct err *err)
{
	json_t *detail =
		json_pack("{s:s,s:I}", "reason", reason, "certificates", (json_int_t)k->hit);
	const char *on = k->by_name ? k->which : k->serial;
	int r = core_write_begin(c, who, "operator-revoke", on, detail, err);

	json_decref(detail);
	if (r < 0)
		return r;
	r = store_order(c->store,
			k->by_name ? STORE_OPERATOR_REVOKE_NAME : STORE_OPERATOR_REVOKE_SERIAL, err,
			store_text(on), store_int(k->now), store_text(who), store_text(reason));
	/* Of this second, too: dates of certificates know no parts of it. */
	if (r >= 0 && k->by_name)
		r = store_order(c->store, STORE_OPERATOR_BAR, err, store_text(on),
				store_int(k->now + 1));
	return core_write_end(c, r, err);
}

int core_operator_revoke(struct core *c, const char *which, bool force, const char *reason,
			 const char *who, json_t **ret, struct err *err)
{
	struct choice k = {.which = which, .now = core_now(c).s};
	int r = core_ready(c, err);

	if (r == 0)
		r = check_text("reason", reason, REASON_MAX, true, err);
	if (r == 0)
		r = check_text("name or serial number", which, WHICH_MAX, true, err);
	if (r == 0)
		r = choose(c, &k, force, err);
	if (r == 0)
		r = write_revocation(c, &k, reason, who, err);
	if (r < 0)
		return r;
	log_info("operator %s revoked %s", who, which);
	*ret = json_pack("{s:i,s:s,s:s,s:I,s:I}", "version", 1, k.by_name ? "operator" : "serial",
			 k.by_name ? which : k.serial, "state", "revoked", "certificates",
			 (json_int_t)k.hit, "left", (json_int_t)k.left);
	return 0;
}
