//! Files of a report: their bytes are taken from the record, looked at, and addressed by their digest.

use std::borrow::Cow;
use std::sync::Arc;

use connector_api::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::take::plain;
use super::{Fields, Run};
use crate::mapping::attachment::{self, pdf};
use crate::mapping::node::{self, Node};
use crate::mapping::plan::{Alternative, Source};
use crate::mapping::readers::text;
use crate::mapping::rules;
use crate::mapping::source::{Found, Scope, SourcePath};
use crate::model::{File, Severity};

/// A file that a row holds or names, before it is looked at.
pub(super) struct Pending {
    /// Its name, where the row gives one.
    name: Option<String>,
    bytes: Bytes,
}

enum Bytes {
    There(Vec<u8>),
    /// The row names a file that is not there.
    Missing,
    /// They can't be read, which was told.
    Undecoded,
}

/// What the members of a bundle are called, and where their bytes stand.
const NAMES: [&str; 2] = ["name", "file_name"];
const CONTENTS: [&str; 2] = ["content", "bytes"];

impl<'a> Run<'a> {
    /// Takes the bytes that a row holds or names; [`Run::look_at_files`] makes attachments of them.
    pub(super) fn content(&mut self, alternatives: &'a [Alternative], scope: &Scope<'_, 'a>) {
        for alternative in alternatives {
            let Source::From(paths) = &alternative.source else { continue };
            if let Some(when) = &alternative.when
                && self.holds(when, scope) != Some(true)
            {
                continue;
            }
            if let Some(named) = &alternative.named {
                if self.named(alternative, paths, named, scope) {
                    return;
                }
                continue;
            }
            let mut exists = alternative.optional || self.plan.missing_is_null;
            for path in paths {
                let bytes = match path.find(scope) {
                    Found::Missing => continue,
                    Found::Value(Value::Null) => {
                        exists = true;
                        continue;
                    }
                    Found::Value(Value::Bytes(bytes)) => bytes.clone(),
                    Found::Value(Value::Text(text)) if text.trim().is_empty() => {
                        exists = true;
                        continue;
                    }
                    Found::Value(Value::Text(text)) => {
                        let bytes = self.decoded(text);
                        return self.pending.push(Pending { name: None, bytes });
                    }
                    Found::Joined(text) => {
                        let bytes = self.decoded(&text);
                        return self.pending.push(Pending { name: None, bytes });
                    }
                    Found::Value(_) | Found::Several => {
                        let message = format!("{} holds no single file", path.text);
                        self.find(&rules::NOT_A_SCALAR, &message, None);
                        return;
                    }
                };
                return self.pending.push(Pending { name: None, bytes: Bytes::There(bytes) });
            }
            if let (false, Some(path)) = (exists, paths.first()) {
                self.missing(path);
                return;
            }
        }
    }

    fn decoded(&mut self, text: &str) -> Bytes {
        match attachment::decode(text) {
            Some(bytes) => Bytes::There(bytes),
            None => {
                self.find(&rules::ATTACHMENT_ENCODING, "this is no base64", None);
                Bytes::Undecoded
            }
        }
    }

    /// The files that a row names, out of those that came with the record; `false` where it names none.
    fn named(
        &mut self,
        alternative: &'a Alternative,
        paths: &'a [SourcePath],
        named: &'a SourcePath,
        scope: &Scope<'_, 'a>,
    ) -> bool {
        let Some(names) = self.first(std::slice::from_ref(named), alternative.optional, scope) else { return false };
        let mut names: Vec<String> = vec![names.text.into_owned()];
        for separator in &alternative.split {
            names = names.iter().flat_map(|name| name.split(separator.as_str())).map(str::to_owned).collect();
        }
        let names: Vec<&str> = names.iter().map(|name| text::trim(name)).filter(|name| !name.is_empty()).collect();
        let before = self.pending.len();
        for name in names {
            let found = paths.iter().find_map(|path| match path.find(scope) {
                Found::Value(value) => member(value, name),
                _ => None,
            });
            let bytes = match found {
                Some(Value::Bytes(bytes)) => Bytes::There(bytes.clone()),
                Some(Value::Text(text)) if !text.trim().is_empty() => self.decoded(text),
                _ => Bytes::Missing,
            };
            self.pending.push(Pending { name: Some(name.to_owned()), bytes });
        }
        self.pending.len() > before
    }

    /// Looks at the files of a row. The first one stands in `fields`; the others get rows of their own.
    pub(super) fn look_at_files(&mut self, fields: &mut Fields<'a>) {
        let declared = node::text_of(fields, "media_type").map(str::to_owned);
        fields.retain(|(name, _)| *name != "media_type");
        let kind = node::text_of(fields, "kind").unwrap_or_default().to_owned();
        let stated = node::text_of(fields, "source_ref").map(str::to_owned);
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            if let Some(stated) = stated.filter(|stated| !stated.is_empty()) {
                self.find(&rules::ATTACHMENT_MISSING, "the record names a file and has no bytes of it", Some(&stated));
            }
            return;
        }
        let base = fields.clone();
        for (place, file) in pending.into_iter().enumerate() {
            let mut own = base.clone();
            if let Some(name) = &file.name
                && stated.is_none()
            {
                own.push(("source_ref", Node::Text(Cow::Owned(name.clone()))));
            }
            let bytes = match file.bytes {
                Bytes::There(bytes) => bytes,
                Bytes::Missing => {
                    let message = "the record names a file that is not there";
                    self.find(&rules::ATTACHMENT_MISSING, message, file.name.as_deref());
                    continue;
                }
                Bytes::Undecoded => continue,
            };
            let looked = self.look_at(bytes, declared.as_deref().or(file.name.as_deref()), &kind);
            own.extend(looked.unwrap_or_default());
            if place == 0 { *fields = own } else { self.more_files.push(own) }
        }
    }

    fn look_at(&mut self, bytes: Vec<u8>, declared: Option<&str>, kind: &str) -> Option<Fields<'a>> {
        let size = bytes.len();
        if size == 0 {
            self.find(&rules::ATTACHMENT_EMPTY, "zero bytes", None);
            return None;
        }
        if size > self.plan.attachment_max_bytes {
            let message = format!("{size} bytes; {} are allowed", self.plan.attachment_max_bytes);
            self.find(&rules::ATTACHMENT_TOO_LARGE, &message, None);
            return None;
        }
        let word = declared.map(|word| word.trim().to_ascii_lowercase());
        let media_type = match (attachment::sniff(&bytes), &word) {
            (Some(sniffed), _) => sniffed.to_owned(),
            (None, Some(word)) if attachment::is_beyond_sniffing(word) => word.clone(),
            (None, _) => {
                self.find(&rules::ATTACHMENT_UNKNOWN, "its first bytes tell nothing", None);
                return None;
            }
        };
        if let Some((rule, message)) = attachment::fault(&bytes, &media_type) {
            self.find(rule, message, None);
            // Of the others a site may say that they are better than nothing.
            if *rule == rules::ATTACHMENT_ERROR_PAGE {
                return None;
            }
        }
        if let Some(declared) = declared
            && !declared.trim().is_empty()
            && !attachment::means(declared, &media_type)
        {
            self.find(&rules::ATTACHMENT_TYPE, &format!("its bytes are {media_type}"), Some(declared));
        }
        let bytes: Arc<[u8]> = bytes.into();
        let pages = if media_type == "application/pdf" { self.look_at_pdf(&bytes) } else { None };
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let mut fields: Fields<'a> = vec![
            ("media_type", Node::Text(Cow::Owned(media_type.clone()))),
            ("size", Node::Integer(i64::try_from(size).unwrap_or(i64::MAX))),
            ("digest", Node::Text(Cow::Owned(format!("sha256-{}", hex::encode(digest))))),
        ];
        if let Some(pages) = pages {
            fields.push(("page_count", Node::Integer(i64::from(pages))));
        }
        // A signature or a reference is rightly the same in many reports. Only the store sees them all, so
        // a weight below `hold` means that it need not look.
        let alone = matches!(kind, "report_pdf" | "image" | "ecg");
        let checked = self.plan.weights.of(&rules::ATTACHMENT_SHARED) >= Severity::Hold;
        let owner = self.examinee.clone().filter(|_| alone && checked);
        if !self.files.iter().any(|known| known.digest == digest) {
            self.files.push(File { digest, media_type, bytes, owner });
        }
        Some(fields)
    }

    /// How many pages a PDF has, after a look at its text.
    fn look_at_pdf(&mut self, bytes: &Arc<[u8]>) -> Option<u32> {
        let (pages, text) = match pdf::read(bytes) {
            pdf::Reading::Open { pages, text } => (Some(pages), text),
            pdf::Reading::Encrypted => {
                self.find(&rules::ATTACHMENT_ENCRYPTED, "it opens with a password only", None);
                return None;
            }
            pdf::Reading::Unreadable => (None, None),
        };
        match (text, &self.exam_no) {
            (None, _) => self.find(&rules::ATTACHMENT_TEXT, "its text can't be read", None),
            (Some(text), Some(own)) if attachment::shows_other_number(&text, own) => {
                self.find(&rules::ATTACHMENT_NUMBER, "its text shows another exam number", None);
            }
            _ => {}
        }
        pages
    }
}

/// The member of a bundle with a name: a map by name, or a list of rows with `name` and `content`.
/// The last part of a path will do where only one member has it: the record may name a folder that the
/// bundle does not have.
fn member<'d>(bundle: &'d Value, name: &str) -> Option<&'d Value> {
    let members: Vec<(Cow<'d, str>, &'d Value)> = match bundle {
        Value::Map(map) => map.iter().map(|(key, value)| (Cow::Borrowed(&**key), value)).collect(),
        Value::List(list) => {
            let rows = list.iter().filter_map(Value::as_map);
            let content = |row: &'d Map| CONTENTS.iter().find_map(|content| row.get(content));
            rows.flat_map(|row| {
                NAMES.iter().filter_map(move |name| Some((row.get(name).and_then(plain)?, content(row)?)))
            })
            .collect()
        }
        _ => return None,
    };
    if let Some((_, value)) = members.iter().find(|(called, _)| called == name) {
        return Some(value);
    }
    let last = |name: &str| name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
    let mut same = members.iter().filter(|(called, _)| last(called) == last(name));
    let (_, value) = same.next()?;
    same.next().is_none().then_some(*value)
}
