-- What the status page draws and lists.

-- How the agent stood every few minutes; `received` and `delivered` are sums since the store was made.
CREATE TABLE trend (
    at        INTEGER PRIMARY KEY,
    received  INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    held      INTEGER NOT NULL,                      -- open held items that need a person
    waiting   INTEGER NOT NULL                       -- events that are neither delivered nor held
) STRICT;

-- The open items of one reason, of one stream: nobody leafs through all of them for that.
CREATE INDEX held_open_reason ON held (reason, id) WHERE state = 'open';
CREATE INDEX held_open_stream ON held (stream_id, id) WHERE state = 'open';

-- What people did to one thing.
CREATE INDEX audit_subject ON audit (subject, id);

-- JSON: what the configuration said, secrets and people hidden; NULL: not kept.
ALTER TABLE config_version ADD COLUMN content TEXT;
