-- What a person on call has changed for a while.
CREATE TABLE switch (
    name    TEXT NOT NULL,
    subject TEXT NOT NULL,                           -- a source, a stream, or empty: all of them
    value   TEXT NOT NULL,
    set_at  INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    who     TEXT NOT NULL,
    because TEXT NOT NULL,
    PRIMARY KEY (name, subject)
) STRICT, WITHOUT ROWID;

-- The configurations that were in force, each time one came into force.
CREATE TABLE config_version (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL,                            -- SHA-256 over every file
    since  INTEGER NOT NULL,
    who    TEXT NOT NULL,
    detail TEXT NOT NULL                             -- JSON: what changed
) STRICT;

-- The configuration in force when the event was made; NULL: made before this was written down.
ALTER TABLE event ADD COLUMN config_id INTEGER;
