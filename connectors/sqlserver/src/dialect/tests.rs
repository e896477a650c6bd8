use connector_api::{SourceTime, Value};
use connector_sql::{Dialect as _, WatermarkType};

use super::{ColumnType, Reading, TransactSql, named};

fn column(name: &str, kind: &str, length: Option<i64>) -> ColumnType {
    ColumnType { name: name.to_owned(), kind: kind.to_owned(), length, ..ColumnType::default() }
}

fn dialect(columns: Vec<ColumnType>) -> TransactSql {
    TransactSql { tables: [("t".to_owned(), columns)].into(), ..TransactSql::default() }
}

#[test]
fn columns_that_the_driver_reads_wrongly_are_cast() {
    let dialect = dialect(vec![
        column("id", "int", None),
        column("name", "varchar", Some(50)),
        column("code", "char", Some(10)),
        column("memo", "varchar", Some(-1)),
        column("wide", "nchar", Some(4)),
        column("price", "money", None),
        column("old", "text", Some(2_147_483_647)),
        column("picture", "image", Some(2_147_483_647)),
    ]);
    let expected = "[id], CAST([name] AS nvarchar(4000)) AS [=name], CAST([code] AS nvarchar(4000)) AS [-code], \
                    CAST([memo] AS nvarchar(max)) AS [=memo], [wide] AS [-wide], CAST([price] AS decimal(19,4)) AS \
                    [=price], CAST([old] AS nvarchar(max)) AS [=old], CAST([picture] AS varbinary(max)) AS [=picture]";
    assert_eq!(dialect.select_list("t", &[]), expected);
    assert_eq!(dialect.select_list("t", &["PRICE", "id"]), "CAST([price] AS decimal(19,4)) AS [=price], [id]");
    assert_eq!(dialect.select_list("unknown", &["a"]), "[a]");
    assert_eq!(dialect.select_list("unknown", &[]), "*");
}

#[test]
fn gbk_columns_come_as_bytes_unless_they_hold_utf8() {
    let mut dialect = dialect(vec![
        column("name", "varchar", Some(50)),
        ColumnType {
            collation: Some("Latin1_General_100_CI_AS_SC_UTF8".to_owned()),
            ..column("new", "varchar", Some(9))
        },
        column("code", "char", Some(10)),
    ]);
    dialect.raw_gbk = true;
    let expected = "CAST([name] AS varbinary(8000)) AS [~name], CAST([new] AS nvarchar(4000)) AS [=new], CAST([code] AS \
                    varbinary(8000)) AS [^code]";
    assert_eq!(dialect.select_list("t", &[]), expected);
    assert_eq!(named("^code"), ("code", Reading { gbk: true, padded: true }));
    assert_eq!(named("code"), ("code", Reading::default()));
}

#[test]
fn a_column_whose_name_looks_like_a_mark_keeps_its_name() {
    let dialect = dialect(vec![column("=x", "int", None), column("-", "int", None)]);
    assert_eq!(dialect.select_list("t", &[]), "[=x] AS [==x], [-] AS [=-]");
    assert_eq!(named("==x").0, "=x");
}

#[test]
fn parameters_take_their_columns_type() {
    let collation = Some("Chinese_PRC_CI_AS".to_owned());
    let dialect = dialect(vec![
        ColumnType { collation, ..column("no", "varchar", Some(20)) },
        column("at", "datetime", None),
        column("at2", "datetime2", None),
        column("version", "timestamp", None),
        column("name", "nvarchar", Some(20)),
    ]);
    let parameter = |column: &str, value: Value| dialect.parameter("t", column, None, &value, "@P1".to_owned());
    assert_eq!(parameter("no", Value::from("A1")), "CAST(@P1 AS varchar(8000))");
    assert_eq!(parameter("no", Value::from("张")), "CAST(@P1 COLLATE Chinese_PRC_CI_AS AS varchar(8000))");
    assert_eq!(parameter("no", Value::Integer(7)), "CAST(@P1 AS varchar(30))");
    let time = Value::Time(SourceTime::Date(chrono::NaiveDate::from_ymd_opt(2024, 1, 2).unwrap()));
    assert_eq!(parameter("at", time.clone()), "CAST(@P1 AS datetime)");
    assert_eq!(parameter("at2", time), "@P1");
    assert_eq!(parameter("version", Value::Bytes(vec![0; 8])), "CAST(@P1 AS binary(8))");
    assert_eq!(parameter("name", Value::from("A1")), "@P1");
}

#[test]
fn gbk_text_is_compared_as_the_bytes_that_its_column_holds() {
    let collated = |name: &str, collation: &str| ColumnType {
        collation: Some(collation.to_owned()),
        ..column(name, "varchar", Some(20))
    };
    let mut dialect = dialect(vec![
        collated("own", "Chinese_PRC_CI_AS"),
        collated("latin", "SQL_Latin1_General_CP1_CI_AS"),
        collated("utf8", "Latin1_General_100_CI_AS_SC_UTF8"),
        collated("other", "Japanese_CI_AS"),
        column("unknown", "varchar", Some(20)),
        column("wide", "nvarchar", Some(20)),
    ]);
    let text = Value::from("张丂");
    let bound = |dialect: &TransactSql, column: &str| dialect.bound("t", column, &text);
    assert_eq!(bound(&dialect, "latin"), text, "without raw_gbk the server converts, both ways");
    dialect.raw_gbk = true;
    for column in ["own", "utf8", "unknown", "wide", "absent"] {
        assert_eq!(bound(&dialect, column), text, "{column}");
    }
    // D5 C5 81 40 as code page 1252 reads them.
    assert_eq!(bound(&dialect, "latin"), Value::from("ÕÅ\u{81}@"));
    assert_eq!(
        dialect.parameter("t", "latin", None, &text, "@P1".to_owned()),
        "CAST(@P1 COLLATE SQL_Latin1_General_CP1_CI_AS AS varchar(8000))"
    );
    assert_eq!(bound(&dialect, "other"), Value::List(Vec::new()), "refused, where it would match nothing");
    assert_eq!(dialect.bound("t", "other", &Value::from("A1")), Value::from("A1"));
}

#[test]
fn rowversions_of_open_transactions_are_left_out() {
    let mut dialect = TransactSql::default();
    assert_eq!(dialect.settled(WatermarkType::Rowversion, "[v]"), None);
    dialect.open_from = Some([0, 0, 0, 0, 0, 0, 7, 0xd2]);
    assert_eq!(dialect.settled(WatermarkType::Rowversion, "[v]").as_deref(), Some("[v] < 0x00000000000007D2"));
    assert_eq!(dialect.settled(WatermarkType::Number, "[v]"), None);
}

#[test]
fn only_text_columns_have_blank_watermarks() {
    for (kind, blank) in [("datetime", false), ("int", false), ("varchar", true), ("nvarchar", true)] {
        let mut dialect = dialect(vec![column("at", kind, Some(20))]);
        dialect.watermark = Some(("t".to_owned(), "at".to_owned()));
        assert_eq!(dialect.blank_watermarks(WatermarkType::Timestamp), blank, "{kind}");
    }
}
