use chrono::NaiveDate;
use proptest::prelude::*;

use super::date::Grammar;
use super::number::{MoneyError, Scale};
use super::result::Reading;
use super::*;
use crate::model::entity::{DecimalText, Sex};

#[test]
fn results_are_read_by_their_form() {
    let owned = |text: &str| text.to_owned();
    for (text, expected) in [
        ("1.30", Reading::Numeric(owned("1.30"))),
        ("-1.5", Reading::Numeric(owned("-1.5"))),
        ("９．４", Reading::Numeric(owned("9.4"))),
        ("<5.000E+02", Reading::Comparator("<", owned("5.000E+02"))),
        ("＜ 0.02", Reading::Comparator("<", owned("0.02"))),
        ("≤3", Reading::Comparator("<=", owned("3"))),
        (">=60", Reading::Comparator(">=", owned("60"))),
        ("10-15", Reading::Range(owned("10"), owned("15"))),
        ("0～1", Reading::Range(owned("0"), owned("1"))),
        ("1：80", Reading::Titer(owned("1"), owned("80"))),
        ("±", Reading::Ordinal),
        ("＋＋", Reading::Ordinal),
        ("＋－", Reading::Ordinal),
        ("－", Reading::Ordinal),
        ("3+", Reading::Ordinal),
        ("阴性", Reading::Coded),
        ("未见异常", Reading::Coded),
        ("拒检", Reading::Absent(Some("refused"))),
        ("标本已退检", Reading::Absent(Some("specimen_rejected"))),
        (" ", Reading::Absent(None)),
        ("+1", Reading::Text),
        ("5,000", Reading::Text),
        ("1.2.3", Reading::Text),
        ("<0.02 IU", Reading::Text),
        ("12:30:00", Reading::Text),
        ("9.4×1\n.5mm", Reading::Text),
        ("Ⅲ°", Reading::Text),
        ("2026-11", Reading::Text),
        ("120/80", Reading::Text),
    ] {
        assert_eq!(result::read(text), expected, "{text}");
    }
}

#[test]
fn reference_ranges_are_read_or_stay_text() {
    let bounds = |text: &str, sex| {
        let range = reference::read(text, sex).expect("a range");
        let bound =
            |bound: Option<DecimalText>, inside: Option<bool>| bound.map(|bound| (bound.0, inside == Some(true)));
        (bound(range.low, range.low_inclusive), bound(range.high, range.high_inclusive), range.text.is_some())
    };
    let both = |low: &str, high: &str| (Some((low.to_owned(), true)), Some((high.to_owned(), true)), false);
    let upper = |high: &str, inside| (None, Some((high.to_owned(), inside)), false);
    for (text, expected) in [
        ("3.5-5.5", both("3.5", "5.5")),
        ("3.5～9.5", both("3.5", "9.5")),
        ("7 ~ 40", both("7", "40")),
        ("75.00--125.00", both("75.00", "125.00")),
        ("1.0—4.8", both("1.0", "4.8")),
        ("3.5 至 5.5", both("3.5", "5.5")),
        ("9 to 9.9", both("9", "9.9")),
        ("-2.0--1.0", both("-2.0", "-1.0")),
        ("(3.5-5.5)", both("3.5", "5.5")),
        ("5-20 μ mol/L", both("5", "20")),
        ("3.5-9.5×10^9/L", both("3.5", "9.5")),
        ("<0.02", upper("0.02", false)),
        ("＜5.2", upper("5.2", false)),
        ("≤6", upper("6", true)),
        ("10.0", (None, None, true)),
        ("阴性", (None, None, true)),
        ("9&9.9", (None, None, true)),
        ("<9 = Susceptible, >= 9 = Resistant", (None, None, true)),
        ("3.5-5.5 moml", (None, None, true)),
        ("男:9-50;女:7-40", (None, None, true)),
    ] {
        assert_eq!(bounds(text, None), expected, "{text}");
    }
    for text in ["男:9-50;女:7-40", "女：7-40，男：9-50", "男性 9-50 女性 7-40"] {
        assert_eq!(bounds(text, Some(Sex::Male)), both("9", "50"), "{text}");
        assert_eq!(bounds(text, Some(Sex::Female)), both("7", "40"), "{text}");
    }
    assert_eq!(reference::read("  ", None), None);
}

#[test]
fn only_certain_units_have_a_code() {
    for (text, expected) in [
        ("mmol／L", Some("mmol/L")),
        ("×10^9/L", Some("10*9/L")),
        ("×10⁹/L", Some("10*9/L")),
        ("10*9/L", Some("10*9/L")),
        ("X10^12/L", Some("10*12/L")),
        ("*10^9/L", Some("10*9/L")),
        ("μmol/L", Some("umol/L")),
        ("µmol/L", Some("umol/L")),
        (" μ mol/L ", Some("umol/L")),
        ("kg/㎡", Some("kg/m2")),
        ("IU/ml", Some("[IU]/mL")),
        ("μmo1/L", None),
        ("ummol/L", None),
        ("moml", None),
        ("G/L", None),
        ("无", None),
    ] {
        assert_eq!(unit::ucum(text), expected, "{text}");
    }
}

#[test]
fn dates_are_read_by_unambiguous_forms_or_a_given_grammar() {
    let shanghai = chrono_tz::Asia::Shanghai;
    let time = |text: &str, grammars: &[Grammar]| {
        date::read(text, grammars).and_then(|stamp| stamp.time_in(shanghai)).map(|time| time.to_rfc3339())
    };
    for (text, expected) in [
        ("20171204", Some("2017-12-04T00:00:00+08:00")),
        ("2011/6/9 14:32:47", Some("2011-06-09T14:32:47+08:00")),
        ("2017-12-04 14:36:42.5", Some("2017-12-04T14:36:42.500+08:00")),
        ("2017-12-04T06:36:42Z", Some("2017-12-04T14:36:42+08:00")),
        ("20171204143642+0800", Some("2017-12-04T14:36:42+08:00")),
        ("201712041436", Some("2017-12-04T14:36:00+08:00")),
        ("2017-12-04 9:05", Some("2017-12-04T09:05:00+08:00")),
        ("04/12/2017", None),
        ("2017-12/04", None),
        ("2017-02-30", None),
        ("2017-12-04 14:36:42 PM", None),
        ("201712041", None),
        ("", None),
    ] {
        assert_eq!(time(text, &[]).as_deref(), expected, "{text}");
    }
    for (text, expected) in [
        ("20171204 930", Some("2017-12-04T09:30:00+08:00")),
        ("20171204 5", Some("2017-12-04T00:05:00+08:00")),
        ("20171204 93005", Some("2017-12-04T09:30:05+08:00")),
        ("2017-12-04 14:36", Some("2017-12-04T14:36:00+08:00")),
        ("20171204", Some("2017-12-04T00:00:00+08:00")),
        ("20171204 2561", None),
        ("20171204 9点", None),
    ] {
        let read = date::read_apart(text, &[]).and_then(|stamp| stamp.time_in(shanghai)).map(|time| time.to_rfc3339());
        assert_eq!(read.as_deref(), expected, "{text}");
    }
    let grammar = |text| Grammar::parse(text).expect("a grammar");
    assert_eq!(time("04.12.2017", &[grammar("%d.%m.%Y")]).as_deref(), Some("2017-12-04T00:00:00+08:00"));
    // China had summer time: local midnight of this day is 15:00 UTC of the day before.
    let birthday = date::read("581094000000", &[grammar("epoch_ms")]).map(|stamp| stamp.date_in(shanghai));
    assert_eq!(birthday, NaiveDate::from_ymd_opt(1988, 6, 1));
    for bad in ["%H:%M", "%Q", "%m-%d", "soon"] {
        assert!(Grammar::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn money_is_exact() {
    for (text, scale, expected) in [
        ("680.5", Scale::Yuan, Ok(68050)),
        ("498.0000", Scale::Yuan, Ok(49800)),
        ("49800", Scale::Fen, Ok(49800)),
        ("-1", Scale::Yuan, Ok(-100)),
        ("0.005", Scale::Yuan, Err(MoneyError::Fraction)),
        ("1.5", Scale::Fen, Err(MoneyError::Fraction)),
        ("1,000", Scale::Yuan, Err(MoneyError::Unreadable)),
        ("999999999999999999999", Scale::Yuan, Err(MoneyError::Unreadable)),
    ] {
        assert_eq!(number::money(text, scale), expected, "{text}");
    }
}

#[test]
fn ages_and_truth_values_are_read_without_doubt_only() {
    for (text, expected) in [("18岁", Some(18)), ("18周岁", Some(18)), ("38", Some(38)), ("999", None), ("3月", None)]
    {
        assert_eq!(number::age(text), expected, "{text}");
    }
    for (text, expected) in [("1", Some(true)), ("否", Some(false)), ("2", None), ("已到", None)] {
        assert_eq!(number::truth(text), expected, "{text}");
    }
}

#[test]
fn damaged_names_are_recognised() {
    for (text, damaged) in [("王?", true), ("王\u{fffd}", true), ("王䶮", false), ("Who?", false)] {
        assert_eq!(text::is_damaged_name(text), damaged, "{text}");
    }
    assert_eq!(text::store("\u{feff} 张三\u{3000}\u{a0}\0"), "张三");
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC{0,24}") {
        let _ = result::read(&text);
        let _ = reference::read(&text, Some(Sex::Male));
        let _ = unit::ucum(&text);
        let _ = date::read(&text, &[]);
        let _ = date::read_apart(&text, &[]);
        let _ = citizen::read(&text);
        let _ = number::money(&text, Scale::Yuan);
        let _ = text::store(&text);
    }

    #[test]
    fn ranges_and_results_of_odd_signs_do_not_panic(text in "[男女:;<>=≤~～至\\-+0-9.eE /LX(）μ]{0,16}") {
        let _ = result::read(&text);
        let _ = reference::read(&text, Some(Sex::Female));
        let _ = date::read(&text, &[]);
    }

    #[test]
    fn a_number_keeps_its_digits(whole in 0u32..100_000, fraction in "[0-9]{1,6}") {
        let text = format!("{whole}.{fraction}");
        prop_assert_eq!(result::read(&text), Reading::Numeric(text));
    }

    #[test]
    fn a_check_digit_catches_one_wrong_digit(
        digits in "99999919[3-9][0-9]0[1-9]1[0-9][0-9]{3}", at in 0usize..6, plus in 1u8..10,
    ) {
        let with = |check: char| citizen::read(&format!("{digits}{check}")).and_then(|read| read.checksum_ok);
        let check = "0123456789X".chars().find(|check| with(*check) == Some(true)).expect("one check digit holds");
        let mut wrong = digits.clone().into_bytes();
        wrong[at] = b'0' + (wrong[at] - b'0' + plus) % 10;
        let wrong = String::from_utf8(wrong).expect("digits") + &check.to_string();
        prop_assert_eq!(citizen::read(&wrong).and_then(|read| read.checksum_ok), Some(false));
    }

    #[test]
    fn what_is_stored_is_stored_again_the_same(text in "\\PC{0,24}") {
        let once = text::store(&text).into_owned();
        prop_assert_eq!(text::store(&once).into_owned(), once);
    }
}
