//! Makes a case for `hisync mapping test` of a real record, with other people in the places of the real ones.
//!
//! What is known to be no person's stays: codes and names of the catalogue, results, words of the code tables, numbers
//! too short to be anybody's. What the mapping reads of the person is replaced wherever it stands, dates go back by one
//! span, and long numbers become others. All else — columns that the mapping does not read — is taken for personal and
//! replaced as a whole. A last look makes sure that nothing that was replaced is left in what is to be written.

mod pseudonym;

use std::collections::BTreeSet;

use bytes::Bytes;
use connector_api::{DOCUMENT_FORMAT, Decoder, Document, Map, Raw, SourceTime, Value};
use serde_json::Value as Json;

use self::pseudonym::{Pseudonyms, is_telling};
use super::tally::Kind;
use crate::mapping::Mapping;
use crate::model::Outcome;
use crate::ops::mask;

/// The members of an entity that speak of a person, beside those of `examinee` and those that end in `_by`.
const PERSONAL: &[&str] = &[
    "examinee_key",
    "visit_key",
    "exam_no",
    "previous_exam_no",
    "report_key",
    "report_no",
    "org_name",
    "instance",
    "specimen_no",
    "barcode",
    "performer",
    "reviewer",
    "order_no",
    "org_code",
];

/// The members of an entity that hold words of the catalogue and of our own lists: nothing in them is touched.
const CATALOGUE: &[&str] = &[
    "item_code",
    "item_name",
    "group_code",
    "group_name",
    "package_code",
    "package_name",
    "unit_raw",
    "unit_ucum",
    "reference_raw",
    "department",
    "code",
    "system",
];

/// A PDF without pages, in the place of one that may show anybody.
const EMPTY_PDF: &[u8] = b"%PDF-1.4\n%%EOF\n";
/// Texts of so many characters of base64 are files.
const FILE: usize = 400;

/// A text of so many characters is no name, but part of what somebody wrote.
const SENTENCE: usize = 8;
/// Words of protocols, which are nobody's.
const PROTOCOL: &[&str] = &["UNICODE UTF-8", "UNICODE", "GB18030-2000", "GB 18030-2000", "8859/1", "HISYNC"];

/// Why no case was made.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The record can't be decoded, so nobody knows what in it speaks of whom.
    #[error("the record can't be decoded: {0}")]
    Undecoded(String),
    /// Something that was replaced is left: a bug in hisync.
    #[error("{0} personal values would be left in the case: nothing is written (a bug in hisync)")]
    Left(usize),
}

/// A case, ready to be looked at.
#[derive(Debug)]
pub struct RecordedCase {
    /// The ending of the input's file: `json`, `hl7` or `xml`.
    pub ending: &'static str,
    /// The input.
    pub input: Vec<u8>,
    /// What was replaced, masked, and what stands in its place.
    pub replaced: Vec<(String, String)>,
    /// By how many days dates went back.
    pub days_back: i64,
    /// What is to be mapped.
    pub document: Document,
    originals: Vec<String>,
}

impl RecordedCase {
    /// Takes the form in which hisync archives documents, which every mapping reads.
    pub fn as_document(&mut self) -> Result<(), CaseError> {
        self.ending = "json";
        self.input = self.document.to_bytes();
        self.vouch(&self.input)
    }

    /// Makes sure that no personal value is left in a text that is to be written.
    pub fn vouch(&self, text: &[u8]) -> Result<(), CaseError> {
        let text = String::from_utf8_lossy(text);
        let left = self.originals.iter().filter(|original| text.contains(original.as_str())).count();
        if left == 0 { Ok(()) } else { Err(CaseError::Left(left)) }
    }
}

/// Makes a case of a record. `outcomes` are what `mapping` makes of it, `decoder` is its stream's. The key stays with
/// the store: whoever has it could find back.
pub fn record_case(
    raw: &Raw,
    decoder: &dyn Decoder,
    mapping: &Mapping,
    outcomes: &[Outcome],
    key: [u8; 32],
) -> Result<RecordedCase, CaseError> {
    let document = decoder.decode(raw).map_err(|failure| CaseError::Undecoded(failure.to_string()))?;
    let mut maker = Maker { pseudonyms: Pseudonyms::new(key), open: BTreeSet::new(), texts: Vec::new() };
    maker.open.extend(PROTOCOL.iter().map(|word| (*word).to_owned()));
    for table in mapping.codes().values() {
        maker.open.extend(table.keys().map(|local| (*local).to_owned()));
    }
    for outcome in outcomes {
        maker.know(outcome);
    }
    // What is learnt of the last column may stand in the first.
    maker.map(&document.root);
    let other = Document::new(maker.map(&document.root));
    let (ending, input) = maker.as_sent(raw, decoder, &other).unwrap_or_else(|| ("json", other.to_bytes()));
    let pairs: Vec<(String, String)> =
        maker.pseudonyms.replaced().map(|(from, to)| (from.to_owned(), to.to_owned())).collect();
    let originals: Vec<String> = pairs.iter().map(|(from, _)| from).filter(|from| is_telling(from)).cloned().collect();
    let case = RecordedCase {
        ending,
        input,
        replaced: pairs.into_iter().map(|(from, to)| (mask::mask(&from), to)).collect(),
        days_back: maker.pseudonyms.shift().num_days(),
        document: other,
        originals,
    };
    case.vouch(&case.input)?;
    Ok(case)
}

/// What a mapping reads otherwise in a case than in its record, beside the values that were replaced: a word that it
/// knows, and nobody else, was taken for a name. Fields, with the kind of change.
pub fn unlike(record: &[Outcome], case: &[Outcome]) -> Vec<String> {
    let said = |outcome: &Outcome| match outcome {
        Outcome::Mapped(mapped) => serde_json::from_slice::<Json>(&mapped.data).map_err(|_| String::new()),
        Outcome::Held(held) => Err(held.reason.clone()),
    };
    if record.len() != case.len() {
        return vec![format!("{} entities in place of {}", case.len(), record.len())];
    }
    let mut unlike = std::collections::BTreeSet::new();
    for (before, after) in record.iter().zip(case) {
        match (said(before), said(after)) {
            (Ok(before), Ok(after)) => {
                let differences = super::diff::differences(&before, &after).into_iter();
                let differences = differences.filter(|it| !matches!(it.kind, Kind::Value | Kind::Envelope));
                unlike.extend(differences.map(|it| format!("{} {}", it.kind.as_str(), it.field)));
            }
            (Err(before), Err(after)) if before == after => {}
            (_, Err(reason)) => _ = unlike.insert(format!("held for {reason}")),
            (Err(_), Ok(_)) => _ = unlike.insert("no longer held".to_owned()),
        }
    }
    unlike.into_iter().collect()
}

struct Maker {
    pseudonyms: Pseudonyms,
    /// Words that stay exactly as they are.
    open: BTreeSet<String>,
    /// Texts of results and conclusions: they stay, except for what is personal inside of them.
    texts: Vec<String>,
}

impl Maker {
    /// Learns what speaks of a person, and what does not.
    fn know(&mut self, outcome: &Outcome) {
        let (key, search) = match outcome {
            Outcome::Mapped(mapped) => {
                if let Ok(json) = serde_json::from_slice::<Json>(&mapped.data) {
                    self.learn("", false, &json);
                }
                (Some(&mapped.key), &mapped.search)
            }
            Outcome::Held(held) => (held.key.as_ref(), &held.search),
        };
        let report = key.is_some_and(|key| {
            matches!(key.entity, crate::model::EntityType::ExamReport | crate::model::EntityType::CriticalValue)
        });
        if report {
            for word in search {
                self.pseudonyms.personal(word);
            }
        }
    }

    fn learn(&mut self, name: &str, personal: bool, json: &Json) {
        match json {
            Json::Object(members) => members.iter().for_each(|(name, value)| {
                let personal =
                    personal || name == "examinee" || PERSONAL.contains(&name.as_str()) || name.ends_with("_by");
                self.learn(name, personal, value);
            }),
            Json::Array(list) => list.iter().for_each(|value| self.learn(name, personal, value)),
            Json::String(text) if text.trim().is_empty() => {}
            // Words of our own lists, and the source's words for them, are no names.
            Json::String(text)
                if personal
                    && matches!(name, "sex" | "sex_raw" | "id_type" | "marital_status" | "marital_status_raw") =>
            {
                self.open.insert(text.trim().to_owned());
            }
            Json::String(text) if personal => {
                self.pseudonyms.personal(text);
                if let (true, Ok(date)) = (name == "birth_date", text.parse()) {
                    self.pseudonyms.moment(date);
                }
            }
            Json::String(text) if CATALOGUE.contains(&name) => _ = self.open.insert(text.trim().to_owned()),
            Json::String(text) => self.texts.push(squeezed(text)),
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }

    fn map(&mut self, map: &Map) -> Map {
        map.iter().map(|(name, value)| (name.clone(), self.value(value))).collect()
    }

    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::Text(text) => Value::Text(self.text(text)),
            Value::Integer(number) => {
                let other = self.text(&number.to_string());
                other.parse().map_or(Value::Text(other), Value::Integer)
            }
            Value::Decimal(decimal) => {
                let other = self.text(decimal.as_str());
                Value::decimal(&other).unwrap_or(Value::Text(other))
            }
            Value::Time(SourceTime::Date(date)) => Value::Time(SourceTime::Date(self.pseudonyms.date(*date))),
            Value::Time(SourceTime::Local(at)) => {
                Value::Time(SourceTime::Local(at.checked_sub_signed(self.pseudonyms.shift()).unwrap_or(*at)))
            }
            Value::Time(SourceTime::Offset(at)) => {
                Value::Time(SourceTime::Offset(at.checked_sub_signed(self.pseudonyms.shift()).unwrap_or(*at)))
            }
            Value::Bytes(bytes) => {
                Value::Bytes(if bytes.starts_with(b"%PDF") { EMPTY_PDF.to_vec() } else { Vec::new() })
            }
            Value::List(list) => Value::List(list.iter().map(|value| self.value(value)).collect()),
            Value::Map(map) => Value::Map(self.map(map)),
            Value::Null | Value::Bool(_) => value.clone(),
        }
    }

    fn text(&mut self, text: &str) -> String {
        let trimmed = text.trim();
        if trimmed.is_empty() || self.open.contains(trimmed) {
            return text.to_owned();
        }
        if is_file(trimmed) {
            return String::new();
        }
        let other = self.pseudonyms.text(text);
        // A short code or number, or a date that has been moved.
        let number = |text: &str| text.chars().all(|c| c.is_ascii_digit() || " .<>=+-~/%:TZ年月日".contains(c));
        if mask::mask(trimmed) == trimmed || (other != text && number(trimmed)) {
            return other;
        }
        // A result or a conclusion; a short word out of one may be a name.
        let squeezed = squeezed(trimmed);
        let long = squeezed.chars().count() >= SENTENCE;
        if self.texts.iter().any(|known| *known == squeezed || (long && known.contains(&squeezed))) {
            return other;
        }
        if other != text && self.is_replaced(trimmed) {
            return other;
        }
        // A word out of the catalogue's own words.
        if self.open.iter().any(|open| open.contains(trimmed)) {
            return other;
        }
        // Nobody knows what it says.
        let whole = self.pseudonyms.personal(trimmed);
        text.replace(trimmed, &whole)
    }

    /// Whether a value was replaced as a whole.
    fn is_replaced(&self, text: &str) -> bool {
        self.pseudonyms.replaced().any(|(from, _)| from == text)
    }

    /// The record in the form in which its source sends it, where that reads as the same document; else it is kept as a
    /// document, which every mapping reads as well.
    fn as_sent(&mut self, raw: &Raw, decoder: &dyn Decoder, other: &Document) -> Option<(&'static str, Vec<u8>)> {
        let ending = match raw.format.as_str() {
            DOCUMENT_FORMAT => return None,
            format if format.contains("hl7") => "hl7",
            format if format.contains("xml") => "xml",
            _ => return None,
        };
        let charset = raw.charset.as_deref().unwrap_or("utf-8");
        let (text, _, damaged) = encoding_rs::Encoding::for_label(charset.as_bytes())?.decode(&raw.body);
        if damaged {
            return None;
        }
        let text = self.pseudonyms.text(&text);
        let sent =
            Raw { format: raw.format.clone(), charset: Some("utf-8".to_owned()), body: Bytes::from(text.clone()) };
        (decoder.decode(&sent).ok()? == *other).then(|| (ending, text.into_bytes()))
    }
}

/// Without spaces: sources and mappings break lines as they like.
fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// Whether a text is a file in base64.
fn is_file(text: &str) -> bool {
    let of =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'\r' | b'\n');
    text.len() >= FILE && text.bytes().all(of)
}

#[cfg(test)]
mod tests;
