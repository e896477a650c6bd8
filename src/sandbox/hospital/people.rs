//! Synthetic people, the same for the same seed.
//!
//! Nobody real can be met here:
//! - the citizen ID begins with the area code `999999`. GB/T 2260 assigns no division below it, and
//!   the cards of foreign residents (first digit 9) would need a province 99, which does not exist.
//!   Length, birth date, sex digit and check digit (GB 11643) are right, so that the agent's checks
//!   have something to check;
//! - the mobile number begins with `154`, a block that was given to no carrier: well-formed, and
//!   nobody answers;
//! - names are drawn from two lists at random, companies are invented.

use chrono::{Datelike as _, Duration, NaiveDate};
use fastrand::Rng;

/// The area code of all citizen IDs here; assigned to nobody.
pub const AREA: &str = "999999";

/// The first digits of all telephone numbers here; assigned to nobody.
pub const PHONE_BLOCK: &str = "154";

const SURNAMES: &[&str] = &[
    "王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴", "徐", "孙", "胡", "朱", "高", "林", "何", "郭", "马",
    "罗", "梁", "宋", "郑", "谢", "韩", "唐", "冯", "于", "董", "萧", "欧阳", "司马", "上官", "诸葛",
];
const MALE_GIVEN: &[&str] = &[
    "伟", "强", "磊", "军", "勇", "杰", "涛", "超", "明", "刚", "建国", "志强", "文博", "浩然", "子轩", "宇航", "晓东",
    "海峰", "国栋", "振华", "䶮", "喆",
];
const FEMALE_GIVEN: &[&str] = &[
    "芳", "娜", "敏", "静", "丽", "艳", "娟", "霞", "秀英", "桂兰", "婷婷", "雅琴", "梦琪", "诗涵", "欣怡", "晓燕",
    "丽华", "玉梅", "春花", "雪", "㛃", "堃",
];
const COMPANIES: &[(&str, &str)] =
    &[("D001", "示例软件有限公司"), ("D002", "虚构机械制造厂"), ("D003", "样例中学"), ("D004", "假想物流集团")];

/// A person's sex, as the simulated systems know it before they code it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sex {
    /// Male.
    Male,
    /// Female.
    Female,
}

/// A synthetic person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The archive number 档案号.
    pub archive_no: String,
    /// The name.
    pub name: String,
    /// The sex.
    pub sex: Sex,
    /// The date of birth.
    pub birth: NaiveDate,
    /// The citizen ID, 18 characters.
    pub citizen_id: String,
    /// The mobile number, 11 digits.
    pub phone: String,
    /// GB/T 2261.2: 10 never married, 20 married, 30 widowed, 40 divorced.
    pub marital: &'static str,
    /// The company's code and name; `None` where the person comes by themselves.
    pub company: Option<(&'static str, &'static str)>,
}

impl Person {
    /// Draws a person who is between 18 and 80 years old on `today`.
    pub fn draw(rng: &mut Rng, today: NaiveDate) -> Person {
        let sex = if rng.bool() { Sex::Male } else { Sex::Female };
        let birth = today - Duration::days(rng.i64(18 * 366..80 * 365));
        let given = if sex == Sex::Male { MALE_GIVEN } else { FEMALE_GIVEN };
        // Digit 17 tells the sex: odd is male.
        let serial = rng.u32(0..500) * 2 + u32::from(sex == Sex::Male);
        Person {
            archive_no: format!("DA{:08}", rng.u32(0..100_000_000)),
            name: format!("{}{}", pick(rng, SURNAMES), pick(rng, given)),
            sex,
            birth,
            citizen_id: citizen_id(birth, serial),
            phone: format!("{PHONE_BLOCK}{:08}", rng.u32(0..100_000_000)),
            marital: match (today.year() - birth.year(), rng.u8(0..10)) {
                (..=25, _) | (_, 0..=1) => "10",
                (70.., 2..=3) => "30",
                (_, 4) => "40",
                _ => "20",
            },
            company: rng.bool().then(|| pick(rng, COMPANIES)),
        }
    }

    /// Gives the person another date of birth; the citizen ID follows.
    pub fn born(&mut self, birth: NaiveDate) {
        let serial = self.citizen_id.get(14..17).and_then(|digits| digits.parse().ok()).unwrap_or_default();
        self.birth = birth;
        self.citizen_id = citizen_id(birth, serial);
    }

    /// The age in whole years on a day.
    pub fn age(&self, on: NaiveDate) -> i32 {
        let had_birthday = (on.month(), on.day()) >= (self.birth.month(), self.birth.day());
        on.year() - self.birth.year() - i32::from(!had_birthday)
    }
}

/// One element of a list that is not empty.
pub(super) fn pick<T: Copy>(rng: &mut Rng, list: &[T]) -> T {
    list[rng.usize(0..list.len())]
}

fn citizen_id(birth: NaiveDate, serial: u32) -> String {
    let body = format!("{AREA}{}{serial:03}", birth.format("%Y%m%d"));
    let check = check_digit(&body);
    format!("{body}{check}")
}

/// The check character of a citizen ID's first seventeen digits (GB 11643, ISO 7064 MOD 11-2).
pub fn check_digit(body: &str) -> char {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 = body.bytes().zip(WEIGHTS).map(|(digit, weight)| u32::from(digit.wrapping_sub(b'0')) * weight).sum();
    char::from(b"10X98765432"[sum as usize % 11])
}
