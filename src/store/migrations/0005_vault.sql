-- The keys that seal what the store holds of people, each sealed itself under the key of the configuration.
-- No row: nothing is sealed. The newest generation seals, all of them open.
CREATE TABLE vault_key (
    generation INTEGER PRIMARY KEY,
    wrapped    BLOB NOT NULL,
    wrapped_by TEXT NOT NULL,                        -- the fingerprint of the configuration's key
    created_at INTEGER NOT NULL
) STRICT;

-- How far the store has been sealed under the newest generation; no row: all of it.
CREATE TABLE vault_work (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    step  INTEGER NOT NULL,                          -- the table that is under way
    after INTEGER NOT NULL,                          -- its last row that is done
    scrub INTEGER NOT NULL                           -- 1: plain text may be left in freed pages
) STRICT;
