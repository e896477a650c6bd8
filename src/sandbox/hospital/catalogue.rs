//! What the simulated hospital sells: detail items, group items and packages.
//!
//! Codes, names and prices are invented; units, ranges and spellings are those that one meets. The
//! spelling of units and ranges differs from item to item on purpose.

mod content;

use super::people::Sex;

pub use content::{GROUPS, PACKAGES};

/// For whom an item, a group or a package is meant: `0` everybody, `1` men, `2` women.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Everybody.
    All,
    /// Men.
    Men,
    /// Women.
    Women,
}

impl For {
    /// The PEIS's code.
    pub fn code(self) -> &'static str {
        match self {
            For::All => "0",
            For::Men => "1",
            For::Women => "2",
        }
    }

    /// Whether a person of this sex may have it.
    pub fn fits(self, sex: Sex) -> bool {
        match self {
            For::All => true,
            For::Men => sex == Sex::Male,
            For::Women => sex == Sex::Female,
        }
    }
}

/// What is usual for an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usual {
    /// Low, high, and what stands between them in print.
    Between(&'static str, &'static str, &'static str),
    /// Men's low and high, then women's; printed with `-`.
    BySex([&'static str; 2], [&'static str; 2]),
    /// Below a bound; the sign as printed, `<` or `＜`.
    Below(&'static str, &'static str),
    /// A word such as 阴性.
    Word(&'static str),
    /// Nothing stated.
    Unstated,
}

impl Usual {
    /// The range as printed beside a result of a person of this sex; empty where nothing is stated.
    pub fn printed(self, sex: Sex) -> String {
        match self {
            Usual::Between(low, high, between) => format!("{low}{between}{high}"),
            Usual::BySex(men, women) => {
                let [low, high] = if sex == Sex::Male { men } else { women };
                format!("{low}-{high}")
            }
            Usual::Below(sign, bound) => format!("{sign}{bound}"),
            Usual::Word(word) => word.to_owned(),
            Usual::Unstated => String::new(),
        }
    }

    /// The bounds for a person of this sex, where the range has two.
    pub fn bounds(self, sex: Sex) -> Option<(&'static str, &'static str)> {
        match self {
            Usual::Between(low, high, _) => Some((low, high)),
            Usual::BySex(men, women) => {
                let [low, high] = if sex == Sex::Male { men } else { women };
                Some((low, high))
            }
            _ => None,
        }
    }
}

/// What kind of result a detail item has, by the PEIS's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `1`, a number with so many decimals.
    Number(u32),
    /// `2`, a place on a scale: `-`, `±`, `1+`.
    Scale,
    /// `3`, a fixed word, or a titre.
    Word,
    /// `4`, prose.
    Prose,
}

impl Kind {
    /// The PEIS's code.
    pub fn code(self) -> &'static str {
        match self {
            Kind::Number(_) => "1",
            Kind::Scale => "2",
            Kind::Word => "3",
            Kind::Prose => "4",
        }
    }
}

/// A detail item 明细项目.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// Its code in the PEIS, with leading zeros.
    pub code: &'static str,
    /// Its code in the laboratory system, and the name by which the generator knows it.
    pub short: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What kind of result it has.
    pub kind: Kind,
    /// The unit as the PEIS spells it.
    pub unit: &'static str,
    /// What is usual.
    pub usual: Usual,
}

/// A group item 组合项目.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Its code, with leading zeros.
    pub code: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The department.
    pub department: &'static str,
    /// The specimen; only laboratory groups have one.
    pub specimen: Option<&'static str>,
    /// For whom.
    pub applies: For,
    /// The price in yuan, as text.
    pub price: &'static str,
    /// Whether one must come without having eaten.
    pub fasting: bool,
    /// The detail items, in print order.
    pub items: &'static [Item],
}

/// How a group item belongs to a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `1`, in any case.
    Mandatory,
    /// `2`, one of those to be chosen from.
    Choice,
    /// `3`, may be added at its price.
    AddOn,
}

impl Role {
    /// The PEIS's code.
    pub fn code(self) -> &'static str {
        match self {
            Role::Mandatory => "1",
            Role::Choice => "2",
            Role::AddOn => "3",
        }
    }
}

/// A package 套餐.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Its code.
    pub code: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it is for, in the PEIS's words.
    pub kind: &'static str,
    /// For whom.
    pub applies: For,
    /// The price that is asked in yuan, as text; the original price is the mandatory groups' sum.
    pub sale_price: &'static str,
    /// The company's code, where only its people may book it.
    pub company: Option<&'static str>,
    /// Ages, as the PEIS writes them.
    pub ages: Option<(&'static str, &'static str)>,
    /// The last day on sale, `99991231` for none.
    pub valid_to: &'static str,
    /// Group codes that are done in any case.
    pub mandatory: &'static [&'static str],
    /// Group codes from which one or two are chosen.
    pub choice: &'static [&'static str],
    /// Group codes that may be added.
    pub add_on: &'static [&'static str],
}

impl Package {
    /// The sum of the mandatory groups' prices in fen.
    pub fn original_price_fen(&self) -> i64 {
        self.mandatory.iter().filter_map(|code| group(code)).map(|group| fen(group.price)).sum()
    }

    /// All its groups with their roles, in print order.
    pub fn members(&self) -> impl Iterator<Item = (&'static str, Role)> {
        let with = |role| move |code: &&'static str| (*code, role);
        let mandatory = self.mandatory.iter().map(with(Role::Mandatory));
        mandatory.chain(self.choice.iter().map(with(Role::Choice))).chain(self.add_on.iter().map(with(Role::AddOn)))
    }
}

/// Finds a group by its code.
pub fn group(code: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.code == code)
}

/// Every detail item with the group that it belongs to.
pub fn items() -> impl Iterator<Item = (&'static Group, &'static Item)> {
    GROUPS.iter().flat_map(|group| group.items.iter().map(move |item| (group, item)))
}

/// A price in yuan with two decimals as fen.
fn fen(yuan: &str) -> i64 {
    fixed(yuan, 2)
}

/// A plain decimal as a whole number of its `decimals`-th places: `fixed("3.5", 2)` is 350.
pub(super) fn fixed(text: &str, decimals: u32) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(decimals as usize).collect();
    format!("{whole}{digits}").parse().unwrap_or_default()
}

/// The opposite of [`fixed`]: `printed(350, 2)` is `3.50`.
pub(super) fn printed(value: i64, decimals: u32) -> String {
    if decimals == 0 {
        return value.to_string();
    }
    let scale = 10_i64.pow(decimals);
    let sign = if value < 0 { "-" } else { "" };
    let (whole, fraction) = (value.abs() / scale, value.abs() % scale);
    format!("{sign}{whole}.{fraction:0width$}", width = decimals as usize)
}
