use connector_api::Action;

use super::*;
use crate::preset::{GENERIC, POSTGRESQL};

fn class(stage: Stage, state: &str, native: i32, message: &[u8]) -> (FaultClass, bool) {
    let fault = Fault { stage, state: state.into(), native, message: message.to_vec() };
    let error = classify(&GENERIC, "read".into(), &fault, None);
    assert!(error.hint.is_some());
    (error.class, matches!(error.action, Action::Retry { .. }))
}

#[test]
fn states_and_numbers_have_their_class() {
    use FaultClass::{Data, Login, Missing, NameResolution, Other, Permission, Protocol, Timeout, Unreachable};
    let connect = |state, native, message: &str| class(Stage::Connect, state, native, message.as_bytes());
    let statement = |state, native| class(Stage::Statement, state, native, b"");
    assert_eq!(connect("08001", 101, "connection refused"), (Unreachable, RETRY));
    assert_eq!(connect("08001", 101, "FATAL: password authentication failed for user \"u\""), (Login, STOP));
    assert_eq!(connect("28000", 0, ""), (Login, STOP));
    assert_eq!(connect("HY000", 1045, ""), (Login, STOP));
    assert_eq!(connect("08001", 0, "could not translate host name \"pg\""), (NameResolution, RETRY));
    assert_eq!(connect("IM002", 0, ""), (Missing, STOP));
    assert_eq!(connect("01000", 0, "[unixODBC][Driver Manager]Can't open lib 'x' : file not found"), (Missing, STOP));
    assert_eq!(connect("HYT00", 0, ""), (Timeout, RETRY));
    assert_eq!(connect("01S00", 0, ""), (Other, STOP));
    assert_eq!(connect("HY000", 12541, "ORA-12541"), (Unreachable, RETRY));
    assert_eq!(statement("42S02", 0), (Missing, STOP));
    assert_eq!(class(Stage::Statement, "42S02", 1, b"no table \"certificate\""), (Missing, STOP), "no word of TLS");
    assert_eq!(statement("42S22", 0), (Missing, STOP));
    assert_eq!(statement("HY000", 942), (Missing, STOP));
    assert_eq!(statement("42501", 0), (Permission, STOP));
    assert_eq!(statement("57014", 0), (Timeout, RETRY));
    assert_eq!(statement("57P01", 0), (Protocol, RETRY));
    assert_eq!(statement("08S01", 0), (Protocol, RETRY));
    assert_eq!(statement("HY000", 2013), (Protocol, RETRY));
    assert_eq!(statement("22007", 0), (Data, STOP));
    assert_eq!(statement("42000", 0), (Other, STOP));
    assert_eq!(statement("HY000", 0), (Other, RETRY));
}

#[test]
fn words_of_a_chinese_driver_are_read_and_nothing_personal_is_repeated() {
    let fault =
        |state: &str, message: &[u8], stage| Fault { stage, state: state.into(), native: -1, message: message.into() };
    let gbk = encoding_rs::GB18030.encode("用户名或密码错误 geheim").0.into_owned();
    let error = classify(&POSTGRESQL, "connect".into(), &fault("28000", &gbk, Stage::Connect), Some("geheim"));
    assert!(error.chain().contains("用户名或密码错误") && !error.chain().contains("geheim"), "{}", error.chain());
    let value = "invalid input syntax for type integer: \"张三\"".as_bytes();
    let error = classify(&POSTGRESQL, "read".into(), &fault("22P02", value, Stage::Statement), None);
    assert!(!error.chain().contains("张三") && error.chain().contains("22P02"), "{}", error.chain());
}
