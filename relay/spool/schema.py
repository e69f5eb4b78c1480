"""The tables of the queue and every statement on them, written once for two engines (disk).

Statements are in the SQL that SQLite and PostgreSQL share, with `?` for a parameter and a few words in braces
where the two must differ; `Dialect.translate` gives the text for one engine. Whoever changes a table appends
a step to `MIGRATIONS`; a step that has been released is never edited.

How to think of the tables:
    message    one row per accepted message. `owner` is who has it claimed; NULL: anybody may. `due` counts only
               while it is neither claimed nor frozen, and exactly those rows are in the index that claims walk
               through: a message that is delivered at once never touches it, and a claim costs the same at any
               length of the queue. `frozen_at` is when delivery has frozen it, `warnings` how often its sender was told
               that it waits.
    recipient  one row per recipient, `number` is its place in the envelope; `done` has what is dealt with of the
               addresses that it stands for, a key a line.
    chunk      the body in pieces.
    arriving   a message whose body takes several pieces and is not complete, with the owner of those pieces. A
               body that fits in its last piece has no row here: it comes in the transaction that accepts it.
    owner      who may hold claims; `lease` (PostgreSQL) is when its claims end without a heartbeat, NULL (SQLite)
               means that a lock on a file tells whether it lives.
    batch      (PostgreSQL) the number of the last batch that an owner has committed; each batch writes its own.
    hint       what delivery remembers of hosts and addresses (`hints.py`).
    aside      rows that a repair has taken out of the other tables, `content` as it was there; nothing reads them.
    meta       the version of the schema, and how often a commit has failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where the engines differ."""

    name: str
    placeholder: str
    blob: str
    real: str
    binary_order: str
    """How a text column is made to sort by its octets: message ids begin with their time of arrival."""
    clustered: str
    """Behind a table of short rows that are only found by their key."""
    skip_locked: str
    """Behind a SELECT of rows that are about to be claimed."""
    locked: str
    """Behind a SELECT of rows that are about to be changed."""
    clock: str
    """The database's own clock, seconds since the epoch."""

    def translate(self, statement: str) -> str:
        """The statement in this engine's words."""
        for word in ("blob", "real", "binary_order", "clustered", "skip_locked", "locked", "clock"):
            statement = statement.replace("{" + word + "}", getattr(self, word))
        return statement.replace("?", self.placeholder)


SQLITE = Dialect(
    name="sqlite",
    placeholder="?",
    blob="BLOB",
    real="REAL",
    binary_order="",
    clustered="WITHOUT ROWID",
    skip_locked="",
    locked="",
    clock="unixepoch('subsec')",
)
POSTGRESQL = Dialect(
    name="postgresql",
    placeholder="%s",
    blob="BYTEA",
    real="DOUBLE PRECISION",
    binary_order='COLLATE "C"',
    clustered="",
    skip_locked="FOR UPDATE SKIP LOCKED",
    locked="FOR UPDATE",
    clock="extract(epoch FROM clock_timestamp())",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        """CREATE TABLE owner (
            owner TEXT PRIMARY KEY, pid INTEGER NOT NULL, started_at {real} NOT NULL, lease {real})""",
        """CREATE TABLE message (
            message_id TEXT {binary_order} PRIMARY KEY, owner TEXT, due {real} NOT NULL,
            frozen INTEGER NOT NULL, attempts INTEGER NOT NULL, received_at {real} NOT NULL,
            header_size INTEGER NOT NULL, body_size BIGINT NOT NULL, envelope TEXT NOT NULL,
            header {blob} NOT NULL, facts TEXT NOT NULL)""",
        "CREATE INDEX message_due ON message (due) WHERE owner IS NULL AND frozen = 0",
        "CREATE INDEX message_owner ON message (owner) WHERE owner IS NOT NULL",
        """CREATE TABLE recipient (
            message_id TEXT {binary_order} NOT NULL, number INTEGER NOT NULL, state TEXT NOT NULL,
            attempts INTEGER NOT NULL, first_failed {real}, last_error TEXT NOT NULL, recipient TEXT NOT NULL,
            PRIMARY KEY (message_id, number)) {clustered}""",
        """CREATE TABLE chunk (
            message_id TEXT {binary_order} NOT NULL, number INTEGER NOT NULL, data {blob} NOT NULL,
            PRIMARY KEY (message_id, number))""",
        "CREATE TABLE arriving (message_id TEXT PRIMARY KEY, owner TEXT NOT NULL)",
        """CREATE TABLE hint (
            kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, expires {real} NOT NULL,
            PRIMARY KEY (kind, key)) {clustered}""",
        "CREATE INDEX hint_expires ON hint (expires)",
    ),
    ("ALTER TABLE recipient ADD COLUMN done TEXT NOT NULL DEFAULT ''",),
    (
        """CREATE TABLE aside (
            origin TEXT NOT NULL, message_id TEXT NOT NULL, number INTEGER NOT NULL, content {blob} NOT NULL,
            reason TEXT NOT NULL, since {real} NOT NULL)""",
    ),
    (
        "ALTER TABLE message ADD COLUMN warnings INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE message ADD COLUMN frozen_at {real}",
        "CREATE INDEX message_frozen ON message (message_id) WHERE owner IS NULL AND frozen = 1",
    ),
    (
        "ALTER TABLE message ADD COLUMN waits_for TEXT NOT NULL DEFAULT ''",
        """CREATE INDEX message_waits_for ON message (waits_for, due)
            WHERE owner IS NULL AND frozen = 0 AND waits_for <> ''""",
    ),
    ("CREATE TABLE batch (owner TEXT PRIMARY KEY, number BIGINT NOT NULL)",),
)
"""Step N takes a queue from version N to N + 1."""

SCHEMA_VERSION = len(MIGRATIONS)

META_GET = "SELECT value FROM meta WHERE name = ?"
META_PUT = """INSERT INTO meta (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value"""

# Owners
OWNER_ADD = "INSERT INTO owner (owner, pid, started_at, lease) VALUES (?, ?, ?, ?)"
OWNERS = "SELECT owner FROM owner"
OWNER_REMOVE = "DELETE FROM owner WHERE owner = ?"
OWNER_ARRIVING_CHUNKS = """DELETE FROM chunk
    WHERE message_id IN (SELECT message_id FROM arriving WHERE owner = ?)"""
OWNER_ARRIVING = "DELETE FROM arriving WHERE owner = ? RETURNING message_id"
OWNER_CLAIMS = "UPDATE message SET owner = NULL WHERE owner = ? RETURNING message_id"
OWNER_COUNT = "SELECT count(*) FROM owner"
# With leases. The row of a living owner is locked while it writes, so that nobody takes over in the middle of a batch.
OWNER_REGISTER = "INSERT INTO owner (owner, pid, started_at, lease) VALUES (?, ?, {clock}, {clock} + ?)"
OWNER_HOLD = "SELECT 1 FROM owner WHERE owner = ? FOR KEY SHARE"
OWNER_BEAT = "UPDATE owner SET lease = {clock} + ? WHERE owner = ? RETURNING owner"
OWNER_TAKE = "SELECT owner FROM owner WHERE owner = ? {locked}"
BATCH_MARK = """INSERT INTO batch (owner, number) VALUES (?, ?)
    ON CONFLICT (owner) DO UPDATE SET number = excluded.number"""
BATCH_LAST = "SELECT number FROM batch WHERE owner = ?"
BATCH_REMOVE = "DELETE FROM batch WHERE owner = ?"
OWNERS_DEAD = "SELECT owner FROM owner WHERE lease < {clock} AND owner <> ? FOR UPDATE SKIP LOCKED"

# Arriving
ARRIVING_ADD = "INSERT INTO arriving (message_id, owner) VALUES (?, ?)"
ARRIVING_OWNED = "SELECT 1 FROM arriving WHERE message_id = ? AND owner = ?"
ARRIVING_REMOVE = "DELETE FROM arriving WHERE message_id = ? AND owner = ? RETURNING message_id"
CHUNK_ADD = "INSERT INTO chunk (message_id, number, data) VALUES (?, ?, ?)"
CHUNK_COUNT = "SELECT count(*) FROM chunk WHERE message_id = ?"
CHUNKS_REMOVE = "DELETE FROM chunk WHERE message_id = ?"
# The piece that was asked for, and whether there is one behind it, without reading that one's data.
CHUNK_GET = """SELECT data, EXISTS (SELECT 1 FROM chunk WHERE message_id = ? AND number > ?)
    FROM chunk WHERE message_id = ? AND number = ?"""

# Messages
MESSAGE_ADD = """INSERT INTO message
    (message_id, owner, due, frozen, attempts, received_at, header_size, body_size, envelope, header, facts)
    VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)"""
RECIPIENT_ADD = """INSERT INTO recipient
    (message_id, number, state, attempts, first_failed, last_error, recipient)
    VALUES (?, ?, 'pending', 0, NULL, '', ?)"""
MESSAGE_GET = """SELECT message_id, due, frozen, attempts, body_size, envelope, header, facts, warnings
    FROM message WHERE message_id = ?"""
MESSAGE_OWNER = "SELECT owner FROM message WHERE message_id = ?"
MESSAGE_CLAIM = "SELECT owner, frozen FROM message WHERE message_id = ? {skip_locked}"
MESSAGE_CHANGE = "SELECT owner, frozen FROM message WHERE message_id = ? {locked}"
# Also where it is claimed: whose lease is over has it no more, though nobody may have taken it yet.
MESSAGE_HELD = """SELECT 1 FROM message JOIN owner ON owner.owner = message.owner
    WHERE message_id = ? AND message.owner = ? AND (owner.lease IS NULL OR owner.lease > {clock})"""
MESSAGE_SET_OWNER = "UPDATE message SET owner = ? WHERE message_id = ?"
CLAIMABLE = """SELECT message_id, due, frozen, attempts, body_size, envelope, header, facts, warnings
    FROM message WHERE owner IS NULL AND frozen = 0 AND due <= ? ORDER BY due LIMIT ? {skip_locked}"""
CLAIMABLE_WAITING = """SELECT message_id, due, frozen, attempts, body_size, envelope, header, facts, warnings
    FROM message WHERE owner IS NULL AND frozen = 0 AND waits_for <> '' AND waits_for = ?
    ORDER BY due LIMIT ? {skip_locked}"""
NEXT_DUE = "SELECT min(due) FROM message WHERE owner IS NULL AND frozen = 0"
MESSAGE_REMOVE_OWNED = "DELETE FROM message WHERE message_id = ? AND owner = ? RETURNING message_id"
MESSAGE_REMOVE = "DELETE FROM message WHERE message_id = ?"
MESSAGE_WITHDRAW = """DELETE FROM message
    WHERE message_id = ? AND attempts = 0 AND (owner IS NULL OR owner = ?) RETURNING message_id"""
MESSAGE_SETTLE = """UPDATE message SET owner = NULL, due = ?, frozen = ?, frozen_at = ?, waits_for = ?,
    warnings = COALESCE(?, warnings), attempts = attempts + 1
    WHERE message_id = ? AND owner = ? RETURNING message_id"""
MESSAGE_RELEASE = """UPDATE message SET owner = NULL, due = ?
    WHERE message_id = ? AND owner = ? RETURNING message_id"""
MESSAGE_THAW = "UPDATE message SET frozen = 0, frozen_at = NULL, due = ? WHERE message_id = ?"
MESSAGE_SET_ASIDE = "UPDATE message SET frozen = 1, owner = NULL WHERE message_id = ?"
# What failed before is due: the network has changed, or the clock was set back.
DEFERRED_DUE = """UPDATE message SET due = ?
    WHERE owner IS NULL AND frozen = 0 AND attempts > 0 AND due > ? RETURNING message_id"""
MESSAGE_COUNT = "SELECT count(*) FROM message"
MESSAGE_SET_DUE = "UPDATE message SET due = ? WHERE message_id = ?"
MESSAGE_ENVELOPE = "SELECT envelope FROM message WHERE message_id = ?"
MESSAGE_SET_ENVELOPE = "UPDATE message SET envelope = ? WHERE message_id = ?"

# Recipients
RECIPIENTS = """SELECT number, recipient, state, attempts, last_error, first_failed, done
    FROM recipient WHERE message_id = ? ORDER BY number"""
RECIPIENTS_PENDING = "SELECT number FROM recipient WHERE message_id = ? AND state = 'pending'"
RECIPIENT_UPDATE = """UPDATE recipient SET state = ?, attempts = attempts + 1, last_error = ?,
    first_failed = COALESCE(?, first_failed) WHERE message_id = ? AND number = ? AND state = 'pending'"""
RECIPIENT_LAST = "SELECT max(number) FROM recipient WHERE message_id = ?"
RECIPIENT_MARK = """UPDATE recipient SET state = 'delivered', last_error = ?
    WHERE message_id = ? AND number = ? AND state = 'pending'"""
RECIPIENT_DONE = "UPDATE recipient SET done = done || ? WHERE message_id = ? AND number = ?"
RECIPIENTS_REMOVE = "DELETE FROM recipient WHERE message_id = ?"

# Listing
ENTRIES = """SELECT message_id, envelope, received_at, header_size + 2 + body_size, frozen, due, frozen_at
    FROM message WHERE message_id > ? ORDER BY message_id LIMIT ?"""
FROZEN_ENTRIES = """SELECT message_id, envelope, received_at, header_size + 2 + body_size, frozen, due, frozen_at
    FROM message WHERE owner IS NULL AND frozen = 1 AND message_id > ? ORDER BY message_id LIMIT ?"""

# Hints
HINT_GET = "SELECT value FROM hint WHERE kind = ? AND key = ? AND expires > ?"
HINT_PUT = """INSERT INTO hint (kind, key, value, expires) VALUES (?, ?, ?, ?)
    ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, expires = excluded.expires"""
HINT_REMOVE = "DELETE FROM hint WHERE kind = ? AND key = ?"
HINTS_EXPIRE = "DELETE FROM hint WHERE expires <= ? RETURNING key"

# Checking. Each finds rows that belong to nothing, or messages that lack something.
LOST_CHUNKS = """SELECT message_id, count(*) FROM chunk
    WHERE message_id NOT IN (SELECT message_id FROM message) AND message_id NOT IN (SELECT message_id FROM arriving)
    GROUP BY message_id ORDER BY message_id LIMIT ?"""
LOST_RECIPIENTS = """SELECT message_id, count(*) FROM recipient
    WHERE message_id NOT IN (SELECT message_id FROM message) GROUP BY message_id ORDER BY message_id LIMIT ?"""
LOST_CLAIMS = """SELECT message_id, owner FROM message
    WHERE owner IS NOT NULL AND owner NOT IN (SELECT owner FROM owner) ORDER BY message_id LIMIT ?"""
LOST_ARRIVALS = """SELECT message_id, owner FROM arriving
    WHERE owner NOT IN (SELECT owner FROM owner) ORDER BY message_id LIMIT ?"""
SHORT_BODIES = """SELECT message_id, body_size, found FROM (
        SELECT message_id, body_size, (SELECT COALESCE(sum(length(data)), 0) FROM chunk
            WHERE chunk.message_id = message.message_id) AS found FROM message WHERE frozen = 0) AS sizes
    WHERE body_size <> found ORDER BY message_id LIMIT ?"""
WITHOUT_RECIPIENTS = """SELECT message_id FROM message
    WHERE frozen = 0 AND message_id NOT IN (SELECT message_id FROM recipient) ORDER BY message_id LIMIT ?"""
IDS_BEHIND = "SELECT message_id FROM message WHERE message_id > ? AND frozen = 0 ORDER BY message_id LIMIT ?"
BODY_SIZES = """SELECT body_size, (SELECT COALESCE(sum(length(data)), 0) FROM chunk WHERE message_id = ?)
    FROM message WHERE message_id = ?"""
ARRIVING_ANY = "SELECT 1 FROM arriving WHERE message_id = ?"

# Repairing
ASIDE_CHUNKS = """INSERT INTO aside (origin, message_id, number, content, reason, since)
    SELECT 'chunk', message_id, number, data, ?, ? FROM chunk WHERE message_id = ?"""
RECIPIENTS_RAW = "SELECT number, state, last_error, recipient, done FROM recipient WHERE message_id = ?"
ASIDE_ADD = """INSERT INTO aside (origin, message_id, number, content, reason, since)
    VALUES (?, ?, ?, ?, ?, ?)"""
CLAIM_REMOVE = """UPDATE message SET owner = NULL
    WHERE message_id = ? AND owner NOT IN (SELECT owner FROM owner) RETURNING message_id"""
ARRIVAL_REMOVE = """DELETE FROM arriving
    WHERE message_id = ? AND owner NOT IN (SELECT owner FROM owner) RETURNING message_id"""


def makes_due(statement: str, parameters: Sequence[object]) -> bool:
    """Whether the statement may have made a message due that any owner may claim: they want to hear of it."""
    if statement is MESSAGE_ADD:
        return parameters[1] is None
    return statement in (MESSAGE_RELEASE, MESSAGE_THAW, MESSAGE_SET_DUE, DEFERRED_DUE, OWNER_CLAIMS, CLAIM_REMOVE)
