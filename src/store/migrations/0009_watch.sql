-- What the agent watches itself by: the hours of each stream, and the alerts that it told.

-- Records of each stream and hour of the hospital (`2026-11-24T09`), and for how long the stream was in order.
CREATE TABLE traffic (
    stream    TEXT NOT NULL,
    hour      TEXT NOT NULL,
    records   INTEGER NOT NULL,
    good_secs INTEGER NOT NULL,
    PRIMARY KEY (stream, hour)
) STRICT, WITHOUT ROWID;

-- Trouble from its beginning to its end.
CREATE TABLE alert_episode (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    code        TEXT NOT NULL,
    subject     TEXT NOT NULL,
    reason      TEXT NOT NULL,                       -- JSON: the reason as it was last seen
    opened_at   INTEGER NOT NULL,
    told_at     INTEGER NOT NULL,                    -- the last message: the beginning, or a reminder
    closed_at   INTEGER
) STRICT;
CREATE UNIQUE INDEX alert_episode_open ON alert_episode (code, subject) WHERE closed_at IS NULL;
CREATE INDEX alert_episode_closed ON alert_episode (closed_at) WHERE closed_at IS NOT NULL;

-- What is to be told to whom; a row stays until its channel took it, or it is too late.
CREATE TABLE alert_message (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    episode_id INTEGER NOT NULL REFERENCES alert_episode (id),
    channel    TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('opened', 'reminder', 'closed')),
    made_at    INTEGER NOT NULL,
    due_at     INTEGER,                              -- the next attempt; NULL: done
    attempts   INTEGER NOT NULL DEFAULT 0,
    outcome    TEXT                                  -- sent, given-up, superseded; the last failure while it is due
) STRICT;
CREATE INDEX alert_message_due ON alert_message (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX alert_message_episode ON alert_message (episode_id);

-- What a person does not want to hear of for a while.
CREATE TABLE alert_silence (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    code     TEXT,                                   -- NULL: whatever
    subject  TEXT,                                   -- NULL: of whatever
    until    INTEGER NOT NULL,
    who      TEXT NOT NULL,
    because  TEXT NOT NULL,
    made_at  INTEGER NOT NULL
) STRICT;
