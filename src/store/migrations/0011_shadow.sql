-- Trials of other mappings: what was applied, what runs in the shadow, what was promoted.

-- A replay that is, or was, made to come true. One that has not ended goes on where it is.
CREATE TABLE apply_run (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    what      TEXT NOT NULL,                         -- JSON: the mappings that are applied, and to what
    who       TEXT NOT NULL,
    began_at  INTEGER NOT NULL,
    ended_at  INTEGER,
    records   INTEGER NOT NULL DEFAULT 0,            -- records that were mapped again
    revisions INTEGER NOT NULL DEFAULT 0,            -- versions that were made
    held      INTEGER NOT NULL DEFAULT 0             -- items that were opened
) STRICT;

-- The streams whose candidate is in force; a stream without a row has its configured mapping.
CREATE TABLE promoted (
    stream      TEXT PRIMARY KEY,
    version     TEXT NOT NULL,                       -- the candidate's when it was promoted
    former      TEXT NOT NULL,                       -- what was in force before
    promoted_at INTEGER NOT NULL,
    who         TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Candidates that run, or ran, beside what is in force.
CREATE TABLE shadow_run (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    mappings      TEXT NOT NULL,                     -- JSON: each stream's mapping in force, and its candidate
    state         TEXT NOT NULL CHECK (state IN ('running', 'replaced', 'promoted', 'discarded', 'ended')),
    began_at      INTEGER NOT NULL,
    ended_at      INTEGER,
    first_archive INTEGER NOT NULL,                  -- the records behind this one are tried
    after_archive INTEGER NOT NULL,
    after_event   INTEGER NOT NULL,
    after_held    INTEGER NOT NULL,
    records       INTEGER NOT NULL DEFAULT 0,
    overtaken     INTEGER NOT NULL DEFAULT 0,
    listed        INTEGER NOT NULL DEFAULT 0         -- findings whose differences are kept
) STRICT;
CREATE UNIQUE INDEX shadow_run_running ON shadow_run (state) WHERE state = 'running';

-- What the candidate would make otherwise, the newest of each entity. Values are masked.
CREATE TABLE shadow_found (
    id          INTEGER PRIMARY KEY,
    run_id      INTEGER NOT NULL REFERENCES shadow_run (id),
    subject     TEXT NOT NULL,
    type        TEXT NOT NULL,
    archive_id  INTEGER NOT NULL,
    verdict     TEXT NOT NULL,                       -- same, changed, held, held-record, or why it can't be compared
    held        INTEGER NOT NULL,                    -- 1: a person decides about it; looked at again from time to time
    differences TEXT,                                -- JSON; NULL: none, or more than are kept
    UNIQUE (run_id, subject)
) STRICT;
CREATE INDEX shadow_found_archive ON shadow_found (run_id, archive_id);
CREATE INDEX shadow_found_held ON shadow_found (run_id, id) WHERE held = 1;
