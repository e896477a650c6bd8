use super::{Cron, Days, Hours, Id, Lasting, Zone};

fn check<T: std::str::FromStr>(sound: &[&str], unsound: &[&str]) {
    for text in sound {
        assert!(text.parse::<T>().is_ok(), "{text:?} is refused");
    }
    for text in unsound {
        assert!(text.parse::<T>().is_err(), "{text:?} is accepted");
    }
}

#[test]
fn ids_are_short_and_plain() {
    check::<Id>(&["peis", "demo-001", "a.b_c", "1"], &["", "a/b", "a b", "-a", "体检", &"x".repeat(65)]);
}

#[test]
fn a_length_of_time_is_a_whole_number_and_a_unit() {
    check::<Lasting>(
        &["30s", "15m", "2h", "30d"],
        &["", "2", "h", "0h", "-1h", "1.5h", "2 h", "2w", "2时", "99999999999d"],
    );
    assert_eq!("2h".parse::<Lasting>().map(|Lasting(time)| time.as_secs()), Ok(7200));
}

#[test]
fn hours_end_after_they_begin() {
    check::<Hours>(&["08:30-17:30", "00:00-24:00"], &["", "08:30", "17:30-08:30", "8:30-17:30", "08:30-25:00", "x-y"]);
}

#[test]
fn days_are_ranges_and_lists() {
    check::<Days>(&["Mon-Sat", "Mon,Wed,Fri", "Sat-Mon", "mon"], &["", "Mon-", "Monday", "Mon;Tue"]);
    assert_eq!("Mon-Sat".parse(), Ok(Days([true, true, true, true, true, true, false])));
    assert_eq!("Sat-Mon,Wed".parse(), Ok(Days([true, false, true, false, false, true, true])));
}

#[test]
fn a_schedule_has_seconds_and_comes() {
    check::<Cron>(
        &["0 */5 6-20 * * *", "0 30 2 * * Sun", "@daily"],
        &["", "*/5 6-20 * * *", "0 61 * * * *", "0 0 0 30 2 *", "soon"],
    );
}

#[test]
fn a_zone_is_one_of_the_iana_database() {
    check::<Zone>(&["Asia/Shanghai", "UTC"], &["", "Asia/Shangahi", "CST+8"]);
    assert!("Asia/Shangahi".parse::<Zone>().unwrap_err().hint.unwrap().contains("Asia/Shanghai"));
}
