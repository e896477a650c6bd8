use std::io::Write as _;

use connector_api::Value;
use serde_json::{Value as Json, json};
use zip::write::SimpleFileOptions;

use super::*;
use crate::rows;
use crate::text::TextPolicy;

const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";

/// A workbook with one sheet of these rows; style 1 is a date, 2 is `0.00`, 3 is `00000000`.
fn workbook(rows: &str) -> Bytes {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let mut put = |name: &str, text: &str| {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    };
    let relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let package = "http://schemas.openxmlformats.org/package/2006/relationships";
    put(
        "_rels/.rels",
        &format!(
            "<Relationships xmlns='{package}'><Relationship Id='1' Type='{relations}/officeDocument' Target='xl/workbook.xml'/></Relationships>"
        ),
    );
    put(
        "xl/_rels/workbook.xml.rels",
        &format!(
            "<Relationships xmlns='{package}'><Relationship Id='r1' Type='{relations}/worksheet' Target='worksheets/sheet1.xml'/>\
             <Relationship Id='r2' Type='{relations}/styles' Target='styles.xml'/></Relationships>"
        ),
    );
    put(
        "xl/workbook.xml",
        &format!(
            "<workbook xmlns='{MAIN}' xmlns:r='{relations}'><sheets><sheet name='体检' sheetId='1' r:id='r1'/></sheets></workbook>"
        ),
    );
    put(
        "xl/styles.xml",
        &format!(
            "<styleSheet xmlns='{MAIN}'><numFmts count='1'><numFmt numFmtId='164' formatCode='00000000'/></numFmts>\
             <cellXfs count='4'><xf numFmtId='0'/><xf numFmtId='14'/><xf numFmtId='2'/><xf numFmtId='164'/></cellXfs></styleSheet>"
        ),
    );
    put("xl/worksheets/sheet1.xml", &format!("<worksheet xmlns='{MAIN}'><sheetData>{rows}</sheetData></worksheet>"));
    zip.finish().unwrap().into_inner().into()
}

/// A row of cells as XML: text, or `=style:number`.
fn row(number: usize, cells: &[&str]) -> String {
    let cell = |(at, text): (usize, &&str)| {
        let place = format!("{}{number}", char::from(b'A' + u8::try_from(at).unwrap()));
        match text.strip_prefix('=').and_then(|rest| rest.split_once(':')) {
            Some(("e", error)) => format!("<c r='{place}' t='e'><v>{error}</v></c>"),
            Some((style, value)) => format!("<c r='{place}' s='{style}'><v>{value}</v></c>"),
            None if text.is_empty() => String::new(),
            None => format!("<c r='{place}' t='inlineStr'><is><t>{text}</t></is></c>"),
        }
    };
    format!("<row r='{number}'>{}</row>", cells.iter().enumerate().map(cell).collect::<String>())
}

fn read(sheet: &Sheet, rows: &[&[&str]]) -> Result<Written, DecodeFailure> {
    let rows: String = rows.iter().enumerate().map(|(at, cells)| row(at + 1, cells)).collect();
    sheet.read(&workbook(&rows))
}

/// The rows as JSON, a failure by its code.
fn shown(written: &Written) -> Vec<Json> {
    let shown = |row: &crate::delimited::Row| match &row.values {
        Ok(map) => Json::from(&Value::Map(map.clone())),
        Err(unreadable) => json!(unreadable.failure.code),
    };
    let first: Vec<Json> = written.rows.iter().map(shown).collect();
    // What is archived says the same again.
    for (row, shown) in written.rows.iter().zip(&first) {
        match rows::reread(&TextPolicy::default(), &written.bytes[row.bytes.clone()]) {
            Ok(again) => assert_eq!(Json::from(&Value::Map(again[0].clone())), *shown),
            Err(failure) => assert_eq!(json!(failure.code), *shown),
        }
    }
    first
}

#[test]
fn cells_keep_what_the_spreadsheet_still_knows() {
    let rows: [&[&str]; 4] = [
        &["体检号", "日期", "结果", "短号", "数"],
        &["0301170001", "=1:45983", "=2:1.3", "=3:1170001", "=0:0.30000000000000004"],
        &[],
        &["1234567890123456789", "=1:45983.5", "=2:1.304", "", "=0:6.02e23"],
    ];
    let written = read(&Sheet::default(), &rows).unwrap();
    let places: Vec<usize> = written.rows.iter().map(|row| row.line).collect();
    assert_eq!(places, [2, 4]);
    let first = json!({"体检号": "0301170001", "日期": "2025-11-22", "结果": "1.30", "短号": "01170001", "数": "0.3"});
    assert_eq!(shown(&written), [first, json!("sheet-digits")]);
    let Err(unreadable) = &written.rows[1].values else { panic!("read") };
    assert_eq!(unreadable.failure.detail.split(": ").next(), Some("row 4, \"数\""));
    let readable = json!({
        "体检号": "1234567890123456789", "日期": "2025-11-22T12:00:00", "结果": "1.304", "短号": null, "数": null,
    });
    assert_eq!(Json::from(&Value::Map(unreadable.readable.clone())), readable);
}

#[test]
fn what_the_spreadsheet_destroyed_is_held() {
    let sheet = Sheet { text_columns: vec!["a".to_owned()], ..Sheet::default() };
    let codes = |cell: &str| shown(&read(&sheet, &[&["a", "b"], &[cell, "x"], &["x", cell]]).unwrap());
    assert_eq!(codes("=0:1170001"), [json!("sheet-not-text"), json!({"a": "x", "b": "1170001"})]);
    assert_eq!(codes("=1:45983")[0], json!("sheet-not-text"));
    assert_eq!(codes("=3:1170001")[0], json!({"a": "01170001", "b": "x"}), "its format says which zeros it shows");
    assert_eq!(codes("=0:110101199001011234")[1], json!("sheet-digits"));
    assert_eq!(codes("=e:#N/A")[1], json!("sheet-error"));
    assert_eq!(codes("=1:60")[1], json!("sheet-date"));
    assert_eq!(codes("=1:0.25")[1], json!({"a": "x", "b": "06:00:00"}));
}

#[test]
fn the_header_decides_which_cells_are_read() {
    let header = |rows: &[&[&str]], sheet: &Sheet| read(sheet, rows).map(|_| ()).map_err(|failure| failure.code);
    let wanted = Sheet { columns: vec!["b".to_owned()], ..Sheet::default() };
    assert_eq!(header(&[&["a", "b"]], &wanted), Ok(()));
    assert_eq!(header(&[&["a"]], &wanted), Err("sheet-header"));
    assert_eq!(header(&[&["a", "a"]], &Sheet::default()), Err("sheet-header"));
    assert_eq!(header(&[], &Sheet::default()), Err("sheet-header"));
    assert_eq!(header(&[&["a"], &["1", "beside"]], &Sheet::default()), Err("sheet-columns"));
    let skip = Sheet { skip_rows: 1, ..Sheet::default() };
    let written = read(&skip, &[&["体检报告导出"], &["a"], &["1"]]).unwrap();
    assert_eq!(shown(&written), [json!({"a": "1"})]);
    let other = Sheet { name: Some("x".to_owned()), ..Sheet::default() };
    assert_eq!(header(&[&["a"]], &other), Err("sheet-name"));
}

#[test]
fn what_is_no_sound_workbook_is_refused_and_what_unpacks_without_end_as_well() {
    let code = |bytes: &[u8]| Sheet::default().read(&Bytes::copy_from_slice(bytes)).unwrap_err().code;
    assert_eq!(code(b"<html><table>"), "sheet-kind");
    assert_eq!(code(b""), "sheet-kind");
    assert_eq!(code(b"\xd0\xcf\x11\xe0 and no more"), "sheet-kind");
    let whole = workbook(&row(1, &["a"]));
    assert_eq!(code(&whole[..whole.len() / 2]), "sheet-syntax");
    let long = workbook(&row(1, &["长"; 26]).repeat(200));
    assert_eq!(check_size(&long, 1 << 20), Ok(()));
    assert_eq!(check_size(&long, 10 << 10).unwrap_err().code, "table-too-large");
}
