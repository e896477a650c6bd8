//! A record together with the files that lie beside it: one body, made of all their bytes.
//!
//! ```text
//! hisync-bundle 1
//! {"main":{"format":"text/csv","charset":"gbk","bytes":120},"files":[{"field":"TPLJ","name":"a.pdf","bytes":4711}]}
//! … the main part's bytes, then those of the files, in that order
//! ```
//! Equal parts give equal bytes. A file that was named and did not come has no `bytes`: whoever
//! decodes the body learns which one it is, and the record is held.

use bytes::{BufMut as _, Bytes, BytesMut};
use connector_api::{DecodeFailure, Document, Map, Raw, Value};

/// The format name of a body that holds a record and its files.
pub const FORMAT: &str = "application/vnd.hisync.bundle";

/// More files than any record has.
pub const MAX_FILES: usize = 256;

/// The longest list of parts, in bytes. Names are bounded by the file system.
const MAX_LIST: usize = 1 << 20;

const MAGIC: &[u8] = b"hisync-bundle 1\n";

/// The name under which a document holds its attachments.
const ATTACHMENTS: &str = "attachments";

/// A file that a record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The record's field that names it.
    pub field: String,
    /// The name as the record writes it.
    pub name: String,
    /// The file's content; `None` where it did not come.
    pub content: Option<Bytes>,
}

/// A record and its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The record's own bytes.
    pub main: Raw,
    /// The files, in the order in which the record names them.
    pub files: Vec<NamedFile>,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    main: Main,
    files: Vec<Entry>,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Main {
    format: String,
    charset: Option<String>,
    bytes: usize,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    field: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
}

impl Bundle {
    /// Writes the body under which the record is archived.
    pub fn pack(&self) -> Raw {
        let entry = |file: &NamedFile| Entry {
            field: file.field.clone(),
            name: file.name.clone(),
            bytes: file.content.as_ref().map(Bytes::len),
        };
        let Raw { format, charset, body } = &self.main;
        let list = List {
            main: Main { format: format.clone(), charset: charset.clone(), bytes: body.len() },
            files: self.files.iter().map(entry).collect(),
        };
        let contents = || self.files.iter().filter_map(|file| file.content.as_ref());
        let mut packed = BytesMut::with_capacity(256 + body.len() + contents().map(Bytes::len).sum::<usize>());
        packed.put_slice(MAGIC);
        // Numbers and text can always be written as JSON.
        packed.put_slice(&serde_json::to_vec(&list).unwrap_or_default());
        packed.put_u8(b'\n');
        packed.put_slice(body);
        contents().for_each(|content| packed.put_slice(content));
        Raw { format: FORMAT.to_owned(), charset: None, body: packed.freeze() }
    }

    /// Reads what [`Bundle::pack`] wrote. The parts share the body's memory.
    ///
    /// Fails with `bundle` where the body is anything else, or not all of it.
    pub fn unpack(body: &Bytes) -> Result<Bundle, DecodeFailure> {
        let broken = |what: &str| DecodeFailure::new("bundle", what.to_owned());
        let rest = body.strip_prefix(MAGIC).ok_or_else(|| broken("the body is not a bundle"))?;
        let head = &rest[..rest.len().min(MAX_LIST)];
        let line = head.iter().position(|byte| *byte == b'\n').ok_or_else(|| broken("the list of parts has no end"))?;
        let list: List = serde_json::from_slice(&rest[..line]).map_err(|_| broken("the list of parts is damaged"))?;
        if list.files.len() > MAX_FILES {
            return Err(broken("more files than a record may have"));
        }
        let mut rest = body.slice_ref(&rest[line + 1..]);
        let mut take = |bytes: usize| {
            if bytes <= rest.len() { Ok(rest.split_to(bytes)) } else { Err(broken("the body is cut off")) }
        };
        let main = Raw { format: list.main.format, charset: list.main.charset, body: take(list.main.bytes)? };
        let mut files = Vec::with_capacity(list.files.len());
        for Entry { field, name, bytes } in list.files {
            files.push(NamedFile { field, name, content: bytes.map(&mut take).transpose()? });
        }
        if rest.is_empty() { Ok(Bundle { main, files }) } else { Err(broken("bytes follow the last part")) }
    }

    /// Adds the files to the document that the main part is.
    ///
    /// Fails with `attachment-missing` where one did not come, and as [`attach`] does.
    pub fn complete(files: Vec<NamedFile>, document: Document) -> Result<Document, DecodeFailure> {
        let count = files.len();
        if let Some(at) = files.iter().position(|file| file.content.is_none()) {
            let what = format!(
                "file {} of the {count} that the record names, by {:?}, did not come or is too large",
                at + 1,
                files[at].field
            );
            return Err(DecodeFailure::new("attachment-missing", what));
        }
        let attachment = |file: NamedFile| Attachment {
            name: file.field,
            file_name: Some(file.name),
            media_type: None,
            bytes: file.content.unwrap_or_default().to_vec(),
        };
        attach(document, files.into_iter().map(attachment))
    }
}

/// A file that came with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The field, or the form's part, by which it belongs to the record.
    pub name: String,
    /// The file's own name.
    pub file_name: Option<String>,
    /// What the sender says that it is.
    pub media_type: Option<String>,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Adds files to a document, as the list `attachments` of maps with `name`, `file_name`,
/// `media_type` and `bytes`.
///
/// Fails with `attachment-name` where the document has `attachments` of its own, and with
/// `attachment-content` where a file is not what its name says, such as an error page in the place
/// of a PDF.
pub fn attach(mut document: Document, files: impl IntoIterator<Item = Attachment>) -> Result<Document, DecodeFailure> {
    if document.root.get(ATTACHMENTS).is_some() {
        return Err(DecodeFailure::new("attachment-name", "the record has attachments of its own beside the files"));
    }
    let text = |text: Option<String>| text.map_or(Value::Null, Value::Text);
    let mut list = Vec::new();
    for (at, file) in files.into_iter().enumerate() {
        if let Some(kind) = file.file_name.as_deref().and_then(|name| misnamed(name, &file.bytes)) {
            let what = format!("file {} is no {kind}, although its name says so", at + 1);
            return Err(DecodeFailure::new("attachment-content", what));
        }
        list.push(Value::Map(Map::from_iter([
            ("name", Value::Text(file.name)),
            ("file_name", text(file.file_name)),
            ("media_type", text(file.media_type)),
            ("bytes", Value::Bytes(file.bytes)),
        ])));
    }
    document.root.push(ATTACHMENTS, list);
    Ok(document)
}

/// How files of these names begin; a PDF may have other bytes before.
const BEGINNINGS: [(&str, &[&[u8]]); 9] = [
    ("pdf", &[b"%PDF-"]),
    ("jpg", &[b"\xff\xd8\xff"]),
    ("jpeg", &[b"\xff\xd8\xff"]),
    ("png", &[b"\x89PNG\r\n\x1a\n"]),
    ("gif", &[b"GIF8"]),
    ("bmp", &[b"BM"]),
    ("tif", &[b"II*\0", b"MM\0*"]),
    ("tiff", &[b"II*\0", b"MM\0*"]),
    ("zip", &[b"PK"]),
];

/// The kind that a file's name says, where its content is of another one.
fn misnamed(name: &str, bytes: &[u8]) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    let (kind, beginnings) = BEGINNINGS.iter().find(|(kind, _)| extension.eq_ignore_ascii_case(kind))?;
    let head = &bytes[..bytes.len().min(1024)];
    let begins = |beginning: &&[u8]| match *kind {
        "pdf" => head.windows(beginning.len()).any(|window| window == *beginning),
        _ => head.starts_with(beginning),
    };
    (!beginnings.iter().any(begins)).then_some(*kind)
}

#[cfg(test)]
mod tests;
