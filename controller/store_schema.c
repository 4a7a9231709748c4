/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/store_schema.h"

#define ACTION_COLUMNS "id, kind, target, keep, origin, goal, reason, who, at, until"

const char *const store_schema_steps[STORE_SCHEMA_VERSION] = {
	"CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE keys (role TEXT NOT NULL, id TEXT NOT NULL, pem TEXT NOT NULL,"
	" PRIMARY KEY (role, id)) WITHOUT ROWID;"
	"CREATE TABLE manifests (revision INTEGER PRIMARY KEY, sha256 TEXT NOT NULL,"
	" envelope BLOB NOT NULL, at INTEGER NOT NULL, who TEXT NOT NULL);"
	"CREATE TABLE manifest_blobs (revision INTEGER NOT NULL, place INTEGER NOT NULL,"
	" name TEXT NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (revision, place)) WITHOUT ROWID;"
	"CREATE INDEX manifest_blobs_sha256 ON manifest_blobs (sha256);"
	"CREATE TABLE blobs (sha256 TEXT PRIMARY KEY, bytes BLOB NOT NULL, at INTEGER NOT NULL);"
	"CREATE TABLE nodes (name TEXT PRIMARY KEY, state TEXT NOT NULL,"
	" changed INTEGER NOT NULL, valid_from INTEGER NOT NULL, seen INTEGER NOT NULL,"
	" report TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE tokens (id TEXT PRIMARY KEY, secret_sha256 TEXT NOT NULL,"
	" node TEXT NOT NULL, uses INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0,"
	" expires INTEGER NOT NULL, used_at INTEGER NOT NULL DEFAULT 0,"
	" used_from TEXT NOT NULL DEFAULT '', made_at INTEGER NOT NULL, made_by TEXT NOT NULL)"
	" WITHOUT ROWID;"
	"CREATE TABLE certificates (serial TEXT PRIMARY KEY, node TEXT NOT NULL,"
	" role INTEGER NOT NULL, issued INTEGER NOT NULL, not_after INTEGER NOT NULL,"
	" state INTEGER NOT NULL DEFAULT 0, key_id TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX certificates_node ON certificates (node, role);"
	"CREATE TABLE placements (identity TEXT NOT NULL, node TEXT NOT NULL,"
	" source INTEGER NOT NULL, addresses TEXT NOT NULL,"
	" PRIMARY KEY (identity, node, source)) WITHOUT ROWID;"
	"CREATE TABLE heads (node TEXT PRIMARY KEY, sequence INTEGER NOT NULL,"
	" issued INTEGER NOT NULL, expires INTEGER NOT NULL, urgent INTEGER NOT NULL,"
	" content TEXT NOT NULL, view_sequence INTEGER NOT NULL, view_content TEXT NOT NULL,"
	" view_sha256 TEXT NOT NULL, view_size INTEGER NOT NULL, envelope BLOB NOT NULL,"
	" stale INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
	"CREATE TABLE actions (id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL,"
	" target TEXT NOT NULL, keep TEXT, origin TEXT, goal TEXT, reason TEXT NOT NULL,"
	" who TEXT NOT NULL, at INTEGER NOT NULL, until INTEGER NOT NULL,"
	" ended INTEGER NOT NULL DEFAULT 0);"
	"CREATE INDEX actions_ended ON actions (ended);"
	"CREATE TABLE evidence (id INTEGER PRIMARY KEY AUTOINCREMENT, action INTEGER NOT NULL,"
	" node TEXT NOT NULL, at INTEGER NOT NULL, flow TEXT NOT NULL);"
	"CREATE UNIQUE INDEX evidence_once ON evidence (action, node, flow);"
	"CREATE INDEX evidence_node ON evidence (node);"
	"CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL,"
	" who TEXT NOT NULL, verb TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL);",

	"CREATE TABLE operators (serial TEXT PRIMARY KEY, name TEXT NOT NULL,"
	" key_id TEXT NOT NULL, not_before INTEGER NOT NULL, not_after INTEGER NOT NULL,"
	" seen INTEGER NOT NULL DEFAULT 0, revoked INTEGER NOT NULL DEFAULT 0,"
	" revoked_by TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '') WITHOUT ROWID;"
	"CREATE INDEX operators_key ON operators (key_id);"
	"CREATE TABLE operator_bars (name TEXT PRIMARY KEY, before INTEGER NOT NULL)"
	" WITHOUT ROWID;"
	"CREATE TABLE forgotten (name TEXT PRIMARY KEY, valid_from INTEGER NOT NULL)"
	" WITHOUT ROWID;",
};

const char *const store_sql[STORE_QUERIES] = {
	[STORE_META_GET] = "SELECT value FROM meta WHERE key = ?1",
	[STORE_META_PUT] = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)",
	[STORE_KEYS] = "SELECT role, id, pem FROM keys ORDER BY role, id",
	[STORE_KEY_ADD] = "INSERT OR IGNORE INTO keys (role, id, pem) VALUES (?1, ?2, ?3)",

	[STORE_MANIFEST_NEWEST] = "SELECT revision, sha256, envelope FROM manifests"
				  " ORDER BY revision DESC LIMIT 1",
	[STORE_MANIFEST_GET] = "SELECT envelope, sha256 FROM manifests WHERE revision = ?1",
	[STORE_MANIFESTS] = "SELECT revision, sha256, at, who FROM manifests"
			    " ORDER BY revision DESC LIMIT ?1",
	[STORE_MANIFEST_ADD] = "INSERT INTO manifests (revision, sha256, envelope, at, who)"
			       " VALUES (?1, ?2, ?3, ?4, ?5)",
	[STORE_MANIFEST_BLOB_ADD] = "INSERT INTO manifest_blobs (revision, sha256, name, place)"
				    " VALUES (?1, ?2, ?3, ?4)",
	[STORE_MANIFEST_BLOBS] = "SELECT name, sha256 FROM manifest_blobs WHERE revision = ?1"
				 " ORDER BY place",
	[STORE_MANIFESTS_PRUNE] =
		"DELETE FROM manifests WHERE revision NOT IN"
		" (SELECT revision FROM manifests ORDER BY revision DESC LIMIT ?1)",
	[STORE_MANIFEST_BLOBS_PRUNE] = "DELETE FROM manifest_blobs WHERE revision NOT IN"
				       " (SELECT revision FROM manifests)",

	[STORE_BLOB_GET] = "SELECT bytes FROM blobs WHERE sha256 = ?1",
	[STORE_BLOB_SIZE] = "SELECT length(bytes) FROM blobs WHERE sha256 = ?1",
	[STORE_BLOB_PUBLISHED] = "SELECT 1 FROM manifest_blobs WHERE sha256 = ?1 LIMIT 1",
	[STORE_BLOB_ADD] = "INSERT INTO blobs (sha256, bytes, at) VALUES (?1, ?2, ?3)"
			   " ON CONFLICT (sha256) DO UPDATE SET at = excluded.at",
	[STORE_BLOBS_LOOSE] = "SELECT count(*) FROM blobs WHERE sha256 NOT IN"
			      " (SELECT sha256 FROM manifest_blobs)",
	[STORE_BLOBS_PRUNE] = "DELETE FROM blobs WHERE at < ?1 AND sha256 NOT IN"
			      " (SELECT sha256 FROM manifest_blobs)",

	[STORE_NODES] = "SELECT name, state, changed, valid_from, seen, report FROM nodes"
			" ORDER BY name",
	[STORE_NODE_PUT] = "INSERT OR REPLACE INTO nodes"
			   " (name, state, changed, valid_from, seen, report)"
			   " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
	[STORE_NODE_REPORT] = "UPDATE nodes SET seen = ?2, report = ?3 WHERE name = ?1",

	[STORE_NODE_DEL] = "DELETE FROM nodes WHERE name = ?1",
	[STORE_HEAD_DEL] = "DELETE FROM heads WHERE node = ?1",
	[STORE_TOKENS_DEL] = "DELETE FROM tokens WHERE node = ?1",
	[STORE_FORGOTTEN_PUT] = "INSERT OR REPLACE INTO forgotten (name, valid_from)"
				" VALUES (?1, ?2)",
	[STORE_FORGOTTEN_GET] = "SELECT valid_from FROM forgotten WHERE name = ?1",

	[STORE_TOKEN_GET] = "SELECT secret_sha256, node, uses, used, expires, used_at, used_from"
			    " FROM tokens WHERE id = ?1",
	[STORE_TOKEN_ADD] = "INSERT INTO tokens"
			    " (id, secret_sha256, node, uses, expires, made_at, made_by)"
			    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[STORE_TOKEN_USE] = "UPDATE tokens SET used = used + 1, used_at = ?2, used_from = ?3"
			    " WHERE id = ?1 AND used < uses",
	[STORE_TOKEN_RETURN] = "UPDATE tokens SET used = used - 1 WHERE id = ?1 AND used > 0",
	[STORE_TOKENS] = "SELECT id, node, uses, used, expires, used_at, used_from, made_at,"
			 " made_by FROM tokens ORDER BY made_at DESC, id LIMIT ?1",
	[STORE_TOKENS_PRUNE] = "DELETE FROM tokens WHERE expires < ?1",

	[STORE_CERT_GET] = "SELECT node, role, issued, not_after, state, key_id FROM certificates"
			   " WHERE serial = ?1",
	[STORE_CERT_ADD] = "INSERT OR REPLACE INTO certificates"
			   " (serial, node, role, issued, not_after, key_id)"
			   " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
	[STORE_CERT_USED] = "UPDATE certificates SET state = 1 WHERE serial = ?1 AND state = 0",
	[STORE_CERTS_SUPERSEDE] = "UPDATE certificates SET state = 2 WHERE node = ?1 AND role = ?2"
				  " AND issued <= ?3 AND serial <> ?4 AND state < 2",
	[STORE_CERTS_REFUSE] = "UPDATE certificates SET state = 3 WHERE node = ?1",
	[STORE_CERTS_PRUNE] = "DELETE FROM certificates WHERE not_after < ?1",

	[STORE_OPERATOR_GET] =
		"SELECT (SELECT count(*) FROM operators WHERE serial = ?1),"
		" (SELECT max(revoked) FROM operators WHERE serial = ?1 OR key_id = ?2),"
		" (SELECT before FROM operator_bars WHERE name = ?3),"
		" (SELECT seen FROM operators WHERE serial = ?1)",
	[STORE_OPERATORS] = "SELECT serial, name, key_id, not_before, not_after, seen, revoked,"
			    " revoked_by, reason FROM operators ORDER BY name, not_after, serial",
	[STORE_OPERATOR_ADD] = "INSERT OR IGNORE INTO operators"
			       " (serial, name, key_id, not_before, not_after)"
			       " VALUES (?1, ?2, ?3, ?4, ?5)",
	[STORE_OPERATOR_SEEN] = "UPDATE operators SET seen = ?2 WHERE serial = ?1",
	[STORE_OPERATOR_REVOKE_NAME] =
		"UPDATE operators SET revoked = ?2, revoked_by = ?3, reason = ?4"
		" WHERE name = ?1 AND revoked = 0",
	[STORE_OPERATOR_REVOKE_SERIAL] =
		"UPDATE operators SET revoked = ?2, revoked_by = ?3, reason = ?4"
		" WHERE revoked = 0 AND key_id = (SELECT key_id FROM operators WHERE serial = ?1)",
	[STORE_OPERATOR_BAR] = "INSERT OR REPLACE INTO operator_bars (name, before)"
			       " VALUES (?1, ?2)",
	[STORE_OPERATORS_PRUNE] = "DELETE FROM operators WHERE not_after < ?1 AND revoked = 0",

	[STORE_PLACEMENTS] = "SELECT identity, node, source, addresses FROM placements"
			     " ORDER BY identity, node, source",
	[STORE_PLACEMENT_PUT] = "INSERT OR REPLACE INTO placements"
				" (identity, node, source, addresses) VALUES (?1, ?2, ?3, ?4)",
	[STORE_PLACEMENT_DEL] = "DELETE FROM placements WHERE identity = ?1 AND node = ?2"
				" AND source = ?3",

	[STORE_HEADS] = "SELECT node, sequence, issued, expires, urgent, content, view_sequence,"
			" view_content, view_sha256, view_size, envelope, stale FROM heads",
	[STORE_HEAD_PUT] = "INSERT OR REPLACE INTO heads (node, sequence, issued, expires, urgent,"
			   " content, view_sequence, view_content, view_sha256, view_size,"
			   " envelope) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
	[STORE_HEAD_STALE] = "UPDATE heads SET stale = 1 WHERE node = ?1",
	[STORE_HEADS_STALE] = "UPDATE heads SET stale = 1",

	[STORE_ACTIONS] = "SELECT " ACTION_COLUMNS " FROM actions WHERE ended = 0 ORDER BY id",
	[STORE_ACTIONS_RECENT] = "SELECT " ACTION_COLUMNS ", ended FROM actions"
				 " ORDER BY id DESC LIMIT ?1",
	[STORE_ACTION_ADD] = "INSERT INTO actions"
			     " (kind, target, keep, origin, goal, reason, who, at, until)"
			     " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
	[STORE_ACTION_END] = "UPDATE actions SET ended = ?2 WHERE id = ?1 AND ended = 0",

	[STORE_EVIDENCE_ADD] = "INSERT OR IGNORE INTO evidence (action, node, at, flow)"
			       " VALUES (?1, ?2, ?3, ?4)",
	[STORE_EVIDENCE] = "SELECT node, at, flow FROM evidence WHERE action = ?1 ORDER BY id"
			   " LIMIT ?2",
	[STORE_EVIDENCE_COUNTS] = "SELECT action, count(*) FROM evidence GROUP BY action",
	[STORE_EVIDENCE_OF_NODE] = "SELECT count(*) FROM evidence WHERE node = ?1",
	[STORE_EVIDENCE_OF_NODE_PRUNE] =
		"DELETE FROM evidence WHERE node = ?1 AND id NOT IN"
		" (SELECT id FROM evidence WHERE node = ?1 ORDER BY id DESC LIMIT ?2)",
	[STORE_EVIDENCE_PRUNE] = "DELETE FROM evidence WHERE id NOT IN"
				 " (SELECT id FROM evidence ORDER BY id DESC LIMIT ?1)",

	[STORE_AUDIT_ADD] = "INSERT INTO audit (at, who, verb, subject, detail)"
			    " VALUES (?1, ?2, ?3, ?4, ?5)",
	[STORE_AUDIT] = "SELECT id, at, who, verb, subject, detail FROM audit"
			" ORDER BY id DESC LIMIT ?1",
	[STORE_AUDIT_PRUNE] =
		"DELETE FROM audit WHERE at < ?1 AND verb IN"
		" ('issue', 'report', 'node-add', 'token-use', 'token-return', 'end')",
};
