use proptest::prelude::*;

use super::*;

fn csv() -> Delimited {
    Delimited {
        delimiter: b',',
        quoting: Quoting::Doubled,
        header: true,
        columns: Vec::new(),
        skip_lines: 0,
        short_rows: ShortRows::Hold,
    }
}

fn policy(default: Charset) -> TextPolicy {
    TextPolicy { default, ..TextPolicy::default() }
}

/// Each row as `line: name=value …`, or as the failure's code and detail.
fn shown(layout: &Layout, charset: Charset, bytes: &[u8]) -> Vec<String> {
    let table = layout.read(&policy(charset), bytes).unwrap();
    let show = |row: &Row| match &row.values {
        Ok(map) => {
            let value = |value: &Value| value.as_text().map_or("null".to_owned(), str::to_owned);
            let fields: Vec<String> = map.iter().map(|(name, own)| format!("{name}={}", value(own))).collect();
            format!("{}: {}", row.line, fields.join(" "))
        }
        Err(unreadable) => unreadable.failure.to_string(),
    };
    let shown: Vec<String> = table.rows.iter().map(show).collect();
    // A row taken by itself says the same, but for its line.
    for row in &table.rows {
        let body = [&table.head[..], &bytes[row.bytes.clone()]].concat();
        let charset = Some(table.charset.name().to_owned());
        let raw = Raw { format: "text/csv".to_owned(), charset, body: body.into() };
        match (&row.values, layout.reread(&policy(Charset::Utf8), &raw)) {
            (Ok(map), again) => assert_eq!(again.as_ref(), Ok(&vec![map.clone()])),
            (Err(unreadable), again) => assert_eq!(again.unwrap_err().code, unreadable.failure.code),
        }
    }
    shown
}

fn check(layout: Delimited, charset: Charset, bytes: &[u8], expected: &[&str]) {
    assert_eq!(shown(&Layout::Delimited(layout), charset, bytes), expected);
}

fn refused(layout: Delimited, charset: Charset, bytes: &[u8]) -> DecodeFailure {
    Layout::Delimited(layout).read(&policy(charset), bytes).unwrap_err()
}

#[test]
fn rows_are_read_by_the_header() {
    check(csv(), Charset::Utf8, b"no, name \r\n1,a\r\n\r\n2,\r\n", &["2: no=1 name=a", "4: no=2 name="]);
    check(csv(), Charset::Utf8, b"no,name,\n1,a,\n2,b\n", &["2: no=1 name=a", "3: no=2 name=b"]);
    check(csv(), Charset::Utf8, b"no\r1\r2", &["2: no=1", "3: no=2"]);
    check(csv(), Charset::Utf8, b"no\n", &[]);
}

#[test]
fn quoted_fields_hold_delimiters_quotes_and_line_ends() {
    let bytes = b"a,b\r\n\"x,\r\ny\",\"say \"\"hi\"\"\"\r\n5\" pipe,z\r\n";
    check(csv(), Charset::Utf8, bytes, &["2: a=x,\r\ny b=say \"hi\"", "4: a=5\" pipe b=z"]);
    let backslash = Delimited { quoting: Quoting::Backslash, ..csv() };
    check(backslash, Charset::Utf8, b"a,b\n\"x\\\"y\",1\n", &["2: a=x\"y b=1"]);
    let none = Delimited { quoting: Quoting::None, delimiter: b'\t', ..csv() };
    check(none, Charset::Utf8, b"a\tb\n\"x\t1\n", &["2: a=\"x b=1"]);
}

#[test]
fn quotes_that_do_not_match_are_not_taken_as_content() {
    let open = b"a,b\n1,2\n\"x,3\n4,5\n";
    check(csv(), Charset::Utf8, open, &["2: a=1 b=2", "delimited-quote: line 3: the quotes don't match"]);
    let after = b"a,b\n\"x\"y,3\n4,5\n";
    check(csv(), Charset::Utf8, after, &["delimited-quote: line 2: the quotes don't match", "3: a=4 b=5"]);
}

#[test]
fn a_row_with_other_columns_is_held_alone() {
    let bytes = b"a,b\n1\n2,3\n4,5,6\n";
    let long = "delimited-columns: line 4: 3 fields where 2 columns are named";
    let short = "delimited-columns: line 2: 1 fields where 2 columns are named";
    check(csv(), Charset::Utf8, bytes, &[short, "3: a=2 b=3", long]);
    let pad = Delimited { short_rows: ShortRows::Pad, ..csv() };
    check(pad, Charset::Utf8, bytes, &["2: a=1 b=null", "3: a=2 b=3", long]);
}

#[test]
fn columns_may_be_configured() {
    let given = Delimited { header: false, columns: vec!["a".into(), "b".into()], ..csv() };
    check(given, Charset::Utf8, b"1,2\n", &["1: a=1 b=2"]);
    let wanted = Delimited { columns: vec!["b".into()], skip_lines: 2, ..csv() };
    check(wanted.clone(), Charset::Utf8, b"\"title\n\na,b\n1,2\n", &["4: a=1 b=2"]);
    let missing = refused(wanted, Charset::Utf8, b"x\n\na,c\n1,2\n");
    assert_eq!(missing.to_string(), "delimited-header: the header has no column \"b\"");
    for bytes in [&b""[..], b"a,a\n", b"a,,b\n", b"\"a\n1\n"] {
        assert_eq!(refused(csv(), Charset::Utf8, bytes).code, "delimited-header", "{bytes:?}");
    }
}

#[test]
fn character_sets_are_decoded_before_splitting() {
    // The second byte of 镕 is F, of 輡 is |.
    let pipes = Delimited { delimiter: b'|', ..csv() };
    let gbk = Charset::Gbk.encode("编号|姓名\n1|輡\n").unwrap().into_owned();
    assert!(gbk.iter().filter(|byte| **byte == b'|').count() > 2);
    check(pipes, Charset::Gb18030, &gbk, &["2: 编号=1 姓名=輡"]);
    for charset in [Charset::Utf16Le, Charset::Utf16Be] {
        let bytes = charset.encode("\u{feff}编号,姓名\r\n1,一\r\n").unwrap().into_owned();
        check(csv(), Charset::Gb18030, &bytes, &["2: 编号=1 姓名=一"]);
    }
    let marked = "\u{feff}编号,姓名\n1,一\n".as_bytes();
    check(csv(), Charset::Gb18030, marked, &["2: 编号=1 姓名=一"]);
    assert_eq!(refused(csv(), Charset::Gb18030, &marked[3..]).code, "text-charset-doubtful");
}

#[test]
fn a_row_that_does_not_decode_is_held_alone_and_its_other_fields_are_known() {
    let bytes = b"no,name\n1,\xd5\xc5\n2,\xd5\n3,\xc8\xfd\n";
    let held = "delimited-charset: line 3: byte 15 of the file does not begin a gb18030 character";
    check(csv(), Charset::Gb18030, bytes, &["2: no=1 name=张", held, "4: no=3 name=三"]);
    let table = Layout::Delimited(csv()).read(&policy(Charset::Gb18030), bytes).unwrap();
    let readable = &table.rows[1].values.as_ref().unwrap_err().readable;
    assert_eq!(readable.get("no"), Some(&Value::from("2")));
    assert_eq!(readable.get("name"), Some(&Value::Null));
}

#[test]
fn where_nothing_decodes_the_file_is_in_another_character_set() {
    let failure = refused(csv(), Charset::Utf8, b"no,name\n1,\xd5\xc5\n2,\xc0\xee\n");
    assert_eq!(failure.to_string(), "text-charset: 2 lines are not utf-8, the first at byte 10");
}

fn fixed(measure: Measure, short_rows: ShortRows) -> Layout {
    let column = |name: &str, start, width| Column { name: name.to_owned(), start, width };
    let columns = vec![column("no", 1, 4), column("name", 5, 6), column("sex", 11, 1)];
    Layout::Fixed(Fixed { columns, measure, skip_lines: 0, short_rows })
}

#[test]
fn fixed_places_count_bytes_or_characters() {
    let gbk = Charset::Gbk.encode("0001张三  1\r\n\r\n 2  欧阳三2  \r\n").unwrap().into_owned();
    let layout = fixed(Measure::Bytes, ShortRows::Hold);
    assert_eq!(shown(&layout, Charset::Gb18030, &gbk), ["1: no=0001 name=张三 sex=1", "3: no=2 name=欧阳三 sex=2"]);
    let utf8 = "0001张三    1\n".as_bytes();
    assert_eq!(shown(&fixed(Measure::Chars, ShortRows::Hold), Charset::Utf8, utf8), ["1: no=0001 name=张三 sex=1"]);
}

#[test]
fn fixed_lines_of_another_length_are_held() {
    let bytes = b"0001abc\n0002abcdef1x\n0003abcdef1\n";
    let long = "delimited-columns: line 2: 12 places where the columns have 11";
    let last = "3: no=0003 name=abcdef sex=1";
    assert_eq!(
        shown(&fixed(Measure::Bytes, ShortRows::Hold), Charset::Utf8, bytes),
        ["delimited-columns: line 1: 7 places where the columns have 11", long, last]
    );
    assert_eq!(
        shown(&fixed(Measure::Bytes, ShortRows::Pad), Charset::Utf8, bytes),
        ["1: no=0001 name=abc sex=null", long, last]
    );
}

#[test]
fn a_column_that_ends_inside_a_character_is_held() {
    let gbk = Charset::Gbk.encode("0001a张三 1\n0001abcdef1\n").unwrap().into_owned();
    let shifted = Charset::Gbk.encode("001张三张1 \n").unwrap().into_owned();
    let bytes = [gbk, shifted].concat();
    let shown = shown(&fixed(Measure::Bytes, ShortRows::Hold), Charset::Gb18030, &bytes);
    assert_eq!(shown[0], "1: no=0001 name=a张三 sex=1");
    assert!(shown[2].starts_with("delimited-charset: line 3"), "{shown:?}");
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(
        rows in prop::collection::vec(prop::collection::vec("[^\u{fffd}]{0,6}", 3), 0..6),
        utf16: bool,
    ) {
        let mut writer = ::csv::WriterBuilder::new().quote_style(::csv::QuoteStyle::Always).from_writer(Vec::new());
        writer.write_record(["a", "b", "c"]).unwrap();
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        let text = format!("\u{feff}{}", String::from_utf8(writer.into_inner().unwrap()).unwrap());
        let charset = if utf16 { Charset::Utf16Le } else { Charset::Utf8 };
        let bytes = charset.encode(&text).unwrap();
        let table = Layout::Delimited(csv()).read(&policy(Charset::Utf8), &bytes).unwrap();
        let read: Vec<Vec<String>> = table
            .rows
            .iter()
            .map(|row| row.values.as_ref().unwrap().iter().map(|(_, value)| value.as_text().unwrap().into()).collect())
            .collect();
        prop_assert_eq!(read, rows);
    }

    #[test]
    fn no_bytes_panic_and_none_are_lost(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        rows in "[a,\"\\\\\r\n张|]{0,60}",
        at in 0..Charset::ALL.len(),
        skip_lines in 0..3usize,
        backslash: bool,
        pad: bool,
    ) {
        let quoting = if backslash { Quoting::Backslash } else { Quoting::Doubled };
        let short_rows = if pad { ShortRows::Pad } else { ShortRows::Hold };
        let charset = Charset::ALL[at];
        let text = charset.encode(&rows).map(|bytes| bytes.into_owned()).unwrap_or_default();
        for bytes in [noise, text] {
            let given = Delimited { header: false, columns: vec!["a".into()], quoting, short_rows, ..csv() };
            let layouts = [
                Layout::Delimited(Delimited { skip_lines, quoting, ..csv() }),
                Layout::Delimited(given.clone()),
                fixed(Measure::Bytes, short_rows),
                fixed(Measure::Chars, short_rows),
            ];
            for layout in layouts {
                let Ok(table) = layout.read(&policy(charset), &bytes) else { continue };
                // Rows follow each other, and what lies between and around them is blank.
                let mut end = None;
                for row in &table.rows {
                    if let (Some(end), Layout::Delimited(_)) = (end, &layout) {
                        prop_assert_eq!(row.bytes.start, end);
                    }
                    prop_assert!(row.bytes.end <= bytes.len() && row.bytes.start < row.bytes.end);
                    end = Some(row.bytes.end);
                }
                if let (Some(end), Layout::Delimited(_)) = (end, &layout) {
                    prop_assert_eq!(end, bytes.len());
                }
            }
        }
    }
}
