-- A million reports that were received and delivered, as the store keeps them.
BEGIN;
CREATE TEMP TABLE n AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
  SELECT i + 100000 AS i, 1790000000000000 + i * 60000000 AS at FROM n;
CREATE TEMP TABLE of AS SELECT (SELECT id FROM stream WHERE name = 'peis/reports') AS stream,
  (SELECT min(id) FROM mapping) AS mapping;
INSERT INTO archive (id, stream_id, received_at, source_ref, format, digest, codec, size, body)
  SELECT i, of.stream, at, 'V', 'application/json', randomblob(32), 0, 200, randomblob(200) FROM n, of;
INSERT INTO content (id, codec, size, body) SELECT i, 0, 400, randomblob(400) FROM n;
INSERT INTO entity (id, type, key, state, sequence, hash)
  SELECT i, 'exam_report', 'main:peis:m' || i, 'present', at, randomblob(32) FROM n;
INSERT INTO event (id, entity_id, sequence, event_id, kind, hash, mapping_id, archive_id, created_at, head, content_id)
  SELECT i, i, at, randomblob(16), 'upserted', randomblob(32), of.mapping, i, at, '{}', i FROM n, of;
INSERT INTO outbox (id, entity_id, stream_id, state, size, attempts, created_at, done_at)
  SELECT i, i, of.stream, 'delivered', 600, 1, at, at + 1000000 FROM n, of;
INSERT INTO disposition (archive_id, n, type, entity_id, fate, event_id)
  SELECT i, 0, 'exam_report', i, 'event', i FROM n;
INSERT INTO search (word, entity_id, held_id) SELECT 'no-' || i, i, 0 FROM n;
INSERT INTO counter (scope, kind, name, n) SELECT CAST(of.stream AS TEXT), 'exam_report', name, 1000000
  FROM of, (SELECT 'source' AS name UNION ALL SELECT 'delivered') WHERE true
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
INSERT INTO counter (scope, kind, name, n) VALUES ('outbox', '', 'delivered', 1000000)
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
UPDATE stream SET records = records + 1000000 WHERE name = 'peis/reports';
UPDATE canary_cursor SET archive_id = (SELECT max(id) FROM archive);
COMMIT;
