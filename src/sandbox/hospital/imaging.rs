//! The electrocardiogram system: it drops tables in GBK into a folder, each record with PDF files beside it.
//!
//! The files come first, then the table under a temporary name, which is taken off last.

use std::io::Write as _;
use std::path::Path;

use chrono::NaiveDateTime;
use encoding_rs::GBK;
use lopdf::content::{Content, Operation};
use lopdf::{Document, Object, Stream, dictionary};

use super::ledger::Flaw;
use super::people::Sex;
use super::visit::Visit;

/// The folder of the PDF files, below that of the tables.
pub const FILES: &str = "reports";

/// The columns of a table.
const COLUMNS: [&str; 14] = [
    "检查号",
    "体检号",
    "档案号",
    "姓名",
    "性别",
    "出生日期",
    "证件号",
    "项目编码",
    "项目名称",
    "检查时间",
    "报告时间",
    "报告医生",
    "检查结论",
    "图文报告",
];

/// What an error page of a file server looks like, saved under the name of a PDF.
const ERROR_PAGE: &[u8] = b"<!DOCTYPE html><html><head><title>404</title></head><body>Not Found</body></html>";

/// A table with the files that its records name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDrop {
    /// The table's name.
    pub name: String,
    /// The table.
    pub table: Vec<u8>,
    /// The files beside it: names and contents.
    pub files: Vec<(String, Vec<u8>)>,
}

impl FileDrop {
    /// Writes the files, then the table.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        let beside = folder.join(FILES);
        std::fs::create_dir_all(&beside)?;
        for (name, content) in &self.files {
            std::fs::write(beside.join(name), content)?;
        }
        let temporary = folder.join(format!("{}.tmp", self.name));
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&self.table)?;
        file.sync_all()?;
        std::fs::rename(temporary, folder.join(&self.name))
    }
}

/// The part that a record plays; the traps are those of [`super::traps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Two pages, both there.
    Usual,
    /// The file is a web page that says that there is none (T41).
    ErrorPage,
    /// The file is another person's (T41).
    OtherPerson,
    /// The second page is not there (T42).
    MissingPage,
    /// The conclusion has bytes that are no GBK; its neighbours are read (T27).
    Undecodable,
}

impl Part {
    pub(super) fn of(place: usize) -> Part {
        match place {
            1 => Part::ErrorPage,
            2 => Part::OtherPerson,
            3 => Part::MissingPage,
            4 => Part::Undecodable,
            _ => Part::Usual,
        }
    }

    /// What the agent must hold it for.
    pub(super) fn flaw(self) -> Option<Flaw> {
        match self {
            Part::Usual => None,
            Part::ErrorPage => Some(Flaw::ErrorPage),
            Part::OtherPerson => Some(Flaw::OtherPersonsFile),
            Part::MissingPage => Some(Flaw::MissingFile),
            Part::Undecodable => Some(Flaw::UndecodableRow),
        }
    }
}

/// How many records there are in a day with so many people.
pub(super) fn records(people: usize) -> usize {
    people.min(24)
}

/// The examination's number.
pub(super) fn number(visit: &Visit) -> String {
    format!("XD{}", visit.exam_no)
}

/// A table with the records of visits, in this order.
pub(super) fn table(name: String, visits: &[(Part, Visit)], at: NaiveDateTime) -> FileDrop {
    let mut table = encoded(&COLUMNS.map(str::to_owned));
    let mut files = Vec::new();
    for (part, visit) in visits {
        let number = number(visit);
        let pages = [format!("{number}-1.pdf"), format!("{number}-2.pdf")];
        let mut row = encoded(&row(visit, &number, &pages.join(";"), at));
        if *part == Part::Undecodable {
            damage(&mut row);
        }
        table.extend(row);
        let [first, second] = pages;
        let content = if *part == Part::ErrorPage { ERROR_PAGE.to_vec() } else { pdf(&visit.exam_no, 1) };
        files.push((first, content));
        match part {
            Part::MissingPage => {}
            Part::OtherPerson => files.push((second, pdf(&next_number(&visit.exam_no), 2))),
            _ => files.push((second, pdf(&visit.exam_no, 2))),
        }
    }
    FileDrop { name, table, files }
}

fn row(visit: &Visit, number: &str, pages: &str, at: NaiveDateTime) -> [String; 14] {
    let person = &visit.person;
    [
        number.to_owned(),
        visit.exam_no.clone(),
        person.archive_no.clone(),
        person.name.clone(),
        if person.sex == Sex::Male { "男" } else { "女" }.to_owned(),
        person.birth.format("%Y-%m-%d").to_string(),
        person.citizen_id.clone(),
        "001004".to_owned(),
        "十二导联心电图".to_owned(),
        visit.registered_at.format("%Y%m%d%H%M%S").to_string(),
        at.format("%Y年%m月%d日 %H:%M").to_string(),
        visit.chief.to_owned(),
        "窦性心律,正常范围心电图".to_owned(),
        pages.to_owned(),
    ]
}

/// The number of whoever was registered next.
fn next_number(exam_no: &str) -> String {
    let next = exam_no.parse::<u64>().map_or(1, |number| number + 1);
    format!("{next:0width$}", width = exam_no.len())
}

/// A line in GBK. What GBK lacks (䶮, 㛃) would be lost; GB18030's four bytes keep it, and old readers stumble.
fn encoded(cells: &[String]) -> Vec<u8> {
    let line = cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect::<Vec<_>>().join(",");
    let (bytes, _, lost) = GBK.encode(&line);
    let mut bytes = if lost { encoding_rs::GB18030.encode(&line).0.into_owned() } else { bytes.into_owned() };
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Breaks the conclusion, the last cell but one: 0xFF begins no character.
fn damage(row: &mut Vec<u8>) {
    let last = row.windows(3).rposition(|window| window == b"\",\"").unwrap_or_default();
    row.splice(last..last, [0xFF, 0xFF]);
}

/// A PDF of one page that shows whose it is.
fn pdf(exam_no: &str, page: u32) -> Vec<u8> {
    let mut document = Document::with_version("1.5");
    let tree = document.new_object_id();
    let font = document.add_object(dictionary! { "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Courier" });
    let content = Content {
        operations: vec![
            Operation::new("BT", vec![]),
            Operation::new("Tf", vec!["F1".into(), 14.into()]),
            Operation::new("Td", vec![72.into(), 760.into()]),
            Operation::new("Tj", vec![Object::string_literal(format!("ECG {exam_no} page {page}"))]),
            Operation::new("ET", vec![]),
        ],
    };
    // What can't be written is no PDF, and the agent says so.
    let content = document.add_object(Stream::new(dictionary! {}, content.encode().unwrap_or_default()));
    let page = document.add_object(dictionary! { "Type" => "Page", "Parent" => tree, "Contents" => content });
    let pages = dictionary! {
        "Type" => "Pages", "Kids" => vec![page.into()], "Count" => 1,
        "Resources" => dictionary! { "Font" => dictionary! { "F1" => font } },
        "MediaBox" => vec![0.into(), 0.into(), 595.into(), 842.into()],
    };
    document.objects.insert(tree, Object::Dictionary(pages));
    let catalog = document.add_object(dictionary! { "Type" => "Catalog", "Pages" => tree });
    document.trailer.set("Root", catalog);
    let mut bytes = Vec::new();
    match document.save_to(&mut bytes) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}
