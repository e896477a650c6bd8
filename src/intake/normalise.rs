//! One record, from what a connector gave to what the store commits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use connector_api::{DecodeFailure, Document, Raw, Record};
use serde::Serialize;

use crate::mapping::{Context, Input, Made, Mapping};
use crate::model::{EntityType, Finding, Held, Outcome, Severity, Wish};
use crate::store::Incoming;

/// Applies a stream's mapping to its records. What can't be decoded or mapped is held, never lost.
#[derive(Clone, Debug)]
pub struct Normaliser {
    mapping: Arc<Mapping>,
    context: Context,
}

impl Normaliser {
    /// Pairs a mapping with the facts of the configuration.
    pub fn new(mapping: Arc<Mapping>, context: Context) -> Normaliser {
        Normaliser { mapping, context }
    }

    /// The mapping in force.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Name and version of the mapping in force.
    pub fn version(&self) -> &str {
        self.mapping.version()
    }

    /// What the store commits for a newly received record.
    pub fn received(&self, record: Record) -> Incoming {
        let outcomes = self.outcomes(&record.document, &record.source_ref, record.raw.charset.as_deref());
        Incoming {
            raw: record.raw,
            source_ref: record.source_ref,
            resend_key: record.resend_key,
            mapping_version: self.version().to_owned(),
            archived: None,
            outcomes,
        }
    }

    /// What the store commits for an archived record that is mapped again.
    pub fn again(
        &self,
        archive_id: i64,
        raw: Raw,
        document: &Result<Document, DecodeFailure>,
        source_ref: String,
    ) -> Incoming {
        let outcomes = self.outcomes(document, &source_ref, raw.charset.as_deref());
        Incoming {
            raw,
            source_ref,
            resend_key: None,
            mapping_version: self.version().to_owned(),
            archived: Some(archive_id),
            outcomes,
        }
    }

    /// What a document becomes under the mapping in force; never empty.
    pub fn outcomes(
        &self,
        document: &Result<Document, DecodeFailure>,
        source_ref: &str,
        charset: Option<&str>,
    ) -> Vec<Outcome> {
        let document = match document {
            Ok(document) => document,
            Err(failure) => return vec![self.held(failure.code, &failure.detail)],
        };
        let input = Input { document, source_ref, charset };
        // A panic is a bug of ours; it must cost this one record a person's look, not the stream.
        let mapped = catch_unwind(AssertUnwindSafe(|| self.mapping.apply(&self.context, input)));
        match mapped {
            Ok(outcomes) if !outcomes.is_empty() => outcomes,
            Ok(_) => vec![self.held("mapped-to-nothing", "the mapping made nothing of this record")],
            Err(_) => vec![self.held("mapping-panic", "the mapping failed on this record: a bug in hisync")],
        }
    }

    /// What a document becomes under the mapping in force, with what was read for it: to be looked at.
    pub fn explain(
        &self,
        document: &Result<Document, DecodeFailure>,
        source_ref: &str,
        charset: Option<&str>,
    ) -> Vec<Understood> {
        let read = document.as_ref().ok().and_then(|document| {
            let input = Input { document, source_ref, charset };
            catch_unwind(AssertUnwindSafe(|| self.mapping.explain(&self.context, input))).ok()
        });
        let outcomes = match read {
            Some(outcomes) if !outcomes.is_empty() => outcomes,
            _ => self.outcomes(document, source_ref, charset).into_iter().map(|of| (of, Vec::new())).collect(),
        };
        outcomes.into_iter().map(|(outcome, read)| Understood::of(outcome, read)).collect()
    }

    fn held(&self, code: &str, detail: &str) -> Outcome {
        Outcome::Held(Held {
            entity: Some(self.mapping.entity()),
            key: None,
            reason: code.to_owned(),
            findings: vec![Finding::new(code, Severity::Hold, "", detail)],
            search: Vec::new(),
        })
    }
}

/// What a record becomes, to be looked at and not to be committed. Personal data.
#[derive(Clone, Debug, Serialize)]
pub struct Understood {
    /// `deliver`, `absent` or `held`.
    pub fate: &'static str,
    /// The entity's type, where that is known.
    pub entity: Option<EntityType>,
    /// Why it is held, or should not be upstream.
    pub reason: Option<String>,
    /// The entity, where the mapping vouches for it.
    pub data: Option<serde_json::Value>,
    /// What was read, field by field.
    pub read: Vec<Made>,
}

impl Understood {
    fn of(outcome: Outcome, read: Vec<Made>) -> Understood {
        match outcome {
            Outcome::Mapped(mapped) => {
                let (fate, reason) = match mapped.wish {
                    Wish::Present => ("deliver", None),
                    Wish::Absent { reason } => ("absent", Some(reason)),
                };
                let data = serde_json::from_slice(&mapped.data).ok();
                Understood { fate, entity: Some(mapped.key.entity), reason, data, read }
            }
            Outcome::Held(held) => {
                Understood { fate: "held", entity: held.entity, reason: Some(held.reason), data: None, read }
            }
        }
    }
}

/// A record that fits no stream: kept, and held for a person to route.
pub fn unrouted(record: Record) -> Incoming {
    let (code, detail) = match &record.document {
        Ok(_) => ("unrouted", "no configured stream takes a record of this kind".to_owned()),
        Err(failure) => (failure.code, failure.detail.clone()),
    };
    let held = Held {
        entity: None,
        key: None,
        reason: code.to_owned(),
        findings: vec![Finding::new(code, Severity::Hold, "", detail)],
        search: Vec::new(),
    };
    Incoming {
        raw: record.raw,
        source_ref: record.source_ref,
        resend_key: record.resend_key,
        mapping_version: String::new(),
        archived: None,
        outcomes: vec![Outcome::Held(held)],
    }
}
