//! Mapping: documents in a source's own shape become canonical entities, by files that a site
//! engineer can write.
