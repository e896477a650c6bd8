use connector_formats::delimited::{Column, Delimited, Fixed, Measure, Quoting, ShortRows};
use proptest::prelude::*;

use super::*;
use crate::settings::StrayRows;

fn csv(header: bool) -> Layout {
    let columns = if header { Vec::new() } else { vec!["a".to_owned(), "b".to_owned()] };
    Layout::Delimited(Delimited {
        delimiter: b',',
        quoting: Quoting::Doubled,
        header,
        columns,
        skip_lines: 0,
        short_rows: ShortRows::Hold,
    })
}

fn shapes() -> Vec<Shape> {
    let column = |name: &str, start| Column { name: name.to_owned(), start, width: 2 };
    let fixed = Layout::Fixed(Fixed {
        columns: vec![column("a", 1), column("b", 3)],
        measure: Measure::Bytes,
        skip_lines: 0,
        short_rows: ShortRows::Pad,
    });
    let unit = |stray_rows| Some(Unit { key: vec!["a".to_owned()], stray_rows });
    let xml = |records: &str, inner: Option<&str>| Shape::Xml {
        records: records.to_owned(),
        rules: XmlRules::default(),
        inner: inner.map(str::to_owned),
    };
    vec![
        Shape::Table { layout: csv(true), unit: None },
        Shape::Table { layout: csv(false), unit: None },
        Shape::Table { layout: csv(false), unit: unit(StrayRows::Fail) },
        Shape::Table { layout: csv(false), unit: unit(StrayRows::Hold) },
        Shape::Table { layout: fixed, unit: unit(StrayRows::Hold) },
        Shape::Json { records: String::new() },
        Shape::Json { records: "a".to_owned() },
        Shape::JsonLines,
        xml("", Some("a")),
        xml("a.a", None),
        Shape::Hl7,
    ]
}

/// Reads a file in every shape: no panic, and what is archived says again what it said.
fn check(bytes: Vec<u8>, default: Charset) {
    let bytes = Bytes::from(bytes);
    for (at, shape) in shapes().into_iter().enumerate() {
        let format = FileFormat { shape, charset: TextPolicy { default, ..TextPolicy::default() } };
        for piece in format.read(&bytes, None).unwrap_or_default() {
            let again = format.decode(&piece.raw);
            match &piece.document {
                Ok(document) => assert_eq!(again.as_ref(), Ok(document), "shape {at}, {}", piece.place),
                Err(_) if piece.raw.format == BYTES => {}
                Err(failure) => assert!(again.is_err(), "shape {at}, {}: {failure}", piece.place),
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_archived_says_again_what_it_said(
        noise in prop::collection::vec(any::<u8>(), 0..120),
        table in "([a-c张|\"]{0,3},?[a-c 三]{0,2}\r?\n){0,8}",
        json in "[\\[\\]{}\"a:,1.\n ]{0,40}",
        xml in "(<a>|</a>|<b x='1'/>|张|&lt;| ){0,20}",
        at in 0..Charset::ALL.len(),
    ) {
        let charset = Charset::ALL[at];
        check(noise, charset);
        for text in [table, json, xml] {
            if let Some(bytes) = charset.encode(&text) {
                check(bytes.into_owned(), charset);
            }
        }
    }

    #[test]
    fn every_row_of_a_file_is_in_one_record(
        rows in prop::collection::vec(("[0-3]?", "[a-z]{0,3}", any::<bool>()), 1..30),
    ) {
        // A broken row has a third field.
        let third = |broken: &bool| if *broken { ",x" } else { "" };
        let lines: Vec<String> =
            rows.iter().map(|(key, value, broken)| format!("{key},{value}{}\n", third(broken))).collect();
        let unit = Some(Unit { key: vec!["a".to_owned()], stray_rows: StrayRows::Hold });
        let shape = Shape::Table { layout: csv(false), unit };
        let format = FileFormat { shape, charset: TextPolicy::default() };
        let pieces = format.read(&Bytes::from(lines.concat()), None).unwrap();
        let mut found: Vec<String> = pieces
            .iter()
            .flat_map(|piece| std::str::from_utf8(&piece.raw.body).unwrap().split_inclusive('\n').map(str::to_owned))
            .collect();
        let mut expected = lines;
        found.sort();
        expected.sort();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_body_is_decoded_by_its_own_streams_settings() {
    let stream = |name: &str, layout| StreamRules {
        id: connector_api::StreamId::new(&connector_api::SourceId::new("s"), name),
        files: globset::GlobSet::empty(),
        label: "*".to_owned(),
        reading: Reading {
            format: FileFormat { shape: Shape::Table { layout, unit: None }, charset: TextPolicy::default() },
            attachments: None,
        },
    };
    let streams = [stream("one", csv(true)), stream("two", csv(false))];
    let decoder = FilesDecoder::new(&streams);
    let decode = |format: &str| {
        let raw = Raw { format: format.to_owned(), charset: None, body: Bytes::from_static(b"a,x\n1,2\n") };
        decoder.decode(&raw).map(|document| document.root.len()).map_err(|failure| failure.code)
    };
    assert_eq!(decode(&FilesDecoder::archived_format(&streams[0], "text/csv")), Ok(2));
    assert_eq!(decode(&FilesDecoder::archived_format(&streams[1], "text/csv")), Err("file-rows"));
    assert_eq!(decode("text/csv"), Err("format"));
    assert_eq!(decode("text/csv; stream=s/three"), Err("format"));
    assert_eq!(decode(BYTES), Err("file-whole"));
}
