-- The codes under which other entities name the entries of dictionaries. A code here may be more than the entry's own:
-- whoever looks compares it with the entry.
CREATE TABLE dictionary (
    type      TEXT NOT NULL,
    code      TEXT NOT NULL,
    source    TEXT NOT NULL,
    entity_id INTEGER NOT NULL,
    PRIMARY KEY (type, code, source, entity_id)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO dictionary (type, code, source, entity_id)
  SELECT e.type, w.word, s.source, e.id FROM search w JOIN entity e ON e.id = w.entity_id
  JOIN part p ON p.entity_id = e.id JOIN stream s ON s.id = p.stream_id
  WHERE e.type IN ('exam_item', 'exam_item_group', 'exam_package');

-- By what the source orders the versions of an entity; NULL: it does not say.
ALTER TABLE part ADD COLUMN revision TEXT;
