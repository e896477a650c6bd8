use chrono::NaiveDate;
use proptest::prelude::*;

use super::date::Grammar;
use super::number::{MoneyError, Scale};
use super::reference::Person;
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
        ("小于0.02", Reading::Comparator("<", owned("0.02"))),
        ("≥1.5", Reading::Comparator(">=", owned("1.5"))),
        ("不大于5", Reading::Comparator("<=", owned("5"))),
        ("-2.0--1.0", Reading::Range(owned("-2.0"), owned("-1.0"))),
        ("±", Reading::Ordinal),
        ("＋＋", Reading::Ordinal),
        ("＋－", Reading::Ordinal),
        ("－", Reading::Ordinal),
        ("+－", Reading::Ordinal),
        ("1+", Reading::Ordinal),
        ("+++", Reading::Ordinal),
        ("(－)", Reading::Ordinal),
        ("3+", Reading::Ordinal),
        ("阴性", Reading::Coded),
        ("未见异常", Reading::Coded),
        ("拒检", Reading::Absent(Some("refused"))),
        ("标本已退检", Reading::Absent(Some("specimen_rejected"))),
        ("（拒检）", Reading::Absent(Some("refused"))),
        ("未检。", Reading::Absent(Some("pending"))),
        ("弃查", Reading::Absent(Some("given_up"))),
        (" ", Reading::Absent(None)),
        ("+1", Reading::Text),
        ("5,000", Reading::Text),
        ("1.2.3", Reading::Text),
        ("<0.02 IU", Reading::Text),
        ("12:30:00", Reading::Text),
        ("12:30", Reading::Text),
        ("2:1", Reading::Text),
        ("未检出", Reading::Coded),
        ("拒检者家属代签", Reading::Text),
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
        let person = Person { sex, ..Person::default() };
        let range = reference::read(text, &person).expect("a range");
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
        ("4,000-10,000", both("4000", "10000")),
        ("1.5E3～2.5e3", both("1.5E3", "2.5e3")),
        ("−2.0−3.0", (None, None, true)),
        ("3.5−5.5", both("3.5", "5.5")),
        ("-2.0~1.0", both("-2.0", "1.0")),
        ("0-5/HP", both("0", "5")),
        ("<5.2mmol/L", upper("5.2", false)),
        ("小于5.2", upper("5.2", false)),
        ("3,5-5,5", (None, None, true)),
        ("0,100-0,200", (None, None, true)),
        ("1.234,567-2", (None, None, true)),
        ("> 9.9", (Some(("9.9".to_owned(), false)), None, false)),
        ("10.0", (None, None, true)),
        ("9_9", (None, None, true)),
        ("< 9 .9", (None, None, true)),
        ("3.5-", (None, None, true)),
        ("1.0-4.8 5.0", (None, None, true)),
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
    assert_eq!(reference::read("  ", &Person::default()), None);
}

#[test]
fn ranges_by_sex_and_age_are_read_for_whom_they_are() {
    let day = |year| NaiveDate::from_ymd_opt(year, 6, 1);
    let someone = |sex, age: i32| Person { sex: Some(sex), birth: day(2026 - age), on: day(2026), stated_age: None };
    let read = |text: &str, person: &Person| {
        let range = reference::read(text, person).expect("a range");
        match (range.low, range.high) {
            (None, None) => "text".to_owned(),
            (low, high) => {
                let end = |end: Option<DecimalText>| end.map_or(String::new(), |end| end.0);
                format!("{}..{}", end(low), end(high))
            }
        }
    };
    for (text, sex, age, expected) in [
        ("0-14岁:1.0-2.0;成人:3.5-9.5", Sex::Male, 40, "3.5..9.5"),
        ("0-14岁:1.0-2.0;成人:3.5-9.5", Sex::Male, 3, "1.0..2.0"),
        // Nobody's band: what the laboratory means is not known.
        ("0-14岁:1.0-2.0;成人:3.5-9.5", Sex::Male, 16, "text"),
        ("<60岁:3.5-9.5;≥60岁:4-10", Sex::Female, 60, "4..10"),
        ("<60岁:3.5-9.5;≥60岁:4-10", Sex::Female, 59, "3.5..9.5"),
        ("60岁以下:3.5-9.5 60岁以上:4-10", Sex::Female, 61, "4..10"),
        // Both say sixty.
        ("60岁以下:3.5-9.5 60岁以上:4-10", Sex::Female, 60, "text"),
        ("男(18-60岁):57-97;男(60岁以上):57-111;女:41-81", Sex::Female, 30, "41..81"),
        ("男(18-59岁):57-97;男(60岁以上):57-111;女:41-81", Sex::Male, 61, "57..111"),
        ("男:57-97", Sex::Male, 30, "57..97"),
        // Read, and told to be the other sex's.
        ("男:57-97", Sex::Female, 30, "57..97"),
        ("男:57-97;女:见附表", Sex::Male, 30, "text"),
        // For whom the second part is, nobody says.
        ("男:9-50 60岁以上:10-40", Sex::Female, 65, "text"),
        ("新生儿:5-10;成人:3-9", Sex::Male, 30, "text"),
        ("1-6月:5-10", Sex::Male, 30, "text"),
    ] {
        assert_eq!(read(text, &someone(sex, age)), expected, "{text} for {sex:?} of {age}");
    }
    let nobody = Person::default();
    assert_eq!(read("0-14岁:1.0-2.0;成人:3.5-9.5", &nobody), "text");
    let other = reference::read("男:57-97", &someone(Sex::Female, 30)).expect("a range");
    assert_eq!(other.sex, Some(crate::model::entity::ApplicableSex::Male));
    let all = reference::read_all("男:57-97;女(18-59岁):41-73;女(60岁以上):41-81");
    let whom: Vec<_> = all.iter().map(|range| (range.sex.is_some(), range.age_low, range.age_high)).collect();
    assert_eq!(whom, [(true, None, None), (true, Some(18), Some(59)), (true, Some(60), None)]);
    assert_eq!(reference::read_all("阴性").len(), 1);
}

#[test]
fn every_spelling_of_a_unit_leads_to_one_meaning() {
    let table = include_str!("units.csv");
    for line in table.lines().skip(1) {
        let [spelling, code, certainty] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let expected = match certainty {
            "certain" => unit::Certainty::Certain(code),
            "uncoded" => unit::Certainty::Uncoded,
            "doubtful" => unit::Certainty::Doubtful(Some(code).filter(|code| !code.is_empty())),
            other => panic!("{other} is no certainty"),
        };
        for written in [spelling.to_owned(), format!(" {spelling}\u{3000}"), spelling.replace('/', "／")] {
            assert_eq!(unit::read(&written), Some(expected), "{written}");
        }
    }
}

#[test]
fn a_doubtful_unit_is_suggested_and_never_mapped() {
    for (text, suggested) in [
        ("μmo1/L", Some("umol/L")),
        ("ummol/L", Some("umol/L")),
        ("moml", Some("mmol/L")),
        ("G/L", Some("10*9/L")),
        ("mmoll/L", Some("mmol/L")),
        ("mmol/L", None),
        ("COI", None),
        ("颗", None),
    ] {
        assert_eq!(unit::suggestion(text), suggested, "{text}");
        assert!(suggested.is_none() || unit::ucum(text).is_none(), "{text} has a code");
    }
}

#[test]
fn telephone_numbers_are_whole_or_told() {
    for (text, whole) in [
        ("13800000000", true),
        ("１３８ 0000 0000", true),
        ("+86 138-0000-0000", true),
        ("021-60000000", true),
        ("0571 6000000", true),
        ("60000000", true),
        ("138****0000", false),
        ("13800000000/13900000000", false),
        ("1380000000", false),
        ("12345678901", false),
        ("无", false),
        ("", false),
    ] {
        assert_eq!(phone::is_phone(text), whole, "{text}");
    }
}

#[test]
fn flags_are_read_where_they_mean_the_same_everywhere() {
    for (text, expected) in [
        ("↑", Some("high")),
        ("↓↓↓", Some("low")),
        ("H", Some("high")),
        ("HH", Some("critical_high")),
        ("N", Some("normal")),
        ("阳性", Some("positive")),
        ("±", Some("indeterminate")),
        // Letters and digits of single vendors need a table.
        ("g", None),
        ("bd", None),
        ("z", None),
        ("1", None),
        ("P", None),
        ("M", None),
        ("", None),
    ] {
        assert_eq!(flag::read(text), expected, "{text}");
    }
}

#[test]
fn citizen_numbers_say_birth_and_sex() {
    let day = |year, month, day| NaiveDate::from_ymd_opt(year, month, day);
    for (text, expected) in [
        ("999999198503120018", Some((Some(true), day(1985, 3, 12), Sex::Male))),
        ("999999198503120017", Some((Some(false), day(1985, 3, 12), Sex::Male))),
        ("999999199006150026", Some((Some(true), day(1990, 6, 15), Sex::Female))),
        ("999999850312001", Some((None, day(1985, 3, 12), Sex::Male))),
        // People born in the 1800s had serials from 996 on: the century is not certain.
        ("999999850312997", Some((None, None, Sex::Male))),
        ("999999198502300018", Some((Some(false), None, Sex::Male))),
        ("99999919850312001", None),
        ("99999919850312001X8", None),
        ("x99999198503120018", None),
    ] {
        let read = citizen::read(text).map(|read| (read.checksum_ok, read.birth, read.sex));
        assert_eq!(read, expected, "{text}");
    }
    let [upper, lower] = ["X", "x"].map(|check| citizen::read(&format!("99999919850312005{check}")));
    assert_eq!(upper, lower);
}

#[test]
fn several_formats_of_one_column_are_read_by_its_grammars() {
    let grammars: Vec<Grammar> = ["%Y年%m月%d日", "%d.%m.%Y", "%Y%m%d%H%M%S", "epoch_ms"]
        .into_iter()
        .map(|text| Grammar::parse(text).expect("a grammar"))
        .collect();
    for (text, expected) in [
        ("2017年12月4日", Some((2017, 12, 4))),
        ("04.12.2017", Some((2017, 12, 4))),
        ("20171204143642", Some((2017, 12, 4))),
        ("581094000000", Some((1988, 6, 1))),
        ("2017-12-04", None),
        ("", None),
    ] {
        let day = date::read(text, &grammars).map(|stamp| stamp.date_in(chrono_tz::Asia::Shanghai));
        assert_eq!(day, expected.and_then(|(year, month, day)| NaiveDate::from_ymd_opt(year, month, day)), "{text}");
    }
}

#[test]
fn birthdays_as_epoch_keep_their_day_through_the_summer_times() {
    let grammar = [Grammar::EpochMillis];
    let shanghai = chrono_tz::Asia::Shanghai;
    // The first and last days of summer time in China, and the days around them.
    for (year, first, last) in [
        (1986, (5, 4), (9, 14)),
        (1987, (4, 12), (9, 13)),
        (1988, (4, 17), (9, 11)),
        (1989, (4, 16), (9, 17)),
        (1990, (4, 15), (9, 16)),
        (1991, (4, 14), (9, 15)),
    ] {
        for (month, day) in [first, last, (6, 1), (1, 1)] {
            let birthday = NaiveDate::from_ymd_opt(year, month, day).expect("a day");
            for near in [birthday.pred_opt(), Some(birthday), birthday.succ_opt()].into_iter().flatten() {
                let midnight = near.and_time(chrono::NaiveTime::MIN).and_local_timezone(shanghai).earliest();
                let millis = midnight.expect("a midnight").timestamp_millis().to_string();
                assert_eq!(date::read(&millis, &grammar).map(|stamp| stamp.date_in(shanghai)), Some(near), "{millis}");
            }
        }
    }
}

#[test]
fn days_that_programs_write_for_none_are_not_plausible() {
    for (text, plausible) in [
        ("9999-12-31", false),
        ("2099-12-31", false),
        ("1900-01-01", false),
        ("1899-12-30", false),
        ("1899-12-31", false),
        ("0001-01-01", false),
        ("1753-01-01", false),
        ("1900-01-02", true),
        ("2026-11-20", true),
    ] {
        assert_eq!(date::read(text, &[]).map(date::Stamp::is_plausible), Some(plausible), "{text}");
    }
    assert_eq!(date::read("0000-00-00", &[]), None);
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
        let _ = reference::read(&text, &Person { sex: Some(Sex::Male), ..Person::default() });
        let _ = unit::suggestion(&text);
        let _ = phone::is_phone(&text);
        let _ = unit::ucum(&text);
        let _ = date::read(&text, &[]);
        let _ = date::read_apart(&text, &[]);
        let _ = citizen::read(&text);
        let _ = number::money(&text, Scale::Yuan);
        let _ = text::store(&text);
    }

    #[test]
    fn ranges_and_results_of_odd_signs_do_not_panic(text in "[男女岁上以成人:;<>=≤~～至,\\-+0-9.eE /LX(）μ]{0,16}") {
        let _ = result::read(&text);
        let person = Person { sex: Some(Sex::Female), stated_age: Some(40), ..Person::default() };
        let _ = reference::read(&text, &person);
        let _ = reference::read_all(&text);
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

    #[test]
    fn a_day_reads_back_from_every_way_of_writing_it(days in 0i64..60_000, seconds in 0u32..86_400) {
        let day = NaiveDate::from_ymd_opt(1900, 1, 2).expect("a day") + chrono::Duration::days(days);
        let time = chrono::NaiveTime::from_num_seconds_from_midnight_opt(seconds, 0).expect("a time");
        for format in ["%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%Y/%-m/%-d"] {
            let read = date::read(&day.format(format).to_string(), &[]).expect("a date");
            prop_assert_eq!((read.date, read.time), (day, None));
        }
        let stamp = day.and_time(time);
        for format in ["%Y-%m-%d %H:%M:%S", "%Y/%-m/%-d %-H:%M:%S", "%Y%m%d%H%M%S", "%Y-%m-%dT%H:%M:%S"] {
            let read = date::read(&stamp.format(format).to_string(), &[]).expect("a time");
            prop_assert_eq!((read.date, read.time), (day, Some(time)));
        }
    }

    #[test]
    fn a_time_without_its_leading_zeros_is_the_same_time(hour in 0u32..24, minute in 0u32..60) {
        let read = date::read_apart(&format!("20261120 {}", hour * 100 + minute), &[]).expect("a time");
        prop_assert_eq!(read.time, chrono::NaiveTime::from_hms_opt(hour, minute, 0));
    }

    #[test]
    fn a_birthday_as_epoch_keeps_its_day(days in 0i64..27_000) {
        let shanghai = chrono_tz::Asia::Shanghai;
        let day = NaiveDate::from_ymd_opt(1950, 1, 1).expect("a day") + chrono::Duration::days(days);
        let midnight = day.and_time(chrono::NaiveTime::MIN).and_local_timezone(shanghai).earliest().expect("a midnight");
        let read = date::read(&midnight.timestamp_millis().to_string(), &[Grammar::EpochMillis]).expect("a time");
        prop_assert_eq!(read.date_in(shanghai), day);
    }

    #[test]
    fn a_range_keeps_both_bounds_whatever_stands_between(
        low in -500i32..500, step in 1i32..500, sign in prop::sample::select(vec!["-", "~", "～", "—", "–", "--", "至", " to ", " - "]),
    ) {
        let (low, high) = (format!("{}.5", low), format!("{}.25", low + step + 1));
        // `-2.0--1.0` has one reading; `2--1` none that rises.
        prop_assume!(!(sign == "--" && low.starts_with('-')));
        let range = reference::read(&format!("{low}{sign}{high}"), &Person::default()).expect("a range");
        prop_assert_eq!((range.low, range.high), (Some(DecimalText(low)), Some(DecimalText(high))));
    }

    #[test]
    fn a_comparator_keeps_its_number(
        number in "[1-9][0-9]{0,3}(\\.[0-9]{1,3})?", form in prop::sample::select(vec!["<", "＜", "≤", "<=", ">", "＞", "≥", ">=", "小于", "大于等于"]),
    ) {
        let Reading::Comparator(word, read) = result::read(&format!("{form} {number}")) else { panic!("{form}{number}") };
        prop_assert_eq!(read, number);
        prop_assert_eq!(word.starts_with('<'), form.starts_with(['<', '＜', '≤', '小']));
    }

    #[test]
    fn a_titre_keeps_its_dilution(dilution in 1u32..100_000) {
        prop_assert_eq!(result::read(&format!("1:{dilution}")), Reading::Titer("1".to_owned(), dilution.to_string()));
    }

    #[test]
    fn money_comes_back_from_yuan_and_fen(fen in -10_000_000i64..10_000_000) {
        let yuan = format!("{}{}.{:02}", if fen < 0 { "-" } else { "" }, fen.abs() / 100, fen.abs() % 100);
        prop_assert_eq!(number::money(&yuan, Scale::Yuan), Ok(fen));
        prop_assert_eq!(number::money(&format!("{yuan}00"), Scale::Yuan), Ok(fen));
        prop_assert_eq!(number::money(&fen.to_string(), Scale::Fen), Ok(fen));
        let broken = format!("{yuan}5");
        prop_assert_eq!(number::money(&broken, Scale::Yuan), Err(MoneyError::Fraction));
    }

    #[test]
    fn a_unit_is_the_same_with_blanks_and_other_signs(at in 0usize..400, blank in prop::sample::select(vec!["", " ", "\u{3000}", "\u{a0}"])) {
        let units: Vec<(&str, &str)> = include_str!("units.csv").lines().skip(1).filter_map(|line| line.split_once(',')).collect();
        let (spelling, rest) = units[at % units.len()];
        let code = rest.strip_suffix(",certain");
        prop_assert_eq!(unit::ucum(&format!("{blank}{spelling}{blank}")), code);
        prop_assert_eq!(unit::ucum(&spelling.replace('u', "μ").replace('/', "／")), code);
    }
}

proptest! {
    #[test]
    fn the_short_way_of_common_texts_is_what_the_tables_of_unicode_say(
        text in "[ -~\u{3000}-\u{3014}\u{4e00}-\u{4e20}\u{9ff0}-\u{9fff}\u{ff00}-\u{ff70}\u{300}-\u{303}\u{f900}]{0,8}"
    ) {
        use unicode_normalization::UnicodeNormalization as _;
        let trimmed = text::trim(&text);
        prop_assert_eq!(text::store(&text), trimmed.nfc().collect::<String>());
        prop_assert_eq!(text::fold(&text), trimmed.nfkc().collect::<String>());
    }

    #[test]
    fn the_short_way_of_dates_with_all_digits_is_what_chrono_reads(
        text in "(19|20)[0-9]{2}[01][0-9][0-3][0-9][0-2][0-9][0-6][0-9][0-6][0-9]",
        spaced in any::<bool>(),
    ) {
        let (pattern, text) = if spaced {
            let (day, clock) = text.split_at(8);
            let day = format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]);
            ("%Y-%m-%d %H:%M:%S", format!("{day} {}:{}:{}", &clock[..2], &clock[2..4], &clock[4..]))
        } else {
            ("%Y%m%d%H%M%S", text)
        };
        let grammar = Grammar::parse(pattern).unwrap();
        let read = date::read(&text, std::slice::from_ref(&grammar)).map(|read| (read.date, read.time));
        let expected = chrono::NaiveDateTime::parse_from_str(&text, pattern).ok();
        prop_assert_eq!(read, expected.map(|time| (time.date(), Some(time.time()))));
    }

    #[test]
    fn a_word_that_needs_no_form_for_comparing_has_it(text in "[0-9a-zA-Z/%^.*x+ 毫升次μ×⁹]{0,8}") {
        prop_assert!(!unit::is_key(&text) || unit::key(&text) == text);
    }
}
