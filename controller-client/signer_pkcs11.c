/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A key in a token, by PKCS#11 through p11-kit: the URI (RFC 7512) says which module, token and
 * key. There must be exactly one such token and one such key: a PIN is tried on one token only, and
 * once, since tokens lock themselves after a few wrong ones.
 *
 * CKM_EDDSA signs the message itself. CKM_ECDSA signs a digest, SHA-256 of the message, and answers
 * r || s; signer.c makes DER of it. The public key is read from the token where it has one.
 */
#include "controller-client/signer_kind.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SLOTS_MAX         256
#define KEYS_FOUND_MAX    2 /* one, and another that shows there are several */
#define VALUE_MAX         256
#define TEMPLATE_MAX      32
#define PIN_FILE_MAX      4096
#define P256_POINT_LEN    65
#define ED25519_POINT_LEN 32
#define TAG_OCTET_STRING  0x04

struct token {
	CK_FUNCTION_LIST **modules; /* all that are configured, or NULL */
	CK_FUNCTION_LIST *single;   /* the one of module-path, or NULL */
	P11KitUri *uri;
	CK_FUNCTION_LIST *module; /* of the token */
	CK_SLOT_ID slot;
	CK_TOKEN_INFO info;
	char label[sizeof(((CK_TOKEN_INFO *)0)->label) + 1];
	CK_SESSION_HANDLE session;
	bool has_session;
	CK_OBJECT_HANDLE key;
	CK_KEY_TYPE type;
	char pin[SIGNER_PIN_MAX];
	bool has_pin;
};

/* `what` is the module's file, or where it is a token its label behind `kind`. */
static int pkcs11_error(struct err *err, CK_RV rv, const char *kind, const char *what)
{
	switch (rv) {
	case CKR_PIN_INCORRECT:
		return err_set(err, EACCES,
			       "%s%s: wrong PIN; tokens lock themselves after a few tries", kind,
			       what);
	case CKR_PIN_LOCKED:
		return err_set(err, EACCES,
			       "%s%s: the PIN is locked; the token's own tool unlocks it", kind,
			       what);
	case CKR_USER_NOT_LOGGED_IN:
		return err_set(err, EACCES,
			       "%s%s: needs a PIN; pin-source=file:/path in the URI or "
			       "$" SIGNER_PIN_VARIABLE " would be right",
			       kind, what);
	default: /* not our enumeration: module vendors add to it */
		return err_set(err, EIO, "%s%s: %s", kind, what, p11_kit_strerror(rv));
	}
}

static int token_error(const struct token *t, CK_RV rv, struct err *err)
{
	return pkcs11_error(err, rv, "token ", t->label);
}

/* ---- modules and tokens ---- */

static int load_modules(struct token *t, struct err *err)
{
	const char *path = p11_kit_uri_get_module_path(t->uri);
	CK_RV rv;

	if (path == NULL) {
		t->modules = p11_kit_modules_load_and_initialize(0);
		return t->modules != NULL
			       ? 0
			       : err_set(err, EIO, "PKCS#11 modules: %s", p11_kit_message());
	}
	t->single = p11_kit_module_load(path, 0);
	if (t->single == NULL)
		return err_set(err, EIO, "%s: not a PKCS#11 module that can be loaded", path);
	rv = p11_kit_module_initialize(t->single);
	if (rv == CKR_OK)
		return 0;
	p11_kit_module_release(t->single);
	t->single = NULL;
	return pkcs11_error(err, rv, "", path);
}

static bool module_wanted(const struct token *t, CK_FUNCTION_LIST *module)
{
	const char *wanted = p11_kit_uri_get_module_name(t->uri);
	char *name = p11_kit_module_get_name(module);
	bool same = wanted == NULL || str_eq(name, wanted);

	free(name);
	return same;
}

/* Tokens of one module that the URI means; the first is kept. */
static unsigned match_tokens(struct token *t, CK_FUNCTION_LIST *module)
{
	CK_SLOT_ID slots[SLOTS_MAX];
	CK_ULONG count = SLOTS_MAX;
	unsigned matches = 0;
	CK_TOKEN_INFO info;

	if (module->C_GetSlotList(CK_TRUE, slots, &count) != CKR_OK)
		return 0;
	for (CK_ULONG i = 0; i < count; i++) {
		if (module->C_GetTokenInfo(slots[i], &info) != CKR_OK ||
		    (info.flags & CKF_TOKEN_INITIALIZED) == 0 ||
		    !p11_kit_uri_match_token_info(t->uri, &info))
			continue;
		if (t->module == NULL) {
			t->module = module;
			t->slot = slots[i];
			t->info = info;
		}
		matches++;
	}
	return matches;
}

static void read_label(struct token *t)
{
	size_t len = sizeof(t->info.label);

	while (len > 0 && t->info.label[len - 1] == ' ')
		len--;
	memcpy(t->label, t->info.label, len);
	t->label[len] = '\0';
}

static int find_token(struct token *t, const char *key, struct err *err)
{
	char quoted[LOG_QUOTE_MAX];
	unsigned matches = 0;

	if (t->single != NULL)
		matches = match_tokens(t, t->single);
	for (size_t i = 0; t->modules != NULL && t->modules[i] != NULL; i++) {
		if (module_wanted(t, t->modules[i]))
			matches += match_tokens(t, t->modules[i]);
	}
	(void)log_quote(quoted, key);
	quoted[strcspn(quoted, "?")] = '\0'; /* behind it there may be a PIN */
	if (matches == 0)
		return err_set(err, ENOENT, "%s: no such token; 'p11tool --list-tokens' lists them",
			       quoted);
	if (matches > 1)
		return err_set(err, EINVAL,
			       "%s means %u tokens; token= or serial= of one would be right",
			       quoted, matches);
	read_label(t);
	return 0;
}

/* ---- PIN ---- */

static int pin_from_file(struct token *t, const char *source, struct err *err)
{
	const char *path = str_starts(source, "file:") ? source + strlen("file:") : source;
	CLEANUP(freep) char *text = NULL;
	struct stat st;
	size_t len;
	int r;

	if (str_starts(path, "//"))
		path += strspn(path, "/") - 1; /* file:///path */
	if (*path != '/')
		return err_set(err, EINVAL,
			       "pin-source=%s: not a file; file:/absolute/path would be right",
			       source);
	if (stat(path, &st) == 0 && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return err_set(err, EACCES, "%s: others may read the PIN; mode 0600 would be right",
			       path);
	r = file_read(AT_FDCWD, path, PIN_FILE_MAX, &text, &len, err);
	if (r < 0)
		return r;
	len = strcspn(text, "\r\n");
	if (len == 0 || len >= sizeof(t->pin)) {
		r = err_set(err, EINVAL, "%s: holds no PIN in its first line", path);
	} else {
		memcpy(t->pin, text, len);
		t->pin[len] = '\0';
		t->has_pin = true;
	}
	OPENSSL_cleanse(text, strlen(text));
	return r;
}

static int take_pin(struct token *t, const struct signer_config *c, struct err *err)
{
	const char *value = p11_kit_uri_get_pin_value(t->uri);
	const char *source = p11_kit_uri_get_pin_source(t->uri);
	int r;

	if (value == NULL && source != NULL)
		return pin_from_file(t, source, err);
	if (value == NULL)
		value = getenv(SIGNER_PIN_VARIABLE);
	if (value != NULL && strlen(value) < sizeof(t->pin)) {
		memcpy(t->pin, value, strlen(value) + 1);
	} else if (c->ask_pin != NULL) {
		r = c->ask_pin(c->user, t->label, t->pin, err);
		if (r < 0)
			return r;
	} else {
		return token_error(t, CKR_USER_NOT_LOGGED_IN, err);
	}
	t->has_pin = true;
	return 0;
}

static int login(struct token *t, CK_USER_TYPE user, struct err *err)
{
	bool own_pad = (t->info.flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0;
	CK_RV rv = t->module->C_Login(t->session, user, own_pad ? NULL : (CK_UTF8CHAR_PTR)t->pin,
				      own_pad ? 0 : strlen(t->pin));

	return rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN ? 0 : token_error(t, rv, err);
}

static int open_session(struct token *t, const struct signer_config *c, struct err *err)
{
	CK_RV rv = t->module->C_OpenSession(t->slot, CKF_SERIAL_SESSION, NULL, NULL, &t->session);
	int r;

	if (rv != CKR_OK)
		return token_error(t, rv, err);
	t->has_session = true;
	if ((t->info.flags & CKF_LOGIN_REQUIRED) == 0)
		return 0;
	/* A token with a pad of its own asks there. */
	r = t->info.flags & CKF_PROTECTED_AUTHENTICATION_PATH ? 0 : take_pin(t, c, err);
	return r < 0 ? r : login(t, CKU_USER, err);
}

/* ---- objects ---- */

/* Objects of a class with what the URI says of objects (id, object). */
static int find_objects(struct token *t, CK_OBJECT_CLASS class, const CK_ATTRIBUTE *id,
			CK_OBJECT_HANDLE found[KEYS_FOUND_MAX], CK_ULONG *ret_count,
			struct err *err)
{
	CK_ATTRIBUTE wanted[TEMPLATE_MAX] = {{CKA_CLASS, &class, sizeof(class)}};
	CK_ULONG n = 1, given = 0;
	CK_ATTRIBUTE *attributes = p11_kit_uri_get_attributes(t->uri, &given);
	CK_RV rv;

	if (id != NULL)
		wanted[n++] = *id;
	for (CK_ULONG i = 0; id == NULL && i < given && n < TEMPLATE_MAX; i++) {
		if (attributes[i].type != CKA_CLASS)
			wanted[n++] = attributes[i];
	}
	*ret_count = 0;
	rv = t->module->C_FindObjectsInit(t->session, wanted, n);
	if (rv == CKR_OK) {
		rv = t->module->C_FindObjects(t->session, found, KEYS_FOUND_MAX, ret_count);
		(void)t->module->C_FindObjectsFinal(t->session);
	}
	return rv == CKR_OK ? 0 : token_error(t, rv, err);
}

/* -ENODATA where the object has no such attribute or will not say it. */
static int get_value(struct token *t, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, void *value,
		     size_t size, size_t *ret_len)
{
	CK_ATTRIBUTE a = {type, value, size};

	if (t->module->C_GetAttributeValue(t->session, object, &a, 1) != CKR_OK ||
	    a.ulValueLen > size)
		return -ENODATA;
	*ret_len = a.ulValueLen;
	return 0;
}

static int find_key(struct token *t, struct err *err)
{
	CK_OBJECT_HANDLE found[KEYS_FOUND_MAX];
	CK_ULONG count;
	size_t len;
	int r = find_objects(t, CKO_PRIVATE_KEY, NULL, found, &count, err);

	if (r < 0)
		return r;
	if (count != 1)
		return err_set(err, count == 0 ? ENOENT : EINVAL,
			       "token %s: %s private key fits; object=NAME or id=%%NN of one would "
			       "be right",
			       t->label, count == 0 ? "no" : "more than one");
	t->key = found[0];
	if (get_value(t, t->key, CKA_KEY_TYPE, &t->type, sizeof(t->type), &len) < 0 ||
	    (t->type != CKK_EC && t->type != CKK_EC_EDWARDS))
		return err_set(err, ENOTSUP,
			       "token %s: the key is neither Ed25519 nor P-256; one of these would "
			       "be right",
			       t->label);
	return 0;
}

/* ---- the public key ---- */

static EVP_PKEY *p256_of(const uint8_t *point, size_t len)
{
	char group[] = "P-256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)point,
						  len),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_PKEY *pkey = NULL;

	if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
		pkey = NULL;
	EVP_PKEY_CTX_free(ctx);
	return pkey;
}

/*
 * CKA_EC_POINT is the DER of an OCTET STRING around the point; some modules give the bare point.
 * The lengths of both forms differ, so neither can be taken for the other.
 */
static EVP_PKEY *public_of(const struct token *t, const uint8_t *value, size_t len)
{
	size_t point = t->type == CKK_EC ? P256_POINT_LEN : ED25519_POINT_LEN;

	if (len == point + 2 && value[0] == TAG_OCTET_STRING && value[1] == point) {
		value += 2;
		len = point;
	}
	if (len != point)
		return NULL;
	if (t->type == CKK_EC)
		return p256_of(value, len);
	return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, value, len);
}

/* Private keys rarely carry their point; the public key with the same id does. */
static int read_public(struct token *t, struct public_key *ret, struct err *err)
{
	uint8_t value[VALUE_MAX], id[VALUE_MAX];
	CK_ATTRIBUTE same_id = {CKA_ID, id, 0};
	CK_OBJECT_HANDLE found[KEYS_FOUND_MAX], object = t->key;
	CK_ULONG count;
	EVP_PKEY *pkey;
	size_t len;
	int r;

	if (get_value(t, t->key, CKA_ID, id, sizeof(id), &len) == 0 && len > 0) {
		same_id.ulValueLen = len;
		r = find_objects(t, CKO_PUBLIC_KEY, &same_id, found, &count, err);
		if (r < 0)
			return r;
		if (count == 1)
			object = found[0];
	}
	if (get_value(t, object, CKA_EC_POINT, value, sizeof(value), &len) < 0)
		return 0; /* then --public must name it */
	pkey = public_of(t, value, len);
	if (pkey == NULL)
		return err_set(err, ENOTSUP,
			       "token %s: the key is neither Ed25519 nor P-256; one of these would "
			       "be right",
			       t->label);
	r = public_key_from(pkey, ret, err);
	EVP_PKEY_free(pkey);
	return r;
}

/* ---- signing ---- */

static int sign_token(struct signer *s, const void *message, size_t len, uint8_t *signature,
		      size_t size, size_t *ret_len, struct err *err)
{
	struct token *t = s->state;
	CK_MECHANISM mechanism = {t->type == CKK_EC ? CKM_ECDSA : CKM_EDDSA, NULL, 0};
	CK_BBOOL again = CK_FALSE;
	uint8_t digest[SHA256_LEN];
	CK_ULONG n = size;
	size_t again_len;
	CK_RV rv;

	if (t->type == CKK_EC) {
		if (sha256(message, len, digest) < 0)
			return err_set(err, ENOMEM, "out of memory");
		message = digest;
		len = sizeof(digest);
	}
	rv = t->module->C_SignInit(t->session, &mechanism, t->key);
	if (rv != CKR_OK)
		return token_error(t, rv, err);
	/* Keys of signature cards want the PIN for each signature. */
	if (get_value(t, t->key, CKA_ALWAYS_AUTHENTICATE, &again, sizeof(again), &again_len) == 0 &&
	    again == CK_TRUE && login(t, CKU_CONTEXT_SPECIFIC, err) < 0)
		return -EACCES;
	rv = t->module->C_Sign(t->session, (CK_BYTE_PTR)(uintptr_t)message, len, signature, &n);
	if (rv != CKR_OK)
		return token_error(t, rv, err);
	*ret_len = n;
	return 0;
}

static void close_token(struct signer *s)
{
	struct token *t = s->state;

	if (t->has_session)
		(void)t->module->C_CloseSession(t->session);
	if (t->modules != NULL)
		p11_kit_modules_finalize_and_release(t->modules);
	if (t->single != NULL) {
		(void)p11_kit_module_finalize(t->single);
		p11_kit_module_release(t->single);
	}
	p11_kit_uri_free(t->uri);
	OPENSSL_cleanse(t->pin, sizeof(t->pin));
	free(t);
}

static int parse_uri(struct token *t, const char *text, struct err *err)
{
	int r;

	t->uri = p11_kit_uri_new();
	if (t->uri == NULL)
		return err_set(err, ENOMEM, "out of memory");
	r = p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, t->uri);
	if (r == P11_KIT_URI_OK && !p11_kit_uri_any_unrecognized(t->uri))
		return 0;
	return err_set(err, EINVAL,
		       "the PKCS#11 URI: %s; pkcs11:token=NAME;object=NAME would be right",
		       r != P11_KIT_URI_OK ? p11_kit_uri_message(r)
					   : "holds something that is not known here");
}

int signer_open_pkcs11(const struct signer_config *c, struct signer *s, struct err *err)
{
	struct token *t = mem_calloc(1, sizeof(*t));
	int r;

	if (t == NULL)
		return err_set(err, ENOMEM, "out of memory");
	s->state = t;
	s->sign = sign_token;
	s->close = close_token;
	r = parse_uri(t, c->key, err);
	if (r == 0)
		r = load_modules(t, err);
	if (r == 0)
		r = find_token(t, c->key, err);
	if (r == 0)
		r = open_session(t, c, err);
	if (r == 0)
		r = find_key(t, err);
	return r < 0 ? r : read_public(t, &s->public, err);
}
