-- Times are microseconds since 1970 UTC. Bodies are packed: codec 0 is plain, 1 is zstd.

CREATE TABLE stream (
    id               INTEGER PRIMARY KEY,
    name             TEXT NOT NULL UNIQUE,           -- source/stream
    source           TEXT NOT NULL,
    watermark        TEXT,                           -- NULL: at the start
    watermark_at     INTEGER,
    scan             INTEGER NOT NULL DEFAULT 0,     -- complete snapshots so far
    records          INTEGER NOT NULL DEFAULT 0,     -- archived
    resent           INTEGER NOT NULL DEFAULT 0,
    reread           INTEGER NOT NULL DEFAULT 0,
    last_received_at INTEGER,                        -- last new or resent record
    last_commit_at   INTEGER                         -- last batch, empty ones included
) STRICT;

CREATE TABLE mapping (
    id      INTEGER PRIMARY KEY,
    version TEXT NOT NULL UNIQUE
) STRICT;

-- What was received. A row may go once no part, undelivered event or open held item names it.
CREATE TABLE archive (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    stream_id   INTEGER NOT NULL REFERENCES stream (id),
    received_at INTEGER NOT NULL,
    source_ref  TEXT NOT NULL,
    resend_key  TEXT,
    format      TEXT NOT NULL,
    charset     TEXT,
    digest      BLOB NOT NULL,
    codec       INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    body        BLOB NOT NULL
) STRICT;
CREATE INDEX archive_resend ON archive (resend_key, digest) WHERE resend_key IS NOT NULL;

-- The `data` of parts and events; shared by a part and the event made from it.
CREATE TABLE content (
    id    INTEGER PRIMARY KEY,
    codec INTEGER NOT NULL,
    size  INTEGER NOT NULL,
    body  BLOB NOT NULL
) STRICT;

-- The ledger: the newest event made for each entity, delivered or not.
CREATE TABLE entity (
    id       INTEGER PRIMARY KEY,
    type     TEXT NOT NULL,
    key      TEXT NOT NULL,
    state    TEXT NOT NULL DEFAULT 'never' CHECK (state IN ('never', 'present', 'withdrawn')),
    sequence INTEGER NOT NULL DEFAULT 0,
    hash     BLOB,
    UNIQUE (type, key)
) STRICT;

-- The latest part of an entity from each stream. `absent` is NULL where the part wants it upstream.
CREATE TABLE part (
    entity_id  INTEGER NOT NULL REFERENCES entity (id),
    stream_id  INTEGER NOT NULL REFERENCES stream (id),
    archive_id INTEGER NOT NULL,
    digest     BLOB NOT NULL,
    mapping_id INTEGER NOT NULL,
    absent     TEXT,
    hash       BLOB NOT NULL,
    content_id INTEGER NOT NULL,
    seen_scan  INTEGER NOT NULL DEFAULT 0,           -- the last complete snapshot that had it; 0: never in one
    missing    INTEGER NOT NULL DEFAULT 0,           -- complete snapshots in a row without it; below 0: a person refused to withdraw it
    PRIMARY KEY (entity_id, stream_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX part_scan ON part (stream_id, seen_scan) WHERE seen_scan > 0;
CREATE INDEX part_mapping ON part (stream_id, mapping_id);

-- One version of an entity, never changed. The body is head || data || '}'.
CREATE TABLE event (
    id         INTEGER PRIMARY KEY,                  -- also its row in outbox
    entity_id  INTEGER NOT NULL,
    sequence   INTEGER NOT NULL,
    event_id   BLOB NOT NULL,
    kind       TEXT NOT NULL,
    hash       BLOB NOT NULL,
    mapping_id INTEGER NOT NULL,
    archive_id INTEGER,                              -- NULL: a withdrawal because snapshots lack it
    created_at INTEGER NOT NULL,
    head       TEXT NOT NULL,
    content_id INTEGER NOT NULL
) STRICT;

-- Where the delivery of an event stands.
CREATE TABLE outbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    entity_id    INTEGER NOT NULL REFERENCES entity (id),
    stream_id    INTEGER NOT NULL REFERENCES stream (id),
    state        TEXT NOT NULL CHECK (state IN ('queued', 'claimed', 'inflight', 'waiting', 'delivered', 'held')),
    ready_at     INTEGER,                            -- set only on the head of its key: 0 at once, else not before
    size         INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    ambiguous    INTEGER NOT NULL DEFAULT 0,         -- an attempt was cut off: upstream may have it
    counts       INTEGER NOT NULL DEFAULT 1,         -- 0: its record was mapped again and counts elsewhere
    created_at   INTEGER NOT NULL,
    claimed_at   INTEGER,
    done_at      INTEGER,                            -- delivered or held
    last_code    TEXT,
    last_message TEXT
) STRICT;
CREATE INDEX outbox_ready ON outbox (ready_at, id) WHERE ready_at IS NOT NULL;
CREATE INDEX outbox_claimed ON outbox (claimed_at) WHERE claimed_at IS NOT NULL;
CREATE INDEX outbox_open ON outbox (id) WHERE done_at IS NULL;
CREATE INDEX outbox_entity ON outbox (entity_id, done_at);

-- Attempts that did not deliver, the newest few of each entry.
CREATE TABLE attempt (
    outbox_id INTEGER NOT NULL REFERENCES outbox (id),
    n         INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    code      TEXT NOT NULL,
    PRIMARY KEY (outbox_id, n)
) STRICT, WITHOUT ROWID;

-- What became of each outcome of each record; the state of an 'event' is that of its outbox row.
CREATE TABLE disposition (
    archive_id INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    type       TEXT NOT NULL,
    entity_id  INTEGER,
    fate       TEXT NOT NULL CHECK (fate IN ('event', 'unchanged', 'held')),
    event_id   INTEGER,
    held_id    INTEGER,
    PRIMARY KEY (archive_id, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE held (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    leg        TEXT NOT NULL CHECK (leg IN ('record', 'outbox', 'withdrawal')),
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
    note       TEXT
) STRICT;
CREATE INDEX held_entity ON held (entity_id) WHERE entity_id IS NOT NULL;
CREATE INDEX held_digest ON held (stream_id, digest);
CREATE INDEX held_archive ON held (archive_id) WHERE archive_id IS NOT NULL;
CREATE INDEX held_event ON held (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX held_open ON held (id) WHERE state = 'open';

-- The entities that a bulk withdrawal would take back.
CREATE TABLE held_member (
    held_id   INTEGER NOT NULL REFERENCES held (id),
    entity_id INTEGER NOT NULL,
    PRIMARY KEY (held_id, entity_id)
) STRICT, WITHOUT ROWID;

-- The words by which a person finds an entity, or a held item without one (entity_id 0).
CREATE TABLE search (
    word      TEXT NOT NULL,
    entity_id INTEGER NOT NULL,
    held_id   INTEGER NOT NULL,
    PRIMARY KEY (word, entity_id, held_id)
) STRICT, WITHOUT ROWID;

-- Sums that are kept up to date in the transaction that changes them.
-- (stream id, entity type, source|queued|delivered|unchanged|held), ('outbox', '', state), ('held', leg, reason).
CREATE TABLE counter (
    scope TEXT NOT NULL,
    kind  TEXT NOT NULL,
    name  TEXT NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (scope, kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    who     TEXT NOT NULL,
    act     TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail  TEXT NOT NULL
) STRICT;
