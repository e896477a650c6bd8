-- Comparisons of the ledger with sources and with upstream.

-- What upstream has acknowledged last of each entity, or told that it has. Critical values are not among them.
CREATE TABLE acknowledged (
    entity_id INTEGER PRIMARY KEY REFERENCES entity (id),
    type      TEXT NOT NULL,
    day       INTEGER NOT NULL,                      -- of the event's time: days since 1970, UTC
    sequence  INTEGER NOT NULL,
    hash      BLOB NOT NULL,                         -- the event's content hash
    withdrawn INTEGER NOT NULL
) STRICT;
CREATE INDEX acknowledged_day ON acknowledged (type, day);
INSERT INTO acknowledged (entity_id, type, day, sequence, hash, withdrawn)
  SELECT e.entity_id, n.type, e.created_at / 86400000000, e.sequence, e.hash, e.kind = 'withdrawn'
  FROM event e JOIN entity n ON n.id = e.entity_id
  WHERE n.type <> 'critical_value' AND e.id =
    (SELECT max(o.id) FROM outbox o WHERE o.entity_id = e.entity_id AND o.state = 'delivered');

-- The highest sequence that upstream is known to have: no event is made below it.
CREATE TABLE sequence_floor (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    sequence   INTEGER NOT NULL,
    learned_at INTEGER                               -- NULL: asking upstream what it has was begun and not ended
) STRICT;

-- `subject` is a stream's name, or 'upstream'. The period is NULL where everything is compared.
CREATE TABLE reconcile_run (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    subject     TEXT NOT NULL,
    scope       TEXT NOT NULL CHECK (scope IN ('source', 'ledger', 'upstream')),
    since       INTEGER,
    until       INTEGER,
    asked_by    TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('asked', 'running', 'done', 'failed')),
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    compared    INTEGER NOT NULL DEFAULT 0,
    agreed      INTEGER NOT NULL DEFAULT 0,
    held        INTEGER NOT NULL DEFAULT 0,
    missing     INTEGER NOT NULL DEFAULT 0,
    differing   INTEGER NOT NULL DEFAULT 0,
    extra       INTEGER NOT NULL DEFAULT 0,
    undelivered INTEGER NOT NULL DEFAULT 0,
    repaired    INTEGER NOT NULL DEFAULT 0,
    requests    INTEGER NOT NULL DEFAULT 0,
    note        TEXT                                 -- what was not compared and why, or why it failed
) STRICT;
CREATE INDEX reconcile_run_subject ON reconcile_run (subject, id);

-- What a run found, up to a number of each kind.
CREATE TABLE reconcile_item (
    run_id INTEGER NOT NULL REFERENCES reconcile_run (id),
    n      INTEGER NOT NULL,
    kind   TEXT NOT NULL,                            -- missing, differing, extra, undelivered
    type   TEXT NOT NULL,
    key    TEXT,                                     -- NULL: the record has no key
    PRIMARY KEY (run_id, n)
) STRICT, WITHOUT ROWID;

-- The entities that a run has met in the source; gone when it ends.
CREATE TABLE reconcile_seen (
    run_id    INTEGER NOT NULL,
    entity_id INTEGER NOT NULL,
    PRIMARY KEY (run_id, entity_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX part_missing ON part (stream_id) WHERE missing > 0;
CREATE INDEX held_member_entity ON held_member (entity_id);
