-- What may be given up, and what there is: how long the archive reaches back, and what a record costs.

-- When the bytes of a record were given up; its row stays while a part or an event names it. NULL: they are here.
ALTER TABLE archive ADD COLUMN given_up_at INTEGER;

-- The archive by days since 1970 UTC. `raw` and `packed` count what came in on a day, `kept` what is left of `packed`.
CREATE TABLE volume (
    day          INTEGER PRIMARY KEY,
    records      INTEGER NOT NULL DEFAULT 0,
    raw          INTEGER NOT NULL DEFAULT 0,
    packed       INTEGER NOT NULL DEFAULT 0,
    kept_records INTEGER NOT NULL DEFAULT 0,
    kept         INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO volume (day, records, raw, packed, kept_records, kept)
  SELECT received_at / 86400000000, count(*), sum(size), sum(length(body)), count(*), sum(length(body))
  FROM archive GROUP BY 1;

-- The bytes of undelivered events, kept up to date like every sum.
INSERT INTO counter (scope, kind, name, n)
  SELECT 'outbox-bytes', '', 'open', coalesce(sum(size), 0) FROM outbox WHERE done_at IS NULL;

-- What the sums in `counter` count although its rows are gone: a sum = its rows + what is here under the same name.
CREATE TABLE given_up (
    scope TEXT NOT NULL,
    kind  TEXT NOT NULL,
    name  TEXT NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (scope, kind, name)
) STRICT, WITHOUT ROWID;
