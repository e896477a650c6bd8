use super::*;

#[test]
fn sql_server_reads_times_as_its_columns_own_type() {
    let bound = |text: &str| SQLSERVER.param(&Value::Time(text.parse().unwrap()));
    for (time, text) in [
        ("2024-01-02T08:00:00.007", "2024-01-02T08:00:00.007"),
        ("2024-01-02T08:00:00", "2024-01-02T08:00:00"),
        ("2024-01-02T08:00:00.1234567", "2024-01-02T08:00:00.1234567"),
        ("2024-01-02T08:00:00.500+08:00", "2024-01-02T08:00:00.5+08:00"),
        ("2024-01-02", "20240102"),
    ] {
        assert_eq!(bound(time), Param::Text(text.into()), "no language setting and no rounding changes it");
    }
}

#[test]
fn values_are_bound_as_their_product_takes_them() {
    let time = Value::Time("2024-01-02T08:00:00.123".parse().unwrap());
    let bound = Param::Timestamp(2024, [1, 2, 8, 0, 0], 123_000_000);
    assert_eq!(POSTGRESQL.param(&time), bound);
    assert_eq!(ORACLE.param(&time), bound);
    assert_eq!(SQLITE.param(&time), Param::Text("2024-01-02 08:00:00.123".into()), "compared as text there");
    let date = Value::Time("2024-01-02".parse().unwrap());
    assert_eq!(MARIADB.param(&date), Param::Date(2024, 1, 2));
    assert_eq!(POSTGRESQL.param(&Value::Integer(7)), Param::Integer(7));
    assert_eq!(ORACLE.param(&Value::Integer(7)), Param::Decimal("7".into()), "its driver has no 64-bit integers");
    let offset = Value::Time("2024-01-02T08:00:00+08:00".parse().unwrap());
    assert_eq!(POSTGRESQL.param(&offset), Param::Text("2024-01-02 08:00:00+08:00".into()));
}
