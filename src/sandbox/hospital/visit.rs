//! One person's attendance, from registration to conclusion: what both systems tell about, each in
//! its own words.
//!
//! A visit is drawn whole from the seed and its number, and told in pieces as the day goes on, so
//! that a report is the same however it was reached. Results keep the arithmetic that an expert
//! checks (MCHC, differential, total protein, bilirubin, BMI), and a flag always agrees with value
//! and range: what the agent finds wrong was put there on purpose.

use std::collections::BTreeMap;

use chrono::{Duration, NaiveDate, NaiveDateTime};
use fastrand::Rng;

use super::catalogue::{self, For, Group, Item, Kind, PACKAGES, Package, Role, Usual, fixed, printed};
use super::people::{Person, Sex, pick};

const DOCTORS: &[&str] = &["钱医生", "孔医生", "曹医生", "严医生", "华医生", "金医生"];

/// The visit, counted from 0, whose fasting glucose is dangerously high.
pub const CRITICAL_VISIT: usize = 9;

/// The visit whose person refuses the chest film.
pub const REFUSING_VISIT: usize = 7;

/// The visit whose person's name has a character with 0x7C, HL7's field separator, as its second byte.
pub const SEPARATOR_VISIT: usize = 10;

/// The visit whose person was born on a day that began in summer time: as a number of milliseconds that
/// is read with today's offset it is the day before.
pub const SUMMER_VISIT: usize = 11;

/// An attendance.
#[derive(Clone, Debug)]
pub struct Visit {
    /// The exam number 体检号: ten digits with a leading zero.
    pub exam_no: String,
    /// The exam number of the visit that this one repeats 复查.
    pub previous: Option<String>,
    /// Who came.
    pub person: Person,
    /// The package that was booked.
    pub package: &'static Package,
    /// When the person was registered; the hospital's wall clock.
    pub registered_at: NaiveDateTime,
    /// What was ordered, with its results, in print order.
    pub orders: Vec<Order>,
    /// Who concludes.
    pub chief: &'static str,
}

/// An ordered group item with its results.
#[derive(Clone, Debug)]
pub struct Order {
    /// The group item.
    pub group: &'static Group,
    /// How it came into the order.
    pub role: Role,
    /// Whether it was refused 拒检.
    pub refused: bool,
    /// When it was performed; the hospital's wall clock.
    pub performed_at: NaiveDateTime,
    /// Who performed it.
    pub performer: &'static str,
    /// One result for each detail item.
    pub results: Vec<ResultRow>,
}

/// One result.
#[derive(Clone, Debug)]
pub struct ResultRow {
    /// The detail item.
    pub item: &'static Item,
    /// The value as the source writes it.
    pub value: String,
    /// The reference range as printed; empty where there is none.
    pub reference: String,
    /// What is unusual about it.
    pub mark: Mark,
}

/// What a value says beside its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// As usual, or no range.
    Usual,
    /// Below.
    Low,
    /// Above.
    High,
    /// Dangerously above.
    VeryHigh,
    /// 阳性.
    Positive,
}

impl Mark {
    /// The PEIS's word; empty for usual.
    pub fn peis(self) -> &'static str {
        match self {
            Mark::Usual => "",
            Mark::Low => "↓",
            Mark::High => "↑",
            Mark::VeryHigh => "↑↑",
            Mark::Positive => "阳性",
        }
    }

    /// The laboratory system's word (HL7 table 0078); `N` for usual.
    pub fn hl7(self) -> &'static str {
        match self {
            Mark::Usual => "N",
            Mark::Low => "L",
            Mark::High => "H",
            Mark::VeryHigh => "HH",
            Mark::Positive => "POS",
        }
    }
}

/// A conclusion of the chief doctor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// `1` summary, `2` something unusual.
    pub kind: &'static str,
    /// The text.
    pub text: String,
    /// What the person is advised to do.
    pub advice: Option<&'static str>,
}

impl Visit {
    /// Draws visit `index` of a day with `people` visits.
    pub fn draw(seed: u64, index: usize, people: usize, day: NaiveDate) -> Visit {
        // Each visit has its own generator, so that one more person changes nobody else.
        let mut rng = Rng::with_seed(seed ^ (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut person = Person::draw(&mut rng, day);
        match (index, NaiveDate::from_ymd_opt(1988, 6, 1)) {
            (SEPARATOR_VISIT, _) => "陈東".clone_into(&mut person.name),
            (SUMMER_VISIT, Some(birth)) => person.born(birth),
            _ => {}
        }
        let package = match index {
            // Both need what only the largest package surely has.
            CRITICAL_VISIT | REFUSING_VISIT => &PACKAGES[3],
            _ => book(&mut rng, &person),
        };
        let doors_open = day.and_hms_opt(7, 20, 0).unwrap_or_default();
        let registered_at = doors_open + Duration::seconds((index * 6_000 / people.max(1)) as i64);
        let mut visit = Visit {
            exam_no: format!("0301{:06}", 170_001 + index),
            previous: None,
            package,
            registered_at,
            orders: Vec::new(),
            chief: pick(&mut rng, DOCTORS),
            person,
        };
        for (place, (group, role)) in order(&mut rng, package, visit.person.sex).into_iter().enumerate() {
            let refused = index == REFUSING_VISIT && group.code == "001006";
            let results = draw_results(&mut rng, group, visit.person.sex, refused, index == CRITICAL_VISIT);
            let performed_at = registered_at + Duration::seconds(300 + 120 * place as i64);
            visit.orders.push(Order {
                group,
                role,
                refused,
                performed_at,
                performer: pick(&mut rng, DOCTORS),
                results,
            });
        }
        visit
    }

    /// A re-check 复查 of the first order: a visit of its own, whose number shares the last nine places.
    #[must_use]
    pub fn recheck(&self, at: NaiveDateTime) -> Visit {
        let last = self.exam_no.get(1..).unwrap_or_default();
        let mut visit = Visit {
            exam_no: format!("9{last}"),
            previous: Some(self.exam_no.clone()),
            registered_at: at,
            orders: self.orders.iter().take(1).cloned().collect(),
            ..self.clone()
        };
        visit.orders.iter_mut().for_each(|order| order.performed_at = at);
        visit
    }

    /// What the chief doctor concludes from the results.
    pub fn conclusions(&self) -> Vec<Conclusion> {
        let mut all = Vec::new();
        for result in self.orders.iter().flat_map(|order| &order.results) {
            let (word, advice) = match result.mark {
                Mark::Usual => continue,
                Mark::Low => ("偏低", "建议复查。"),
                Mark::High => ("偏高", "清淡饮食,适量运动,三个月后复查。"),
                Mark::VeryHigh => ("显著升高(危急值)", "已电话通知本人,请立即就诊。"),
                Mark::Positive => ("阳性", "请结合临床,专科随诊。"),
            };
            let text = format!("{}{word}:{}{}", result.item.name, result.value, result.item.unit);
            all.push(Conclusion { kind: "2", text, advice: Some(advice) });
        }
        let summary = match all.len() {
            0 => "本次体检所检项目未见明显异常。".to_owned(),
            some => format!("本次体检发现{some}项指标异常,\r\n详见以下各条。"),
        };
        all.insert(0, Conclusion { kind: "1", text: summary, advice: None });
        all
    }

    /// The orders whose results the laboratory reports.
    pub fn laboratory(&self) -> impl Iterator<Item = &Order> {
        self.orders.iter().filter(|order| order.group.specimen.is_some())
    }

    /// The results of one order, to be changed.
    pub fn order_mut(&mut self, group_code: &str) -> Option<&mut Order> {
        self.orders.iter_mut().find(|order| order.group.code == group_code)
    }
}

impl Order {
    /// The PEIS's code for what became of it: `Y` done, `R` refused.
    pub fn state(&self) -> &'static str {
        if self.refused { "R" } else { "Y" }
    }

    /// The department's summary 小结.
    pub fn summary(&self) -> &'static str {
        if self.refused { "受检者拒检" } else { "见检查结果" }
    }
}

impl ResultRow {
    /// Replaces a number's value and judges it anew.
    pub fn correct(&mut self, value: &str, sex: Sex) {
        if let Kind::Number(decimals) = self.item.kind {
            self.mark = judge(self.item, fixed(value, decimals), decimals, sex);
        }
        value.clone_into(&mut self.value);
    }
}

fn book(rng: &mut Rng, person: &Person) -> &'static Package {
    let company = person.company.map(|(code, _)| code);
    let fits = |package: &&Package| {
        package.applies.fits(person.sex)
            && package.company.is_none_or(|code| company == Some(code))
            && package.code != "TC006"
    };
    let fitting: Vec<&'static Package> = PACKAGES.iter().filter(fits).collect();
    pick(rng, &fitting)
}

fn order(rng: &mut Rng, package: &'static Package, sex: Sex) -> Vec<(&'static Group, Role)> {
    let mut choices: Vec<_> = package.choice.to_vec();
    rng.shuffle(&mut choices);
    choices.truncate(rng.usize(1..=2));
    let wanted = |code: &str, role: Role, rng: &mut Rng| match role {
        Role::Mandatory => true,
        Role::Choice => choices.contains(&code),
        Role::AddOn => rng.u8(0..4) == 0,
    };
    package
        .members()
        .filter_map(|(code, role)| Some((catalogue::group(code)?, role)))
        .filter(|(group, _)| group.applies == For::All || group.applies.fits(sex))
        .filter(|(group, role)| wanted(group.code, *role, rng))
        .collect()
}

fn draw_results(rng: &mut Rng, group: &'static Group, sex: Sex, refused: bool, critical: bool) -> Vec<ResultRow> {
    let mut numbers = draw_numbers(rng, group, sex);
    if critical && let Some(glucose) = numbers.get_mut("GLU") {
        *glucose = 2530;
    }
    let mut rows = Vec::with_capacity(group.items.len());
    for item in group.items {
        let (value, mark) = if refused {
            ("拒检".to_owned(), Mark::Usual)
        } else {
            match item.kind {
                Kind::Number(decimals) => number(rng, item, numbers[item.short], decimals, sex),
                Kind::Scale => pick_weighted(rng, &[("-", Mark::Usual), ("±", Mark::Positive), ("1+", Mark::Positive)]),
                Kind::Word if item.short == "MP-Ab" => {
                    pick_weighted(rng, &[("1:40", Mark::Usual), ("1:80", Mark::Positive), ("1:160", Mark::Positive)])
                }
                Kind::Word => pick_weighted(rng, &[("阴性", Mark::Usual), ("阳性", Mark::Positive)]),
                Kind::Prose => (prose(item.short).to_owned(), Mark::Usual),
            }
        };
        rows.push(ResultRow { item, value, reference: item.usual.printed(sex), mark });
    }
    rows
}

/// Mostly the first.
fn pick_weighted(rng: &mut Rng, options: &[(&str, Mark)]) -> (String, Mark) {
    let (value, mark) = if rng.u8(0..10) < 9 { options[0] } else { pick(rng, options) };
    (value.to_owned(), mark)
}

fn number(rng: &mut Rng, item: &Item, value: i64, decimals: u32, sex: Sex) -> (String, Mark) {
    // Below what the instrument can tell.
    if matches!(item.short, "AFP" | "CEA" | "TPSA") && rng.u8(0..3) == 0 {
        return (if decimals == 3 { "<0.006" } else { "<0.50" }.to_owned(), Mark::Usual);
    }
    (printed(value, decimals), judge(item, value, decimals, sex))
}

fn judge(item: &Item, value: i64, decimals: u32, sex: Sex) -> Mark {
    if item.short == "GLU" && value > 2220 {
        return Mark::VeryHigh;
    }
    match (item.usual, item.usual.bounds(sex)) {
        (_, Some((low, _))) if value < fixed(low, decimals) => Mark::Low,
        (_, Some((_, high))) if value > fixed(high, decimals) => Mark::High,
        (Usual::Below(_, bound), _) if value >= fixed(bound, decimals) => Mark::High,
        _ => Mark::Usual,
    }
}

/// Numbers for a group, in the last printed place; those that follow from others are computed.
fn draw_numbers(rng: &mut Rng, group: &Group, sex: Sex) -> BTreeMap<&'static str, i64> {
    let mut values = BTreeMap::new();
    for item in group.items {
        if let Kind::Number(decimals) = item.kind {
            values.insert(item.short, free_number(rng, item, decimals, sex));
        }
    }
    match group.code {
        "001001" => {
            let height = rng.i64(1550..1860);
            let weight = rng.i64(480..850);
            let diastolic = rng.i64(60..92);
            values.insert("HT", height);
            values.insert("WT", weight);
            values.insert("BMI", divide(weight * 1_000_000, height * height));
            values.insert("DBP", diastolic);
            values.insert("SBP", diastolic + rng.i64(32..50));
        }
        "002001" => {
            let (rbc, mcv, mchc) = (values["RBC"], rng.i64(830..980), rng.i64(320..350));
            let hct = divide(mcv * rbc, 1_000);
            let hgb = divide(mchc * hct, 1_000);
            values.insert("HCT", hct);
            values.insert("HGB", hgb);
            values.insert("MCV", divide(hct * 1_000, rbc));
            values.insert("MCH", divide(hgb * 1_000, rbc));
            values.insert("MCHC", divide(hgb * 1_000, hct));
            let (lymph, mono) = (rng.i64(200..400), rng.i64(30..100));
            let (eos, baso) = (rng.i64(4..50), rng.i64(0..10));
            values.extend([("LYM%", lymph), ("MONO%", mono), ("EO%", eos), ("BASO%", baso)]);
            values.insert("NEUT%", 1_000 - lymph - mono - eos - baso);
        }
        "002002" => {
            let (albumin, globulin, total) = (rng.i64(400..520), rng.i64(220..330), rng.i64(50..250));
            let direct = divide(total * rng.i64(15..30), 100);
            values.extend([("ALB", albumin), ("GLB", globulin), ("TP", albumin + globulin)]);
            values.insert("A/G", divide(albumin * 100, globulin));
            values.extend([("TBIL", total), ("DBIL", direct), ("IBIL", total - direct)]);
        }
        "002005" => {
            let (hdl, ldl) = (rng.i64(100..180), rng.i64(150..370));
            values.extend([("HDL", hdl), ("LDL", ldl), ("TC", hdl + ldl + rng.i64(30..80))]);
        }
        _ => {}
    }
    values
}

fn free_number(rng: &mut Rng, item: &Item, decimals: u32, sex: Sex) -> i64 {
    let (low, high) = match item.usual {
        Usual::Below(_, bound) => (fixed(bound, decimals) / 4, fixed(bound, decimals) - 1),
        _ => match item.usual.bounds(sex) {
            Some((low, high)) => (fixed(low, decimals), fixed(high, decimals)),
            None => return 0,
        },
    };
    let width = (high - low).max(1);
    match rng.u8(0..20) {
        0 => high + 1 + rng.i64(0..=width / 4),
        // Nothing is measured below zero.
        1 if low > width / 6 => low - 1 - rng.i64(0..=width / 6).min(low - 1),
        _ => rng.i64(low..=high),
    }
}

/// Rounded half up.
fn divide(number: i64, by: i64) -> i64 {
    (2 * number + by) / (2 * by)
}

fn prose(short: &str) -> &'static str {
    match short {
        "RHYTHM" => "律齐,各瓣膜听诊区未闻及病理性杂音",
        "LUNG" => "双肺呼吸音清,未闻及干湿性啰音",
        "ABDOMEN" => "平软,无压痛,肝脾肋下未触及",
        "SKIN" => "未见异常",
        "LYMPH" => "未触及肿大",
        "THYROID" => "未触及肿大及结节",
        "SPINE" => "无畸形,活动自如",
        "ECG" => "窦性心律,正常范围心电图",
        "US_FIND" => {
            "肝脏:形态大小正常,包膜光整,实质回声均匀。\r\n胆囊:大小正常,壁光滑,腔内透声好。\n\
             胰腺、脾脏:未见异常。\r\n双肾:大小形态正常,集合系统未见分离。"
        }
        "US_DIAG" => "肝胆胰脾双肾未见明显异常",
        "XR_FIND" => "胸廓对称,双肺纹理清晰,双肺野未见实质性病变,心影大小形态正常,双膈面光整。",
        "XR_DIAG" => "心肺膈未见明显异常",
        "VULVA" => "发育正常,未见异常",
        "CERVIX" => "光滑",
        _ => "未见异常",
    }
}
