use connector_api::Value;
use serde_json::{Value as Json, json};

use super::*;
use crate::text::Prefer;

/// A table of the version with columns of name, type, width and flags, and records of raw bytes.
fn table(version: u8, columns: &[(&str, u8, u8, u8)], records: &[&[u8]]) -> Vec<u8> {
    let width = 1 + columns.iter().map(|column| usize::from(column.2)).sum::<usize>();
    let mut bytes = vec![0; 32];
    bytes[0] = version;
    bytes[4..8].copy_from_slice(&u32::try_from(records.len()).unwrap().to_le_bytes());
    bytes[8..10].copy_from_slice(&u16::try_from(33 + 32 * columns.len()).unwrap().to_le_bytes());
    bytes[10..12].copy_from_slice(&u16::try_from(width).unwrap().to_le_bytes());
    for (name, kind, width, flags) in columns {
        let mut field = [0; 32];
        field[..name.len()].copy_from_slice(name.as_bytes());
        (field[11], field[16], field[18]) = (*kind, *width, *flags);
        bytes.extend_from_slice(&field);
    }
    bytes.push(0x0d);
    records.iter().for_each(|record| bytes.extend_from_slice(record));
    bytes.push(0x1a);
    bytes
}

fn gbk() -> TextPolicy {
    TextPolicy { default: Charset::Gbk, prefer: Prefer::Declared }
}

fn rows(bytes: &[u8], memo: Option<&[u8]>) -> Vec<Json> {
    let written = read(&gbk(), bytes, memo).unwrap();
    let shown = |row: crate::delimited::Row| match row.values {
        Ok(map) => Json::from(&Value::Map(map)),
        Err(unreadable) => json!(unreadable.failure.code),
    };
    written.rows.into_iter().map(shown).collect()
}

#[test]
fn values_keep_their_digits_and_blanks_are_null() {
    let columns = [("XM", b'C', 8, 0), ("JG", b'N', 6, 0), ("ID", b'N', 19, 0), ("RQ", b'D', 8, 0), ("OK", b'L', 1, 0)];
    let name = Charset::Gbk.encode("张三").unwrap();
    let first = [b" ", &*name, b"      1.301234567890123456789", b"20261122T"].concat();
    let second = [&b" "[..], &[b' '; 33], b"00000000?"].concat();
    let deleted = [&b"*"[..], &[b' '; 42]].concat();
    let third = [b" ", &*name, b"    ******", &[b' '; 19], b"20269999F"].concat();
    let found = rows(&table(3, &columns, &[&first, &second, &deleted, &third]), None);
    let expected = [
        json!({"XM": "张三", "JG": "1.30", "ID": "1234567890123456789", "RQ": "2026-11-22", "OK": true}),
        json!({"XM": "", "JG": null, "ID": null, "RQ": "00000000", "OK": null}),
        json!("dbf-overflow"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_character_cut_by_its_columns_width_holds_the_row_alone() {
    let columns = [("XM", b'C', 3, 0)];
    let bytes = [" 张a", " 张三", " 李b"].map(|text| Charset::Gbk.encode(text).unwrap()[..4].to_vec());
    let records: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    let bytes = table(3, &columns, &records);
    assert_eq!(rows(&bytes, None), [json!({"XM": "张a"}), json!("text-charset"), json!({"XM": "李b"})]);
    let utf8 = read(&TextPolicy::default(), &bytes, None).unwrap_err();
    assert_eq!(utf8.code, "text-charset", "all of it is in another character set");
}

#[test]
fn visual_foxpro_types_and_null_flags_are_read() {
    let columns =
        [("N", b'I', 4, 2), ("T", b'T', 8, 0), ("Y", b'Y', 8, 0), ("B", b'B', 8, 0), ("_NullFlags", b'0', 1, 1)];
    let record = |flags: u8| {
        let time = [2_461_367_u32.to_le_bytes(), 28_800_000_u32.to_le_bytes()].concat();
        let numbers = [(-1_230_500_i64).to_le_bytes(), 1.3_f64.to_le_bytes()].concat();
        [&b" "[..], &(-7_i32).to_le_bytes(), &time, &numbers, &[flags]].concat()
    };
    let found = rows(&table(0x30, &columns, &[&record(0), &record(1)]), None);
    let row = |n: Json| json!({"N": n, "T": "2026-11-22T08:00:00", "Y": "-123.0500", "B": "1.3"});
    assert_eq!(found, [row(json!(-7)), row(json!(null))]);
}

#[test]
fn a_time_that_rounds_to_midnight_is_the_next_days_and_one_that_cannot_be_is_held() {
    let columns = [("T", b'T', 8, 0)];
    let record = |day: u32, millis: u32| [&b" "[..], &day.to_le_bytes(), &millis.to_le_bytes()].concat();
    let records =
        [record(2_461_367, 86_399_600), record(2_461_367, 86_400_000), record(2_461_367, u32::MAX), record(0, 0)];
    let mut records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    records.push(b"         ");
    let found = rows(&table(0x30, &columns, &records), None);
    let expected = [
        json!({"T": "2026-11-23T00:00:00"}),
        json!("dbf-time"),
        json!("dbf-time"),
        json!({"T": null}),
        json!({"T": null}),
    ];
    assert_eq!(found, expected);
    let narrow = table(0x30, &[("T", b'T', 7, 0)], &[b"        "]);
    assert_eq!(read(&gbk(), &narrow, None).unwrap_err().code, "dbf-syntax");
}

#[test]
fn memo_texts_are_read_from_each_kind_of_memo_file() {
    let text = Charset::Gbk.encode("未见异常").unwrap();
    let mut three = vec![0; 512];
    three.extend_from_slice(&[&text[..], &[0x1a, 0x1a]].concat());
    let mut four = vec![0; 512];
    four.extend_from_slice(&[&[0xff, 0xff, 8, 0], &16_u32.to_le_bytes(), &text[..]].concat());
    let mut fox = vec![0; 64];
    fox[7] = 64;
    fox.extend_from_slice(&[&1_u32.to_be_bytes(), &8_u32.to_be_bytes(), &text[..]].concat());
    for (version, memo) in [(0x83, &three), (0x8b, &four), (0xf5, &fox)] {
        let bytes = table(version, &[("JL", b'M', 10, 0)], &[b"          1", b"           ", b"          9"]);
        assert!(has_memo(&bytes));
        let expected = [json!({"JL": "未见异常"}), json!({"JL": null}), json!("dbf-memo")];
        assert_eq!(rows(&bytes, Some(memo)), expected, "{version:x}");
        assert_eq!(rows(&bytes, None)[0], json!("dbf-memo"), "a text that can't be had is not nothing");
    }
}

#[test]
fn a_table_that_is_cut_off_or_longer_than_it_says_is_refused() {
    let whole = table(3, &[("A", b'C', 2, 0)], &[b" 11", b" 22"]);
    let code = |bytes: &[u8]| read(&gbk(), bytes, None).map(|_| ()).map_err(|failure| failure.code);
    assert_eq!(code(&whole), Ok(()));
    assert_eq!(code(&whole[..whole.len() - 1]), Ok(()), "some programs write no mark of the end");
    for cut in 0..whole.len() - 1 {
        assert!(code(&whole[..cut]).is_err(), "{cut}");
    }
    let mut longer = whole.clone();
    longer.pop();
    longer.extend_from_slice(b" 33");
    assert_eq!(code(&longer), Err("dbf-count"));
    assert_eq!(code(&table(3, &[("A", b'W', 2, 0)], &[])), Err("dbf-type"));
    assert_eq!(code(b"no,table\n1,2\n and so on and so on"), Err("dbf-syntax"));
}
