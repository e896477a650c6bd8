-- Files that reports name, under the SHA-256 of their bytes; bodies are packed as elsewhere.
CREATE TABLE attachment (
    digest       BLOB PRIMARY KEY,
    media_type   TEXT NOT NULL,
    codec        INTEGER NOT NULL,
    size         INTEGER NOT NULL,
    body         BLOB,                               -- NULL: upstream has had it for long
    stored_at    INTEGER NOT NULL,
    confirmed_at INTEGER,                            -- upstream has it
    due_at       INTEGER,                            -- next attempt; NULL: nobody waits for it, or upstream refuses it
    attempts     INTEGER NOT NULL DEFAULT 0,
    last_code    TEXT
) STRICT;
CREATE INDEX attachment_due ON attachment (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX attachment_kept ON attachment (confirmed_at) WHERE body IS NOT NULL;

-- Which parts name a file, and whose it is (a digest); `owner` is NULL where it may be anybody's.
CREATE TABLE attachment_use (
    entity_id INTEGER NOT NULL REFERENCES entity (id),
    stream_id INTEGER NOT NULL REFERENCES stream (id),
    digest    BLOB NOT NULL REFERENCES attachment (digest),
    owner     BLOB,
    PRIMARY KEY (entity_id, stream_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX attachment_use_digest ON attachment_use (digest);

-- The files that upstream must have before an event.
CREATE TABLE event_attachment (
    event_id INTEGER NOT NULL,
    digest   BLOB NOT NULL REFERENCES attachment (digest),
    PRIMARY KEY (event_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_attachment_digest ON event_attachment (digest);

-- How a part joins the others of its entity (JSON); NULL: its mapping says nothing of it.
ALTER TABLE part ADD COLUMN assembly TEXT;

-- Until when an entity's parts are waited for; NULL: the item needs a person now.
ALTER TABLE held ADD COLUMN until INTEGER;
CREATE INDEX held_until ON held (until) WHERE until IS NOT NULL AND state = 'open';
