//! What is fuzzed: each reader of bytes from outside, with what must hold whatever they are.
//!
//! The short run beside this folder and the targets of cargo-fuzz in `fuzz/` share it.

use bytes::Bytes;
use connector_api::{Decoder as _, Document, Raw};
use connector_formats::bundle::Bundle;
use connector_formats::charset::Charset;
use connector_formats::delimited::{Column, Delimited, Fixed, Layout, Measure, Quoting, ShortRows};
use connector_formats::hl7::Hl7Decoder;
use connector_formats::json::JsonDecoder;
use connector_formats::sheet::Sheet;
use connector_formats::text::{Prefer, TextPolicy};
use connector_formats::xml::{XmlDecoder, XmlRules};
use connector_formats::{dbf, inner, json, multipart, rows, xml};

/// A reader, by the name of its target.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const TARGETS: [Target; 11] = [
    ("bundle", bundle),
    ("charset", charset),
    ("dbf", dbase),
    ("delimited", delimited),
    ("document", document),
    ("hl7", hl7),
    ("inner", inner_document),
    ("json", json_document),
    ("multipart", form),
    ("sheet", sheet),
    ("xml", xml_document),
];

fn policies() -> [TextPolicy; 3] {
    let policy = |default, prefer| TextPolicy { default, prefer };
    [
        policy(Charset::Utf8, Prefer::Declared),
        policy(Charset::Gb18030, Prefer::Declared),
        policy(Charset::Gbk, Prefer::Configured),
    ]
}

/// A decoder says the same of what it archived as it said at receipt.
fn same_again<E: std::fmt::Debug + PartialEq>(first: &Result<Document, E>, again: &Result<Document, E>) {
    assert_eq!(first.as_ref().ok(), again.as_ref().ok(), "the archive says something else");
}

/// What was packed is cut out whole, and packs to the same bytes.
pub(crate) fn bundle(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    if let Ok(bundle) = Bundle::unpack(&body) {
        let again = Bundle::unpack(&bundle.pack().body).expect("own bytes are readable");
        assert_eq!(again, bundle);
    }
}

/// Decoding is strict: what decodes is encoded and decoded to the same text.
pub(crate) fn charset(data: &[u8]) {
    for charset in Charset::ALL {
        match charset.decode(data) {
            Ok(text) => {
                if let Some(bytes) = charset.encode(&text) {
                    assert_eq!(charset.decode(&bytes).as_deref().ok(), Some(&*text), "{}", charset.name());
                }
            }
            Err(error) => assert!(error.offset <= data.len(), "{}", charset.name()),
        }
    }
    for policy in policies() {
        let _ = policy.choose(None, data);
    }
}

/// dBASE tables; the end of the bytes is tried as a memo file as well.
pub(crate) fn dbase(data: &[u8]) {
    let memo = &data[data.len() / 2..];
    for policy in policies() {
        for memo in [None, Some(memo)] {
            if let Ok(written) = dbf::read(&policy, data, memo) {
                for row in written.rows {
                    let _ = rows::reread(&policy, &written.bytes[row.bytes]);
                }
            }
        }
    }
}

/// Tables in text files: every row is a part of the file, and none overlaps another.
pub(crate) fn delimited(data: &[u8]) {
    let delimited = |delimiter, quoting, header, short_rows| {
        let columns = if header { Vec::new() } else { vec!["a".to_owned(), "b".to_owned()] };
        Layout::Delimited(Delimited { delimiter, quoting, header, columns, skip_lines: 0, short_rows })
    };
    let column = |name: &str, start| Column { name: name.to_owned(), start, width: 4 };
    let fixed = |measure| {
        let columns = vec![column("a", 1), column("b", 5)];
        Layout::Fixed(Fixed { columns, measure, skip_lines: 1, short_rows: ShortRows::Pad })
    };
    let layouts = [
        delimited(b',', Quoting::Doubled, true, ShortRows::Hold),
        delimited(b'|', Quoting::Backslash, false, ShortRows::Pad),
        delimited(b'\t', Quoting::None, true, ShortRows::Pad),
        fixed(Measure::Bytes),
        fixed(Measure::Chars),
    ];
    for policy in policies() {
        for layout in &layouts {
            let Ok(table) = layout.read(&policy, data) else { continue };
            let mut end = 0;
            for row in table.rows {
                assert!(row.bytes.start >= end && row.bytes.end <= data.len());
                end = row.bytes.end;
            }
        }
    }
}

/// Documents of the archive: what is read is written and read to the same.
pub(crate) fn document(data: &[u8]) {
    if let Ok(document) = Document::from_bytes(data) {
        assert_eq!(Document::from_bytes(&document.to_bytes()).ok(), Some(document));
    }
    let _ = rows::reread(&TextPolicy::default(), data);
}

/// HL7 transmissions: no byte of a message or leftover is invented.
pub(crate) fn hl7(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    for policy in policies() {
        let decoder = Hl7Decoder::new(policy);
        let found = decoder.take_apart(&body);
        for message in found.messages {
            same_again(&message.document, &decoder.decode(&message.raw));
        }
    }
}

/// Documents inside of texts.
pub(crate) fn inner_document(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let rules = XmlRules::default();
    let _ = inner::inner(&text, &rules);
    if let Ok(document) = xml::parse(&text, &rules) {
        let _ = inner::unwrap_at(document, "Body.Result", &rules);
    }
}

/// JSON documents and lists.
pub(crate) fn json_document(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = json::parse(&text);
    for path in ["", "a", "data.list"] {
        for element in json::records(&text, path).unwrap_or_default() {
            let _ = json::document(element);
        }
    }
    for policy in policies() {
        let decoder = JsonDecoder::new(policy);
        let (raw, document) = decoder.receive(Bytes::copy_from_slice(data), None);
        same_again(&document, &decoder.decode(&raw));
    }
}

/// Forms: the parts lie in the body.
pub(crate) fn form(data: &[u8]) {
    if let Ok(parts) = multipart::parts(data, "xx") {
        assert!(parts.iter().map(|part| part.bytes.len()).sum::<usize>() <= data.len());
    }
}

/// Spreadsheets.
pub(crate) fn sheet(data: &[u8]) {
    let _ = Sheet::default().read(&Bytes::copy_from_slice(data));
}

/// XML documents and the records in them.
pub(crate) fn xml_document(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let rules = XmlRules::default();
    let _ = xml::parse(&text, &rules);
    for path in ["", "Reports.Report", "a.b"] {
        for element in xml::records(&text, path, &rules).unwrap_or_default() {
            let _ = xml::parse(element, &rules);
        }
    }
    for policy in policies() {
        let decoder = XmlDecoder::new(policy, rules.clone());
        let raw = Raw { format: xml::FORMAT.to_owned(), charset: None, body: Bytes::copy_from_slice(data) };
        let _ = decoder.decode(&raw);
        let (raw, document) = decoder.receive(raw.body, None);
        same_again(&document, &decoder.decode(&raw));
    }
}
