use proptest::prelude::*;

use super::*;

fn param() -> impl Strategy<Value = Param> {
    prop_oneof![
        Just(Param::Null),
        ".*".prop_map(Param::Text),
        any::<i64>().prop_map(Param::Integer),
        "[0-9]{1,30}".prop_map(Param::Decimal),
        any::<(i16, u16, u16)>().prop_map(|(year, month, day)| Param::Date(year, month, day)),
        any::<(i16, [u16; 5], u32)>().prop_map(|(year, parts, nanos)| Param::Timestamp(year, parts, nanos)),
        any::<Vec<u8>>().prop_map(Param::Bytes),
    ]
}

fn body(frame: &[u8]) -> &[u8] {
    let (head, body) = frame.split_at(4);
    assert_eq!(frame_length(head.try_into().unwrap()).unwrap(), body.len());
    body
}

proptest! {
    #[test]
    fn a_query_reads_back(sql in ".*", params in proptest::collection::vec(param(), 0..5)) {
        let request = Request::Query(sql, params);
        let frame = request.to_frame().unwrap();
        prop_assert_eq!(Request::from_frame(body(&frame)).unwrap(), request);
    }

    #[test]
    fn rows_read_back(cells in proptest::collection::vec(proptest::option::of(any::<Vec<u8>>()), 0..20)) {
        let mut rows = Vec::new();
        cells.iter().for_each(|cell| write_cell(&mut rows, cell.as_deref().map_or(Cell::Null, Cell::Bytes)));
        let mut found = Vec::new();
        let mut reader = Cells::new(&rows);
        while !reader.is_empty() {
            found.push(match reader.read().unwrap() {
                Cell::Bytes(bytes) => Some(bytes.to_vec()),
                _ => None,
            });
        }
        prop_assert_eq!(found, cells);
    }

    #[test]
    fn broken_frames_are_errors_and_never_panics(bytes in any::<Vec<u8>>()) {
        let _ = Request::from_frame(&bytes);
        let _ = Reply::from_frame(bytes.clone());
        let mut cells = Cells::new(&bytes);
        while !cells.is_empty() && cells.read().is_ok() {}
    }
}

#[test]
fn replies_read_back() {
    let fault = Fault { stage: Stage::Statement, state: "42S02".into(), native: -7, message: b"\xb1\xed".to_vec() };
    let column = ColumnInfo { name: b"XM".to_vec(), kind: Kind::Text, type_name: "varchar(8)".into(), nullable: None };
    let sure = ColumnInfo { nullable: Some(false), kind: Kind::Binary, ..column.clone() };
    for reply in [
        Reply::Hello(VERSION),
        Reply::Columns(vec![column, sure]),
        Reply::Rows(vec![1, 2, 3]),
        Reply::Restart,
        Reply::Done,
        Reply::Fault(fault),
    ] {
        let frame = reply.to_frame().unwrap();
        assert_eq!(Reply::from_frame(body(&frame).to_vec()).unwrap(), reply);
    }
}

#[test]
fn lengths_that_cannot_be_true_are_refused() {
    assert!(frame_length([0; 4]).is_err());
    assert!(frame_length([255; 4]).is_err());
    assert!(Request::from_frame(&[3, 255, 255, 255, 255]).is_err(), "a count beyond the frame makes no room");
}
