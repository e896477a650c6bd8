-- Unknown codes, held change sets, references between entities, the start of streams, daily figures.

-- The code tables of each version of a mapping: packed JSON, table to local code to standard code. Versions with the
-- same base differ in nothing else.
CREATE TABLE mapping_codes (
    mapping_id INTEGER PRIMARY KEY REFERENCES mapping (id),
    base       TEXT NOT NULL,
    codec      INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    body       BLOB NOT NULL
) STRICT;
CREATE INDEX mapping_codes_base ON mapping_codes (base);

-- The version `mapping_id` knows every code that `alike_id` knows, and reads all else in the same way.
CREATE TABLE mapping_alike (
    mapping_id INTEGER NOT NULL,
    alike_id   INTEGER NOT NULL,
    PRIMARY KEY (mapping_id, alike_id)
) STRICT, WITHOUT ROWID;

-- Local codes that no table knew when they were met.
CREATE TABLE unknown_code (
    id            INTEGER PRIMARY KEY,
    stream_id     INTEGER NOT NULL REFERENCES stream (id),
    type          TEXT NOT NULL,
    path          TEXT NOT NULL,                     -- the field, list positions left out
    value         TEXT NOT NULL,
    first_seen_at INTEGER NOT NULL,
    last_seen_at  INTEGER NOT NULL,
    UNIQUE (stream_id, type, path, value)
) STRICT;

-- The records that hold such a code, the newest of each entity; entity_id is 0 where there is none.
CREATE TABLE unknown_code_of (
    code_id    INTEGER NOT NULL REFERENCES unknown_code (id),
    archive_id INTEGER NOT NULL,
    entity_id  INTEGER NOT NULL,
    PRIMARY KEY (code_id, archive_id, entity_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX unknown_code_of_archive ON unknown_code_of (archive_id);
CREATE INDEX unknown_code_of_entity ON unknown_code_of (entity_id) WHERE entity_id > 0;

-- The change set of a catalogue that is, or was last, held as one item.
CREATE TABLE change_set (
    stream_id   INTEGER PRIMARY KEY REFERENCES stream (id),
    held_id     INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,                       -- of the entities that differ from upstream, and how
    since       INTEGER NOT NULL                     -- since when it is this one
) STRICT;

-- Held items that wait for an entry of a dictionary.
CREATE TABLE waiting (
    type    TEXT NOT NULL,
    code    TEXT NOT NULL,
    held_id INTEGER NOT NULL,
    PRIMARY KEY (type, code, held_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX waiting_held ON waiting (held_id);

-- Streams whose events wait for the first sample to be judged; a stream without a row delivers.
CREATE TABLE onboarding (
    stream_id INTEGER PRIMARY KEY REFERENCES stream (id),
    state     TEXT NOT NULL CHECK (state IN ('waiting', 'started')),
    since     INTEGER NOT NULL,
    held_id   INTEGER,
    figures   TEXT NOT NULL DEFAULT '{}'             -- JSON: what the last judgement saw
) STRICT;
INSERT INTO onboarding (stream_id, state, since) SELECT id, 'started', 0 FROM stream WHERE records > 0;

-- Figures of each stream and day of the hospital.
CREATE TABLE canary (
    stream_id INTEGER NOT NULL,
    day       TEXT NOT NULL,
    name      TEXT NOT NULL,
    n         INTEGER NOT NULL,
    PRIMARY KEY (stream_id, day, name)
) STRICT, WITHOUT ROWID;
-- Up to which record they are counted.
CREATE TABLE canary_cursor (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    archive_id INTEGER NOT NULL
) STRICT;
INSERT INTO canary_cursor (id, archive_id) SELECT 1, coalesce(max(id), 0) FROM archive;

-- Held items get two more legs. SQLite can't change a CHECK, so the table is made anew.
CREATE TABLE held_new (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    leg        TEXT NOT NULL CHECK (leg IN ('record', 'outbox', 'withdrawal', 'change', 'start')),
    stream_id  INTEGER NOT NULL REFERENCES stream (id),
    archive_id INTEGER,
    event_id   INTEGER,
    type       TEXT NOT NULL,
    entity_id  INTEGER,
    digest     BLOB,
    mapping_id INTEGER,
    reason     TEXT NOT NULL,
    findings   TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('open', 'retried', 'released', 'dismissed', 'superseded')),
    opened_at  INTEGER NOT NULL,
    closed_at  INTEGER,
    closed_by  TEXT,
    note       TEXT,
    until      INTEGER                               -- until when parts are waited for; NULL: it needs a person now
) STRICT;
INSERT INTO held_new (id, leg, stream_id, archive_id, event_id, type, entity_id, digest, mapping_id, reason, findings,
    state, opened_at, closed_at, closed_by, note, until)
  SELECT id, leg, stream_id, archive_id, event_id, type, entity_id, digest, mapping_id, reason, findings,
    state, opened_at, closed_at, closed_by, note, until FROM held;
CREATE TABLE held_member_new (
    held_id   INTEGER NOT NULL,
    entity_id INTEGER NOT NULL,
    PRIMARY KEY (held_id, entity_id)
) STRICT, WITHOUT ROWID;
INSERT INTO held_member_new SELECT * FROM held_member;
DROP TABLE held_member;
DROP TABLE held;
ALTER TABLE held_new RENAME TO held;
ALTER TABLE held_member_new RENAME TO held_member;
CREATE INDEX held_entity ON held (entity_id) WHERE entity_id IS NOT NULL;
CREATE INDEX held_digest ON held (stream_id, digest);
CREATE INDEX held_archive ON held (archive_id) WHERE archive_id IS NOT NULL;
CREATE INDEX held_event ON held (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX held_open ON held (id) WHERE state = 'open';
CREATE INDEX held_until ON held (until) WHERE until IS NOT NULL AND state = 'open';
